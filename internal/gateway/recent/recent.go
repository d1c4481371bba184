// Package recent is a bounded map that keeps what was asked for lately.
package recent

import (
	"hash/maphash"
	"maps"
	"sync"
)

const shards = 16

// Map keeps values by key. It has two generations: a look-up moves what it finds in the old one to the young one, and when that is full it
// becomes the old one and what was there is forgotten. Methods may be called from several goroutines.
type Map[K comparable, V any] struct {
	seed   maphash.Seed
	half   int // entries of one generation of a shard
	shards [shards]shard[K, V]
}

type shard[K comparable, V any] struct {
	sync.Mutex
	young, old map[K]V
}

// New returns a map of about size entries at most, and of half of it at least.
func New[K comparable, V any](size int) *Map[K, V] {
	m := &Map[K, V]{seed: maphash.MakeSeed(), half: max(size/2/shards, 1)}
	for i := range m.shards {
		m.shards[i].young = map[K]V{}
	}
	return m
}

func (m *Map[K, V]) shard(key K) *shard[K, V] {
	return &m.shards[maphash.Comparable(m.seed, key)%shards]
}

// Get returns the value of a key.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()
	if value, ok = s.young[key]; ok {
		return value, true
	}
	if value, ok = s.old[key]; ok {
		s.keep(key, value, m.half)
	}
	return value, ok
}

// Put keeps a value.
func (m *Map[K, V]) Put(key K, value V) {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()
	s.keep(key, value, m.half)
}

func (s *shard[K, V]) keep(key K, value V, half int) {
	if _, there := s.young[key]; !there && len(s.young) >= half {
		s.old, s.young = s.young, make(map[K]V, half)
	}
	s.young[key] = value
}

// DeleteFunc forgets the entries that f is true of.
func (m *Map[K, V]) DeleteFunc(f func(K, V) bool) {
	for i := range m.shards {
		s := &m.shards[i]
		s.Lock()
		maps.DeleteFunc(s.young, f)
		maps.DeleteFunc(s.old, f)
		s.Unlock()
	}
}

// Len is how many entries there are.
func (m *Map[K, V]) Len() (n int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.Lock()
		n += len(s.young)
		for key := range s.old {
			if _, again := s.young[key]; !again {
				n++
			}
		}
		s.Unlock()
	}
	return n
}
