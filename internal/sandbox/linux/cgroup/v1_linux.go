package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// v1 are groups of cgroups version 1: one hierarchy for each controller, or for a few of them.
//
// The documented way to place a process is to write its pid to cgroup.procs, which waits for a grace period of the kernel and
// happens after the process has begun to run. A thread that moves itself waits for nothing, and what it clones is in its group
// from the start: so the thread that starts sandboxes enters the group, clones and leaves.
type v1 struct {
	bases map[string]string // controller to the server's directory
	home  map[string]string // controller to the tasks file of this process's own group
}

// v1Controllers in the order in which groups are entered; the freezer is entered by the sandbox's command alone.
var v1Controllers = []string{"memory", "cpu", "cpuacct", "pids", "freezer"}

// openV1 returns nil when there is no hierarchy in which this process may make a group.
func openV1(mounts []mount, server string, created func(string) error) Groups {
	c := &v1{bases: map[string]string{}, home: map[string]string{}}
	for _, m := range mounts {
		for _, name := range m.controllers {
			if !slices.Contains(v1Controllers, name) || c.bases[name] != "" {
				continue
			}
			dir := filepath.Join(m.own, "hansom", server)
			if created(dir) != nil || os.MkdirAll(dir, 0o755) != nil {
				continue
			}
			c.bases[name] = dir
			c.home[name] = filepath.Join(m.own, "tasks")
		}
	}
	if len(c.bases) == 0 {
		return nil
	}
	if dir := c.bases["memory"]; dir != "" {
		writeFile(filepath.Join(filepath.Dir(dir), "memory.use_hierarchy"), "1") // always so in newer kernels
		writeFile(filepath.Join(dir, "memory.use_hierarchy"), "1")
	}
	if dir := c.bases["cpu"]; dir != "" {
		// All sandboxes together weigh as much as a busy process on each CPU; among themselves they share by memory.
		all := strconv.Itoa(1024 * runtime.NumCPU())
		writeFile(filepath.Join(filepath.Dir(dir), "cpu.shares"), all)
		writeFile(filepath.Join(dir, "cpu.shares"), all)
	}
	return c
}

