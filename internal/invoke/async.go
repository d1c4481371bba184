package invoke

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// How asynchronous invocations are retried (Lambda developer guide, "Error handling for asynchronous invocations").
const (
	maxFailures = 3               // attempts that the function ends with an error; one and two minutes lie between them
	maxAge      = 6 * time.Hour   // no attempt comes later
	minBackOff  = time.Second     // after an attempt that the platform refused; it doubles
	maxBackOff  = 5 * time.Minute // and ends here
	storePause  = time.Second     // after an error of the store
)

// Async runs invocations that nobody waits for: at least once each, a function's in the order in which they were accepted but
// several at a time. It is a small queue in the database, until there is a message log.
type Async struct {
	cfg       Config
	queue     queue
	functions Functions
	invoker   hansom.Invoker
	logger    *slog.Logger

	mu    sync.Mutex
	ctx   context.Context            // of Run; nil before it
	lanes map[function]chan struct{} // functions that have events, each served by a goroutine; told when one more was accepted
	work  sync.WaitGroup
}

// NewAsync opens the queue. Run must be called for what is accepted to run.
func NewAsync(ctx context.Context, cfg Config, database *db.DB, functions Functions, invoker hansom.Invoker, logger *slog.Logger) (*Async, error) {
	if cfg.Workers < 1 || cfg.MaxEvent < 1 {
		return nil, hansom.Errorf(hansom.Invalid, "make async", "workers and max event must be positive")
	}
	t, err := openTable(ctx, database)
	if err != nil {
		return nil, err
	}
	return &Async{cfg: cfg, queue: t, functions: functions, invoker: invoker, logger: logger.With("component", "async"), lanes: map[function]chan struct{}{}}, nil
}

// Accept takes an invocation over. When it returns nil, the invocation is stored and will run, also after a crash. It sets inv.ID,
// inv.Trace and inv.Payload ("{}") where they are empty; the payload stays the caller's. ClientContext and LogTail mean nothing.
// Errors: NotFound, TooLarge, Unavailable when the database is.
func (a *Async) Accept(ctx context.Context, inv *hansom.Invocation) error {
	if len(inv.Payload) > a.cfg.MaxEvent {
		return hansom.Errorf(hansom.TooLarge, "accept event",
			"%d byte payload is too large for the Event invocation type (limit %d bytes)", len(inv.Payload), a.cfg.MaxEvent)
	}
	if _, err := a.functions.Resolve(ctx, inv.Project, inv.Function, inv.Qualifier); err != nil {
		return err
	}
	inv.Identify()
	if len(inv.Payload) == 0 {
		inv.Payload = emptyEvent()
	}
	f := function{inv.Project, inv.Function}
	if err := a.queue.put(ctx, &event{id: inv.ID, function: f, qualifier: inv.Qualifier, trace: inv.Trace, payload: inv.Payload, accepted: time.Now()}); err != nil {
		return err
	}
	a.open(f)
	return nil
}

// Run serves what is accepted, and what is left from before, until ctx ends; then it waits for the invocations under way. What has
// not begun by then waits for the next Run.
func (a *Async) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	a.mu.Lock()
	a.ctx = ctx
	a.mu.Unlock()
	defer func() {
		stop()
		a.mu.Lock()
		a.ctx = nil // no lane is opened any more
		a.mu.Unlock()
		a.work.Wait()
	}()
	left, err := a.queue.functions(ctx)
	if err != nil {
		return err
	}
	for _, f := range left {
		a.open(f)
	}
	<-ctx.Done()
	return nil
}

// open wakes the lane of a function, or makes it.
func (a *Async) open(f function) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx := a.ctx
	if ctx == nil {
		return
	}
	wake := a.lanes[f]
	if wake == nil {
		wake = make(chan struct{}, 1)
		a.lanes[f] = wake
		a.work.Go(func() { a.serve(ctx, f, wake) })
		return
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// serve runs the events of a function that are due, as many at a time as it may have workers.
func (a *Async) serve(ctx context.Context, f function, wake chan struct{}) {
	running := map[string]bool{}
	done := make(chan string)
	defer func() {
		for len(running) > 0 {
			delete(running, <-done)
		}
	}()
	for ctx.Err() == nil {
		workers := a.workers(f)
		heads, err := a.queue.next(ctx, f, workers) // those that run are among them: they were due first
		pause := maxBackOff
		if err != nil {
			a.logger.Warn("accepted events could not be read; tried again", "error", err)
			pause = storePause
		}
		for _, h := range heads {
			if running[h.id] || len(running) >= workers {
				continue
			}
			if pause = time.Until(h.due); pause > 0 {
				break
			}
			pause = maxBackOff
			running[h.id] = true
			go func() {
				a.attempt(ctx, h.id)
				done <- h.id
			}()
		}
		if err == nil && len(heads) == 0 && len(running) == 0 && a.close(f, wake) {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-wake:
		case id := <-done:
			delete(running, id)
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// close ends an empty lane, unless an event was accepted meanwhile.
func (a *Async) close(f function, wake chan struct{}) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-wake:
		return false
	default:
		delete(a.lanes, f)
		return true
	}
}

// workers is how many events of a function run at a time: no more than its reserved concurrency lets through.
func (a *Async) workers(f function) int {
	target, err := a.functions.Resolve(context.Background(), f.project, f.name, "")
	if err != nil || target.Reserved < 0 {
		return a.cfg.Workers
	}
	return max(1, min(a.cfg.Workers, target.Reserved))
}

// attempt runs an event once, and removes it or has it come again.
func (a *Async) attempt(ctx context.Context, id string) {
	store := context.WithoutCancel(ctx) // an invocation under way ends, and its end is stored
	err := func() error {
		e, err := a.queue.get(store, id)
		if err != nil {
			return err
		}
		result, err := a.invoker.Invoke(store, &hansom.Invocation{ID: id, Project: e.function.project, Function: e.function.name, Qualifier: e.qualifier,
			Payload: e.payload, Trace: e.trace, Source: "async"}, nil)
		result.Release()
		at, reason := e.retry(time.Now(), result.FunctionError, err)
		switch {
		case at.IsZero() && reason == "":
			return a.queue.remove(store, id)
		case at.IsZero():
			a.logger.Warn("an asynchronous invocation was given up", "project", e.function.project, "function", e.function.name, "request", id, "reason", reason)
			return a.queue.remove(store, id)
		}
		return a.queue.retry(store, id, e.failures, at)
	}()
	if err != nil {
		a.logger.Warn("the state of an accepted event could not be stored; it may run again", "request", id, "error", err)
		select { // or it would run again at once
		case <-time.After(storePause):
		case <-ctx.Done():
		}
	}
}

// retry says when an event comes again after an attempt: the zero time for never, with the reason unless it went well.
func (e *event) retry(now time.Time, functionError string, err error) (at time.Time, reason string) {
	switch {
	case err == nil && functionError == "":
		return time.Time{}, ""
	case err == nil:
		if e.failures++; e.failures == maxFailures {
			return time.Time{}, "the function failed every time"
		}
		at = now.Add(time.Duration(e.failures) * time.Minute)
	case hansom.KindOf(err) == hansom.NotFound:
		return time.Time{}, err.Error()
	default:
		at = now.Add(min(max(now.Sub(e.accepted), minBackOff), maxBackOff)) // as long as it has waited: the waits double
	}
	if at.Sub(e.accepted) > maxAge {
		return time.Time{}, "it is too old to be tried again"
	}
	return at, ""
}
