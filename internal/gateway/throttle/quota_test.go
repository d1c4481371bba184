package throttle

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func (c *clock) set(text string) {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	c.at.Store(t.Unix())
}

func (c *clock) now() time.Time { return time.Unix(c.at.Load(), 0) }

func quotas(t testing.TB, database *db.DB, c *clock) *Quotas {
	t.Helper()
	cfg := DefaultQuotaConfig()
	cfg.Now = c.now
	q, err := NewQuotas(context.Background(), cfg, database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func plan(period string, limit, offset int) *api.Plan {
	return &api.Plan{Project: "000000000000", ID: "plan-" + period, Quota: &api.Quota{Limit: limit, Offset: offset, Period: period}}
}

func TestPeriods(t *testing.T) {
	for _, c := range []struct {
		period          string
		offset          int
		day, start, end string
	}{
		{Day, 0, "2026-11-30", "2026-11-30", "2026-12-01"},
		{Week, 0, "2026-11-29", "2026-11-29", "2026-12-06"}, // a Sunday
		{Week, 0, "2026-11-28", "2026-11-22", "2026-11-29"},
		{Week, 1, "2026-11-29", "2026-11-23", "2026-11-30"},
		{Week, 1, "2026-11-30", "2026-11-30", "2026-12-07"},
		{Week, 6, "2026-12-04", "2026-11-28", "2026-12-05"},
		{Month, 0, "2026-11-30", "2026-11-01", "2026-12-01"},
		{Month, 0, "2026-12-01", "2026-12-01", "2027-01-01"},
		{Month, 0, "2028-02-29", "2028-02-01", "2028-03-01"},
		{Month, 27, "2026-02-27", "2026-01-28", "2026-02-28"},
		{Month, 27, "2026-02-28", "2026-02-28", "2026-03-28"},
		{Month, 14, "2026-01-01", "2025-12-15", "2026-01-15"},
	} {
		day := func(text string) int64 {
			d, err := time.Parse(time.DateOnly, text)
			if err != nil {
				t.Fatal(err)
			}
			return dayOf(d)
		}
		start, end := period(&api.Quota{Period: c.period, Offset: c.offset}, day(c.day))
		if start != day(c.start) || end != day(c.end) {
			t.Errorf("%s+%d, %s: %s to %s", c.period, c.offset, c.day, time.Unix(start*86400, 0).UTC().Format(time.DateOnly), time.Unix(end*86400, 0).UTC().Format(time.DateOnly))
		}
	}
}

func TestQuota(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx := context.Background()
		c := &clock{}
		c.set("2026-11-30 23:59:50")
		q := quotas(t, database, c)
		daily, weekly := plan(Day, 3, 0), plan(Week, 5, 0)
		take := func(q *Quotas, p *api.Plan, key string, want bool) time.Duration {
			t.Helper()
			after, ok := q.Take(p, key)
			if ok != want {
				t.Fatalf("%s, %s: %v after %s", p.ID, key, ok, after)
			}
			return after
		}
		for range 3 {
			take(q, daily, "k1", true)
			take(q, weekly, "k1", true)
		}
		if after := take(q, daily, "k1", false); after != 10*time.Second {
			t.Errorf("the quota is there again after %s", after)
		}
		take(q, daily, "k2", true)

		// What is stored is there after a restart, and what was not yet is lost.
		if err := q.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		take(q, weekly, "k1", true)
		q = quotas(t, database, c)
		take(q, daily, "k1", false)
		take(q, weekly, "k1", true)

		c.set("2026-12-01 00:00:00")
		take(q, daily, "k1", true)
		take(q, weekly, "k1", true)
		if after := take(q, weekly, "k1", false); after != 5*24*time.Hour {
			t.Errorf("the week ends after %s", after)
		}
		if err := q.Grant(ctx, weekly, "k1", 2); err != nil {
			t.Fatal(err)
		}
		take(q, weekly, "k1", true)
		q2 := quotas(t, database, c)
		if err := q.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		take(q, weekly, "k1", true)
		take(q, weekly, "k1", false)
		take(q2, weekly, "k1", true)

		got, err := q.Usage(ctx, weekly, "k1", c.now().Add(-48*time.Hour), c.now())
		var text []string
		for _, u := range got {
			text = append(text, fmt.Sprintf("%s %d %d", u.Day.Format(time.DateOnly), u.Used, u.Remaining))
		}
		if want := []string{"2026-11-29 0 5", "2026-11-30 4 1", "2026-12-01 3 0"}; err != nil || !slices.Equal(text, want) {
			t.Errorf("%q, want %q (%v)", text, want, err)
		}
		if got, err := q.Usage(ctx, &api.Plan{ID: weekly.ID}, "nobody", c.now(), c.now()); err != nil || len(got) != 1 || got[0].Used != 0 || got[0].Remaining != -1 {
			t.Errorf("of a plan without a quota: %v, %v", got, err)
		}

		// Old counts go.
		c.set("2028-12-01 00:00:00")
		if err := q.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := database.Read().QueryRowContext(ctx, `SELECT count(*) FROM throttle_usage`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d counts are left: %v", n, err)
		}
		for i := range q.shards {
			if n := len(q.shards[i].counters); n != 0 {
				t.Errorf("%d counters are left in memory", n)
			}
		}
	})
}

