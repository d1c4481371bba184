// Package budget shares a number of bytes among those who hold some, and remembers who waits for more.
package budget

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Budget of bytes, and the T that wait for a part of it. Make it with New.
type Budget[T comparable] struct {
	limit int64
	left  func(free, limit int64) // is told what is left whenever that changes; nil: nobody is

	mu      sync.Mutex
	used    int64
	ending  int64 // the part of used that is about to be free
	hungry  []T   // in the order in which they began to wait
	waiting atomic.Int32
	running bool // a goroutine serves the hungry
	again   bool // and has to look once more
}

// New returns a budget of limit bytes. left, if not nil, is told how much of it is free, now and whenever that changes; it must be
// quick and not call the budget.
func New[T comparable](limit int64, left func(free, limit int64)) *Budget[T] {
	b := &Budget[T]{limit: limit, left: left}
	b.take(0)
	return b
}

// take adds n bytes, which may be negative, to those used. b is locked.
func (b *Budget[T]) take(n int64) {
	b.used += n
	if b.left != nil {
		b.left(b.limit-b.used, b.limit)
	}
}

// Limit is what all may hold together.
func (b *Budget[T]) Limit() int64 { return b.limit }

// Used is what all hold now.
func (b *Budget[T]) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Reserve takes n bytes; false when there are fewer.
func (b *Budget[T]) Reserve(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.limit {
		return false
	}
	b.take(n)
	return true
}

// Release gives n bytes back.
func (b *Budget[T]) Release(n int64) {
	b.mu.Lock()
	b.take(-n)
	b.mu.Unlock()
}

// Hold adds n bytes that will be released soon, over the limit if need be.
func (b *Budget[T]) Hold(n int64) {
	b.mu.Lock()
	b.take(n)
	b.ending += n
	b.mu.Unlock()
}

// End says that n bytes will be released soon.
func (b *Budget[T]) End(n int64) {
	b.mu.Lock()
	b.ending += n
	b.mu.Unlock()
}

// Ended releases what Hold or End announced.
func (b *Budget[T]) Ended(n int64) {
	b.mu.Lock()
	b.take(-n)
	b.ending -= n
	b.mu.Unlock()
}

// Missing is what has to be freed until n bytes are there, what is ending already counted as free.
func (b *Budget[T]) Missing(n int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used - b.ending + n - b.limit
}

// Want notes that x waits.
func (b *Budget[T]) Want(x T) {
	b.mu.Lock()
	if !slices.Contains(b.hungry, x) {
		b.hungry = append(b.hungry, x)
		b.waiting.Store(int32(len(b.hungry)))
	}
	b.mu.Unlock()
}

// Sated removes x from those that wait.
func (b *Budget[T]) Sated(x T) {
	b.mu.Lock()
	if i := slices.Index(b.hungry, x); i >= 0 {
		b.hungry = slices.Delete(b.hungry, i, i+1)
		b.waiting.Store(int32(len(b.hungry)))
	}
	b.mu.Unlock()
}

// Waiting counts those that wait. It costs one atomic read.
func (b *Budget[T]) Waiting() int { return int(b.waiting.Load()) }

// Begin says whether the caller has to serve those that wait, with Next until it answers false: one goroutine does at a time.
func (b *Budget[T]) Begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = true
	if b.running {
		return false
	}
	b.running = true
	return true
}

// Next is the list to serve; false when nobody called Begin since the last one.
func (b *Budget[T]) Next() ([]T, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.again {
		b.running = false
		return nil, false
	}
	b.again = false
	return slices.Clone(b.hungry), true
}

// Cancel is for a caller of Begin that cannot serve.
func (b *Budget[T]) Cancel() {
	b.mu.Lock()
	b.running = false
	b.mu.Unlock()
}
