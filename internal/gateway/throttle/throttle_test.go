package throttle

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func limits(t testing.TB, change func(*Config)) *Limits {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var route = Key{Scope: Route, API: "abc", Stage: "$default", Route: "GET /"}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limits(t, nil)
		take := func(want bool) (after time.Duration) {
			t.Helper()
			after, ok := l.Take(route, 10, 5)
			if ok != want {
				t.Fatalf("ok is %v, after %s", ok, after)
			}
			return after
		}
		for range 5 {
			take(true)
		}
		if after := take(false); after < 100*time.Millisecond-1 || after > 100*time.Millisecond {
			t.Errorf("the next is let through after %s", after)
		}
		time.Sleep(50 * time.Millisecond)
		after := take(false)
		time.Sleep(after - 5)
		take(false)
		time.Sleep(5 * time.Nanosecond)
		take(true)
		take(false)
		time.Sleep(time.Hour)
		for range 5 {
			take(true)
		}
		take(false)
		if _, ok := l.Take(Key{Scope: Route, API: "abc", Stage: "$default", Route: "GET /b"}, 10, 5); !ok {
			t.Error("another route is throttled too")
		}
	})
}

func TestNothing(t *testing.T) {
	l := limits(t, nil)
	for _, c := range []struct {
		rate  float64
		burst int
	}{{0, 5}, {10, 0}, {0, 0}, {-1, 5}, {math.NaN(), 5}} {
		if after, ok := l.Take(route, c.rate, c.burst); ok || after != time.Second {
			t.Errorf("%v: %s, %v", c, after, ok)
		}
	}
	if l.Buckets() != 0 {
		t.Errorf("%d buckets", l.Buckets())
	}
	if after, ok := l.Take(route, 1e-9, 1); !ok {
		t.Errorf("the first: %s", after)
	}
	if after, ok := l.Take(route, 1e-9, 1); ok || after < time.Hour {
		t.Errorf("the second: %s, %v", after, ok)
	}
}

// tokens is a bucket as it is described: it counts tokens.
type tokens struct {
	n    float64
	last time.Time
}

// fill lets time pass, and tells whether there is a token. sure is false at the very moment that one comes, within what floats round off.
func (b *tokens) fill(now time.Time, rate float64, burst int) (ok, sure bool) {
	b.n = min(b.n+now.Sub(b.last).Seconds()*rate, float64(burst))
	b.last = now
	return b.n >= 1, math.Abs(b.n-1) > 3e-9*rate+1e-9
}

// TestModel compares with a bucket that counts tokens, at times that are no multiples of what the rates need.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_800_000_000, 0)
		cfg := DefaultConfig()
		cfg.Now = func() time.Time { return now }
		l, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		rate := rapid.SampledFrom([]float64{0.1, 1, 3, 7, 100, 12345.6}).Draw(t, "rate")
		burst := rapid.IntRange(1, 50).Draw(t, "burst")
		model := tokens{float64(burst), now}
		take := func() (after time.Duration, ok bool) {
			after, ok = l.Take(route, rate, burst)
			if want, sure := model.fill(now, rate, burst); sure && ok != want {
				t.Fatalf("ok is %v after %s, want %v with %f tokens", ok, after, want, model.n)
			}
			if ok {
				model.n--
			}
			return after, ok
		}
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.Float64Range(0, 3e9/rate).Draw(t, "pause")))
			if after, ok := take(); !ok && rapid.Bool().Draw(t, "waits") {
				now = now.Add(after)
				if again, ok := take(); !ok {
					t.Fatalf("after %s it has to wait %s more", after, again)
				}
			}
		}
	})
}

// TestExact has many take at once: not one too many is let through, and none too few.
func TestExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limits(t, nil)
		var let, each [8]atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 1000 { // a second: 8,000 requests at a rate of 100
					if _, ok := l.Take(route, 100, 20); ok {
						let[0].Add(1)
						each[i].Add(1)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		if n := let[0].Load(); n < 118 || n > 120 {
			t.Errorf("%d of 120 were let through", n)
		}
	})
}

// TestFair has callers that ask all the time in turn: each gets its part.
func TestFair(t *testing.T) {
	l := limits(t, nil)
	const callers = 8
	var got [callers]atomic.Int64
	var sum atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for sum.Load() < 4000 {
				if _, ok := l.Take(route, 20_000, 1); ok {
					got[i].Add(1)
					sum.Add(1)
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	for i := range got {
		if n := got[i].Load(); n < 4000/callers/10 {
			t.Errorf("caller %d got %d of %d", i, n, sum.Load())
		}
	}
}

func TestClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limits(t, func(c *Config) { c.Clients = 1000 })
		client := func(i int) Key {
			return Key{Scope: Client, API: "abc", Stage: "$default", Route: "GET /", Who: fmt.Sprint("10.0.0.", i)}
		}
		for range 3 {
			l.Take(route, 1, 3)
		}
		for i := range 20_000 {
			if _, ok := l.Take(client(i), 1, 2); !ok {
				t.Fatalf("client %d is throttled", i)
			}
		}
		if n := l.Buckets(); n > 1001 {
			t.Errorf("%d buckets", n)
		}
		if _, ok := l.Take(route, 1, 3); ok {
			t.Error("the bucket of the route was forgotten with those of clients")
		}
		// Those that are full are forgotten.
		time.Sleep(10 * time.Second)
		for i := range 2000 {
			l.Take(client(-i), 1e6, 1)
			time.Sleep(time.Microsecond * 2)
		}
		if n := l.Buckets(); n > 400 {
			t.Errorf("%d buckets, most of them full", n)
		}
	})
}

func TestAddress(t *testing.T) {
	for address, who := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64",
		"::ffff:192.0.2.1": "::ffff:192.0.2.1", "fe80::1%eth0": "fe80::/64", "a:b": "a:b", "": ""} {
		if got := Address(address); got != who {
			t.Errorf("%q: %q, want %q", address, got, who)
		}
	}
}

func TestAllocations(t *testing.T) {
	l := limits(t, nil)
	client := Key{Scope: Client, API: "abc", Stage: "$default", Route: "GET /", Who: "192.0.2.1"}
	for _, key := range []Key{route, client} {
		l.Take(key, 1e9, 1000)
		if n := testing.AllocsPerRun(100, func() { l.Take(key, 1, 1000) }); n != 0 {
			t.Errorf("%s: %v allocations", key.Scope, n)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		l := limits(b, nil)
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				l.Take(route, 1e9, 1e6)
			}
		})
	})
	b.Run("clients", func(b *testing.B) {
		l := limits(b, nil)
		keys := make([]Key, 10_000)
		for i := range keys {
			keys[i] = Key{Scope: Client, API: "abc", Stage: "$default", Route: "GET /", Who: fmt.Sprint("10.0.", i/256, ".", i%256)}
			l.Take(keys[i], 1, 10)
		}
		var start atomic.Int64
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for i := start.Add(5000); p.Next(); i++ {
				l.Take(keys[i%10_000], 1000, 10)
			}
		})
	})
}
