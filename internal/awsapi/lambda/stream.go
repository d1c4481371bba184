package lambda

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

// maxChunk is the most payload bytes in one event.
const maxChunk = 64 << 10

// invokeStream serves InvokeWithResponseStream: PayloadChunk events as the function writes, and one InvokeComplete.
func (s *Service) invokeStream(w http.ResponseWriter, r *http.Request, fullName string) {
	inv, done := s.accept(w, r, opStream, fullName)
	defer done()
	if inv == nil {
		return
	}
	sink := &eventSink{w: w, control: http.NewResponseController(w), inv: &inv.Invocation}
	result, err := s.invoker.Invoke(r.Context(), &inv.Invocation, sink)
	if err != nil {
		if !sink.started {
			s.WriteError(w, r, err)
			return
		}
		awsapi.Log(s.logger, r, err)
		code, _, _ := faultOf(err, inv.ID)
		sink.send(nil, ":message-type", "error", ":error-code", code, ":error-message", awsapi.Message(err, inv.ID))
		return
	}
	defer result.Release()
	if !sink.started {
		inv.Version = result.Version
		sink.Start(http.StatusOK, nil)
	}
	var complete struct {
		ErrorCode, ErrorDetails, LogResult string `json:",omitempty"`
	}
	if result.FunctionError != "" {
		complete.ErrorCode, complete.ErrorDetails = result.FunctionError, string(result.Payload)
	} else if !result.Streamed {
		_, _ = sink.Write(result.Payload) // an error shows again below
	}
	if inv.LogTail {
		complete.LogResult = base64.StdEncoding.EncodeToString(result.LogTail)
	}
	body, err := json.Marshal(complete)
	if err != nil { // strings always encode
		panic(err)
	}
	sink.send(body, ":message-type", "event", ":event-type", "InvokeComplete", ":content-type", "application/json")
}

// eventSink writes a streamed answer as an event stream.
type eventSink struct {
	w       http.ResponseWriter
	control *http.ResponseController
	inv     *hansom.Invocation
	started bool
	message []byte
	err     error
}

// Start implements hansom.Sink. Status and header of the function are for HTTP integrations: this API answers 200.
func (e *eventSink) Start(int, http.Header) {
	e.started = true
	h := e.w.Header()
	h["Content-Type"] = []string{"application/vnd.amazon.eventstream"}
	h["X-Amz-Executed-Version"] = []string{e.inv.Version}
	if e.inv.Trace != "" {
		h["X-Amzn-Trace-Id"] = []string{e.inv.Trace}
	}
	e.w.WriteHeader(http.StatusOK)
	e.Flush()
}

// Write implements hansom.Sink.
func (e *eventSink) Write(p []byte) (int, error) {
	for written := 0; written < len(p); {
		n := min(len(p)-written, maxChunk)
		e.send(p[written:written+n], ":message-type", "event", ":event-type", "PayloadChunk", ":content-type", "application/octet-stream")
		if e.err != nil {
			return written, e.err
		}
		written += n
	}
	return len(p), nil
}

// Flush implements hansom.Sink. Events are flushed one by one; this sends the header on its way.
func (e *eventSink) Flush() {
	if err := e.control.Flush(); err != nil && e.err == nil {
		e.err = err
	}
}

// send writes and flushes one event. After an error nothing is sent any more.
func (e *eventSink) send(payload []byte, headers ...string) {
	if e.err != nil {
		return
	}
	e.message = appendEvent(e.message[:0], payload, headers...)
	if _, e.err = e.w.Write(e.message); e.err == nil {
		e.Flush()
	}
}
