package linux

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// run gives the filter a system call and returns what it answers.
func run(t *testing.T, vm *bpf.VM, arch, number uint32, args ...uint32) uint32 {
	t.Helper()
	// struct seccomp_data, but with each word big-endian, as the machine of package bpf reads packets.
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[dataNumber:], number)
	binary.BigEndian.PutUint32(data[dataArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[dataArgs+8*i:], a)
	}
	answer, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(answer)
}

func TestFilter(t *testing.T) {
	program := filterProgram()
	if n := len(program) / 8; n > 400 {
		t.Errorf("the filter has %d instructions: each start of a sandbox pays for them", n)
	}
	var instructions []bpf.Instruction
	for in := range slices.Chunk(program, 8) {
		instructions = append(instructions, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(in), Jt: in[2], Jf: in[3], K: binary.NativeEndian.Uint32(in[4:]),
		}.Disassemble())
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	const (
		ok     = unix.SECCOMP_RET_ALLOW
		eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		family = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	)
	// The lists and nothing else, for all numbers there are and some more.
	for number := range uint32(2000) {
		want := enosys
		switch {
		case examined[number] != 0:
			continue
		case slices.Contains(allowed, number) || slices.Contains(archAllowed, number):
			want = ok
		case slices.Contains(refused, number) || slices.Contains(archRefused, number):
			want = eperm
		}
		if got := run(t, vm, archAudit, number); got != want {
			t.Errorf("system call %d: %#x, want %#x", number, got, want)
		}
	}
	for _, c := range []struct {
		name   string
		arch   uint32
		number uint32
		args   []uint32
		want   uint32
	}{
		{"clone3", archAudit, unix.SYS_CLONE3, nil, enosys},
		{"x32", archAudit, 0x40000000 + unix.SYS_READ, nil, enosys},
		{"the last number", archAudit, 0xffffffff, nil, enosys},
		{"another architecture", unix.AUDIT_ARCH_I386, unix.SYS_READ, nil, enosys},
		{"fork", archAudit, unix.SYS_CLONE, []uint32{uint32(unix.SIGCHLD)}, ok},
		{"thread", archAudit, unix.SYS_CLONE, []uint32{0x3d0f00}, ok},
		{"user namespace", archAudit, unix.SYS_CLONE, []uint32{unix.CLONE_NEWUSER | uint32(unix.SIGCHLD)}, eperm},
		{"net namespace among others", archAudit, unix.SYS_CLONE, []uint32{unix.CLONE_NEWNET | unix.CLONE_NEWPID}, eperm},
		{"unix socket", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_UNIX, unix.SOCK_STREAM, 0}, ok},
		{"inet socket", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_INET, unix.SOCK_STREAM, 0}, ok},
		{"inet6 socket", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_INET6, unix.SOCK_DGRAM, 17}, ok},
		{"route socket", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, ok},
		{"audit socket", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, eperm},
		{"vsock", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, family},
		{"bluetooth", archAudit, unix.SYS_SOCKET, []uint32{unix.AF_BLUETOOTH, unix.SOCK_STREAM, 0}, family},
		{"TIOCGWINSZ", archAudit, unix.SYS_IOCTL, []uint32{1, unix.TIOCGWINSZ}, ok},
		{"TIOCSTI", archAudit, unix.SYS_IOCTL, []uint32{0, unix.TIOCSTI}, eperm},
		{"TIOCLINUX", archAudit, unix.SYS_IOCTL, []uint32{0, tioclinux}, eperm},
		{"watch for changes", archAudit, unix.SYS_INOTIFY_ADD_WATCH, []uint32{3, 0x1000, unix.IN_MODIFY | unix.IN_CREATE | unix.IN_DELETE | unix.IN_CLOSE_WRITE}, ok},
		{"watch for reads", archAudit, unix.SYS_INOTIFY_ADD_WATCH, []uint32{3, 0x1000, unix.IN_MODIFY | unix.IN_OPEN}, eperm},
		{"fcntl", archAudit, unix.SYS_FCNTL, []uint32{3, unix.F_SETFL}, ok},
		{"dnotify", archAudit, unix.SYS_FCNTL, []uint32{3, unix.F_NOTIFY}, eperm},
		{"its own limits", archAudit, unix.SYS_PRLIMIT64, []uint32{0, 7, 0x1000}, ok},
		{"read limits of another", archAudit, unix.SYS_PRLIMIT64, []uint32{1, 7, 0}, ok},
		{"limits of another", archAudit, unix.SYS_PRLIMIT64, []uint32{1, 7, 0x1000}, eperm},
		{"choice of CPUs", archAudit, unix.SYS_SCHED_SETAFFINITY, []uint32{0, 8, 0x1000}, unix.SECCOMP_RET_ERRNO},
		{"personality query", archAudit, unix.SYS_PERSONALITY, []uint32{0xffffffff}, ok},
		{"personality READ_IMPLIES_EXEC", archAudit, unix.SYS_PERSONALITY, []uint32{0x400000}, eperm},
	} {
		if got := run(t, vm, c.arch, c.number, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	for number := range examined {
		if slices.Contains(allowed, number) || slices.Contains(refused, number) {
			t.Errorf("system call %d is in two lists", number)
		}
	}
}
