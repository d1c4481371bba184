package sandbox

import (
	"context"
	"net"
	"time"

	"github.com/hansomcloud/hansom"
)

// Extensions is the optional ability of a Link to serve Lambda's Extensions API (2020-01-01), Telemetry API (2022-07-01) and Logs
// API (2020-08-15) to the processes of its sandbox, on the listener of the Runtime API.
type Extensions interface {
	// Attend says what extensions are told and which are expected. They wait until it is called, once, before all else.
	Attend(ExtensionConfig)
	// Registered waits until all external extensions have registered.
	Registered(ctx context.Context) error
	// Begin sends an INVOKE event to the extensions that registered for it. It answers false, and has done nothing, when no
	// extension is registered: Settle and Shutdown have nothing to do then.
	Begin(req *Request) bool
	// Settle waits until the runtime and all extensions have asked for their next event, and ends registration.
	// Registered and Settle return an *ExtensionError when an extension reported one, ErrClosed when the tree is gone, and ctx's error.
	Settle(ctx context.Context) error
	// Shutdown delivers what telemetry there is, sends SHUTDOWN events and gives extensions their time, at most 2 s, to ask for
	// another event or for the tree to end.
	Shutdown(reason ShutdownReason)
	// Publish gives an event to those that subscribed to it. It does not wait.
	Publish(Event)
}

// ExtensionConfig is what the Extensions API knows of its instance.
type ExtensionConfig struct {
	Version  *hansom.Version
	Instance string
	External []string // file names of the external extensions
	// Dial connects to a port of the sandbox's loopback; nil means that telemetry cannot be delivered.
	Dial func(ctx context.Context, port int) (net.Conn, error)
	// Ended is closed when the runtime has ended, which extensions may outlive; nil means never.
	Ended <-chan struct{}
	// Log takes the events that also go to the function's log: EventExtension and EventSubscription.
	Log func(Event)
}

// ShutdownReason is why an instance ends, as the SHUTDOWN event says it.
type ShutdownReason string

const (
	Spindown ShutdownReason = "spindown"
	Timeout  ShutdownReason = "timeout"
	Failure  ShutdownReason = "failure"
)

// ExtensionError is a failure that an extension reported, or of its launch.
type ExtensionError struct {
	Type   string // "Extension.InitError", "Extension.ExitError" or "Extension.LaunchError"
	Reason string
}

func (e *ExtensionError) Error() string { return e.Type + ": " + e.Reason }

// EventType is one of the Telemetry API's.
type EventType string

const (
	EventInitStart       EventType = "platform.initStart"
	EventInitRuntimeDone EventType = "platform.initRuntimeDone"
	EventInitReport      EventType = "platform.initReport"
	EventStart           EventType = "platform.start"
	EventRuntimeDone     EventType = "platform.runtimeDone"
	EventReport          EventType = "platform.report"
	EventExtension       EventType = "platform.extension"
	EventSubscription    EventType = "platform.telemetrySubscription"
	EventLogsDropped     EventType = "platform.logsDropped"
	EventFunctionLog     EventType = "function"
	EventExtensionLog    EventType = "extension"
)

// Event is one event of the Telemetry API. Which fields it has depends on its type; those that are zero are left out.
type Event struct {
	Time      time.Time
	Type      EventType
	RequestID string
	Trace     string // X-Amzn-Trace-Id
	Status    string // "success", "failure", "error" or "timeout"
	ErrorType string
	Duration  time.Duration // of the init or of the runtime's work

	Message string // EventFunctionLog, EventExtensionLog: one line without its newline

	Phase      string // of an init: "init" or "invoke"
	InitType   string // of an init: "on-demand" or "provisioned-concurrency"
	Runtime    string // EventInitStart: its version
	RuntimeARN string

	Bytes  int                // EventRuntimeDone: of the answer
	Report *hansom.Completion // EventReport

	Name, State string   // EventExtension, EventSubscription: of the extension
	Names       []string // the events it registered for; the types it subscribed to
	Logs        bool     // EventSubscription: to the Logs API

	DroppedRecords, DroppedBytes int // EventLogsDropped
}
