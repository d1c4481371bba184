// Package events keeps what is said of the events that functions are invoked with: how they are retried, and where records of their
// end go. Its tables are function's.
package events

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/paging"
)

// Functions knows the functions of projects, from memory.
type Functions interface {
	// Resolve finds the version that a qualifier of a function stands for. Error: NotFound.
	Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error)
}

// Service holds the configurations of all functions.
type Service struct {
	db        *db.DB
	region    string
	functions Functions
	changed   func(tx *db.Tx, project, name string)
	now       func() time.Time
}

// New returns a service. It calls changed with each function whose configuration a transaction changes.
func New(database *db.DB, region string, functions Functions, changed func(tx *db.Tx, project, name string), now func() time.Time) *Service {
	return &Service{database, region, functions, changed, now}
}

// Config says how the events are treated that a function was invoked with by one qualifier. Nil fields were not given.
type Config struct {
	ARN       string // of the function, with the qualifier
	Qualifier string // "$LATEST", a version or an alias
	Retries   *int   // 0 to 2
	MaxAge    *int   // seconds, 60 to 21,600
	OnSuccess string // ARN of a queue, a function or an event bus, or ""
	OnFailure string
	Modified  time.Time
}

// Input is what Put and Update write. At least one field must be given.
type Input struct {
	Retries      *int
	MaxAge       *int // seconds
	Destinations *Destinations
}

// Destinations are where the records of events go that have ended.
type Destinations struct{ OnSuccess, OnFailure string }

// Put replaces the configuration of a qualifier, "" for $LATEST. Errors: NotFound; Invalid, Unsupported for a destination.
func (s *Service) Put(ctx context.Context, project, name, qualifier string, in Input) (Config, error) {
	return s.write(ctx, project, name, qualifier, in, false)
}

// Update changes what in gives. Errors: NotFound, also when there is no configuration; Invalid, Unsupported for a destination.
func (s *Service) Update(ctx context.Context, project, name, qualifier string, in Input) (Config, error) {
	return s.write(ctx, project, name, qualifier, in, true)
}

func (s *Service) write(ctx context.Context, project, name, qualifier string, in Input, update bool) (Config, error) {
	const op = "configure events"
	if in == (Input{}) {
		return Config{}, hansom.Errorf(hansom.Invalid, op, "You must specify at least one of error handling or destination setting.")
	}
	c := Config{Qualifier: cmp.Or(qualifier, hansom.Latest)}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.functions.Resolve(ctx, project, name, qualifier); err != nil {
			return hansom.Errorf(hansom.NotFound, op, "The function doesn't exist.")
		}
		if update {
			var err error
			if c, err = s.one(ctx, tx, project, name, qualifier); err != nil {
				return err
			}
		}
		if in.Retries != nil {
			c.Retries = in.Retries
		}
		if in.MaxAge != nil {
			c.MaxAge = in.MaxAge
		}
		if d := in.Destinations; d != nil {
			if err := s.checkDestinations(ctx, project, name, d); err != nil {
				return err
			}
			c.OnSuccess, c.OnFailure = d.OnSuccess, d.OnFailure
		}
		c.ARN, c.Modified = s.arn(project, name, c.Qualifier), s.now().UTC().Truncate(time.Microsecond)
		retries, age := -1, 0
		if c.Retries != nil {
			retries = *c.Retries
		}
		if c.MaxAge != nil {
			age = *c.MaxAge
		}
		s.changed(tx, project, name)
		return s.save(ctx, tx, project, name, c.Qualifier, retries, age, c.OnSuccess, c.OnFailure, c.Modified)
	})
	return c, err
}

// Keep has the configuration of $LATEST be c within the caller's transaction, which may make the function and the destinations too; nil
// removes it. The caller has held it to what can be.
func (s *Service) Keep(ctx context.Context, tx *db.Tx, project, name string, c *hansom.AsyncConfig) error {
	s.changed(tx, project, name)
	if c == nil {
		return Forget(ctx, tx, project, name, hansom.Latest)
	}
	return s.save(ctx, tx, project, name, hansom.Latest, c.Retries, int(c.MaxAge/time.Second), c.OnSuccess, c.OnFailure, s.now())
}

