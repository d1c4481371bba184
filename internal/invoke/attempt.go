package invoke

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/lanes"
)

// How events are retried (Lambda developer guide, "Error handling for asynchronous invocations").
const (
	failurePause = time.Minute     // after the first attempt that the function ends with an error; twice that after the second
	minBackOff   = time.Second     // after an attempt that the platform refused; it doubles
	maxBackOff   = 5 * time.Minute // and ends here
)

// event is an accepted invocation in the hands of a worker.
type event struct {
	function
	id       string // request id
	payload  []byte
	accepted time.Time
	label
	progress
}

// progress is what is kept of an event between attempts.
type progress struct {
	Failures int     `json:"failures,omitempty"` // attempts that the function ended with an error
	Error    string  `json:"error,omitempty"`    // of the latest
	Ending   *ending `json:"ending,omitempty"`   // it has ended, but not everybody knows
}

// read makes an event of a message.
func read(f function, m *backlog.Message) (*event, error) {
	e := &event{function: f, id: m.ID, payload: m.Body, accepted: m.Sent}
	if err := json.Unmarshal([]byte(m.Meta), &e.label); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "read event", "%w", err)
	}
	e.progress.Failures = e.label.Failures
	if m.Note != "" {
		if err := json.Unmarshal([]byte(m.Note), &e.progress); err != nil {
			return nil, hansom.Errorf(hansom.Internal, "read event", "%w", err)
		}
	}
	return e, nil
}

// handle runs an event once, or tells of its end. ctx ends when the server does; what is under way then ends all the same.
func (a *Async) handle(ctx context.Context, queue string, m *backlog.Message) (*lanes.Again, error) {
	e, err := read(functionOf(queue), m)
	if err != nil {
		return nil, err
	}
	var again bool
	var wait time.Duration
	if e.Ending == nil {
		wait, again = a.attempt(ctx, e)
	}
	if e.Ending != nil {
		wait, again = a.deliver(context.WithoutCancel(ctx), e)
	}
	if !again {
		return nil, nil
	}
	note, err := encode(e.progress)
	return &lanes.Again{After: wait, Note: string(note)}, err
}

// attempt runs an event. It comes again after wait, or has ended; then e.Ending is set when somebody is to be told.
func (a *Async) attempt(ctx context.Context, e *event) (wait time.Duration, again bool) {
	cfg := a.functions.Async(e.project, e.name, e.Qualifier)
	if time.Since(e.accepted) > cfg.MaxAge { // nobody was there to run it
		a.end(e, cfg, &outcome{condition: aged, trace: e.Trace, err: errors.New("the event was too old when its turn came")})
		return 0, false
	}
	inv := &hansom.Invocation{ID: e.id, Project: e.project, Function: e.name, Qualifier: e.Qualifier, Payload: e.payload, Trace: e.Trace, Source: "async"}
	result, err := a.invoker.Invoke(context.WithoutCancel(ctx), inv, nil)
	defer result.Release()
	o := &outcome{result: &result, err: err, trace: inv.Trace}
	switch {
	case err == nil && result.FunctionError == "":
		o.condition = success
		a.end(e, cfg, o)
		return 0, false
	case err == nil:
		e.progress.Failures++
		e.Error = errorMessage(result.Payload)
		wait = time.Duration(e.progress.Failures) * failurePause
		if e.progress.Failures > cfg.Retries {
			o.condition = exhausted
		}
	case hansom.KindOf(err) == hansom.NotFound: // so are its destinations
		a.logger.Warn("an asynchronous invocation was given up", "project", e.project, "function", e.name, "request", e.id, "reason", err)
		return 0, false
	case isLoop(err):
		o.condition = exhausted
	case ctx.Err() != nil:
		return 0, true // the next start is soon enough
	case a.stopped(e, cfg):
		o.condition = stopped
	default:
		wait = min(max(time.Since(e.accepted), minBackOff), maxBackOff) // as long as it has waited: the waits double
	}
	if o.condition == "" && time.Since(e.accepted)+wait > cfg.MaxAge {
		o.condition = aged
	}
	if o.condition == "" {
		return wait, true
	}
	a.end(e, cfg, o)
	return 0, false
}

// stopped says that the function's reserved concurrency is 0 and somebody is to be told of the events that this keeps from running. Those of
// nobody else wait.
func (a *Async) stopped(e *event, cfg hansom.AsyncConfig) bool {
	target, err := a.functions.Resolve(context.Background(), e.project, e.name, e.Qualifier)
	return err == nil && target.Reserved == 0 && (cfg.OnFailure != "" || target.Version.DeadLetter != "")
}

// end notes who is to be told of the end of an event. Without anybody an end that is no success is logged.
func (a *Async) end(e *event, cfg hansom.AsyncConfig, o *outcome) {
	to, dead := cfg.OnSuccess, ""
	if o.condition != success {
		to = cfg.OnFailure
		if target, err := a.functions.Resolve(context.Background(), e.project, e.name, e.Qualifier); err == nil {
			dead = target.Version.DeadLetter
		}
		a.logger.Warn("an asynchronous invocation was given up", "project", e.project, "function", e.name, "request", e.id, "reason", o.condition,
			"failures", e.progress.Failures, "error", o.message(), "destination", to, "deadLetters", dead)
		a.announce.Tell(hansom.Announcement{Project: e.project, Type: "Invocation Failed", Trace: o.trace, Detail: map[string]any{
			"function": e.name, "qualifier": e.Qualifier, "requestId": e.id, "condition": o.condition, "failures": e.progress.Failures, "error": o.message()}})
	}
	if to == "" && dead == "" {
		return
	}
	e.Ending = &ending{To: to, Dead: dead, Code: o.code(), Message: o.message(), Trace: o.trace}
	if to != "" {
		e.Ending.Record, e.Ending.Event = a.record(e, o, to)
	}
}

// deliver tells of the end of an event. When again is true somebody could not be told, and will be after wait.
func (a *Async) deliver(ctx context.Context, e *event) (wait time.Duration, again bool) {
	x := e.Ending
	try := func(d hansom.Delivery) (done bool) {
		d.Project, d.Trace = e.project, x.Trace
		switch err := a.deliverer.Deliver(ctx, d); hansom.KindOf(err) {
		case hansom.NotFound, hansom.Invalid, hansom.TooLarge, hansom.Denied, hansom.Unsupported:
			a.logger.Warn("the end of an asynchronous invocation could not be delivered", "project", e.project, "function", e.name, "request", e.id, "to", d.ARN, "error", err)
			return true
		default:
			return err == nil
		}
	}
	if x.To != "" && try(hansom.Delivery{ARN: x.To, Payload: x.Record, Event: x.Event}) {
		x.To, x.Record = "", nil
	}
	if x.Dead != "" && try(hansom.Delivery{ARN: x.Dead, Payload: e.payload, Attributes: map[string]hansom.Attribute{
		"RequestID": {Type: "String", Value: e.id}, "ErrorCode": {Type: "Number", Value: strconv.Itoa(x.Code)}, "ErrorMessage": {Type: "String", Value: x.Message},
	}}) {
		x.Dead = ""
	}
	if x.To == "" && x.Dead == "" {
		return 0, false
	}
	wait = min(minBackOff<<min(x.Tries, 10), maxBackOff)
	x.Tries++
	return wait, true
}
