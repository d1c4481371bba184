package sandbox

import (
	"net"
	"os"
	"syscall"

	"github.com/hansomcloud/hansom"
)

// Socketpair makes the socket of a runtime: the server's end and the file that becomes the process's fd 3. Both are closed on
// exec, and both belong to the caller.
func Socketpair() (server *net.UnixConn, runtime *os.File, err error) {
	// Two steps and the lock in place of SOCK_CLOEXEC, which darwin lacks.
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, hansom.Errorf(hansom.Internal, "make runtime socket", "%w", err)
	}
	runtime = os.NewFile(uintptr(fds[1]), "runtime socket")
	own := os.NewFile(uintptr(fds[0]), "runtime socket")
	defer own.Close() // FileConn has a duplicate
	conn, err := net.FileConn(own)
	if err != nil {
		runtime.Close()
		return nil, nil, hansom.Errorf(hansom.Internal, "make runtime socket", "%w", err)
	}
	return conn.(*net.UnixConn), runtime, nil
}
