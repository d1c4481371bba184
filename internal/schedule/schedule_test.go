package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

const (
	project = hansom.DefaultProject
	worker  = "arn:aws:lambda:us-east-1:000000000000:function:worker"
	jobs    = "arn:aws:sqs:us-east-1:000000000000:jobs"
	role    = "arn:aws:iam::000000000000:role/r"
)

// start is when the world of a test begins: a Sunday noon.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a clock and what was dispatched.
type world struct {
	t    *testing.T
	mu   sync.Mutex
	now  time.Time
	step time.Duration // that the clock goes on each time someone looks at it
	sent []hansom.Dispatch
	fail error
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(w.step)
	return w.now
}

func (w *world) Dispatch(_ context.Context, d hansom.Dispatch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	w.sent = append(w.sent, d)
	return nil
}

// take returns what was sent since the last call.
func (w *world) take() []hansom.Dispatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

type service struct {
	*Service
	w *world
}

func newWorld(t *testing.T) *world { return &world{t: t, now: start} }

func (w *world) service(database *db.DB) *service {
	w.t.Helper()
	cfg := DefaultConfig()
	cfg.Now, cfg.Groups = w.time, 3
	s, err := New(w.t.Context(), cfg, database, w, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return &service{s, w}
}

func open(t *testing.T) (*service, *world) {
	w := newWorld(t)
	return w.service(dbtest.Open(t, dbtest.SQLite(t))), w
}

// forward sets the clock and has fired what is due.
func (s *service) forward(d time.Duration) {
	s.w.t.Helper()
	s.w.mu.Lock()
	s.w.now = s.w.now.Add(d)
	s.w.mu.Unlock()
	s.look()
}

func (s *service) look() {
	s.w.t.Helper()
	for {
		next, err := s.ticks.Look(s.w.t.Context())
		if err != nil {
			s.w.t.Fatal(err)
		}
		if next.After(s.w.time()) {
			return
		}
	}
}

func schedule(name, expression string) Schedule {
	return Schedule{Project: project, Group: DefaultGroup, Name: name, Expression: expression, Zone: "UTC", Enabled: true,
		Settings: Settings{Target: Target{ARN: worker, Role: role, Input: `{"at":"<aws.scheduler.scheduled-time>"}`}}}
}

func (s *service) create(c Schedule) {
	s.w.t.Helper()
	if _, err := s.Create(s.w.t.Context(), "", c); err != nil {
		s.w.t.Fatal(err)
	}
}

// want compares the scheduled times of what was sent with times since the start.
func (w *world) want(what string, want ...time.Duration) {
	w.t.Helper()
	var got []time.Duration
	for _, d := range w.take() {
		var input struct{ At time.Time }
		if err := json.Unmarshal(d.Payload, &input); err != nil {
			w.t.Fatal(err)
		}
		got = append(got, input.At.Sub(start))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: sent those of %v, want %v", what, got, want)
	}
}

func TestRate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		w := newWorld(t)
		s := w.service(database)
		s.create(schedule("x", "rate(5 minutes)"))
		s.look()
		w.want("at once", 0)
		s.forward(5*time.Minute - 1)
		w.want("early")
		s.forward(1)
		w.want("the second time", 5*time.Minute)
		s.forward(5*time.Minute + 20*time.Second)
		w.want("late", 10*time.Minute)
		s.forward(4*time.Minute + 40*time.Second)
		w.want("in phase", 15*time.Minute)
	})
}

// Time goes on while a schedule is made.
func TestRateBegins(t *testing.T) {
	s, w := open(t)
	w.step = time.Millisecond
	s.create(schedule("x", "rate(5 minutes)"))
	w.step = 0
	s.look()
	if n := len(w.take()); n != 1 {
		t.Errorf("%d events at the beginning", n)
	}
}

// After a downtime the latest time that was missed counts, once, and only if it is not too old.
func TestDowntime(t *testing.T) {
	s, w := open(t)
	minute := time.Minute
	for name, age := range map[string]*time.Duration{"day": nil, "minute": &minute} {
		for expression, x := range map[string]string{"rate(1 hour)": "rate", "cron(0 * * * ? *)": "cron"} {
			c := schedule(name+"-"+x, expression)
			c.Start, c.Target.Age = start.Add(time.Hour), age
			s.create(c)
		}
		c := schedule(name+"-at", "at(2026-03-01T14:00:00)")
		c.Target.Age = age
		s.create(c)
	}
	s.forward(5*time.Hour + 30*time.Minute)
	w.want("of those with a day", 2*time.Hour, 5*time.Hour, 5*time.Hour)
	s.forward(time.Hour)
	w.want("of all", 6*time.Hour, 6*time.Hour)
	s.forward(29*time.Minute + 30*time.Second)
	w.want("nothing is due")
	s.forward(60 * time.Second)
	w.want("half a minute late", 7*time.Hour, 7*time.Hour, 7*time.Hour, 7*time.Hour)
}

