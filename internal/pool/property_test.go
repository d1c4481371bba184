package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// action is one step of a random schedule.
type action struct {
	At       int // ms after the one before
	Function int
	Kind     int // see below
	Takes    int // ms that the handler works
	Patience int // ms until the caller goes away; 0: it stays
}

// kinds of actions: most are calls.
const (
	callOK = iota
	callError
	callCrash
	callUndelivered
	callTimeout
	update
	provision // as many instances as Takes says, the last ones that are asked for stay
	kinds
)

// Whatever comes in what order: memory stays within its budget, each call is answered exactly once, boots stay within demand,
// nobody waits beside a free slot, no instance has more calls than slots, and nothing is left at the end.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) action {
			return action{
				At: rapid.IntRange(0, 300).Draw(t, "at"), Function: rapid.IntRange(0, 3).Draw(t, "function"), Kind: rapid.IntRange(0, kinds-1).Draw(t, "kind"),
				Takes: rapid.IntRange(0, 2000).Draw(t, "takes"), Patience: rapid.SampledFrom([]int{0, 0, 0, 1, 500, 5000}).Draw(t, "patience"),
			}
		}), 1, 80).Draw(rt, "actions")
		budget := int64(rapid.IntRange(1, 8).Draw(rt, "budget")) * 128 * mb
		boot := time.Duration(rapid.IntRange(0, 3000).Draw(rt, "boot")) * time.Millisecond
		failEvery := rapid.IntRange(2, 10).Draw(rt, "failEvery")
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = schedule(t, actions, budget, boot, failEvery) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

func schedule(t *testing.T, actions []action, budget int64, boot time.Duration, failEvery int) (problem string) {
	var mu sync.Mutex
	fail := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if problem == "" {
			problem = fmt.Sprintf(format, args...)
		}
	}
	var p *Pool
	var answered atomic.Int64
	d := &stub{
		boot: func(ctx context.Context, s *stubSandbox) error {
			select {
			case <-time.After(boot):
			case <-ctx.Done():
				return ctx.Err()
			}
			if s.number%failEvery == 0 {
				return &sandbox.InitError{Payload: []byte(`{"errorType":"E","errorMessage":"m"}`)}
			}
			return nil
		},
		invoke: func(s *stubSandbox, req *sandbox.Request) (sandbox.Response, error) {
			var kind, takes, slots int
			fmt.Sscan(string(req.Payload), &kind, &takes, &slots)
			s.driver.mu.Lock()
			if s.running > slots {
				fail("%d calls at once in an instance for %d", s.running, slots)
			}
			s.driver.mu.Unlock()
			select {
			case <-time.After(time.Duration(takes) * time.Millisecond):
			case <-s.done:
				return sandbox.Response{}, sandbox.ErrClosed
			}
			switch kind {
			case callError:
				return sandbox.Response{Error: true, Payload: []byte("{}")}, nil
			case callCrash:
				s.stop(sandbox.Exit{Code: 1})
				return sandbox.Response{}, sandbox.ErrClosed
			case callUndelivered:
				s.stop(sandbox.Exit{Code: 1})
				return sandbox.Response{}, sandbox.ErrUndelivered
			case callTimeout:
				return sandbox.Response{}, os.ErrDeadlineExceeded
			}
			return sandbox.Response{}, nil
		},
	}
	r := newRecorder()
	p = newPool(t, d, r, func(c *Config, _ *Deps) { c.Memory, c.Idle, c.Queue = budget, 5*time.Second, 10 })
	check := func() {
		s := p.Stats()
		if s.Reserved > s.Budget || s.Reserved < 0 {
			fail("%d bytes reserved of %d", s.Reserved, s.Budget)
		}
		for g := range p.groups.All() {
			g.mu.Lock()
			if g.waiters.n > 0 && len(g.idle)+len(g.ready)+len(g.open) > 0 {
				fail("%s: %d wait beside %d idle and %d open instances", g.key.function, g.waiters.n, len(g.idle)+len(g.ready), len(g.open))
			}
			for i, inst := range g.open {
				if inst.place != i || !inst.open || inst.draining || inst.calls < 1 || inst.calls >= g.slots {
					fail("%s: open is %+v at %d", g.key.function, inst, i)
				}
			}
			busy := 0
			for inst := range g.instances {
				if inst.calls > g.slots || inst.calls < 0 {
					fail("%s: %d calls in %d slots", g.key.function, inst.calls, g.slots)
				}
				if inst.calls > 0 {
					busy++
				}
			}
			if busy != g.busy {
				fail("%s: %d instances run calls, %d are counted", g.key.function, busy, g.busy)
			}
			if n := len(g.instances); len(g.idle)+len(g.ready)+g.busy > n {
				fail("%s: %d idle and %d busy of %d instances", g.key.function, len(g.idle)+len(g.ready), g.busy, n)
			}
			for _, inst := range g.idle {
				if inst.provisioned {
					fail("%s: a provisioned instance is among the others", g.key.function)
				}
			}
			g.mu.Unlock()
		}
	}
	revisions := [4]int{}
	demand := 0 // times that a call asks for an instance
	var calls sync.WaitGroup
	n := 0
	for i, a := range actions {
		time.Sleep(time.Duration(a.At) * time.Millisecond)
		synctest.Wait()
		check()
		v := version(fmt.Sprintf("f%d", a.Function))
		v.Memory = 128 << (a.Function % 2)
		v.Concurrency = []int{0, 1, 3, 7}[a.Function]
		v.Revision = fmt.Sprint(v.Function, revisions[a.Function])
		if a.Kind == update {
			p.Retire(v.Project, v.Function, v.Revision)
			revisions[a.Function]++
			continue
		}
		if a.Kind == provision {
			want := a.Takes % 4
			demand += want
			calls.Go(func() {
				p.Provision(v, want)
				for range want {
					if err := p.Boot(v); err != nil && hansom.KindOf(err) == hansom.Internal {
						fail("boot: %v", err)
					}
				}
			})
			continue
		}
		n++
		demand++
		if a.Kind == callUndelivered {
			demand += maxAttempts - 1
		}
		calls.Go(func() {
			ctx := context.Background()
			if a.Patience > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(a.Patience)*time.Millisecond)
				defer cancel()
			}
			res, err := p.Run(ctx, v, call(id(i), fmt.Sprint(a.Kind, a.Takes, v.Slots())), nil)
			answered.Add(1)
			var e *hansom.Error
			switch {
			case err == nil && res.Completion.ID != id(i):
				fail("call %d got the answer of %s", i, res.Completion.ID)
			case err == nil:
			case !errors.As(err, &e):
				fail("call %d: %v is no *hansom.Error", i, err)
			case e.Kind == hansom.Timeout && a.Patience > 0, e.Kind == hansom.Throttled:
			case e.Kind == hansom.Unavailable && int64(v.Memory)*mb > budget:
			default:
				fail("call %d: %v", i, err)
			}
		})
	}
	calls.Wait()
	if d.starts() > demand {
		fail("%d boots for %d calls", d.starts(), demand)
	}
	if int(answered.Load()) != n {
		fail("%d of %d calls answered", answered.Load(), n)
	}
	for i, revision := range revisions {
		v := version(fmt.Sprintf("f%d", i))
		v.Revision = fmt.Sprint(v.Function, revision)
		p.Provision(v, 0)
	}
	time.Sleep(time.Minute) // boots end, what is idle expires
	synctest.Wait()
	check()
	if s := p.Stats(); s.Reserved != 0 || s.Busy+s.Idle+s.Booting+s.Waiting != 0 || len(d.alive()) != 0 {
		fail("at the end: %+v, %d alive", s, len(d.alive()))
	}
	return problem
}
