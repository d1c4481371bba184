// Package eventbus is the event buses of projects, with the semantics of Amazon EventBridge (API version 2015-10-07): buses, their
// rules with the targets of those, and what becomes of an event that is published. It keeps no events itself: a Dispatcher takes
// each of them over for each target. Names of errors are those of EventBridge's model, their wording is the service's own.
package eventbus

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
	"github.com/hansomcloud/hansom/internal/tick"
)

// domain names this package's tables, migrations and change notices.
const domain = "eventbus"

//go:embed migrations/*.sql
var embedded embed.FS

// DefaultBus is the bus that every project has.
const DefaultBus = "default"

// Limits of EventBridge.
const (
	MaxEntries = 10        // of one call of PutEvents
	MaxSize    = 256 << 10 // bytes of the entries of one call, counted as Size does
	MaxTags    = 50
)

// Config of a Service.
type Config struct {
	Region  string // stands in every ARN
	Buses   int    // most of a project
	Rules   int    // most of a bus
	Targets int    // most of a rule
	Hops    int    // buses that an event comes through after the first
	Now     func() time.Time
}

// DefaultConfig has EventBridge's quotas but for rules, of which it has 300, and ends events that came through 5 buses.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Buses: 100, Rules: 2000, Targets: 5, Hops: 4, Now: time.Now}
}

// Dispatcher takes events over for targets.
type Dispatcher interface {
	// Dispatch returns nil when the event was delivered, or is stored and will be: it is then never lost. Its errors go to who publishes.
	Dispatch(ctx context.Context, d hansom.Dispatch) error
}

// Archiver keeps what is published.
type Archiver interface {
	// Keeps says whether a bus has archives.
	Keeps(project, bus string) bool
	// Keep stores the events of a bus that its archives ask for, and returns when that is durable.
	Keep(ctx context.Context, project, bus string, events []Event) error
}

// Service holds the buses and rules of all projects. Its methods may be called from several goroutines. A method that takes a
// project acts in that project only; where it takes the name of a bus, an ARN of one and "", for the default bus, are good as well.
type Service struct {
	cfg        Config
	db         *db.DB
	dispatcher Dispatcher
	archiver   Archiver // nil for none
	logger     *slog.Logger
	ticks      *tick.Ticks
	view       view
	followers  followers
	announced  chan hansom.Announcement
	tally      tally
	newID      func() string
}

// New migrates the tables and reads buses and rules into memory. Run must be called for schedules.
func New(ctx context.Context, cfg Config, database *db.DB, dispatcher Dispatcher, logger *slog.Logger) (*Service, error) {
	if cfg.Buses < 1 || cfg.Rules < 1 || cfg.Targets < 1 || cfg.Hops < 1 {
		return nil, hansom.Errorf(hansom.Invalid, "open buses", "the limits of buses must be positive")
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open buses", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, dispatcher: dispatcher, logger: logger.With("component", "eventbus"), newID: hansom.NewID}
	s.view.buses = map[busKey]*live{}
	s.tally.buses = map[busKey]*Counts{}
	s.followers.closed, s.announced = make(chan struct{}), make(chan hansom.Announcement, announceQueue)
	clock := tick.DefaultConfig(domain)
	clock.Now = cfg.Now
	if s.ticks, err = tick.New(ctx, clock, database, s.fire, logger); err != nil {
		return nil, err
	}
	_, err = database.Mirror(ctx, domain, s.load, s.refreshAll, s.logger)
	return s, err
}

// SetArchiver has what is published archived. It is called before anything is published.
func (s *Service) SetArchiver(a Archiver) { s.archiver = a }

// Run fires the schedules of rules until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var work sync.WaitGroup
	work.Go(func() { _ = s.ticks.Run(ctx) })
	work.Go(func() { s.announce(ctx) })
	work.Wait()
	return nil
}

// ARN names what EventBridge has: "event-bus/orders", "rule/orders/paid".
func ARN(region, project, resource string) string {
	return hansom.ARN{Partition: "aws", Service: "events", Region: region, Account: project, Resource: resource}.String()
}

// BusARN names a bus.
func BusARN(region, project, name string) string { return ARN(region, project, "event-bus/"+name) }

// RuleARN names a rule.
func RuleARN(region, project, bus, name string) string {
	if bus == DefaultBus {
		return ARN(region, project, "rule/"+name)
	}
	return ARN(region, project, "rule/"+bus+"/"+name)
}

// BusName is the name of the bus that a name or an ARN stands for. Error: ResourceNotFoundException for what is of another project or region.
func (s *Service) BusName(project, nameOrARN string) (string, error) {
	switch {
	case nameOrARN == "":
		return DefaultBus, nil
	case !strings.HasPrefix(nameOrARN, "arn:"):
		return nameOrARN, nil
	}
	arn, err := hansom.ParseARN(nameOrARN)
	name, ok := strings.CutPrefix(arn.Resource, "event-bus/")
	if err != nil || !ok || arn.Service != "events" || arn.Account != project || arn.Region != s.cfg.Region {
		return "", noBus(nameOrARN)
	}
	return name, nil
}

// fail makes an error with a name of EventBridge's model.
func fail(kind hansom.Kind, code, format string, args ...any) error {
	return hansom.Errorf(kind, "eventbus", format, args...).WithCode(code)
}

func invalid(format string, args ...any) error {
	return fail(hansom.Invalid, "ValidationException", format, args...)
}

func noBus(name string) error {
	return fail(hansom.NotFound, "ResourceNotFoundException", "Event bus %s does not exist.", name)
}

func noRule(bus, name string) error {
	return fail(hansom.NotFound, "ResourceNotFoundException", "Rule %s does not exist on EventBus %s.", name, bus)
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }
