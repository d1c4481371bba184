//go:build linux

// Else the runtime opens the files of the CPU quota at each start, and keeps them open.
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// The init of a sandbox: process 1 of its namespaces. The server clones it into fresh namespaces and its cgroup and sends it a
// plan; it builds the file system, opens the listeners, gives up every right, starts the programs and reaps until one of them
// exits. It ends, and with it the whole tree, when one of plan.Extend does, with the last program when the command has exited or the
// server has asked for the end, and when the server closes the control socket.
//
// It is a program of its own because the server's binary takes many times as long to start. It uses package syscall alone.
// Each thread has rights of its own, so main stays on one thread, whose rights the command inherits.
package main

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/init/plan"
)

func init() { runtime.LockOSThread() }

const usualSlack = 50_000 // nanoseconds, the kernel's own

// Shared by the thread that serves and the one that reaps.
var (
	command atomic.Int32 // pid of the command; 0 before it was started
	ending  atomic.Bool
)

// entersyscall tells the Go runtime that this thread does without it until further notice. What calls it must not grow its stack
// from then on.
//
//go:linkname entersyscall runtime.entersyscall
func entersyscall()

func main() {
	// The server gave this process slack in its timers, or the monitor of the Go runtime would wake up every few microseconds: a
	// third of all the time that a start takes. The command must not inherit it.
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, usualSlack, 0)
	closeOthers()
	p := readPlan()
	if p == nil {
		syscall.Exit(1) // the server is gone
	}
	// In the session of a zygote are its own children alone that the server does not know yet.
	syscall.Setsid()
	gate := []int{-1, -1}
	if len(p.Extend) > 0 && syscall.Pipe2(gate, syscall.O_CLOEXEC) != nil {
		syscall.Exit(1)
	}
	serving, started, reading := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go serve(p, gate[1], serving, started, reading)
	b := &builder{plan: p, serving: serving}
	b.run()
	b.leaveOnFailure()
	close(started)
	<-reading // from here on the server may freeze this thread
	answer(plan.Ready, nil, b.listeners)
	for _, fd := range b.listeners {
		syscall.Close(fd)
	}
	if len(p.Command) == 0 {
		syscall.Exit(0)
	}
	if len(p.Extend) > 0 && opened(gate[0], b.watched) {
		b.command()
		b.leaveOnFailure()
		answer(plan.Opened, nil, nil)
	}
	ignoreSignals()
	b.reap()
}

func (b *builder) leaveOnFailure() {
	if b.failure != "" {
		answer(b.kind, []byte(b.failure), nil)
		syscall.Exit(1)
	}
}

// opened waits until the gate opens, or until one of the processes ends: then it returns false.
func opened(gate int, pidfds []int) bool {
	type pollFd struct {
		fd              int32
		events, revents int16
	}
	const pollIn = 1
	list := []pollFd{{fd: int32(gate), events: pollIn}}
	for _, fd := range pidfds {
		list = append(list, pollFd{fd: int32(fd), events: pollIn})
	}
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), 0, 0, 0, 0)
		if errno == 0 {
			break
		}
	}
	for _, f := range list {
		syscall.Close(int(f.fd))
	}
	for _, f := range list[1:] {
		if f.revents != 0 {
			return false
		}
	}
	return true
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

