//go:build linux

// The init of a sandbox: process 1 of its namespaces. The server clones it into fresh namespaces and its cgroup and sends it a
// plan; it builds the file system, opens the listeners, gives up every right, starts the command and reaps until that exits.
// It ends, and with it the whole tree, when the command does or when the server closes the control socket.
//
// It is a program of its own because the server's binary takes many times as long to start. It uses package syscall alone.
// Each thread has rights of its own, so main stays on one thread, whose rights the command inherits.
package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
)

func init() { runtime.LockOSThread() }

func main() {
	for fd := plan.Control; fd <= plan.FreezerState; fd++ {
		syscall.CloseOnExec(fd)
	}
	p := readPlan()
	if p == nil {
		syscall.Exit(1) // the server is gone
	}
	b := &builder{plan: p}
	b.run()
	if b.failure != "" {
		answer(plan.Failed, []byte(b.failure), nil)
		syscall.Exit(1)
	}
	answer(plan.Ready, plan.AppendUint32(nil, uint32(b.pid)), b.listeners)
	for _, fd := range b.listeners {
		syscall.Close(fd)
	}
	if len(p.Command) == 0 {
		syscall.Exit(0)
	}
	ignoreSignals()
	go leaveWithServer(p)
	reap(b.pid)
}

// readPlan returns nil when the control socket closes before a whole plan has come.
func readPlan() *plan.Plan {
	head := make([]byte, 4)
	if !readFull(head) {
		return nil
	}
	n := plan.Uint32(head)
	if n > plan.MaxPlan {
		return nil
	}
	body := make([]byte, n)
	if !readFull(body) {
		return nil
	}
	p, ok := plan.Decode(body)
	if !ok {
		return nil
	}
	return p
}

func readFull(b []byte) bool {
	for len(b) > 0 {
		n, err := syscall.Read(plan.Control, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// answer tells the server something. When the server is gone there is nobody to tell.
func answer(kind byte, body []byte, files []int) {
	msg := append([]byte{kind}, plan.AppendUint32(nil, uint32(len(body)))...)
	var rights []byte
	if len(files) > 0 {
		rights = syscall.UnixRights(files...)
	}
	for syscall.Sendmsg(plan.Control, append(msg, body...), rights, nil, syscall.MSG_NOSIGNAL) == syscall.EINTR {
	}
}

// leaveWithServer ends the sandbox when the server closes the control socket, or dies.
func leaveWithServer(p *plan.Plan) {
	buf := make([]byte, 1)
	for {
		n, err := syscall.Read(plan.Control, buf)
		if err != syscall.EINTR && n <= 0 {
			break
		}
	}
	if p.Freezer {
		// Under cgroup v1 a frozen process cannot even be killed. The main thread may be frozen too; this one is not.
		syscall.Write(plan.FreezerState, []byte("THAWED"))
	}
	syscall.Exit(0)
}

// reap waits for every child until the first one exits, tells the server and exits, which ends all others.
func reap(first int) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR || err == nil && pid != first {
			continue
		}
		if err == nil {
			answer(plan.Exited, plan.AppendUint32(nil, uint32(status)), nil)
		}
		syscall.Exit(0)
	}
}

// ignoreSignals keeps a "kill -TERM -1" inside the sandbox from ending its init. The command has been started: it inherits none
// of this.
func ignoreSignals() {
	const ignore = 1 // SIG_IGN
	action := [4]uintptr{ignore}
	for sig := syscall.SIGHUP; sig < 32; sig++ {
		switch sig {
		case syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGCHLD, syscall.SIGKILL, syscall.SIGSTOP:
		default:
			syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		}
	}
}
