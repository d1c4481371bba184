package cgroup

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Groups are the control groups below which a server makes one for each sandbox: <base>/hansom/<server>/<sandbox>, where base is
// the group of the server itself, so that limits set on it hold for its sandboxes too.
type Groups interface {
	// Make makes the group of a sandbox with its limits. It holds no process yet.
	Make(id string, l Limits) (Group, error)
	// Facts say what is limited and what is not; nothing of processes when it is for others to limit them.
	Facts() []sandbox.Fact
	// Dirs are the server's own directories, one in each hierarchy.
	Dirs() []string
	Close()
}

// Group is the control group of a sandbox.
type Group interface {
	// Enter makes what the calling thread starts with attr begin its life in the group. leave undoes what that took.
	Enter(attr *syscall.SysProcAttr) (leave func() error, err error)
	// Entries are where a process of its own accord enters the group: the directory of version 2, or tasks files of version 1. The
	// caller closes them.
	Entries() (dir int, tasks []int, err error)
	// FreezerFiles are handed to the init: tasks and freezer.state of version 1; nil when it needs none.
	FreezerFiles() []*os.File
	Freeze(frozen bool) error
	// Set changes the limits of memory and CPU.
	Set(l Limits) error
	// Cap makes the CPU that comes with memory the most that there is. Without cgroups it does nothing.
	Cap(memory int64) error
	// CPU is the CPU time used so far in nanoseconds, and Threads are those that it has now; nothing where no group tells.
	CPU() int64
	Threads() []int
	// Read tells what was used, and whether the kernel killed a process for want of memory.
	Read() (u sandbox.Usage, oom bool)
	// Remove closes the group's files and removes it; its last process has gone.
	Remove() error
}

// Limits of a group.
type Limits struct {
	Memory    int64 // bytes
	Processes int   // most of them
	Idle      bool  // runs only when nothing else wants to
}

// CPUMemory is the memory that comes with one CPU, as in AWS Lambda.
const CPUMemory = 1769 << 20

// InitTasks are the threads of a sandbox's init, which come on top of what a Spec allows.
const InitTasks = 8

// mount is a mounted hierarchy. own is the group that this process has in it, as a directory.
type mount struct {
	unified     bool
	dir, own    string
	controllers []string // version 1
}

// find reads which hierarchies are mounted (proc_pid_mountinfo(5)) and where this process is in them (cgroups(7)).
func find(mountinfo, self io.Reader) []mount {
	own := map[string]string{} // by controller, "" is version 2
	for in := bufio.NewScanner(self); in.Scan(); {
		// 4:memory:/path
		if f := strings.SplitN(in.Text(), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				own[c] = f[2]
			}
		}
	}
	var mounts []mount
	for in := bufio.NewScanner(mountinfo); in.Scan(); {
		// 36 35 98:0 /root /mount/point rw,noatime shared:1 - type source options
		before, after, ok := strings.Cut(in.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 3 || slices.Contains(strings.Split(f[5], ","), "ro") {
			continue
		}
		m := mount{dir: f[4]}
		name := ""
		switch g[0] {
		case "cgroup2":
			m.unified = true
		case "cgroup":
			for o := range strings.SplitSeq(g[2], ",") {
				if _, ok := own[o]; ok && o != "" {
					m.controllers = append(m.controllers, o)
					name = o
				}
			}
			if name == "" {
				continue
			}
		default:
			continue
		}
		path, ok := own[name]
		if !ok {
			continue
		}
		// In a container the mount's root is not that of the hierarchy.
		rel, err := filepath.Rel(f[3], path)
		if err != nil || strings.HasPrefix(rel, "..") {
			rel = "."
		}
		m.own = filepath.Join(m.dir, rel)
		mounts = append(mounts, m)
	}
	return mounts
}

// Open takes the unified hierarchy where it has the controllers, else those of version 1, else none. created is told of
// each directory before it is made.
func Open(server string, created func(dir string) error) (Groups, error) {
	mountinfo, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer mountinfo.Close()
	self, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	mounts := find(mountinfo, self)
	for _, m := range mounts {
		if m.unified {
			if c := openUnified(m, server, created); c != nil {
				return c, nil
			}
		}
	}
	if c := openV1(mounts, server, created); c != nil {
		return c, nil
	}
	return noCgroups{}, nil
}

