package pool

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

func TestFromZeroToManyAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &stub{invoke: func(_ *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
			<-release
			return sandbox.Response{Payload: req.Payload}, nil
		}}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		var calls sync.WaitGroup
		for i := range 20 {
			calls.Go(func() {
				if res := mustRun(t, p, v, id(i), fmt.Sprint(i)); string(res.Payload) != fmt.Sprint(i) {
					t.Errorf("call %d got %s", i, res.Payload)
				}
			})
		}
		synctest.Wait()
		if s := p.Stats(); s.Busy != 20 || d.starts() != 20 {
			t.Errorf("20 calls at once: %+v, %d started", s, d.starts())
		}
		close(release)
		calls.Wait()
		for i := range 20 {
			mustRun(t, p, v, id(i), "1")
		}
		if s := p.Stats(); s.Idle != 20 || d.starts() != 20 {
			t.Errorf("after the calls: %+v, %d started", s, d.starts())
		}
		time.Sleep(9 * time.Minute)
		if s := p.Stats(); s.Idle != 20 {
			t.Errorf("after 9 minutes: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := p.Stats(); s.Idle != 0 || s.Reserved != 0 || len(d.alive()) != 0 {
			t.Errorf("after 11 minutes: %+v, %d alive", s, len(d.alive()))
		}
		if p.groups.Get(key{v.Project, v.Function, v.Revision}) != nil {
			t.Error("an idle function keeps its group")
		}
	})
}

func TestLastInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &stub{invoke: func(s *stubSandbox, _ *sandbox.Request) (sandbox.Response, error) {
			<-release
			return sandbox.Response{Payload: fmt.Append(nil, s.number)}, nil
		}}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		var calls sync.WaitGroup
		for i := range 3 {
			calls.Go(func() { mustRun(t, p, v, id(i), "1") })
		}
		synctest.Wait()
		var order []string
		for range 3 { // they become idle one after the other
			release <- struct{}{}
			synctest.Wait()
		}
		calls.Wait()
		close(release)
		g := p.groups.Get(key{v.Project, v.Function, v.Revision})
		g.mu.Lock()
		last := g.idle[2].sandbox.(*stubSandbox).number
		g.mu.Unlock()
		for i := range 3 {
			order = append(order, string(mustRun(t, p, v, id(i), "1").Payload))
		}
		want := fmt.Sprint(last)
		if order[0] != want || order[1] != want || order[2] != want {
			t.Errorf("calls ran on %v, want the one used last, %s", order, want)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for i := range 3 {
			if n := g.idle[i].sandbox.(*stubSandbox).calls; (i == 2) != (n == 4) {
				t.Errorf("instance %d ran %d calls", i, n)
			}
		}
	})
}

// Whoever waits is served by what comes first: an instance set free, or the one that boots for it.
func TestAFreedInstanceServesBeforeTheBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{
			boot: func(_ context.Context, s *stubSandbox) error {
				if s.number == 2 {
					time.Sleep(5 * time.Second)
				}
				return nil
			},
			invoke: func(s *stubSandbox, _ *sandbox.Request) (sandbox.Response, error) {
				time.Sleep(time.Second)
				return sandbox.Response{Payload: fmt.Append(nil, s.number)}, nil
			},
		}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		go mustRun(t, p, v, id(1), "1")
		synctest.Wait()
		begin := time.Now()
		if res := mustRun(t, p, v, id(2), "1"); string(res.Payload) != "1" || time.Since(begin) != 2*time.Second {
			t.Errorf("ran on instance %s after %s", res.Payload, time.Since(begin))
		}
		time.Sleep(4 * time.Second)
		if s := p.Stats(); s.Idle != 2 {
			t.Errorf("the boot that nobody waits for any more: %+v", s)
		}
	})
}

