// Package event brings events to their targets: event source mappings pull messages from queues and invoke functions with them, and
// Deliver hands an event to a function, a queue, an event bus or an API destination; Dispatch does so until it goes well.
package event

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/lanes"
)

// domain names this package's tables, migrations and change notices.
const domain = "event"

//go:embed migrations/*.sql
var embedded embed.FS

// Config of a Service.
type Config struct {
	Region  string        // stands in every ARN
	Pollers int           // of a mapping, as many batches at a time as it may have at once; more come one after another
	Growth  time.Duration // between two of those that come later
	Most    int           // batches of a mapping at a time, unless it or its function has a lower limit
	Wait    time.Duration // for a message, in one poll
	Payload int           // bytes of what a function is invoked with
	Lane    int           // stored events for one target that are delivered at a time
}

// DefaultConfig is as Lambda does it: 5 batches at a time, up to 300 more each minute, long polls of 20 s, payloads of 6 MB; 50
// deliveries at a time for each target.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Pollers: 5, Growth: 200 * time.Millisecond, Most: hansom.MaxConcurrency, Wait: 20 * time.Second,
		Payload: hansom.MaxSyncPayload, Lane: 50}
}

// Functions finds functions, from memory.
type Functions interface {
	// Resolve finds the version that a call goes to. Error: NotFound.
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
}

// Source is where the messages of mappings come from: queues and subjects, by their ARNs. mapping is the id of the one that takes them:
// a queue gives a message to one mapping, a subject to each. Errors: NotFound when there is no such source.
type Source interface {
	// Begin makes ready what a new mapping of a subject takes from. Errors: Invalid.
	Begin(ctx context.Context, arn, mapping string) error
	// End removes what Begin made; what was not is no error.
	End(ctx context.Context, arn, mapping string) error
	// Poll takes up to limit messages, or waits for some: none after wait, or when ctx ends, is no error.
	Poll(ctx context.Context, arn, mapping string, limit int, wait time.Duration) ([]hansom.Polled, error)
	// Done ends messages.
	Done(ctx context.Context, arn string, handles []string) error
	// Show lets messages be taken again after a time, and has this taking count.
	Show(ctx context.Context, arn string, handles []string, after time.Duration) error
}

// Queues are the sources and targets themselves.
type Queues interface {
	// Queue tells whether a source keeps an order, and how long messages are hidden that were taken. Errors: NotFound, Invalid.
	Queue(arn string) (fifo bool, visibility time.Duration, err error)
	// Send puts a delivery into a queue. Its errors go to who delivers.
	Send(ctx context.Context, d hansom.Delivery) error
}

// Acceptor takes over invocations that nobody waits for. Its errors go to who delivers.
type Acceptor interface {
	Accept(ctx context.Context, inv *hansom.Invocation) error
}

// Backlog keeps what is to be delivered.
type Backlog interface {
	lanes.Backlog
	// Seen tells whether a queue had an entry with a deduplication id that still counts.
	Seen(queue, id string) bool
}

// Deps are what a Service stands on.
type Deps struct {
	Functions Functions
	Invoker   hansom.Invoker
	Acceptor  Acceptor
	Source    Source
	Queues    Queues
	Messages  Backlog
}

// Service holds the event source mappings of all projects, and delivers. Its methods may be called from several goroutines. Errors are
// *hansom.Error with the Lambda API's wording.
type Service struct {
	Deps
	cfg Config
	db  *db.DB
	log *slog.Logger

	mu      sync.RWMutex
	ctx     context.Context // of Run; nil before it and after
	runners map[string]*runner
	working sync.WaitGroup

	lanes     *lanes.Lanes
	recent    recent
	buses     Buses
	endpoints Endpoints
	announce  hansom.Announce

	now    func() time.Time
	newID  func() string
	jitter func(time.Duration) time.Duration
}

// New migrates the table and reads the mappings. Run must be called for them to work.
func New(ctx context.Context, cfg Config, database *db.DB, deps Deps, logger *slog.Logger) (*Service, error) {
	if cfg.Pollers < 1 || cfg.Most < cfg.Pollers || cfg.Wait <= 0 || cfg.Payload < 1 || cfg.Lane < 1 {
		return nil, hansom.Errorf(hansom.Invalid, "make event", "pollers, wait, payload and lane must be positive, and most no less than pollers")
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open event", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := newUnstored(cfg, deps, logger.With("component", "event"))
	s.db = database
	database.Subscribe(s.again)
	_, err = database.Mirror(ctx, domain, s.load, s.changed, s.log)
	return s, err
}

// newUnstored returns a Service that has no mappings.
func newUnstored(cfg Config, deps Deps, logger *slog.Logger) *Service {
	s := &Service{Deps: deps, cfg: cfg, log: logger, runners: map[string]*runner{}, now: time.Now, newID: hansom.NewID, jitter: jitter}
	s.lanes = lanes.New(lanes.Config{Prefix: lanePrefix, Workers: func(string) int { return cfg.Lane }, Work: s.work}, deps.Messages, s.log)
	return s
}

// jitter is a random time between the half of d and d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// Run works on the mappings and what is to be delivered until ctx ends: then nothing more is begun, and it waits for what is under way.
func (s *Service) Run(ctx context.Context) error {
	s.working.Go(func() { _ = s.lanes.Run(ctx) })
	s.mu.Lock()
	s.ctx = ctx
	for _, r := range s.runners {
		r.change(ctx, r.mapping())
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil // no worker is added any more
	s.mu.Unlock()
	s.working.Wait()
	return nil
}

// load reads every mapping.
func (s *Service) load(ctx context.Context) error {
	list, err := s.mappings(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for i := range list {
		s.set(list[i].ID, &list[i])
		there[list[i].ID] = true
	}
	s.mu.RLock()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(s.runners)), func(id string) bool { return there[id] })
	s.mu.RUnlock()
	for _, id := range gone {
		s.set(id, nil)
	}
	return nil
}

// changed reads the mappings that a change names.
func (s *Service) changed(ctx context.Context, c db.Change) error {
	for _, id := range c.Keys {
		list, err := s.mappings(ctx, s.db.Read(), `WHERE id = ?`, id)
		switch {
		case err != nil:
			return err
		case len(list) == 0:
			s.set(id, nil)
		default:
			s.set(id, &list[0])
		}
	}
	return nil
}

// again has the mappings look anew whose functions or queues are among those that changed: what is gone stops them, what is there again
// or has another limit counts at once.
func (s *Service) again(c db.Change) {
	if c.Domain != "function" && c.Domain != "queue" {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.runners {
		m := r.mapping()
		name := m.Function
		if c.Domain == "queue" {
			name = m.Source[strings.LastIndexByte(m.Source, ':')+1:]
		}
		if slices.Contains(c.Keys, m.Project+"/"+name) {
			r.restart(s.ctx)
		}
	}
}

// Counts is how many messages a mapping had to do with since the server's start.
type Counts struct {
	Project, Function, Mapping string
	Polled                     int // taken from the queue
	Filtered                   int // of those: ended because no filter lets them through
	Done                       int // ended after the function
	Failed                     int // given back after it, each time
}

// Counts of all mappings.
func (s *Service) Counts() (list []Counts) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.runners {
		r.count(func(c *Counts) {
			n := *c
			n.Project, n.Function, n.Mapping = r.m.Project, r.m.Function, r.m.ID
			list = append(list, n)
		})
	}
	return list
}

// set has a mapping work as m says; nil ends it.
func (s *Service) set(id string, m *Mapping) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runners[id]
	if r == nil {
		if m == nil {
			return
		}
		r = newRunner(s, m)
		s.runners[id] = r
	}
	if r.change(s.ctx, m); m == nil && r.state() == "" {
		delete(s.runners, id)
		s.end(r.mapping())
	}
}

// forget drops a mapping that has ended.
func (s *Service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runners[id]; r != nil && r.state() == "" {
		delete(s.runners, id)
		s.end(r.mapping())
	}
}

// end has the source of a mapping that has ended know it. mu is held.
func (s *Service) end(m *Mapping) {
	if s.ctx == nil || m.kind() != kindSubject {
		return
	}
	ctx := context.WithoutCancel(s.ctx)
	s.working.Go(func() {
		if err := s.Source.End(ctx, m.Source, m.ID); err != nil && hansom.KindOf(err) != hansom.NotFound {
			s.log.Warn("what a deleted mapping had in its source is still there", "mapping", m.ID, "source", m.Source, "error", err)
		}
	})
}
