package gateway

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/authorize"
	"github.com/hansomcloud/hansom/internal/gateway/payload"
	"github.com/hansomcloud/hansom/internal/gateway/route"
)

// call is one request on its way to a function.
type call struct {
	project, function, qualifier, source string

	stream          bool // a streamed answer is passed on as it comes
	host, prefix    string
	apiID, account  string
	stage, routeKey string
	uri             string // path and query of the event, as in a request line
	params          []route.Param
	variables       map[string]string // of the stage
	principal       *hansom.Principal // who signed, for AWS_IAM of a function URL
	decision        *authorize.Decision
	limit           time.Duration // for the answer; 0 for none
	id, trace       string        // "" where there is none yet
	payload1        bool          // payload format 1.0
	named           bool          // the answer has apigw-requestid
	served          bool          // the function serves HTTP itself
	duration        time.Duration
	failed          string // why the function gave no answer
}

// signed says that the request was, body and all.
func (c *call) signed() bool {
	return c.principal != nil || c.decision != nil && c.decision.Principal != nil
}

const keptBuffer = 1 << 20 // larger buffers are left to the garbage collector

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// exchange is the hansom.Exchange of one request. It keeps the memory of the event.
type exchange struct {
	hansom.Exchange
	call  call
	inv   *hansom.Invocation
	event []byte
	err   error // of Event
}

var exchanges = sync.Pool{New: func() any {
	x := &exchange{}
	x.Event = x.makeEvent
	return x
}}

func (x *exchange) makeEvent() ([]byte, error) {
	if x.call.payload1 {
		x.event, x.err = appendEvent1(x.event[:0], x.Request, &x.call, x.inv)
	} else {
		x.event, x.err = appendEvent(x.event[:0], x.Request, &x.call, x.inv)
	}
	return x.event, x.err
}

func (x *exchange) makeContext() string {
	ip, _, _ := origin(x.Request)
	return string(appendContext(nil, x.Request, &x.call, x.inv, ip))
}

func (x *exchange) put() {
	x.Request, x.Response, x.Context, x.BodyErr, x.call, x.inv, x.err = nil, nil, nil, nil, call{}, nil, nil
	if cap(x.event) <= keptBuffer {
		exchanges.Put(x)
	}
}

// refusal answers a request of which no event could be made.
func (x *exchange) refusal() (int, string) {
	switch {
	case hansom.KindOf(x.err) == hansom.TooLarge:
		return http.StatusRequestEntityTooLarge, "Request Entity Too Large"
	case hansom.KindOf(x.err) == hansom.Timeout: // edge.Front
		return http.StatusRequestTimeout, "Request Timeout"
	case x.call.signed() && hansom.KindOf(x.err) != hansom.Internal:
		return http.StatusForbidden, "Forbidden" // the body is not the one that was signed
	}
	return http.StatusBadRequest, "Bad Request"
}

// answered completes the answer of a function that serves HTTP, which has answered itself unless something went wrong. An answer
// that broke off ends the connection.
func answered(c *call, result *hansom.Result, bodyErr error) (int, string) {
	switch failed := result.FunctionError != ""; {
	case failed && result.Streamed:
		panic(http.ErrAbortHandler)
	case result.Streamed:
		return 0, ""
	case failed && result.Completion.Status == hansom.StatusTimeout:
		return http.StatusGatewayTimeout, "Endpoint request timed out"
	case failed:
		return http.StatusBadGateway, "Bad Gateway"
	case hansom.KindOf(bodyErr) == hansom.Timeout: // edge.Front
		return http.StatusRequestTimeout, "Request Timeout"
	case c.signed(): // the client's body ended before the answer: it is not the one that was signed, or broke off
		return http.StatusForbidden, "Forbidden"
	}
	return http.StatusBadRequest, "Bad Request"
}

// failedMessage is what a client is told of a function that failed or answered what is no response.
const failedMessage = "Internal Server Error"

// functionFailed is the refusal for such a function: 502 at a function URL, 500 at a route.
func functionFailed(c *call) (int, string) {
	c.failed = "the function failed, or its answer is no response"
	if c.source == "url" {
		return http.StatusBadGateway, failedMessage
	}
	return http.StatusInternalServerError, failedMessage
}

