package tick

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// world is a clock and what was fired by the processes in it.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	now   time.Time
	fired map[string]int
	fire  Fire // of the next calls; nil fires once and for all
}

func newWorld(t *testing.T) *world {
	return &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), fired: map[string]int{}}
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) forward(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// process is one of those that share a database.
type process struct {
	*Ticks
	w  *world
	db *db.DB
}

func (w *world) process(database *db.DB, owner string) *process {
	w.t.Helper()
	cfg := DefaultConfig(owner)
	cfg.Now = w.time
	ticks, err := New(w.t.Context(), cfg, database, func(ctx context.Context, key string, due time.Time) (time.Time, error) {
		w.mu.Lock()
		w.fired[key]++
		fire := w.fire
		w.mu.Unlock()
		if fire != nil {
			return fire(ctx, key, due)
		}
		return time.Time{}, nil
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return &process{ticks, w, database}
}

// set sets ticks a time from now.
func (p *process) set(in time.Duration, keys ...string) {
	p.w.t.Helper()
	err := p.db.Write(p.w.t.Context(), func(tx *db.Tx) error {
		for _, key := range keys {
			if err := p.Set(p.w.t.Context(), tx, key, p.w.time().Add(in)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
}

// look looks until nothing is due, and returns in what time to look again.
func (p *process) look() time.Duration {
	p.w.t.Helper()
	for {
		now := p.w.time()
		next, err := p.Look(p.w.t.Context())
		if err != nil {
			p.w.t.Fatal(err)
		}
		if next.After(now) {
			return next.Sub(now)
		}
	}
}

func (w *world) want(key string, n int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fired[key] != n {
		w.t.Errorf("%s was fired %d times, want %d", key, w.fired[key], n)
	}
}

func TestFire(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		w := newWorld(t)
		p := w.process(database, "a")
		other := w.process(database, "b")
		p.set(1500*time.Millisecond, "x")
		if wait := p.look(); wait != time.Second {
			t.Error(wait)
		}
		w.forward(time.Second)
		if wait := p.look(); wait != 500*time.Millisecond {
			t.Error(wait)
		}
		w.want("x", 0)
		w.forward(500 * time.Millisecond)
		other.look()
		w.want("x", 0)
		p.look()
		w.want("x", 1)
		w.forward(time.Hour)
		p.look()
		w.want("x", 1)
	})
}

func TestNext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		w := newWorld(t)
		p := w.process(database, "a")
		start := w.time()
		w.fire = func(_ context.Context, key string, due time.Time) (time.Time, error) {
			if want := start.Add(time.Duration(w.fired[key]) * time.Minute); !due.Equal(want) {
				t.Errorf("due %s, want %s", due, want)
			}
			return due.Add(time.Minute), nil
		}
		p.set(time.Minute, "x")
		for n := range 5 {
			w.want("x", n)
			w.forward(time.Minute)
			p.look()
		}
	})
}

func TestRemove(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		w := newWorld(t)
		p := w.process(database, "a")
		p.set(time.Second, "x", "y")
		remove := func(tx *db.Tx) error { return p.Remove(t.Context(), tx, "x") }
		for range 2 {
			if err := database.Write(t.Context(), remove); err != nil {
				t.Fatal(err)
			}
		}
		w.forward(time.Second)
		p.look()
		w.want("x", 0)
		w.want("y", 1)
	})
}

// What is set while a tick is fired counts, and not what firing says.
func TestSetMeanwhile(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		w := newWorld(t)
		p := w.process(database, "a")
		w.fire = func(context.Context, string, time.Time) (time.Time, error) {
			p.set(time.Hour, "x")
			return time.Time{}, nil
		}
		p.set(0, "x")
		p.look()
		w.want("x", 1)
		w.forward(time.Hour)
		p.look()
		w.want("x", 2)
	})
}

