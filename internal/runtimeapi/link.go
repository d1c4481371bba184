// Package runtimeapi serves the Lambda Runtime API, version 2018-06-01, to the runtime in one sandbox, and is the sandbox.Link of
// functions that bring their own runtime ("provided.al2023" and the like): programs built with aws-lambda-go, scripts with curl.
//
// It speaks HTTP/1.1 itself, since the goroutine that has an invocation then writes the event to the waiting poller and reads
// the answer from the same connection without handing over to another. A runtime that polls and answers on different
// connections is served as well: whichever connection brings the answer is handed to that goroutine.
//
// A response is streamed to the caller's sink when it says "Lambda-Runtime-Function-Response-Mode: streaming", or has the
// content type of HTTP integrations, by which aws-lambda-go streams without saying so.
//
// The same listener serves the Extensions API (2020-01-01), the Telemetry API (2022-07-01) and the Logs API (2020-08-15), beside
// managed runtimes too.
package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// maxConns is the most connections a runtime may have open at once.
const maxConns = 64

// httpIntegration is the content type of a response that begins with a JSON prelude and is meant to be streamed.
const httpIntegration = "application/vnd.awslambda.http-integration-response"

// Link is the sandbox.Link over a sandbox's Runtime API listener. It takes one invocation at a time.
type Link struct {
	ln      net.Listener
	carrier sandbox.Link  // carries the invocations in place of the Runtime API; nil when that does
	wake    chan struct{} // something that Init or take waits for has happened
	hand    chan handover // an answer that another connection than direct has brought
	done    chan struct{} // closed by shutdown
	wg      sync.WaitGroup
	ext     extensions

	mu      sync.Mutex
	closed  bool
	conns   map[*conn]struct{}
	parked  []*conn // pollers that wait for an event
	polled  bool
	initErr []byte // error JSON
	current string // request id of the invocation that waits for its answer
	direct  *conn  // the connection on which Invoke waits for it
	taken   bool   // it is coming in
	last    string // request id of the one before
}

type handover struct {
	conn *conn
	head head
}

var _ sandbox.Link = (*Link)(nil)

// New serves ln, which the link closes in the end. When ln is closed by others, as it is when its sandbox ends, the link
// closes too: waiting calls return sandbox.ErrClosed.
func New(ln net.Listener) *Link { return Beside(ln, nil) }

// Beside is New for a runtime whose invocations carrier carries: only extensions are served on ln.
func Beside(ln net.Listener, carrier sandbox.Link) *Link {
	l := &Link{ln: ln, carrier: carrier, wake: make(chan struct{}, 1), hand: make(chan handover, 1), done: make(chan struct{}), conns: map[*conn]struct{}{}}
	l.ext.attended, l.ext.change, l.ext.relay = make(chan struct{}), make(chan struct{}), newRelay(l)
	l.wg.Go(l.accept)
	return l
}

func (l *Link) accept() {
	for {
		nc, err := l.ln.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) {
			select { // the server is short of descriptors for a while
			case <-time.After(10 * time.Millisecond):
				continue
			case <-l.done:
				return
			}
		}
		if err != nil {
			l.shutdown()
			return
		}
		c := newConn(l, nc)
		l.mu.Lock()
		full := l.closed || len(l.conns) >= maxConns
		if !full {
			l.conns[c] = struct{}{}
		}
		l.mu.Unlock()
		if full {
			nc.Close()
			continue
		}
		l.run(c, c.serve)
	}
}