// trace is the trace that a request continues; "" when it begins one.
func trace(r *http.Request) string {
	if t := r.Header["X-Amzn-Trace-Id"]; len(t) > 0 && strings.Contains(t[0], "Root=") {
		return t[0]
	}
	if t := r.Header["Traceparent"]; len(t) == 1 {
		return traceOf(t[0])
	}
	return ""
}

// invoke has a function answer. Where nothing has been answered it returns the status and the message of a refusal, else 0.
func (g *Gateway) invoke(w http.ResponseWriter, r *http.Request, c *call) (status int, message string) {
	inv := hansom.Invocation{ID: c.id, Project: c.project, Function: c.function, Qualifier: c.qualifier, Source: c.source, Fiber: hansom.FiberOf(r.Context()), Limit: c.limit, Trace: c.trace}
	if inv.Trace == "" {
		inv.Trace = trace(r)
	}
	inv.Identify()
	if inv.Fiber == nil && c.source == "http" && r.Header["Traceparent"] == nil { // one that serves HTTP gets the request itself
		if parent := appendTraceParent(nil, inv.Trace); parent != nil {
			r.Header["Traceparent"] = []string{string(parent)}
		}
	}
	id := []string{inv.ID}
	w.Header()["X-Amzn-Requestid"] = id
	if c.named {
		w.Header()["Apigw-Requestid"] = id
	}

	x := exchanges.Get().(*exchange)
	defer x.put()
	x.Request, x.Response, x.call, x.inv = r, w, *c, &inv
	if c.principal != nil || c.decision != nil && c.decision.Context != nil {
		x.Context = x.makeContext
	}
	inv.HTTP = &x.Exchange
	var sink hansom.Sink
	var streamed *payload.Stream
	if c.stream {
		streamed = &payload.Stream{W: w}
		sink = streamed
	}
	result, err := g.deps.Invoker.Invoke(r.Context(), &inv, sink)
	if err == hansom.ErrHandOver {
		c.served = true
		panic(err)
	}
	if err != nil {
		status, message := refusal(err)
		if err == x.err {
			status, message = x.refusal()
		}
		if status == http.StatusInternalServerError {
			g.log.Error("invocation failed", "function", c.function, "request", inv.ID, "error", err)
		}
		c.failed = err.Error()
		if status == http.StatusNotFound && c.source == "http" { // the route is there; what it leads to is not
			return http.StatusInternalServerError, failedMessage
		}
		return status, message
	}
	defer result.Release()
	c.duration = result.Completion.Duration
	if c.served = inv.HTTP != nil; c.served {
		return answered(c, &result, x.BodyErr)
	}
	switch {
	case result.Streamed && streamed != nil:
		if !streamed.End(result.FunctionError != "") {
			return functionFailed(c)
		}
	case result.FunctionError != "":
		return functionFailed(c)
	case !payload.WriteResult(w, result.Payload, c.payload1):
		return functionFailed(c)
	}
	return 0, ""
}

// refusal maps an invoker's error to a status and a message.
func refusal(err error) (int, string) {
	switch hansom.KindOf(err) {
	case hansom.NotFound:
		return http.StatusNotFound, "Not Found"
	case hansom.Throttled:
		return http.StatusTooManyRequests, "Rate Exceeded."
	case hansom.TooLarge:
		return http.StatusRequestEntityTooLarge, "Request Entity Too Large"
	case hansom.Denied:
		return http.StatusForbidden, "Forbidden"
	case hansom.Conflict, hansom.Unavailable, hansom.Canceled:
		return http.StatusServiceUnavailable, "Service Unavailable"
	case hansom.Timeout:
		return http.StatusGatewayTimeout, "Endpoint request timed out"
	}
	return http.StatusInternalServerError, "Internal Server Error"
}

// refuse answers as an HTTP API does, refuseURL as a function URL.
func refuse(w http.ResponseWriter, status int, message string) { answer(w, status, "message", message) }
func refuseURL(w http.ResponseWriter, status int, message string) {
	answer(w, status, "Message", message)
}

func answer(w http.ResponseWriter, status int, key, message string) {
	body := append([]byte(`{"`), key...)
	body = payload.AppendString(append(body, `":`...), message)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '}'))
}
