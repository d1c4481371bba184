package sandbox_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/loop"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

func newLoop(t *testing.T) *loop.Loop {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// onFiber runs f on a fiber of a new loop.
func onFiber(t *testing.T, f func(*loop.Fiber)) {
	t.Helper()
	l := newLoop(t)
	done := make(chan struct{})
	if err := l.Go(func(fiber *loop.Fiber) {
		defer close(done)
		f(fiber)
	}); err != nil {
		t.Fatal(err)
	}
	<-done
}

// bare is a link and the runtime's end of its socket, which answers each event with itself until an event says otherwise.
func bare(t *testing.T) *sandbox.FrameLink {
	t.Helper()
	server, file, err := sandbox.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	link := sandbox.NewFrameLink(server, func(string, []byte) time.Duration { return 0 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer file.Close()
		header := make([]byte, frame.HeaderSize)
		for {
			if !readFull(file, header) {
				return
			}
			h, _ := frame.ParseHeader(header)
			body := make([]byte, h.Length)
			if !readFull(file, body) {
				return
			}
			body = body[8:]
			for range 5 {
				_, body, _ = frame.Bytes(body)
			}
			switch string(body[:min(len(body), 6)]) {
			case "silent":
				continue
			case "finish":
				return
			}
			// In two parts, so that the link has to wait in the middle.
			b := append(frame.AppendHeader(nil, frame.Header{Length: uint32(len(body)), Kind: frame.Result, Stream: h.Stream}), body...)
			for _, part := range [][]byte{b[:10], b[10:]} {
				if _, err := file.Write(part); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		link.Close()
		<-done
	})
	return link
}

func readFull(f *os.File, p []byte) bool {
	for len(p) > 0 {
		n, err := f.Read(p)
		if err != nil {
			return false
		}
		p = p[n:]
	}
	return true
}

func event(f hansom.Fiber, payload string, after time.Duration) *sandbox.Request {
	return &sandbox.Request{Invocation: &hansom.Invocation{ID: "id", Payload: []byte(payload), Fiber: f}, Deadline: time.Now().Add(after).UnixMilli()}
}

func TestCallsOnFibers(t *testing.T) {
	link := bare(t)
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = 'a' + byte(i%26)
	}
	check := func(f hansom.Fiber) {
		for _, payload := range []string{"small", string(large), "again"} {
			resp, err := link.Invoke(event(f, payload, time.Minute), nil)
			if err != nil || string(resp.Payload) != payload {
				t.Errorf("%.20q of %d bytes, %v", resp.Payload, len(resp.Payload), err)
			}
			if resp.Release != nil {
				resp.Release()
			}
		}
	}
	check(nil)                                   // Go's poller looks after the socket
	onFiber(t, func(f *loop.Fiber) { check(f) }) // a loop
	onFiber(t, func(f *loop.Fiber) { check(f) }) // another one
	onFiber(t, func(f *loop.Fiber) {             // as a goroutine
		f.Detach()
		check(f)
		f.Attach()
		check(f)
	})
	check(nil)
}

func TestDeadlinesOfCalls(t *testing.T) {
	for name, run := range map[string]func(*testing.T, func(*loop.Fiber)){
		"goroutine": func(_ *testing.T, f func(*loop.Fiber)) { f(nil) },
		"fiber":     onFiber,
	} {
		t.Run(name, func(t *testing.T) {
			link := bare(t)
			run(t, func(f *loop.Fiber) {
				var on hansom.Fiber
				if f != nil {
					on = f
				}
				// A deadline that has come since does not end a later call, nor does that of an earlier call put it off.
				early := event(on, "x", time.Second)
				for _, req := range []*sandbox.Request{early, event(on, "x", time.Hour)} {
					if _, err := link.Invoke(req, nil); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Until(time.UnixMilli(early.Deadline + 1)))
				if _, err := link.Invoke(event(on, "x", time.Hour), nil); err != nil {
					t.Error(err)
				}
				req := event(on, "silent", 50*time.Millisecond)
				if _, err := link.Invoke(req, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if now := time.Now(); now.Before(time.UnixMilli(req.Deadline)) {
					t.Error("too early")
				}
			})
		})
	}
}

func TestARuntimeThatEndsOnAFiber(t *testing.T) {
	link := bare(t)
	onFiber(t, func(f *loop.Fiber) {
		if _, err := link.Invoke(event(f, "x", time.Minute), nil); err != nil {
			t.Error(err)
		}
		if _, err := link.Invoke(event(f, "finish", time.Minute), nil); !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// What holds for pipelines holds on loops: on one, on two, and with callers that are no fibers.
func TestPipelinesOnLoops(t *testing.T) {
	defer func() { readingLoop, callingLoop = nil, nil }()
	a, b := newLoop(t), newLoop(t)
	for _, loops := range []struct {
		name             string
		reading, calling *loop.Loop
	}{{"one", a, a}, {"two", a, b}, {"goroutines", a, nil}} {
		t.Run(loops.name, func(t *testing.T) {
			readingLoop, callingLoop = loops.reading, loops.calling
			for name, test := range map[string]func(*testing.T){
				"overlaps": TestPipelineOverlaps, "deadline": TestPipelineDeadline, "unread": TestPipelineUnread, "end": TestPipelineRuntimeEnds,
				"credit": TestPipelineCredit, "streams": TestPipelineStreams, "errors": TestPipelineErrors, "logs": TestPipelineLogs,
				"protocol": TestPipelineBrokenProtocol, "crowd": TestPipelineCrowd,
			} {
				t.Run(name, test)
			}
		})
	}
}

// Four events reach the runtime while the loop is busy with other fibers; fewer wait for those.
func TestEventsGoOutTogether(t *testing.T) {
	defer func() { readingLoop, callingLoop = nil, nil }()
	l := newLoop(t)
	readingLoop, callingLoop = l, l
	link, p, _ := newPipeline(t)
	hold := func() (held <-chan struct{}, release func()) {
		begun, end := make(chan struct{}), make(chan struct{})
		_ = l.Go(func(*loop.Fiber) { close(begun); <-end })
		return begun, func() { close(end) }
	}
	for _, events := range []int{3, 4} {
		held, start := hold() // or the first would run before the last has come
		<-held
		var calls []<-chan outcome
		for range events {
			calls = append(calls, started(link, within("id", "x", time.Hour), nil))
		}
		busy, free := hold()
		start()
		<-busy
		if events < 4 {
			_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if n, err := p.conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the runtime received some of %d events at once, %v", events, err)
			}
			free()
		}
		_ = p.conn.SetReadDeadline(time.Now().Add(time.Minute))
		for range events {
			h, _ := p.receive()
			p.send(encode(frame.Header{Kind: frame.Result, Stream: h.Stream}, "1"))
		}
		if events == 4 {
			free()
		}
		for _, call := range calls {
			wantPayload(t, call, "1")
		}
	}
}

// Close ends a call that is under way on a loop.
func TestCloseDuringACallOnAFiber(t *testing.T) {
	link := bare(t)
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began, result := make(chan struct{}), make(chan error, 1)
	_ = l.Go(func(f *loop.Fiber) {
		_, _ = link.Invoke(event(f, "x", time.Minute), nil)
		close(began)
		_, err := link.Invoke(event(f, "silent", time.Minute), nil)
		result <- err
	})
	<-began
	link.Close()
	if err := <-result; !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// A runtime that always has sent more holds up no other fiber, and its call ends in time.
func TestARuntimeThatFloodsAFiber(t *testing.T) {
	server, file, err := sandbox.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	message := append(frame.AppendHeader(nil, frame.Header{Kind: frame.Log, Length: 1}), 'x')
	const most = 3000000
	n := 0
	link := sandbox.NewFrameLink(server, func(string, []byte) time.Duration {
		if n++; n < most {
			_, _ = file.Write(message)
		}
		return 0
	})
	defer link.Close()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := file.Write(message); err != nil {
		t.Fatal(err)
	}
	began, ended, turn := make(chan struct{}), make(chan error, 1), make(chan int, 1)
	_ = l.Go(func(f *loop.Fiber) {
		close(began)
		_, err := link.Invoke(event(f, "x", 200*time.Millisecond), nil)
		ended <- err
	})
	<-began
	_ = l.Go(func(*loop.Fiber) { turn <- n })
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || n == most {
		t.Errorf("the call ended with %v after %d messages", err, n)
	}
	if n := <-turn; n == most {
		t.Error("another fiber had to wait for its end")
	}
}