func (c *v1) Dirs() []string {
	var dirs []string
	for _, name := range v1Controllers {
		if dir := c.bases[name]; dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (c *v1) Close() { removeBases(c.Dirs()) }

// removeBases removes a server's own directories, and "hansom" above them when no other server uses it.
func removeBases(dirs []string) {
	for _, dir := range dirs {
		if removeGroup(dir) == nil {
			unix.Rmdir(filepath.Dir(dir))
		}
	}
}

func (c *v1) Make(id string, l Limits) (Group, error) {
	g := &v1Group{v1: c, id: id}
	for _, dir := range c.Dirs() {
		if err := unix.Mkdir(filepath.Join(dir, id), 0o755); err != nil && err != unix.EEXIST {
			g.Remove()
			return nil, &os.PathError{Op: "make", Path: filepath.Join(dir, id), Err: err}
		}
	}
	if err := g.limit(l); err != nil {
		g.Remove()
		return nil, err
	}
	return g, nil
}

type v1Group struct {
	*v1
	id      string
	freezer []*os.File // tasks and freezer.state
	idle    idleness
}

// file is a control file of the group; "" when the controller is not there.
func (g *v1Group) file(controller, name string) string {
	if dir := g.bases[controller]; dir != "" {
		return filepath.Join(dir, g.id, name)
	}
	return ""
}

func (g *v1Group) Set(l Limits) error {
	if f := g.file("memory", "memory.limit_in_bytes"); f != "" {
		n := strconv.FormatInt(l.Memory, 10)
		// Memory and swap together; the file is there when the kernel counts swap. It may never be less than that of memory alone,
		// so a higher limit goes there first.
		swap := func() error {
			err := writeFile(g.file("memory", "memory.memsw.limit_in_bytes"), n)
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		}
		err := writeFile(f, n)
		if errors.Is(err, unix.EINVAL) && swap() == nil {
			err = writeFile(f, n)
		}
		if err == nil {
			err = swap()
		}
		if err != nil {
			return err
		}
	}
	if err := g.limitSockets(l.Memory); err != nil {
		return err
	}
	if f := g.file("cpu", "cpu.shares"); f != "" {
		share := strconv.FormatInt(max(2, 1024*l.Memory/CPUMemory), 10)
		return g.idle.set(f, share, "2", g.file("cpu", "cpu.idle"), l.Idle)
	}
	return nil
}

func (g *v1Group) limit(l Limits) error {
	if err := g.Set(l); err != nil {
		return err
	}
	if f := g.file("pids", "pids.max"); f != "" {
		if err := writeFile(f, strconv.Itoa(l.Processes+InitTasks)); err != nil {
			return err
		}
	}
	if g.bases["freezer"] == "" {
		return nil
	}
	for _, name := range []string{"tasks", "freezer.state"} {
		f, err := os.OpenFile(g.file("freezer", name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		g.freezer = append(g.freezer, f)
	}
	return nil
}

// entered are the controllers whose groups an init enters, one for each hierarchy.
func (g *v1Group) entered() []string {
	var names, done []string
	for _, name := range v1Controllers {
		dir := g.bases[name]
		if dir == "" || name == "freezer" || slices.Contains(done, dir) {
			continue
		}
		names, done = append(names, name), append(done, dir)
	}
	return names
}

func (g *v1Group) move(path func(controller string) string) error {
	for _, name := range g.entered() {
		if err := writeFile(path(name), "0"); err != nil {
			return err
		}
	}
	return nil
}

func (g *v1Group) Entries() (int, []int, error) {
	var tasks []int
	for _, name := range g.entered() {
		path := g.file(name, "tasks")
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			for _, fd := range tasks {
				unix.Close(fd)
			}
			return -1, nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		tasks = append(tasks, fd)
	}
	return -1, tasks, nil
}

func (g *v1Group) Enter(*syscall.SysProcAttr) (func() error, error) {
	leave := func() error {
		return g.move(func(controller string) string { return g.home[controller] })
	}
	if err := g.move(func(controller string) string { return g.file(controller, "tasks") }); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (g *v1Group) FreezerFiles() []*os.File { return g.freezer }

func (g *v1Group) Freeze(frozen bool) error {
	if len(g.freezer) == 0 {
		return errors.ErrUnsupported
	}
	state := "THAWED"
	if frozen {
		state = "FROZEN"
	}
	_, err := g.freezer[1].WriteString(state)
	return err
}

func (g *v1Group) Read() (sandbox.Usage, bool) {
	var u sandbox.Usage
	var oom bool
	if f := g.file("memory", "memory.max_usage_in_bytes"); f != "" {
		u.MemoryPeak = readNumber(f)
		kills, ok := readField(g.file("memory", "memory.oom_control"), "oom_kill")
		if !ok { // before Linux 4.13
			kills = readNumber(g.file("memory", "memory.failcnt"))
		}
		oom = kills > 0
	}
	if f := g.file("cpuacct", "cpuacct.usage"); f != "" {
		u.CPU = readNumber(f)
	}
	return u, oom
}

func (g *v1Group) Remove() error {
	for _, f := range g.freezer {
		f.Close()
	}
	var failed error
	for _, dir := range g.Dirs() {
		failed = errors.Join(failed, removeGroup(filepath.Join(dir, g.id)))
	}
	return failed
}

func (g *v1Group) CPU() int64 {
	if f := g.file("cpuacct", "cpuacct.usage"); f != "" {
		return readNumber(f)
	}
	return 0
}

func (g *v1Group) Threads() []int {
	if f := g.file("cpu", "tasks"); f != "" {
		return readPids(f)
	}
	return nil
}