func TestCronInZone(t *testing.T) {
	s, w := open(t)
	c := schedule("x", "cron(0 9 * * ? *)")
	c.Zone = "Europe/Berlin"
	s.create(c)
	for d := range 40 {
		s.forward(24 * time.Hour)
		hours := 24*d + 20 // 8:00 UTC
		if d >= 27 {       // 29 March: summer time
			hours--
		}
		w.want(fmt.Sprint("day ", d), time.Duration(hours)*time.Hour)
	}
}

func TestAt(t *testing.T) {
	s, w := open(t)
	s.create(schedule("later", "at(2026-03-01T12:10:00)"))
	s.create(schedule("just-been", "at(2026-03-01T11:00:00)"))
	s.create(schedule("long-ago", "at(2026-02-01T11:00:00)"))
	gone := schedule("gone", "at(2026-03-01T12:20:00)")
	gone.Delete = true
	s.create(gone)
	s.look()
	w.want("at once", -time.Hour)
	s.forward(10 * time.Minute)
	w.want("later", 10*time.Minute)
	c := schedule("later", "at(2026-03-01T12:10:00)")
	c.Description, c.Window = "changed", time.Minute
	if _, err := s.Update(t.Context(), "", c); err != nil {
		t.Fatal(err)
	}
	s.look()
	w.want("it is not sent again for a change of something else")
	s.forward(10 * time.Minute)
	w.want("the one that goes", 20*time.Minute)
	s.forward(24 * time.Hour)
	w.want("all are over")
	list, err := s.List(t.Context(), project, Filter{Limit: 10})
	if err != nil || len(list) != 3 {
		t.Errorf("%d schedules are left, want those without Delete: %v", len(list), err)
	}
}

func TestStartEndDelete(t *testing.T) {
	s, w := open(t)
	c := schedule("x", "rate(30 minutes)")
	c.Start, c.End, c.Delete = start.Add(time.Hour), start.Add(2*time.Hour), true
	s.create(c)
	for range 4 * 60 {
		s.forward(time.Minute)
	}
	w.want("from StartDate to EndDate", time.Hour, 90*time.Minute, 2*time.Hour)
	if _, err := s.Get(t.Context(), project, DefaultGroup, "x"); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("it is still there: %v", err)
	}
}

// In a flexible window each time has a delay of its own, which stays.
func TestWindow(t *testing.T) {
	s, w := open(t)
	for i := range 20 {
		c := schedule(fmt.Sprint(i), "rate(10 minutes)")
		c.Start, c.Window = start.Add(time.Hour), 15*time.Minute // the next time comes earlier
		s.create(c)
	}
	at := map[string][]time.Duration{}
	for range 2 * 60 {
		s.forward(time.Minute)
		for _, d := range w.take() {
			at[d.Lane] = append(at[d.Lane], w.time().Sub(start))
		}
	}
	delays := map[time.Duration]bool{}
	for lane, list := range at {
		if len(list) < 5 || len(list) > 6 {
			t.Errorf("%s was sent %d times in an hour", lane, len(list))
		}
		for i, x := range list {
			delay := x - time.Hour - time.Duration(i)*10*time.Minute
			if delay < 0 || delay > 11*time.Minute { // the clock goes by the minute
				t.Errorf("%s: the event %d came %s after its time", lane, i, delay)
			}
			delays[delay] = true
		}
	}
	if len(at) != 20 || len(delays) < 5 {
		t.Errorf("%d schedules, delays %v", len(at), delays)
	}
}