// save writes a configuration; retries is -1 and age 0 when it was not given.
func (s *Service) save(ctx context.Context, tx *db.Tx, project, name, qualifier string, retries, age int, onSuccess, onFailure string, modified time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO function_event_configs (project, name, qualifier, retries, age, on_success, on_failure, modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name, qualifier) DO UPDATE SET retries = excluded.retries, age = excluded.age,
			on_success = excluded.on_success, on_failure = excluded.on_failure, modified = excluded.modified`,
		project, name, qualifier, retries, age, onSuccess, onFailure, modified.UnixMicro())
	if err != nil {
		return failed("configure events", err)
	}
	return nil
}

// Get reads the configuration of a qualifier, "" for $LATEST. Errors: NotFound.
func (s *Service) Get(ctx context.Context, project, name, qualifier string) (Config, error) {
	return s.one(ctx, s.db.Read(), project, name, qualifier)
}

// Delete removes the configuration of a qualifier, "" for $LATEST. Errors: NotFound.
func (s *Service) Delete(ctx context.Context, project, name, qualifier string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		c, err := s.one(ctx, tx, project, name, qualifier)
		if err != nil {
			return err
		}
		s.changed(tx, project, name)
		return Forget(ctx, tx, project, name, c.Qualifier)
	})
}

// List lists the configurations of a function by qualifier. Errors: NotFound, Invalid for a marker that is not from here.
func (s *Service) List(ctx context.Context, project, name string, page paging.Page) (list []Config, next string, err error) {
	var after string
	limit, err := page.Open(&after)
	if err != nil {
		return nil, "", err
	}
	if _, err := s.functions.Resolve(ctx, project, name, ""); err != nil {
		return nil, "", hansom.Errorf(hansom.NotFound, "list event configs", "The function doesn't exist.")
	}
	all, err := s.read(ctx, s.db.Read(), project, name)
	list = all[project+"/"+name]
	slices.SortFunc(list, func(a, b Config) int { return strings.Compare(a.Qualifier, b.Qualifier) })
	list = slices.DeleteFunc(list, func(c Config) bool { return c.Qualifier <= after })
	if len(list) > limit {
		list = list[:limit]
		next = paging.Marker(list[limit-1].Qualifier)
	}
	return list, next, err
}

func (s *Service) one(ctx context.Context, q db.Querier, project, name, qualifier string) (Config, error) {
	all, err := s.read(ctx, q, project, name)
	if err != nil {
		return Config{}, err
	}
	list := all[project+"/"+name]
	qualifier = cmp.Or(qualifier, hansom.Latest)
	i := slices.IndexFunc(list, func(c Config) bool { return c.Qualifier == qualifier })
	if i < 0 {
		return Config{}, hansom.Errorf(hansom.NotFound, "find event config", "The function %s doesn't have an EventInvokeConfig", s.arn(project, name, qualifier))
	}
	return list[i], nil
}

// read reads the configurations of all functions, or of one when name is not "". The keys are those of note.
func (s *Service) read(ctx context.Context, q db.Querier, project, name string) (map[string][]Config, error) {
	where, args := "", []any(nil)
	if name != "" {
		where, args = " WHERE project = ? AND name = ?", []any{project, name}
	}
	rows, err := q.QueryContext(ctx, `SELECT project, name, qualifier, retries, age, on_success, on_failure, modified FROM function_event_configs`+where, args...)
	if err != nil {
		return nil, failed("read event configs", err)
	}
	defer rows.Close()
	out := map[string][]Config{}
	for rows.Next() {
		var c Config
		var retries, age int
		var modified int64
		if err := rows.Scan(&project, &name, &c.Qualifier, &retries, &age, &c.OnSuccess, &c.OnFailure, &modified); err != nil {
			return nil, failed("read event configs", err)
		}
		if retries >= 0 {
			c.Retries = &retries
		}
		if age > 0 {
			c.MaxAge = &age
		}
		c.ARN, c.Modified = s.arn(project, name, c.Qualifier), time.UnixMicro(modified).UTC()
		out[project+"/"+name] = append(out[project+"/"+name], c)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read event configs", err)
	}
	return out, nil
}

// Load reads what holds for events, by function, which is "<project>/<name>", and qualifier: of all functions, or of one when name is not "".
func (s *Service) Load(ctx context.Context, q db.Querier, project, name string) (map[string]map[string]hansom.AsyncConfig, error) {
	all, err := s.read(ctx, q, project, name)
	out := map[string]map[string]hansom.AsyncConfig{}
	for key, list := range all {
		out[key] = map[string]hansom.AsyncConfig{}
		for i := range list {
			c := hansom.DefaultAsyncConfig()
			if list[i].Retries != nil {
				c.Retries = *list[i].Retries
			}
			if list[i].MaxAge != nil {
				c.MaxAge = time.Duration(*list[i].MaxAge) * time.Second
			}
			c.OnSuccess, c.OnFailure = list[i].OnSuccess, list[i].OnFailure
			out[key][list[i].Qualifier] = c
		}
	}
	return out, err
}

// Forget removes the configuration of a qualifier that is being removed.
func Forget(ctx context.Context, tx *db.Tx, project, name, qualifier string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM function_event_configs WHERE project = ? AND name = ? AND qualifier = ?`, project, name, qualifier); err != nil {
		return failed("delete event config", err)
	}
	return nil
}

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

