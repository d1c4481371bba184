package loop

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLoop(t testing.TB) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// pair is a watched end of a socket, and the other.
func pair(t testing.TB, l *Loop, hangup func()) (w *Watch, fd, peer int) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if w, err = l.Watch(fds[0], hangup); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		syscall.Close(fds[0])
		syscall.Close(fds[1])
	})
	return w, fds[0], fds[1]
}

func send(t testing.TB, fd int, text string) {
	t.Helper()
	if n, err := Write(fd, []byte(text)); n != len(text) || err != nil {
		t.Errorf("wrote %d bytes: %v", n, err)
	}
}

// read waits and reads.
func read(f *Fiber, w *Watch, fd int, p []byte) (int, error) {
	for {
		n, err := Read(fd, p)
		if err != syscall.EAGAIN {
			return n, err
		}
		if err := w.Wait(f, time.Time{}); err != nil {
			return 0, err
		}
	}
}

// do runs f as a fiber and waits for its end.
func do(t testing.TB, l *Loop, f func(*Fiber)) {
	t.Helper()
	done := make(chan struct{})
	if err := l.Go(func(fiber *Fiber) {
		defer close(done)
		f(fiber)
	}); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestFibersWaitForEachOther(t *testing.T) {
	l := newLoop(t)
	w, fd, peer := pair(t, l, nil)
	done := make(chan struct{})
	_ = l.Go(func(f *Fiber) { // echoes
		var b [8]byte
		for {
			n, err := read(f, w, fd, b[:])
			if n == 0 || err != nil {
				close(done)
				return
			}
			send(t, fd, string(b[:n]))
		}
	})
	u, err := l.Watch(peer, nil)
	if err != nil {
		t.Fatal(err)
	}
	do(t, l, func(f *Fiber) {
		var b [8]byte
		for range 1000 {
			send(t, peer, "ping")
			if n, err := read(f, u, peer, b[:]); string(b[:n]) != "ping" || err != nil {
				t.Errorf("got %q, %v", b[:n], err)
			}
		}
	})
	u.Close()
	_ = syscall.Shutdown(peer, syscall.SHUT_RDWR)
	<-done
}

func TestGoroutinesWaitToo(t *testing.T) {
	l := newLoop(t)
	w, fd, peer := pair(t, l, nil)
	go send(t, peer, "x")
	var b [8]byte
	if n, err := read(nil, w, fd, b[:]); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := w.Wait(nil, time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestADetachedFiberLetsOthersRun(t *testing.T) {
	l := newLoop(t)
	w, fd, peer := pair(t, l, nil)
	release, detached := make(chan struct{}), make(chan struct{})
	var order atomic.Int32
	done := make(chan struct{})
	_ = l.Go(func(f *Fiber) {
		defer close(done)
		f.Detach()
		close(detached)
		<-release
		var b [1]byte
		if n, err := read(f, w, fd, b[:]); n != 1 || err != nil { // waits as a goroutine
			t.Errorf("%d, %v", n, err)
		}
		f.Attach()
		if n, err := read(f, w, fd, b[:]); n != 1 || err != nil { // waits on the loop
			t.Errorf("%d, %v", n, err)
		}
		if order.Load() != 1 {
			t.Error("the other fiber did not run meanwhile")
		}
	})
	<-detached
	do(t, l, func(*Fiber) { order.Add(1) })
	close(release)
	send(t, peer, "x")
	do(t, l, func(*Fiber) {})
	send(t, peer, "y")
	<-done
}

func TestDeadlines(t *testing.T) {
	l := newLoop(t)
	w, _, _ := pair(t, l, nil)
	do(t, l, func(f *Fiber) {
		for _, d := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 5 * time.Millisecond, -time.Second} {
			deadline := time.Now().Add(d)
			if err := w.Wait(f, deadline); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if time.Now().Before(deadline) {
				t.Error("too early")
			}
		}
	})
}

func TestHangup(t *testing.T) {
	l := newLoop(t)
	gone := make(chan struct{})
	_, _, peer := pair(t, l, func() { close(gone) })
	_ = syscall.Shutdown(peer, syscall.SHUT_WR)
	<-gone
}

func TestCloseEndsWaits(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	w, _, _ := pair(t, l, nil)
	v, _, _ := pair(t, l, nil)
	waits, results := make(chan struct{}), make(chan error, 2)
	_ = l.Go(func(f *Fiber) {
		close(waits)
		results <- w.Wait(f, time.Time{})
	})
	go func() { results <- v.Wait(nil, time.Time{}) }()
	<-waits
	l.Close()
	for range 2 {
		if err := <-results; err != ErrClosed {
			t.Errorf("got %v", err)
		}
	}
	if err := l.Go(func(*Fiber) {}); err != ErrClosed {
		t.Errorf("Go: %v", err)
	}
}

// BenchmarkTurn is one byte to a fiber and back, with a thread of its own at the other end.
func BenchmarkTurn(b *testing.B) {
	l := newLoop(b)
	w, fd, peer := pair(b, l, nil)
	_ = syscall.SetNonblock(peer, false)
	_ = l.Go(func(f *Fiber) {
		var p [1]byte
		for {
			if n, err := read(f, w, fd, p[:]); n == 0 || err != nil {
				return
			}
			if _, err := Write(fd, p[:]); err != nil {
				return
			}
		}
	})
	b.ReportAllocs()
	var p [1]byte
	for b.Loop() {
		_, _ = syscall.Write(peer, p[:])
		_, _ = syscall.Read(peer, p[:])
	}
	_ = syscall.Shutdown(peer, syscall.SHUT_RDWR)
}

// A fiber that yields lets one go first whose descriptor has become ready meanwhile.
func TestYieldLooksAtDescriptors(t *testing.T) {
	l := newLoop(t)
	w, fd, peer := pair(t, l, nil)
	var served atomic.Bool
	waits := make(chan struct{})
	_ = l.Go(func(f *Fiber) {
		close(waits)
		var b [1]byte
		_, _ = read(f, w, fd, b[:])
		served.Store(true)
	})
	<-waits
	do(t, l, func(f *Fiber) {
		_, _ = syscall.Write(peer, []byte("x"))
		f.Yield()
		if !served.Load() {
			t.Error("the one that yields goes first")
		}
	})
}

// Fibers that never wait leave those alone that do.
func TestYield(t *testing.T) {
	l := newLoop(t)
	w, fd, peer := pair(t, l, nil)
	var over atomic.Bool
	var hogs sync.WaitGroup
	for range 2 {
		hogs.Add(1)
		_ = l.Go(func(f *Fiber) {
			defer hogs.Done()
			for !over.Load() {
				f.Yield()
			}
		})
	}
	go send(t, peer, "x")
	do(t, l, func(f *Fiber) {
		var b [1]byte
		if n, err := read(f, w, fd, b[:]); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		err := w.Wait(f, time.Now().Add(time.Millisecond))
		if err == nil { // of what was read before the loop had seen it come
			err = w.Wait(f, time.Now().Add(time.Millisecond))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	over.Store(true)
	hogs.Wait()
}
