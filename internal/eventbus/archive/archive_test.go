package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

const project = hansom.DefaultProject

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// buses has the buses default and orders.
type buses struct {
	mu     sync.Mutex
	sent   []string // bus, replay, rules and ids
	err    error
	before func() // of each call of Replay
}

func (b *buses) Bus(project, name string) (*eventbus.Bus, error) {
	name = name[strings.LastIndexByte(name, '/')+1:]
	if name != "default" && name != "orders" {
		return nil, hansom.Errorf(hansom.NotFound, "bus", "Event bus %s does not exist.", name).WithCode("ResourceNotFoundException")
	}
	return &eventbus.Bus{Project: project, Region: "us-east-1", Name: name}, nil
}

func (b *buses) Replay(ctx context.Context, _, bus, replay string, rules []string, events [][]byte) error {
	if b.before != nil {
		b.before()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := errors.Join(ctx.Err(), b.err); err != nil {
		return err
	}
	line := fmt.Sprint(bus, " ", replay, " ", len(rules))
	for _, e := range events {
		line += " " + string(e)
	}
	b.sent = append(b.sent, line)
	return nil
}

func (b *buses) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *buses) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := strings.Join(b.sent, "\n")
	b.sent = nil
	return out
}

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type rig struct {
	*Service
	t     testing.TB
	buses *buses
	clock *clock
	stop  func()
}

func open(t testing.TB, database *db.DB) *rig {
	t.Helper()
	r := &rig{t: t, buses: &buses{}, clock: &clock{t: now}, stop: func() {}}
	cfg := DefaultConfig()
	cfg.Now, cfg.Batch, cfg.Retry, cfg.Sweep = r.clock.now, 2, time.Millisecond, 5*time.Millisecond
	var err error
	if r.Service, err = New(t.Context(), cfg, database, r.buses, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return r
}

// run has the background work done until the test ends or stop is called.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() { r.stop() })
}

