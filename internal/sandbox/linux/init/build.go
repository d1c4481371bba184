//go:build linux

package main

import (
	"syscall"
	"unsafe"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
)

// What package syscall lacks. The numbers are the same on all architectures that hansom runs on.
const (
	sysMountSetattr = 442 // Linux 5.12

	atFdcwd           = ^uintptr(99) // -100
	atRecursive       = 0x8000
	mountAttrReadOnly = 0x1
	mountAttrNoSUID   = 0x2
	mountAttrNoDev    = 0x4

	prSetPdeathsig  = 1
	prSetTimerslack = 29
	prSetDumpable   = 4
	prCapbsetDrop   = 24
	prSetNoNewPrivs = 38
	prCapAmbient    = 47
	ambientClearAll = 4

	seccompSetFilter = 1
	seccompTsync     = 1

	rlimitProcesses = 6
	rlimitCore      = 4

	cloneNewCgroup = 0x02000000
	ambientOOM     = "500" // the command is what the kernel ends when memory runs out, before this init and before the server
)

// builder carries a plan out. The first failure is kept, and what comes after it is not done.
type builder struct {
	plan      *plan.Plan
	serving   <-chan struct{} // closed when all threads may lose their capabilities
	failure   string
	kind      byte // of the failure's answer
	listeners []int
	oom       int   // descriptor of this process's oom_score_adj
	pid       int   // of the command; 0 before it was started
	extend    []int // pids of plan.Extend
	watched   []int // pidfds of plan.Extend
}

// try notes the failure of what was done to path.
func (b *builder) try(what, path string, err error) bool {
	if err != nil && b.failure == "" {
		b.failure, b.kind = what+" "+path+": "+err.Error(), plan.Failed
	}
	return b.failure == ""
}

// call notes the failure of a raw system call.
//
//go:uintptrescapes
func (b *builder) call(what string, number, a1, a2, a3, a4, a5 uintptr) bool {
	_, _, errno := syscall.RawSyscall6(number, a1, a2, a3, a4, a5, 0)
	if errno != 0 {
		return b.try(what, "", errno)
	}
	return b.failure == ""
}

func (b *builder) run() {
	p := b.plan
	if p.Freezer {
		_, err := syscall.Write(plan.FreezerTasks, []byte("0"))
		b.try("enter", "the freezer cgroup", err)
		syscall.Close(plan.FreezerTasks)
	}
	if !p.Zygote { // which clones into groups outside its own
		// Only now is this thread in all of its cgroups, so that they are the root of what the sandbox sees.
		b.call("make a cgroup namespace", syscall.SYS_UNSHARE, cloneNewCgroup, 0, 0, 0, 0)
	}
	b.oom, _ = syscall.Open("/proc/self/oom_score_adj", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	b.try("name", p.Hostname, syscall.Sethostname([]byte(p.Hostname)))
	b.fileSystem()
	if p.Zygote {
		b.become()
		return
	}
	b.network()
	b.limits()
	if p.Forked && b.failure == "" { // it gives up its rights while this process gives up its own
		b.try("tell", "the command", write(plan.Forked, p.AppendForked(nil)))
	}
	<-b.serving
	b.dropRights()
	if b.failure != "" || len(p.Command) == 0 {
		return
	}
	for _, path := range p.Extend {
		pidfd := -1
		pid := b.start([]string{path}, []uintptr{0, plan.Output, plan.Output}, &pidfd)
		b.extend, b.watched = append(b.extend, pid), append(b.watched, pidfd)
	}
	if len(p.Extend) == 0 {
		b.command()
	} else {
		syscall.Close(plan.Output)
	}
}

// command starts the command.
func (b *builder) command() {
	files := []uintptr{0, 1, 2}
	if b.plan.Frames {
		files = append(files, plan.Frames)
	}
	if b.plan.Forked {
		b.pid = b.forked()
	} else {
		b.pid = b.start(b.plan.Command, files, nil)
	}
	command.Store(int32(b.pid))
	syscall.Close(b.oom)
	if b.plan.Frames {
		syscall.Close(plan.Frames) // the server must see EOF when the command closes its end
	}
}

// become turns this process into a zygote.
func (b *builder) become() {
	if b.failure != "" {
		return
	}
	for _, fd := range []int{plan.ZygoteSocket, plan.ZygoteHost, plan.ZygoteProgram} {
		syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
	}
	b.try("start", b.plan.Command[0], syscall.Exec(b.plan.Command[0], b.plan.Command, b.plan.Env))
}

// forked waits until the command that was forked has given up its rights, and lets it run.
func (b *builder) forked() (pid int) {
	answer := make([]byte, 1024)
	n, err := syscall.Read(plan.Forked, answer)
	for err == syscall.EINTR {
		n, err = syscall.Read(plan.Forked, answer)
	}
	switch {
	case err != nil || n == 0:
		b.try("fork", b.plan.Command[0], syscall.ECHILD)
	case answer[0] == 'R' && n == 5:
		pid = int(plan.Uint32(answer[1:]))
	default:
		b.failure, b.kind = "fork "+b.plan.Command[0]+": "+string(answer[1:n]), plan.Failed
	}
	syscall.Close(plan.Forked)
	return pid
}

func (b *builder) start(argv []string, files []uintptr, pidfd *int) (pid int) {
	if b.failure != "" {
		return 0
	}
	syscall.Write(b.oom, []byte(ambientOOM)) // inherited; a host that does not allow it does without
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: b.plan.Dir, Env: b.plan.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: pidfd},
	})
	syscall.Write(b.oom, []byte("0"))
	b.try("start", argv[0], err)
	switch err {
	case syscall.ENOENT, syscall.EACCES, syscall.EPERM, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELOOP, syscall.E2BIG, syscall.EISDIR:
		b.kind = plan.Refused
	}
	return pid
}

func (b *builder) fileSystem() {
	p := b.plan
	syscall.Umask(0)
	// Nothing that is mounted here shows on the host; what the host mounts in shared places does show here.
	if !b.try("separate", "mounts", syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, "")) ||
		!b.try("mount", p.Root, syscall.Mount("tmpfs", p.Root, "tmpfs", syscall.MS_NOSUID, "mode=0755,size=4m")) ||
		!b.try("enter", p.Root, syscall.Chdir(p.Root)) {
		return
	}
	for _, s := range p.Steps {
		if !b.step(s) {
			return
		}
	}
	// The old root ends up mounted over the new one, from where it is taken away.
	if !b.try("pivot to", p.Root, syscall.PivotRoot(".", ".")) ||
		!b.try("unmount", "the host", syscall.Unmount(".", syscall.MNT_DETACH)) ||
		!b.try("enter", "/", syscall.Chdir("/")) {
		return
	}
	// Not nodev: /dev is in it.
	b.try("protect", "/", syscall.Mount("", "/", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY|syscall.MS_NOSUID, ""))
	syscall.Umask(0o022)
}

func (b *builder) step(s plan.Step) bool {
	switch s.Op {
	case plan.Dir:
		return b.try("make", s.Path, syscall.Mkdir(s.Path, s.Mode))
	case plan.Link:
		return b.try("make", s.Path, syscall.Symlink(s.Source, s.Path))
	case plan.File:
		fd, err := syscall.Open(s.Path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, s.Mode)
		if err == nil && s.Source != "" {
			_, err = syscall.Write(fd, []byte(s.Source))
		}
		syscall.Close(fd)
		return b.try("make", s.Path, err)
	case plan.Bind:
		return b.bind(s)
	case plan.Device:
		return b.device(s)
	case plan.Tmpfs:
		return b.try("mount", s.Path, syscall.Mount("tmpfs", s.Path, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, s.Source))
	case plan.Proc:
		return b.try("mount", s.Path, syscall.Mount("proc", s.Path, "proc",
			syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC|syscall.MS_RDONLY, ""))
	}
	return b.try("understand", "the plan", syscall.EINVAL)
}

// device makes a device node where that is allowed, and else shows the host's.
func (b *builder) device(s plan.Step) bool {
	if !b.plan.User && syscall.Mknod(s.Path, syscall.S_IFCHR|0o666, int(s.Mode)) == nil {
		return true
	}
	return b.step(plan.Step{Op: plan.File, Path: s.Path, Mode: 0o666}) && b.bind(plan.Step{Path: s.Path, Source: s.Source})
}

// mountAttr is struct mount_attr of mount_setattr(2).
type mountAttr struct{ set, clear, propagation, userns uint64 }

