package hansom

import (
	"context"
	"net/http"
	"time"
)

// Invocation is one event given to one function.
type Invocation struct {
	ID            string // request id: a lower-case UUID
	Project       string
	Function      string
	Qualifier     string    // "" means $LATEST; a version number or an alias otherwise
	ARN           string    // the ARN that was invoked; set by invoke from the Target
	Version       string    // the version that the call went to: "$LATEST" or a number; set by invoke from the Target
	Payload       []byte    // JSON; belongs to the caller until Invoke returns
	HTTP          *Exchange // a web request in place of Payload; invoke keeps it for functions that serve HTTP alone
	ClientContext []byte    // JSON, "" when there is none
	Trace         string    // X-Amzn-Trace-Id
	Source        string    // what triggered it: "api", "url", "http", "async", "queue", "subject", "authorizer"
	LogTail       bool      // fill Result.LogTail
	Fiber         Fiber     // that the call runs on; nil when it has a goroutine for itself

	// Limit is how long the caller waits for the answer, or for the beginning of a streamed one; then Invoke ends with Timeout, and a function that runs goes on to
	// its end. 0 is as long as it takes.
	Limit time.Duration
}

// Exchange is a web request on its way to a function. A function that serves HTTP gets Request itself and answers on Response,
// which may be hijacked; any other gets the event that Event makes of the request.
type Exchange struct {
	Request  *http.Request // its context ends with the client
	Response http.ResponseWriter
	Event    func() ([]byte, error) // payload format 2.0, belongs to the caller until Invoke returns; its error becomes that of Invoke
	Context  func() string          // requestContext of payload format 2.0, with what the gateway has verified of the caller; nil when that is nothing
	BodyErr  error                  // why a function that serves HTTP did not get all of Request's body, once Invoke has returned; nil when that is not known
}

// Invoker runs a function and waits for its result. Errors (an *Error): NotFound, Throttled, TooLarge, Denied, Conflict,
// Unavailable, Canceled. What goes wrong inside the function is a Result with FunctionError set, not an error.
// A nil sink asks for a buffered result; with a sink, a function that streams writes to it and Payload stays empty.
type Invoker interface {
	Invoke(ctx context.Context, inv *Invocation, sink Sink) (Result, error)
}

// Sink receives a streamed response. Start comes first, once; status is 200 for managed runtimes, whose
// Content-Type "application/vnd.awslambda.http-integration-response" announces a JSON prelude and eight NUL bytes.
// A Write that blocks holds the function back. After an error the rest of the stream is discarded.
type Sink interface {
	Start(status int, header http.Header)
	Write(p []byte) (int, error)
	Flush()
}

// Result is the outcome of an invocation.
type Result struct {
	Payload       []byte // JSON of the answer, or of the error when FunctionError is set
	FunctionError string // "" or "Unhandled"
	Version       string // the version that ran: "$LATEST" or a number
	LogTail       []byte // the last 4 KB of the log when asked for
	Streamed      bool   // the answer, or the beginning of it, went to the sink or the Exchange
	Completion    Completion
	release       func()
}

// NewResult returns a result whose Payload goes back to its pool on Release; release may be nil.
func NewResult(payload []byte, release func()) Result {
	return Result{Payload: payload, release: release}
}

// Release gives pooled buffers back. Payload must not be used after it. Calling it is optional.
func (r *Result) Release() {
	if r.release != nil {
		r.release()
		r.release, r.Payload = nil, nil
	}
}

// Status of a finished invocation.
type Status uint8

const (
	StatusOK Status = iota
	StatusError
	StatusTimeout
	StatusOutOfMemory
	StatusCrash
)

func (s Status) String() string {
	return [...]string{"ok", "error", "timeout", "out of memory", "crash"}[s]
}

// Completion is the record of a finished invocation that metering and telemetry drain.
type Completion struct {
	ID          string
	Version     *Version
	Source      string
	Start       time.Time
	Duration    time.Duration // handler time
	Init        time.Duration // 0 for a warm start
	Billed      time.Duration // whole milliseconds; the init of a cold start included
	MemoryUsed  int64         // bytes, peak of the instance
	BytesIn     int           // of the payload, or the bodies of a web request and its answer
	BytesOut    int
	Status      Status
	Cold        bool
	Provisioned bool // it ran in an instance of the provisioned concurrency
	Spillover   bool // it did not, though its version has provisioned concurrency: all of that was in use or not ready
}

// LogEvent is one line of a function's log.
type LogEvent struct {
	Time      time.Time `json:"time"`
	Project   string    `json:"project"`
	Group     string    `json:"-"` // log group; "" means /aws/lambda/<function>
	Function  string    `json:"function"`
	Version   string    `json:"version"`
	Instance  string    `json:"instance"`            // the log stream is YYYY/MM/DD/[version]instance
	RequestID string    `json:"requestId,omitempty"` // "" for what no invocation caused
	Source    string    `json:"source,omitempty"`    // Invocation.Source, with its START line alone
	Message   string    `json:"message"`             // one line without its newline; START, END and REPORT lines included
}
