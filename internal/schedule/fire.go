package schedule

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cron"
	"github.com/hansomcloud/hansom/internal/db"
)

// next is when the event of the first time after after goes out; false when there is none.
func (s *Schedule) next(t cron.Times, after time.Time) (time.Time, bool) {
	at, ok := t.Next(after)
	if !ok {
		return time.Time{}, false
	}
	return at.Add(s.delay(t, at)), true
}

// last is the latest time whose event should be out by now; false when there is none that is young enough.
func (s *Schedule) last(t cron.Times, now time.Time) (time.Time, bool) {
	age := s.Target.age() + s.Window
	at, ok := t.Last(now, age)
	if ok && at.Add(s.delay(t, at)).After(now) { // it is the turn of the one before
		return t.Last(at.Add(-1), age)
	}
	return at, ok
}

// delay of the event of a time, within the flexible window: always the same for one time, and before the next time.
func (s *Schedule) delay(t cron.Times, at time.Time) time.Duration {
	window := s.Window
	if following, ok := t.Next(at); ok {
		window = min(window, following.Sub(at))
	}
	seconds := uint64(window / time.Second)
	if seconds == 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(s.key()))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix())))
	return time.Duration(h.Sum64()%seconds) * time.Second
}

// fire sends the event of a schedule's time, and says when the next one goes out. After a downtime it is the event of the latest time
// alone, and none when that is longer ago than the target's MaximumEventAgeInSeconds.
func (s *Service) fire(ctx context.Context, key string, due time.Time) (time.Time, error) {
	parts := strings.Split(key, "/")
	c, err := s.one(ctx, s.db.Read(), parts[0], parts[1], parts[2])
	switch {
	case hansom.KindOf(err) == hansom.NotFound:
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	case !c.Enabled:
		return time.Time{}, nil
	}
	t, err := c.times()
	if err != nil {
		return time.Time{}, err
	}
	now := s.cfg.Now()
	at, ok := c.last(t, now)
	switch {
	case ok && at.Before(due.Add(-c.Window)): // of before the schedule was changed
	case ok:
		if err := s.send(ctx, c, at, now); err != nil {
			return time.Time{}, err
		}
	default:
		at = now
		s.log.Warn("a schedule missed its time, longer ago than its MaximumEventAgeInSeconds", "schedule", c.ARN(), "due", due)
	}
	next, ok := c.next(t, at)
	if !ok && c.Delete {
		return time.Time{}, s.db.Write(ctx, func(tx *db.Tx) error {
			latest, err := s.one(ctx, tx, c.Project, c.Group, c.Name)
			if hansom.KindOf(err) == hansom.NotFound || err == nil && !latest.Modified.Equal(c.Modified) {
				return nil
			}
			if err != nil {
				return err
			}
			return s.remove(ctx, tx, latest)
		})
	}
	return next, nil
}

// send hands the event of a time to the dispatcher.
func (s *Service) send(ctx context.Context, c *Schedule, at, now time.Time) error {
	// A schedule that is made again under its name has other events, even of the same time.
	id := strconv.FormatInt(c.Created.UnixMicro(), 36) + "-" + strconv.FormatInt(at.UnixMicro(), 36)
	sum := sha256.Sum256([]byte(c.ARN() + id))
	execution := hex.EncodeToString(sum[:8])
	scheduled := at.UTC().Format(time.RFC3339)
	input := c.Target.Input
	if input == "" {
		input = s.event(c, scheduled, execution)
	} else {
		input = strings.NewReplacer("<aws.scheduler.schedule-arn>", c.ARN(), "<aws.scheduler.scheduled-time>", scheduled,
			"<aws.scheduler.execution-id>", execution, "<aws.scheduler.attempt-number>", "1").Replace(input)
	}
	list, err := c.deliveries(input, execution)
	if err != nil {
		return err
	}
	text := func(value string) hansom.Attribute { return hansom.Attribute{Type: "String", Value: value} }
	d := hansom.Dispatch{Lane: domain + "/" + c.key(), ID: id, Retries: c.Target.retries(), MaxAge: max(c.Target.age()-max(now.Sub(at)-c.Window, 0), 0),
		About: map[string]hansom.Attribute{"SCHEDULE_ARN": text(c.ARN()), "TARGET_ARN": text(c.Target.ARN), "SCHEDULED_TIME": text(scheduled),
			"EXECUTION_ID": text(execution), "IS_PAYLOAD_TRUNCATED": text("false")}}
	if c.Target.DeadLetter != nil {
		d.DeadLetter = *c.Target.DeadLetter
	}
	for i := range list {
		d.Delivery = list[i]
		if i > 0 {
			d.ID = id + "-" + strconv.Itoa(i)
		}
		if err := s.dispatcher.Dispatch(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// event is what a target without an input gets; a bus gets its detail.
func (s *Service) event(c *Schedule, scheduled, execution string) string {
	if c.Target.Bus != nil {
		return "{}"
	}
	text, _ := json.Marshal(struct { // strings always encode
		Version    string   `json:"version"`
		ID         string   `json:"id"`
		DetailType string   `json:"detail-type"`
		Source     string   `json:"source"`
		Account    string   `json:"account"`
		Time       string   `json:"time"`
		Region     string   `json:"region"`
		Resources  []string `json:"resources"`
		Detail     string   `json:"detail"`
	}{"0", execution, "Scheduled Event", "aws.scheduler", c.Project, scheduled, c.Region, []string{c.ARN()}, "{}"})
	return string(text)
}

// Upcoming are the next n times of a schedule after now, without the delays of its flexible window; none when it is disabled.
func (s *Schedule) Upcoming(now time.Time, n int) ([]time.Time, error) {
	t, err := s.times()
	if err != nil || !s.Enabled {
		return nil, err
	}
	var list []time.Time
	for at, ok := t.Next(now); ok && len(list) < n; at, ok = t.Next(at) {
		list = append(list, at)
	}
	return list, nil
}
