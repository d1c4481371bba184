package process

import (
	"bytes"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// awaitExit waits until a child has ended, without reaping it.
func awaitExit(pid int) {
	kq, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(kq)
	change := []unix.Kevent_t{{Ident: uint64(pid), Filter: unix.EVFILT_PROC, Flags: unix.EV_ADD, Fflags: unix.NOTE_EXIT}}
	event := make([]unix.Kevent_t, 1)
	for {
		// ESRCH: it has ended already.
		if _, err := unix.Kevent(kq, change, event, nil); err != unix.EINTR {
			return
		}
	}
}

// marked are this user's processes in whose environment an entry begins with prefix.
func marked(prefix string) []int {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.uid", os.Geteuid())
	if err != nil {
		return nil
	}
	inside := append([]byte{0}, prefix...)
	var pids []int
	for _, p := range all {
		pid := int(p.Proc.P_pid)
		// Arguments and environment, each ended by a zero byte.
		if env, err := unix.SysctlRaw("kern.procargs2", pid); err == nil && bytes.Contains(env, inside) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// usageOf is not to be had while a process runs.
func usageOf(int) sandbox.Usage { return sandbox.Usage{} }

func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss }
