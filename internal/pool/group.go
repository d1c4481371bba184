package pool

import (
	"context"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// group holds the instances of one revision and the calls that wait for one. Invariants, under mu:
// an instance is in idle, or counted in busy, or ending; waiting calls and idle instances never exist together;
// a boot starts only while fewer boots are in flight than calls wait.
type group struct {
	key     key
	version *hansom.Version // set by the first call, as the next
	bytes   int64           // memory limit of an instance

	mu        sync.Mutex
	idle      []*instance // a stack: the last is the one used last
	instances map[*instance]struct{}
	busy      int
	booting   int
	waiters   queue
	retired   time.Time // zero while the revision is current
	gone      bool      // no longer in the table: look it up again
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
		g := p.groups.get(k)
		if g == nil {
			g = p.groups.add(k, func() *group { return &group{key: k, instances: map[*instance]struct{}{}} })
		}
		g.mu.Lock()
		if !g.gone {
			return g
		}
		g.mu.Unlock()
	}
}

// acquire gives the call an instance of v: the idle one used last, else the first that is set free or booted. A failure is
// that of a boot which this call has to answer for. Errors are *hansom.Error.
func (p *Pool) acquire(ctx context.Context, v *hansom.Version) (*instance, *failure, error) {
	for {
		g := p.group(key{v.Project, v.Function, v.Revision})
		if p.draining.Load() {
			g.mu.Unlock()
			return nil, nil, errDraining()
		}
		if g.version == nil {
			g.version, g.bytes = v, int64(v.Memory)<<20
		}
		n := len(g.idle)
		if n == 0 {
			w, err := p.enqueue(g)
			g.mu.Unlock()
			if err != nil {
				return nil, nil, err
			}
			inst, failure, err := p.await(ctx, g, w)
			if inst != nil {
				inst.start = time.Now()
			}
			return inst, failure, err
		}
		inst := g.idle[n-1]
		g.idle[n-1] = nil
		g.idle = g.idle[:n-1]
		g.busy++
		inst.busy.Store(true)
		g.mu.Unlock()
		inst.start = time.Now()
		if inst.usable(inst.start) && inst.thaw(p.logger) {
			return inst, nil, nil
		}
		p.discard(inst)
	}
}

// enqueue makes a call wait and starts the boot it needs, if there is memory. g is locked.
func (p *Pool) enqueue(g *group) (*waiter, error) {
	if g.bytes > p.memory.budget {
		return nil, hansom.Errorf(hansom.Unavailable, "run function",
			"the function needs %d MB of memory, but all instances of this server together may use %d MB: give the function less or the server more", g.bytes>>20, p.memory.budget>>20)
	}
	w := &waiter{ready: make(chan struct{})}
	g.waiters.push(w)
	p.grow(g)
	if g.waiters.n-g.booting > p.cfg.Queue {
		g.waiters.remove(w)
		return nil, p.throttled("all memory for instances is in use, and too many calls of the function wait for it already")
	}
	if g.waiters.n > g.booting {
		p.memory.want(g)
		p.reclaim()
	}
	return w, nil
}

// grow starts the boots that the waiting calls need, as far as memory goes. g is locked.
func (p *Pool) grow(g *group) {
	for g.booting < g.waiters.n && p.memory.reserve(g.bytes) {
		g.booting++
		if !p.start(func() { p.boot(g) }) {
			g.booting--
			p.memory.release(g.bytes)
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
			starved := w.queued && g.waiters.before(w) >= g.booting
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

// hand gives inst, which is counted as busy, to the first waiting call. It answers false when none waits. g is locked.
func (g *group) hand(inst *instance) bool {
	w := g.waiters.pop()
	if w == nil {
		return false
	}
	w.inst = inst
	close(w.ready)
	return true
}

// release takes back a busy instance whose call went well.
func (p *Pool) release(inst *instance, now time.Time) {
	inst.group.mu.Lock()
	p.settle(inst, now)
}

// settle gives a busy instance to the first waiting call, else makes it idle, else ends it. Its group is locked; settle unlocks.
func (p *Pool) settle(inst *instance, now time.Time) {
	g := inst.group
	usable := inst.usable(now) // under mu, so that watch finds those that end later among the idle ones
	switch {
	case usable && g.hand(inst):
		g.mu.Unlock()
	case !usable || !g.retired.IsZero() || p.closed.Load():
		g.mu.Unlock()
		p.discard(inst)
	default:
		g.busy--
		inst.idleSince = now
		inst.busy.Store(false)
		g.idle = append(g.idle, inst)
		g.mu.Unlock()
		p.reclaim()
		p.progress()
	}
}

// discard ends a busy instance. Calls that wait get another one.
func (p *Pool) discard(inst *instance) {
	g := inst.group
	g.mu.Lock()
	g.busy--
	g.mu.Unlock()
	p.endLater(inst)
	p.progress()
}

// take removes inst from the idle ones; false when it is not there.
func (g *group) take(inst *instance) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, x := range g.idle {
		if x == inst {
			copy(g.idle[i:], g.idle[i+1:])
			g.idle[len(g.idle)-1] = nil
			g.idle = g.idle[:len(g.idle)-1]
			inst.busy.Store(true)
			return true
		}
	}
	return false
}
