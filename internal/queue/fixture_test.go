package queue

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

const project = hansom.DefaultProject

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

// rig is a service on a database and a directory of messages, which can be stopped and started again.
type rig struct {
	*Service
	t        testing.TB
	dir, url string
	clock    *clock // nil means the real one
	change   func(*Config)

	db   *db.DB
	bus  *bus.Bus
	stop context.CancelFunc
	done chan error
}

func newRig(t testing.TB, url string, clk *clock, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), url: url, clock: clk, change: change}
	r.start()
	t.Cleanup(r.end)
	return r
}

// sqlite is a rig on SQLite whose clock the test sets.
func sqlite(t *testing.T) (*rig, *clock) {
	t.Helper()
	clk := &clock{t: time.Now()}
	return newRig(t, dbtest.SQLite(t), clk, nil), clk
}

func (r *rig) start() {
	r.t.Helper()
	ctx, logger := context.Background(), slog.New(slog.DiscardHandler)
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	var err error
	r.db, err = db.Open(ctx, r.url, logger)
	must(err)
	r.bus, err = bus.Open(ctx, bus.Config{Dir: r.dir}, logger)
	must(err)
	bc, cfg := backlog.DefaultConfig(), DefaultConfig()
	if r.clock != nil {
		bc.Now, cfg.Now = r.clock.now, r.clock.now
	}
	messages, err := backlog.Open(ctx, bc, r.bus, logger)
	must(err)
	cfg.Key = []byte("key")
	if r.change != nil {
		r.change(&cfg)
	}
	r.Service, err = New(ctx, cfg, r.db, messages, logger)
	must(err)
}

// run has the service's background work done until the rig ends.
func (r *rig) run() {
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.done = stop, make(chan error, 1)
	go func(s *Service, done chan error) { done <- s.Run(ctx) }(r.Service, r.done)
}

func (r *rig) end() {
	if r.stop != nil {
		r.stop()
		if err := <-r.done; err != nil {
			r.t.Error(err)
		}
		r.stop = nil
	}
	if r.bus != nil {
		r.bus.Close()
		r.db.Close()
		r.bus = nil
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.end()
	r.start()
}

func (r *rig) create(name string, attributes ...string) *Queue {
	r.t.Helper()
	q, err := r.Create(context.Background(), project, name, pairs(attributes), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

func (r *rig) send(name string, bodies ...string) {
	r.t.Helper()
	for _, body := range bodies {
		in := SendInput{Body: body, Sender: "AIDA"}
		if strings.HasSuffix(name, ".fifo") {
			in.Group, _, _ = strings.Cut(body, ":")
			in.Dedup = body
		}
		if _, err := r.SendMessage(context.Background(), project, name, in); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) receive(name string, max int64) []Message {
	r.t.Helper()
	list, err := r.ReceiveMessages(context.Background(), project, name, ReceiveInput{Max: &max})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func bodies(list []Message) string {
	var out []string
	for _, m := range list {
		out = append(out, m.Body)
	}
	return strings.Join(out, " ")
}

// expect receives and compares the bodies.
func (r *rig) expect(name string, want string) []Message {
	r.t.Helper()
	list := r.receive(name, 10)
	if got := bodies(list); got != want {
		r.t.Fatalf("%s gave %q, want %q", name, got, want)
	}
	return list
}

func code(err error) string {
	if e, ok := err.(*hansom.Error); ok {
		return e.Code
	}
	return ""
}

// refused fails the test unless err has a code and its message has a text.
func refused(t testing.TB, what string, err error, want, text string) {
	t.Helper()
	if code(err) != want || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v (%s), want %s %q", what, err, code(err), want, text)
	}
}

func attributesOf(t testing.TB, s *Service, name string) map[string]string {
	t.Helper()
	q, err := s.Get(project, name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Attributes(q, []string{"All"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
