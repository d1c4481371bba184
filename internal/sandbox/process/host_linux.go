package process

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// clockTick is USER_HZ, the unit of times in /proc: 100 on every Linux.
const clockTick = 1e9 / 100

func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitExit waits until a child has ended, without reaping it.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// marked are the processes in whose environment an entry begins with prefix.
func marked(prefix string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	inside := append([]byte{0}, prefix...)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err == nil && (bytes.HasPrefix(env, inside[1:]) || bytes.Contains(env, inside)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// usageOf a running process; zero when it has ended.
func usageOf(pid int) (u sandbox.Usage) {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return u
	}
	if _, rest, ok := strings.Cut(string(status), "\nVmHWM:"); ok {
		kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.ParseInt(kb, 10, 64)
		u.MemoryPeak = n << 10
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u
	}
	// Fields after the name, which may hold anything: state is the third of proc(5), utime the 14th, stime the 15th.
	if i := bytes.LastIndexByte(stat, ')'); i >= 0 {
		if f := strings.Fields(string(stat[i+1:])); len(f) > 12 {
			utime, _ := strconv.ParseInt(f[11], 10, 64)
			stime, _ := strconv.ParseInt(f[12], 10, 64)
			u.CPU = (utime + stime) * clockTick
		}
	}
	return u
}

func maxRSS(ru *syscall.Rusage) int64 { return ru.Maxrss << 10 }
