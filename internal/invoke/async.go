package invoke

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/lanes"
)

// dropTime is for the events of a function that was deleted.
const dropTime = 5 * time.Second

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

// growth is how soon a function that has many events is given one more at a time: slower than most functions answer once they have
// started, so that a burst is not as many cold starts.
const growth = 250 * time.Millisecond

// Async runs invocations that nobody waits for: at least once each, a function's in the order in which they were accepted but
// several at a time. Each function has a lane.
type Async struct {
	cfg       Config
	lanes     *lanes.Lanes
	old       *table
	functions Configured
	invoker   hansom.Invoker
	deliverer Deliverer
	announce  hansom.Announce
	logger    *slog.Logger
}

// NewAsync returns an Async on events. database is where older versions kept events. Run must be called for what is accepted to run.
func NewAsync(ctx context.Context, cfg Config, database *db.DB, events lanes.Backlog, functions Configured, invoker hansom.Invoker, logger *slog.Logger) (*Async, error) {
	if cfg.Workers < 1 || cfg.MaxEvent < 1 {
		return nil, hansom.Errorf(hansom.Invalid, "make async", "workers and max event must be positive")
	}
	t, err := openTable(ctx, database)
	if err != nil {
		return nil, err
	}
	a := &Async{cfg: cfg, old: t, functions: functions, invoker: invoker, deliverer: nowhere{}, logger: logger.With("component", "async")}
	a.lanes = lanes.New(lanes.Config{Prefix: queuePrefix, Workers: a.workers, Begin: 2 * runtime.GOMAXPROCS(0), Growth: growth, Work: a.handle}, events, a.logger)
	return a, nil
}

// SetAnnounce says who is told of invocations that were given up (Invocation Failed), before Run.
func (a *Async) SetAnnounce(f hansom.Announce) { a.announce = f }

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
	a.lanes.Each(func(queue string, waiting, taken int) {
		of := functionOf(queue)
		f(of.project, of.name, waiting, taken)
	})
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
	return a.lanes.Put(ctx, f.queue(), e)
}

// Run serves what is accepted, and what is left from before, until ctx ends; then it waits for the invocations under way. What has
// not begun by then waits for the next Run.
func (a *Async) Run(ctx context.Context) error {
	var moving sync.WaitGroup
	defer moving.Wait()
	moving.Go(func() { a.move(ctx) })
	return a.lanes.Run(ctx)
}

// workers is how many events of a function run at a time: no more than its reserved concurrency lets through.
func (a *Async) workers(queue string) int {
	f := functionOf(queue)
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
	ctx, cancel := context.WithTimeout(context.Background(), dropTime)
	defer cancel()
	if err := a.lanes.Drop(ctx, f.queue()); err != nil { // each finds the function gone when its turn comes
		a.logger.Warn("the events of a deleted function could not be dropped", "project", project, "function", name, "error", err)
	}
}
