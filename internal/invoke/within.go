package invoke

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

var errLate = hansom.Errorf(hansom.Timeout, "invoke", "Endpoint request timed out")

// within runs a call whose caller waits for at most inv.Limit. A function that has not answered then runs on by itself, with what it needs of inv.
func (s *Service) within(ctx context.Context, t hansom.Target, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	if inv.HTTP != nil {
		return s.exchangeWithin(ctx, t, inv, sink)
	}
	inv.Detach()
	own := *inv
	own.Payload, own.Fiber = bytes.Clone(inv.Payload), nil
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // it may be waiting for an instance still
	g := &gate{sink: sink}
	if sink != nil {
		sink = g
	}
	type outcome struct {
		result hansom.Result
		err    error
	}
	done, gone := make(chan outcome), make(chan struct{})
	go func() {
		result, err := s.run(ctx, t, &own, sink)
		select {
		case done <- outcome{result, err}:
		case <-gone:
			result.Release()
		}
	}()
	timer := time.NewTimer(inv.Limit)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.result, o.err
	case <-timer.C:
	}
	if g.close() {
		close(gone)
		return hansom.Result{}, errLate
	}
	o := <-done
	return o.result, o.err
}

// gate lets a stream through that begins before it is closed.
type gate struct {
	sink hansom.Sink

	mu              sync.Mutex
	started, closed bool
}

// close answers false when the stream has begun: then it goes on.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = !g.started
	return g.closed
}

func (g *gate) Start(status int, header http.Header) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.started = true
		g.sink.Start(status, header)
	}
}

func (g *gate) begun() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.started
}

var errGone = errors.New("the caller waits no longer")

func (g *gate) Write(p []byte) (int, error) {
	if !g.begun() {
		return 0, errGone
	}
	return g.sink.Write(p)
}

func (g *gate) Flush() {
	if g.begun() {
		g.sink.Flush()
	}
}

// exchangeWithin does the same for a function that serves HTTP itself: its request ends when the answer has not begun in time.
func (s *Service) exchangeWithin(ctx context.Context, t hansom.Target, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	x := *inv.HTTP
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(inv.Limit, func() { cancel(errLate) })
	defer late.Stop()
	x.Request = x.Request.WithContext(ctx)
	x.Response = &begun{x.Response, late}
	own := *inv
	own.HTTP = &x
	result, err := s.run(ctx, t, &own, sink)
	inv.HTTP.BodyErr = x.BodyErr
	if context.Cause(ctx) == error(errLate) && !result.Streamed {
		result.Release()
		return hansom.Result{}, errLate
	}
	return result, err
}

// begun ends the wait for the beginning of an answer with the beginning of the answer.
type begun struct {
	http.ResponseWriter
	late *time.Timer
}

func (b *begun) Unwrap() http.ResponseWriter {
	b.late.Stop() // for what goes around it: a protocol of its own
	return b.ResponseWriter
}

func (b *begun) WriteHeader(status int) {
	if status >= 200 {
		b.late.Stop()
	}
	b.ResponseWriter.WriteHeader(status)
}

func (b *begun) Write(p []byte) (int, error) {
	b.late.Stop()
	return b.ResponseWriter.Write(p)
}
