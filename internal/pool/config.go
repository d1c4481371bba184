package pool

import (
	"context"
	"net"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Ports of the listeners inside a sandbox, on its own 127.0.0.1.
const (
	RuntimePort  = 9001 // Lambda Runtime API; only for runtimes that do not speak frames
	PlatformPort = 4566 // the platform's AWS-shaped APIs
	EdgePort     = 80   // what the edge listener serves
	EdgeTLSPort  = 443  // the same over TLS
	HTTPPort     = 8080 // where functions that serve HTTP listen, $PORT
)

// Config of the pool. Zero values are not defaults: start from DefaultConfig.
type Config struct {
	Memory      int64         // bytes that the memory limits of all instances may sum up to; 0 means three quarters of the host's memory
	Idle        time.Duration // an instance that has been idle this long ends
	Freeze      time.Duration // an instance that has been idle this long is frozen, where the sandbox can; 0 means never
	Wait        time.Duration // longest wait for memory before a call is throttled
	Queue       int           // most calls of one revision that wait for memory
	InitTimeout time.Duration // boot and loading the handler; Lambda's 10 s
	Egress      string        // of functions that do not say what they may reach, nor does Deps.Egress
	Credentials time.Duration // life of the credentials in an instance, which ends before they do; at least an hour
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Idle:        10 * time.Minute,
		Freeze:      500 * time.Millisecond,
		Wait:        10 * time.Second,
		Queue:       500,
		InitTimeout: 10 * time.Second,
		Egress:      hansom.EgressPlatform,
		Credentials: 2 * time.Hour,
	}
}

func (c *Config) check() error {
	if c.Memory < 0 || c.Idle <= 0 || c.Freeze < 0 || c.Wait <= 0 || c.Queue < 1 || c.InitTimeout <= 0 || c.Credentials < time.Hour {
		return hansom.Errorf(hansom.Invalid, "make pool",
			"idle, wait, queue and init timeout must be positive, memory and freeze not negative, credentials at least 1h")
	}
	return nil
}

// Runtimes finds what runs an identifier such as "nodejs22.x". Its errors are given to the caller of Run.
type Runtimes interface {
	Resolve(identifier string) (*runtimes.Runtime, error)
}

// Code gives the folders of a version's unpacked, read-only code and of its layers, "" when it has none. Both stay until
// release, which may be called again. Its errors are given to the caller of Run.
type Code interface {
	Code(ctx context.Context, v *hansom.Version) (code, layers string, release func(), err error)
}

// Credentials issues session credentials of a function's role that are valid for ttl.
type Credentials interface {
	IssueFunction(v *hansom.Version, ttl time.Duration) hansom.Credentials
}

// Logs takes the lines of functions. Append must be quick, bounded in memory, and safe for concurrent use.
type Logs interface {
	Append(hansom.LogEvent)
}

// Recorder takes the record of each finished invocation. Record must be quick and safe for concurrent use.
type Recorder interface {
	Record(hansom.Completion)
}

// Blanks are sandboxes that the Driver makes ahead of time. The methods must be quick.
type Blanks interface {
	// Expect says that something like spec may be started soon.
	Expect(spec sandbox.Spec)
	// Fit tells what instances leave of the memory budget, in bytes: blanks have to make do with it.
	Fit(free, budget int64)
}

// Deps are what the pool works with. All but Egress, Platform, Edge, EdgeTLS, Trust, Names and Blanks are needed.
type Deps struct {
	Driver      sandbox.Driver
	Runtimes    Runtimes
	Code        Code
	Credentials Credentials
	Logs        Logs
	Recorder    Recorder

	// Link makes what carries invocations to rt in sb: frames over sb.Conn(), the Lambda Runtime API served on
	// sb.Listener(RuntimePort), or HTTP to the port of Spec.Serve. Messages that the runtime attributes to a request go to log.
	Link func(sb sandbox.Sandbox, rt *runtimes.Runtime, log sandbox.LogFunc) (sandbox.Link, error)

	// Egress is what functions of a project may reach that do not say; "" or nil: Config.Egress. Instances keep what it said when
	// they started. It must be quick.
	Egress func(project string) string

	// Platform serves the platform's APIs to the function on l until l is closed, when the sandbox ends. nil: there is no listener.
	Platform func(l net.Listener, v *hansom.Version)

	// Blanks of Driver; nil: it has none.
	Blanks Blanks

	// Edge serves the hosts under the base domain on l, in the same way. nil: there is no listener.
	Edge func(l net.Listener)

	// EdgeTLS is Edge over TLS. nil: there is no listener.
	EdgeTLS func(l net.Listener)

	// Trust is a folder of the host with what functions need to trust that listener: ca.pem, the platform's authority, and all.pem,
	// which has those of the host as well. "": it is trusted anyway.
	Trust string

	// Names answers look-ups of a function with this egress until both are closed, when the sandbox ends. nil: nothing does.
	Names func(packets net.PacketConn, l net.Listener, egress string)
}
