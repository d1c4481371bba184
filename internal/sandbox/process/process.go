// Package process is the sandbox driver without isolation, for macOS and for Linux without the rights: plain processes of the
// server's own user, on the host's own paths and network. It keeps the rest of the contract: output, listeners, fd 3, and that
// the whole tree ends with its programs, with Kill and with the server. Spec.Memory, Tmp and Processes are not enforced.
//
// A tree is its process group and every process that carries the tree's marker in its environment; one that has left the
// group and dropped the marker escapes.
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

const opStart = "start sandbox"

// Config of the driver.
type Config struct {
	// Dir is where each driver keeps a directory of its own: its lock and the /tmp of its sandboxes. Drivers of several servers
	// may share it. It must belong to the server's user alone.
	Dir string
}

// DefaultConfig returns a directory of this user below the system's temporary directory.
func DefaultConfig() Config {
	return Config{Dir: filepath.Join(os.TempDir(), "hansom-"+strconv.Itoa(os.Geteuid()), "process")}
}

// Driver starts plain processes.
type Driver struct {
	home   *home
	logger *slog.Logger
	spawn  chan spawn
	ended  chan struct{} // closed when the spawning thread has ended

	mu     sync.Mutex
	closed bool
	living map[*box]struct{}
	starts sync.WaitGroup // Starts under way
}

var (
	_ sandbox.Driver    = (*Driver)(nil)
	_ sandbox.Relocator = (*Driver)(nil)
)

// New returns a driver. It first kills and removes what drivers of dead servers left behind in cfg.Dir.
func New(cfg Config, logger *slog.Logger) (*Driver, error) {
	h, err := openHome(cfg.Dir, logger)
	if err != nil {
		return nil, err
	}
	d := &Driver{home: h, logger: logger, spawn: make(chan spawn), ended: make(chan struct{}), living: map[*box]struct{}{}}
	go d.spawner()
	return d, nil
}

// Name implements sandbox.Driver.
func (d *Driver) Name() string { return "process" }

type spawn struct {
	name  string
	argv  []string
	attr  *os.ProcAttr
	reply chan<- spawned
}

type spawned struct {
	process *os.Process
	err     error
}

// spawner starts every process. Linux ends a process with the thread that started it, not with the program
// (PR_SET_PDEATHSIG), so that thread must live as long as the driver.
func (d *Driver) spawner() {
	runtime.LockOSThread()
	defer close(d.ended)
	for s := range d.spawn {
		p, err := os.StartProcess(s.name, s.argv, s.attr)
		s.reply <- spawned{p, err}
	}
}

// Relocate implements sandbox.Relocator: the host's path for a path as seen inside, by the longest bind that holds it.
func (d *Driver) Relocate(spec sandbox.Spec, path string) string {
	best := sandbox.Bind{}
	for _, b := range spec.Binds {
		if len(b.Target) > len(best.Target) && (path == b.Target || strings.HasPrefix(path, strings.TrimSuffix(b.Target, "/")+"/")) {
			best = b
		}
	}
	if best.Target == "" {
		return path
	}
	return best.Source + strings.TrimPrefix(path, strings.TrimSuffix(best.Target, "/"))
}

// relocateList is Relocate for each path of a list as PATH is one.
func (d *Driver) relocateList(spec sandbox.Spec, list string) string {
	parts := strings.Split(list, ":")
	for i, p := range parts {
		parts[i] = d.Relocate(spec, p)
	}
	return strings.Join(parts, ":")
}

// Start implements sandbox.Driver. Paths below a bind's target in Command (also behind "="), Dir and the values of Env (lists as PATH included)
// become the host's own. TMPDIR is set, unless Env has it, to a directory that is removed with the sandbox.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if len(spec.Command) == 0 {
		return nil, hansom.Errorf(hansom.Internal, opStart, "the sandbox has no command")
	}
	if spec.ID == "" || strings.Trim(spec.ID, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return nil, hansom.Errorf(hansom.Internal, opStart, "sandbox id %q has other characters than lower-case letters and digits", spec.ID)
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, hansom.Errorf(hansom.Unavailable, opStart, "the process driver is closed")
	}
	d.starts.Add(1)
	d.mu.Unlock()
	defer d.starts.Done()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &box{driver: d, spec: spec, marker: d.home.id + "/" + spec.ID + "/", tmp: filepath.Join(d.home.path, spec.ID),
		listeners: map[int]net.Listener{}, ended: make(chan int), done: make(chan struct{})}
	if err := b.start(spec); err != nil {
		b.interrupt()
		if len(b.programs) > 0 {
			b.wait()
		} else {
			b.release()
		}
		for _, f := range []*os.File{b.output, b.extOutput} {
			if f != nil {
				f.Close()
			}
		}
		var e *hansom.Error
		if errors.As(err, &e) {
			return nil, err
		}
		return nil, hansom.Errorf(hansom.Internal, opStart, "%w", err)
	}
	d.mu.Lock()
	d.living[b] = struct{}{}
	d.mu.Unlock()
	go b.wait()
	return b, nil
}

// Close kills what still runs and removes the driver's directory.
func (d *Driver) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.starts.Wait()
	d.mu.Lock()
	var all []*box
	for b := range d.living {
		all = append(all, b)
	}
	d.mu.Unlock()
	for _, b := range all {
		b.interrupt()
	}
	for _, b := range all {
		b.Kill()
	}
	close(d.spawn)
	<-d.ended
	return d.home.close()
}

// start makes all that the process needs, and the process.
func (b *box) start(spec sandbox.Spec) error {
	d := b.driver
	if err := os.Mkdir(b.tmp, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			b.tmp = "" // another sandbox's
			return hansom.Errorf(hansom.Conflict, opStart, "there is a sandbox %s already", spec.ID)
		}
		return err
	}
	var err error
	env := []string{"TMPDIR=" + b.tmp}
	for _, e := range spec.Env {
		name, value, _ := strings.Cut(e, "=")
		env = append(env, name+"="+d.relocateList(spec, value))
	}
	for _, l := range spec.Listen {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		b.listeners[l.Port] = ln
		for _, name := range l.Env {
			env = append(env, name+"="+fmt.Sprintf(l.Format, ln.Addr()))
		}
	}
	if spec.Serve != nil {
		if b.port, err = freePort(); err != nil {
			return err
		}
		env = append(env, spec.Serve.Env+"="+strconv.Itoa(b.port))
	}
	b.env = append(env, markerName+"="+b.marker)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	b.files = []*os.File{null}
	output, stdout, err := os.Pipe()
	if err != nil {
		return err
	}
	b.output, b.files = output, []*os.File{null, stdout, stdout}
	if len(spec.Extend) > 0 {
		output, stdout, err := os.Pipe()
		if err != nil {
			return err
		}
		b.extOutput, b.extend = output, []*os.File{null, stdout, stdout}
	}
	if spec.Frames {
		conn, f, err := sandbox.Socketpair()
		if err != nil {
			return err
		}
		b.conn, b.files = conn, append(b.files, f)
		syscall.SetNonblock(int(f.Fd()), true)
	}
	for _, path := range spec.Extend {
		if err := b.run(path); err != nil {
			return err
		}
	}
	if len(spec.Extend) > 0 {
		return nil
	}
	return b.Open()
}

// freePort is one of the host's loopback on which nothing listens now.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return ln.Addr().(*net.TCPAddr).Port, ln.Close()
}