// TestCounting counts from many goroutines while counts are stored, with two servers on one database: the sum is exact.
func TestCounting(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx := context.Background()
		c := &clock{}
		c.set("2026-11-30 12:00:00")
		p := plan(Month, 1_000_000, 0)
		a, b := quotas(t, database, c), quotas(t, database, c)
		var wg sync.WaitGroup
		for _, q := range []*Quotas{a, b} {
			for range 4 {
				wg.Go(func() {
					for i := range 500 {
						q.Take(p, fmt.Sprint("key", i%3))
						if i%100 == 0 {
							if err := q.Flush(ctx); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
		}
		wg.Wait()
		for _, q := range []*Quotas{a, b} {
			if err := q.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var sum int64
		for i := range 3 {
			got, err := quotas(t, database, c).Usage(ctx, p, fmt.Sprint("key", i), c.now(), c.now())
			if err != nil || len(got) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			sum += got[0].Used
		}
		if sum != 4000 {
			t.Errorf("%d requests were counted, want 4000", sum)
		}
	})
}

// TestRun stores every now and then, and at the end. A database that fails loses nothing.
func TestRun(t *testing.T) {
	c := &clock{}
	c.set("2026-11-30 12:00:00")
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	full := atomic.Bool{}
	database, err := db.Open(context.Background(), url, nil, db.Room(func() error {
		if full.Load() {
			return context.DeadlineExceeded
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	cfg := DefaultQuotaConfig()
	cfg.Now, cfg.Every = c.now, time.Millisecond
	q, err := NewQuotas(context.Background(), cfg, database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stored := func() (n int) {
		if err := database.Read().QueryRowContext(context.Background(), `SELECT coalesce(sum(used), 0) FROM throttle_usage`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	p := plan(Day, 100, 0)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	q.Take(p, "k")
	for stored() != 1 {
		time.Sleep(time.Millisecond)
	}
	full.Store(true)
	for q.Flush(ctx) == nil { // until it meets a count
		q.Take(p, "k")
	}
	q.Take(p, "k")
	full.Store(false)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	got, err := q.Usage(context.Background(), p, "k", c.now(), c.now())
	if err != nil || int64(stored()) != got[0].Used || got[0].Used < 2 {
		t.Errorf("%d are stored, %v were counted (%v)", stored(), got, err)
	}
}

func BenchmarkQuota(b *testing.B) {
	c := &clock{}
	c.set("2026-11-30 12:00:00")
	database, err := db.Open(context.Background(), "sqlite:"+filepath.Join(b.TempDir(), "test.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer database.Close()
	q := quotas(b, database, c)
	p := plan(Month, 1<<40, 0)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			q.Take(p, "key")
		}
	})
}
