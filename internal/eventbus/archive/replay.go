package archive

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

// States of a replay.
const (
	Starting   = "STARTING"
	Running    = "RUNNING"
	Cancelling = "CANCELLING"
	Completed  = "COMPLETED"
	Cancelled  = "CANCELLED"
	Failed     = "FAILED"
)

// Replay is a replay at one moment.
type Replay struct {
	Project, Region, Name string
	Archive               string // name
	Bus                   string // name
	Filters               []string
	Description           string
	Since, Until          time.Time // the times of the events that are sent; both are included
	State, Reason         string
	Last                  time.Time // of the event that was sent last; zero for none
	Started, Ended        time.Time // zero while it runs

	archive string // id
	lastID  string
}

// ARN of the replay.
func (r *Replay) ARN() string { return eventbus.ARN(r.Region, r.Project, "replay/"+r.Name) }

// active says that it has not ended.
func (r *Replay) active() bool { return r.Ended.IsZero() }

// ReplayInput is what Start is given.
type ReplayInput struct {
	Name, Description string
	Source            string   // ARN of an archive
	Destination       string   // ARN of its bus
	Filters           []string // ARNs of the rules that take part; none for all
	Since, Until      time.Time
}

// Start begins to send archived events again. Errors: ValidationException, ResourceNotFoundException, ResourceAlreadyExistsException,
// LimitExceededException.
func (s *Service) Start(ctx context.Context, project string, in ReplayInput) (*Replay, error) {
	source := s.named(project, "archive", in.Source)
	destination := s.named(project, "event-bus", in.Destination)
	switch {
	case !strings.Contains(in.Source, ":archive/"):
		return nil, invalid("Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN.")
	case !strings.Contains(in.Destination, ":event-bus/"):
		return nil, invalid("Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN.")
	case source == "":
		return nil, fail(hansom.NotFound, "ResourceNotFoundException", "Archive %s does not exist.", in.Source)
	case destination == "":
		return nil, fail(hansom.NotFound, "ResourceNotFoundException", "Event bus %s does not exist.", in.Destination)
	case !in.Since.Before(in.Until):
		return nil, invalid("Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.")
	}
	if _, err := s.buses.Bus(project, destination); err != nil {
		return nil, err
	}
	prefix := eventbus.RuleARN(s.cfg.Region, project, destination, "")
	for _, arn := range in.Filters {
		if rest, ok := strings.CutPrefix(arn, prefix); !ok || strings.Contains(rest, "/") {
			return nil, invalid("Parameter Destination.FilterArns is not valid. Reason: %s is not the ARN of a rule of the event bus %s.", arn, destination)
		}
	}
	r := &Replay{Project: project, Region: s.cfg.Region, Name: in.Name, Archive: source, Bus: destination, Filters: in.Filters, Description: in.Description,
		Since: in.Since.UTC(), Until: in.Until.UTC(), State: Starting, Started: s.cfg.Now().UTC()}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		a, err := s.one(ctx, tx, project, source)
		if err != nil {
			return err
		}
		r.archive = a.id
		list, err := s.readReplays(ctx, tx, `WHERE project = ?`, project)
		active := 0
		for _, x := range list {
			if x.active() {
				active++
			}
		}
		switch {
		case err != nil:
			return err
		case a.Bus != destination:
			return invalid("Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.")
		case slices.ContainsFunc(list, func(x *Replay) bool { return x.Name == r.Name }):
			return fail(hansom.Conflict, "ResourceAlreadyExistsException", "Replay %s already exists.", r.Name)
		case active >= s.cfg.Active:
			return fail(hansom.Invalid, "LimitExceededException", "The requested resource exceeds the maximum number allowed: %d replays run at a time.", s.cfg.Active)
		}
		return saveReplay(ctx, tx, r)
	})
	if err != nil {
		return nil, err
	}
	s.wakeUp()
	return r, nil
}

// Cancel ends a replay soon. Errors: ResourceNotFoundException, IllegalStatusException.
func (s *Service) Cancel(ctx context.Context, project, name string) (r *Replay, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if r, err = s.oneReplay(ctx, tx, project, name); err != nil {
			return err
		}
		if r.State != Starting && r.State != Running {
			return fail(hansom.Conflict, "IllegalStatusException", "Replay %s is not in a valid state for this operation.", name)
		}
		r.State = Cancelling
		return saveReplay(ctx, tx, r)
	})
	if err != nil {
		return nil, err
	}
	s.running.interrupt(project + "/" + name)
	s.wakeUp()
	return r, nil
}

// Replay returns a replay. Error: ResourceNotFoundException.
func (s *Service) Replay(ctx context.Context, project, name string) (*Replay, error) {
	return s.oneReplay(ctx, s.db.Read(), project, name)
}

// Replays returns the replays of a project whose names begin with prefix, in the order of their names; with a state or the ARN of an
// archive only those of it.
func (s *Service) Replays(ctx context.Context, project, prefix, state, source string) ([]*Replay, error) {
	list, err := s.readReplays(ctx, s.db.Read(), `WHERE project = ? ORDER BY name`, project)
	archive := s.named(project, "archive", source)
	return slices.DeleteFunc(list, func(r *Replay) bool {
		return !strings.HasPrefix(r.Name, prefix) || state != "" && r.State != state || source != "" && r.Archive != archive
	}), err
}

// running are the replays that a goroutine works on.
type running struct {
	mu     sync.Mutex
	cancel map[string]context.CancelFunc // by project and name
	done   sync.WaitGroup
}

func (r *running) interrupt(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.cancel[key]; cancel != nil {
		cancel()
	}
}

// startReplays works on the replays that have not ended and that nobody works on.
func (s *Service) startReplays(ctx context.Context) {
	s.running.mu.Lock() // before it reads: what ends meanwhile is not begun again
	defer s.running.mu.Unlock()
	list, err := s.readReplays(ctx, s.db.Read(), `WHERE ended = 0`)
	if err != nil && ctx.Err() == nil {
		s.logger.Warn("replays could not be read; it is tried again", "error", err)
	}
	for _, r := range list {
		key := r.Project + "/" + r.Name
		if s.running.cancel[key] != nil {
			continue
		}
		inner, cancel := context.WithCancel(ctx)
		s.running.cancel[key] = cancel
		s.running.done.Go(func() {
			s.work(inner, r)
			cancel()
			s.running.mu.Lock()
			delete(s.running.cancel, key)
			s.running.mu.Unlock()
			s.wakeUp() // it may have been cancelled, or begun again, meanwhile
		})
	}
}

// work sends events until the replay ends, or ctx does.
func (s *Service) work(ctx context.Context, r *Replay) {
	for ctx.Err() == nil {
		err := s.step(ctx, r)
		if !r.active() {
			return
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.logger.Warn("a replay stopped; it is tried again", "replay", r.ARN(), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Retry):
		}
	}
}

// step sends some events and notes how far the replay is.
func (s *Service) step(ctx context.Context, r *Replay) error {
	if r.State == Cancelling {
		return s.end(ctx, r, Cancelled, "")
	}
	events, err := s.some(ctx, r)
	switch {
	case err != nil:
		return err
	case len(events) == 0:
		var n int
		if err := s.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM archives WHERE id = ?`, r.archive).Scan(&n); err != nil {
			return failed("replay", err)
		}
		if n == 0 {
			return s.end(ctx, r, Failed, "The archive "+r.Archive+" was deleted.")
		}
		return s.end(ctx, r, Completed, "")
	}
	bodies := make([][]byte, len(events))
	for i := range events {
		bodies[i] = events[i].JSON
	}
	err = s.buses.Replay(ctx, r.Project, r.Bus, r.Name, r.Filters, bodies)
	if hansom.KindOf(err) == hansom.NotFound {
		return s.end(ctx, r, Failed, err.Error())
	}
	if err != nil {
		return err
	}
	last := events[len(events)-1]
	r.Last, r.lastID = last.Time, last.ID
	return s.note(ctx, r, func(now *Replay) {
		now.Last, now.lastID = r.Last, r.lastID
		if now.State == Starting {
			now.State = Running
		}
	})
}

// some reads the events that are next.
func (s *Service) some(ctx context.Context, r *Replay) (list []eventbus.Event, err error) {
	from := max(r.Since.UnixMicro(), micros(r.Last))
	rows, err := s.db.Read().QueryContext(ctx, `SELECT time, id, body FROM archived_events WHERE archive = ? AND time >= ? AND time <= ? AND (time > ? OR id > ?)
		ORDER BY time, id LIMIT ?`, r.archive, from, r.Until.UnixMicro(), micros(r.Last), r.lastID, s.cfg.Batch)
	if err != nil {
		return nil, failed("read archived events", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e eventbus.Event
		var at int64
		var body string
		if err := rows.Scan(&at, &e.ID, &body); err != nil {
			return nil, failed("read archived events", err)
		}
		e.Time, e.JSON = time.UnixMicro(at).UTC(), []byte(body)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read archived events", err)
	}
	return list, nil
}

func (s *Service) end(ctx context.Context, r *Replay, state, reason string) error {
	return s.note(ctx, r, func(now *Replay) {
		if now.State == Cancelling {
			state = Cancelled
		}
		now.State, now.Reason, now.Ended = state, reason, s.cfg.Now().UTC()
	})
}

// note writes what became of a replay, which may have been cancelled meanwhile, and has r be that.
func (s *Service) note(ctx context.Context, r *Replay, f func(*Replay)) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		now, err := s.oneReplay(ctx, tx, r.Project, r.Name)
		if hansom.KindOf(err) == hansom.NotFound { // with its project
			r.Ended = s.cfg.Now()
			return nil
		}
		if err != nil {
			return err
		}
		f(now)
		*r = *now
		return saveReplay(ctx, tx, now)
	})
}

// forget deletes replays that ended before a time.
func (s *Service) forget(ctx context.Context, before time.Time) error {
	list, err := s.readReplays(ctx, s.db.Read(), `WHERE ended > 0 AND ended < ?`, before.UnixMicro())
	if err != nil || len(list) == 0 {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM replays WHERE ended > 0 AND ended < ?`, before.UnixMicro())
		return err
	})
}

// oneReplay reads a replay. Error: ResourceNotFoundException.
func (s *Service) oneReplay(ctx context.Context, q db.Querier, project, name string) (*Replay, error) {
	list, err := s.readReplays(ctx, q, `WHERE project = ? AND name = ?`, project, name)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fail(hansom.NotFound, "ResourceNotFoundException", "Replay %s does not exist.", name)
	}
	return list[0], nil
}

// readReplays reads replays; rest is what follows FROM.
func (s *Service) readReplays(ctx context.Context, q db.Querier, rest string, args ...any) ([]*Replay, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, archive, source, bus, filters, description, since, until, state, reason, last_time, last_id, started, ended FROM replays `+rest, args...)
	if err != nil {
		return nil, failed("read replays", err)
	}
	defer rows.Close()
	var list []*Replay
	for rows.Next() {
		r := &Replay{Region: s.cfg.Region}
		var filters string
		var since, until, last, started, ended int64
		if err := rows.Scan(&r.Project, &r.Name, &r.archive, &r.Archive, &r.Bus, &filters, &r.Description, &since, &until, &r.State, &r.Reason, &last, &r.lastID, &started, &ended); err != nil {
			return nil, failed("read replays", err)
		}
		if err := json.Unmarshal([]byte(filters), &r.Filters); err != nil {
			return nil, failed("read replays", err)
		}
		r.Since, r.Until, r.Last, r.Started, r.Ended = moment(since), moment(until), moment(last), moment(started), moment(ended)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read replays", err)
	}
	return list, nil
}

func saveReplay(ctx context.Context, tx *db.Tx, r *Replay) error {
	filters, err := json.Marshal(r.Filters)
	if err != nil {
		return failed("write replay", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO replays (project, name, archive, source, bus, filters, description, since, until, state, reason, last_time, last_id, started, ended)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET state = excluded.state, reason = excluded.reason, last_time = excluded.last_time, last_id = excluded.last_id, ended = excluded.ended`,
		r.Project, r.Name, r.archive, r.Archive, r.Bus, string(filters), r.Description, micros(r.Since), micros(r.Until), r.State, r.Reason, micros(r.Last), r.lastID, micros(r.Started), micros(r.Ended))
	if err != nil {
		return failed("write replay", err)
	}
	return nil
}

// micros is a time as it is kept; 0 stands for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
