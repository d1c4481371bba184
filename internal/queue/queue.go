// Package queue keeps the queues of projects, with the semantics of Amazon SQS (API version 2012-11-05): what they are in the
// database, their messages in backlog. Names of errors are those of SQS's model, their wording is the service's own.
package queue

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/db"
)

// domain names this package's tables, migrations and change notices.
const domain = "queue"

//go:embed migrations/*.sql
var embedded embed.FS

// Limits of SQS. Sizes are in bytes.
const (
	MaxSize  = 1 << 20 // of a message, and of a batch
	MaxBatch = 10
	MaxTags  = 50

	maxVisibility = 12 * time.Hour
	maxDelay      = 900 // seconds
	maxWait       = 20  // seconds
	purgeEvery    = time.Minute
)

// Config of a Service.
type Config struct {
	Region   string        // stands in every ARN
	Key      []byte        // signs receipt handles
	InFlight int           // most messages of a queue in flight
	Sweep    time.Duration // how often messages are looked for that are older than their queue keeps them
	Now      func() time.Time
}

// DefaultConfig has SQS's 120,000 messages in flight and looks for old messages once a minute. It has no key.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, InFlight: 120_000, Sweep: time.Minute, Now: time.Now}
}

// Queue is a queue at one moment. It must not be changed.
type Queue struct {
	Project, Region, Name string
	App                   string // that made it; "" for the SQS API
	Tags                  map[string]string
	Created, Modified     time.Time

	id     string
	log    string            // its name in the backlog
	values map[string]string // attributes that were set
	settings
}

// ARN of the queue.
func (q *Queue) ARN() string { return ARN(q.Region, q.Project, q.Name) }

// FIFO says that the queue keeps the order within groups.
func (q *Queue) FIFO() bool { return q.fifo }

// ARN names a queue.
func ARN(region, project, name string) string {
	return hansom.ARN{Partition: "aws", Service: "sqs", Region: region, Account: project, Resource: name}.String()
}

// logPrefix begins the names of all queues in the backlog.
const logPrefix = "sqs/"

func logName(project, name, id string) string { return logPrefix + project + "/" + name + "/" + id }

// Service holds the queues of all projects. Its methods may be called from several goroutines. A method that takes a project acts
// in that project only.
type Service struct {
	cfg      Config
	db       *db.DB
	backlog  *backlog.Store
	logger   *slog.Logger
	view     view
	newID    func() string
	announce hansom.Announce

	ending context.Context // ends with Run, and with it those who wait for messages
	end    context.CancelFunc
	wake   chan struct{} // tells Run that there may be a new move task; capacity 1
	moving moving

	mu        sync.Mutex
	purged    map[string]time.Time // by id, when a queue was purged last
	attempts  map[string]attempt   // by id and ReceiveRequestAttemptId
	attempted int                  // bytes of what is in attempts
}

// SetAnnounce says who is told of dead letters (Message Dead-Lettered), before Run.
func (s *Service) SetAnnounce(f hansom.Announce) { s.announce = f }

// New migrates the tables and reads the queues into memory. Run must be called for old messages to end and for move tasks to run.
func New(ctx context.Context, cfg Config, database *db.DB, messages *backlog.Store, logger *slog.Logger) (*Service, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Key) == 0 || cfg.InFlight < 1 || cfg.Sweep <= 0 {
		return nil, hansom.Errorf(hansom.Invalid, "open queues", "queues need a key, and limits that are positive")
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "open queues", "%w", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, backlog: messages, logger: logger.With("component", "queue"), newID: hansom.NewID,
		wake: make(chan struct{}, 1), purged: map[string]time.Time{}, attempts: map[string]attempt{}}
	s.moving.tasks = map[string]*running{}
	s.ending, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.view.projects = map[string]map[string]*Queue{}
	_, err = database.Mirror(ctx, domain, s.load, s.refresh, s.logger)
	return s, err
}

// Run ends messages that are older than their queue keeps them, and what is left of queues that were deleted, and runs move tasks,
// until ctx ends. With it end those who wait for messages.
func (s *Service) Run(ctx context.Context) error {
	defer s.end()
	defer s.moving.done.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticker := time.NewTicker(s.cfg.Sweep)
	defer ticker.Stop()
	s.sweep(ctx)
	for {
		s.startMoves(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-ticker.C:
			s.sweep(ctx)
		}
	}
}

// sweep ends what is too old, and what belongs to no queue any more.
func (s *Service) sweep(ctx context.Context) {
	now := s.cfg.Now()
	for _, name := range s.backlog.Queues(logPrefix) {
		if ctx.Err() != nil {
			return
		}
		var err error
		if q := s.logged(name); q == nil {
			err = s.backlog.Drop(ctx, name)
		} else {
			_, err = s.backlog.Expire(ctx, name, now.Add(-q.retention))
		}
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("old messages could not be deleted; it is tried again", "queue", name, "error", err)
		}
	}
	s.forget(now)
}

// logged is the queue with a name in the backlog, nil when it is not there any more.
func (s *Service) logged(name string) *Queue {
	project, rest, _ := strings.Cut(strings.TrimPrefix(name, logPrefix), "/")
	queue, _, _ := strings.Cut(rest, "/")
	if q := s.view.find(project, queue); q != nil && q.log == name {
		return q
	}
	return nil
}

// Each calls f with each queue that has messages, of all projects, in no order.
func (s *Service) Each(f func(q *Queue, n backlog.Counts)) {
	for _, name := range s.backlog.Queues(logPrefix) {
		if q := s.logged(name); q != nil {
			f(q, s.backlog.Counts(name))
		}
	}
}

// forget drops what is remembered in memory and no longer counts.
func (s *Service) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.purged {
		if now.Sub(t) >= purgeEvery {
			delete(s.purged, id)
		}
	}
	for key, a := range s.attempts {
		if !now.Before(a.expires) {
			s.drop(key)
		}
	}
}

// fail makes an error with a name of SQS's model.
func fail(kind hansom.Kind, code, format string, args ...any) error {
	return hansom.Errorf(kind, "sqs", format, args...).WithCode(code)
}

// invalid is InvalidParameterValue, SQS's word for what is wrong with a parameter.
func invalid(format string, args ...any) error {
	return fail(hansom.Invalid, "InvalidParameterValueException", format, args...)
}

func missing(parameter string) error {
	return fail(hansom.Invalid, "MissingRequiredParameterException", "The request must contain the parameter %s.", parameter)
}

func notFound() error {
	return fail(hansom.NotFound, "QueueDoesNotExist", "The specified queue does not exist.")
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }
