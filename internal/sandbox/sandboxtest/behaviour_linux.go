package sandboxtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isolated shows the behaviours that look at isolation.
func isolated(b Behaviour, args []string) int {
	switch b {
	case Eat:
		if args[0] == "child" {
			self(Eat, "self").Run()
			return 1
		}
		for {
			mem := make([]byte, 1<<20)
			for i := 0; i < len(mem); i += 512 {
				mem[i] = 1
			}
			eaten = append(eaten, mem)
		}
	case Fork:
		n := 0
		for {
			pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{})
			if err != nil {
				fmt.Println(n, "then", name(err))
				break
			}
			_ = pid
			n++
		}
		ready()
	case Fill:
		return fill(args[0])
	case Files:
		files(args)
	case Identity:
		return identity()
	case Calls:
		runtime.LockOSThread()
		for _, c := range calls {
			fmt.Println(c.name, c.try())
		}
	case Network:
		network(args)
	case Processes:
		pids, _ := filepath.Glob("/proc/[0-9]*")
		for _, p := range pids {
			fmt.Println("process", p)
		}
		ready()
	default:
		return failed(errors.New("no such behaviour: " + string(b)))
	}
	return 0
}

var eaten [][]byte

// name is the symbol of the system call error in err, "ok" when there is none.
func name(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &errno):
		return err.Error()
	case errno == 0:
		return "ok"
	}
	return unix.ErrnoName(errno)
}

func fill(path string) int {
	f, err := os.Create(path)
	if err != nil {
		return failed(err)
	}
	mb := make([]byte, 1<<20)
	for n := 0; ; n++ {
		if _, err := f.Write(mb); err != nil {
			fmt.Println(n, "MB then", name(err))
			break
		}
	}
	os.Remove(path)
	return 0
}

func files(paths []string) {
	for _, p := range paths {
		info, err := os.Stat(p)
		if err == nil && info.IsDir() {
			_, err = os.ReadDir(p)
		} else if err == nil {
			var b []byte
			if b, err = os.ReadFile(p); err == nil && len(b) == 0 {
				err = errors.New("empty")
			}
		}
		fmt.Println(p, "read", name(err))
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			f.Close()
		}
		fmt.Println(p, "write", name(err))
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		fmt.Println("mount", f[4], f[5]+",")
	}
}

func identity() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return failed(err)
	}
	os.Stdout.Write(status)
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd != 0 && fd != 1 && fd != 2 {
			// The Go runtime's own are not inherited: it closes them on exec.
			if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
				fmt.Println("inherited descriptor", fd)
			}
		}
	}
	u, err := user.Current()
	if err != nil {
		return failed(err)
	}
	fmt.Println("user", u.Username)
	var lim syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_CORE, &lim)
	fmt.Println("core limit", lim.Cur, lim.Max)
	return 0
}

func network(addrs []string) {
	ifs, err := net.Interfaces()
	if err != nil {
		fmt.Println(err)
	}
	for _, i := range ifs {
		fmt.Println("interface", i.Name)
	}
	for _, a := range addrs {
		conn, err := net.DialTimeout("tcp", a, 5*time.Second)
		if err == nil {
			conn.Close()
		}
		fmt.Println(a, name(err))
	}
}

type call struct {
	name, want string
	try        func() string
}

func raw(nr uintptr, args ...uintptr) func() string {
	return func() string {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		return name(errno)
	}
}

