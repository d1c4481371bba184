package eventbus

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/pattern"
)

type busKey struct{ project, name string }

// live is a bus in memory. Its rules are replaced as a whole.
type live struct {
	bus   *Bus // nil for a default bus without a row
	rules map[string]*Rule
	set   pattern.Set // of the rules that are enabled and have a pattern, by their names
}

// view is all buses in memory.
type view struct {
	mu    sync.RWMutex
	buses map[busKey]*live
}

func (v *view) bus(project, name string) *Bus {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if l := v.buses[busKey{project, name}]; l != nil {
		return l.bus
	}
	return nil
}

// list returns the buses of a project that have a row, in no order.
func (v *view) list(project string) (list []*Bus) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for key, l := range v.buses {
		if key.project == project && l.bus != nil {
			list = append(list, l.bus)
		}
	}
	return list
}

func (v *view) rule(project, bus, name string) *Rule {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if l := v.buses[busKey{project, bus}]; l != nil {
		return l.rules[name]
	}
	return nil
}

func (v *view) rules(project, bus string) (list []*Rule) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if l := v.buses[busKey{project, bus}]; l != nil {
		for _, r := range l.rules {
			list = append(list, r)
		}
	}
	return list
}

// match returns the rules of a bus that an event matches, in no order.
func (v *view) match(project, bus string, event []byte) (list []*Rule, err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	l := v.buses[busKey{project, bus}]
	if l == nil {
		return nil, nil
	}
	names, err := l.set.Match(event)
	for _, name := range names {
		list = append(list, l.rules[name])
	}
	return list, err
}

// of is the place of a bus, which is made when there is none.
func of(buses map[busKey]*live, project, name string) *live {
	key := busKey{project, name}
	l := buses[key]
	if l == nil {
		l = &live{rules: map[string]*Rule{}}
		buses[key] = l
	}
	return l
}

func (l *live) put(name string, r *Rule) {
	l.set.Remove(name)
	delete(l.rules, name)
	if r == nil {
		return
	}
	l.rules[name] = r
	if r.Pattern != nil && r.Enabled() {
		l.set.Add(name, r.Pattern)
	}
}

