// Package sandbox is the contract between the pool and the drivers that isolate processes: linux, process and fake.
// A driver's test is a call of sandboxtest.Run.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/loop"
)

// ErrClosed is returned by a Link whose runtime has gone away.
var ErrClosed = errors.New("the runtime closed its connection")

// ErrUndelivered is an ErrClosed of Invoke: the runtime ended before it had taken the whole event, so that no handler saw it and
// the invocation may be given to another instance.
var ErrUndelivered = fmt.Errorf("%w before it took the event", ErrClosed)

// ProtocolError is an ErrClosed: the runtime sent what it may not, and its sandbox must be killed.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "the runtime broke the protocol: " + e.Reason }

// Is makes errors.Is(err, ErrClosed) true.
func (e *ProtocolError) Is(target error) bool { return target == ErrClosed }

func protocolError(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// Driver makes sandboxes.
type Driver interface {
	// Name is "linux", "process" or "fake".
	Name() string
	// Start makes a sandbox and starts spec.Command in it. It returns when the process runs; a runtime reports readiness over its Link.
	Start(ctx context.Context, spec Spec) (Sandbox, error)
	// Close kills what still runs and removes what the driver made on the host.
	Close() error
}

// Spec says what to run and within which limits.
type Spec struct {
	ID        string   // unique within the server: lower-case letters and digits, at most 20
	Owner     string   // the function whose code runs, whatever names it: what its sandboxes use counts together
	Command   []string // absolute path as seen inside, and arguments
	Env       []string // complete environment, NAME=value
	Dir       string   // working directory inside
	Binds     []Bind   // read-only, nosuid, nodev
	Listen    []Listen // listeners on 127.0.0.1 inside the sandbox
	Names     bool     // let the server answer look-ups, where the sandbox is a Namer
	Internet  bool     // connect the sandbox with the internet before Start returns, and before a program without Frames starts
	Frames    bool     // give the process a socket as fd 3; a call that would have to wait for it fails (O_NONBLOCK)
	Serve     *Serve   // a port on which the process will listen itself
	Extend    []string // programs, as seen inside, that start before Command with the same Env, each as first argument its own path
	Memory    int64    // bytes of the whole tree, swap excluded
	Tmp       int64    // bytes of /tmp
	Processes int      // most tasks; 0 means 512
	Boot      *Boot    // what a blank for this Spec begins with; nil when it must boot with all of it
	Fork      *Fork    // how Command may be forked instead of being started; nil when it may not
}

// Fork names a program, a zygote, whose forked children do what the Command of a Spec does. It has imported what that needs, has
// run no code of a function, and never will. A driver may keep one running for each different Fork; one that does not starts
// Command. Programs and drivers agree as package internal/sandbox/linux/zygote says.
type Fork struct {
	Command []string // absolute path as seen inside, and arguments
	Env     []string // complete environment: what children see that look at /proc/self/environ
	Binds   []Bind   // what the program needs of the host, as its children see it
	Files   []string // of the host: when one of them changes, so does the program
}

// Bind shows a host path, read-only, at Target inside. A driver without mounts cannot move paths: it runs on the host's own
// (see Relocate).
type Bind struct{ Source, Target string }

// Listen asks for a listener at 127.0.0.1:Port inside. Each of Env is set to fmt.Sprintf(Format, "host:port").
type Listen struct {
	Port   int
	Env    []string
	Format string
}

// Serve asks for a port of the sandbox's loopback that Dialer reaches. A driver whose sandboxes share the host's loopback picks
// another port than Port. Env is set to the port.
type Serve struct {
	Port int
	Env  string
}

// Sandbox is one isolated process tree. Its methods may be called from several goroutines.
type Sandbox interface {
	// Conn is the server's end of fd 3; nil without Spec.Frames. Kill closes it.
	Conn() *net.UnixConn
	// Listener is the one asked for with Spec.Listen; nil when the port was not asked for. It is closed when the sandbox ends.
	Listener(port int) net.Listener
	// Output is the read end of the pipe behind stdout and stderr of Command. It reads EOF when the tree is gone. The caller closes it, also
	// after Kill, which leaves what was printed to be read.
	Output() *os.File
	// Done is closed when the tree is gone; Exit is valid then.
	Done() <-chan struct{}
	Exit() Exit
	// Usage may be called at any time, also after the end.
	Usage() Usage
	// Kill ends the whole tree at once (frozen or not), waits for it and releases all that the sandbox held. It is idempotent.
	Kill()
}

// Freezer is the optional ability to stop a tree's processes without ending them.
type Freezer interface {
	Freeze() error
	Thaw() error
}

// Capper is the optional ability to hold a tree to a share of the CPU, once it has booted: 1,769 MB of memory come with one CPU.
type Capper interface {
	// Cap takes the memory that counts, in bytes. A driver that was not told to do it does nothing.
	Cap(memory int64) error
}

// Dialer is the ability of a Sandbox to connect to what listens on its loopback.
type Dialer interface {
	// Dial connects to 127.0.0.1:port inside; port 0 means that of Spec.Serve. Errors are those of net.Dial: syscall.ECONNREFUSED
	// while nothing listens; ErrClosed when the tree is gone.
	Dial(ctx context.Context, port int) (net.Conn, error)
}

// Gate is the ability of a Sandbox to run the programs of Spec.Extend beside Command. When one of them ends, the tree does. When
// Command ends, they may run on, until they end too or Kill is called.
type Gate interface {
	// Open starts Command, which waits for it when there is Spec.Extend. It is idempotent.
	Open() error
	// ExtensionOutput is for the programs of Spec.Extend what Output is for Command; nil when there are none.
	ExtensionOutput() *os.File
	// Ended is closed when Command has ended, or else with Done. Exit is valid then.
	Ended() <-chan struct{}
	// End sends SIGTERM or SIGKILL to Command, when that runs. From then on the tree ends with the last of its programs.
	End(signal syscall.Signal)
}

// Relocator is the optional ability of a Driver that shows host paths as they are: it maps a path as seen inside a sandbox
// of the linux driver to the host's path, e.g. "/var/task" to Binds[i].Source.
type Relocator interface {
	Relocate(spec Spec, path string) string
}

// Exit says how a tree ended.
type Exit struct {
	Code   int // exit code of the first process; -1 when a signal ended it
	Signal int // 0 when no signal ended it
	OOM    bool

	Extension string // path of the program of Spec.Extend whose end ended the tree; "" when it was another's
}

func (e Exit) String() string {
	switch {
	case e.OOM:
		return "out of memory"
	case e.Signal != 0:
		return fmt.Sprintf("signal: %d", e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Usage of a tree.
type Usage struct {
	MemoryPeak int64 // bytes
	CPU        int64 // nanoseconds
}

// Link carries invocations to the runtime in a sandbox: frames (managed runtimes), the Lambda Runtime API or HTTP.
// One invocation at a time, unless the link says otherwise: a version whose Slots are more than one needs such a link.
type Link interface {
	// Init waits until the runtime has booted and loads the handler. A failure inside the runtime is an *InitError;
	// ErrClosed when the runtime ended; ctx's error when it took too long.
	Init(ctx context.Context, in *Init) error
	// Invoke gives the runtime one event. It returns ErrClosed when the runtime ended, os.ErrDeadlineExceeded when
	// req.Deadline passed: the sandbox must be killed then, by a link that takes several once the others have ended. sink may be
	// nil. Of the Response beside an error Streamed, In and Out are valid.
	Invoke(req *Request, sink hansom.Sink) (Response, error)
	Close() error
}

// Init is what a runtime is told once.
type Init struct {
	Handler  string
	TaskRoot string // "/var/task" as the runtime sees it
	Env      []string
	Ready    string // hansom.Version.Ready
	Slots    int    // most invocations at once; 0 means 1
}

// InitError is a failure to load the function. Payload is Lambda's error JSON.
type InitError struct{ Payload []byte }

func (e *InitError) Error() string { return "function did not initialise: " + string(e.Payload) }

// Request is one invocation as the runtime sees it.
type Request struct {
	*hansom.Invocation
	Deadline int64 // Unix milliseconds
}

// Response of the runtime. Payload is valid until Release.
type Response struct {
	Payload  []byte
	Error    bool // Payload is error JSON
	Fatal    bool // the runtime exits after it: do not use the sandbox again
	Streamed bool
	In, Out  int64  // bytes of the bodies of a web request (Invocation.HTTP) and of its answer
	Release  func() // may be nil
}

// Fact is one of the things that keep programs in the sandboxes of a driver, or that this host or user cannot have.
type Fact struct {
	Name    string // such as "memory"
	Detail  string // how, or why not
	Missing bool   // this host or user cannot have it
}

// LogFunc takes a log message that the runtime attributed to a request ("" when to none). The message is valid during the call.
// It is called by whoever is in Init or Invoke, or by a link's own reader, one at a time. Nothing more is read from the runtime for
// as long as it answers, which holds up one that prints too much.
type LogFunc func(requestID string, message []byte) (wait time.Duration)

// holdUp waits for d; f does so as a goroutine.
func holdUp(f *loop.Fiber, d time.Duration) {
	if d <= 0 {
		return
	}
	if f != nil {
		f.Detach()
	}
	time.Sleep(d)
}
