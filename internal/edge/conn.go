package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/loop"
)

const (
	readSize = 4 << 10  // bytes of a connection's buffer to begin with
	keepSize = 16 << 10 // a larger buffer is not kept

	maxServed = 16 // requests that a client has sent ahead which are served before others of the loop have their turn
)

// buffers are those of idle connections, which hold none.
var buffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// conn is a connection on a loop.
type conn struct {
	server *Server
	fd     int
	remote string
	fiber  *loop.Fiber
	watch  *loop.Watch
	blank  *http.Request // with the connection's context

	buf      *[]byte     // nil while there is nothing unread
	r, w     int         // (*buf)[r:w] is unread
	drained  bool        // the last read took all that was there
	served   int         // requests since the last wait
	ended    atomic.Bool // the client has ended its side
	idle     atomic.Bool // waits for a request
	request  request
	response response
	body     bytes.Reader
	web      http.Request
}

// errHandOver says that net/http is to serve the connection.
var errHandOver = errors.New("not for the loop")

func (c *conn) run(f *loop.Fiber) {
	c.fiber = f
	ctx, cancel := context.WithCancel(hansom.WithFiber(context.Background(), f))
	defer cancel()
	c.blank = (&http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: c.remote}).WithContext(ctx)
	c.response.write, c.response.sendFile = c.write, c.sendFile
	var err error
	c.watch, err = f.Loop().Watch(c.fd, func() { // a client that has gone does not wait for an instance
		c.ended.Store(true)
		cancel()
	})
	for deadline := c.server.headDeadline(); err == nil; {
		err = c.next(deadline)
		f.Attach()
		deadline = time.Time{}
		if c.served++; c.served >= maxServed {
			c.served = 0
			f.Yield()
		}
	}
	if c.watch != nil {
		c.watch.Close()
	}
	if errors.Is(err, errHandOver) {
		c.server.handOver(c)
	} else {
		c.server.close(c)
	}
	c.drop()
}

// next serves one request. deadline is that of its head; zero for any but the first, which may be long in coming. An error ends
// the connection.
func (c *conn) next(deadline time.Time) error {
	end, err := c.head(deadline)
	if err != nil {
		return err
	}
	r, b := &c.request, *c.buf
	if !r.parse(string(b[c.r : end+2])) {
		return errHandOver
	}
	head := end + 4 - c.r
	size := head + int(max(r.length, 0))
	if err := c.rest(size); err != nil {
		return err
	}
	b = (*c.buf)[c.r:][:size] // it may have moved
	c.web = *c.blank
	web := &c.web
	web.Method, web.RequestURI, web.URL, web.Host, web.Header, web.Close = r.method, r.target, r.url, r.host, r.header, r.close
	web.Body = http.NoBody
	if r.length > 0 {
		c.body.Reset(b[head:])
		web.ContentLength, web.Body = r.length, io.NopCloser(&c.body)
	}
	c.response.reset(r.method == http.MethodHead, r.close || c.server.stopping.Load())
	if err := c.handle(web); err != nil {
		return err
	}
	c.response.finish()
	c.r += size
	if c.response.close {
		return io.EOF
	}
	return nil
}

// rest reads until size bytes are unread, the whole of a request.
func (c *conn) rest(size int) error {
	if c.w-c.r >= size {
		return nil
	}
	start := time.Now()
	for c.w-c.r < size {
		had := c.w - c.r // the head is a part of it
		switch err := c.fill(size-had, start.Add(c.server.pace.patience(int64(had), 0))); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = c.write([]byte(tooSlow))
			return err
		case err != nil:
			return broken(err)
		}
	}
	return nil
}

// tooSlow answers a request whose body does not come.
const tooSlow = "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: 29\r\nConnection: close\r\n\r\n{\"message\":\"Request Timeout\"}"

// handle runs the handler.
func (c *conn) handle(r *http.Request) (err error) {
	defer func() {
		switch e := recover(); e {
		case nil:
		case hansom.ErrHandOver:
			err = errHandOver
		default:
			if e != http.ErrAbortHandler {
				c.server.logger.Error("a request ended with a panic", "panic", e, "stack", string(debug.Stack()))
			}
			err = io.ErrUnexpectedEOF
		}
	}()
	c.server.http.Handler.ServeHTTP(&c.response, r)
	return nil
}

