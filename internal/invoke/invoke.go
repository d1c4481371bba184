// Package invoke is the one way to run a function: it resolves the name, holds the request to Lambda's limits on payload and
// concurrency, and has the pool run it. Async accepts invocations that nobody waits for, and retries them.
package invoke

import (
	"context"
	"errors"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Reasons of TooManyRequestsException (Lambda API, ThrottleReason).
const (
	ReasonReserved = "ReservedFunctionConcurrentInvocationLimitExceeded" // the function's reserved concurrency is in use, or 0
	ReasonProject  = "ConcurrentInvocationLimitExceeded"                 // what the project has left for all other functions is in use
)

// Config of the service.
type Config struct {
	Concurrency int // invocations at once in a project; the reserved concurrency of its functions is taken from it
	MaxPayload  int // bytes of an event
	MaxEvent    int // bytes of an event that nobody waits for
	Workers     int // asynchronous invocations of one function at a time
}

// DefaultConfig holds Lambda's limits, and 50 workers.
func DefaultConfig() Config {
	return Config{Concurrency: hansom.MaxConcurrency, MaxPayload: hansom.MaxSyncPayload, MaxEvent: hansom.MaxEventPayload, Workers: 50}
}

// Functions knows the functions of projects, from memory.
type Functions interface {
	// Resolve finds the version that a call goes to. Its errors go to the caller as they are.
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
	// Reserved is the reserved concurrency of all functions of the project together.
	Reserved(project string) int
}

// Runner runs a version; pool.Pool is one. Its errors go to the caller as they are.
type Runner interface {
	Run(ctx context.Context, v *hansom.Version, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error)
}

// Recorder counts the calls that were refused. Throttled must be quick and safe for concurrent use.
type Recorder interface {
	Throttled(project, function, reason string)
}

// Service is the hansom.Invoker of the server.
type Service struct {
	cfg       Config
	functions Functions
	runner    Runner
	recorder  Recorder
	limits    *limits
}

var _ hansom.Invoker = (*Service)(nil)

// New returns a service.
func New(cfg Config, functions Functions, runner Runner, recorder Recorder) (*Service, error) {
	if cfg.Concurrency < 1 || cfg.MaxPayload < 1 {
		return nil, hansom.Errorf(hansom.Invalid, "make invoke", "concurrency and max payload must be positive")
	}
	return &Service{cfg: cfg, functions: functions, runner: runner, recorder: recorder, limits: newLimits()}, nil
}

// Invoke implements hansom.Invoker. It sets inv.ARN, and inv.ID, inv.Trace and inv.Payload ("{}") where they are empty. inv.HTTP
// stays for a function that serves HTTP; for others it becomes the payload. A call over a concurrency limit is refused at once:
// Throttled, with the Reason. Waiting for an instance counts as running. A web request on a fiber that is for a function that
// serves HTTP ends with hansom.ErrHandOver. Of a trace header that came with the call it counts how often the function is in the chain
// of invocations; the 17th time is refused as a loop: Invalid, with the code RecursiveInvocationException. A caller that waits no longer than inv.Limit
// gets Timeout.
func (s *Service) Invoke(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	if len(inv.Payload) > s.cfg.MaxPayload {
		return hansom.Result{}, s.tooLarge(inv)
	}
	target, err := s.functions.Resolve(ctx, inv.Project, inv.Function, inv.Qualifier)
	if err != nil {
		return hansom.Result{}, err
	}
	inv.ARN, inv.Version = target.ARN, target.Version.Number
	traced := inv.Trace != ""
	inv.Identify()
	if inv.HTTP != nil && inv.Fiber != nil && target.Version.ServesHTTP() {
		return hansom.Result{}, hansom.ErrHandOver
	}
	if inv.HTTP != nil && !target.Version.ServesHTTP() {
		if inv.Payload, err = inv.HTTP.Event(); err != nil {
			return hansom.Result{}, err
		}
		if len(inv.Payload) > s.cfg.MaxPayload {
			return hansom.Result{}, s.tooLarge(inv)
		}
		inv.HTTP = nil
	}
	if len(inv.Payload) == 0 && inv.HTTP == nil {
		inv.Payload = emptyEvent()
	}
	name := function{inv.Project, target.Version.Function}
	// A web request has no chain behind it unless it says so; a trace that was made here is the beginning of one.
	if traced && (inv.Source != "url" && inv.Source != "http" || strings.Contains(inv.Trace, lineageKey)) {
		trace, n := descend(inv.Trace, name)
		if n > maxLoops && !target.Loops {
			return hansom.Result{}, loop()
		}
		inv.Trace = trace
	}
	if inv.Limit > 0 && target.Version.Timeout > inv.Limit {
		return s.within(ctx, target, inv, sink)
	}
	return s.run(ctx, target, inv, sink)
}

// run gives a call to the pool, within the limits of concurrency.
func (s *Service) run(ctx context.Context, target hansom.Target, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	name := function{inv.Project, target.Version.Function}
	if target.Reserved >= 0 {
		if !s.limits.enter(name, target.Reserved) {
			return hansom.Result{}, s.throttle(name, ReasonReserved)
		}
		defer s.limits.leave(name)
	} else {
		running := s.limits.project(inv.Project)
		defer running.Add(-1)
		if int(running.Add(1)) > s.cfg.Concurrency-s.functions.Reserved(inv.Project) {
			return hansom.Result{}, s.throttle(name, ReasonProject)
		}
	}
	result, err := s.runner.Run(ctx, target.Version, inv, sink)
	if err != nil {
		var e *hansom.Error
		if errors.As(err, &e) && e.Kind == hansom.Throttled {
			s.recorder.Throttled(name.project, name.name, e.Reason)
		}
	}
	return result, err
}

func (s *Service) tooLarge(inv *hansom.Invocation) error {
	return hansom.Errorf(hansom.TooLarge, "invoke",
		"%d byte payload is too large for the RequestResponse invocation type (limit %d bytes)", len(inv.Payload), s.cfg.MaxPayload)
}

func (s *Service) throttle(f function, reason string) error {
	s.recorder.Throttled(f.project, f.name, reason)
	e := hansom.Errorf(hansom.Throttled, "invoke", "Rate Exceeded.")
	e.Reason = reason
	return e
}

// emptyEvent is what Lambda gives a function that is invoked without a payload.
func emptyEvent() []byte { return []byte("{}") }