// refreshAll reads what a change names.
func (s *Service) refreshAll(ctx context.Context, c db.Change) error {
	for _, key := range c.Keys {
		if err := s.refresh(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// refresh reads what a key of a change names: project/bus is the bus with all its rules, project/bus/rule a rule.
func (s *Service) refresh(ctx context.Context, key string) error {
	project, rest, _ := strings.Cut(key, "/")
	bus, rule, isRule := strings.Cut(rest, "/")
	if isRule {
		list, err := s.readRules(ctx, s.db.Read(), `WHERE project = ? AND bus = ? AND name = ?`, project, bus, rule)
		if err != nil {
			return err
		}
		s.view.mu.Lock()
		defer s.view.mu.Unlock()
		of(s.view.buses, project, bus).put(rule, first(list))
		return nil
	}
	list, err := s.readBuses(ctx, s.db.Read(), `WHERE project = ? AND name = ?`, project, bus)
	if err != nil {
		return err
	}
	rules, err := s.readRules(ctx, s.db.Read(), `WHERE project = ? AND bus = ?`, project, bus)
	if err != nil {
		return err
	}
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	delete(s.view.buses, busKey{project, bus})
	if len(list) > 0 {
		of(s.view.buses, project, bus).bus = list[0]
	}
	for _, r := range rules {
		of(s.view.buses, project, bus).put(r.Name, r)
	}
	return nil
}

func first[T any](list []*T) *T {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// load reads everything.
func (s *Service) load(ctx context.Context) error {
	list, err := s.readBuses(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	rules, err := s.readRules(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	buses := map[busKey]*live{}
	for _, b := range list {
		of(buses, b.Project, b.Name).bus = b
	}
	for _, r := range rules {
		of(buses, r.Project, r.Bus).put(r.Name, r)
	}
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	s.view.buses = buses
	return nil
}

// readBuses reads buses; rest is what follows FROM.
func (s *Service) readBuses(ctx context.Context, q db.Querier, rest string, args ...any) ([]*Bus, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, settings, policy, tags, created, modified FROM buses `+rest, args...)
	if err != nil {
		return nil, failed("read buses", err)
	}
	defer rows.Close()
	var list []*Bus
	for rows.Next() {
		b := &Bus{Region: s.cfg.Region}
		var settings, tags string
		var created, modified int64
		if err := rows.Scan(&b.Project, &b.Name, &settings, &b.Policy, &tags, &created, &modified); err != nil {
			return nil, failed("read buses", err)
		}
		if err := errors.Join(json.Unmarshal([]byte(settings), &b.BusSettings), json.Unmarshal([]byte(tags), &b.Tags)); err != nil {
			return nil, failed("read buses", err)
		}
		b.Created, b.Modified = time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		list = append(list, b)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read buses", err)
	}
	return list, nil
}

// oneBus reads a bus as tx has it. Error: ResourceNotFoundException.
func (s *Service) oneBus(ctx context.Context, tx *db.Tx, project, name string) (*Bus, error) {
	list, err := s.readBuses(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
	switch {
	case err != nil:
		return nil, err
	case len(list) > 0:
		return list[0], nil
	case name == DefaultBus:
		return s.untouched(project), nil
	}
	return nil, noBus(name)
}

// saveBus writes a bus, new or not, and notes the change.
func saveBus(ctx context.Context, tx *db.Tx, b *Bus) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO buses (project, name, settings, policy, tags, created, modified) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET settings = excluded.settings, policy = excluded.policy, tags = excluded.tags, modified = excluded.modified`,
		b.Project, b.Name, encode(b.BusSettings), b.Policy, encode(b.Tags), b.Created.UnixMicro(), b.Modified.UnixMicro())
	if err != nil {
		return failed("write bus", err)
	}
	tx.Changed(domain, b.Project+"/"+b.Name)
	return nil
}

// readRules reads rules; rest is what follows FROM.
func (s *Service) readRules(ctx context.Context, q db.Querier, rest string, args ...any) ([]*Rule, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, bus, name, app, pattern, schedule, settings, targets, tags, created FROM rules `+rest, args...)
	if err != nil {
		return nil, failed("read rules", err)
	}
	defer rows.Close()
	var list []*Rule
	for rows.Next() {
		r := &Rule{Region: s.cfg.Region}
		var text, settings, targets, tags string
		var created int64
		if err := rows.Scan(&r.Project, &r.Bus, &r.Name, &r.App, &text, &r.Schedule, &settings, &targets, &tags, &created); err != nil {
			return nil, failed("read rules", err)
		}
		err := errors.Join(json.Unmarshal([]byte(settings), &r.RuleSettings), json.Unmarshal([]byte(targets), &r.Targets), json.Unmarshal([]byte(tags), &r.Tags))
		if err == nil && text != "" {
			r.Pattern, err = pattern.Parse(text)
		}
		for i := range r.Targets {
			err = errors.Join(err, r.Targets[i].parse())
		}
		if err != nil {
			return nil, failed("read rules", err)
		}
		r.Created = time.UnixMicro(created).UTC()
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read rules", err)
	}
	return list, nil
}

// saveRule writes a rule, new or not, and notes the change.
func saveRule(ctx context.Context, tx *db.Tx, r *Rule) error {
	text := ""
	if r.Pattern != nil {
		text = r.Pattern.String()
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO rules (project, bus, name, app, pattern, schedule, settings, targets, tags, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, bus, name) DO UPDATE SET pattern = excluded.pattern, schedule = excluded.schedule, settings = excluded.settings,
		targets = excluded.targets, tags = excluded.tags`,
		r.Project, r.Bus, r.Name, r.App, text, r.Schedule, encode(r.RuleSettings), encode(r.Targets), encode(r.Tags), r.Created.UnixMicro())
	if err != nil {
		return failed("write rule", err)
	}
	tx.Changed(domain, r.Project+"/"+r.Bus+"/"+r.Name)
	return nil
}