// calls are system calls that a sandbox must refuse, and some that it must not.
var calls = []call{
	{"getpid", "ok", raw(unix.SYS_GETPID)},
	{"clone3", "ENOSYS", raw(unix.SYS_CLONE3, 0, 0)},
	{"number 5000", "ENOSYS", raw(5000)},
	{"clone of a user namespace", "EPERM", raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))},
	{"clone of a mount namespace", "EPERM", raw(unix.SYS_CLONE, unix.CLONE_NEWNS|uintptr(unix.SIGCHLD))},
	{"unshare", "EPERM", raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)},
	{"setns", "EPERM", raw(unix.SYS_SETNS, ^uintptr(0), 0)},
	{"mount", "EPERM", raw(unix.SYS_MOUNT)},
	{"umount2", "EPERM", raw(unix.SYS_UMOUNT2)},
	{"pivot_root", "EPERM", raw(unix.SYS_PIVOT_ROOT)},
	{"open_tree", "EPERM", raw(unix.SYS_OPEN_TREE)},
	{"move_mount", "EPERM", raw(unix.SYS_MOVE_MOUNT)},
	{"fsopen", "EPERM", raw(unix.SYS_FSOPEN)},
	{"mount_setattr", "EPERM", raw(unix.SYS_MOUNT_SETATTR)},
	{"chroot", "EPERM", raw(unix.SYS_CHROOT)},
	{"ptrace", "EPERM", raw(unix.SYS_PTRACE, 0)},
	{"process_vm_readv", "EPERM", raw(unix.SYS_PROCESS_VM_READV, 1)},
	{"pidfd_getfd", "EPERM", raw(unix.SYS_PIDFD_GETFD, ^uintptr(0))},
	{"bpf", "EPERM", raw(unix.SYS_BPF)},
	{"perf_event_open", "EPERM", raw(unix.SYS_PERF_EVENT_OPEN)},
	{"userfaultfd", "EPERM", raw(unix.SYS_USERFAULTFD, 1)},
	{"keyctl", "EPERM", raw(unix.SYS_KEYCTL)},
	{"add_key", "EPERM", raw(unix.SYS_ADD_KEY)},
	{"request_key", "EPERM", raw(unix.SYS_REQUEST_KEY)},
	{"io_uring_setup", "EPERM", raw(unix.SYS_IO_URING_SETUP, 1)},
	{"kexec_load", "EPERM", raw(unix.SYS_KEXEC_LOAD)},
	{"init_module", "EPERM", raw(unix.SYS_INIT_MODULE)},
	{"finit_module", "EPERM", raw(unix.SYS_FINIT_MODULE, ^uintptr(0))},
	{"delete_module", "EPERM", raw(unix.SYS_DELETE_MODULE)},
	{"reboot", "EPERM", raw(unix.SYS_REBOOT)},
	{"sethostname", "EPERM", raw(unix.SYS_SETHOSTNAME)},
	{"settimeofday", "EPERM", raw(unix.SYS_SETTIMEOFDAY)},
	{"swapon", "EPERM", raw(unix.SYS_SWAPON)},
	{"syslog", "EPERM", raw(unix.SYS_SYSLOG, 3)},
	{"open_by_handle_at", "EPERM", raw(unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(0))},
	{"vsock socket", "EAFNOSUPPORT", raw(unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
	{"alg socket", "EAFNOSUPPORT", raw(unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
	{"packet socket", "EAFNOSUPPORT", raw(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0)},
	{"netfilter socket", "EPERM", raw(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)},
	{"setuid 0", "refused", func() string {
		if raw(unix.SYS_SETUID, 0)() == "ok" {
			return "ok"
		}
		return "refused" // EPERM, or EINVAL where a user namespace has no user 0
	}},
	{"kill of the server", "ESRCH", raw(unix.SYS_KILL, 100_000, 0)},
	{"memory of init", "EACCES", func() string {
		_, err := os.Open("/proc/1/mem")
		return name(err)
	}},
	{"socketpair", "ok", func() string {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
		}
		return name(err)
	}},
	{"thread", "ok", func() string {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			close(done)
		}()
		<-done
		return "ok"
	}},
	{"memfd", "ok", func() string {
		fd, err := unix.MemfdCreate("test", 0)
		if err == nil {
			unix.Close(fd)
		}
		return name(err)
	}},
	{"statx", "ok", func() string {
		p, _ := unix.BytePtrFromString("/")
		var st unix.Statx_t
		return raw(unix.SYS_STATX, 0, uintptr(unsafe.Pointer(p)), 0, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&st)))()
	}},
}

func callsWanted() map[string]string {
	want := map[string]string{}
	for _, c := range calls {
		want[c.name] = c.want
	}
	return want
}
