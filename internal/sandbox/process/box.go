package process

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// box is a tree of plain processes.
type box struct {
	driver    *Driver
	marker    string
	tmp       string
	spec      sandbox.Spec
	env       []string // of each program
	conn      *net.UnixConn
	listeners map[int]net.Listener
	output    *os.File
	extOutput *os.File
	port      int      // of the host, for that of Spec.Serve
	ended     chan int // indexes of programs that have ended
	done      chan struct{}
	exit      sandbox.Exit

	mu       sync.Mutex
	programs []program
	killed   bool // no further program may start
	ending   bool // the tree ends with the last of its programs
	over     bool // the programs are about to be reaped: their ids may then be others'
	usage    sandbox.Usage

	open   sync.Once // starts the command
	opened error
	files  []*os.File // until then: null, stdout, stderr and fd 3
	extend []*os.File // until then: null, stdout and stderr of Spec.Extend
}

var (
	_ sandbox.Dialer = (*box)(nil)
	_ sandbox.Gate   = (*box)(nil)
)

// program is a process, leader of its session and group.
type program struct {
	extension string // of Spec.Extend; "" is the command
	process   *os.Process
}

func (b *box) Conn() *net.UnixConn { return b.conn }

func (b *box) Listener(port int) net.Listener {
	if ln, ok := b.listeners[port]; ok {
		return ln
	}
	return nil
}

func (b *box) Output() *os.File { return b.output }

func (b *box) ExtensionOutput() *os.File { return b.extOutput }

// Ended implements sandbox.Gate: here the tree ends with the command.
func (b *box) Ended() <-chan struct{} { return b.done }

// End implements sandbox.Gate.
func (b *box) End(signal syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ending = true
	for _, p := range b.programs {
		if p.extension == "" && !b.over {
			syscall.Kill(p.process.Pid, signal)
		}
	}
}

func (b *box) Done() <-chan struct{} { return b.done }

func (b *box) Exit() sandbox.Exit {
	select {
	case <-b.done:
		return b.exit
	default:
		return sandbox.Exit{}
	}
}

// Usage is that of the programs; while they run, only Linux tells it.
func (b *box) Usage() sandbox.Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sample()
	return b.usage
}

// sample reads the usage while the programs run. The caller holds b.mu.
func (b *box) sample() {
	if b.over {
		return
	}
	var now sandbox.Usage
	for _, p := range b.programs {
		u := usageOf(p.process.Pid)
		now.MemoryPeak += u.MemoryPeak
		now.CPU += u.CPU
	}
	b.usage.MemoryPeak = max(b.usage.MemoryPeak, now.MemoryPeak)
	b.usage.CPU = max(b.usage.CPU, now.CPU)
}

// interrupt sends the signal that ends the groups; wait does the rest.
func (b *box) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sample()
	b.killGroups()
	b.killed = true
}

// killGroups kills the programs, which are not reaped yet, so that a group's id is still its own. The caller holds b.mu.
func (b *box) killGroups() {
	if b.over {
		return
	}
	for _, p := range b.programs {
		syscall.Kill(-p.process.Pid, syscall.SIGKILL)
	}
}

func (b *box) Kill() {
	b.interrupt()
	<-b.done
	if b.conn != nil {
		b.conn.Close()
	}
}

// run starts a program, "" for the command, and watches it.
func (b *box) run(extension string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.killed {
		return sandbox.ErrClosed
	}
	command, files := b.spec.Command, b.files
	if extension != "" {
		command, files = []string{extension}, b.extend
	}
	argv := make([]string, len(command))
	for i, a := range command {
		flag, p, ok := strings.Cut(a, "=/")
		if argv[i] = b.driver.Relocate(b.spec, a); ok {
			argv[i] = flag + "=" + b.driver.Relocate(b.spec, "/"+p)
		}
	}
	attr := &os.ProcAttr{Dir: b.driver.Relocate(b.spec, b.spec.Dir), Env: b.env, Files: files, Sys: sysProcAttr()}
	reply := make(chan spawned)
	b.driver.spawn <- spawn{argv[0], argv, attr, reply}
	got := <-reply
	if err := got.err; err != nil {
		kind := hansom.Internal
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
			kind = hansom.Invalid
		}
		return hansom.Errorf(kind, opStart, "cannot start %s in directory %q: %w", command[0], b.spec.Dir, err)
	}
	i := len(b.programs)
	b.programs = append(b.programs, program{extension, got.process})
	go func() {
		awaitExit(got.process.Pid)
		b.ended <- i
	}()
	return nil
}

// closeFiles closes what the command has by now, or never will.
func (b *box) closeFiles() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range append(b.files, b.extend...) {
		f.Close()
	}
	b.files, b.extend = nil, nil
}

// Open implements sandbox.Gate.
func (b *box) Open() error {
	b.open.Do(func() {
		if b.opened = b.run(""); b.opened != nil {
			b.interrupt()
			return
		}
		b.closeFiles()
	})
	return b.opened
}

// Dial implements sandbox.Dialer. The sandbox's loopback is the host's.
func (b *box) Dial(ctx context.Context, port int) (net.Conn, error) {
	if serve := b.spec.Serve; serve != nil && (port == 0 || port == serve.Port) {
		port = b.port
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		select {
		case <-b.done:
			err = &net.OpError{Op: "dial", Net: "tcp", Err: sandbox.ErrClosed}
		default:
		}
		return nil, err
	}
	return conn, nil
}

// wait ends the rest of the tree with the first program that ends, or with the last one when End was called.
func (b *box) wait() {
	first, ended := <-b.ended, 1
	b.mu.Lock()
	for b.ending && !b.killed && ended < len(b.programs) {
		b.mu.Unlock()
		first = <-b.ended
		ended++
		b.mu.Lock()
	}
	b.sample()
	if b.killed { // from outside
		first = max(0, slices.IndexFunc(b.programs, func(p program) bool { return p.extension == "" }))
	} else {
		b.exit.Extension = b.programs[first].extension
	}
	b.killed = true
	b.killGroups()
	all := b.programs
	b.mu.Unlock()
	for range len(all) - ended {
		<-b.ended
	}
	if n := killMarked(b.marker); n > 0 {
		b.driver.logger.Warn("processes of a sandbox could not be killed", "sandbox", b.marker, "processes", n)
	}
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	b.exit.Code, b.exit.Signal = -1, int(syscall.SIGKILL)
	var cpu time.Duration
	for i, p := range all {
		state, err := p.process.Wait()
		if err != nil {
			b.driver.logger.Warn("how a sandbox ended is not known", "sandbox", b.marker, "error", err)
			continue
		}
		if i == first {
			b.account(state)
		}
		cpu += state.UserTime() + state.SystemTime()
	}
	b.mu.Lock()
	b.usage.CPU = max(b.usage.CPU, int64(cpu))
	b.mu.Unlock()
	b.release()
	b.driver.mu.Lock()
	delete(b.driver.living, b)
	b.driver.mu.Unlock()
	close(b.done)
}

func (b *box) account(state *os.ProcessState) {
	status := state.Sys().(syscall.WaitStatus)
	b.exit.Code, b.exit.Signal = status.ExitStatus(), 0
	if status.Signaled() {
		b.exit.Signal = int(status.Signal())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
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
	if len(b.programs) == 0 && b.conn != nil {
		b.conn.Close()
	}
	b.closeFiles()
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