func TestDisable(t *testing.T) {
	s, w := open(t)
	c := schedule("x", "rate(5 minutes)")
	c.Enabled = false
	s.create(c)
	s.forward(7 * time.Minute)
	w.want("disabled")
	update := func(c Schedule) {
		t.Helper()
		if _, err := s.Update(t.Context(), "", c); err != nil {
			t.Fatal(err)
		}
		s.look()
	}
	c.Enabled = true
	update(c)
	w.want("enabled")
	s.forward(3 * time.Minute)
	w.want("in phase", 10*time.Minute)
	c.Description = "changed"
	update(c)
	w.want("its times stay")
	c.Expression = "rate(2 minutes)"
	update(c)
	w.want("another rate begins at once", 10*time.Minute)
	c.Enabled = false
	update(c)
	s.forward(time.Hour)
	w.want("disabled again")
	if err := s.Delete(t.Context(), "", project, DefaultGroup, "x"); err != nil {
		t.Fatal(err)
	}
	c.Enabled, c.Expression = true, "at(2026-03-01T14:00:00)"
	s.create(c)
	if err := s.Delete(t.Context(), "", project, DefaultGroup, "x"); err != nil {
		t.Fatal(err)
	}
	s.forward(2 * time.Hour)
	w.want("deleted")
}

