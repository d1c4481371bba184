package eventbus

import (
	"context"
	"strings"
	"time"

	"github.com/hansomcloud/hansom/internal/cron"
	"github.com/hansomcloud/hansom/internal/db"
)

// maxLate is how long ago a time of a schedule may be that was missed while no server ran: the last such time is made up for.
const maxLate = 24 * time.Hour

func checkSchedule(text string) error {
	if _, err := cron.ParseRule(text); err != nil {
		return invalid("Parameter ScheduleExpression is not valid.")
	}
	return nil
}

// setTick has the schedule of a rule fired from now on, if it has one and works. A rate begins anew.
func (s *Service) setTick(ctx context.Context, tx *db.Tx, r *Rule) error {
	if r.Bus != DefaultBus {
		return nil // no other bus has schedules
	}
	if r.Schedule != "" && r.Enabled() {
		e, err := cron.ParseRule(r.Schedule)
		if err != nil {
			return failed("set schedule", err)
		}
		now := s.cfg.Now()
		t := cron.Times{Expression: e, Start: now}
		if next, ok := t.Next(now); ok {
			return s.ticks.Set(ctx, tx, r.tick(), next)
		}
	}
	return s.ticks.Remove(ctx, tx, r.tick())
}

// tick is the key of the rule's tick.
func (r *Rule) tick() string { return r.Project + "/" + r.Name }

// fire sends the event of a rule's schedule to the targets of the rule. Of times that were missed the last one counts.
func (s *Service) fire(ctx context.Context, key string, due time.Time) (next time.Time, err error) {
	project, name, _ := strings.Cut(key, "/")
	r := s.view.rule(project, DefaultBus, name)
	if r == nil || !r.Enabled() || r.Schedule == "" {
		return time.Time{}, nil
	}
	e, err := cron.ParseRule(r.Schedule)
	if err != nil {
		return time.Time{}, failed("fire schedule", err)
	}
	t, now := cron.Times{Expression: e, Start: due}, s.cfg.Now()
	if at, ok := t.Last(now, maxLate); ok {
		if err := s.tell(ctx, r, at); err != nil {
			return time.Time{}, err
		}
	}
	next, _ = t.Next(now)
	return next, nil
}

// tell sends the event of a time to the targets of a rule, and returns when they have taken it over: an event of one rule and time is sent once.
func (s *Service) tell(ctx context.Context, r *Rule, at time.Time) error {
	e, err := s.event(r.Project, &Entry{Source: "aws.events", DetailType: "Scheduled Event", Detail: []byte("{}"), Resources: []string{r.ARN()}, Time: at, Platform: true}, at)
	if err != nil {
		return err
	}
	e.key = at.UTC().Format(time.RFC3339)
	results := make([]Result, 1)
	round := s.newRound(r.Project, s.cfg.Now(), results)
	round.send(0, r, e)
	round.run(ctx)
	return results[0].Err
}
