package invoke

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// Conditions of an event's end, as records name them.
const (
	success   = "Success"
	exhausted = "RetriesExhausted"
	aged      = "EventAgeExceeded"
	stopped   = "ZeroReservedConcurrency"
)

// maxMessage is how much of an error's message a dead letter carries, in bytes (Lambda developer guide, "Dead-letter queues").
const maxMessage = 1 << 10

// outcome is how the last attempt of an event went.
type outcome struct {
	condition string
	result    *hansom.Result // nil when there was no attempt
	err       error          // the function did not run
	trace     string
}

// ran tells whether the function has answered.
func (o *outcome) ran() bool { return o.result != nil && o.err == nil }

// code is the HTTP status that the attempt would have been answered with.
func (o *outcome) code() int {
	switch {
	case o.ran():
		return http.StatusOK
	case hansom.KindOf(o.err) == hansom.Throttled:
		return http.StatusTooManyRequests
	case isLoop(o.err):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// message says what went wrong; "" when nothing did.
func (o *outcome) message() string {
	switch {
	case o.err != nil:
		return cut(o.err.Error())
	case o.result.FunctionError != "":
		return errorMessage(o.result.Payload)
	}
	return ""
}

// errorMessage is the message in an error that a function has answered with.
func errorMessage(payload []byte) string {
	var failure struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}
	_ = json.Unmarshal(payload, &failure) // what is no JSON is shown as it is
	return cut(cmp.Or(failure.Message, failure.Type, string(payload)))
}

func cut(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}

// ending is the end of an event that has yet to be told.
type ending struct {
	To      string                  `json:"to,omitempty"`     // ARN of who is to get the record; "" for nobody any more
	Record  json.RawMessage         `json:"record,omitempty"` //
	Event   *hansom.EventParameters `json:"event,omitempty"`  // of the record on a bus
	Dead    string                  `json:"dead,omitempty"`   // ARN of the queue that is to get the event
	Code    int                     `json:"code"`             // with it
	Message string                  `json:"message,omitempty"`
	Trace   string                  `json:"trace,omitempty"`
	Tries   int                     `json:"tries,omitempty"`
}

// record is what destinations get (Lambda developer guide, "Capturing records of asynchronous invocations").
type record struct {
	Version         string           `json:"version"`
	Timestamp       string           `json:"timestamp"`
	RequestContext  requestContext   `json:"requestContext"`
	RequestPayload  json.RawMessage  `json:"requestPayload,omitempty"`
	ResponseContext *responseContext `json:"responseContext,omitempty"`
	ResponsePayload json.RawMessage  `json:"responsePayload,omitempty"`
}

type requestContext struct {
	RequestID   string `json:"requestId"`
	FunctionARN string `json:"functionArn"`
	Condition   string `json:"condition"`
	Count       int    `json:"approximateInvokeCount"`
}

type responseContext struct {
	StatusCode      int    `json:"statusCode"`
	ExecutedVersion string `json:"executedVersion"`
	FunctionError   string `json:"functionError,omitempty"`
}

// record makes the record of an event's end for a destination. Where it would be larger than an event may be it lacks the answer, then
// the event too.
func (a *Async) record(e *event, o *outcome, to string) ([]byte, *hansom.EventParameters) {
	arn := ""
	if target, err := a.functions.Resolve(context.Background(), e.project, e.name, e.Qualifier); err == nil {
		v := target.Version
		arn = hansom.FunctionARN(v.Region, v.Project, v.Function, cmp.Or(e.Qualifier, hansom.Latest))
	}
	r := record{Version: "1.0", Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		RequestContext: requestContext{e.id, arn, o.condition, e.progress.Failures}, RequestPayload: asJSON(e.payload)}
	if o.condition == success {
		r.RequestContext.Count++
	}
	if o.ran() {
		r.ResponseContext = &responseContext{http.StatusOK, o.result.Version, o.result.FunctionError}
		r.ResponsePayload = asJSON(o.result.Payload)
	}
	text, _ := encode(r) // what it holds is JSON
	if len(text) > a.cfg.MaxEvent {
		r.ResponsePayload = nil
		text, _ = encode(r)
	}
	if len(text) > a.cfg.MaxEvent {
		r.RequestPayload = nil
		text, _ = encode(r)
	}
	how := "Failure"
	if o.condition == success {
		how = "Success"
	}
	return text, &hansom.EventParameters{Source: "lambda", DetailType: "Lambda Function Invocation Result - " + how, Resources: []string{to, arn}}
}

// asJSON is a payload as it is, or as a string when it is no JSON.
func asJSON(payload []byte) json.RawMessage {
	if json.Valid(payload) {
		return payload
	}
	text, _ := encode(string(payload)) // a string
	return text
}

// encode is json.Marshal that leaves <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "encode event", "%w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