// What is handed to the dispatcher.
func TestDispatch(t *testing.T) {
	s, w := open(t)
	retries, age, dead := 3, time.Hour, jobs+"-dead"
	c := schedule("x", "at(2026-03-01T13:00:00)")
	c.Target.Input = `["<aws.scheduler.schedule-arn>", "<aws.scheduler.scheduled-time>", "<aws.scheduler.execution-id>", "<aws.scheduler.attempt-number>"]`
	c.Target.Retries, c.Target.Age, c.Target.DeadLetter = &retries, &age, &dead
	s.create(c)
	s.forward(70 * time.Minute)
	sent := w.take()
	if len(sent) != 1 {
		t.Fatal(sent)
	}
	d := sent[0]
	var payload []string
	if err := json.Unmarshal(d.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/x"
	if len(payload) != 4 || payload[0] != arn || payload[1] != "2026-03-01T13:00:00Z" || len(payload[2]) != 16 || payload[3] != "1" {
		t.Errorf("payload %s", d.Payload)
	}
	if d.Project != project || d.ARN != worker || d.Lane != "schedule/000000000000/default/x" || d.ID == "" || d.Retries != 3 || d.MaxAge != 50*time.Minute || d.DeadLetter != dead {
		t.Errorf("%+v", d)
	}
	about := map[string]string{"SCHEDULE_ARN": arn, "TARGET_ARN": worker, "SCHEDULED_TIME": payload[1], "EXECUTION_ID": payload[2], "IS_PAYLOAD_TRUNCATED": "false"}
	if len(d.About) != len(about) {
		t.Errorf("about %v", d.About)
	}
	for name, want := range about {
		if d.About[name] != (hansom.Attribute{Type: "String", Value: want}) {
			t.Errorf("%s is %v, want %s", name, d.About[name], want)
		}
	}
}

func TestPolicyWithout(t *testing.T) {
	s, w := open(t)
	s.create(schedule("x", "rate(1 hour)"))
	s.look()
	if d := w.take()[0]; d.Retries != 185 || d.MaxAge != 24*time.Hour || d.DeadLetter != "" {
		t.Errorf("%+v", d)
	}
}

func TestTargets(t *testing.T) {
	s, w := open(t)
	const bus = "arn:aws:events:us-east-1:000000000000:event-bus/"
	for i, c := range []struct {
		target Target
		want   []string // ARN, group, deduplication ("?" for any), source and detail type of the event, payload
	}{
		{Target{ARN: worker + ":live", Input: `{"a": 1}`}, []string{worker + ":live | | | | {\"a\": 1}"}},
		{Target{ARN: jobs, Input: "no JSON <aws.scheduler.scheduled-time>"}, []string{jobs + " | | | | no JSON 2026-03-01T12:00:00Z"}},
		{Target{ARN: jobs + ".fifo", Input: "x", Queue: &QueueParameters{"g"}}, []string{jobs + ".fifo | g | ? | | x"}},
		{Target{ARN: bus + "default", Input: `{"a":1}`, Bus: &BusParameters{"shop", "Opened"}}, []string{bus + "default | | | shop Opened | {\"a\":1}"}},
		{Target{ARN: bus + "default", Bus: &BusParameters{"shop", "Opened"}}, []string{bus + "default | | | shop Opened | {}"}},
		{Target{ARN: universal + "lambda:invoke", Input: `{"FunctionName": "worker", "InvocationType": "Event", "Payload": "{\"t\":\"<aws.scheduler.scheduled-time>\"}"}`},
			[]string{worker + ` | | | | {"t":"2026-03-01T12:00:00Z"}`}},
		{Target{ARN: universal + "lambda:invoke", Input: `{"FunctionName": "` + worker + `", "Qualifier": "live", "Payload": {"t": 1}}`}, []string{worker + `:live | | | | {"t": 1}`}},
		{Target{ARN: universal + "lambda:invoke", Input: `{"FunctionName": "000000000000:function:worker:2"}`}, []string{worker + `:2 | | | | {}`}},
		{Target{ARN: universal + "sqs:sendMessage", Input: `{"QueueUrl": "http://localhost:4566/000000000000/jobs", "MessageBody": "<aws.scheduler.scheduled-time>"}`},
			[]string{jobs + " | | | | 2026-03-01T12:00:00Z"}},
		{Target{ARN: universal + "sqs:sendMessage", Input: `{"QueueUrl": "https://sqs/000000000000/jobs.fifo", "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}`},
			[]string{jobs + ".fifo | g | d | | x"}},
		{Target{ARN: universal + "sqs:sendMessage", Input: `{"QueueUrl": "https://sqs/000000000000/jobs.fifo", "MessageBody": "x", "MessageGroupId": "g"}`},
			[]string{jobs + ".fifo | g | ? | | x"}},
		{Target{ARN: universal + "sqs:sendMessage", Input: `{"QueueUrl": "https://sqs/000000000000/jobs", "MessageBody": "x", "MessageGroupId": "g"}`},
			[]string{jobs + " | g | | | x"}},
		{Target{ARN: universal + "eventbridge:putEvents", Input: `{"Entries": [{"Source": "a", "DetailType": "b", "Detail": "{\"n\":1}"}, {"Source": "a", "DetailType": "c", "Detail": "{}", "EventBusName": "orders"}]}`},
			[]string{bus + `default | | | a b | {"n":1}`, bus + "orders | | | a c | {}"}},
	} {
		x := schedule(fmt.Sprint(i), "at(2026-03-01T12:00:00)")
		c.target.Role = role
		x.Target = c.target
		s.create(x)
		s.look()
		var got []string
		ids := map[string]bool{}
		for _, d := range w.take() {
			dedup, event := d.Dedup, ""
			if len(dedup) == 16 {
				dedup = "?"
			}
			if d.Event != nil {
				event = d.Event.Source + " " + d.Event.DetailType
			}
			got = append(got, strings.ReplaceAll(strings.Join([]string{d.ARN, d.Group, dedup, event, string(d.Payload)}, " | "), "|  ", "| "))
			ids[d.ID] = true
		}
		if !slices.Equal(got, c.want) || len(ids) != len(c.want) {
			t.Errorf("%s\ngot  %q, ids %v\nwant %q", c.target.ARN, got, ids, c.want)
		}
	}
}

// A target without an input gets an event that says what happened.
func TestDefaultEvent(t *testing.T) {
	s, w := open(t)
	c := schedule("x", "at(2026-03-01T12:00:00)")
	c.Target.Input = ""
	s.create(c)
	s.look()
	var got map[string]any
	if err := json.Unmarshal(w.take()[0].Payload, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"version": "0", "detail-type": "Scheduled Event", "source": "aws.scheduler", "account": project,
		"time": "2026-03-01T12:00:00Z", "region": "us-east-1", "detail": "{}"} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

// A dispatcher that cannot take an event over is asked again, for the same event.
func TestDispatchFails(t *testing.T) {
	s, w := open(t)
	w.fail = hansom.Errorf(hansom.Unavailable, "dispatch", "the disk is full")
	s.create(schedule("x", "rate(1 hour)"))
	s.look()
	s.forward(4 * time.Second)
	w.fail = nil
	s.forward(time.Second)
	w.want("the time that it was", 0)
	s.forward(time.Hour)
	w.want("the next", time.Hour)
}

// Two processes on one database fire each time once.
func TestTwoProcesses(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		w := newWorld(t)
		a, b := w.service(dbtest.Open(t, url)), w.service(dbtest.Open(t, url))
		for i := range 50 {
			a.create(schedule(fmt.Sprint(i), "at(2026-03-01T12:01:00)"))
			b.create(schedule(fmt.Sprint("every-", i), "cron(* * * * ? *)"))
		}
		w.now = start.Add(time.Minute)
		var both sync.WaitGroup
		both.Go(a.look)
		both.Go(b.look)
		both.Wait()
		lanes := map[string]int{}
		for _, d := range w.take() {
			lanes[d.Lane]++
		}
		for lane, n := range lanes {
			if n != 1 {
				t.Errorf("%s was sent %d times", lane, n)
			}
		}
		if len(lanes) != 100 {
			t.Errorf("%d schedules sent events, want 100", len(lanes))
		}
	})
}