func (b *builder) bind(s plan.Step) bool {
	flags, deep := uintptr(syscall.MS_BIND), uintptr(0)
	if s.Mode&plan.BindDeep != 0 {
		flags |= syscall.MS_REC
		deep = atRecursive
	}
	if !b.try("bind "+s.Source+" at", s.Path, syscall.Mount(s.Source, s.Path, "", flags, "")) || s.Mode&plan.BindReadOnly == 0 {
		return b.failure == ""
	}
	path, err := syscall.BytePtrFromString(s.Path)
	if !b.try("protect", s.Path, err) {
		return false
	}
	attr := mountAttr{set: mountAttrReadOnly | mountAttrNoSUID | mountAttrNoDev}
	_, _, errno := syscall.RawSyscall6(sysMountSetattr, atFdcwd, uintptr(unsafe.Pointer(path)), deep, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	switch errno {
	case 0:
		return true
	case syscall.ENOSYS:
		return b.remount(s.Path)
	}
	return b.try("protect", s.Path, errno)
}

// remount protects a bind before Linux 5.12. The flags that the source has must be kept, or a user namespace may not do it.
func (b *builder) remount(path string) bool {
	var st syscall.Statfs_t
	if !b.try("look at", path, syscall.Statfs(path, &st)) {
		return false
	}
	const same = syscall.MS_NOEXEC | syscall.MS_NOATIME | syscall.MS_NODIRATIME // ST_ and MS_ have the same values
	const stRelatime = 0x1000
	flags := uintptr(st.Flags) & same
	if st.Flags&stRelatime != 0 {
		flags |= syscall.MS_RELATIME
	}
	return b.try("protect", path, syscall.Mount("", path, "", flags|syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV, ""))
}

// network brings the loopback interface up and opens the listeners.
func (b *builder) network() {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if !b.try("open", "a socket", err) {
		return
	}
	request := struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}{name: [16]byte{'l', 'o'}, flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	b.call("bring lo up", syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)), 0, 0)
	syscall.Close(fd)
	for _, port := range b.plan.Listen {
		kind := syscall.SOCK_STREAM
		if port >= plan.Datagrams {
			kind, port = syscall.SOCK_DGRAM, port-plan.Datagrams
		}
		fd, err := syscall.Socket(syscall.AF_INET, kind|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err == nil {
			err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil && kind == syscall.SOCK_STREAM {
			err = syscall.Listen(fd, 1024)
		}
		if !b.try("listen in", "the sandbox", err) {
			return
		}
		b.listeners = append(b.listeners, fd)
	}
}

func (b *builder) limits() {
	shortSlices()
	b.limit(syscall.RLIMIT_NOFILE, uint64(b.plan.Files))
	b.limit(rlimitCore, 0)
	if b.plan.Processes > 0 {
		b.limit(rlimitProcesses, uint64(b.plan.Processes))
	}
}

// slice is how long a program of a sandbox runs on a CPU before another of the same right gets its turn. The kernel's own choice,
// about 3 ms, is what a function would wait each time it wakes up while its neighbours compute.
const slice = 200_000 // ns

// shortSlices is inherited. Kernels before 6.12 choose themselves.
func shortSlices() {
	nice, _, _ := syscall.RawSyscall(syscall.SYS_GETPRIORITY, 0, 0, 0) // 20 - nice
	attr := struct {
		size, policy              uint32
		flags                     uint64
		nice                      int32
		priority                  uint32
		runtime, deadline, period uint64
	}{size: 48, nice: 20 - int32(nice), runtime: slice}
	syscall.RawSyscall(sysSchedSetattr, 0, uintptr(unsafe.Pointer(&attr)), 0)
}

// limit sets both limits of a resource, but never above what this process has: that takes a right it may lack.
func (b *builder) limit(resource int, n uint64) {
	var now syscall.Rlimit
	if !b.try("read", "a resource limit", syscall.Getrlimit(resource, &now)) {
		return
	}
	n = min(n, now.Max)
	b.try("set", "a resource limit", syscall.Setrlimit(resource, &syscall.Rlimit{Cur: n, Max: n}))
}

// dropRights leaves nothing that a program inside could use against the host: not in the command, and not in this init.
func (b *builder) dropRights() {
	if b.failure != "" {
		return
	}
	for c := uintptr(0); ; c++ {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prCapbsetDrop, c, 0); errno == syscall.EINVAL {
			break // the last capability of this kernel
		} else if errno != 0 {
			b.try("drop", "capabilities", errno)
			return
		}
	}
	if b.plan.User {
		b.call("drop ambient capabilities", syscall.SYS_PRCTL, prCapAmbient, ambientClearAll, 0, 0, 0)
	} else {
		uid := uintptr(b.plan.UID)
		b.call("drop groups", syscall.SYS_SETGROUPS, 0, 0, 0, 0, 0)
		b.call("change group", syscall.SYS_SETRESGID, uid, uid, uid, 0, 0)
		b.call("change user", syscall.SYS_SETRESUID, uid, uid, uid, 0, 0)
	}
	// The Go runtime's other threads never run anything of the sandbox and never exec; they lose their capabilities all the same.
	// To change their ids too would cost three more stops of all threads.
	header := struct {
		version uint32
		pid     int32
	}{version: 0x20080522}
	var none [6]uint32
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0); errno != 0 {
		b.try("drop", "capabilities", errno)
	}
	// Without this the command could write to the memory of this init, which has its uid.
	b.call("protect init", syscall.SYS_PRCTL, prSetDumpable, 0, 0, 0, 0)
	// The control socket's end says that the server has died; but to threads that cgroup v2 has frozen, only a signal gets through.
	// Under version 1 it does not, and would end the one thread that can still thaw the others; see leaveWithServer.
	if !b.plan.Freezer {
		b.call("follow the server", syscall.SYS_PRCTL, prSetPdeathsig, uintptr(syscall.SIGKILL), 0, 0, 0)
	}
	b.call("forbid new rights", syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0)
	if b.failure != "" || len(b.plan.Filter) == 0 {
		return
	}
	filter := syscall.SockFprog{Len: uint16(len(b.plan.Filter) / 8), Filter: (*syscall.SockFilter)(unsafe.Pointer(&b.plan.Filter[0]))}
	// All threads or none: a positive result is the id of a thread that could not follow.
	thread, _, errno := syscall.RawSyscall(sysSeccomp, seccompSetFilter, seccompTsync, uintptr(unsafe.Pointer(&filter)))
	if thread != 0 && errno == 0 {
		errno = syscall.ESRCH
	}
	if errno != 0 {
		b.try("filter", "system calls", errno)
	}
}
