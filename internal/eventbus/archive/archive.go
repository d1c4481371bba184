// Package archive keeps what is published on event buses, and sends it to rules again: the archives and replays of Amazon EventBridge.
// Names of errors are those of EventBridge's model.
package archive

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/pattern"
)

// domain names this package's tables, migrations and change notices.
const domain = "archive"

//go:embed migrations/*.sql
var embedded embed.FS

// Config of a Service.
type Config struct {
	Region string        // stands in every ARN
	Active int           // replays of a project at a time
	Batch  int           // events that a replay sends at a time
	Retry  time.Duration // until a replay goes on after an error
	Sweep  time.Duration // how often old events are looked for
	Keep   time.Duration // how long replays that have ended are shown
	Room   func() error  // refuses events while the disk is nearly full; nil for never
	Now    func() time.Time
}

// DefaultConfig has EventBridge's 10 replays at a time, which are shown for 90 days.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Active: 10, Batch: 100, Retry: time.Second, Sweep: time.Minute, Keep: 90 * 24 * time.Hour, Now: time.Now}
}

// Buses are the event buses.
type Buses interface {
	// Bus finds a bus by its name or ARN. Error: ResourceNotFoundException.
	Bus(project, nameOrARN string) (*eventbus.Bus, error)
	// Replay sends events to rules of a bus. Error: NotFound when there is no such bus; after others it is tried again.
	Replay(ctx context.Context, project, bus, replay string, rules []string, events [][]byte) error
}

// Service holds the archives and replays of all projects. Its methods may be called from several goroutines. A method that takes a
// project acts in that project only.
type Service struct {
	cfg    Config
	db     *db.DB
	buses  Buses
	logger *slog.Logger
	newID  func() string

	mu       sync.Mutex
	archives map[source][]*kept
	next     *batch
	writing  chan struct{} // holds a token while a batch is written

	wake    chan struct{} // tells Run that there may be something to replay; capacity 1
	running running
}

// source is a bus.
type source struct{ project, bus string }

// kept is what of an archive is held in memory.
type kept struct {
	id      string
	pattern *pattern.Pattern // nil for all events
}

// New migrates the tables and reads the archives. Run must be called for replays, and for old events to end.
func New(ctx context.Context, cfg Config, database *db.DB, buses Buses, logger *slog.Logger) (*Service, error) {
	if cfg.Active < 1 || cfg.Batch < 1 || cfg.Retry <= 0 || cfg.Sweep <= 0 {
		return nil, hansom.Errorf(hansom.Invalid, "open archives", "the limits of archives must be positive")
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open archives", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, buses: buses, logger: logger.With("component", "archive"), newID: hansom.NewID,
		writing: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.running.cancel = map[string]context.CancelFunc{}
	_, err = database.Mirror(ctx, domain, s.load, nil, s.logger)
	return s, err
}

// Run replays, and ends old events, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	defer s.running.done.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticker := time.NewTicker(s.cfg.Sweep)
	defer ticker.Stop()
	s.sweep(ctx)
	for {
		s.startReplays(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-ticker.C:
			s.sweep(ctx)
		}
	}
}

func (s *Service) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// load reads all archives: there are few.
func (s *Service) load(ctx context.Context) error {
	list, err := s.read(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	archives := map[source][]*kept{}
	for _, a := range list {
		key := source{a.Project, a.Bus}
		archives[key] = append(archives[key], &kept{a.id, a.Pattern})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archives = archives
	return nil
}

// ARN names an archive.
func (a *Archive) ARN() string { return eventbus.ARN(a.Region, a.Project, "archive/"+a.Name) }

// named is the name in an ARN of kind "archive" or "replay"; "" when it is none of the project.
func (s *Service) named(project, kind, text string) string {
	arn, err := hansom.ParseARN(text)
	name, ok := strings.CutPrefix(arn.Resource, kind+"/")
	if err != nil || !ok || arn.Service != "events" || arn.Account != project || arn.Region != s.cfg.Region {
		return ""
	}
	return name
}

// fail makes an error with a name of EventBridge's model.
func fail(kind hansom.Kind, code, format string, args ...any) error {
	return hansom.Errorf(kind, "archive", format, args...).WithCode(code)
}

func invalid(format string, args ...any) error {
	return fail(hansom.Invalid, "ValidationException", format, args...)
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }
