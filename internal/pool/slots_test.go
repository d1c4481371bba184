package pool

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// several is a version whose instances take n calls at once.
func several(name string, n int) *hansom.Version {
	v := version(name)
	v.Concurrency = n
	return v
}

// takes is a stub.invoke whose payload is how long it works; what works for longer than a minute misses its deadline.
func takes(s *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
	d, err := time.ParseDuration(string(req.Payload))
	if err != nil {
		s.stop(sandbox.Exit{Code: 1})
		return sandbox.Response{}, sandbox.ErrClosed
	}
	select {
	case <-time.After(min(d, time.Until(time.UnixMilli(req.Deadline)))):
	case <-s.done:
		return sandbox.Response{}, sandbox.ErrClosed
	}
	if d > time.Minute {
		return sandbox.Response{}, os.ErrDeadlineExceeded
	}
	return sandbox.Response{}, nil
}

func slowBoot(context.Context, *stubSandbox) error { time.Sleep(time.Second); return nil }

// 200 calls at once start as many boots as they need and fill the instances; one call of each is cold.
func TestBootsServeSeveral(t *testing.T) {
	for _, c := range []struct{ slots, boots int }{{1, 200}, {80, 3}, {100, 2}, {199, 2}, {200, 1}, {1000, 1}} {
		t.Run(fmt.Sprint(c.slots), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder()
				d := &stub{invoke: takes, boot: slowBoot}
				p := newPool(t, d, r, nil)
				var calls sync.WaitGroup
				for i := range 200 {
					calls.Go(func() { mustRun(t, p, several("f", c.slots), id(i), "2s") })
				}
				synctest.Wait()
				if s := p.Stats(); s.Booting != c.boots || s.Waiting != 200 {
					t.Errorf("%+v, want %d boots", s, c.boots)
				}
				calls.Wait()
				cold := 0
				for _, done := range r.recorded() {
					if done.Cold {
						cold++
					}
				}
				if d.starts() != c.boots || cold != c.boots {
					t.Errorf("%d instances and %d cold calls, want %d", d.starts(), cold, c.boots)
				}
			})
		})
	}
}

// Calls go to the fullest instance that has room, so that the others become idle.
func TestFullestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: takes}
		p, v := newPool(t, d, newRecorder(), nil), several("f", 3)
		var calls sync.WaitGroup
		run := func(i int, takes string) {
			calls.Go(func() { mustRun(t, p, v, id(i), takes) })
			synctest.Wait()
		}
		for i, t := range []string{"2s", "2s", "1s", "1s", "1s", "2s", "1s"} { // 3 in the first, 3 in the second, 1 in the third
			run(i, t)
		}
		if s := p.Stats(); s.Busy != 3 || d.starts() != 3 {
			t.Fatalf("%+v", s)
		}
		time.Sleep(1500 * time.Millisecond) // 2, 1 and none are left
		run(10, "10s")                      // fills the first
		run(11, "10s")                      // goes to the second
		if s := p.Stats(); s.Busy != 2 || s.Idle != 1 {
			t.Errorf("%+v", s)
		}
		most := map[int]int{}
		for _, s := range d.alive() {
			d.mu.Lock()
			most[s.number] = s.running
			d.mu.Unlock()
		}
		if most[1] != 3 || most[2] != 2 || most[3] != 0 {
			t.Errorf("running by instance: %v", most)
		}
		calls.Wait()
	})
}

// A call that takes too long is answered; the others in its instance go on, no new one joins them, and the last ends it.
func TestTimeoutBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: takes}
		p, v := newPool(t, d, newRecorder(), nil), several("f", 10)
		var calls sync.WaitGroup
		calls.Go(func() {
			if typ, _ := errorOf(t, mustRun(t, p, v, id(1), "1h")); typ != typeTimeout {
				t.Error(typ)
			}
		})
		time.Sleep(2 * time.Second)
		calls.Go(func() {
			if res := mustRun(t, p, v, id(2), "2s"); res.FunctionError != "" {
				t.Errorf("the call beside it failed: %s", res.Payload)
			}
		})
		time.Sleep(1500 * time.Millisecond) // the first has been answered
		if s := p.Stats(); s.Busy != 1 || len(d.alive()) != 1 {
			t.Errorf("%+v", s)
		}
		mustRun(t, p, v, id(3), "1ms")
		if d.starts() != 2 {
			t.Error("the instance took another call")
		}
		calls.Wait()
		synctest.Wait()
		if alive := d.alive(); len(alive) != 1 || alive[0].number != 2 {
			t.Errorf("the instance lives on: %v", alive)
		}
	})
}

