package backlog

import (
	"slices"
	"sync"
	"time"
)

// place says where in its queue an entry is.
type place uint8

const (
	ready   place = iota // it can be taken, if it is the first of its group
	flight               // it was taken and is hidden until due
	delayed              // it cannot be taken before due
	leaving              // it is being deleted
)

// entry is a message in the index.
type entry struct {
	seq, state uint64 // places of its record and of the record of its state; 0 for none
	id, dedup  string
	group      *group
	sent       int64 // Unix microseconds
	first      int64 // the same; 0 for never taken
	due        int64 // in the index's time
	takes      int
	note       string
	place      place
	slot       int // in the heap that has it

	cached bool
	meta   string // when it is cached
	body   []byte
}

func (e *entry) key() int64 {
	if e.place == ready {
		return int64(e.seq)
	}
	return e.due
}

func (e *entry) index() *int { return &e.slot }

// group is the entries of one group, in their order.
type group struct {
	name    string
	entries []*entry
	busy    int // of them are in flight or being deleted
	slot    int // in queue.groups; -1 while it has nothing that can be taken
}

func (g *group) key() int64  { return int64(g.entries[0].seq) }
func (g *group) index() *int { return &g.slot }

// dedup is a deduplication id that was seen.
type dedup struct {
	key     string
	expires int64         // in the index's time
	done    chan struct{} // closed once the rest is known
	id      string
	seq     uint64
	err     error
}

// queue is the index of one queue.
type queue struct {
	shard *shard
	token string // "<shard>.<name>" in subjects

	put sync.Mutex // held while entries are appended, so that those of one call lie together

	mu                         sync.Mutex
	entries                    map[uint64]*entry
	ready                      heap[*entry] // without a group
	byName                     map[string]*group
	groups                     heap[*group] // whose first entry can be taken
	waiting                    heap[*entry] // in flight and delayed, by due
	inFlight, delayed, leaving int
	dedups                     map[string]*dedup
	recent                     []*dedup // in the order of expires
	waiters                    []chan struct{}
}

func newQueue(sh *shard, token string) *queue {
	q := &queue{shard: sh, token: token, dedups: map[string]*dedup{}}
	q.reset()
	return q
}

// reset forgets all entries.
func (q *queue) reset() {
	q.entries, q.byName = map[uint64]*entry{}, map[string]*group{}
	q.ready, q.groups, q.waiting = nil, nil, nil
	q.inFlight, q.delayed, q.leaving = 0, 0, 0
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}

// The following are called with mu held.

// add takes a new entry in; place and due say where.
func (q *queue) add(e *entry, name string) {
	q.entries[e.seq] = e
	if name != "" {
		g := q.byName[name]
		if g == nil {
			g = &group{name: name, slot: -1}
			q.byName[name] = g
		}
		e.group = g
		at, _ := slices.BinarySearchFunc(g.entries, e.seq, func(e *entry, seq uint64) int { return int(int64(e.seq) - int64(seq)) })
		g.entries = slices.Insert(g.entries, at, e)
	}
	q.settle(e, e.place)
}

// leave takes an entry out of where it is.
func (q *queue) leave(e *entry) {
	switch e.place {
	case ready:
		if e.group == nil {
			q.ready.remove(e)
		}
	case flight:
		q.inFlight--
		q.waiting.remove(e)
	case delayed:
		q.delayed--
		q.waiting.remove(e)
	case leaving:
		q.leaving--
	}
	if e.group != nil && (e.place == flight || e.place == leaving) {
		e.group.busy--
	}
}

// settle puts an entry that is nowhere in its place.
func (q *queue) settle(e *entry, p place) {
	e.place = p
	switch p {
	case ready:
		if e.group == nil {
			q.ready.push(e)
		}
	case flight:
		q.inFlight++
		q.waiting.push(e)
	case delayed:
		q.delayed++
		q.waiting.push(e)
	case leaving:
		q.leaving++
	}
	if e.group != nil {
		if p == flight || p == leaving {
			e.group.busy++
		}
		q.show(e.group)
	}
}

func (q *queue) move(e *entry, p place) {
	q.leave(e)
	q.settle(e, p)
}

// show has a group offered if its first entry can be taken.
func (q *queue) show(g *group) {
	if g.slot >= 0 {
		q.groups.remove(g)
		g.slot = -1
	}
	if len(g.entries) > 0 && g.busy == 0 && g.entries[0].place == ready {
		q.groups.push(g)
	}
}

// remove forgets an entry.
func (q *queue) remove(e *entry) {
	if q.entries[e.seq] != e {
		return // the queue was purged
	}
	q.leave(e)
	delete(q.entries, e.seq)
	if g := e.group; g != nil {
		g.entries = slices.DeleteFunc(g.entries, func(x *entry) bool { return x == e })
		q.show(g)
		if len(g.entries) == 0 {
			delete(q.byName, g.name)
		}
	}
}

// advance shows what is hidden no longer.
func (q *queue) advance(now int64) {
	for len(q.waiting) > 0 && q.waiting[0].due <= now {
		q.move(q.waiting[0], ready)
	}
	for len(q.recent) > 0 && q.recent[0].expires <= now {
		if d := q.recent[0]; q.dedups[d.key] == d {
			delete(q.dedups, d.key)
		}
		q.recent = q.recent[1:]
	}
}

// next is the entry that is to be taken next, or nil.
func (q *queue) next() *entry {
	switch {
	case len(q.ready) == 0 && len(q.groups) == 0:
		return nil
	case len(q.groups) == 0 || len(q.ready) > 0 && q.ready[0].key() < q.groups[0].key():
		return q.ready[0]
	}
	return q.groups[0].entries[0]
}

// pick takes up to limit entries, hidden until due; of a group as many as can be.
func (q *queue) pick(limit int, due int64) (list []*entry) {
	for len(list) < limit {
		e := q.next()
		if e == nil {
			break
		}
		rest := []*entry{e}
		if e.group != nil {
			rest = e.group.entries
		}
		for n := 0; n < len(rest) && len(list) < limit && rest[n].place == ready; n++ {
			rest[n].due = due
			q.move(rest[n], flight)
			list = append(list, rest[n])
		}
	}
	return list
}

// wake tells n of those who wait that there is something to take.
func (q *queue) wake(n int) {
	n = min(n, len(q.waiters))
	for _, w := range q.waiters[:n] {
		close(w)
	}
	q.waiters = slices.Delete(q.waiters, 0, n)
}

// until is how long it takes until something that is hidden is shown; ok is false when nothing is.
func (q *queue) until(now int64) (d time.Duration, ok bool) {
	if len(q.waiting) == 0 {
		return 0, false
	}
	return time.Duration(q.waiting[0].due - now), true
}
