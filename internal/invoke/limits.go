package invoke

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
)

// limits counts the invocations that run. A call of a function with reserved concurrency locks the shard of that function; all
// others count in one atomic of their project.
type limits struct {
	seed   maphash.Seed
	shards [64]struct {
		sync.Mutex
		running map[function]int
	}

	adding   sync.Mutex
	projects atomic.Pointer[map[string]*atomic.Int64] // replaced as a whole; a project is never removed: it is one number
}

type function struct{ project, name string }

func newLimits() *limits {
	l := &limits{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].running = map[function]int{}
	}
	l.projects.Store(&map[string]*atomic.Int64{})
	return l
}

// enter counts one more invocation of f; false when limit are running.
func (l *limits) enter(f function, limit int) bool {
	s := &l.shards[l.shard(f)]
	s.Lock()
	defer s.Unlock()
	if s.running[f] >= limit {
		return false
	}
	s.running[f]++
	return true
}

func (l *limits) leave(f function) {
	s := &l.shards[l.shard(f)]
	s.Lock()
	defer s.Unlock()
	if s.running[f]--; s.running[f] == 0 {
		delete(s.running, f)
	}
}

func (l *limits) shard(f function) uint64 {
	return (maphash.String(l.seed, f.project) ^ maphash.String(l.seed, f.name)) % uint64(len(l.shards))
}

// project is the count of the invocations of functions without reserved concurrency.
func (l *limits) project(id string) *atomic.Int64 {
	if n := (*l.projects.Load())[id]; n != nil {
		return n
	}
	l.adding.Lock()
	defer l.adding.Unlock()
	m := maps.Clone(*l.projects.Load())
	n := m[id]
	if n == nil {
		n = new(atomic.Int64)
		m[id] = n
		l.projects.Store(&m)
	}
	return n
}
