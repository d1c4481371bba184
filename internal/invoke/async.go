package invoke

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/db"
)

const (
	idleLane   = 10 * time.Second // a function without events is served this long
	storePause = time.Second      // after an error of the backlog
	dropTime   = 5 * time.Second  // for the events of a function that was deleted
)

// Backlog keeps events from their acceptance to their end, in a queue for each function; *backlog.Store is one. What a method has
// written survives a crash when it returns, unless its error is Unavailable.
type Backlog interface {
	Put(ctx context.Context, queue string, entries ...backlog.Entry) ([]backlog.Stored, error)
	Queues(prefix string) []string
	Counts(queue string) backlog.Counts
	Drop(ctx context.Context, queue string) error
	Worklist
}

// Worklist is what a worker needs of a Backlog.
type Worklist interface {
	Take(ctx context.Context, queue string, t backlog.Take) ([]backlog.Message, error)
	Release(ctx context.Context, queue string, r backlog.Receipt, hidden time.Duration, note *string) (ok bool, err error)
	Delete(ctx context.Context, queue string, r backlog.Receipt) (ok bool, err error)
}

// Configured knows the functions of projects and what is said of their events, from memory.
type Configured interface {
	// Resolve finds the version that a call goes to. Its errors go to the caller as they are.
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
	// Async is what holds for events of a function by a qualifier.
	Async(project, name, qualifier string) hansom.AsyncConfig
}

// Deliverer brings what became of an event to its destination. NotFound, Invalid, TooLarge, Denied and Unsupported mean that it never
// can; after other errors it is tried again.
type Deliverer interface {
	Deliver(ctx context.Context, d hansom.Delivery) error
}

// Async runs invocations that nobody waits for: at least once each, a function's in the order in which they were accepted but
// several at a time. Each function has a queue, and a goroutine that serves it while there is something in it.
type Async struct {
	cfg       Config
	backlog   Backlog
	old       *table
	functions Configured
	invoker   hansom.Invoker
	deliverer Deliverer
	logger    *slog.Logger

	mu    sync.Mutex
	ctx   context.Context   // of Run; nil before it
	lanes map[function]bool // functions that are served
	work  sync.WaitGroup
}

// NewAsync returns an Async on events. database is where older versions kept events. Run must be called for what is accepted to run.
func NewAsync(ctx context.Context, cfg Config, database *db.DB, events Backlog, functions Configured, invoker hansom.Invoker, logger *slog.Logger) (*Async, error) {
	if cfg.Workers < 1 || cfg.MaxEvent < 1 {
		return nil, hansom.Errorf(hansom.Invalid, "make async", "workers and max event must be positive")
	}
	t, err := openTable(ctx, database)
	if err != nil {
		return nil, err
	}
	return &Async{cfg: cfg, backlog: events, old: t, functions: functions, invoker: invoker, deliverer: nowhere{}, logger: logger.With("component", "async"), lanes: map[function]bool{}}, nil
}

// SetDeliverer says what brings records and dead letters to their destinations, before Run.
func (a *Async) SetDeliverer(d Deliverer) { a.deliverer = d }

// nowhere is a Deliverer without destinations.
type nowhere struct{}

func (nowhere) Deliver(_ context.Context, d hansom.Delivery) error {
	return hansom.Errorf(hansom.Unsupported, "deliver", "nothing can be delivered to %s", d.ARN)
}

// queuePrefix begins the names of the queues of events.
const queuePrefix = "invoke/"

func (f function) queue() string { return queuePrefix + f.project + "/" + f.name }

func functionOf(queue string) (f function) {
	f.project, f.name, _ = strings.Cut(strings.TrimPrefix(queue, queuePrefix), "/")
	return f
}

// Each calls f for the functions that have events: how many wait for their turn, and how many run or wait for another attempt.
func (a *Async) Each(f func(project, function string, waiting, taken int)) {
	for _, name := range a.backlog.Queues(queuePrefix) {
		of, n := functionOf(name), a.backlog.Counts(name)
		f(of.project, of.name, n.Ready, n.InFlight+n.Delayed)
	}
}

// label is what is kept with an event from its acceptance on.
type label struct {
	Qualifier string `json:"q,omitempty"`
	Trace     string `json:"t,omitempty"`
	Failures  int    `json:"f,omitempty"` // in an older version, before it was moved here
}

// Accept takes an invocation over. When it returns nil, the invocation is stored and will run, also after a crash. It sets inv.ID,
// inv.Trace and inv.Payload ("{}") where they are empty; the payload stays the caller's. ClientContext and LogTail mean nothing.
// Errors: NotFound, TooLarge; Unavailable, with the code ServiceException, when it cannot be stored.
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
	if err := a.put(ctx, f, backlog.Entry{ID: inv.ID, Body: inv.Payload}, label{Qualifier: inv.Qualifier, Trace: inv.Trace}); err != nil {
		if hansom.KindOf(err) == hansom.Unavailable {
			return hansom.Errorf(hansom.Unavailable, "accept event", "%w", err).WithCode("ServiceException")
		}
		return err
	}
	return nil
}

// put stores an event and has it served.
func (a *Async) put(ctx context.Context, f function, e backlog.Entry, l label) error {
	text, err := json.Marshal(l)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "accept event", "%w", err)
	}
	e.Meta = string(text)
	if _, err := a.backlog.Put(ctx, f.queue(), e); err != nil {
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
	for _, name := range a.backlog.Queues(queuePrefix) {
		a.open(functionOf(name))
	}
	a.move(ctx)
	<-ctx.Done()
	return nil
}

// open has a function served.
func (a *Async) open(f function) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx := a.ctx; ctx != nil && !a.lanes[f] {
		a.lanes[f] = true
		a.work.Go(func() { a.serve(ctx, f) })
	}
}

// close ends the lane of a function that has no events.
func (a *Async) close(f function) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.backlog.Counts(f.queue()) != (backlog.Counts{}) {
		return false
	}
	delete(a.lanes, f)
	return true
}

// serve runs the events of a function that are due, as many at a time as it may have workers.
func (a *Async) serve(ctx context.Context, f function) {
	running, done := 0, make(chan struct{}, a.cfg.Workers)
	defer func() {
		for ; running > 0; running-- {
			<-done
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if ctx.Err() != nil {
			delete(a.lanes, f)
		}
	}()
	for ctx.Err() == nil {
		for ; len(done) > 0; running-- {
			<-done
		}
		free := a.workers(f) - running
		if free <= 0 {
			select {
			case <-done:
				running--
			case <-ctx.Done():
			}
			continue
		}
		// Volatile: an attempt that a crash cuts off has not been one.
		list, err := a.backlog.Take(ctx, f.queue(), backlog.Take{Limit: free, Hidden: backlog.MaxHidden, Wait: idleLane, Volatile: true})
		if err != nil {
			a.logger.Warn("accepted events could not be read; tried again", "project", f.project, "function", f.name, "error", err)
			pause(ctx, storePause)
			continue
		}
		for _, m := range list {
			running++
			go func() {
				a.handle(ctx, f, m)
				done <- struct{}{}
			}()
		}
		if len(list) == 0 && len(done) == running && a.close(f) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
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

// Retired drops the events of a function that was deleted. It is called when a revision of a function is no longer there.
func (a *Async) Retired(project, name, _ string) {
	f := function{project, name}
	if _, err := a.functions.Resolve(context.Background(), project, name, ""); hansom.KindOf(err) != hansom.NotFound {
		return
	}
	if a.backlog.Counts(f.queue()) == (backlog.Counts{}) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dropTime)
	defer cancel()
	if err := a.backlog.Drop(ctx, f.queue()); err != nil { // each finds the function gone when its turn comes
		a.logger.Warn("the events of a deleted function could not be dropped", "project", project, "function", name, "error", err)
	}
}
