// Package schedule is the schedules of projects, with the semantics of Amazon EventBridge Scheduler (API version 2021-06-30): groups,
// their schedules, and the events that these send to their targets. Names of errors are those of Scheduler's model, their wording is
// the service's own.
package schedule

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cron"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/tick"
)

// domain names this package's tables, migrations and ticks.
const domain = "schedule"

//go:embed migrations/*.sql
var embedded embed.FS

// DefaultGroup is the group that every project has.
const DefaultGroup = "default"

// Bounds of a retry policy, and what it is when a target has none.
const (
	MaxRetries = 185
	MaxAge     = 24 * time.Hour
)

// tokenTime is how long a ClientToken is known after its request.
const tokenTime = time.Hour

// Config of a Service.
type Config struct {
	Region string // stands in every ARN
	Groups int    // most of a project, beside the default one
	Now    func() time.Time
}

// DefaultConfig has Scheduler's quota of groups.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, Groups: 500, Now: time.Now}
}

// Dispatcher takes events over for targets.
type Dispatcher interface {
	// Dispatch returns nil when the event was delivered, was given up as its policy says, or is stored and will be tried again.
	Dispatch(ctx context.Context, d hansom.Dispatch) error
}

// Schedule sends events to a target at its times.
type Schedule struct {
	Project, Region string
	Group, Name     string
	App             string // that made it; "" for none
	Expression      string // rate(), cron() or at()
	Zone            string // of the time zone database
	Start, End      time.Time
	Enabled         bool
	Settings
	Created, Modified time.Time

	phase time.Time // when a rate() begins that has no Start
}

// Settings of a schedule do not change its times.
type Settings struct {
	Description string        `json:",omitempty"`
	Window      time.Duration `json:",omitempty"` // in which an event goes out after its time; 0 for at once
	Delete      bool          `json:",omitempty"` // after its last time
	Target      Target
}

// Target of a schedule.
type Target struct {
	ARN        string
	Role       string
	Input      string           // "" for the event that says what happened
	Retries    *int             `json:",omitempty"` // attempts after the first; nil for MaxRetries
	Age        *time.Duration   `json:",omitempty"` // no attempt comes later after the time; nil for MaxAge
	DeadLetter *string          `json:",omitempty"` // ARN of a queue; nil for no DeadLetterConfig, "" for one without
	Queue      *QueueParameters `json:",omitempty"`
	Bus        *BusParameters   `json:",omitempty"`
}

// QueueParameters are SqsParameters.
type QueueParameters struct{ Group string }

// BusParameters are EventBridgeParameters.
type BusParameters struct{ Source, DetailType string }

// retries and age are the target's policy.
func (t *Target) retries() int {
	if t.Retries == nil {
		return MaxRetries
	}
	return *t.Retries
}

func (t *Target) age() time.Duration {
	if t.Age == nil {
		return MaxAge
	}
	return *t.Age
}

// ARN of the schedule.
func (s *Schedule) ARN() string {
	return "arn:aws:scheduler:" + s.Region + ":" + s.Project + ":schedule/" + s.Group + "/" + s.Name
}

// key names its tick.
func (s *Schedule) key() string { return s.Project + "/" + s.Group + "/" + s.Name }

// times are those of its expression. Error: Invalid.
func (s *Schedule) times() (cron.Times, error) {
	e, err := cron.Parse(s.Expression)
	if err != nil {
		return cron.Times{}, invalid("Invalid Schedule Expression %s.", s.Expression)
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil || s.Zone == "Local" {
		return cron.Times{}, invalid("Invalid ScheduleExpressionTimezone %s.", s.Zone)
	}
	start := s.Start
	if e.Kind() == cron.Rate && start.IsZero() {
		start = s.phase
	}
	return cron.Times{Expression: e, Zone: zone, Start: start, End: s.End}, nil
}

// Service holds the schedules of all projects. Its methods may be called from several goroutines, and several processes may have
// one on the same database: each time of a schedule is still fired once.
type Service struct {
	cfg        Config
	db         *db.DB
	dispatcher Dispatcher
	ticks      *tick.Ticks
	log        *slog.Logger
	sweep      chan struct{} // there is a group to be deleted
}

// New migrates the tables. Run must be called for the schedules to work.
func New(ctx context.Context, cfg Config, database *db.DB, dispatcher Dispatcher, logger *slog.Logger) (*Service, error) {
	if cfg.Groups < 1 || cfg.Now == nil {
		return nil, hansom.Errorf(hansom.Invalid, "open schedules", "groups must be positive and now set")
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open schedules", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: database, dispatcher: dispatcher, log: logger.With("component", "schedule"), sweep: make(chan struct{}, 1)}
	ticks := tick.DefaultConfig(domain)
	ticks.Now = cfg.Now
	if s.ticks, err = tick.New(ctx, ticks, database, s.fire, logger); err != nil {
		return nil, err
	}
	return s, nil
}

// Run has the schedules work until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return s.ticks.Run(ctx) })
	g.Go(func() error { return s.sweepGroups(ctx) })
	return g.Wait()
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "schedule", format, args...).WithCode("ValidationException")
}

