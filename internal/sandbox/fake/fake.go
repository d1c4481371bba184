// Package fake is a sandbox driver without processes, for tests of what stands on the contract: a sandbox's runtime is a
// goroutine that follows a Script, and speaks frames over a socket pair or the Lambda Runtime API over the sandbox's listener,
// as real ones do.
//
//	d := fake.New(func(sandbox.Spec) fake.Script {
//		return fake.Script{Handler: func(ctx context.Context, call *fake.Call) ([]byte, error) {
//			switch string(call.Event) {
//			case `"crash"`:
//				return nil, fake.Exit(1)
//			case `"eat memory"`:
//				return nil, fake.OutOfMemory()
//			case `"hang"`:
//				return fake.Hang(ctx, call)
//			case `"stream"`:
//				w := call.Stream("text/plain")
//				io.WriteString(w, "part")
//				return nil, nil
//			}
//			return call.Event, nil
//		}}
//	})
//	defer d.Close()
package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Script is what the runtime of one sandbox does. The zero Script boots at once and answers each event with itself.
// The contexts given to its functions end when the sandbox does.
type Script struct {
	Start   func(ctx context.Context) error                          // inside Driver.Start, with the caller's context: takes its time, or fails
	Process func(ctx context.Context, s *Sandbox) error              // in place of a runtime: any process; the error is how it ends, nil is Exit(0)
	Boot    func(ctx context.Context)                                // before the runtime reports that it has booted
	Init    func(ctx context.Context, in *sandbox.Init) error        // loads the function; with the Runtime API, in is empty
	Handler func(ctx context.Context, call *Call) ([]byte, error)    // answers one event; see Call for streams, logs and garbage
	Extend  func(ctx context.Context, s *Sandbox, path string) error // a program of Spec.Extend; the error is how it ends, as for Process; nil: they run on
	Usage   sandbox.Usage                                            // what Usage reports until Sandbox.SetUsage
}

// FunctionError is an error that a Script's Init and Handler return to report it as a runtime does. Other errors are reported
// with the Type "Error", but for those of Exit, Signal and OutOfMemory, which end the sandbox without an answer.
type FunctionError struct {
	Type, Message string
	Fatal         bool // the runtime exits with status 1 after reporting it
}

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

type exitError struct{ exit sandbox.Exit }

func (e *exitError) Error() string { return e.exit.String() }

// Exit is the error with which a script's process exits without an answer.
func Exit(code int) error { return &exitError{sandbox.Exit{Code: code}} }

// Signal is the error with which a script's process is ended by a signal.
func Signal(n int) error { return &exitError{sandbox.Exit{Code: -1, Signal: n}} }

// OutOfMemory is the error with which a script's process is killed for want of memory.
func OutOfMemory() error { return &exitError{sandbox.Exit{Code: -1, Signal: 9, OOM: true}} }

// Hang is a Handler that never answers: it returns when the sandbox is killed.
func Hang(ctx context.Context, _ *Call) ([]byte, error) {
	<-ctx.Done()
	return nil, Signal(9)
}

// Driver makes fake sandboxes.
type Driver struct {
	script  func(sandbox.Spec) Script
	mu      sync.Mutex
	closed  bool
	started int
	living  []*Sandbox
}

var (
	_ sandbox.Driver  = (*Driver)(nil)
	_ sandbox.Freezer = (*Sandbox)(nil)
	_ sandbox.Dialer  = (*Sandbox)(nil)
	_ sandbox.Gate    = (*Sandbox)(nil)
)

// New returns a driver. script is called for each sandbox.
func New(script func(spec sandbox.Spec) Script) *Driver {
	return &Driver{script: script}
}

// Name implements sandbox.Driver.
func (d *Driver) Name() string { return "fake" }

// Started is how many sandboxes were started.
func (d *Driver) Started() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started
}

// Living are the sandboxes that have not ended, in the order of their start.
func (d *Driver) Living() []*Sandbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.living)
}

// Start implements sandbox.Driver.
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	script := d.script(spec)
	if script.Start != nil {
		if err := script.Start(ctx); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Sandbox{Spec: spec, driver: d, script: script, usage: script.Usage, done: make(chan struct{}), over: make(chan struct{}), gate: make(chan struct{}), listeners: map[int]net.Listener{}, env: map[string]string{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		s.release()
		return nil, err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		s.release()
		return nil, hansom.Errorf(hansom.Unavailable, "start sandbox", "the driver is closed")
	}
	d.started++
	d.living = append(d.living, s)
	d.mu.Unlock()
	if len(spec.Extend) == 0 {
		s.Open()
	}
	for _, path := range spec.Extend {
		go s.extend(path)
	}
	go func() {
		select {
		case <-s.gate:
			s.run()
		case <-s.ctx.Done():
		}
	}()
	return s, nil
}

// Close kills what still runs.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	for _, s := range d.Living() {
		s.Kill()
	}
	return nil
}