// head reads until there is a whole head and returns where its last line ends.
func (c *conn) head(deadline time.Time) (end int, err error) {
	c.release()
	if c.r == c.w {
		if err := c.server.rest(c); err != nil {
			return 0, err
		}
		wait := deadline
		if wait.IsZero() {
			wait = c.server.idleDeadline()
		}
		err := c.fill(1, wait)
		c.idle.Store(false)
		if err != nil {
			return 0, err
		}
	}
	if deadline.IsZero() {
		deadline = c.server.headDeadline()
	}
	for {
		b := (*c.buf)[c.r:c.w]
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			return c.r + i, nil
		}
		if b[0] < 'A' || b[0] > 'Z' || len(b) >= maxHead || bareFeed(b) {
			return 0, errHandOver
		}
		if err := c.fill(1, deadline); err != nil {
			return 0, broken(err)
		}
	}
}

// bareFeed says that b has a line feed without a carriage return before it: its end may be another one than two of both.
func bareFeed(b []byte) bool {
	for i := 0; ; i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return false
		}
		if i += n; i == 0 || b[i-1] != '\r' {
			return true
		}
	}
}

// broken leaves a request that breaks off to net/http, which answers the client that has only ended its own side.
func broken(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errHandOver
	}
	return err
}

// fill reads something, with room for n more bytes.
func (c *conn) fill(n int, deadline time.Time) error {
	for {
		if c.drained && !c.ended.Load() {
			c.served = 0
			if err := c.watch.Wait(c.fiber, deadline); err != nil {
				return err
			}
		}
		c.room(n)
		got, err := loop.Read(c.fd, (*c.buf)[c.w:])
		c.w += got
		c.drained = c.w < len(*c.buf)
		switch {
		case got > 0:
			return nil
		case err == nil:
			return io.EOF
		case err != syscall.EAGAIN:
			return err
		case c.ended.Load():
			return io.ErrUnexpectedEOF
		}
		c.drained = true
	}
}

// room makes room for n bytes behind what is unread.
func (c *conn) room(n int) {
	if c.buf == nil {
		c.buf, c.r, c.w = buffers.Get().(*[]byte), 0, 0
	}
	if len(*c.buf)-c.w >= n {
		return
	}
	unread := (*c.buf)[c.r:c.w]
	if len(*c.buf) < len(unread)+n {
		larger := make([]byte, max(len(unread)+n, 2*len(*c.buf)))
		copy(larger, unread)
		c.buf = &larger
	} else {
		copy(*c.buf, unread)
	}
	c.r, c.w = 0, len(unread)
}

// release gives an empty buffer back.
func (c *conn) release() {
	if c.buf != nil && c.r == c.w {
		c.drop()
	}
}

func (c *conn) drop() {
	if c.buf != nil && len(*c.buf) <= keepSize {
		buffers.Put(c.buf)
	}
	c.buf, c.r, c.w = nil, 0, 0
}

// write writes all of p.
func (c *conn) write(p []byte) error {
	for {
		n, err := loop.Write(c.fd, p)
		p = p[n:]
		switch {
		case len(p) == 0:
			return nil
		case err != nil && err != syscall.EAGAIN:
			return err
		case err == nil:
			continue
		}
		if err := c.writable(); err != nil {
			return err
		}
	}
}

// writable waits until the client takes more, for as long as it may.
func (c *conn) writable() error {
	deadline := c.response.deadline
	if deadline.IsZero() {
		deadline = after(c.server.pace.write)
	}
	err := c.watch.WaitWrite(c.fiber, deadline)
	c.drained = false // a request may have come meanwhile
	return err
}

// take makes a connection of its own of nc, out of the reach of Go's poller, which would wake for all that comes. nc is closed.
func take(nc net.Conn) (fd int, err error) {
	defer nc.Close()
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return -1, errors.ErrUnsupported
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return -1, err
	}
	return fd, nil
}

// give is the reverse of take; fd is closed. What was read before comes first.
func give(fd int, unread []byte) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close()
	nc, err := net.FileConn(file) // a duplicate
	if err != nil {
		return nil, err
	}
	return &begun{TCPConn: nc.(*net.TCPConn), unread: unread}, nil
}