func (r *rig) create(name, bus, pattern string, retention int) *Archive {
	r.t.Helper()
	a, err := r.Create(r.t.Context(), project, name, bus, Input{Pattern: &pattern, Retention: &retention})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// keep publishes events whose ids are the numbers from first to last, one a second.
func (r *rig) keep(bus string, first, last int) {
	r.t.Helper()
	var events []eventbus.Event
	for i := first; i <= last; i++ {
		events = append(events, eventbus.Event{ID: fmt.Sprint(i), Time: now.Add(time.Duration(i) * time.Second), JSON: fmt.Appendf(nil, `{"id":"%d"}`, i)})
	}
	if err := r.Keep(r.t.Context(), project, bus, events); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) get(name string) *Archive {
	r.t.Helper()
	a, err := r.Get(r.t.Context(), project, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// begin starts a replay of the events from the numbers since to until.
func (r *rig) begin(name string, since, until int, filters ...string) {
	r.t.Helper()
	_, err := r.Start(r.t.Context(), project, ReplayInput{Name: name, Source: "arn:aws:events:us-east-1:000000000000:archive/all", Destination: "arn:aws:events:us-east-1:000000000000:event-bus/orders",
		Filters: filters, Since: now.Add(time.Duration(since) * time.Second), Until: now.Add(time.Duration(until) * time.Second)})
	if err != nil {
		r.t.Fatal(err)
	}
}

// await waits until a replay is in a state.
func (r *rig) await(name, state string) *Replay {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		x, err := r.Replay(r.t.Context(), project, name)
		if err != nil {
			r.t.Fatal(err)
		}
		if x.State == state {
			return x
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the replay %s is %s, want %s", name, x.State, state)
		}
	}
}

func refused(t testing.TB, what string, err error, code, text string) {
	t.Helper()
	var e *hansom.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("%s: %v, want %s %q", what, err, code, text)
	}
}

func TestArchives(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx, r := t.Context(), open(t, database)
		a := r.create("all", "orders", "", 0)
		if a.ARN() != "arn:aws:events:us-east-1:000000000000:archive/all" || a.Bus != "orders" {
			t.Errorf("%+v", a)
		}
		r.create("one", "arn:aws:events:us-east-1:000000000000:event-bus/orders", `{"id":["1"]}`, 3)
		r.create("other", "default", "", 0)
		r.keep("orders", 1, 3)
		r.keep("orders", 3, 4) // 3 comes twice
		r.keep("none", 5, 6)
		if a := r.get("all"); a.Events != 4 || a.Bytes != 40 {
			t.Errorf("%d events of %d bytes", a.Events, a.Bytes)
		}
		if a := r.get("one"); a.Events != 1 || a.Pattern.String() != `{"id":["1"]}` || a.Retention != 3 {
			t.Errorf("%+v", a)
		}
		pattern, about := `{"id":["9"]}`, "d"
		if a, err := r.Update(ctx, project, "all", Input{Pattern: &pattern, Description: &about}); err != nil || a.Events != 4 {
			t.Errorf("%+v %v", a, err)
		}
		r.keep("orders", 8, 9)
		again := open(t, database) // reads it all
		again.keep("orders", 8, 9)
		if a := again.get("all"); a.Events != 5 || a.Description != "d" || a.Retention != 0 {
			t.Errorf("%+v", a)
		}
		for _, c := range []struct{ prefix, bus, want string }{{"", "", "all one other"}, {"o", "", "one other"}, {"", "orders", "all one"}, {"x", "", ""}} {
			list, err := r.List(ctx, project, c.prefix, c.bus)
			var names []string
			for _, a := range list {
				names = append(names, a.Name)
			}
			if got := strings.Join(names, " "); got != c.want || err != nil {
				t.Errorf("%v: %s %v", c, got, err)
			}
		}
		bad := "{"
		_, err := r.Create(ctx, project, "all", "orders", Input{})
		refused(t, "again", err, "ResourceAlreadyExistsException", "Archive all already exists.")
		_, err = r.Create(ctx, project, "new", "none", Input{})
		refused(t, "no bus", err, "ResourceNotFoundException", "Event bus none does not exist.")
		_, err = r.Create(ctx, project, "new", "orders", Input{Pattern: &bad})
		refused(t, "no pattern", err, "InvalidEventPatternException", "Event pattern is not valid")
		_, err = r.Update(ctx, project, "none", Input{})
		refused(t, "update none", err, "ResourceNotFoundException", "Archive none does not exist.")
		_, err = r.Get(ctx, "111111111111", "all")
		refused(t, "another project", err, "ResourceNotFoundException", "Archive all does not exist.")
		_, err = r.List(ctx, project, "", "none")
		refused(t, "of no bus", err, "ResourceNotFoundException", "Event bus none does not exist.")
		refused(t, "delete none", r.Delete(ctx, project, "none"), "ResourceNotFoundException", "Archive none does not exist.")
	})
}

// TestExpiry ends what is older than an archive keeps it, and what is of archives that were deleted.
func TestExpiry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx, r := t.Context(), open(t, database)
		r.create("all", "orders", "", 0)
		r.create("day", "orders", "", 1)
		var events []eventbus.Event
		for i := range 2500 {
			events = append(events, eventbus.Event{ID: fmt.Sprint(i), Time: now, JSON: []byte("{}")})
		}
		if err := r.Keep(ctx, project, "orders", events); err != nil {
			t.Fatal(err)
		}
		r.clock.forward(24 * time.Hour)
		r.keep("orders", 24*3600, 24*3600)
		r.sweep(ctx)
		if a := r.get("day"); a.Events != 2501 {
			t.Errorf("too early: %+v", a)
		}
		r.clock.forward(time.Second)
		r.sweep(ctx)
		if a := r.get("day"); a.Events != 1 || a.Bytes != int64(len(`{"id":"86400"}`)) {
			t.Errorf("%+v", a)
		}
		if a := r.get("all"); a.Events != 2501 {
			t.Errorf("%+v", a)
		}
		rows := func() (n int) {
			if err := database.Read().QueryRowContext(ctx, `SELECT count(*) FROM archived_events`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := rows(); n != 2502 {
			t.Errorf("%d rows", n)
		}
		if err := r.Delete(ctx, project, "all"); err != nil {
			t.Fatal(err)
		}
		r.create("all", "orders", "", 0)
		if a := r.get("all"); a.Events != 0 {
			t.Errorf("an archive that was made again: %+v", a)
		}
		r.sweep(ctx)
		if n := rows(); n != 1 {
			t.Errorf("%d rows", n)
		}
		if err := database.Write(ctx, func(tx *db.Tx) error { return r.RemoveProject(ctx, tx, project) }); err != nil {
			t.Fatal(err)
		}
		r.keep("orders", 1, 2)
		r.sweep(ctx)
		if n := rows(); n != 0 {
			t.Errorf("%d rows of a project that was removed", n)
		}
	})
}

