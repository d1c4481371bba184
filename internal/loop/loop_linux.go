package loop

import (
	"iter"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/hansomcloud/hansom"
)

// Supported says that this system has event loops.
const Supported = true

// edges are edge-triggered: each is reported once, whether or not what came is read. Room to write is asked for when it is
// missing: a Unix socket would report it each time that the peer reads.
const edges = syscall.EPOLLIN | syscall.EPOLLRDHUP | 1<<31

const hungUp = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR

// Loop is an event loop. Make it with New.
type Loop struct {
	epoll int
	pipe  [2]int // wakes the loop's goroutine
	done  chan struct{}

	mu      sync.Mutex
	watches map[int]*Watch
	posted  []*Fiber // to be resumed
	asleep  bool     // in epoll_wait, or about to be
	closed  bool
	fibers  int
	watched int32 // counts watches, so that an event of one is not taken for another's on the same descriptor

	// Of the goroutine that has the loop, and of fibers that are not detached.
	events   [128]syscall.EpollEvent
	at, n    int    // events[at:n] are not handled yet
	turns    int    // of posted fibers since events were asked for
	timed    *Fiber // those that wait with a deadline
	earliest time.Time
	later    []func() // see Later
}

// Watch is a descriptor that a loop looks after. One goroutine or fiber at a time waits for it.
type Watch struct {
	loop   *Loop
	fd     int
	id     int32
	hangup func() // called once, when the peer has ended its side; nil for none

	// Under loop.mu.
	ready   bool // something has happened that nobody has waited for
	closed  bool
	fiber   *Fiber // that waits
	blocked bool   // a goroutine waits
	wake    chan struct{}
}

// New returns a loop that runs until Close.
func New() (*Loop, error) {
	l := &Loop{done: make(chan struct{}), watches: map[int]*Watch{}}
	var err error
	if l.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "make event loop", "%w", err)
	}
	if err = syscall.Pipe2(l.pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		syscall.Close(l.epoll)
		return nil, hansom.Errorf(hansom.Internal, "make event loop", "%w", err)
	}
	if err = l.control(syscall.EPOLL_CTL_ADD, l.pipe[0], 0, edges); err != nil {
		l.release()
		return nil, err
	}
	go l.run()
	return l, nil
}

func (l *Loop) release() {
	syscall.Close(l.epoll)
	syscall.Close(l.pipe[0])
	syscall.Close(l.pipe[1])
}

func (l *Loop) control(op, fd int, id int32, events uint32) error {
	event := syscall.EpollEvent{Events: events, Fd: int32(fd), Pad: id}
	if err := syscall.EpollCtl(l.epoll, op, fd, &event); err != nil {
		return hansom.Errorf(hansom.Internal, "watch descriptor", "%w", err)
	}
	return nil
}

// Close ends all waits with ErrClosed and returns when all fibers have ended.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	for _, w := range l.watches {
		l.end(w)
	}
	l.rouse()
	l.mu.Unlock()
	<-l.done
}

// Go runs f as a fiber.
func (l *Loop) Go(f func(*Fiber)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	fiber := &Fiber{loop: l}
	fiber.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		fiber.yield = yield
		f(fiber)
	})
	l.fibers++
	l.post(fiber)
	return nil
}

// post has f resumed. l is locked.
func (l *Loop) post(f *Fiber) {
	l.posted = append(l.posted, f)
	l.rouse()
}

// rouse ends epoll_wait. l is locked.
func (l *Loop) rouse() {
	if l.asleep {
		l.asleep = false
		var one [1]byte
		_, _ = syscall.Write(l.pipe[1], one[:]) // a full pipe wakes too
	}
}

// again resumes f when others have had their turn. It runs on the loop.
func (l *Loop) again(f *Fiber) {
	l.turns = maxTurns // a look at events comes next
	l.mu.Lock()
	l.post(f)
	l.mu.Unlock()
}

// takeOver gives the loop to another goroutine.
func (l *Loop) takeOver() { go l.run() }

// run is the loop, until it ends or a fiber takes it away.
func (l *Loop) run() {
	for {
		for l.at < l.n {
			e := &l.events[l.at]
			l.at++
			if f := l.event(e); f != nil && !l.resume(f) {
				return
			}
		}
		l.mu.Lock()
		n := len(l.posted)
		if n > 0 && l.turns < maxTurns {
			l.turns++
			f := l.posted[0]
			copy(l.posted, l.posted[1:])
			l.posted[n-1] = nil
			l.posted = l.posted[:n-1]
			l.mu.Unlock()
			if !l.resume(f) {
				return
			}
			continue
		}
		if len(l.later) > 0 {
			l.mu.Unlock()
			for i, do := range l.later {
				l.later[i] = nil
				do()
			}
			l.later = l.later[:0]
			continue
		}
		if l.closed && l.fibers == 0 {
			l.mu.Unlock()
			l.release()
			close(l.done)
			return
		}
		l.asleep = n == 0
		l.mu.Unlock()
		l.wait(n == 0)
	}
}

// maxTurns of posted fibers come before a look at events: fibers that others post all the time do not keep the rest from their
// descriptors.
const maxTurns = 64

// wait takes the next events; those that are there already unless block is true.
func (l *Loop) wait(block bool) {
	l.turns = 0
	timeout := -1
	if !block {
		timeout = 0
	} else if !l.earliest.IsZero() {
		timeout = max(int((time.Until(l.earliest)+time.Millisecond-1)/time.Millisecond), 0)
	}
	n, _ := syscall.EpollWait(l.epoll, l.events[:], timeout) // EINTR is no event
	l.at, l.n = 0, max(n, 0)
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
	if timeout >= 0 && !l.earliest.IsZero() && !time.Now().Before(l.earliest) {
		l.expire(time.Now())
	}
}

// event notes what happened to a descriptor and returns the fiber that waits for it.
func (l *Loop) event(e *syscall.EpollEvent) *Fiber {
	fd := int(e.Fd)
	if fd == l.pipe[0] {
		var buf [64]byte
		for n := len(buf); n == len(buf); {
			n, _ = syscall.Read(fd, buf[:])
		}
		return nil
	}
	l.mu.Lock()
	w := l.watches[fd]
	if w == nil || w.id != e.Pad {
		l.mu.Unlock()
		return nil
	}
	f := w.happened()
	l.mu.Unlock()
	if e.Events&hungUp != 0 && w.hangup != nil {
		w.hangup()
		w.hangup = nil
	}
	return f
}

// happened ends a wait: it returns the fiber that waits, which is to be resumed. The loop is locked.
func (w *Watch) happened() *Fiber {
	f := w.fiber
	switch {
	case f != nil:
		w.fiber, f.err = nil, nil
	case w.blocked:
		w.blocked = false
		w.wake <- struct{}{}
	default:
		w.ready = true
	}
	return f
}

// resume lets f run until it waits. It returns false when f has taken the loop away.
func (l *Loop) resume(f *Fiber) bool {
	if f.timed {
		l.untime(f)
	}
	_, alive := f.next()
	detached := f.detached
	if alive && !detached {
		return true
	}
	l.mu.Lock()
	if alive {
		f.detached = false
		l.post(f)
	} else if l.fibers--; l.fibers == 0 && l.closed {
		l.rouse()
	}
	l.mu.Unlock()
	return !detached
}

// Later has the loop call do once all fibers that can go on have done so. It is for fibers of the loop that are not detached. do
// must not wait, nor call Later.
func (l *Loop) Later(do func()) { l.later = append(l.later, do) }

// Suspend waits until Resume. The fiber must not be detached.
func (f *Fiber) Suspend() { f.yield(struct{}{}) }

// Resume ends a Suspend that has begun or is about to. It is called once for each, by anybody.
func (f *Fiber) Resume() {
	f.loop.mu.Lock()
	f.loop.post(f)
	f.loop.mu.Unlock()
}

func (l *Loop) time(f *Fiber, deadline time.Time) {
	f.deadline, f.timed = deadline, true
	f.prev, f.succ = nil, l.timed
	if l.timed != nil {
		l.timed.prev = f
	}
	l.timed = f
	if l.earliest.IsZero() || deadline.Before(l.earliest) {
		l.earliest = deadline
	}
}

func (l *Loop) untime(f *Fiber) {
	f.timed = false
	if f.prev == nil {
		l.timed = f.succ
	} else {
		f.prev.succ = f.succ
	}
	if f.succ != nil {
		f.succ.prev = f.prev
	}
	f.prev, f.succ = nil, nil
}