func write(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(fd, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
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

// serve answers the server's requests, and ends the sandbox when the server closes the control socket, or dies. It closes serving
// when it needs its capabilities no more, waits for started, closes reading and then does without the Go runtime, down to the growth
// of its stack: the main thread may be frozen at any time, with locks of the runtime held.
func serve(p *plan.Plan, gate int, serving chan<- struct{}, started <-chan struct{}, reading chan<- struct{}) {
	runtime.LockOSThread()
	freezer := p.Freezer
	if !p.User { // so that it may signal the command
		syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(p.UID), uintptr(p.UID), uintptr(p.UID))
	}
	close(serving)
	<-started
	request := make([]byte, 1)
	thaw := []byte("THAWED")
	reply := append([]byte{plan.Socket}, 4, 0, 0, 0, 0, 0, 0, 0)
	part := &syscall.Iovec{Base: &reply[0]}
	part.SetLen(len(reply))
	rights := syscall.UnixRights(0)
	passed := (*int32)(unsafe.Pointer(&rights[syscall.CmsgLen(0)]))
	message := &syscall.Msghdr{Iov: part, Iovlen: 1, Control: &rights[0]}
	close(reading)
	// Else this thread would count as busy, and the runtime's monitor would look after it a hundred times a second.
	entersyscall()
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, plan.Control, uintptr(unsafe.Pointer(&request[0])), 1)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			break
		}
		if request[0] == plan.Open {
			syscall.RawSyscall(syscall.SYS_WRITE, uintptr(gate), uintptr(unsafe.Pointer(&request[0])), 1)
			continue
		}
		if request[0] == plan.Terminate || request[0] == plan.Kill {
			ending.Store(true)
			signal := syscall.SIGTERM
			if request[0] == plan.Kill {
				signal = syscall.SIGKILL
			}
			if pid := command.Load(); pid > 0 {
				syscall.RawSyscall(syscall.SYS_KILL, uintptr(pid), uintptr(signal), 0)
			}
			continue
		}
		fd, _, errno := syscall.RawSyscall(syscall.SYS_SOCKET, syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		reply[5], reply[6] = byte(errno), byte(errno>>8)
		message.Controllen = 0
		if errno == 0 {
			*passed, message.Controllen = int32(fd), uint64(len(rights))
		}
		for {
			_, _, failed := syscall.RawSyscall(syscall.SYS_SENDMSG, plan.Control, uintptr(unsafe.Pointer(message)), syscall.MSG_NOSIGNAL)
			if failed != syscall.EINTR {
				break
			}
		}
		if errno == 0 {
			syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
		}
	}
	if freezer {
		// Under cgroup v1 a frozen process cannot even be killed. The main thread may be frozen too; this one is not.
		syscall.RawSyscall(syscall.SYS_WRITE, plan.FreezerState, uintptr(unsafe.Pointer(&thaw[0])), uintptr(len(thaw)))
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}

// reap waits for every child and tells the server when a program of the plan exits. It exits, which ends all others, after one of
// plan.Extend, but after the last program when the command has exited or the end was asked for.
func (b *builder) reap() {
	programs := append([]int{b.pid}, b.extend...)
	left := len(b.extend)
	if b.pid > 0 {
		left++
	}
	for {
		var status int32
		pid, _, errno := syscall.Syscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), 0, 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			syscall.Exit(0)
		}
		for i, program := range programs {
			if int(pid) != program {
				continue
			}
			if i == 0 {
				command.Store(0) // the number may become another's
			}
			left--
			asked := ending.Load()
			if i == 0 {
				ending.Store(true) // those of plan.Extend have their time
			}
			if left == 0 || !asked {
				answer(plan.Exited, plan.AppendUint32(plan.AppendUint32(nil, uint32(status)), uint32(i)), nil)
			}
			if left == 0 || !ending.Load() {
				syscall.Exit(0)
			}
		}
	}
}

// closeOthers closes what the server inherited from whoever started it, and keeps this init's own descriptors from the command.
func closeOthers() {
	const sysCloseRange = 436 // Linux 5.9
	if _, _, errno := syscall.RawSyscall(sysCloseRange, plan.Forked+1, 1<<31-1, 0); errno != 0 {
		for fd := plan.Forked + 1; fd < 4096; fd++ {
			syscall.Close(fd)
		}
	}
	for fd := plan.Control; fd <= plan.Forked; fd++ {
		syscall.CloseOnExec(fd)
	}
}

// ignoreSignals keeps a "kill -TERM -1" inside the sandbox from ending its init. The command has been started: it inherits none
// of this.
func ignoreSignals() {
	const byDefault, ignore = 0, 1 // SIG_DFL, SIG_IGN
	for sig := syscall.SIGHUP; sig <= 64; sig++ {
		action := [4]uintptr{ignore}
		switch sig {
		case syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV:
			action[0] = byDefault // process 1 gets these from the kernel alone; Go's handlers would take them from anybody
		case syscall.SIGCHLD, syscall.SIGKILL, syscall.SIGSTOP:
			continue
		}
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}