func TestError(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		w := newWorld(t)
		p := w.process(database, "a")
		w.fire = func(context.Context, string, time.Time) (time.Time, error) { return time.Time{}, errors.New("not now") }
		p.set(0, "x")
		p.look()
		w.forward(4 * time.Second)
		p.look()
		w.want("x", 1)
		w.forward(time.Second)
		p.look()
		w.want("x", 2)
		w.fire = nil
		w.forward(5 * time.Second)
		p.look()
		w.forward(time.Hour)
		p.look()
		w.want("x", 3)
	})
}

// Processes that look at the same time fire each tick once.
func TestTwoProcesses(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		w := newWorld(t)
		a, b := w.process(dbtest.Open(t, url), "a"), w.process(dbtest.Open(t, url), "a")
		var keys []string
		for i := range 300 {
			keys = append(keys, fmt.Sprint(i))
		}
		a.set(time.Minute, keys...)
		w.forward(time.Minute)
		var both sync.WaitGroup
		for _, p := range []*process{a, b} {
			both.Go(func() { p.look() })
		}
		both.Wait()
		for _, key := range keys {
			w.want(key, 1)
		}
	})
}

// A tick whose process dies before it has moved it on is fired again, when its lease has ended.
func TestDeath(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		w := newWorld(t)
		dead, err := db.Open(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, b := w.process(dead, "a"), w.process(dbtest.Open(t, url), "a")
		a.set(0, "x")
		w.fire = func(context.Context, string, time.Time) (time.Time, error) {
			w.fire = nil
			return time.Time{}, dead.Close()
		}
		if _, err := a.Look(t.Context()); err == nil {
			t.Fatal("it was settled all the same")
		}
		w.want("x", 1)
		w.forward(29 * time.Second)
		b.look()
		w.want("x", 1)
		w.forward(time.Second)
		b.look()
		w.want("x", 2)
		w.forward(time.Hour)
		b.look()
		w.want("x", 2)
	})
}

// On SQLite what a process had leased when it died is fired as soon as it runs again.
func TestRestart(t *testing.T) {
	url := dbtest.SQLite(t)
	dead, err := db.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	a := w.process(dead, "a")
	a.set(0, "x")
	w.fire = func(context.Context, string, time.Time) (time.Time, error) { return time.Time{}, dead.Close() }
	if _, err := a.Look(t.Context()); err == nil {
		t.Fatal("it was settled all the same")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w.fire = func(context.Context, string, time.Time) (time.Time, error) {
		cancel()
		return time.Time{}, nil
	}
	if err := w.process(dbtest.Open(t, url), "a").Run(ctx); err != nil {
		t.Error(err)
	}
	w.want("x", 2)
}

// Run fires ticks in their time, and at once when they are set for now.
func TestRun(t *testing.T) {
	database := dbtest.Open(t, dbtest.SQLite(t))
	fired := make(chan string)
	p, err := New(t.Context(), DefaultConfig("a"), database, func(_ context.Context, key string, _ time.Time) (time.Time, error) {
		fired <- key
		return time.Time{}, nil
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	for i := range 3 {
		key, due := fmt.Sprint(i), time.Now().Add(time.Duration(i)*200*time.Millisecond)
		err := database.Write(ctx, func(tx *db.Tx) error { return p.Set(ctx, tx, key, due) })
		if err != nil {
			t.Fatal(err)
		}
		if got := <-fired; got != key || time.Now().Before(due) {
			t.Errorf("%s was fired %s before it is due", got, time.Until(due))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// With many ticks, a look when none is due costs as good as nothing.
func BenchmarkLook(b *testing.B) {
	database, err := db.Open(b.Context(), "sqlite:"+b.TempDir()+"/test.db", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer database.Close()
	ticks, err := New(b.Context(), DefaultConfig("a"), database, nil, slog.New(slog.DiscardHandler))
	if err == nil {
		err = database.Write(b.Context(), func(tx *db.Tx) error {
			for i := range 10000 {
				if err := ticks.Set(b.Context(), tx, fmt.Sprint(i), time.Now().Add(time.Hour)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ticks.Look(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