// expire ends the waits whose deadline has come. earliest is a lower bound, since waits that end do not move it: that makes a
// wait cost next to nothing, and a look at all of them rare.
func (l *Loop) expire(now time.Time) {
	l.earliest = time.Time{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := l.timed; f != nil; f = f.succ {
		switch {
		case now.Before(f.deadline):
			if l.earliest.IsZero() || f.deadline.Before(l.earliest) {
				l.earliest = f.deadline
			}
		case f.watch.fiber == f: // else it is posted already
			f.watch.fiber, f.err = nil, os.ErrDeadlineExceeded
			l.post(f)
		}
	}
}

// Watch looks after a non-blocking descriptor, which stays the caller's: it is closed after the watch. hangup, which may be nil,
// is called on the loop, once, when the peer has ended its side.
func (l *Loop) Watch(fd int, hangup func()) (*Watch, error) {
	w := &Watch{loop: l, fd: fd, hangup: hangup, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	l.watched++
	w.id = l.watched
	if err := l.control(syscall.EPOLL_CTL_ADD, fd, w.id, edges); err != nil {
		return nil, err
	}
	l.watches[fd] = w
	return w, nil
}

// Loop is the one that looks after w.
func (w *Watch) Loop() *Loop { return w.loop }

// Close ends the watch; a wait ends with ErrClosed.
func (w *Watch) Close() {
	l := w.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watches[w.fd] == w {
		delete(l.watches, w.fd)
		_ = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, w.fd, nil)
	}
	l.end(w)
}

// end ends the wait for w. l is locked.
func (l *Loop) end(w *Watch) {
	w.closed = true
	if f := w.fiber; f != nil {
		w.fiber, f.err = nil, ErrClosed
		l.post(f)
	}
	if w.blocked {
		w.blocked = false
		w.wake <- struct{}{}
	}
}

// Wait returns when something may have happened to the descriptor since the last Wait: there is more to read, or the peer has
// gone. The error is os.ErrDeadlineExceeded at deadline, unless that is zero, or ErrClosed. f is the fiber that
// waits; nil for a goroutine that is none.
func (w *Watch) Wait(f *Fiber, deadline time.Time) error {
	l := w.loop
	l.mu.Lock()
	switch {
	case w.closed:
		l.mu.Unlock()
		return ErrClosed
	case w.ready:
		w.ready = false
		l.mu.Unlock()
		return nil
	case f != nil && !f.detached && f.loop == l:
		w.fiber = f
		l.mu.Unlock()
		f.watch = w
		if !deadline.IsZero() {
			l.time(f, deadline)
		}
		f.yield(struct{}{})
		return f.err
	}
	w.blocked = true
	l.mu.Unlock()
	return w.block(deadline)
}

// WaitWrite is Wait for room to write. It returns for what there is to read as well.
func (w *Watch) WaitWrite(f *Fiber, deadline time.Time) error {
	if err := w.Writes(true); err != nil {
		return err
	}
	err := w.Wait(f, deadline)
	if mod := w.Writes(false); err == nil {
		err = mod
	}
	return err
}

// Writes says whether Wait is to return for room to write as well, also when there is some by now. Anybody may call it.
func (w *Watch) Writes(on bool) error {
	events := uint32(edges)
	if on {
		events |= syscall.EPOLLOUT
	}
	return w.loop.control(syscall.EPOLL_CTL_MOD, w.fd, w.id, events)
}

// block is Wait for a goroutine.
func (w *Watch) block(deadline time.Time) error {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	var late bool
	select {
	case <-w.wake:
	case <-expired:
		late = true
	}
	w.loop.mu.Lock()
	defer w.loop.mu.Unlock()
	if late && w.blocked {
		w.blocked = false
		return os.ErrDeadlineExceeded
	}
	if late {
		<-w.wake
	}
	if w.closed {
		return ErrClosed
	}
	return nil
}

// Read reads from a non-blocking descriptor. The scheduler is not told: the call takes about as long as telling it. Errors are
// syscall.Errno, syscall.EAGAIN when there is nothing to read.
func Read(fd int, p []byte) (int, error) { return transfer(syscall.SYS_READ, fd, p) }

// Write is Read's counterpart.
func Write(fd int, p []byte) (int, error) { return transfer(syscall.SYS_WRITE, fd, p) }

func transfer(call uintptr, fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
