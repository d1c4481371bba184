package server

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/blob"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/bus/subject"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/invoke"
	"github.com/hansomcloud/hansom/internal/queue"
)

// openBacklog opens the message log and the queues in it. key is the server's.
func (s *Server) openBacklog(ctx context.Context, key []byte, logger *slog.Logger) (err error) {
	if s.bus, err = bus.Open(ctx, bus.Config{Dir: filepath.Join(s.cfg.Data, bus.Folder), SyncAlways: s.cfg.Sync == "always", Room: s.spare.check,
		Listen: s.cfg.NATS, Logins: logins{s.auth}, URL: s.cfg.NATSURL}, logger); err != nil {
		return err
	}
	s.dropProjects()
	s.subjects = subject.New(s.bus, s.cfg.Region, logger)
	cfg := backlog.DefaultConfig()
	cfg.Room = s.spare.check
	if s.backlog, err = backlog.Open(ctx, cfg, s.bus, logger); err != nil {
		return err
	}
	queues := queue.DefaultConfig()
	queues.Region, queues.Key = s.cfg.Region, derive(key, "receipt handles")
	s.queues, err = queue.New(ctx, queues, s.db, s.backlog, logger)
	return err
}

// observeQueues registers the metric of queues.
func (s *Server) observeQueues() {
	s.metrics.Gauge("hansom_queue_messages", "Messages of queues by state.", []string{"project", "queue", "state"}, func(emit func(float64, ...string)) {
		s.queues.Each(func(q *queue.Queue, n backlog.Counts) {
			emit(float64(n.Ready), q.Project, q.Name, "visible")
			emit(float64(n.InFlight), q.Project, q.Name, "in_flight")
			emit(float64(n.Delayed), q.Project, q.Name, "delayed")
		})
	})
	s.metrics.Gauge("hansom_events", "Events of asynchronous invocations by state.", []string{"project", "function", "state"}, func(emit func(float64, ...string)) {
		s.async.Each(func(project, function string, waiting, taken int) {
			emit(float64(waiting), project, function, "waiting")
			emit(float64(taken), project, function, "taken")
		})
	})
	s.metrics.Counter("hansom_bus_events_total", "Events that came to event buses: published, and matched by a rule.", []string{"project", "bus", "state"}, func(emit func(float64, ...string)) {
		for _, c := range s.buses.Counts() {
			emit(float64(c.Published), c.Project, c.Bus, "published")
			emit(float64(c.Matched), c.Project, c.Bus, "matched")
		}
	})
	s.metrics.Gauge("hansom_deliveries", "Events that are stored for their targets by state.", []string{"state"}, func(emit func(float64, ...string)) {
		waiting, taken := s.events.Deliveries()
		emit(float64(waiting), "waiting")
		emit(float64(taken), "taken")
	})
}

// spare watches the free space of a disk, so that the stores never find it full.
type spare struct {
	dir   string
	least uint64 // bytes

	mu   sync.Mutex
	next time.Time // when it looks again
	err  error
}

// checkEvery is how long what was seen of the disk counts: less than it takes to write the space that is spared.
const checkEvery = 100 * time.Millisecond

// check refuses new work while the disk is nearly full.
func (s *spare) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		return s.err
	}
	s.next, s.err = now.Add(checkEvery), nil
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &fs); err != nil {
		s.err = hansom.Errorf(hansom.Unavailable, "look at the disk", "%w", err)
	} else if free := uint64(fs.Bavail) * uint64(fs.Bsize); free < s.least {
		s.err = hansom.Errorf(hansom.Unavailable, "look at the disk", "the disk of %s has %d MB left, and new work and settings are accepted with %d MB or more: free some space", s.dir, free>>20, s.least>>20)
	}
	return s.err
}

// sparing keeps blobs off a disk that is nearly full.
type sparing struct {
	blob.Store
	room func() error
}

func (s sparing) Put(ctx context.Context, key string, r io.Reader) (int64, error) {
	if err := s.room(); err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, key, r)
}

// openTriggers opens what has functions called other than through the Lambda API: asynchronous invocations, event source mappings, event
// buses, schedules, HTTP APIs. invoker runs them; key is the server's.
func (s *Server) openTriggers(ctx context.Context, key []byte, invoker hansom.Invoker, logger *slog.Logger) (err error) {
	if s.async, err = invoke.NewAsync(ctx, invoke.DefaultConfig(), s.db, s.backlog, s.functions, invoker, logger); err != nil {
		return err
	}
	if err := s.openEvents(ctx, invoker, logger); err != nil {
		return err
	}
	if err := s.openBuses(ctx, logger); err != nil {
		return err
	}
	if err := s.openEndpoints(ctx, key, logger); err != nil {
		return err
	}
	if err := s.openAPIs(ctx, key, logger); err != nil {
		return err
	}
	s.async.SetDeliverer(s.events)
	s.functions.OnRetire(s.async.Retired)
	return nil
}

// openEvents opens what brings messages of queues to functions. invoker runs them.
func (s *Server) openEvents(ctx context.Context, invoker hansom.Invoker, logger *slog.Logger) (err error) {
	from := sources{s.queues, s.subjects}
	cfg := event.DefaultConfig()
	cfg.Region = s.cfg.Region
	s.events, err = event.New(ctx, cfg, s.db, event.Deps{Functions: s.functions, Invoker: invoker, Acceptor: s.async, Source: from, Queues: from, Messages: s.backlog}, logger)
	s.metrics.Counter("hansom_mapping_messages_total", "Messages of event source mappings: polled, filtered (out), done and failed.", []string{"project", "function", "mapping", "state"}, func(emit func(float64, ...string)) {
		for _, c := range s.events.Counts() {
			emit(float64(c.Polled), c.Project, c.Function, c.Mapping, "polled")
			emit(float64(c.Filtered), c.Project, c.Function, c.Mapping, "filtered")
			emit(float64(c.Done), c.Project, c.Function, c.Mapping, "done")
			emit(float64(c.Failed), c.Project, c.Function, c.Mapping, "failed")
		}
	})
	return err
}
