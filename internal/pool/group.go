package pool

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/pool/pace"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// key names a revision of a version.
type key struct{ project, function, revision string }

// group holds the instances of one revision and the calls that wait for one. Invariants, under mu:
// an instance is in idle, or counted in busy, or ending; a busy one that can take another call is in open; waiting calls never
// exist together with idle or open instances; a boot starts only while the boots in flight will not serve all calls that wait.
type group struct {
	key     key
	version *hansom.Version // set by the first call, as the next
	bytes   int64           // memory limit of an instance
	slots   int             // calls that an instance takes at once
	printed pace.Budget

	mu        sync.Mutex
	idle      []*instance // a stack: the last is the one used last
	ready     []*instance // the same of provisioned instances
	open      []*instance // in no order; empty when an instance takes one call
	instances map[*instance]struct{}
	busy      int // instances that run calls
	booting   int
	preparing int // provisioned instances that boot
	waiters   queue
	retired   time.Time // zero while the revision is current
	gone      bool      // no longer in the table: look it up again

	provisioned atomic.Int32 // instances that Provision asks for; written under mu
}

// waiter is a call that waits for an instance. What it waits for is set before ready is closed.
type waiter struct {
	prev, next *waiter
	queued     bool

	ready   chan struct{}
	inst    *instance
	failure *failure // the boot failed inside the function
	err     error    // the boot failed on the host
}

// queue is first in, first out.
type queue struct {
	head, tail *waiter
	n          int
}

func (q *queue) push(w *waiter) {
	w.prev, w.next, w.queued = q.tail, nil, true
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
	q.n++
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.n--
}

func (q *queue) pop() *waiter {
	w := q.head
	if w != nil {
		q.remove(w)
	}
	return w
}

// before counts the calls ahead of w.
func (q *queue) before(w *waiter) int {
	n := 0
	for p := w.prev; p != nil; p = p.prev {
		n++
	}
	return n
}

// group returns the locked group of a revision.
func (p *Pool) group(k key) *group {
	for {
		g := p.groups.Get(k)
		if g == nil {
			g = p.groups.Add(k, func() *group { return &group{key: k, instances: map[*instance]struct{}{}} })
		}
		g.mu.Lock()
		if !g.gone {
			return g
		}
		g.mu.Unlock()
	}
}

// serve sets the version of a new group. g is locked.
func (g *group) serve(v *hansom.Version) {
	if g.version == nil {
		g.version, g.bytes, g.slots = v, int64(v.Memory)<<20, v.Slots()
	}
}

// stack is where an instance is while it is idle. g is locked.
func (g *group) stack(inst *instance) *[]*instance {
	if inst.provisioned {
		return &g.ready
	}
	return &g.idle
}

// acquire gives the call a slot of an instance of v: a free one, else the first that is set free or booted. start is when it
// got it. A failure is that of a boot which this call has to answer for. Errors are *hansom.Error.
func (p *Pool) acquire(ctx context.Context, v *hansom.Version, inv *hansom.Invocation) (inst *instance, start time.Time, f *failure, err error) {
	for {
		g := p.group(key{v.Project, v.Function, v.Revision})
		if p.draining.Load() {
			g.mu.Unlock()
			return nil, start, nil, errDraining()
		}
		g.serve(v)
		if inst = g.free(); inst == nil {
			w, err := p.enqueue(g)
			g.mu.Unlock()
			if err != nil {
				return nil, start, nil, err
			}
			inv.Detach()
			if inv.Limit > 0 {
				limited, cancel := context.WithTimeout(ctx, inv.Limit)
				defer cancel()
				ctx = limited
			}
			inst, f, err = p.await(ctx, g, w)
			return inst, time.Now(), f, err
		}
		g.mu.Unlock()
		start = time.Now()
		if inst.usable(start) && inst.thaw(p.logger) {
			return inst, start, nil, nil
		}
		p.discard(inst, sandbox.Spindown)
	}
}

// free takes a slot of the fullest instance that has one, so that others can expire, else of the idle one used last, of those that
// are provisioned first; nil when there is none. g is locked.
func (g *group) free() *instance {
	var inst *instance
	for _, o := range g.open {
		if inst == nil || o.calls > inst.calls {
			inst = o
		}
	}
	stack := &g.ready
	if len(g.ready) == 0 {
		stack = &g.idle
	}
	if n := len(*stack); inst == nil && n > 0 {
		inst = (*stack)[n-1]
		(*stack)[n-1] = nil
		*stack = (*stack)[:n-1]
		g.busy++
		inst.busy.Store(true)
	}
	if inst != nil {
		g.count(inst, 1)
	}
	return inst
}

// count adds n to the calls of a busy instance. g is locked.
func (g *group) count(inst *instance, n int) {
	inst.calls += n
	open := inst.calls > 0 && inst.calls < g.slots && !inst.draining
	switch last := len(g.open) - 1; {
	case open == inst.open:
		return
	case open:
		inst.place = len(g.open)
		g.open = append(g.open, inst)
	default:
		g.open[inst.place] = g.open[last]
		g.open[inst.place].place = inst.place
		g.open[last] = nil
		g.open = g.open[:last]
	}
	inst.open = open
}

