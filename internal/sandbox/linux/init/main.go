//go:build linux

// Else the runtime opens the files of the CPU quota at each start, and keeps them open.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

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
	closeOthers()
	p := readPlan()
	if p == nil {
		syscall.Exit(1) // the server is gone
	}
	started, reading := make(chan struct{}), make(chan struct{})
	go leaveWithServer(p, started, reading)
	b := &builder{plan: p}
	b.run()
	if b.failure != "" {
		answer(plan.Failed, []byte(b.failure), nil)
		syscall.Exit(1)
	}
	close(started)
	<-reading // from here on the server may freeze this thread
	answer(plan.Ready, plan.AppendUint32(nil, uint32(b.pid)), b.listeners)
	for _, fd := range b.listeners {
		syscall.Close(fd)
	}
	if len(p.Command) == 0 {
		syscall.Exit(0)
	}
	ignoreSignals()
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

// leaveWithServer ends the sandbox when the server closes the control socket, or dies. It waits for started, closes reading and
// then does without the Go runtime: the main thread may be frozen at any time, with locks of the runtime held.
func leaveWithServer(p *plan.Plan, started <-chan struct{}, reading chan<- struct{}) {
	runtime.LockOSThread()
	<-started
	buf := make([]byte, 1)
	thaw := []byte("THAWED")
	close(reading)
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, plan.Control, uintptr(unsafe.Pointer(&buf[0])), 1)
		if errno != syscall.EINTR && (errno != 0 || n == 0) {
			break
		}
	}
	if p.Freezer {
		// Under cgroup v1 a frozen process cannot even be killed. The main thread may be frozen too; this one is not.
		syscall.RawSyscall(syscall.SYS_WRITE, plan.FreezerState, uintptr(unsafe.Pointer(&thaw[0])), uintptr(len(thaw)))
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}

// reap waits for every child until the first one exits, tells the server and exits, which ends all others.
func reap(first int) {
	for {
		var status int32
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), 0, 0, 0, 0)
		if errno == syscall.EINTR || errno == 0 && int(pid) != first {
			continue
		}
		if errno == 0 {
			answer(plan.Exited, plan.AppendUint32(nil, uint32(status)), nil)
		}
		syscall.Exit(0)
	}
}

// closeOthers closes what the server inherited from whoever started it, and keeps this init's own descriptors from the command.
func closeOthers() {
	const sysCloseRange = 436 // Linux 5.9
	if _, _, errno := syscall.RawSyscall(sysCloseRange, plan.FreezerState+1, 1<<31-1, 0); errno != 0 {
		for fd := plan.FreezerState + 1; fd < 4096; fd++ {
			syscall.Close(fd)
		}
	}
	for fd := plan.Control; fd <= plan.FreezerState; fd++ {
		syscall.CloseOnExec(fd)
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