// once carries out a request in a transaction, unless one with this token and this content was carried out a short time ago. A request
// without a token is always carried out. Error: ConflictException when the token was that of another request.
func (s *Service) once(ctx context.Context, project, token string, request any, f func(tx *db.Tx) error) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if token == "" {
			return f(tx)
		}
		text, err := json.Marshal(request)
		if err != nil {
			return failed("read request", err)
		}
		sum := sha256.Sum256(text)
		digest, now := hex.EncodeToString(sum[:]), s.cfg.Now()
		if _, err := tx.ExecContext(ctx, `DELETE FROM schedule_tokens WHERE used < ?`, now.Add(-tokenTime).UnixMicro()); err != nil {
			return failed("write token", err)
		}
		known, err := knownToken(ctx, tx, project, token)
		switch {
		case err != nil:
			return err
		case known == digest:
			return nil
		case known != "":
			return hansom.Errorf(hansom.Conflict, "schedule", "The ClientToken %s was used for another request.", token)
		}
		if err := f(tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO schedule_tokens (project, token, digest, used) VALUES (?, ?, ?, ?)`, project, token, digest, now.UnixMicro()); err != nil {
			return failed("write token", err)
		}
		return nil
	})
}

// Create makes a schedule; of s Project, Group, Name, Expression, Zone, Start, End, Enabled and Settings count. Errors: ValidationException;
// ResourceNotFoundException for its group; ConflictException.
func (s *Service) Create(ctx context.Context, token string, in Schedule) (*Schedule, error) {
	in.Region = s.cfg.Region
	err := s.once(ctx, in.Project, token, []any{"CreateSchedule", in}, func(tx *db.Tx) error {
		now := s.now()
		c := in
		c.Created, c.Modified, c.phase = now, now, now
		if err := s.check(&c, time.Time{}); err != nil {
			return err
		}
		if err := s.usable(ctx, tx, c.Project, c.Group); err != nil {
			return err
		}
		switch _, err := s.one(ctx, tx, c.Project, c.Group, c.Name); {
		case err == nil:
			return hansom.Errorf(hansom.Conflict, "create schedule", "Schedule %s already exists.", c.Name)
		case hansom.KindOf(err) != hansom.NotFound:
			return err
		}
		return s.store(ctx, tx, nil, &c)
	})
	return &in, err
}

// Update gives a schedule all of the values of in, also those that are empty. Errors: as Create; ResourceNotFoundException.
func (s *Service) Update(ctx context.Context, token string, in Schedule) (*Schedule, error) {
	in.Region = s.cfg.Region
	err := s.once(ctx, in.Project, token, []any{"UpdateSchedule", in}, func(tx *db.Tx) error {
		old, err := s.one(ctx, tx, in.Project, in.Group, in.Name)
		if err != nil {
			return err
		}
		return s.change(ctx, tx, old, in)
	})
	return &in, err
}

// change brings a schedule to what c says.
func (s *Service) change(ctx context.Context, tx *db.Tx, old *Schedule, c Schedule) error {
	now := s.now()
	c.Region, c.App, c.Created, c.Modified, c.phase = old.Region, old.App, old.Created, now, old.phase
	if !sameTimes(old, &c) {
		c.phase = now
	}
	if err := s.check(&c, old.Start); err != nil {
		return err
	}
	return s.store(ctx, tx, old, &c)
}

// now is the time to the microsecond, as the database has it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// sameTimes tells whether two schedules are due at the same times.
func sameTimes(a, b *Schedule) bool {
	return a.Expression == b.Expression && a.Zone == b.Zone && a.Start.Equal(b.Start) && a.End.Equal(b.End) && a.Window == b.Window
}

// store writes a schedule and sets its tick; old is what it was before, nil for a new one. One whose times stay keeps its tick, and
// with it what is still to be made up for.
func (s *Service) store(ctx context.Context, tx *db.Tx, old, c *Schedule) error {
	if err := save(ctx, tx, c); err != nil {
		return err
	}
	same := old != nil && sameTimes(old, c)
	if same && old.Enabled && c.Enabled {
		return nil
	}
	if !c.Enabled {
		return s.ticks.Remove(ctx, tx, c.key())
	}
	t, err := c.times()
	if err != nil {
		return err
	}
	after := c.Modified
	if old == nil || old.Expression != c.Expression || old.Zone != c.Zone {
		after = after.Add(-1) // a rate() begins at once
		if t.Kind() == cron.At {
			after = after.Add(-c.Target.age()) // one that has just been is made up for, as after a downtime
		}
	}
	next, ok := c.next(t, after)
	if !ok {
		return s.ticks.Remove(ctx, tx, c.key())
	}
	return s.ticks.Set(ctx, tx, c.key(), next)
}

// Get returns a schedule. Error: ResourceNotFoundException.
func (s *Service) Get(ctx context.Context, project, group, name string) (*Schedule, error) {
	return s.one(ctx, s.db.Read(), project, group, name)
}

// Delete ends a schedule. Error: ResourceNotFoundException.
func (s *Service) Delete(ctx context.Context, token, project, group, name string) error {
	return s.once(ctx, project, token, []string{"DeleteSchedule", group, name}, func(tx *db.Tx) error {
		c, err := s.one(ctx, tx, project, group, name)
		if err != nil {
			return err
		}
		return s.remove(ctx, tx, c)
	})
}

// remove deletes schedules with their ticks.
func (s *Service) remove(ctx context.Context, tx *db.Tx, list ...*Schedule) error {
	for _, c := range list {
		if err := s.ticks.Remove(ctx, tx, c.key()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM schedules WHERE project = ? AND grp = ? AND name = ?`, c.Project, c.Group, c.Name); err != nil {
			return failed("delete schedule", err)
		}
	}
	return nil
}

