//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// text is the address of a string that ends with a zero byte and is never collected.
func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return address(b)
}

var kept [][]byte

// zeros are the address of enough of them for any struct.
func zeros() uintptr {
	b := make([]byte, 4096)
	kept = append(kept, b)
	return address(b)
}

// namespaces are the flags of clone(2) and unshare(2). CLONE_NEWTIME is for unshare alone.
var namespaces = map[string]uintptr{
	"mount": unix.CLONE_NEWNS, "user": unix.CLONE_NEWUSER, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
	"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
}

func init() {
	for name, flag := range namespaces {
		if flag == unix.CLONE_NEWTIME {
			continue
		}
		try(map[string]func(e *event) error{
			"make a " + name + " namespace with unshare": func(*event) error { return call(unix.SYS_UNSHARE, flag) },
			"make a " + name + " namespace with clone": func(*event) error {
				return child(func() (uintptr, syscall.Errno) {
					pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, flag|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
					return pid, errno
				})
			},
			"make a " + name + " namespace with clone3": func(*event) error {
				args := [11]uint64{0: uint64(flag), 4: uint64(unix.SIGCHLD)}
				return child(func() (uintptr, syscall.Errno) {
					pid, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), 88, 0)
					return pid, errno
				})
			},
		})
	}
	try(map[string]func(e *event) error{
		"make a time namespace with unshare": func(*event) error { return call(unix.SYS_UNSHARE, unix.CLONE_NEWTIME) },
	})
	for _, name := range []string{"mnt", "user", "pid", "net", "ipc", "uts", "cgroup", "time"} {
		try(map[string]func(e *event) error{
			"enter the " + name + " namespace of init": func(e *event) error { return enter(e.Init, name) },
		})
	}
	try(map[string]func(e *event) error{
		"mount a tmpfs":      func(*event) error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
		"mount proc":         func(*event) error { return unix.Mount("proc", "/tmp", "proc", 0, "") },
		"bind a directory":   func(*event) error { return unix.Mount("/usr", "/tmp", "", unix.MS_BIND, "") },
		"make /usr writable": func(*event) error { return unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"move a mount":       func(*event) error { return unix.Mount("/proc", "/tmp", "", unix.MS_MOVE, "") },
		"unmount /proc/keys": func(*event) error { return unix.Unmount("/proc/keys", unix.MNT_DETACH) },
		"unmount /proc":      func(*event) error { return unix.Unmount("/proc", unix.MNT_DETACH) },
		"change the root":    func(*event) error { return unix.Chroot("/tmp") },
		"pivot the root":     func(*event) error { return unix.PivotRoot("/tmp", "/tmp") },
		"open a file system": func(*event) error { fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC); unix.Close(fd); return err },
		"clone a tree of mounts": func(*event) error {
			fd, err := unix.OpenTree(unix.AT_FDCWD, "/usr", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)
			unix.Close(fd)
			return err
		},
		"set attributes of a mount": func(*event) error {
			return unix.MountSetattr(unix.AT_FDCWD, "/usr", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		},
		"list mounts":                   func(*event) error { return listMounts() },
		"make a handle of a file":       func(*event) error { _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/usr", 0); return err },
		"open a file by its handle":     openByHandle,
		"watch a file system":           func(*event) error { return call(unix.SYS_FANOTIFY_INIT, 0, 0) },
		"change quotas":                 func(*event) error { return call(unix.SYS_QUOTACTL, 0x80000100, 0, 0, 0) },
		"trace init":                    func(e *event) error { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(e.Init), 0, 0) },
		"trace a child":                 traceChild,
		"read the memory of init":       func(*event) error { return readMemory(1) },
		"read the memory of itself":     func(*event) error { return readMemory(os.Getpid()) },
		"open the memory of init":       func(e *event) error { _, err := os.OpenFile(e.init("mem"), os.O_RDWR, 0); return err },
		"compare descriptors with init": func(e *event) error { return call(unix.SYS_KCMP, uintptr(e.Init), uintptr(os.Getpid()), 0, 0, 0) },
		"take a descriptor of init":     func(e *event) error { return takeDescriptor(e.Init) },
		"limit init": func(e *event) error {
			return unix.Prlimit(e.Init, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 3}, nil)
		},
		"raise its own limit of files": func(*event) error { return raise(unix.RLIMIT_NOFILE) },
		"raise its own limit of cores": func(*event) error { return raise(unix.RLIMIT_CORE) },
		"become root":                  func(*event) error { return call(unix.SYS_SETUID, 0) },
		"take a group":                 func(*event) error { return call(unix.SYS_SETGID, 0) },
		"take more groups":             func(*event) error { g := uint32(6); return call(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&g))) },
		"take a capability":            takeCapability,
		"keep an ambient capability": func(*event) error {
			return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0)
		},
		"forget no_new_privs":          func(*event) error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) },
		"leave strict mode of seccomp": func(*event) error { return unix.Prctl(unix.PR_SET_SECCOMP, 0, 0, 0, 0) },
		"run with real-time priority": func(*event) error {
			p := int32(1)
			return call(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&p)))
		},
		"raise its priority":              func(*event) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -10) },
		"raise its priority for the disk": func(*event) error { return call(unix.SYS_IOPRIO_SET, 1, 0, 1<<13) },
		"load a BPF program":              func(*event) error { return loadBPF() },
		"count events of the processor":   func(*event) error { return perf() },
		"make an io_uring":                func(*event) error { return call(unix.SYS_IO_URING_SETUP, 4, zeros()) },
		"use asynchronous I/O":            func(*event) error { var ctx uint64; return call(unix.SYS_IO_SETUP, 128, uintptr(unsafe.Pointer(&ctx))) },
		"handle page faults":              func(*event) error { return call(unix.SYS_USERFAULTFD, 0) },
		"make secret memory":              func(*event) error { return call(unix.SYS_MEMFD_SECRET, 0) },
		"add a key": func(*event) error {
			_, err := unix.AddKey("user", "escape", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		},
		"find a key": func(*event) error {
			_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 1, 0, 0)
			return err
		},
		"request a key":             func(*event) error { _, err := unix.RequestKey("user", "escape", "", 0); return err },
		"load a module":             func(*event) error { return call(unix.SYS_INIT_MODULE, zeros(), 4096, text("")) },
		"load a module from a file": func(*event) error { return call(unix.SYS_FINIT_MODULE, 0, text(""), 0) },
		"remove a module":           func(*event) error { return call(unix.SYS_DELETE_MODULE, text("none"), 0) },
		"load another kernel":       func(*event) error { return call(unix.SYS_KEXEC_LOAD, 0, 1, zeros(), 0) },
		"restart the machine": func(*event) error {
			return call(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_CAD_ON, 0)
		},
		"read the kernel's log": func(*event) error { return call(unix.SYS_SYSLOG, 10, 0, 0) },
		"account for processes": func(*event) error { return call(unix.SYS_ACCT, text("/tmp/none")) },
		"swap to a file":        func(*event) error { return call(unix.SYS_SWAPON, text("/tmp/none"), 0) },
		"set the host name":     func(*event) error { return unix.Sethostname([]byte("escaped")) },
		"set the domain name":   func(*event) error { return unix.Setdomainname([]byte("escaped")) },
		"set the clock":         func(*event) error { t := unix.Timespec{Sec: -1}; return unix.ClockSettime(unix.CLOCK_REALTIME, &t) },
		"adjust the clock": func(*event) error {
			_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_TAI, Constant: -1})
			return err
		},
		"set the time of day":           func(*event) error { return unix.Settimeofday(&unix.Timeval{Sec: -1}) },
		"place memory on a node":        func(*event) error { return call(unix.SYS_SET_MEMPOLICY, 0, 0, 0) },
		"move memory to a node":         func(*event) error { return call(unix.SYS_MIGRATE_PAGES, 0, 0, 0, 0) },
		"read and execute alike":        func(*event) error { return call(unix.SYS_PERSONALITY, 0x0400000) },
		"put words into a terminal":     func(*event) error { return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, text("x")) },
		"set flags of a file":           func(*event) error { return immutable() },
		"profile the kernel's memory":   func(*event) error { return write("/proc/self/pagemap") },
		"trace with a debug register":   func(*event) error { return call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())) },
		"hang up the terminal":          func(*event) error { return call(unix.SYS_VHANGUP) },
		"move to another cgroup":        moveCgroup,
		"mount the cgroups":             func(*event) error { return unix.Mount("cgroup", "/tmp", "cgroup", 0, "memory") },
		"mount the unified cgroups":     func(*event) error { return unix.Mount("cgroup2", "/tmp", "cgroup2", 0, "") },
		"read the limits of its cgroup": func(*event) error { return readCgroup() },
	})
	attempts["see the cgroups of the host"] = cgroupPaths
	attempts["make each forbidden system call"] = everyCall
}

// child starts a process with clone, which exits at once, and waits for it.
func child(clone func() (uintptr, syscall.Errno)) error {
	pid, errno := clone()
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	var status unix.WaitStatus
	unix.Wait4(int(pid), &status, 0, nil)
	return nil
}

func enter(pid int, name string) error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		// Without its file a process can be entered by its pidfd.
		pidfd, e := unix.PidfdOpen(pid, 0)
		if e != nil {
			return err
		}
		defer unix.Close(pidfd)
		return unix.Setns(pidfd, int(namespaces[strings.Replace(name, "mnt", "mount", 1)]))
	}
	defer unix.Close(fd)
	return unix.Setns(fd, 0)
}

func listMounts() error {
	request := [3]uint64{0: 24, 1: ^uint64(0)} // struct mnt_id_req, LSMT_ROOT
	out := make([]uint64, 64)
	return call(unix.SYS_LISTMOUNT, uintptr(unsafe.Pointer(&request)), uintptr(unsafe.Pointer(&out[0])), 64, 0)
}

// openByHandle guesses that of the root directory of the file system that holds /usr, as the program "shocker" did.
func openByHandle(*event) error {
	mount, err := unix.Open("/usr", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/usr", 0)
	if err != nil {
		handle = unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})
	}
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func readMemory(pid int) error {
	b, from := make([]byte, 8), []byte("12345678")
	local := []unix.Iovec{{Base: &b[0], Len: 8}}
	remote := []unix.RemoteIovec{{Base: address(from), Len: 8}}
	_, err := unix.ProcessVMReadv(pid, local, remote, 0)
	runtime.KeepAlive(from)
	return err
}

func takeDescriptor(pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, 0, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func raise(resource int) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	if now.Max == unix.RLIM_INFINITY {
		return nil
	}
	return unix.Prlimit(0, resource, &unix.Rlimit{Cur: now.Max + 1, Max: now.Max + 1}, nil)
}

func takeCapability(*event) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	return unix.Capset(&header, &data[0])
}

func traceChild(*event) error {
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
	if err != nil {
		return err
	}
	defer func() {
		p.Kill()
		p.Wait()
	}()
	return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(p.Pid), 0, 0)
}

// loadBPF loads a program that returns 0.
func loadBPF() error {
	code := [2]uint64{0x00000000000000b7, 0x0000000000000095} // r0 = 0; exit
	license := text("GPL")
	attr := struct {
		kind, count      uint32
		insns, license   uint64
		level, size      uint32
		log              uint64
		version, options uint32
		_                [80]byte
	}{kind: 1, count: 2, insns: uint64(uintptr(unsafe.Pointer(&code))), license: uint64(license)}
	fd, _, errno := syscall.RawSyscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&code)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func perf() error {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: unix.PERF_ATTR_SIZE_VER5,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK}, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// immutable tries to keep anybody from changing a file, which takes a capability.
func immutable() error {
	f, err := os.CreateTemp("", "immutable")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	flags := int32(unix.STATX_ATTR_IMMUTABLE)
	set := func() error { return call(unix.SYS_IOCTL, f.Fd(), 0x40086602, uintptr(unsafe.Pointer(&flags))) } // FS_IOC_SETFLAGS
	if err = set(); err == nil {
		flags = 0
		set()
	}
	return err
}

func moveCgroup(*event) error {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	var refused error
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		dir := strings.TrimPrefix(f[1], "name=")
		if dir == "" {
			dir = "unified"
		}
		for _, base := range []string{"/sys/fs/cgroup/" + dir, "/sys/fs/cgroup"} {
			if refused = os.WriteFile(base+"/cgroup.procs", []byte("0"), 0); refused == nil {
				return nil
			}
		}
	}
	return refused
}

func readCgroup() error {
	_, err := os.ReadDir("/sys/fs/cgroup")
	return err
}

// cgroupPaths looks for a cgroup of its own that is not the root of what it sees.
func cgroupPaths(*event) answer {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return result(err)
	}
	if strings.Contains(string(b), "hansom") || strings.Contains(string(b), "..") {
		return answer{"ok", string(b)}
	}
	return answer{Result: "none"}
}

// everyCall makes each call of e.Calls with zeros as arguments and names those that are neither EPERM nor ENOSYS.
func everyCall(e *event) answer {
	var found []string
	for _, n := range slices.Sorted(slices.Values(e.Calls)) {
		first := uintptr(0)
		if n == unix.SYS_PTRACE {
			first = ^first // 0 would stop this program at its next signal
		}
		_, _, errno := syscall.RawSyscall6(uintptr(n), first, 0, 0, 0, 0, 0)
		if errno != unix.EPERM && errno != unix.ENOSYS {
			found = append(found, fmt.Sprintf("%d %s", n, unix.ErrnoName(errno)))
		}
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, ", ")}
	}
	return answer{"none", fmt.Sprint(len(e.Calls), " calls")}
}

func uintptrOf(v *int32) uintptr { return uintptr(unsafe.Pointer(v)) }

// touch writes to memory that Go does not know.
func touch(at uintptr) { *(*byte)(unsafe.Add(unsafe.Pointer(nil), at)) = 1 }
