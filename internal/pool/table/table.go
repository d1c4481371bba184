// Package table is a map whose readers take no lock and make no allocation.
package table

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
)

// Table maps K to V: readers see a map that never changes, writers replace it. The shards keep what a writer copies small. Make it
// with New.
type Table[K, V comparable] struct {
	seed   maphash.Seed
	of     func(K) string
	shards [64]shard[K, V]
}

type shard[K, V comparable] struct {
	mu sync.Mutex // of writers
	m  atomic.Pointer[map[K]V]
}

// New returns an empty table. of gives the part of a key that tells the keys apart best.
func New[K, V comparable](of func(K) string) *Table[K, V] {
	t := &Table[K, V]{seed: maphash.MakeSeed(), of: of}
	for i := range t.shards {
		t.shards[i].m.Store(&map[K]V{})
	}
	return t
}

func (t *Table[K, V]) shard(k K) *shard[K, V] {
	return &t.shards[maphash.String(t.seed, t.of(k))%uint64(len(t.shards))]
}

// Get returns the zero value when there is none.
func (t *Table[K, V]) Get(k K) V { return (*t.shard(k).m.Load())[k] }

// Add returns what is there for k, made by make when nothing is.
func (t *Table[K, V]) Add(k K, make func() V) V {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.m.Load()
	if v, ok := old[k]; ok {
		return v
	}
	m := maps.Clone(old)
	v := make()
	m[k] = v
	s.m.Store(&m)
	return v
}

// Sweep removes the values for which drop answers true.
func (t *Table[K, V]) Sweep(drop func(V) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		old := *s.m.Load()
		var m map[K]V
		for k, v := range old {
			if drop(v) {
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

// All ranges over the values of one moment of each shard.
func (t *Table[K, V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		for i := range t.shards {
			for _, v := range *t.shards[i].m.Load() {
				if !yield(v) {
					return
				}
			}
		}
	}
}