func (d *Driver) forget(s *Sandbox) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.living = slices.DeleteFunc(d.living, func(o *Sandbox) bool { return o == s })
}

// Sandbox is a fake sandbox.
type Sandbox struct {
	Spec      sandbox.Spec
	driver    *Driver
	script    Script
	conn      *net.UnixConn // the server's end
	runtime   net.Conn      // the runtime's end
	listeners map[int]net.Listener
	env       map[string]string // what the listeners add to the environment
	output    *os.File
	stdout    *os.File
	extOutput *os.File // of Spec.Extend; nil without any, as the next
	extStdout *os.File
	ctx       context.Context
	cancel    context.CancelFunc
	done      chan struct{}
	over      chan struct{} // the runtime has ended, with exit
	settled   sync.Once     // of exit and over
	ended     sync.Once
	gate      chan struct{} // closed by Open
	opening   sync.Once
	port      int // of the host, for that of Spec.Serve
	exit      sandbox.Exit

	mu     sync.Mutex
	left   int // programs of Spec.Extend that have not ended
	ending bool
	usage  sandbox.Usage
	thaw   chan struct{} // closed by Thaw; nil while not frozen
	bound  *sandbox.Spec // by Bind
}

func (s *Sandbox) open() (err error) {
	if s.output, s.stdout, err = os.Pipe(); err != nil {
		return hansom.Errorf(hansom.Internal, "start sandbox", "%w", err)
	}
	if s.left = len(s.Spec.Extend); s.left > 0 {
		if s.extOutput, s.extStdout, err = os.Pipe(); err != nil {
			return hansom.Errorf(hansom.Internal, "start sandbox", "%w", err)
		}
	}
	if s.Spec.Frames {
		var f *os.File
		if s.conn, f, err = sandbox.Socketpair(); err != nil {
			return err
		}
		defer f.Close()
		if s.runtime, err = net.FileConn(f); err != nil {
			return hansom.Errorf(hansom.Internal, "start sandbox", "%w", err)
		}
	}
	for _, l := range s.Spec.Listen {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return hansom.Errorf(hansom.Internal, "start sandbox", "%w", err)
		}
		s.listeners[l.Port] = ln
		for _, name := range l.Env {
			s.env[name] = fmt.Sprintf(l.Format, ln.Addr())
		}
	}
	if s.Spec.Serve != nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return hansom.Errorf(hansom.Internal, "start sandbox", "%w", err)
		}
		s.port = ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		s.env[s.Spec.Serve.Env] = strconv.Itoa(s.port)
	}
	return nil
}

// Open implements sandbox.Gate.
func (s *Sandbox) Open() error {
	s.opening.Do(func() { close(s.gate) })
	if s.ctx.Err() != nil {
		return sandbox.ErrClosed
	}
	return nil
}

// extend is a program of Spec.Extend.
func (s *Sandbox) extend(path string) {
	if s.script.Extend == nil {
		return
	}
	err := s.script.Extend(s.ctx, s, path)
	exit := exitOf(err)
	if err == nil {
		exit = sandbox.Exit{}
	}
	exit.Extension = path
	s.mu.Lock()
	s.left--
	last := s.left == 0 || !s.ending
	s.mu.Unlock()
	if last {
		s.end(exit)
	}
}

// End implements sandbox.Gate. The runtime does not handle the signal: it ends.
func (s *Sandbox) End(signal syscall.Signal) {
	s.mu.Lock()
	s.ending = true
	last := s.left == 0
	s.mu.Unlock()
	if last {
		s.end(sandbox.Exit{Code: -1, Signal: int(signal)})
	}
}

// ExtensionOutput implements sandbox.Gate.
func (s *Sandbox) ExtensionOutput() *os.File { return s.extOutput }

// PrintExtension writes to the standard output of the programs of Spec.Extend.
func (s *Sandbox) PrintExtension(text string) { io.WriteString(s.extStdout, text) }

// exitOf is how a process ends with err.
func exitOf(err error) sandbox.Exit {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.exit
	}
	return sandbox.Exit{Code: 1}
}

