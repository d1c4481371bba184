package sandbox

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/loop"
)

// Carrier is the optional ability of a Link whose Invoke waits for nothing but descriptors of its fiber's loop. Invoke of any
// other Link needs a goroutine for itself: see hansom.Fiber.
type Carrier interface {
	CarriesFibers() bool
}

// socket is the server's end of a runtime's socket. Go's poller looks after it until the first call on a fiber; from then on the
// fiber's loop does, for other callers as well.
type socket struct {
	conn     *net.UnixConn
	deadline time.Time // of the call
	armed    time.Time // deadline of conn; never later than that of the call

	fiber *loop.Fiber // of the call
	watch *loop.Watch // nil while conn is in use
	fd    int         // that watch looks after
	asked bool        // nothing can have come yet: wait before reading
	reads int         // since the last wait
	read  int         // bytes, likewise

	mu            sync.Mutex
	using, closed bool
}

func newSocket(conn *net.UnixConn) socket { return socket{conn: conn, fd: -1} }

var _ io.Reader = (*socket)(nil)

// begin prepares for a call: its writes and reads end with os.ErrDeadlineExceeded at deadline. end follows.
func (s *socket) begin(f hansom.Fiber, deadline time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.deadline, s.asked = deadline, false
	s.fiber, _ = f.(*loop.Fiber)
	if s.fiber != nil && (s.watch == nil || s.watch.Loop() != s.fiber.Loop()) {
		if err := s.move(s.fiber.Loop()); err != nil {
			return err
		}
	}
	if s.watch == nil && (deadline.IsZero() != s.armed.IsZero() || deadline.Before(s.armed)) {
		if err := s.arm(); err != nil {
			return err
		}
	}
	s.using = true
	return nil
}

func (s *socket) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.using = false
	if s.closed && s.fd >= 0 {
		_ = syscall.Close(s.fd)
		s.fd = -1
	}
}

// move has l look after the socket.
func (s *socket) move(l *loop.Loop) error {
	fd := s.fd
	if fd < 0 {
		var err error
		if fd, err = duplicate(s.conn); err != nil {
			return err
		}
	} else {
		s.watch.Close()
	}
	w, err := l.Watch(fd, nil)
	if err != nil {
		if s.fd < 0 {
			_ = syscall.Close(fd)
		}
		return err
	}
	if s.fd < 0 {
		_ = s.conn.Close()
	}
	s.fd, s.watch = fd, w
	return nil
}

// duplicate returns a descriptor of conn that Go's poller does not look after.
func duplicate(conn *net.UnixConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed)
}

// arm gives conn the call's deadline. That costs as much as a small system call, so it is left alone while it is early enough:
// one that comes before that of the call is set anew (see late).
func (s *socket) arm() error {
	s.armed = s.deadline
	return s.conn.SetDeadline(s.deadline)
}

// late says that err is a deadline of the call, and not of an earlier one.
func (s *socket) late(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || s.armed.Equal(s.deadline) {
		return true
	}
	return s.arm() != nil
}

// interrupt ends reads and writes under way with os.ErrDeadlineExceeded. It is for a socket that Go's poller looks after.
func (s *socket) interrupt() { _ = s.conn.SetDeadline(time.Unix(1, 0)) }

// close ends a call under way with ErrClosed.
func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.watch == nil {
		if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
	s.watch.Close()
	if !s.using {
		_ = syscall.Close(s.fd)
		s.fd = -1
	}
	return nil
}

// write writes all of p.
func (s *socket) write(p []byte) error {
	for {
		var n int
		var err error
		if s.watch == nil {
			n, err = s.conn.Write(p)
		} else {
			n, err = loop.Write(s.fd, p)
		}
		p = p[n:]
		switch {
		case len(p) == 0:
			return nil
		case err == nil:
		case s.watch != nil && err == syscall.EAGAIN:
			if err := s.watch.WaitWrite(s.fiber, s.deadline); err != nil {
				return err
			}
			s.asked = false // that may have been an answer
		case s.watch != nil || s.late(err):
			return err
		}
	}
}

// writeBoth writes a and b, in one go where that is possible.
func (s *socket) writeBoth(a, b []byte) error {
	if s.watch == nil && s.armed.Equal(s.deadline) {
		both := net.Buffers{a, b}
		_, err := both.WriteTo(s.conn)
		return err
	}
	if err := s.write(a); err != nil {
		return err
	}
	return s.write(b)
}

// Read waits for something to read.
func (s *socket) Read(p []byte) (int, error) {
	for {
		if s.watch == nil {
			n, err := s.conn.Read(p)
			if n > 0 || err == nil || s.late(err) {
				return n, err
			}
			continue
		}
		if s.reads++; s.reads > maxReads || s.read > maxRead { // a runtime that sends without end has neither all the time nor the loop to itself
			s.reads, s.read = 0, 0
			if !s.deadline.IsZero() && !time.Now().Before(s.deadline) {
				return 0, os.ErrDeadlineExceeded
			}
			if s.fiber != nil {
				s.fiber.Yield()
			} else {
				runtime.Gosched()
			}
		}
		if !s.asked {
			n, err := loop.Read(s.fd, p)
			switch {
			case n > 0:
				s.read += n
				return n, nil
			case err == nil:
				return 0, io.EOF
			case err != syscall.EAGAIN:
				return 0, err
			}
		}
		s.asked, s.reads, s.read = false, 0, 0
		if err := s.watch.Wait(s.fiber, s.deadline); err != nil {
			return 0, err
		}
	}
}

// What a call may find to read, in times and bytes, before others of its loop have their turn. So many bytes of messages take some
// tenths of a millisecond to log.
const (
	maxReads = 8
	maxRead  = 32 << 10
)