func TestGroups(t *testing.T) {
	s, w := open(t)
	ctx := t.Context()
	if _, err := s.CreateGroup(ctx, "", project, "g", map[string]string{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	c := schedule("x", "rate(1 minute)")
	c.Group = "g"
	for i := range sweepSize + 10 {
		c.Name = fmt.Sprint(i)
		s.create(c)
	}
	if err := s.DeleteGroup(ctx, "", project, "g"); err != nil {
		t.Fatal(err)
	}
	if g, err := s.Group(ctx, project, "g"); err != nil || g.State != Deleting {
		t.Errorf("%+v, %v", g, err)
	}
	c.Name = "late"
	if _, err := s.Create(ctx, "", c); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("a schedule for a group that is deleted: %v", err)
	}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- s.Run(run) }()
	for {
		if _, err := s.Group(ctx, project, "g"); hansom.KindOf(err) == hansom.NotFound {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	w.take()
	s.forward(time.Hour)
	w.want("of a deleted group")
	for range 3 {
		if _, err := s.CreateGroup(ctx, "", project, fmt.Sprint("g", w.time().UnixNano(), len(w.sent)), nil); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(1)
	}
	if _, err := s.CreateGroup(ctx, "", project, "more", nil); err == nil || !strings.Contains(err.Error(), "A project may have 3") {
		t.Errorf("one group too many: %v", err)
	}
}

func TestToken(t *testing.T) {
	s, _ := open(t)
	ctx := t.Context()
	c := schedule("x", "rate(1 minute)")
	for range 2 {
		if _, err := s.Create(ctx, "t", c); err != nil {
			t.Error(err)
		}
	}
	c.Description = "another"
	if _, err := s.Create(ctx, "t", c); hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), "ClientToken") {
		t.Errorf("the token of another request: %v", err)
	}
	if _, err := s.Create(ctx, "u", c); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("another token: %v", err)
	}
	for range 2 {
		if err := s.Delete(ctx, "v", project, DefaultGroup, "x"); err != nil {
			t.Error(err)
		}
	}
	s.w.now = s.w.now.Add(2 * tokenTime)
	if err := s.Delete(ctx, "v", project, DefaultGroup, "x"); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("a token of long ago: %v", err)
	}
}

func TestDeploy(t *testing.T) {
	s, w := open(t)
	ctx := t.Context()
	deploy := func(d hansom.Schedule) error {
		return s.db.Write(ctx, func(tx *db.Tx) error { return s.Deploy(ctx, tx, d) })
	}
	d := hansom.Schedule{Project: project, App: "shop", Name: "shop-worker-1", Expression: "rate(5 minutes)", Function: "worker"}
	if err := deploy(d); err != nil {
		t.Fatal(err)
	}
	s.look()
	if sent := w.take(); len(sent) != 1 || sent[0].ARN != worker || string(sent[0].Payload) != "{}" {
		t.Errorf("%+v", sent)
	}
	d.Zone, d.Input = "Europe/Berlin", `{"a":1}`
	if err := deploy(d); err != nil {
		t.Fatal(err)
	}
	list, err := s.Owned(ctx, s.db.Read(), project, "shop")
	if err != nil || len(list) != 1 || list[0] != d {
		t.Errorf("%+v, %v, want %+v", list, err, d)
	}
	s.create(schedule("other", "rate(1 hour)"))
	d.Name = "other"
	if err := deploy(d); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("a schedule of something else: %v", err)
	}
	d.Name, d.Expression = "wrong", "rate(0 minutes)"
	if err := deploy(d); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("no expression: %v", err)
	}
	for range 2 {
		if err := s.db.Write(ctx, func(tx *db.Tx) error { return s.Undeploy(ctx, tx, list[0]) }); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.Owned(ctx, s.db.Read(), project, "shop"); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := s.db.Write(ctx, func(tx *db.Tx) error { return s.RemoveProject(ctx, tx, project) }); err != nil {
		t.Fatal(err)
	}
	w.take()
	s.forward(time.Hour)
	w.want("of a removed project")
}