func (s *Service) arn(project, name, qualifier string) string {
	return hansom.FunctionARN(s.region, project, name, qualifier)
}

// checkDestinations refuses destinations that cannot be.
func (s *Service) checkDestinations(ctx context.Context, project, name string, d *Destinations) error {
	shown := func(member, arn string) string {
		if arn == "" {
			return "null"
		}
		return member + "(destination=" + arn + ")"
	}
	for _, arn := range []string{d.OnFailure, d.OnSuccess} {
		if arn == "" {
			continue
		}
		a, err := hansom.ParseARN(arn)
		switch {
		case err != nil, a.Service != "lambda" && a.Service != "sqs" && a.Service != "sns" && a.Service != "events" && a.Service != "s3":
			return hansom.Errorf(hansom.Invalid, "check destination", "The provided destination config DestinationConfig(onSuccess=%s, onFailure=%s) is invalid.",
				shown("OnSuccess", d.OnSuccess), shown("OnFailure", d.OnFailure))
		case a.Service == "lambda":
			err = s.checkTarget(ctx, project, name, arn, a)
		case a.Service == "events":
			if bus, ok := strings.CutPrefix(a.Resource, "event-bus/"); !ok || bus == "" || a.Region != s.region || a.Account != project {
				err = hansom.Errorf(hansom.Invalid, "check destination", "The destination ARN %s is invalid.", arn)
			}
		default:
			err = s.checkQueue("A destination", project, arn, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTarget refuses a function as the destination of another one's events.
func (s *Service) checkTarget(ctx context.Context, project, name, arn string, a hansom.ARN) error {
	const op = "check destination"
	function, isFunction := strings.CutPrefix(a.Resource, "function:")
	function, qualifier, _ := strings.Cut(function, ":")
	if !isFunction || a.Region != s.region || a.Account != project {
		return hansom.Errorf(hansom.Invalid, op, "The destination ARN %s is invalid.", arn)
	}
	if _, err := s.functions.Resolve(ctx, project, function, qualifier); err != nil {
		return hansom.Errorf(hansom.Invalid, op, "The destination ARN %s is invalid.", arn)
	}
	if function == name {
		return hansom.Errorf(hansom.Invalid, op, "You can't specify the function as a destination for itself.")
	}
	return nil
}

// checkQueue refuses what is no standard queue of the project. Whether the queue is there does not matter, as with AWS.
func (s *Service) checkQueue(what, project, arn string, a hansom.ARN) error {
	const op = "check destination"
	services := map[string]string{"sns": "an SNS topic", "s3": "an S3 bucket"}
	switch {
	case services[a.Service] != "":
		return hansom.Errorf(hansom.Unsupported, op, "%s that is %s is not supported by this server: %s. Use a queue.", what, services[a.Service], arn)
	case a.Service != "sqs" || strings.ContainsAny(a.Resource, ":/"):
		return hansom.Errorf(hansom.Invalid, op, "%s must be a queue, which %s is not.", what, arn)
	case a.Account != project || a.Region != s.region:
		return hansom.Errorf(hansom.Invalid, op, "%s must be a queue of this account and region, which %s is not.", what, arn)
	case strings.HasSuffix(a.Resource, ".fifo"):
		return hansom.Errorf(hansom.Invalid, op, "%s must be a standard queue, not a FIFO queue: %s.", what, arn)
	}
	return nil
}

// CheckDeadLetter refuses a target for dead letters that cannot be; "" is none. Errors: Invalid, Unsupported.
func (s *Service) CheckDeadLetter(project, arn string) error {
	if arn == "" {
		return nil
	}
	a, err := hansom.ParseARN(arn)
	if err != nil {
		return err
	}
	return s.checkQueue("A dead-letter target", project, arn, a)
}