// Filter of lists. Empty fields let all through.
type Filter struct {
	Group, Prefix string // of the names
	Enabled       *bool
	After         string // the Key of the last one of the page before
	Limit         int
}

// Key orders schedules in lists: GROUP/NAME.
func (s *Schedule) Key() string { return s.Group + "/" + s.Name }

// List returns schedules of a project in the order of groups and names. Error: ResourceNotFoundException for the group.
func (s *Service) List(ctx context.Context, project string, f Filter) ([]*Schedule, error) {
	if f.Group != "" {
		if _, err := s.group(ctx, s.db.Read(), project, f.Group); err != nil {
			return nil, err
		}
	}
	where, args := `WHERE project = ?`, []any{project}
	and := func(condition string, values ...any) {
		where += ` AND ` + condition
		args = append(args, values...)
	}
	if f.Group != "" {
		and(`grp = ?`, f.Group)
	}
	if f.Prefix != "" {
		and(`substr(name, 1, ?) = ?`, len(f.Prefix), f.Prefix)
	}
	if f.Enabled != nil {
		and(`enabled = ?`, flag(*f.Enabled))
	}
	if group, name, ok := strings.Cut(f.After, "/"); ok {
		and(`(grp, name) > (?, ?)`, group, name)
	}
	return s.read(ctx, s.db.Read(), where+` ORDER BY grp, name LIMIT ?`, append(args, f.Limit)...)
}

// RemoveProject removes the schedules and groups of a project within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	list, err := s.read(ctx, tx, `WHERE project = ?`, project)
	if err != nil {
		return err
	}
	if err := s.remove(ctx, tx, list...); err != nil {
		return err
	}
	for _, query := range []string{`DELETE FROM schedule_groups WHERE project = ?`, `DELETE FROM schedule_tokens WHERE project = ?`} {
		if _, err := tx.ExecContext(ctx, query, project); err != nil {
			return failed("remove project", err)
		}
	}
	return nil
}
