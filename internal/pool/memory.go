package pool

import (
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// tooLarge is what g gets when not even one instance of it fits.
func (p *Pool) tooLarge(g *group) error {
	return hansom.Errorf(hansom.Unavailable, "run function",
		"the function needs %d MB of memory, but all instances of this server together may use %d MB: give the function less or the server more", g.bytes>>20, p.memory.Limit()>>20)
}

// reclaim serves the groups that wait for memory in the background. It is called whenever memory or an idle instance becomes
// free; while nobody waits it costs one atomic read.
func (p *Pool) reclaim() {
	if p.memory.Waiting() == 0 || !p.memory.Begin() {
		return
	}
	serve := func() {
		for {
			hungry, ok := p.memory.Next()
			if !ok {
				return
			}
			for _, g := range hungry {
				p.feed(g)
			}
		}
	}
	if !p.start(serve) {
		p.memory.Cancel()
	}
}

// feed boots what g's waiting calls need; where memory is short it evicts as much as one instance takes, and is called again
// when that has ended.
func (p *Pool) feed(g *group) {
	g.mu.Lock()
	p.grow(g)
	short := g.waiters.n > g.served()
	if !short {
		p.memory.Sated(g) // under g.mu, so that no call that just began to wait is forgotten
	}
	g.mu.Unlock()
	if short {
		p.evict(g)
	}
}

// evict ends the longest idle instances until g can have one, but for provisioned ones. It ends none when that would not suffice.
func (p *Pool) evict(g *group) {
	missing := p.memory.Missing(g.bytes)
	if missing <= 0 {
		return // enough is ending already
	}
	type victim struct {
		inst  *instance
		since time.Time
	}
	var victims []victim
	var sum int64
	for other := range p.groups.All() {
		other.mu.Lock()
		for _, inst := range other.idle {
			victims = append(victims, victim{inst, inst.idleSince})
			sum += other.bytes
		}
		other.mu.Unlock()
	}
	if sum < missing {
		return
	}
	slices.SortFunc(victims, func(a, b victim) int { return a.since.Compare(b.since) })
	for _, v := range victims {
		if missing <= 0 {
			return
		}
		if v.inst.group.take(v.inst) {
			missing -= v.inst.group.bytes
			p.evictions.Add(1)
			p.endLater(v.inst, sandbox.Spindown)
		}
	}
}
