package cgroup

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// v2 are groups of the unified hierarchy.
type v2 struct {
	base string // the server's directory
}

// v2Controllers must be enabled in all groups above those of the sandboxes.
var v2Controllers = []string{"memory", "cpu", "pids"}

// openUnified looks for the place nearest to this process's own group where groups with all controllers can be made: groups that
// hold processes themselves cannot pass controllers on, unless they are the root (cgroups(7), "no internal processes"). It returns
// nil when there is none.
func openUnified(m mount, server string, created func(string) error) Groups {
	for dir := m.own; ; dir = filepath.Dir(dir) {
		if c := openUnifiedAt(dir, server, created); c != nil {
			return c
		}
		if dir == m.dir || len(dir) <= len(m.dir) {
			return nil
		}
	}
}

func openUnifiedAt(dir, server string, created func(string) error) Groups {
	if !hasControllers(filepath.Join(dir, "cgroup.controllers")) {
		return nil
	}
	if !enable(dir) {
		// A service that has its group to itself, as systemd's Delegate=yes gives it, moves into a group below.
		pids := readPids(filepath.Join(dir, "cgroup.procs"))
		leaf := filepath.Join(dir, "hansom-server")
		if !slices.Equal(pids, []int{os.Getpid()}) || os.MkdirAll(leaf, 0o755) != nil ||
			writeFile(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(os.Getpid())) != nil || !enable(dir) {
			return nil
		}
	}
	parent := filepath.Join(dir, "hansom")
	base := filepath.Join(parent, server)
	if created(base) != nil || os.MkdirAll(base, 0o755) != nil || !enable(parent) || !enable(base) {
		removeBases([]string{base})
		return nil
	}
	// All sandboxes together weigh as much as a busy group for each CPU; among themselves they share by memory.
	all := strconv.Itoa(min(10_000, 100*runtime.NumCPU()))
	writeFile(filepath.Join(parent, "cpu.weight"), all)
	writeFile(filepath.Join(base, "cpu.weight"), all)
	return &v2{base: base}
}

func hasControllers(file string) bool {
	b, err := os.ReadFile(file)
	there := strings.Fields(string(b))
	return err == nil && !slices.ContainsFunc(v2Controllers, func(c string) bool { return !slices.Contains(there, c) })
}

// enable passes the controllers on to the groups below dir.
func enable(dir string) bool {
	file := filepath.Join(dir, "cgroup.subtree_control")
	return hasControllers(file) || writeFile(file, "+"+strings.Join(v2Controllers, " +")) == nil
}

func (c *v2) Dirs() []string { return []string{c.base} }
func (c *v2) Close()         { removeBases(c.Dirs()) }

func (c *v2) Make(id string, l Limits) (Group, error) {
	dir := filepath.Join(c.base, id)
	if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
		return nil, &os.PathError{Op: "make", Path: dir, Err: err}
	}
	g := &v2Group{dir: dir, dirFD: -1}
	if err := g.Set(l); err != nil {
		g.Remove()
		return nil, err
	}
	for _, f := range []struct {
		name, value string
		optional    bool
	}{
		{"memory.swap.max", "0", true},  // absent when the kernel has no swap
		{"memory.oom.group", "1", true}, // a tree that lost a part does not go on
		{"pids.max", strconv.Itoa(l.Processes + InitTasks), false},
	} {
		if err := writeFile(filepath.Join(dir, f.name), f.value); err != nil && !(f.optional && os.IsNotExist(err)) {
			g.Remove()
			return nil, err
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		g.Remove()
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	g.dirFD = fd
	return g, nil
}

type v2Group struct {
	dir   string
	dirFD int
	idle  idleness
}

func (g *v2Group) Set(l Limits) error {
	if err := writeFile(filepath.Join(g.dir, "memory.max"), strconv.FormatInt(l.Memory, 10)); err != nil {
		return err
	}
	share := strconv.FormatInt(min(10_000, max(1, 100*l.Memory/CPUMemory)), 10)
	return g.idle.set(filepath.Join(g.dir, "cpu.weight"), share, "1", filepath.Join(g.dir, "cpu.idle"), l.Idle)
}

func (g *v2Group) Enter(attr *syscall.SysProcAttr) (func() error, error) {
	attr.UseCgroupFD, attr.CgroupFD = true, g.dirFD
	return stay, nil
}

func (g *v2Group) Entries() (int, []int, error) {
	fd, err := unix.FcntlInt(uintptr(g.dirFD), unix.F_DUPFD_CLOEXEC, 0)
	return fd, nil, os.NewSyscallError("dup", err)
}

func (g *v2Group) FreezerFiles() []*os.File { return nil }

func (g *v2Group) Freeze(frozen bool) error {
	v := "0"
	if frozen {
		v = "1"
	}
	return writeFile(filepath.Join(g.dir, "cgroup.freeze"), v)
}

func (g *v2Group) Read() (sandbox.Usage, bool) {
	u := sandbox.Usage{MemoryPeak: readNumber(filepath.Join(g.dir, "memory.peak"))}
	if u.MemoryPeak == 0 { // before Linux 5.19
		u.MemoryPeak = readNumber(filepath.Join(g.dir, "memory.current"))
	}
	us, _ := readField(filepath.Join(g.dir, "cpu.stat"), "usage_usec")
	u.CPU = us * 1000
	kills, _ := readField(filepath.Join(g.dir, "memory.events"), "oom_kill")
	return u, kills > 0
}

func (g *v2Group) Remove() error {
	if g.dirFD >= 0 {
		unix.Close(g.dirFD)
		g.dirFD = -1
	}
	return removeGroup(g.dir)
}

func (g *v2Group) CPU() int64 {
	us, _ := readField(filepath.Join(g.dir, "cpu.stat"), "usage_usec")
	return us * 1000
}

func (g *v2Group) Threads() []int { return readPids(filepath.Join(g.dir, "cgroup.threads")) }