// 500 clients where memory allows 5 instances: every call is served, in order, by 5 boots.
func TestManyClientsFewInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *Pool
		var excess atomic.Int32
		d := &stub{
			invoke: func(_ *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
				time.Sleep(50 * time.Millisecond)
				return sandbox.Response{Payload: req.Payload}, nil
			},
			boot: func(context.Context, *stubSandbox) error { time.Sleep(20 * time.Millisecond); return nil },
		}
		d.onStart = func() {
			if s := p.Stats(); s.Booting > s.Waiting || s.Booting > 5 {
				excess.Add(1)
			}
		}
		r := newRecorder()
		p = newPool(t, d, r, func(c *Config, _ *Deps) { c.Memory = 5*128*mb + 1 })
		v := version("f")
		var calls sync.WaitGroup
		for i := range 500 {
			calls.Go(func() { mustRun(t, p, v, id(i), "1") })
			synctest.Wait()
		}
		calls.Wait()
		if d.starts() != 5 || excess.Load() != 0 {
			t.Errorf("%d boots, %d of them beyond demand", d.starts(), excess.Load())
		}
		for i, c := range r.recorded() {
			// five at a time: a call may overtake those that end at the same moment, but no others
			var n int
			fmt.Sscanf(strings.TrimPrefix(c.ID, "00000000-0000-4000-8000-"), "%d", &n)
			if n/5 != i/5 {
				t.Fatalf("call %d was the %dth to end", n, i)
			}
		}
		synctest.Wait()
		if n := p.memory.Waiting(); n != 0 {
			t.Errorf("%d functions still wait for memory", n)
		}
		if len(r.recorded()) != 500 {
			t.Errorf("%d completions", len(r.recorded()))
		}
	})
}

func TestWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := &stub{invoke: func(*stubSandbox, *sandbox.Request) (sandbox.Response, error) {
			<-release
			return sandbox.Response{}, nil
		}}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory, c.Queue = 128*mb, 2 })
		v := version("f")
		go mustRun(t, p, v, id(0), "1")
		synctest.Wait()

		begin := time.Now()
		var waiting sync.WaitGroup
		for i := range 2 {
			waiting.Go(func() {
				_, err := p.Run(t.Context(), v, call(id(1+i), "1"), nil)
				if e := isKind(t, err, hansom.Throttled); e.Reason != "ConcurrentInvocationLimitExceeded" || time.Since(begin) != 10*time.Second {
					t.Errorf("%v, reason %q, after %s", e, e.Reason, time.Since(begin))
				}
			})
		}
		synctest.Wait()
		// The queue is full: the next call of this function is refused at once, that of another one waits.
		_, err := p.Run(t.Context(), v, call(id(3), "1"), nil)
		if isKind(t, err, hansom.Throttled); time.Since(begin) != 0 {
			t.Errorf("refused after %s", time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.Run(ctx, version("g"), call(id(4), "1"), nil)
		isKind(t, err, hansom.Timeout)
		waiting.Wait()

		// What cannot fit is told at once.
		large := version("large")
		large.Memory = 256
		_, err = p.Run(t.Context(), large, call(id(5), "1"), nil)
		if e := isKind(t, err, hansom.Unavailable); !strings.Contains(e.Message, "needs 256 MB") || !strings.Contains(e.Message, "128 MB") {
			t.Error(e)
		}
		close(release)
	})
}

// A slow boot is no shortage of memory: its call waits longer than 10 s.
func TestWaitForBootIsNotThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{boot: func(context.Context, *stubSandbox) error { time.Sleep(25 * time.Second); return nil }}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.InitTimeout, c.Memory = 30*time.Second, 128*mb })
		v := version("f")
		errs := make(chan error, 2)
		for i := range 2 {
			go func() {
				_, err := p.Run(t.Context(), v, call(id(i), "1"), nil)
				errs <- err
			}()
			synctest.Wait()
		}
		isKind(t, <-errs, hansom.Throttled) // the second, for which no boot is under way
		if err := <-errs; err != nil {
			t.Error(err)
		}
	})
}

func TestEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory = 3 * 128 * mb })
		for i, name := range []string{"a", "b", "c"} {
			mustRun(t, p, version(name), id(i), "1")
			time.Sleep(time.Second)
		}
		mustRun(t, p, version("a"), id(3), "1")
		time.Sleep(time.Second)
		mustRun(t, p, version("d"), id(4), "1") // b is the one idle longest
		idle := map[string]int{}
		for g := range p.groups.All() {
			g.mu.Lock()
			idle[g.key.function] = len(g.idle)
			g.mu.Unlock()
		}
		if idle["a"] != 1 || idle["b"] != 0 || idle["c"] != 1 || idle["d"] != 1 || p.Stats().Evictions != 1 {
			t.Errorf("idle: %v, %+v", idle, p.Stats())
		}
		// One that needs two of them takes two.
		large := version("large")
		large.Memory = 256
		mustRun(t, p, large, id(5), "1")
		if s := p.Stats(); s.Evictions != 3 || s.Idle != 2 || s.Reserved != 3*128*mb {
			t.Errorf("%+v", s)
		}
	})
}

// An eviction that would not suffice is not made: it would cost others their instances for nothing.
func TestNoUselessEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: func(_ *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
			if string(req.Payload) == "slow" {
				time.Sleep(2 * time.Second)
			}
			return sandbox.Response{}, nil
		}}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory = 256 * mb })
		mustRun(t, p, version("idle"), id(0), "1")
		busy := make(chan hansom.Result, 1)
		go func() { busy <- mustRun(t, p, version("busy"), id(1), "slow") }()
		synctest.Wait()
		large := version("large")
		large.Memory = 256
		served := make(chan hansom.Result, 1)
		go func() { served <- mustRun(t, p, large, id(2), "1") }()
		time.Sleep(time.Second)
		if s := p.Stats(); s.Evictions != 0 || s.Idle != 1 || s.Waiting != 1 {
			t.Errorf("while it does not suffice: %+v", s)
		}
		<-busy // its instance becomes idle: now it does
		<-served
		if s := p.Stats(); s.Evictions != 2 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// The memory of a boot that fails goes to whoever waits for it.
func TestFailedBootFreesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{boot: func(_ context.Context, s *stubSandbox) error {
			time.Sleep(time.Second)
			if s.number == 1 {
				return &sandbox.InitError{Payload: []byte(`{"errorType":"E","errorMessage":"m"}`)}
			}
			return nil
		}}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory = 128 * mb })
		begin := time.Now()
		var calls sync.WaitGroup
		calls.Go(func() { errorOf(t, mustRun(t, p, version("f"), id(1), "1")) })
		synctest.Wait()
		mustRun(t, p, version("g"), id(2), "1")
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("served after %s", took)
		}
		calls.Wait()
	})
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: func(*stubSandbox, *sandbox.Request) (sandbox.Response, error) {
			time.Sleep(time.Second)
			return sandbox.Response{}, nil
		}}
		r := newRecorder()
		p := newPool(t, d, r, func(c *Config, _ *Deps) { c.Memory = 128 * mb })
		v := version("f")
		ctx, cancel := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { _, err := p.Run(ctx, v, call(id(0), "1"), nil); running <- err }()
		synctest.Wait()
		waiting := make(chan error, 1)
		go func() { _, err := p.Run(ctx, v, call(id(1), "1"), nil); waiting <- err }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		isKind(t, <-waiting, hansom.Canceled)
		if s := p.Stats(); s.Waiting != 0 || s.Busy != 1 {
			t.Errorf("after the callers went away: %+v", s)
		}
		if err := <-running; err != nil {
			t.Errorf("the call that ran: %v", err)
		}
		if c := r.recorded(); len(c) != 1 || c[0].ID != id(0) || c[0].Duration != time.Second {
			t.Errorf("accounted: %+v", c)
		}
		mustRun(t, p, v, id(2), "1")
		if d.starts() != 1 {
			t.Error("the instance was not used again")
		}
	})
}

func TestUpdateWhileCallsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, current := version("f"), version("f")
		current.Revision = "r2"
		d := &stub{invoke: func(s *stubSandbox, _ *sandbox.Request) (sandbox.Response, error) {
			time.Sleep(time.Second)
			return sandbox.Response{Payload: []byte(s.Spec.Env[0])}, nil
		}}
		r := newRecorder()
		p := newPool(t, d, r, nil)
		var calls sync.WaitGroup
		for i := range 60 {
			calls.Go(func() { mustRun(t, p, old, id(i), "1") })
		}
		time.Sleep(1500 * time.Millisecond) // 60 idle
		for i := range 50 {
			calls.Go(func() { mustRun(t, p, old, id(100+i), "1") })
		}
		synctest.Wait()
		if all, busy := p.Instances(old.Project, "f"); all != 60 || busy != 50 {
			t.Errorf("%d instances, %d busy", all, busy)
		}
		if s := p.Stats(); s.Busy != 50 || s.Idle != 10 {
			t.Fatalf("before the update: %+v", s)
		}
		p.Retire(old.Project, old.Function, old.Revision)
		synctest.Wait()
		if s := p.Stats(); s.Busy != 50 || s.Idle != 0 || len(d.alive()) != 50 {
			t.Errorf("after the update: %+v", s)
		}
		calls.Go(func() { mustRun(t, p, old, id(200), "1") }) // resolved before the update, late
		calls.Go(func() { mustRun(t, p, current, id(201), "1") })
		calls.Wait()
		synctest.Wait()
		if s := p.Stats(); s.Busy != 0 || s.Idle != 1 || len(d.alive()) != 1 {
			t.Errorf("at the end: %+v, %d alive", s, len(d.alive()))
		}
		if n := len(r.recorded()); n != 112 {
			t.Errorf("%d of 112 calls accounted", n)
		}
		// A revision that never ran, retired before its first call: that one runs, and leaves nothing.
		never := version("g")
		p.Retire(never.Project, never.Function, never.Revision)
		mustRun(t, p, never, id(300), "1")
		synctest.Wait()
		if s := p.Stats(); s.Idle != 1 {
			t.Errorf("a retired revision keeps an instance: %+v", s)
		}
		time.Sleep(20 * time.Minute)
		for g := range p.groups.All() {
			t.Errorf("group of %v is left", g.key)
		}
	})
}

func TestFreezeAndThaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		for i := range 20 { // back to back, over more than the time to freeze
			mustRun(t, p, v, id(i), "1")
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		s := d.alive()[0]
		if s.freezes.Load() != 0 {
			t.Errorf("frozen %d times between calls", s.freezes.Load())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !s.frozen.Load() || p.Stats().Frozen != 1 {
			t.Errorf("not frozen after a second: %+v", p.Stats())
		}
		mustRun(t, p, v, id(100), "1") // the stub panics when it is still frozen
		if s.frozen.Load() || s.freezes.Load() != 1 || s.thaws.Load() != 1 {
			t.Errorf("frozen %v, %d freezes, %d thaws", s.frozen.Load(), s.freezes.Load(), s.thaws.Load())
		}
	})
}

func TestCredentialsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p, v := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Idle = 24 * time.Hour }), version("f")
		begin := time.Now()
		for n := 0; time.Since(begin) < 5*time.Hour; n++ {
			mustRun(t, p, v, id(n), "1")
			for _, s := range d.alive() {
				if age := time.Since(begin); s.number == 1 && age > 2*time.Hour-v.Timeout-time.Minute {
					t.Fatalf("the first instance still serves after %s", age)
				}
			}
			time.Sleep(30 * time.Second)
		}
		if n := d.starts(); n < 3 || n > 4 {
			t.Errorf("%d instances in five hours with credentials of two", n)
		}
		time.Sleep(3 * time.Hour)
		if s := p.Stats(); s.Idle != 0 {
			t.Errorf("an idle instance outlived its credentials: %+v", s)
		}
	})
}