// drain keeps further calls from inst, and says whether the caller's is the last one.
func (g *group) drain(inst *instance) (last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	inst.draining = true
	g.count(inst, 0)
	return inst.calls == 1
}

// served is how many of the calls that wait the boots in flight will serve. g is locked.
func (g *group) served() int { return g.booting * g.slots }

// enqueue makes a call wait and starts the boot it needs, if there is memory. g is locked.
func (p *Pool) enqueue(g *group) (*waiter, error) {
	if g.bytes > p.memory.Limit() {
		return nil, p.tooLarge(g)
	}
	w := &waiter{ready: make(chan struct{})}
	g.waiters.push(w)
	p.grow(g)
	if g.waiters.n-g.served() > p.cfg.Queue {
		g.waiters.remove(w)
		return nil, p.throttled("all memory for instances is in use, and too many calls of the function wait for it already")
	}
	if g.waiters.n > g.served() {
		p.memory.Want(g)
		p.reclaim()
	}
	return w, nil
}

// grow starts the boots that the waiting calls need, as far as memory goes. g is locked.
func (p *Pool) grow(g *group) {
	for g.served() < g.waiters.n && p.memory.Reserve(g.bytes) {
		g.booting++
		if !p.start(func() { p.boot(g) }) {
			g.booting--
			p.memory.Release(g.bytes)
			return
		}
	}
}

// await waits for what enqueue asked for.
func (p *Pool) await(ctx context.Context, g *group, w *waiter) (*instance, *failure, error) {
	timer := time.NewTimer(p.cfg.Wait)
	defer timer.Stop()
	for {
		select {
		case <-w.ready:
			return w.inst, w.failure, w.err
		case <-ctx.Done():
			g.mu.Lock()
			if w.queued {
				g.waiters.remove(w)
				g.mu.Unlock()
				p.progress()
			} else {
				g.mu.Unlock()
				if w.inst != nil {
					p.release(w.inst, time.Now())
				}
			}
			return nil, nil, hansom.Errorf(hansom.KindOf(ctx.Err()), "run function", "the caller went away before the function ran: %w", ctx.Err())
		case <-timer.C:
			// A call that a boot in flight will reach goes on waiting for it: boots have a time limit of their own.
			g.mu.Lock()
			starved := w.queued && g.waiters.before(w) >= g.served()
			if starved {
				g.waiters.remove(w)
			}
			g.mu.Unlock()
			if starved {
				p.progress()
				return nil, nil, p.throttled("all memory for instances is in use; none became free in " + p.cfg.Wait.String())
			}
		}
	}
}

// hand gives a slot of inst, which is counted, to the first waiting call. It answers false when none waits. g is locked.
func (g *group) hand(inst *instance) bool {
	w := g.waiters.pop()
	if w == nil {
		return false
	}
	w.inst = inst
	close(w.ready)
	return true
}

// release takes back the slot of a call that went well.
func (p *Pool) release(inst *instance, now time.Time) {
	inst.group.mu.Lock()
	p.settle(inst, now)
}

// settle gives a slot of a busy instance to the first waiting call, else frees it. An instance without calls becomes idle or
// ends. Its group is locked; settle unlocks.
func (p *Pool) settle(inst *instance, now time.Time) {
	g := inst.group
	if !inst.usable(now) { // under mu, so that watch finds those that end later among the idle ones
		inst.draining = true
	}
	if !inst.draining && g.hand(inst) {
		g.mu.Unlock()
		return
	}
	g.count(inst, -1)
	if inst.calls > 0 {
		g.mu.Unlock()
		return
	}
	g.busy--
	if inst.draining || !g.retired.IsZero() || p.closed.Load() {
		g.mu.Unlock()
		p.endLater(inst, cmp.Or(inst.ending, sandbox.Spindown))
		p.progress()
		return
	}
	inst.idleSince = now
	inst.busy.Store(false)
	stack := g.stack(inst)
	*stack = append(*stack, inst)
	g.mu.Unlock()
	p.reclaim()
	p.progress()
}

// discard takes back the slot of a call whose instance must not have another; it ends with its last call. Calls that wait get
// another one. reason is why, for extensions.
func (p *Pool) discard(inst *instance, reason sandbox.ShutdownReason) {
	inst.group.mu.Lock()
	inst.draining, inst.ending = true, reason
	p.settle(inst, time.Time{})
}

// take removes inst from the idle ones; false when it is not there.
func (g *group) take(inst *instance) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	stack := g.stack(inst)
	i := slices.Index(*stack, inst)
	if i < 0 {
		return false
	}
	*stack = slices.Delete(*stack, i, i+1)
	inst.busy.Store(true)
	return true
}
