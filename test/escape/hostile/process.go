//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	try(map[string]func(e *event) error{
		"signal a process of the host":          func(e *event) error { return unix.Kill(e.PID, 0) },
		"kill the init of another sandbox":      func(e *event) error { return unix.Kill(e.OtherInit, unix.SIGKILL) },
		"find a process of the host in /proc":   func(e *event) error { return read(fmt.Sprintf("/proc/%d/status", e.PID)) },
		"open a process of the host":            func(e *event) error { return pidfdOpen(e.PID) },
		"trace a process of the host":           func(e *event) error { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(e.PID), 0, 0) },
		"read the memory of the host's process": func(e *event) error { return readMemory(e.PID) },
		"use shared memory of others":           func(e *event) error { return systemV(unix.SYS_SHMGET, e.Key, 4096) },
		"use semaphores of others":              func(e *event) error { return systemV(unix.SYS_SEMGET, e.Key, 1) },
		"use message queues of others":          func(e *event) error { return systemV(unix.SYS_MSGGET, e.Key, 0) },
		"use a POSIX message queue of others":   func(e *event) error { return call(unix.SYS_MQ_OPEN, text("escape"), unix.O_RDONLY, 0, 0) },
	})
	attempts["kill all it may"] = killAll
	attempts["kill its init"] = func(*event) answer { return signalInit(unix.SIGKILL) }
	attempts["stop its init"] = func(*event) answer { return signalInit(unix.SIGSTOP) }
	attempts["end its init"] = func(*event) answer { return signalInit(unix.SIGTERM) }
	attempts["make the init crash"] = func(*event) answer { return signalInit(unix.SIGSEGV) }
	attempts["see other processes"] = otherProcesses
	attempts["choose its CPUs"] = func(*event) answer { return chooseCPUs() }
	attempts["stop itself"] = func(*event) answer { unix.Kill(os.Getpid(), unix.SIGSTOP); return answer{Result: "ok"} }
	attempts["go on after the time limit"] = func(e *event) answer {
		daemon("sh", "-c", "while :; do sleep 1; done", e.Abstract)
		time.Sleep(time.Hour)
		return answer{Result: "ok"}
	}
	attempts["flood the init with orphans"] = orphans
	attempts["burn the processor after the answer"] = func(e *event) answer { return daemon("sh", "-c", "while :; do :; done", e.Abstract) }
	attempts["start processes without end"] = forkBomb
	attempts["leave a core dump"] = coreDump
}

// chooseCPUs leaves all CPUs but the first that it has.
func chooseCPUs() answer {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one, got unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return result(err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if all == one {
		return answer{Result: "no effect"} // there is nothing to choose from
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return result(err)
	}
	defer unix.SchedSetaffinity(0, &all)
	if err := unix.SchedGetaffinity(0, &got); err != nil {
		return result(err)
	}
	if got == all {
		return answer{Result: "no effect"}
	}
	return answer{Result: "ok"}
}

func pidfdOpen(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func systemV(number uintptr, key, size int) error {
	if number == unix.SYS_MSGGET {
		return call(number, uintptr(key), 0o666)
	}
	return call(number, uintptr(key), uintptr(size), 0o666)
}

// killAll sends a signal to all that it may reach, itself apart; init must survive that.
func killAll(*event) answer {
	err := unix.Kill(-1, unix.SIGTERM)
	return answer{"nothing but itself", fmt.Sprint(err)}
}

// signalInit sends process 1 a signal and reports whether it still reaps: whether a process that ends goes away.
func signalInit(sig syscall.Signal) answer {
	err := unix.Kill(1, sig)
	if !reaps() {
		return answer{"ok", fmt.Sprint(err)}
	}
	if err != nil {
		return result(err)
	}
	return answer{Result: "no effect"}
}

// reaps makes an orphan, and reports whether it goes away when it ends.
func reaps() bool {
	out, err := exec.Command("/bin/sh", "-c", "(/bin/true & echo $!)").Output()
	if err != nil {
		return false
	}
	pid := strings.TrimSpace(string(out))
	for range 1000 {
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

func otherProcesses(*event) answer {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return result(err)
	}
	var found []string
	for _, e := range entries {
		name := e.Name()
		if name[0] < '0' || name[0] > '9' || name == "1" || name == fmt.Sprint(os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile("/proc/" + name + "/cmdline")
		found = append(found, name+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	if len(found) > 0 {
		return answer{"ok", strings.Join(found, ", ")}
	}
	return answer{Result: "none"}
}

// daemon leaves a process behind in a session of its own, with no parent and deaf to what asks it to end.
func daemon(argv ...string) answer {
	script := "trap '' TERM HUP INT; exec \"$@\""
	cmd := exec.Command("/usr/bin/setsid", append([]string{"-f", "/bin/sh", "-c", script, "sh"}, argv...)...)
	if err := cmd.Run(); err != nil {
		return result(err)
	}
	return answer{Result: "left"}
}

// orphans makes thousands of processes whose parents die at once: the init has to reap them all.
func orphans(*event) answer {
	script := "i=0; while [ $i -lt 600 ]; do (sh -c : &); i=$((i+1)); done; echo $i"
	out, err := exec.Command("/bin/sh", "-c", script).Output()
	if err != nil || !reaps() {
		return answer{"ok", fmt.Sprint("it does not reap: ", err)}
	}
	for range 1000 { // all of them
		if r := otherProcesses(nil); r.Result == "none" {
			return answer{"reaped", strings.TrimSpace(string(out)) + " orphans"}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return otherProcesses(nil)
}

// forkBomb starts processes that sleep until it may not, and ends them.
func forkBomb(*event) answer {
	var started []*os.Process
	defer func() {
		for _, p := range started {
			p.Kill()
			p.Wait()
		}
	}()
	for len(started) < 2000 {
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
		if err != nil {
			r := result(err)
			r.Detail = fmt.Sprint(len(started), " processes: ", r.Detail)
			return r
		}
		started = append(started, p)
	}
	return answer{"ok", fmt.Sprint(len(started), " processes")}
}

func coreDump(*event) answer {
	cmd := exec.Command("/bin/sh", "-c", "ulimit -c unlimited 2>/dev/null; cd /tmp; kill -SEGV $$")
	cmd.Run()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump() {
		return answer{Result: "ok"}
	}
	return answer{Result: "none"}
}
