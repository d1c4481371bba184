package process

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// box is a tree of plain processes.
type box struct {
	driver    *Driver
	marker    string
	tmp       string
	process   *os.Process // the first process, leader of its session and group
	conn      *net.UnixConn
	listeners map[int]net.Listener
	output    *os.File
	done      chan struct{}
	exit      sandbox.Exit

	mu    sync.Mutex
	over  bool // the first process is about to be reaped: its id may then be another's
	usage sandbox.Usage
}

func (b *box) Conn() *net.UnixConn { return b.conn }

func (b *box) Listener(port int) net.Listener {
	if ln, ok := b.listeners[port]; ok {
		return ln
	}
	return nil
}

func (b *box) Output() *os.File { return b.output }

func (b *box) Done() <-chan struct{} { return b.done }

func (b *box) Exit() sandbox.Exit {
	select {
	case <-b.done:
		return b.exit
	default:
		return sandbox.Exit{}
	}
}

// Usage is that of the first process; while it runs, only Linux tells it.
func (b *box) Usage() sandbox.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sample()
	return b.usage
}

// sample reads the usage while the process runs. The caller holds b.mu.
func (b *box) sample() {
	if b.over {
		return
	}
	u := usageOf(b.process.Pid)
	b.usage.MemoryPeak = max(b.usage.MemoryPeak, u.MemoryPeak)
	b.usage.CPU = max(b.usage.CPU, u.CPU)
}

// interrupt sends the signal that ends the group; wait does the rest.
func (b *box) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sample()
	if !b.over {
		syscall.Kill(-b.process.Pid, syscall.SIGKILL)
	}
}

func (b *box) Kill() {
	b.interrupt()
	<-b.done
	if b.conn != nil {
		b.conn.Close()
	}
}

// wait ends the rest of the tree with its first process.
func (b *box) wait() {
	awaitExit(b.process.Pid)
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	// Not reaped yet, so that the group's id is still its own.
	syscall.Kill(-b.process.Pid, syscall.SIGKILL)
	if n := killMarked(b.marker); n > 0 {
		b.driver.logger.Warn("processes of a sandbox could not be killed", "sandbox", b.marker, "processes", n)
	}
	state, err := b.process.Wait()
	if err != nil {
		b.driver.logger.Warn("how a sandbox ended is not known", "sandbox", b.marker, "error", err)
		b.exit = sandbox.Exit{Code: -1, Signal: int(syscall.SIGKILL)}
	} else {
		b.account(state)
	}
	b.release()
	b.driver.mu.Lock()
	delete(b.driver.living, b)
	b.driver.mu.Unlock()
	close(b.done)
}

func (b *box) account(state *os.ProcessState) {
	status := state.Sys().(syscall.WaitStatus)
	b.exit = sandbox.Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		b.exit = sandbox.Exit{Code: -1, Signal: int(status.Signal())}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.usage.CPU = max(b.usage.CPU, int64(state.UserTime()+state.SystemTime()))
	if b.usage.MemoryPeak == 0 {
		// A last resort: on Linux this counts what the server used when it forked.
		b.usage.MemoryPeak = maxRSS(state.SysUsage().(*syscall.Rusage))
	}
}

// release gives back what the sandbox held, but for output and conn, which may still hold what the process wrote.
func (b *box) release() {
	for _, ln := range b.listeners {
		ln.Close()
	}
	if b.process == nil && b.conn != nil {
		b.conn.Close()
	}
	if b.tmp != "" {
		if err := os.RemoveAll(b.tmp); err != nil {
			b.driver.logger.Warn("temporary files of a sandbox are left behind", "error", err)
		}
	}
}

// markerName is the environment variable that marks the processes of a tree: "<driver id>/<sandbox id>/".
const markerName = "HANSOM_SANDBOX"

// killMarked kills the processes whose marker begins with prefix, and waits until they are gone. It returns how many are left
// when that takes too long.
func killMarked(prefix string) int {
	var pids []int
	for end := time.Now().Add(5 * time.Second); ; {
		if pids = marked(markerName + "=" + prefix); len(pids) == 0 || time.Now().After(end) {
			return len(pids)
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}
