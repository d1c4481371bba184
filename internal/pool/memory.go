package pool

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// memory is the budget that the limits of all instances share, and who waits for a part of it. Only cold paths lock it.
type memory struct {
	budget int64
	blanks Blanks // they have what is left; nil when there are none

	mu      sync.Mutex
	used    int64
	ending  int64    // the part of used that is about to be free
	hungry  []*group // in the order in which they began to wait
	waiting atomic.Int32
	running bool // a goroutine serves the hungry
	again   bool // and has to look once more
}

func (m *memory) reserve(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+n > m.budget {
		return false
	}
	m.take(n)
	return true
}

// take adds n bytes, which may be negative, to those used. m is locked.
func (m *memory) take(n int64) {
	m.used += n
	if m.blanks != nil {
		m.blanks.Fit(m.budget-m.used, m.budget)
	}
}

func (m *memory) release(n int64) {
	m.mu.Lock()
	m.take(-n)
	m.mu.Unlock()
}

// hold adds n bytes that will be released soon, over the budget if need be.
func (m *memory) hold(n int64) {
	m.mu.Lock()
	m.take(n)
	m.ending += n
	m.mu.Unlock()
}

// end says that n bytes will be released soon.
func (m *memory) end(n int64) {
	m.mu.Lock()
	m.ending += n
	m.mu.Unlock()
}

// ended releases what end announced.
func (m *memory) ended(n int64) {
	m.mu.Lock()
	m.take(-n)
	m.ending -= n
	m.mu.Unlock()
}

// want notes that g waits for memory.
func (m *memory) want(g *group) {
	m.mu.Lock()
	if !slices.Contains(m.hungry, g) {
		m.hungry = append(m.hungry, g)
		m.waiting.Store(int32(len(m.hungry)))
	}
	m.mu.Unlock()
}

// sated removes g from those that wait.
func (m *memory) sated(g *group) {
	m.mu.Lock()
	if i := slices.Index(m.hungry, g); i >= 0 {
		m.hungry = slices.Delete(m.hungry, i, i+1)
		m.waiting.Store(int32(len(m.hungry)))
	}
	m.mu.Unlock()
}

// begin says whether the caller has to serve the hungry: one goroutine does at a time.
func (m *memory) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again = true
	if m.running {
		return false
	}
	m.running = true
	return true
}

// next is the list to serve; false when nothing happened since the last one.
func (m *memory) next() ([]*group, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.again {
		m.running = false
		return nil, false
	}
	m.again = false
	return slices.Clone(m.hungry), true
}

// missing is what has to be evicted until n bytes are free, what is ending already counted as free.
func (m *memory) missing(n int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used - m.ending + n - m.budget
}

// reclaim serves the groups that wait for memory in the background. It is called whenever memory or an idle instance becomes
// free; while nobody waits it costs one atomic read.
func (p *Pool) reclaim() {
	if p.memory.waiting.Load() == 0 || !p.memory.begin() {
		return
	}
	serve := func() {
		for {
			hungry, ok := p.memory.next()
			if !ok {
				return
			}
			for _, g := range hungry {
				p.feed(g)
			}
		}
	}
	if !p.start(serve) {
		p.memory.mu.Lock()
		p.memory.running = false
		p.memory.mu.Unlock()
	}
}

// feed boots what g's waiting calls need; where memory is short it evicts as much as one instance takes, and is called again
// when that has ended.
func (p *Pool) feed(g *group) {
	g.mu.Lock()
	p.grow(g)
	short := g.waiters.n > g.served()
	if !short {
		p.memory.sated(g) // under g.mu, so that no call that just began to wait is forgotten
	}
	g.mu.Unlock()
	if short {
		p.evict(g)
	}
}

// evict ends the longest idle instances of other groups until g can have one. It ends none when that would not suffice.
func (p *Pool) evict(g *group) {
	missing := p.memory.missing(g.bytes)
	if missing <= 0 {
		return // enough is ending already
	}
	type victim struct {
		inst  *instance
		since time.Time
	}
	var victims []victim
	var sum int64
	for other := range p.groups.all() {
		if other == g {
			continue
		}
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
