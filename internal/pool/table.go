package pool

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
)

// key names a revision of a version.
type key struct{ project, function, revision string }

// table finds the group of a revision without a lock and without an allocation: readers see a map that never changes,
// writers replace it. The shards keep what a writer copies small.
type table struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu sync.Mutex // of writers
	m  atomic.Pointer[map[key]*group]
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].m.Store(&map[key]*group{})
	}
	return t
}

func (t *table) shard(k key) *shard {
	return &t.shards[maphash.String(t.seed, k.revision)%uint64(len(t.shards))]
}

// get returns nil when there is none.
func (t *table) get(k key) *group { return (*t.shard(k).m.Load())[k] }

// add returns the group of k, made by make when there is none.
func (t *table) add(k key, make func() *group) *group {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.m.Load()
	if g := old[k]; g != nil {
		return g
	}
	m := maps.Clone(old)
	g := make()
	m[k] = g
	s.m.Store(&m)
	return g
}

// sweep removes the groups for which drop answers true.
func (t *table) sweep(drop func(*group) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		old := *s.m.Load()
		var m map[key]*group
		for k, g := range old {
			if drop(g) {
				if m == nil {
					m = maps.Clone(old)
				}
				delete(m, k)
			}
		}
		if m != nil {
			s.m.Store(&m)
		}
		s.mu.Unlock()
	}
}

// all ranges over the groups of one moment of each shard.
func (t *table) all() iter.Seq[*group] {
	return func(yield func(*group) bool) {
		for i := range t.shards {
			for _, g := range *t.shards[i].m.Load() {
				if !yield(g) {
					return
				}
			}
		}
	}
}