// run gives c to a goroutine of its own.
func (l *Link) run(c *conn, f func()) {
	l.mu.Lock()
	if !l.closed {
		l.wg.Go(f)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	c.close()
}

func (l *Link) forget(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// shutdown closes everything and waits for nothing.
func (l *Link) shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	l.ext.relay.cancel()
	l.ln.Close()
	for c := range l.conns {
		c.net.Close()
	}
	for _, c := range l.parked {
		c.drop()
	}
	l.parked = nil
}

// Close implements sandbox.Link.
func (l *Link) Close() error {
	l.shutdown()
	l.wg.Wait()
	if l.carrier != nil {
		return l.carrier.Close()
	}
	return nil
}

// CarriesFibers implements sandbox.Carrier.
func (l *Link) CarriesFibers() bool {
	c, ok := l.carrier.(sandbox.Carrier)
	return ok && c.CarriesFibers()
}

// signal wakes Init or take.
func (l *Link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// park makes c a waiting poller. It belongs to the link then.
func (l *Link) park(c *conn) {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.polled = true
		l.parked = append(l.parked, c)
	}
	l.mu.Unlock()
	if closed {
		c.close()
		return
	}
	l.signal()
}

// unpark returns the latest poller that is still there; nil when there is none.
func (l *Link) unpark() (*conn, error) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, sandbox.ErrUndelivered
		}
		n := len(l.parked)
		if n == 0 {
			l.mu.Unlock()
			return nil, nil
		}
		c := l.parked[n-1]
		l.parked = l.parked[:n-1]
		l.mu.Unlock()
		if c.alive() {
			return c, nil
		}
		c.close()
	}
}

// failInit notes an init error. It returns false when the function has initialised, or failed to, already.
func (l *Link) failInit(payload []byte) bool {
	l.mu.Lock()
	ok := !l.polled && l.initErr == nil
	if ok {
		l.initErr = payload
	}
	l.mu.Unlock()
	l.signal()
	return ok
}

// Init implements sandbox.Link: the runtime has initialised when it asks for the first event. It was told all that is in the
// sandbox.Init by the environment of its process.
func (l *Link) Init(ctx context.Context, in *sandbox.Init) error {
	if l.carrier != nil {
		return l.carrier.Init(ctx, in)
	}
	for {
		l.mu.Lock()
		payload, polled, closed := l.initErr, l.polled, l.closed
		l.mu.Unlock()
		switch {
		case payload != nil:
			return &sandbox.InitError{Payload: payload}
		case closed:
			return sandbox.ErrClosed
		case polled:
			return nil
		}
		select {
		case <-l.wake:
		case <-l.done:
		case <-l.ext.cfg.Ended:
			return sandbox.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type claim uint8

const (
	unknown claim = iota
	claimed
	answered
)

// claim hands c, which has read the head of an answer, over to the Invoke that waits for this answer.
func (l *Link) claim(c *conn, h head) claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case h.id == l.current && !l.taken && !l.closed:
		l.taken = true
		l.hand <- handover{c, h} // there is one at most
		if l.direct != nil {
			l.direct.net.SetReadDeadline(time.Unix(1, 0)) // Invoke waits there
		}
		return claimed
	case h.id == l.current, h.id == l.last:
		return answered
	}
	return unknown
}

// Invoke implements sandbox.Link.
func (l *Link) Invoke(req *sandbox.Request, sink hansom.Sink) (sandbox.Response, error) {
	if l.carrier != nil {
		return l.carrier.Invoke(req, sink)
	}
	var deadline time.Time
	if req.Deadline != 0 {
		deadline = time.UnixMilli(req.Deadline)
	}
	c, err := l.deliver(req, deadline)
	if err != nil {
		return sandbox.Response{}, err
	}
	c, h, err := l.await(c, deadline)
	if err != nil {
		return sandbox.Response{}, err
	}
	if err := c.net.SetDeadline(deadline); err != nil {
		c.close()
		return sandbox.Response{}, sandbox.ErrClosed
	}
	c.closes = h.closes
	resp, status, reply, err := c.answer(h, sink)
	l.settle()
	if err != nil {
		c.fail(err)
		return sandbox.Response{}, linkError(err)
	}
	l.run(c, func() { // the caller need not wait for the runtime to be told
		c.net.SetDeadline(time.Time{})
		if c.next(c.respond(status, reply)) {
			c.serve()
		}
	})
	return resp, nil
}

// linkError maps an error of a connection to what sandbox.Link promises.
func linkError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	if e, ok := errors.AsType[*badRequest](err); ok {
		return &sandbox.ProtocolError{Reason: "its answer is not HTTP: " + e.reason}
	}
	return sandbox.ErrClosed
}