// Dial implements sandbox.Dialer. What the script listens on is the host's loopback: Getenv(Spec.Serve.Env) is the port.
func (s *Sandbox) Dial(ctx context.Context, port int) (net.Conn, error) {
	if s.ctx.Err() != nil {
		return nil, sandbox.ErrClosed
	}
	if serve := s.Spec.Serve; serve != nil && (port == 0 || port == serve.Port) {
		port = s.port
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
}

// settle says how the sandbox, or its runtime, ended.
func (s *Sandbox) settle(exit sandbox.Exit) {
	s.settled.Do(func() {
		s.exit = exit
		close(s.over)
	})
}

// commandEnded is the end of the runtime, which programs of Spec.Extend may outlive.
func (s *Sandbox) commandEnded(exit sandbox.Exit) {
	s.mu.Lock()
	alone := s.left == 0
	s.ending = true
	s.mu.Unlock()
	if alone || s.ctx.Err() != nil {
		s.end(exit)
		return
	}
	s.settle(exit)
	if s.runtime != nil {
		s.runtime.Close()
	}
}

// Ended implements sandbox.Gate.
func (s *Sandbox) Ended() <-chan struct{} { return s.over }

// end makes the sandbox's process end with exit, unless it has ended already.
func (s *Sandbox) end(exit sandbox.Exit) {
	s.ended.Do(func() {
		s.settle(exit)
		s.cancel()
		if s.runtime != nil {
			s.runtime.Close()
		}
		for _, ln := range s.listeners {
			ln.Close()
		}
		s.stdout.Close()
		if s.extStdout != nil {
			s.extStdout.Close()
		}
		s.driver.forget(s)
		close(s.done)
	})
}

// release closes what open opened, for a sandbox that never ran.
func (s *Sandbox) release() {
	s.cancel()
	for _, f := range []*os.File{s.output, s.stdout, s.extOutput, s.extStdout} {
		if f != nil {
			f.Close()
		}
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.runtime != nil {
		s.runtime.Close()
	}
	for _, ln := range s.listeners {
		ln.Close()
	}
}

// Conn implements sandbox.Sandbox.
func (s *Sandbox) Conn() *net.UnixConn { return s.conn }

// Listener implements sandbox.Sandbox.
func (s *Sandbox) Listener(port int) net.Listener {
	if ln, ok := s.listeners[port]; ok {
		return ln
	}
	return nil
}

// Environ is the environment of the sandbox's process, NAME=value.
func (s *Sandbox) Environ() []string {
	env := slices.Clone(s.Spec.Env)
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return env
}

// Print writes to the sandbox's standard output.
func (s *Sandbox) Print(text string) { io.WriteString(s.stdout, text) }

// Runtime is the runtime's end of the socket, its fd 3; nil without Spec.Frames.
func (s *Sandbox) Runtime() net.Conn { return s.runtime }

// Getenv is a variable of the environment of the sandbox's process.
func (s *Sandbox) Getenv(name string) string {
	if v, ok := s.env[name]; ok {
		return v
	}
	for _, e := range slices.Backward(s.Spec.Env) {
		if len(e) > len(name) && e[:len(name)] == name && e[len(name)] == '=' {
			return e[len(name)+1:]
		}
	}
	return ""
}

// Output implements sandbox.Sandbox.
func (s *Sandbox) Output() *os.File { return s.output }

// Done implements sandbox.Sandbox.
func (s *Sandbox) Done() <-chan struct{} { return s.done }

// Exit implements sandbox.Sandbox.
func (s *Sandbox) Exit() sandbox.Exit {
	select {
	case <-s.over:
		return s.exit
	default:
		return sandbox.Exit{}
	}
}

// Usage implements sandbox.Sandbox.
func (s *Sandbox) Usage() sandbox.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage
}

// SetUsage sets what Usage reports.
func (s *Sandbox) SetUsage(u sandbox.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage = u
}

// Stop makes the process end with exit, from outside: a crash while it is idle, for instance.
func (s *Sandbox) Stop(exit sandbox.Exit) { s.end(exit) }

// Kill implements sandbox.Sandbox. It unblocks whatever waits for the runtime, and does not wait for a handler that ignores its context.
func (s *Sandbox) Kill() {
	s.end(sandbox.Exit{Code: -1, Signal: 9})
	if s.conn != nil {
		s.conn.Close()
	}
}

// Freeze implements sandbox.Freezer: the runtime takes up no event until Thaw.
func (s *Sandbox) Freeze() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return hansom.Errorf(hansom.Internal, "freeze sandbox", "the sandbox has ended")
	}
	if s.thaw == nil {
		s.thaw = make(chan struct{})
	}
	return nil
}

// Thaw implements sandbox.Freezer.
func (s *Sandbox) Thaw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.thaw != nil {
		close(s.thaw)
		s.thaw = nil
	}
	return nil
}

// Frozen reports whether Freeze was called last.
func (s *Sandbox) Frozen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.thaw != nil
}

// awaitThaw waits while the sandbox is frozen.
func (s *Sandbox) awaitThaw() {
	s.mu.Lock()
	thaw := s.thaw
	s.mu.Unlock()
	if thaw == nil {
		return
	}
	select {
	case <-thaw:
	case <-s.ctx.Done():
	}
}
