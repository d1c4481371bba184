// Package zygote keeps processes from which the commands of sandboxes are forked: a fork costs a tenth of an interpreter's start.
//
// A zygote is a program that has loaded an interpreter and its bootstrap. It has all rights, runs no code of a function, sees a
// file system of its own, has no network, and talks to the server alone, over a socket of whole packets (SOCK_SEQPACKET). It
// sends one packet when it is ready. A request is a byte of flags and an id, padded with NUL bytes to RequestSize, with these
// files:
//
//	the control socket of the sandbox's init, the socket that becomes fd 3, cgroup v1's tasks and freezer.state of the freezer,
//	the pipe for standard output and error, a file that is replaced, and then
//	with Group the directory of a group of cgroups version 2; else the tasks files of groups of version 1
//
// The answer is an i32: the pid of a process that the zygote cloned as a child of the server (CLONE_PARENT) in a new pid
// namespace, or a negative errno. That process enters the groups and the namespaces, forks the command and becomes the init of
// the sandbox, which then tells the command what it is; see plan.AppendForked.
package zygote

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Flags of a request: which of its files are real.
const (
	Frames  = 1 << iota // the socket for fd 3
	Freezer             // the files of the freezer
	Group               // the directory of a group, and no tasks files
)

// RequestSize is the size of a request in bytes; MaxFiles is the most files that it brings.
const (
	RequestSize = 32
	MaxFiles    = 32
)

// slow is how long a zygote may take for an answer.
const slow = 10 * time.Second

// Process is a running zygote.
type Process struct {
	mu   sync.Mutex
	conn *net.UnixConn
	stop func() // ends it and waits for that; closes conn
}

// Socketpair returns the two ends of a zygote's socket. The second one is for the program.
func Socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "zygote"), os.NewFile(uintptr(fds[1]), "zygote")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), theirs, nil
}

// NewProcess waits until a zygote that has been started says that it is ready. stop ends it and waits for that; the caller does so
// after an error.
func NewProcess(conn *net.UnixConn, stop func()) (*Process, error) {
	conn.SetReadDeadline(time.Now().Add(slow))
	n, err := conn.Read(make([]byte, 16))
	if err == nil && n == 0 {
		err = net.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("the zygote did not get ready: %w", err)
	}
	return &Process{conn: conn, stop: stop}, nil
}

// fork asks for one process and returns its pid. After an error that is not an errno the zygote is of no more use.
func (p *Process) fork(flags byte, id string, files []int) (int, error) {
	request := make([]byte, RequestSize)
	request[0] = flags
	if copy(request[1:], id) != len(id) || len(files) > MaxFiles {
		return 0, unix.EINVAL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.SetDeadline(time.Now().Add(slow))
	if _, _, err := p.conn.WriteMsgUnix(request, unix.UnixRights(files...), nil); err != nil {
		return 0, err
	}
	answer := make([]byte, 4)
	if n, err := p.conn.Read(answer); err != nil {
		return 0, err
	} else if n != len(answer) {
		return 0, net.ErrClosed
	}
	pid := int32(binary.LittleEndian.Uint32(answer))
	if pid <= 0 {
		return 0, unix.Errno(-pid)
	}
	return int(pid), nil
}
