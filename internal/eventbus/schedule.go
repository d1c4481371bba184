package eventbus

import (
	"context"
	"time"

	"github.com/hansomcloud/hansom/internal/cron"
)

func checkSchedule(text string) error {
	if _, err := cron.ParseRule(text); err != nil {
		return invalid("Parameter ScheduleExpression is not valid.")
	}
	return nil
}

// Fire sends the event of a rule's schedule to the targets of the rule, and returns when they have taken it over. at is the time of the
// schedule: an event of one rule and time is sent once. A rule that is not there any more, or does not work, sends nothing. Its errors are
// those of targets: it is to be tried again.
func (s *Service) Fire(ctx context.Context, project, name string, at time.Time) error {
	r := s.view.rule(project, DefaultBus, name)
	if r == nil || !r.Enabled() || r.Schedule == "" {
		return nil
	}
	e, err := s.event(project, &Entry{Source: "aws.events", DetailType: "Scheduled Event", Detail: []byte("{}"), Resources: []string{r.ARN()}, Time: at, Platform: true}, at)
	if err != nil {
		return err
	}
	e.key = at.UTC().Format(time.RFC3339)
	results := make([]Result, 1)
	round := s.newRound(project, s.cfg.Now(), results)
	round.send(0, r, e)
	round.run(ctx)
	return results[0].Err
}
