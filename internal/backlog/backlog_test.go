package backlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// open opens the store in dir; what is opened is closed by the returned function, or when the test ends.
func open(t testing.TB, dir string, change func(*Config)) (*Store, func()) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	b, err := bus.Open(t.Context(), bus.Config{Dir: dir}, logger)
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(b.Close)
	t.Cleanup(stop)
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	s, err := Open(t.Context(), cfg, b, logger)
	if err != nil {
		t.Fatal(err)
	}
	return s, stop
}

func put(t testing.TB, s *Store, queue string, entries ...Entry) []Stored {
	t.Helper()
	stored, err := s.Put(context.Background(), queue, entries...)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func take(t testing.TB, s *Store, queue string, tk Take) []Message {
	t.Helper()
	list, err := s.Take(context.Background(), queue, tk)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func ids(list []Message) string {
	var out []string
	for _, m := range list {
		out = append(out, m.ID)
	}
	return strings.Join(out, " ")
}

func counts(t *testing.T, s *Store, queue string, ready, inFlight, delayed int) {
	t.Helper()
	if c := s.Counts(queue); c != (Counts{ready, inFlight, delayed}) {
		t.Errorf("%+v, want %d ready, %d in flight, %d delayed", c, ready, inFlight, delayed)
	}
}

// What was put is there after the store was opened again: its content, how often it was taken, and until when it is hidden.
func TestRestart(t *testing.T) {
	dir, clk := t.TempDir(), &clock{t: time.Now()}
	reopen := func(stop func()) (*Store, func()) {
		if stop != nil {
			stop()
		}
		return open(t, dir, func(c *Config) { c.Now = clk.now })
	}
	s, stop := reopen(nil)
	sent := clk.now().Add(-time.Hour).Truncate(time.Microsecond)
	put(t, s, "q", Entry{ID: "a", Meta: "meta of \"a\"\nß", Body: []byte("A\x00\n"), Sent: sent}, Entry{ID: "b"}, Entry{ID: "late", Delay: time.Minute})
	put(t, s, "other/queue.*>", Entry{ID: "x"})
	first := take(t, s, "q", Take{Limit: 1, Hidden: 30 * time.Second})
	volatile := take(t, s, "q", Take{Limit: 9, Hidden: 30 * time.Second, Volatile: true})
	if ids(first) != "a" || ids(volatile) != "b" {
		t.Fatal(ids(first), ids(volatile))
	}
	counts(t, s, "q", 0, 2, 1)

	s, stop = reopen(stop)
	counts(t, s, "q", 1, 1, 1)
	if list := s.Queues(""); len(list) != 2 || !slices.Contains(list, "q") || !slices.Contains(list, "other/queue.*>") {
		t.Error(list)
	}
	clk.forward(31 * time.Second)
	again := take(t, s, "q", Take{Limit: 9, Hidden: time.Second})
	if ids(again) != "a b" {
		t.Fatal(ids(again))
	}
	a := again[0]
	if a.Takes != 2 || a.Meta != "meta of \"a\"\nß" || string(a.Body) != "A\x00\n" || !a.Sent.Equal(sent) || a.First.IsZero() || again[1].Takes != 1 {
		t.Errorf("%+v", again)
	}
	note := "two failures"
	if ok, err := s.Release(t.Context(), "q", a.Receipt, time.Minute, &note); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.Delete(t.Context(), "q", again[1].Receipt); !ok || err != nil {
		t.Error(ok, err)
	}

	s, stop = reopen(stop)
	counts(t, s, "q", 0, 1, 1)
	clk.forward(time.Minute)
	list := take(t, s, "q", Take{Limit: 9, Hidden: time.Second})
	if ids(list) != "a late" || list[0].Takes != 3 || list[0].Note != note {
		t.Errorf("%+v", list)
	}
	for _, m := range list {
		if ok, err := s.Delete(t.Context(), "q", m.Receipt); !ok || err != nil {
			t.Error(ok, err)
		}
	}
	s, stop = reopen(stop)
	counts(t, s, "q", 0, 0, 0)
	if list := s.Queues("q"); len(list) != 0 {
		t.Error(list)
	}
	stop()
}

// A message that was taken again is not its first taker's any more.
func TestReceipts(t *testing.T) {
	clk := &clock{t: time.Now()}
	s, _ := open(t, t.TempDir(), func(c *Config) { c.Now = clk.now })
	put(t, s, "q", Entry{ID: "a"})
	old := take(t, s, "q", Take{Limit: 1, Hidden: time.Second})[0].Receipt
	clk.forward(time.Second)
	for name, f := range map[string]func() (bool, error){
		"delete":  func() (bool, error) { return s.Delete(t.Context(), "q", Receipt{old.Seq, old.Take + 1}) },
		"release": func() (bool, error) { return s.Release(t.Context(), "q", old, time.Minute, nil) }, // it is not hidden any more
	} {
		if ok, err := f(); ok || err != nil {
			t.Error(name, ok, err)
		}
	}
	latest := take(t, s, "q", Take{Limit: 1, Hidden: time.Second})[0].Receipt
	if ok, err := s.Delete(t.Context(), "q", old); ok || err != nil {
		t.Error(ok, err)
	}
	clk.forward(time.Hour) // hidden no longer, but nobody else has it
	if ok, err := s.Delete(t.Context(), "q", latest); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.Delete(t.Context(), "q", latest); ok || err != nil {
		t.Error(ok, err)
	}
	counts(t, s, "q", 0, 0, 0)
}

func TestGroups(t *testing.T) {
	dir, clk := t.TempDir(), &clock{t: time.Now()}
	s, stop := open(t, dir, func(c *Config) { c.Now = clk.now })
	for n := range 3 {
		put(t, s, "q", Entry{ID: fmt.Sprint("a", n), Group: "a"}, Entry{ID: fmt.Sprint("b", n), Group: "b"})
	}
	a := take(t, s, "q", Take{Limit: 2, Hidden: time.Minute})
	b := take(t, s, "q", Take{Limit: 9, Hidden: 2 * time.Minute})
	if ids(a) != "a0 a1" || ids(b) != "b0 b1 b2" {
		t.Fatal(ids(a), ids(b))
	}
	if list := take(t, s, "q", Take{Limit: 9, Hidden: time.Minute}); len(list) > 0 {
		t.Error("taken beside others of its group:", ids(list))
	}
	if ok, err := s.Delete(t.Context(), "q", a[0].Receipt); !ok || err != nil {
		t.Error(ok, err)
	}
	if list := take(t, s, "q", Take{Limit: 9, Hidden: time.Minute}); len(list) > 0 {
		t.Error("taken beside others of its group:", ids(list))
	}
	stop()
	s, _ = open(t, dir, func(c *Config) { c.Now = clk.now })
	if list := take(t, s, "q", Take{Limit: 9, Hidden: time.Minute}); len(list) > 0 {
		t.Error("taken beside others of its group:", ids(list))
	}
	clk.forward(time.Minute)
	if list := take(t, s, "q", Take{Limit: 9, Hidden: time.Hour}); ids(list) != "a1 a2" {
		t.Error("in its order again:", ids(list))
	}
	clk.forward(time.Minute)
	if list := take(t, s, "q", Take{Limit: 9, Hidden: time.Hour}); ids(list) != "b0 b1 b2" {
		t.Error("in its order again:", ids(list))
	}
}

// A deduplication id holds for five minutes, whatever happens to its message meanwhile.
func TestDeduplication(t *testing.T) {
	dir, clk := t.TempDir(), &clock{t: time.Now()}
	s, stop := open(t, dir, func(c *Config) { c.Now = clk.now })
	first := put(t, s, "q", Entry{ID: "1", Group: "g", Dedup: "x"}, Entry{ID: "2", Group: "g", Dedup: "x"}, Entry{ID: "3", Group: "g", Dedup: "y"})
	if first[0].Duplicate || first[1] != (Stored{"1", first[0].Seq, true}) || first[2].Duplicate || first[2].Seq <= first[0].Seq {
		t.Errorf("%+v", first)
	}
	again := func(when string) {
		t.Helper()
		if r := put(t, s, "q", Entry{ID: "4", Group: "h", Dedup: "x"}); r[0] != (Stored{"1", first[0].Seq, true}) {
			t.Errorf("%s: %+v", when, r)
		}
	}
	again("while it is there")
	stop()
	s, stop = open(t, dir, func(c *Config) { c.Now = clk.now })
	again("after a restart")
	for _, m := range take(t, s, "q", Take{Limit: 9, Hidden: time.Minute}) {
		if ok, err := s.Delete(t.Context(), "q", m.Receipt); !ok || err != nil {
			t.Error(ok, err)
		}
	}
	again("after it was deleted")
	if err := s.Purge(t.Context(), "q"); err != nil {
		t.Error(err)
	}
	again("after a purge")
	stop()
	s, stop = open(t, dir, func(c *Config) { c.Now = clk.now })
	again("after it was deleted and a restart")
	clk.forward(5 * time.Minute)
	if r := put(t, s, "q", Entry{ID: "5", Group: "h", Dedup: "x"}); r[0].Duplicate || r[0].ID != "5" {
		t.Errorf("after five minutes: %+v", r)
	}
	if err := s.Drop(t.Context(), "q"); err != nil {
		t.Error(err)
	}
	if r := put(t, s, "q", Entry{ID: "6", Group: "h", Dedup: "x"}); r[0].Duplicate {
		t.Errorf("in a new queue: %+v", r)
	}
	stop()
}

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, nil)
	put(t, s, "q", Entry{ID: "a"}, Entry{ID: "b", Group: "g"}, Entry{ID: "c", Delay: time.Hour})
	put(t, s, "q2", Entry{ID: "d"})
	taken := take(t, s, "q", Take{Limit: 1, Hidden: time.Hour})
	if err := s.Purge(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	counts(t, s, "q", 0, 0, 0)
	if ok, err := s.Delete(t.Context(), "q", taken[0].Receipt); ok || err != nil {
		t.Error(ok, err)
	}
	put(t, s, "q", Entry{ID: "e"})
	stop()
	s, _ = open(t, dir, nil)
	counts(t, s, "q", 1, 0, 0)
	counts(t, s, "q2", 1, 0, 0)
	if s.cached.Load() != 0 {
		t.Error(s.cached.Load())
	}
}

// Who waits gets what comes: put, shown again, released by its group.
func TestWait(t *testing.T) {
	s, _ := open(t, t.TempDir(), nil)
	got := make(chan Message)
	wait := func(hidden time.Duration) {
		go func() {
			list, err := s.Take(t.Context(), "q", Take{Limit: 1, Hidden: hidden, Wait: time.Minute})
			if err != nil || len(list) != 1 {
				t.Error(list, err)
				list = make([]Message, 1)
			}
			got <- list[0]
		}()
	}
	wait(10 * time.Millisecond)
	put(t, s, "q", Entry{ID: "a", Group: "g", Delay: 10 * time.Millisecond}, Entry{ID: "b", Group: "g"})
	if m := <-got; m.ID != "a" || m.Takes != 1 {
		t.Errorf("%+v", m)
	}
	wait(time.Hour)
	a := <-got
	if a.ID != "a" || a.Takes != 2 {
		t.Errorf("%+v", a)
	}
	wait(time.Hour)
	if ok, err := s.Delete(t.Context(), "q", a.Receipt); !ok || err != nil {
		t.Error(ok, err)
	}
	if m := <-got; m.ID != "b" || m.Takes != 1 {
		t.Errorf("%+v", m)
	}
	if list := take(t, s, "empty", Take{Limit: 1, Wait: time.Millisecond}); len(list) > 0 {
		t.Error(list)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if list, err := s.Take(ctx, "empty", Take{Limit: 1, Wait: time.Hour}); len(list) > 0 || err != nil {
		t.Error(list, err)
	}
}

func TestRetention(t *testing.T) {
	s, _ := open(t, t.TempDir(), nil)
	now := time.Now()
	put(t, s, "q", Entry{ID: "old", Sent: now.Add(-time.Hour)}, Entry{ID: "new"})
	if list := take(t, s, "q", Take{Limit: 9, Hidden: time.Minute, Since: now.Add(-time.Minute)}); ids(list) != "new" {
		t.Error(ids(list))
	}
	counts(t, s, "q", 0, 1, 0)
}

// After a clock was set back a year, what was hidden for a minute is not hidden for a year.
func TestClockIsSetBack(t *testing.T) {
	dir, clk := t.TempDir(), &clock{t: time.Now()}
	s, stop := open(t, dir, func(c *Config) { c.Now = clk.now })
	put(t, s, "q", Entry{ID: "a"}, Entry{ID: "b", Delay: time.Minute})
	take(t, s, "q", Take{Limit: 1, Hidden: time.Minute})
	stop()
	clk.forward(-365 * 24 * time.Hour)
	s, _ = open(t, dir, func(c *Config) { c.Now = clk.now })
	counts(t, s, "q", 0, 1, 1)
	clk.forward(MaxHidden)
	counts(t, s, "q", 2, 0, 0)
}

func TestRefusals(t *testing.T) {
	full := hansom.Errorf(hansom.Unavailable, "put", "the disk is nearly full")
	s, stop := open(t, t.TempDir(), func(c *Config) { c.Room = func() error { return full } })
	if _, err := s.Put(t.Context(), "q", Entry{ID: "a"}); !errors.Is(err, full) {
		t.Error(err)
	}
	s.cfg.Room = nil
	if _, err := s.Put(t.Context(), strings.Repeat("q", MaxName+1), Entry{ID: "a"}); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "q", Entry{ID: "a", Body: make([]byte, bus.MaxPayload)}); hansom.KindOf(err) != hansom.TooLarge {
		t.Error(err)
	}
	put(t, s, "q", Entry{ID: "b", Body: make([]byte, bus.MaxPayload-1000)}) // it waits for nothing that the refused one left
	counts(t, s, "q", 1, 0, 0)
	stop()
	if _, err := s.Put(t.Context(), "q", Entry{ID: "a"}); hansom.KindOf(err) != hansom.Unavailable {
		t.Error(err)
	}
}

// Many put, take and delete at once: each message is deleted by one, and the groups keep their order.
func TestConcurrent(t *testing.T) {
	s, _ := open(t, t.TempDir(), func(c *Config) { c.Cache = 1 << 10 })
	const producers, each, consumers = 4, 200, 6
	var done sync.WaitGroup
	for p := range producers {
		done.Go(func() {
			for n := range each {
				e := Entry{ID: fmt.Sprintf("%d-%d", p, n), Body: fmt.Append(nil, n)}
				if p%2 == 0 {
					e.Group = fmt.Sprint(p)
				}
				put(t, s, "q", e)
			}
		})
	}
	var mu sync.Mutex
	seen := map[string][]string{}
	total := 0
	for range consumers {
		done.Go(func() {
			for {
				list := take(t, s, "q", Take{Limit: 7, Hidden: time.Minute, Wait: 20 * time.Millisecond})
				mu.Lock()
				for _, m := range list {
					p, n, _ := strings.Cut(m.ID, "-")
					if string(m.Body) != n {
						t.Errorf("%s has the body %q", m.ID, m.Body)
					}
					seen[p] = append(seen[p], n)
					total++
				}
				over := total == producers*each
				mu.Unlock()
				for _, m := range list {
					if ok, err := s.Delete(t.Context(), "q", m.Receipt); !ok || err != nil {
						t.Error(m.ID, ok, err)
					}
				}
				if over {
					return
				}
			}
		})
	}
	done.Wait()
	for p, list := range seen {
		if len(list) != each {
			t.Errorf("%d of %d of producer %s", len(list), each, p)
		}
		for n, x := range list {
			if (p == "0" || p == "2") && x != fmt.Sprint(n) {
				t.Fatalf("group %s: %v", p, list)
			}
		}
	}
	counts(t, s, "q", 0, 0, 0)
	if n := s.cached.Load(); n != 0 {
		t.Errorf("%d bytes are still kept", n)
	}
}

func BenchmarkPut(b *testing.B) {
	s, _ := open(b, b.TempDir(), nil)
	body := make([]byte, 200)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put(b, s, "q", Entry{ID: hansom.NewID(), Body: body})
		}
	})
}

func BenchmarkPutTakeDelete(b *testing.B) {
	s, _ := open(b, b.TempDir(), nil)
	body := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		put(b, s, "q", Entry{ID: hansom.NewID(), Body: body})
		m := take(b, s, "q", Take{Limit: 1, Hidden: time.Minute})
		if ok, err := s.Delete(context.Background(), "q", m[0].Receipt); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkTakeDelete(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := open(b, b.TempDir(), nil)
			body := make([]byte, 200)
			entries := make([]Entry, 1000)
			for range b.N/1000 + 1 {
				for i := range entries {
					entries[i] = Entry{ID: hansom.NewID(), Body: body}
				}
				put(b, s, "q", entries...)
			}
			b.ResetTimer()
			b.ReportAllocs()
			for done := 0; done < b.N; {
				list := take(b, s, "q", Take{Limit: n, Hidden: time.Minute})
				var w sync.WaitGroup
				for _, m := range list {
					w.Go(func() {
						if ok, err := s.Delete(context.Background(), "q", m.Receipt); !ok || err != nil {
							b.Error(ok, err)
						}
					})
				}
				w.Wait()
				done += len(list)
			}
		})
	}
}
