package linux

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// The filter is an allow-list. It is assembled here rather than by a library because it is loaded at every start of a sandbox:
// the kernel runs a new filter for each of its system calls once, so that a list of comparisons costs several times as much as
// the search tree below.

// Verdicts on system calls. Those after verdictLast look at arguments.
const (
	allow    = iota // and the zero verdict of no call
	refuse          // EPERM: known, and never needed
	unknown         // ENOSYS: a program falls back to an older call
	noFamily        // EAFNOSUPPORT
	ignore          // success without effect
	verdictLast
	cloneFlags
	socketFamily
	ioctlRequest
	personalityValue
	watchMask
	fileCommand
	limitOfOthers
)

// allowed are the system calls that both architectures have; see archAllowed for the others.
var allowed = []uint32{
	// Files.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2, unix.SYS_SENDFILE,
	unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_FLOCK, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
	unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHDIR,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UMASK, unix.SYS_STATFS,
	unix.SYS_FSTATFS, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT,
	unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2,
	unix.SYS_UTIMENSAT, unix.SYS_STATX, unix.SYS_SYNC, unix.SYS_SYNCFS, unix.SYS_SYNC_FILE_RANGE, unix.SYS_FADVISE64,
	unix.SYS_READAHEAD, unix.SYS_SPLICE, unix.SYS_TEE, unix.SYS_VMSPLICE, unix.SYS_COPY_FILE_RANGE, unix.SYS_CLOSE_RANGE,
	unix.SYS_CACHESTAT, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_GETXATTR, unix.SYS_LGETXATTR,
	unix.SYS_FGETXATTR, unix.SYS_LISTXATTR, unix.SYS_LLISTXATTR, unix.SYS_FLISTXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR,
	unix.SYS_FREMOVEXATTR, unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_RM_WATCH, unix.SYS_MEMFD_CREATE,
	unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF,
	// Memory.
	unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MREMAP, unix.SYS_MSYNC, unix.SYS_MINCORE,
	unix.SYS_MADVISE, unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MUNLOCK, unix.SYS_MLOCKALL, unix.SYS_MUNLOCKALL,
	unix.SYS_REMAP_FILE_PAGES, unix.SYS_MEMBARRIER, unix.SYS_PKEY_ALLOC, unix.SYS_PKEY_FREE, unix.SYS_PKEY_MPROTECT, unix.SYS_MSEAL,
	unix.SYS_GET_MEMPOLICY, unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SHMDT,
	// Processes and threads.
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_KILL,
	unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_GETPID, unix.SYS_GETPPID,
	unix.SYS_GETTID, unix.SYS_GETPGID, unix.SYS_SETPGID, unix.SYS_GETSID, unix.SYS_SETSID, unix.SYS_GETPRIORITY,
	unix.SYS_SETPRIORITY, unix.SYS_GETRLIMIT, unix.SYS_SETRLIMIT, unix.SYS_GETRUSAGE, unix.SYS_TIMES,
	unix.SYS_PRCTL, unix.SYS_SECCOMP, unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_RSEQ,
	unix.SYS_FUTEX, unix.SYS_FUTEX_WAITV, unix.SYS_FUTEX_WAKE, unix.SYS_FUTEX_WAIT, unix.SYS_FUTEX_REQUEUE,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_GETATTR, unix.SYS_SCHED_SETATTR,
	unix.SYS_SCHED_GETPARAM, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_GETSCHEDULER, unix.SYS_SCHED_SETSCHEDULER,
	unix.SYS_SCHED_GET_PRIORITY_MAX, unix.SYS_SCHED_GET_PRIORITY_MIN, unix.SYS_SCHED_RR_GET_INTERVAL, unix.SYS_GETCPU,
	unix.SYS_IOPRIO_GET, unix.SYS_IOPRIO_SET, unix.SYS_RESTART_SYSCALL, unix.SYS_UNAME, unix.SYS_SYSINFO,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS, unix.SYS_GETRESUID, unix.SYS_GETRESGID,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SETGROUPS, unix.SYS_CAPGET, unix.SYS_CAPSET,
	// Signals and time.
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPENDING, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_RT_SIGSUSPEND, unix.SYS_SIGALTSTACK, unix.SYS_SIGNALFD4,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	unix.SYS_GETITIMER, unix.SYS_SETITIMER, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_GETTIME,
	unix.SYS_TIMER_GETOVERRUN, unix.SYS_TIMER_DELETE, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
	unix.SYS_GETRANDOM,
	// Waiting, sockets, messages.
	unix.SYS_PSELECT6, unix.SYS_PPOLL, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2,
	unix.SYS_EVENTFD2, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_BIND, unix.SYS_LISTEN,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG, unix.SYS_SHUTDOWN,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
	unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMCTL, unix.SYS_SEMTIMEDOP, unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV,
	unix.SYS_MSGCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK, unix.SYS_MQ_TIMEDSEND, unix.SYS_MQ_TIMEDRECEIVE, unix.SYS_MQ_NOTIFY,
	unix.SYS_MQ_GETSETATTR,
}

// refused are the known system calls that no function needs and that are what attacks on a kernel are made of. All that is in
// neither list, clone3 first, is answered as an older kernel would.
var refused = []uint32{
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_OPEN_TREE,
	unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_STATMOUNT, unix.SYS_LISTMOUNT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_MEMFD_SECRET,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
	unix.SYS_DELETE_MODULE, unix.SYS_REBOOT, unix.SYS_SYSLOG, unix.SYS_ACCT, unix.SYS_VHANGUP, unix.SYS_SETHOSTNAME,
	unix.SYS_SETDOMAINNAME, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_MBIND, unix.SYS_SET_MEMPOLICY, unix.SYS_SET_MEMPOLICY_HOME_NODE, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	unix.SYS_LSM_SET_SELF_ATTR, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	// Their requests are counted for the whole host (fs.aio-max-nr), so that one sandbox could take them all.
	unix.SYS_IO_SETUP, unix.SYS_IO_DESTROY, unix.SYS_IO_SUBMIT, unix.SYS_IO_CANCEL, unix.SYS_IO_GETEVENTS, unix.SYS_IO_PGETEVENTS,
}

// examined are the system calls whose arguments decide, and those that are answered in another way.
var examined = map[uint32]int{
	unix.SYS_SCHED_SETAFFINITY: ignore, // the server says on which CPUs who runs
	unix.SYS_CLONE:             cloneFlags,
	unix.SYS_SOCKET:            socketFamily,
	unix.SYS_IOCTL:             ioctlRequest,
	unix.SYS_PERSONALITY:       personalityValue,
	unix.SYS_INOTIFY_ADD_WATCH: watchMask,
	unix.SYS_FCNTL:             fileCommand,
	unix.SYS_PRLIMIT64:         limitOfOthers,
}

// SystemCalls are the numbers of those that a program in a sandbox may make, some of them with certain arguments only. All others
// are answered with EPERM or ENOSYS.
func SystemCalls() []uint32 {
	list := slices.Concat(allowed, archAllowed)
	for n := range examined {
		list = append(list, n)
	}
	return list
}

const (
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET
	tioclinux   = 0x541c
	noRandomize = 0x0040000 // ADDR_NO_RANDOMIZE
	watchReads  = unix.IN_ACCESS | unix.IN_OPEN | unix.IN_CLOSE_NOWRITE

	dataNumber, dataArch, dataArgs = 0, 4, 16 // offsets in struct seccomp_data
)