// TestTogether has many keep at once, while an archive is deleted.
func TestTogether(t *testing.T) {
	r := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	r.create("all", "orders", "", 0)
	r.create("gone", "orders", "", 0)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { r.keep("orders", 10*i, 10*i+9) })
		if i == 25 {
			wg.Go(func() {
				if err := r.Delete(t.Context(), project, "gone"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if a := r.get("all"); a.Events != 500 {
		t.Errorf("%d events", a.Events)
	}
	r.sweep(t.Context())
	var n int
	if err := r.db.Read().QueryRowContext(t.Context(), `SELECT count(*) FROM archived_events`).Scan(&n); err != nil || n != 500 {
		t.Errorf("%d rows %v", n, err)
	}
}

func TestReplays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		r := open(t, database)
		r.create("all", "orders", "", 0)
		r.keep("orders", 1, 9)
		rule := eventbus.RuleARN("us-east-1", project, "orders", "r")
		r.begin("some", 2, 6, rule)
		if x := r.await("some", Starting); !x.Started.Equal(now) || x.active() != true || x.Archive != "all" || x.Filters[0] != rule {
			t.Errorf("%+v", x)
		}
		r.buses.fail(hansom.Errorf(hansom.Unavailable, "replay", "later"))
		var once sync.Once
		tried := make(chan struct{})
		r.buses.before = func() { once.Do(func() { close(tried) }) }
		r.run()
		<-tried
		r.buses.fail(nil)
		x := r.await("some", Completed)
		if want := "orders some 1 {\"id\":\"2\"} {\"id\":\"3\"}\norders some 1 {\"id\":\"4\"} {\"id\":\"5\"}\norders some 1 {\"id\":\"6\"}"; r.buses.take() != want {
			t.Errorf("sent something else than %s", want)
		}
		if !x.Ended.Equal(now) || !x.Last.Equal(now.Add(6*time.Second)) || x.ARN() != "arn:aws:events:us-east-1:000000000000:replay/some" {
			t.Errorf("%+v", x)
		}
		r.begin("none", 100, 101)
		if x := r.await("none", Completed); !x.Last.IsZero() {
			t.Errorf("%+v", x)
		}
		r.clock.forward(DefaultConfig().Keep + time.Second)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if list, err := r.Replays(t.Context(), project, "", "", ""); err != nil || len(list) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("replays that ended long ago are still there")
			}
		}
	})
}

// TestResume goes on after a restart where a replay was.
func TestResume(t *testing.T) {
	database := dbtest.Open(t, dbtest.SQLite(t))
	r := open(t, database)
	r.create("all", "orders", "", 0)
	for range 2 { // events of one time
		if err := r.Keep(t.Context(), project, "orders", []eventbus.Event{{ID: "a", Time: now, JSON: []byte("a")}, {ID: "b", Time: now, JSON: []byte("b")}, {ID: "a", Source: "z", Time: now, JSON: []byte("c")}}); err != nil {
			t.Fatal(err)
		}
	}
	r.keep("orders", 1, 1)
	r.begin("x", -1, 2)
	second := make(chan struct{})
	calls := 0
	r.buses.before = func() {
		if calls++; calls == 2 {
			close(second)
			r.buses.fail(errors.New("the server ends"))
		}
	}
	r.run()
	<-second
	r.stop()
	if got := r.buses.take(); got != "orders x 0 a b" {
		t.Errorf("sent %s", got)
	}
	again := open(t, database)
	again.run()
	again.await("x", Completed)
	if got := again.buses.take(); got != `orders x 0 c {"id":"1"}` {
		t.Errorf("sent %s", got)
	}
}

