// Package loop carries calls on event loops. A loop is one goroutine in epoll_wait and any number of fibers: functions that run
// on the loop's goroutine until they wait for a descriptor, and again when it is ready. A switch between them is a call of a
// coroutine, without the Go scheduler: no thread is woken, none spins. The code of a fiber is written as that of a goroutine.
//
// What a fiber does holds up all others of its loop. Before it waits for anything but a descriptor it calls Detach: it goes on
// as a goroutine, and another one takes over the loop.
package loop

import (
	"errors"
	"runtime"
	"time"
)

// ErrClosed is what waits end with when the loop or the watch is closed.
var ErrClosed = errors.New("the event loop is closed")

// Fiber runs on a Loop. Its methods are for the function that it runs alone.
type Fiber struct {
	loop     *Loop
	next     func() (struct{}, bool)
	yield    func(struct{}) bool
	detached bool

	watch      *Watch // that it waits for
	err        error  // of the wait
	deadline   time.Time
	prev, succ *Fiber // in Loop.timed
	timed      bool
}

// Loop is the one that carries the fiber.
func (f *Fiber) Loop() *Loop { return f.loop }

// Detached says that the fiber is a goroutine for the time being.
func (f *Fiber) Detached() bool { return f.detached }

// Detach lets the fiber block: another goroutine takes over the loop. It has no effect on a detached fiber.
func (f *Fiber) Detach() {
	if !f.detached {
		f.detached = true
		f.loop.takeOver()
	}
}

// Attach undoes Detach: the fiber goes on when the loop has its turn for it.
func (f *Fiber) Attach() {
	if f.detached {
		f.yield(struct{}{}) // to the goroutine that gave the loop away, which posts the fiber
	}
}

// Yield lets others of the loop go first, also those whose descriptors have become ready: a fiber that finds all that it asks for
// without waiting has to. A detached fiber lets other goroutines go first.
func (f *Fiber) Yield() {
	if f.detached {
		runtime.Gosched()
		return
	}
	f.loop.again(f)
	f.yield(struct{}{})
}