// noCgroups is what a server has that is neither root nor has been delegated a group.
type noCgroups struct{}

func (noCgroups) Make(string, Limits) (Group, error) { return noGroup{}, nil }
func (noCgroups) Dirs() []string                     { return nil }
func (noCgroups) Close()                             {}

// LimitsProcesses reports whether a group limits the number of processes.
func LimitsProcesses(c Groups) bool {
	switch c := c.(type) {
	case *v1:
		return c.bases["pids"] != ""
	case *v2:
		return true
	}
	return false
}

// CanFreeze reports whether Freeze works.
func CanFreeze(g Group) bool {
	switch g := g.(type) {
	case *v1Group:
		return len(g.freezer) > 0
	case *v2Group:
		return true
	}
	return false
}

type noGroup struct{}

func (noGroup) Enter(*syscall.SysProcAttr) (func() error, error) { return stay, nil }
func (noGroup) Entries() (int, []int, error)                     { return -1, nil, nil }
func (noGroup) FreezerFiles() []*os.File                         { return nil }
func (noGroup) Freeze(bool) error                                { return errors.ErrUnsupported }
func (noGroup) Set(Limits) error                                 { return nil }
func (noGroup) Read() (sandbox.Usage, bool)                      { return sandbox.Usage{}, false }
func (noGroup) CPU() int64                                       { return 0 }
func (noGroup) Threads() []int                                   { return nil }
func (noGroup) Remove() error                                    { return nil }

// idleness is whether a group runs only when nothing else wants to. Before Linux 5.15 the least share there is has to do.
type idleness bool

// set writes a group's share, or makes it idle: an idle group takes no share.
func (was *idleness) set(shareFile, share, least, idleFile string, idle bool) error {
	write := func(value string) error {
		if err := writeFile(idleFile, value); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	if idle {
		*was = true
		return errors.Join(writeFile(shareFile, least), write("1"))
	}
	if *was {
		*was = false
		if err := write("0"); err != nil {
			return err
		}
	}
	return writeFile(shareFile, share)
}

// stay is the leave of an enter that moved nothing.
func stay() error { return nil }

// writeFile writes a control file in one write.
func writeFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(value))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return &os.PathError{Op: "write " + value + " to", Path: path, Err: err}
	}
	return nil
}

// readNumber reads a control file that holds a number; 0 when it cannot.
func readNumber(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// readField reads the number behind name in a control file of lines "name number".
func readField(path, name string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// removeGroup removes an empty group. The kernel counts a process for a moment longer than its parent does.
func removeGroup(dir string) error {
	for wait := 50 * time.Microsecond; ; wait *= 2 {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY || wait > time.Second {
			return &os.PathError{Op: "remove", Path: dir, Err: err}
		}
		time.Sleep(wait)
	}
}

// Clear kills what runs in the groups of a dead server and below them, frozen or not, and removes them. A process is in
// groups of several hierarchies: it may be killed in one and frozen in another.
func Clear(bases []string) error {
	var groups []string // each before those below it
	for _, base := range bases {
		filepath.WalkDir(base, func(dir string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				groups = append(groups, dir)
			}
			return nil
		})
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		members := 0
		for _, dir := range groups {
			procs := filepath.Join(dir, "cgroup.procs")
			for _, pid := range readPids(procs) {
				members++
				killMember(procs, pid)
			}
		}
		if members == 0 || time.Now().After(deadline) {
			break
		}
		for _, dir := range groups { // whichever of the two there is
			writeFile(filepath.Join(dir, "freezer.state"), "THAWED")
			writeFile(filepath.Join(dir, "cgroup.freeze"), "0")
		}
	}
	var failed error
	for _, dir := range slices.Backward(groups) {
		failed = errors.Join(failed, removeGroup(dir))
	}
	return failed
}

func readPids(procs string) []int {
	b, _ := os.ReadFile(procs)
	var pids []int
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killMember kills a process if it is still in the group: its number may belong to another one by now.
func killMember(procs string, pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if slices.Contains(readPids(procs), pid) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