func TestCancel(t *testing.T) {
	r := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	ctx := t.Context()
	r.create("all", "orders", "", 0)
	r.keep("orders", 1, 9)
	r.begin("early", 0, 9)
	if x, err := r.Cancel(ctx, project, "early"); err != nil || x.State != Cancelling {
		t.Errorf("%+v %v", x, err)
	}
	_, err := r.Cancel(ctx, project, "early")
	refused(t, "again", err, "IllegalStatusException", "Replay early is not in a valid state for this operation.")
	r.begin("late", 0, 9)
	r.buses.fail(hansom.Errorf(hansom.Unavailable, "replay", "later"))
	var once sync.Once
	tried := make(chan struct{})
	r.buses.before = func() { once.Do(func() { close(tried) }) }
	r.run()
	<-tried
	if _, err := r.Cancel(ctx, project, "late"); err != nil {
		t.Error(err)
	}
	r.await("early", Cancelled)
	if x := r.await("late", Cancelled); x.Ended.IsZero() {
		t.Errorf("%+v", x)
	}
	if got := r.buses.take(); got != "" {
		t.Errorf("sent %s", got)
	}
	_, err = r.Cancel(ctx, project, "late")
	refused(t, "ended", err, "IllegalStatusException", "not in a valid state")
	_, err = r.Cancel(ctx, project, "none")
	refused(t, "none", err, "ResourceNotFoundException", "Replay none does not exist.")
	list, err := r.Replays(ctx, project, "l", Cancelled, "arn:aws:events:us-east-1:000000000000:archive/all")
	if err != nil || len(list) != 1 || list[0].Name != "late" {
		t.Errorf("%v %v", list, err)
	}
	if list, err := r.Replays(ctx, project, "", "", "arn:aws:events:us-east-1:000000000000:archive/other"); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

// TestLost ends replays whose bus or archive has gone.
func TestLost(t *testing.T) {
	r := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	r.create("all", "orders", "", 0)
	r.keep("orders", 1, 9)
	r.begin("bus", 0, 9)
	r.buses.fail(hansom.Errorf(hansom.NotFound, "replay", "Event bus orders does not exist."))
	r.run()
	if x := r.await("bus", Failed); x.Reason != "Event bus orders does not exist." {
		t.Errorf("%+v", x)
	}
	r.stop()
	r.begin("archive", 0, 9)
	if err := r.Delete(t.Context(), project, "all"); err != nil {
		t.Fatal(err)
	}
	r.sweep(t.Context())
	r.run()
	if x := r.await("archive", Failed); x.Reason != "The archive all was deleted." {
		t.Errorf("%+v", x)
	}
}

func TestRefusedReplays(t *testing.T) {
	r := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	r.create("all", "orders", "", 0)
	const arns = "arn:aws:events:us-east-1:000000000000:"
	good := ReplayInput{Name: "x", Source: arns + "archive/all", Destination: arns + "event-bus/orders", Since: now, Until: now.Add(1)}
	for _, c := range []struct {
		what       string
		f          func(*ReplayInput)
		code, text string
	}{
		{"no archive's ARN", func(in *ReplayInput) { in.Source = arns + "event-bus/x" }, "ValidationException", "Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN."},
		{"no bus's ARN", func(in *ReplayInput) { in.Destination = "x" }, "ValidationException", "Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN."},
		{"no archive", func(in *ReplayInput) { in.Source = arns + "archive/none" }, "ResourceNotFoundException", "Archive none does not exist."},
		{"no bus", func(in *ReplayInput) { in.Destination = arns + "event-bus/none" }, "ResourceNotFoundException", "Event bus none does not exist."},
		{"another project", func(in *ReplayInput) { in.Source = "arn:aws:events:us-east-1:111111111111:archive/all" }, "ResourceNotFoundException", "does not exist."},
		{"another bus", func(in *ReplayInput) { in.Destination = arns + "event-bus/default" }, "ValidationException", "Cross event bus replay is not permitted."},
		{"times", func(in *ReplayInput) { in.Until = in.Since }, "ValidationException", "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime."},
		{"a rule of another bus", func(in *ReplayInput) { in.Filters = []string{arns + "rule/r"} }, "ValidationException", "is not the ARN of a rule of the event bus orders"},
	} {
		in := good
		c.f(&in)
		_, err := r.Start(t.Context(), project, in)
		refused(t, c.what, err, c.code, c.text)
	}
	for i := range 10 {
		r.begin(fmt.Sprint(i), 0, 1)
	}
	_, err := r.Start(t.Context(), project, good)
	refused(t, "eleven", err, "LimitExceededException", "10 replays")
	good.Name = "0"
	_, err = r.Start(t.Context(), project, good)
	refused(t, "again", err, "ResourceAlreadyExistsException", "Replay 0 already exists.")
}