// filterProgram is the seccomp program of this architecture, an array of struct sock_filter.
func filterProgram() []byte {
	verdicts := map[uint32]int{}
	for _, n := range slices.Concat(allowed, archAllowed) {
		verdicts[n] = allow
	}
	for _, n := range slices.Concat(refused, archRefused) {
		verdicts[n] = refuse
	}
	for n, v := range examined {
		verdicts[n] = v
	}
	// Neighbours with the same verdict make one range.
	var ranges []verdictRange
	add := func(first uint32, verdict int) {
		if len(ranges) == 0 || ranges[len(ranges)-1].verdict != verdict {
			ranges = append(ranges, verdictRange{first, verdict})
		}
	}
	var numbers []uint32
	for n := range verdicts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	next := uint32(0)
	for _, n := range numbers {
		if n > next {
			add(next, unknown)
		}
		add(n, verdicts[n])
		next = n + 1
	}
	add(next, unknown)

	program := []unix.SockFilter{
		stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, dataArch),
		jump(unix.BPF_JEQ, archAudit, 1, 0),
		answer(unknown), // the calls of another architecture have other numbers
		stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, dataNumber),
	}
	program = append(program, search(ranges)...)
	var b []byte
	for _, in := range program {
		b = binary.NativeEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// verdictRange is the verdict on the system calls from first to the next range.
type verdictRange struct {
	first   uint32
	verdict int
}

// search is a binary search among ranges that ends in their verdicts.
func search(ranges []verdictRange) []unix.SockFilter {
	if len(ranges) == 1 {
		return judge(ranges[0].verdict)
	}
	half := len(ranges) / 2
	below, above := search(ranges[:half]), search(ranges[half:])
	var program []unix.SockFilter
	if len(below) < 256 {
		program = append(program, jump(unix.BPF_JGE, ranges[half].first, uint8(len(below)), 0))
	} else { // conditional jumps reach 255 instructions
		program = append(program,
			jump(unix.BPF_JGE, ranges[half].first, 0, 1),
			stmt(unix.BPF_JMP|unix.BPF_JA, uint32(len(below))))
	}
	return slices.Concat(program, below, above)
}

// judge ends the program with a verdict.
func judge(verdict int) []unix.SockFilter {
	switch verdict {
	case cloneFlags:
		return []unix.SockFilter{argument(0), jump(unix.BPF_JSET, newNamespaces, 0, 1), answer(refuse), answer(allow)}
	case socketFamily:
		return []unix.SockFilter{
			argument(0),
			jump(unix.BPF_JEQ, unix.AF_UNIX, 6, 0),
			jump(unix.BPF_JEQ, unix.AF_INET, 5, 0),
			jump(unix.BPF_JEQ, unix.AF_INET6, 4, 0),
			jump(unix.BPF_JEQ, unix.AF_NETLINK, 0, 4),
			argument(2), // programs list the interfaces over netlink's route protocol; the others are for administrators
			jump(unix.BPF_JEQ, unix.NETLINK_ROUTE, 1, 0),
			answer(refuse),
			answer(allow),
			answer(noFamily),
		}
	case ioctlRequest: // both put words into a terminal's input
		return []unix.SockFilter{argument(1), jump(unix.BPF_JEQ, unix.TIOCSTI, 1, 0), jump(unix.BPF_JEQ, tioclinux, 0, 1), answer(refuse), answer(allow)}
	case watchMask: // of files that all sandboxes share, it would tell when the others read them
		return []unix.SockFilter{argument(2), jump(unix.BPF_JSET, watchReads, 0, 1), answer(refuse), answer(allow)}
	case fileCommand: // the same by dnotify
		return []unix.SockFilter{argument(1), jump(unix.BPF_JEQ, unix.F_NOTIFY, 0, 1), answer(refuse), answer(allow)}
	case limitOfOthers: // a new limit, a pointer, of another process than the caller: the init has the same user
		return []unix.SockFilter{
			argument(0), jump(unix.BPF_JEQ, 0, 4, 0),
			argument(2), jump(unix.BPF_JEQ, 0, 0, 3),
			stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, dataArgs+8*2+4), jump(unix.BPF_JEQ, 0, 0, 1),
			answer(allow), answer(refuse),
		}
	case personalityValue: // Linux, asking which, and Linux without address randomization, as debug builds want
		return []unix.SockFilter{
			argument(0), jump(unix.BPF_JEQ, 0, 3, 0), jump(unix.BPF_JEQ, 0xffffffff, 2, 0), jump(unix.BPF_JEQ, noRandomize, 1, 0),
			answer(refuse), answer(allow),
		}
	}
	return []unix.SockFilter{answer(verdict)}
}

func answer(verdict int) unix.SockFilter {
	errno := func(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }
	return stmt(unix.BPF_RET|unix.BPF_K, [verdictLast]uint32{
		allow: unix.SECCOMP_RET_ALLOW, refuse: errno(unix.EPERM), unknown: errno(unix.ENOSYS), noFamily: errno(unix.EAFNOSUPPORT), ignore: errno(0),
	}[verdict])
}

// argument loads the low half of a system call's argument; both architectures are little-endian.
func argument(n uint32) unix.SockFilter {
	return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, dataArgs+8*n)
}

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, Jt: yes, Jf: no, K: k}
}