// deliver writes the event to a poller.
func (l *Link) deliver(req *sandbox.Request, deadline time.Time) (*conn, error) {
	for {
		c, err := l.unpark()
		if err != nil {
			return nil, err
		}
		if c == nil {
			if err := l.awaitPoller(deadline); err != nil {
				return nil, err
			}
			continue
		}
		l.mu.Lock()
		l.current, l.taken = req.ID, false
		l.mu.Unlock()
		err = c.event(req, deadline)
		if err == nil {
			return c, nil
		}
		c.close()
		if other := l.settle(); other != nil {
			other.close()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, os.ErrDeadlineExceeded
		}
		// It did not get the whole event, so another poller may have it.
	}
}

func (l *Link) awaitPoller(deadline time.Time) error {
	timer := newTimer(deadline)
	defer timer.Stop()
	select {
	case <-l.wake:
		return nil
	case <-l.done:
		return sandbox.ErrUndelivered
	case <-l.ext.cfg.Ended:
		return sandbox.ErrUndelivered
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// newTimer fires at deadline; never when that is zero.
func newTimer(deadline time.Time) *time.Timer {
	if deadline.IsZero() {
		return time.NewTimer(math.MaxInt64)
	}
	return time.NewTimer(time.Until(deadline))
}

// await returns the connection that brings the answer, and the head of its request. c is the one that took the event.
func (l *Link) await(c *conn, deadline time.Time) (*conn, head, error) {
	if c.closes { // the client said that it will use another
		c.close()
		return l.awaitOther(deadline)
	}
	l.mu.Lock()
	l.direct = c
	if l.taken {
		c.net.SetReadDeadline(time.Unix(1, 0))
	}
	l.mu.Unlock()
	h, err := c.readHead()
	l.mu.Lock()
	l.direct = nil
	elsewhere := l.taken
	mine := err == nil && !elsewhere && h.id == l.current && h.method == "POST" && (h.route == routeResponse || h.route == routeError)
	if mine {
		l.taken = true
	}
	l.mu.Unlock()
	switch {
	case mine:
		return c, h, nil
	case err == nil:
		c.net.SetDeadline(time.Time{})
		l.run(c, func() {
			if c.handle(h) {
				c.serve()
			}
		})
	case errors.Is(err, os.ErrDeadlineExceeded) && elsewhere:
		c.net.SetDeadline(time.Time{})
		l.run(c, c.serve)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.close()
		l.settle()
		return nil, head{}, os.ErrDeadlineExceeded
	default:
		c.fail(err)
	}
	return l.awaitOther(deadline)
}

func (l *Link) awaitOther(deadline time.Time) (*conn, head, error) {
	timer := newTimer(deadline)
	defer timer.Stop()
	var err error
	select {
	case h := <-l.hand:
		return h.conn, h.head, nil
	case <-timer.C:
		err = os.ErrDeadlineExceeded
	case <-l.done:
		err = sandbox.ErrClosed
	case <-l.ext.cfg.Ended:
		err = sandbox.ErrClosed
	}
	if c := l.settle(); c != nil { // handed over at the last moment
		c.close()
	}
	return nil, head{}, err
}

// settle ends the current invocation. It returns a connection that was handed over and is not wanted any more.
func (l *Link) settle() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.current, l.direct, l.taken = l.current, "", nil, false
	select {
	case h := <-l.hand:
		return h.conn
	default:
		return nil
	}
}

// answer reads the answer to the current invocation from c. The runtime is to be told reply with status.
func (c *conn) answer(h head, sink hansom.Sink) (resp sandbox.Response, status int, reply string, err error) {
	stream := h.route == routeResponse && sink != nil && (h.mode == "streaming" || h.contentType == httpIntegration)
	if h.route == routeResponse && h.mode != "" && h.mode != "streaming" {
		resp = sandbox.Response{Error: true, Payload: []byte(`{"errorType":"Runtime.InvalidResponseModeHeader","errorMessage":"Invalid function response mode"}`)}
		return resp, 400, failure("InvalidFunctionResponseMode", "Invalid function response mode"), c.discard(h)
	}
	if !stream {
		sink = nil
	}
	resp, over, err := c.copy(h, sink)
	switch {
	case err != nil:
		return resp, 0, "", err
	case over:
		return resp, 413, failure("RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", sandbox.MaxResponse)), nil
	case h.route == routeError:
		resp.Error = true
		if len(resp.Payload) == 0 {
			resp.Payload = errorPayload(nil, h.errorType)
		}
	}
	return resp, 202, accepted, nil
}
