package eventbus

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/pattern"
)

// States of a rule.
const (
	Enabled  = "ENABLED"
	Disabled = "DISABLED"
)

// Rule is a rule at one moment. It must not be changed.
type Rule struct {
	Project, Region, Bus, Name string
	App                        string           // that made it; "" for the EventBridge API
	Pattern                    *pattern.Pattern // nil for none
	Schedule                   string           // rate(...) or cron(...); "" for none
	Tags                       map[string]string
	Targets                    []Target // in the order of their ids
	Created                    time.Time
	RuleSettings
}

// RuleSettings are what of a rule is kept and shown.
type RuleSettings struct {
	State       string `json:"state"`
	Description string `json:"description,omitempty"`
	Role        string `json:"role,omitempty"`
}

// ARN of the rule.
func (r *Rule) ARN() string { return RuleARN(r.Region, r.Project, r.Bus, r.Name) }

// Enabled says that the rule works.
func (r *Rule) Enabled() bool { return r.State != Disabled }

// RuleInput is what PutRule is given.
type RuleInput struct {
	Bus, Name         string // the bus may be an ARN
	Pattern, Schedule string // one of them at least
	RuleSettings             // the state "" stands for ENABLED
	Tags              map[string]string
}

// PutRule makes a rule, or replaces the one of this name: its targets and its tags stay. Errors: ValidationException,
// InvalidEventPatternException, ResourceNotFoundException, LimitExceededException.
func (s *Service) PutRule(ctx context.Context, project string, in RuleInput) (*Rule, error) {
	bus, err := s.BusName(project, in.Bus)
	if err != nil {
		return nil, err
	}
	r := &Rule{Project: project, Region: s.cfg.Region, Bus: bus, Name: in.Name, Schedule: in.Schedule, Tags: in.Tags,
		Created: s.cfg.Now().UTC(), RuleSettings: in.RuleSettings}
	if r.State == "" {
		r.State = Enabled
	}
	if err := r.check(in.Pattern); err != nil {
		return nil, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.oneBus(ctx, tx, project, bus); err != nil {
			return err
		}
		same, err := s.readRules(ctx, tx, `WHERE project = ? AND bus = ? AND name = ?`, project, bus, r.Name)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			r.App, r.Targets, r.Tags, r.Created = same[0].App, same[0].Targets, same[0].Tags, same[0].Created
		} else if err := s.room(ctx, tx, project, bus); err != nil {
			return err
		}
		if err := s.setTick(ctx, tx, r); err != nil {
			return err
		}
		return saveRule(ctx, tx, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// room refuses a rule more than a bus has.
func (s *Service) room(ctx context.Context, tx *db.Tx, project, bus string) error {
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM rules WHERE project = ? AND bus = ?`, project, bus).Scan(&n); err != nil {
		return failed("count rules", err)
	}
	if n >= s.cfg.Rules {
		return fail(hansom.Invalid, "LimitExceededException", "The requested resource exceeds the maximum number allowed: a bus has at most %d rules.", s.cfg.Rules)
	}
	return nil
}

// check holds a rule to what EventBridge takes, and parses its pattern.
func (r *Rule) check(text string) (err error) {
	if text == "" && r.Schedule == "" {
		return invalid("Parameter(s) EventPattern or ScheduleExpression must be specified.")
	}
	if text != "" {
		if r.Pattern, err = pattern.Parse(text); err != nil {
			return err
		}
	}
	if r.Schedule != "" {
		if r.Bus != DefaultBus {
			return invalid("ScheduleExpression is supported only on the default event bus.")
		}
		if err := checkSchedule(r.Schedule); err != nil {
			return err
		}
	}
	return checkTags(r.Tags)
}

// Rule returns a rule, from memory. Error: ResourceNotFoundException.
func (s *Service) Rule(project, bus, name string) (*Rule, error) {
	b, err := s.Bus(project, bus)
	if err != nil {
		return nil, err
	}
	if r := s.view.rule(project, b.Name, name); r != nil {
		return r, nil
	}
	return nil, noRule(b.Name, name)
}

// Rules returns the rules of a bus whose names begin with prefix, in the order of their names. Error: ResourceNotFoundException.
func (s *Service) Rules(project, bus, prefix string) ([]*Rule, error) {
	b, err := s.Bus(project, bus)
	if err != nil {
		return nil, err
	}
	list := s.view.rules(project, b.Name)
	list = slices.DeleteFunc(list, func(r *Rule) bool { return !strings.HasPrefix(r.Name, prefix) })
	slices.SortFunc(list, func(a, b *Rule) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// SetState enables or disables a rule. Error: ResourceNotFoundException.
func (s *Service) SetState(ctx context.Context, project, bus, name, state string) error {
	return s.changeRule(ctx, project, bus, name, func(tx *db.Tx, r *Rule) error {
		if r.State == state {
			return nil
		}
		r.State = state
		return s.setTick(ctx, tx, r)
	})
}

// DeleteRule ends a rule; one that is not there is no error. Errors: ValidationException for one that has targets,
// ResourceNotFoundException for the bus.
func (s *Service) DeleteRule(ctx context.Context, project, bus, name string) error {
	bus, err := s.BusName(project, bus)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.oneBus(ctx, tx, project, bus); err != nil {
			return err
		}
		rules, err := s.readRules(ctx, tx, `WHERE project = ? AND bus = ? AND name = ?`, project, bus, name)
		if err != nil || len(rules) == 0 {
			return err
		}
		if len(rules[0].Targets) > 0 {
			return invalid("Rule can't be deleted since it has targets.")
		}
		return s.removeRule(ctx, tx, rules[0])
	})
}

func (s *Service) removeRule(ctx context.Context, tx *db.Tx, r *Rule) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM rules WHERE project = ? AND bus = ? AND name = ?`, r.Project, r.Bus, r.Name); err != nil {
		return failed("delete rule", err)
	}
	tx.Changed(domain, r.Project+"/"+r.Bus+"/"+r.Name)
	r.Schedule = ""
	return s.setTick(ctx, tx, r)
}

// changeRule has f change a rule.
func (s *Service) changeRule(ctx context.Context, project, bus, name string, f func(*db.Tx, *Rule) error) error {
	bus, err := s.BusName(project, bus)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.oneBus(ctx, tx, project, bus); err != nil {
			return err
		}
		rules, err := s.readRules(ctx, tx, `WHERE project = ? AND bus = ? AND name = ?`, project, bus, name)
		if err != nil {
			return err
		}
		if len(rules) == 0 {
			return noRule(bus, name)
		}
		if err := f(tx, rules[0]); err != nil {
			return err
		}
		return saveRule(ctx, tx, rules[0])
	})
}