// The end of a runtime fails all of its calls; the next call gets another instance.
func TestCrashBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: takes}
		p, v := newPool(t, d, newRecorder(), nil), several("f", 10)
		var calls sync.WaitGroup
		for i := range 5 {
			calls.Go(func() {
				if typ, message := errorOf(t, mustRun(t, p, v, id(i), "2s")); typ != typeExit || !strings.Contains(message, "exit status 1") {
					t.Error(typ, message)
				}
			})
		}
		time.Sleep(time.Second)
		mustRun(t, p, v, id(10), "crash")
		calls.Wait()
		mustRun(t, p, v, id(11), "1s")
		if d.starts() != 2 || len(d.alive()) != 1 {
			t.Errorf("%d instances", d.starts())
		}
		if s := p.Stats(); s.Reserved != 128*mb || s.Idle != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A boot that fails answers all that it would have served, and one of them pays.
func TestFailedBootOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		d := &stub{boot: func(context.Context, *stubSandbox) error {
			time.Sleep(time.Second)
			return &sandbox.InitError{Payload: []byte(`{"errorType":"E","errorMessage":"m"}`)}
		}}
		p, v := newPool(t, d, r, nil), several("f", 10)
		var calls sync.WaitGroup
		for i := range 15 {
			calls.Go(func() {
				if typ, _ := errorOf(t, mustRun(t, p, v, id(i), "1")); typ != "E" {
					t.Error(typ)
				}
			})
		}
		calls.Wait()
		billed := time.Duration(0)
		for _, c := range r.recorded() {
			billed += c.Billed
		}
		if d.starts() != 2 || billed != 2*time.Second+13*time.Millisecond {
			t.Errorf("%d boots, %s billed", d.starts(), billed)
		}
	})
}

// An instance with a call left is neither frozen nor ended; without one it is both, in time.
func TestSlotsScaleToZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: takes}
		p, v := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Idle = 10 * time.Second }), several("f", 4)
		v.Timeout = time.Minute
		var calls sync.WaitGroup
		for i, takes := range []string{"1s", "30s", "1s", "1s", "1s"} {
			calls.Go(func() { mustRun(t, p, v, id(i), takes) })
			synctest.Wait()
		}
		time.Sleep(20 * time.Second) // the second instance has expired
		alive := d.alive()
		if len(alive) != 1 || alive[0].number != 1 || alive[0].freezes.Load() != 0 {
			t.Errorf("%d alive, frozen %d times", len(alive), alive[0].freezes.Load())
		}
		calls.Wait()
		time.Sleep(5 * time.Second)
		if s := p.Stats(); s.Frozen != 1 {
			t.Errorf("%+v", s)
		}
		mustRun(t, p, v, id(10), "1ms") // thaws
		time.Sleep(15 * time.Second)
		if s := p.Stats(); s.Reserved != 0 || len(d.alive()) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Lines of the platform carry their call's id; what an instance prints does so while one call runs alone.
func TestLogsOfSeveral(t *testing.T) {
	r := newRecorder()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o, err := newOutput(r, version("f"), "i", in)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	print := func(s string) { fmt.Fprintln(w, s) }
	a, b := &journal{id: "a", tailing: true}, &journal{id: "b"}
	o.begin(a, time.Now(), "START a")
	print("alone a")
	o.begin(b, time.Now(), "START b")
	print("together")
	o.message("a", []byte("told a"))
	o.drain()
	o.event(a, time.Now(), "END a")
	tail := o.finish(a)
	print("alone b")
	o.drain()
	o.finish(b)
	print("after")
	w.Close()
	go func() { defer close(done); o.follow() }()
	<-done
	o.close()
	for id, want := range map[string][]string{
		"a": {"START a", "alone a", "told a", "END a"}, "b": {"START b", "alone b"}, "": {"together", "after"},
	} {
		if got := r.lines(id); !slices.Equal(got, want) {
			t.Errorf("of %q: %q, want %q", id, got, want)
		}
	}
	if string(tail) != "START a\nalone a\ntold a\nEND a\n" {
		t.Errorf("tail %q", tail)
	}
}