// Between two sweeps, too, no call runs on an instance whose credentials may expire under it.
func TestExpiredBetweenSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := &stub{}, newRecorder()
		v := version("f")
		r.ttl = v.Timeout + time.Minute + 12*time.Minute + 100*time.Millisecond // the jitter takes up to 12 minutes of it
		p := newPool(t, d, r, func(c *Config, _ *Deps) { c.Idle = 24 * time.Hour })
		for n := range 50 {
			mustRun(t, p, v, id(n), "1")
			s := d.alive()[0]
			var retireAt time.Time
			for g := range p.groups.All() {
				g.mu.Lock()
				for inst := range g.instances {
					retireAt = inst.retireAt
				}
				g.mu.Unlock()
			}
			time.Sleep(time.Until(retireAt) - time.Millisecond)
			if mustRun(t, p, v, id(n), "1"); s.calls != 2 {
				t.Fatalf("not used again before the credentials expire: %d calls", s.calls)
			}
			time.Sleep(time.Millisecond)
			if mustRun(t, p, v, id(n), "1"); s.calls != 2 {
				t.Fatal("used too late")
			}
			p.Retire(v.Project, v.Function, v.Revision)
			v.Revision = fmt.Sprint(n)
			synctest.Wait()
		}
	})
}

// A call that is given an instance in the moment in which its caller goes away gives it back.
func TestDisconnectInTheMomentOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: func(*stubSandbox, *sandbox.Request) (sandbox.Response, error) {
			time.Sleep(time.Second)
			return sandbox.Response{}, nil
		}}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory = 128 * mb })
		gone := 0
		for n := range 100 {
			var calls sync.WaitGroup
			calls.Go(func() { mustRun(t, p, version("f"), id(n), "1") })
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			calls.Go(func() {
				if _, err := p.Run(ctx, version("f"), call(id(n), "1"), nil); err != nil {
					gone++
				}
			})
			calls.Wait()
			cancel()
			if s := p.Stats(); s.Busy != 0 || s.Idle != 1 || s.Waiting != 0 {
				t.Fatalf("round %d: %+v", n, s)
			}
		}
		if gone == 0 || d.starts() != 1 {
			t.Errorf("%d callers went away, %d instances", gone, d.starts())
		}
	})
}

func TestABusyInstanceIsNotFrozen(t *testing.T) {
	d := &stub{}
	p, v := newPool(t, d, newRecorder(), nil), version("f")
	mustRun(t, p, v, id(1), "1")
	inst, _, _, err := p.acquire(t.Context(), v, &hansom.Invocation{})
	if err != nil {
		t.Fatal(err)
	}
	inst.freeze(p.logger)
	if d.alive()[0].frozen.Load() {
		t.Error("frozen while it is busy")
	}
	p.release(inst, time.Now())
	inst.freeze(p.logger)
	if !d.alive()[0].frozen.Load() {
		t.Error("not frozen while it is idle")
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: func(*stubSandbox, *sandbox.Request) (sandbox.Response, error) {
			time.Sleep(2 * time.Second)
			return sandbox.Response{}, nil
		}}
		p := newPool(t, d, newRecorder(), func(c *Config, _ *Deps) { c.Memory = 128 * mb })
		v := version("f")
		var calls sync.WaitGroup
		for i := range 2 { // one runs, one waits
			calls.Go(func() { mustRun(t, p, v, id(i), "1") })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		isKind(t, p.Drain(ctx), hansom.Timeout)
		_, err := p.Run(t.Context(), v, call(id(9), "1"), nil)
		isKind(t, err, hansom.Unavailable)
		begin := time.Now()
		if err := p.Drain(t.Context()); err != nil || time.Since(begin) != 3*time.Second {
			t.Errorf("drained after %s: %v", time.Since(begin), err)
		}
		calls.Wait()
	})
}

func TestCloseEndsBusyInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{invoke: func(s *stubSandbox, _ *sandbox.Request) (sandbox.Response, error) {
			<-s.done
			return sandbox.Response{}, sandbox.ErrClosed
		}, boot: func(ctx context.Context, s *stubSandbox) error {
			if s.number == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		r := newRecorder()
		p := newPool(t, d, r, func(c *Config, _ *Deps) { c.Memory = 256 * mb })
		errs := make(chan error, 3)
		for i := range 3 { // busy, booting, waiting for memory
			go func() { _, err := p.Run(context.Background(), version("f"), call(id(i), "1"), nil); errs <- err }()
			synctest.Wait()
		}
		if s := p.Stats(); s.Busy != 1 || s.Booting != 1 || s.Waiting != 2 {
			t.Fatalf("%+v", s)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for range 3 {
			isKind(t, <-errs, hansom.Unavailable)
		}
		if len(d.alive()) != 0 || len(r.recorded()) != 1 {
			t.Errorf("%d alive, %d accounted", len(d.alive()), len(r.recorded()))
		}
	})
}

// The runtime of an idle instance that ended is replaced without a failed call, also when that is noticed only on delivery.
func TestUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := 0
		d := &stub{invoke: func(s *stubSandbox, _ *sandbox.Request) (sandbox.Response, error) {
			if s.number <= broken {
				s.stop(sandbox.Exit{Code: 1})
				return sandbox.Response{}, sandbox.ErrUndelivered
			}
			return sandbox.Response{}, nil
		}}
		p, v := newPool(t, d, newRecorder(), nil), version("f")
		mustRun(t, p, v, id(0), "1")
		d.alive()[0].stop(sandbox.Exit{Code: 1})
		synctest.Wait()
		if s := p.Stats(); s.Idle != 0 || s.Reserved != 0 {
			t.Errorf("a dead instance is idle: %+v", s)
		}
		broken = 3
		if res := mustRun(t, p, v, id(1), "1"); res.FunctionError != "" || d.starts() != 4 {
			t.Errorf("%s, %d started", res.Payload, d.starts())
		}
		// A function whose runtime never takes an event does not boot for ever.
		broken = 1000
		d.alive()[0].stop(sandbox.Exit{})
		synctest.Wait()
		res := mustRun(t, p, v, id(2), "1")
		if typ, _ := errorOf(t, res); typ != "Runtime.ExitError" || d.starts() != 4+maxAttempts {
			t.Errorf("%s, %d started", res.Payload, d.starts())
		}
	})
}

// The runtime ends as soon as it has loaded the function: the call that waits for it is told, and does not wait for ever.
func TestEndsAfterInit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{
			boot: func(_ context.Context, s *stubSandbox) error { s.stop(sandbox.Exit{Code: 7}); return nil },
			invoke: func(*stubSandbox, *sandbox.Request) (sandbox.Response, error) {
				return sandbox.Response{}, sandbox.ErrUndelivered
			},
		}
		p := newPool(t, d, newRecorder(), nil)
		begin := time.Now()
		res := mustRun(t, p, version("f"), id(1), "1")
		if _, message := errorOf(t, res); !strings.HasSuffix(message, "exit status 7") || d.starts() != maxAttempts || time.Since(begin) != 0 {
			t.Errorf("%s after %d boots and %s", res.Payload, d.starts(), time.Since(begin))
		}
	})
}

func TestHostErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{}
		p := newPool(t, d, newRecorder(), func(c *Config, deps *Deps) {
			deps.Code = codeFunc(func() (string, error) {
				return "", hansom.Errorf(hansom.NotFound, "open code", "the package of the function is gone")
			})
		})
		for i := range 3 {
			_, err := p.Run(t.Context(), version("f"), call(id(i), "1"), nil)
			isKind(t, err, hansom.NotFound)
		}
		if s := p.Stats(); s.Reserved != 0 || s.Booting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

type codeFunc func() (string, error)

func (f codeFunc) Code(context.Context, *hansom.Version) (string, string, func(), error) {
	code, err := f()
	return code, "", func() {}, err
}

func TestConfig(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Memory = -1 }, func(c *Config) { c.Idle = 0 }, func(c *Config) { c.Freeze = -1 }, func(c *Config) { c.Wait = 0 },
		func(c *Config) { c.Queue = 0 }, func(c *Config) { c.InitTimeout = 0 }, func(c *Config) { c.Credentials = time.Minute },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		_, err := New(cfg, Deps{}, nil)
		isKind(t, err, hansom.Invalid)
	}
}
