// Package edge serves HTTP/1.1 on event loops (see package loop): what a plain request costs beyond its handler is one read and
// one write. What is not plain goes to net/http with the bytes that were read of it, and so does its connection: other versions,
// chunked bodies, bodies over 64 KB, upgrades, malformed requests. Handlers cannot tell the difference, except that they get the
// hansom.Fiber that carries them with the request's context, that they cannot hijack, and that the request is theirs only
// until they return.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/internal/loop"
)

// Server serves one listener.
type Server struct {
	http     *http.Server // has the handler and the limits, and serves what is not plain
	loops    []*loop.Loop
	pace     pace
	logger   *slog.Logger
	stopping atomic.Bool

	mu       sync.Mutex
	listener net.Listener
	conns    map[*conn]struct{}
	empty    chan struct{} // closed when stopping has seen the last of conns
	odd      *handed
}

// New returns a server for h on loops, which stay the caller's; without any, all is left to h.
func New(h *http.Server, loops []*loop.Loop, logger *slog.Logger) *Server {
	h.ConnContext = withBegun
	return &Server{http: h, loops: loops, pace: pace{}.usual(), logger: logger, conns: map[*conn]struct{}{}, empty: make(chan struct{})}
}

// Serve accepts connections until Shutdown or Close, then returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	if len(s.loops) == 0 {
		return s.http.Serve(beginning{l})
	}
	s.mu.Lock()
	if s.stopping.Load() { // before it has begun
		s.mu.Unlock()
		_ = l.Close()
		return http.ErrServerClosed
	}
	s.listener = l
	s.odd = &handed{addr: l.Addr(), conns: make(chan net.Conn), done: make(chan struct{})}
	s.mu.Unlock()
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.odd) }()
	err := s.accept(l)
	if !s.stopping.Load() {
		_ = s.odd.Close()
		<-served
		return err
	}
	return <-served
}

func (s *Server) accept(l net.Listener) error {
	for n := 0; ; {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(10 * time.Millisecond) // the server is short of descriptors for a while
			continue
		case err != nil:
			return err
		}
		remote := nc.RemoteAddr().String()
		fd, err := take(nc)
		if err != nil {
			s.logger.Debug("a connection was not taken", "error", err)
			continue
		}
		c := &conn{server: s, fd: fd, remote: remote, drained: true}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		if s.loops[n%len(s.loops)].Go(c.run) != nil {
			s.close(c)
		}
		n++
	}
}

func (s *Server) headDeadline() time.Time { return after(s.http.ReadHeaderTimeout) }
func (s *Server) idleDeadline() time.Time { return after(s.http.IdleTimeout) }

func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// rest notes that c waits for a request; an error when the server does not wait for any more.
func (s *Server) rest(c *conn) error {
	c.idle.Store(true)
	if s.stopping.Load() {
		return http.ErrServerClosed
	}
	return nil
}

// close ends c.
func (s *Server) close(c *conn) {
	s.forget(c, func() { _ = syscall.Close(c.fd) })
}

// forget removes c; end runs while nobody else uses its descriptor.
func (s *Server) forget(c *conn, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end()
	delete(s.conns, c)
	if s.stopping.Load() && len(s.conns) == 0 {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// handOver gives c to net/http.
func (s *Server) handOver(c *conn) {
	c.fiber.Detach()
	unread := append([]byte(nil), (*c.buf)[c.r:c.w]...)
	var nc net.Conn
	var err error
	s.forget(c, func() { nc, err = give(c.fd, unread) })
	if err != nil {
		s.logger.Debug("a connection was not handed over", "error", err)
		return
	}
	select {
	case s.odd.conns <- nc:
	case <-s.odd.done:
		_ = nc.Close()
	}
}

// Shutdown stops accepting, closes idle connections and waits until the others have had their answers, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(func(c *conn) bool { return c.idle.Load() })
	s.http.SetKeepAlivesEnabled(false)
	select {
	case <-s.empty: // a request among them may have been for net/http
	case <-ctx.Done():
	}
	return s.http.Shutdown(ctx)
}

// Close ends the listener and all connections at once.
func (s *Server) Close() error {
	s.stop(func(*conn) bool { return true })
	return s.http.Close()
}

// stop ends the listener, and the connections that which is true for.
func (s *Server) stop(which func(*conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping.Store(true)
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for c := range s.conns {
		if which(c) {
			_ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR)
		}
	}
	if len(s.conns) == 0 {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// handed is the listener of connections that are handed over.
type handed struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.addr }
