package sandbox_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/loop"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Where the tests' pipelines are read, and called without a sink; nil for goroutines.
var readingLoop, callingLoop *loop.Loop

// notes takes log messages from any goroutine.
type notes struct {
	mu   sync.Mutex
	list []string // "id message"
}

func (n *notes) log(id string, m []byte) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, id+" "+string(m))
	return 0
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

// newPipeline returns a link whose runtime has loaded its function and takes several invocations at once. extra comes in one
// piece with the runtime's last READY.
func newPipeline(t testing.TB, extra ...[]byte) (*sandbox.Pipeline, *peer, *notes) {
	t.Helper()
	server, f, err := sandbox.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	p, logs := &peer{t: t, conn: conn}, new(notes)
	link := sandbox.NewPipeline(server, readingLoop, logs.log)
	t.Cleanup(func() { link.Close(); conn.Close() })
	p.send(append([][]byte{
		encode(frame.Header{Kind: frame.Ready}, string(frame.AppendBooted(nil, frame.Booted{Protocol: frame.Version, Runtime: "v1"}))),
		encode(frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}, ""),
	}, extra...)...)
	if err := link.Init(t.Context(), &sandbox.Init{Slots: 100}); err != nil {
		t.Fatal(err)
	}
	if h, _ := p.receive(); h.Kind != frame.Init {
		t.Fatalf("received %s", h.Kind)
	}
	return link, p, logs
}

// outcome is what an Invoke returned.
type outcome struct {
	resp sandbox.Response
	err  error
}

// begin starts an invocation and waits until the runtime has its event; its stream is the number of the call.
func begin(t testing.TB, link *sandbox.Pipeline, p *peer, req *sandbox.Request, sink hansom.Sink) <-chan outcome {
	t.Helper()
	done := started(link, req, sink)
	for {
		switch h, body := p.receive(); h.Kind {
		case frame.Window: // of an earlier call
			continue
		case frame.Invoke:
			if c, err := frame.ParseCall(body); err != nil || c.RequestID != req.ID {
				t.Fatalf("received %+v, %v", c, err)
			}
		default:
			t.Fatalf("received %s", h.Kind)
		}
		return done
	}
}

func started(link *sandbox.Pipeline, req *sandbox.Request, sink hansom.Sink) <-chan outcome {
	done := make(chan outcome, 1)
	if callingLoop != nil && sink == nil {
		_ = callingLoop.Go(func(f *loop.Fiber) {
			req.Fiber = f
			resp, err := link.Invoke(req, nil)
			done <- outcome{resp, err}
		})
		return done
	}
	go func() {
		resp, err := link.Invoke(req, sink)
		done <- outcome{resp, err}
	}()
	return done
}

// within is a request whose deadline is that far away.
func within(id, event string, d time.Duration) *sandbox.Request {
	req := request(id, event)
	req.Deadline = time.Now().Add(d).UnixMilli()
	return req
}

func wantPayload(t testing.TB, done <-chan outcome, want string) {
	t.Helper()
	o := <-done
	if o.err != nil || string(o.resp.Payload) != want {
		t.Errorf("%.40q, %v; want %.40q", o.resp.Payload, o.err, want)
	}
	if o.resp.Release != nil {
		o.resp.Release()
	}
}

func streamed(stream uint64, contentType string) []byte {
	return encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: stream}, contentType)
}

func chunkOf(stream uint64, body string) []byte {
	return encode(frame.Header{Kind: frame.Chunk, Stream: stream}, body)
}

// Ten calls are under way together, events and answers small and large, and are answered in another order.
func TestPipelineOverlaps(t *testing.T) {
	link, p, _ := newPipeline(t)
	sizes := []int{1, 100, 20 << 10, 40 << 10, 1 << 20, 5 << 20, 10, 16 << 10, 65536, 2}
	type event struct {
		stream uint64
		body   string
	}
	for range 3 {
		var events []event
		var arrived sync.WaitGroup
		arrived.Go(func() {
			for range sizes {
				h, body := p.receive()
				c, err := frame.ParseCall(body)
				if err != nil || h.Kind != frame.Invoke || c.ARN != "arn" || c.Trace != "trace" || string(c.ClientContext) != `{"a":1}` || c.Deadline == 0 {
					t.Errorf("%s %v", h.Kind, err)
				}
				events = append(events, event{h.Stream, string(c.Event)})
			}
		})
		var calls []<-chan outcome
		var want []string
		for i, size := range sizes {
			want = append(want, fmt.Sprint(i)+strings.Repeat("x", size))
			calls = append(calls, started(link, request(fmt.Sprint(i), want[i]), nil))
		}
		arrived.Wait()
		var answers [][]byte
		for _, e := range slices.Backward(events) {
			answers = append(answers, result(e.stream, e.body))
		}
		p.send(answers...)
		for i := range calls {
			wantPayload(t, calls[i], want[i])
		}
	}
}

// The deadline of one call is told to the runtime and ends that call only; what comes for it later is dropped, but for its log.
func TestPipelineDeadline(t *testing.T) {
	link, p, logs := newPipeline(t)
	other := begin(t, link, p, request("other", "1"), nil)
	late := begin(t, link, p, within("late", "1", 30*time.Millisecond), nil)
	if o := <-late; !errors.Is(o.err, os.ErrDeadlineExceeded) {
		t.Errorf("%+v", o)
	}
	if h, _ := p.receive(); h.Kind != frame.Cancel || h.Stream != 2 {
		t.Errorf("received %+v", h)
	}
	p.send(encode(frame.Header{Kind: frame.Log, Stream: 2}, "too late"), result(2, "too late"), result(1, "in time"))
	wantPayload(t, other, "in time")
	next := begin(t, link, p, request("next", "1"), nil)
	p.send(result(2, "again"), result(3, "next"))
	wantPayload(t, next, "next")
	if got := logs.all(); !slices.Equal(got, []string{"late too late"}) {
		t.Errorf("logs %q", got)
	}
}

// A runtime that reads nothing holds no caller longer than its deadline, however large the events are.
func TestPipelineUnread(t *testing.T) {
	link, _, _ := newPipeline(t)
	for range 3 {
		a := started(link, within("a", strings.Repeat("x", 5<<20), 50*time.Millisecond), nil)
		b := started(link, within("b", "1", 50*time.Millisecond), nil)
		for _, c := range []<-chan outcome{a, b} {
			if o := <-c; !errors.Is(o.err, os.ErrDeadlineExceeded) {
				t.Errorf("%v", o.err)
			}
		}
	}
}

// What a runtime has not read when it ends may be given to another one; what it has read may not.
func TestPipelineRuntimeEnds(t *testing.T) {
	t.Run("all read", func(t *testing.T) {
		link, p, logs := newPipeline(t)
		a, b := begin(t, link, p, request("a", "1"), nil), begin(t, link, p, request("b", "1"), nil)
		p.send(encode(frame.Header{Kind: frame.Log, Stream: 2}, "last words"), result(1, "1")[:16])
		p.conn.Close()
		for _, c := range []<-chan outcome{a, b} {
			if o := <-c; !errors.Is(o.err, sandbox.ErrClosed) || errors.Is(o.err, sandbox.ErrUndelivered) {
				t.Errorf("%v", o.err)
			}
		}
		if _, err := link.Invoke(request("c", "1"), nil); !errors.Is(err, sandbox.ErrUndelivered) {
			t.Errorf("Invoke afterwards: %v", err)
		}
		if got := logs.all(); !slices.Equal(got, []string{"b last words"}) {
			t.Errorf("logs %q", got)
		}
	})
	t.Run("one unread", func(t *testing.T) {
		link, p, _ := newPipeline(t)
		a := begin(t, link, p, request("a", "1"), nil)
		b := started(link, request("b", "1"), nil)
		io.ReadFull(p.conn, make([]byte, 8))
		p.conn.Close()
		if o := <-a; !errors.Is(o.err, sandbox.ErrClosed) || errors.Is(o.err, sandbox.ErrUndelivered) {
			t.Errorf("the event that was read: %v", o.err)
		}
		if o := <-b; !errors.Is(o.err, sandbox.ErrUndelivered) {
			t.Errorf("the event that was not: %v", o.err)
		}
	})
	t.Run("more than the socket holds unread", func(t *testing.T) {
		link, p, _ := newPipeline(t)
		a := begin(t, link, p, request("a", "1"), nil)
		var calls []<-chan outcome
		for range 4 {
			calls = append(calls, started(link, request("b", strings.Repeat("x", 5<<20)), nil))
		}
		io.ReadFull(p.conn, make([]byte, 100))
		p.conn.Close()
		if o := <-a; errors.Is(o.err, sandbox.ErrUndelivered) {
			t.Errorf("the event that was read: %v", o.err)
		}
		for _, c := range calls {
			if o := <-c; !errors.Is(o.err, sandbox.ErrUndelivered) {
				t.Errorf("an event that was not: %v", o.err)
			}
		}
	})
	t.Run("closed here", func(t *testing.T) {
		link, p, _ := newPipeline(t)
		a := begin(t, link, p, request("a", "1"), nil)
		if err := link.Close(); err != nil {
			t.Error(err)
		}
		if o := <-a; !errors.Is(o.err, sandbox.ErrClosed) {
			t.Errorf("%v", o.err)
		}
		if err := link.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

// blocked is a sink that takes nothing until it may.
type blocked struct {
	recorder
	writing chan struct{} // a Write has begun
	open    chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	select {
	case b.writing <- struct{}{}:
	default:
	}
	<-b.open
	return b.recorder.Write(p)
}

// While one caller takes nothing of its stream, the runtime gets no more credit for that stream, and other calls go on.
func TestPipelineCredit(t *testing.T) {
	link, p, _ := newPipeline(t)
	slow := &blocked{writing: make(chan struct{}, 1), open: make(chan struct{})}
	a := begin(t, link, p, request("slow", "1"), slow)
	part := strings.Repeat("0123456789abcdef", frame.Credit/16/4)
	p.send(streamed(1, "text/plain"), chunkOf(1, part[:100]), chunkOf(1, part[100:]))
	<-slow.writing
	p.send(chunkOf(1, part), chunkOf(1, part), chunkOf(1, part)) // all that may be sent
	for i := range 20 {
		fast := &recorder{}
		b := begin(t, link, p, request("fast", "1"), fast) // begin accepts no WINDOW of stream 1 yet
		stream := uint64(2 + i)
		p.send(streamed(stream, ""), chunkOf(stream, "fast"), encode(frame.Header{Kind: frame.End, Stream: stream}, ""))
		if o := <-b; o.err != nil || !o.resp.Streamed || fast.body.String() != "fast" {
			t.Fatalf("%+v %q", o, fast.body.String())
		}
	}
	close(slow.open)
	granted := 0
	for sent := 4 * len(part); sent < 20*len(part); {
		h, body := p.receive()
		if h.Kind != frame.Window || h.Stream != 1 || len(body) != 4 {
			t.Fatalf("received %+v %q", h, body)
		}
		n := int(binary.LittleEndian.Uint32(body))
		if granted += n; granted > sent {
			t.Fatalf("credit for %d bytes after %d were sent", granted, sent)
		}
		for range n / len(part) {
			p.send(chunkOf(1, part))
			sent += len(part)
		}
	}
	p.send(encode(frame.Header{Kind: frame.End, Stream: 1}, ""))
	if o := <-a; o.err != nil || !o.resp.Streamed || o.resp.Error {
		t.Errorf("%+v", o)
	}
	if body := slow.body.String(); len(body)%len(part) != 0 || len(body) < 20*len(part) || strings.ReplaceAll(body, part, "") != "" {
		t.Errorf("a body of %d bytes, which is not what was sent", len(body))
	}
}

// A caller that went away does not hold up its stream, and a stream without a sink is collected.
func TestPipelineStreams(t *testing.T) {
	link, p, _ := newPipeline(t)
	gone := begin(t, link, p, request("gone", "1"), &recorder{fail: true})
	collected := begin(t, link, p, request("collected", "1"), nil)
	broken := begin(t, link, p, request("broken", "1"), &recorder{})
	p.send(streamed(1, "a"), streamed(2, "b"), streamed(3, "c"), chunkOf(3, "begun"))
	credit := map[uint64]int{1: frame.Credit, 2: frame.Credit}
	part := strings.Repeat("y", 100<<10)
	for stream, sent := uint64(1), 0; sent < 2<<20; stream = 3 - stream {
		for credit[stream] < len(part) {
			h, body := p.receive()
			if h.Kind != frame.Window {
				t.Fatalf("received %+v", h)
			}
			credit[h.Stream] += int(binary.LittleEndian.Uint32(body))
		}
		credit[stream] -= len(part)
		sent += len(part)
		p.send(chunkOf(stream, part))
	}
	end := frame.Header{Kind: frame.End, Stream: 1}
	p.send(encode(end, ""))
	end.Stream = 2
	p.send(encode(end, ""))
	p.send(encode(frame.Header{Kind: frame.End, Flags: frame.FlagError, Stream: 3}, `{"e":1}`))
	if o := <-gone; o.err != nil || !o.resp.Streamed {
		t.Errorf("%+v", o)
	}
	if o := <-collected; o.err != nil || o.resp.Streamed || strings.Trim(string(o.resp.Payload), "y") != "" || len(o.resp.Payload)%len(part) != 0 || len(o.resp.Payload) < 10*len(part) {
		t.Errorf("%d bytes, %v", len(o.resp.Payload), o.err)
	}
	if o := <-broken; o.err != nil || !o.resp.Streamed || !o.resp.Error || string(o.resp.Payload) != `{"e":1}` {
		t.Errorf("%+v", o)
	}
}

func TestPipelineErrors(t *testing.T) {
	link, p, _ := newPipeline(t)
	a, b, c := begin(t, link, p, request("a", "1"), nil), begin(t, link, p, request("b", "1"), nil), begin(t, link, p, request("c", "1"), nil)
	huge := strings.Repeat("x", sandbox.MaxResponse+1)
	p.send(encode(frame.Header{Kind: frame.Error, Stream: 1}, `{"e":1}`), encode(frame.Header{Kind: frame.Error, Flags: frame.FlagFatal, Stream: 2}, `{"e":2}`), result(3, huge))
	if o := <-a; o.err != nil || !o.resp.Error || o.resp.Fatal || string(o.resp.Payload) != `{"e":1}` {
		t.Errorf("%+v", o)
	}
	if o := <-b; o.err != nil || !o.resp.Error || !o.resp.Fatal {
		t.Errorf("%+v", o)
	}
	if o := <-c; o.err != nil || !o.resp.Error || !strings.Contains(string(o.resp.Payload), "ResponseSizeTooLarge") {
		t.Errorf("%+v", o)
	}
	if _, err := link.Invoke(request("d", strings.Repeat("x", frame.MaxBody)), nil); hansom.KindOf(err) != hansom.TooLarge {
		t.Errorf("an event of 16 MB: %v", err)
	}
}

// Messages find their request while it runs and after it; what came in with the READY is not lost.
func TestPipelineLogs(t *testing.T) {
	line := func(stream uint64, s string) []byte { return encode(frame.Header{Kind: frame.Log, Stream: stream}, s) }
	link, p, logs := newPipeline(t, line(0, "loaded"))
	a, b := begin(t, link, p, request("a", "1"), nil), begin(t, link, p, request("b", "1"), nil)
	long := strings.Repeat("z", 300<<10)
	p.send(line(2, "of b"), line(1, "of a"), line(0, "of none"), line(1, ""), line(2, long), result(1, "1"))
	wantPayload(t, a, "1")
	p.send(line(1, "late"), result(2, "2"))
	wantPayload(t, b, "2")
	want := []string{" loaded", "b of b", "a of a", " of none", "b " + long[:256<<10], "b " + long[256<<10:], "a late"}
	if got := logs.all(); !slices.Equal(got, want) {
		t.Errorf("%.500q", got)
	}
}

func TestPipelineBrokenProtocol(t *testing.T) {
	head := frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}
	for name, frames := range map[string][][]byte{
		"unknown kind":         {encode(frame.Header{Kind: 99, Stream: 1}, "")},
		"text":                 {[]byte("console.log output that went to the wrong descriptor\n")},
		"stream never sent":    {result(3, "1")},
		"stream 0":             {result(0, "1")},
		"log of the future":    {encode(frame.Header{Kind: frame.Log, Stream: 3}, "x")},
		"server's frame":       {encode(frame.Header{Kind: frame.Window, Stream: 1}, "1234")},
		"READY":                {encode(frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}, "")},
		"chunk without stream": {chunkOf(1, "x")},
		"end without stream":   {encode(frame.Header{Kind: frame.End, Stream: 1}, "")},
		"end with a body":      {encode(head, "a"), encode(frame.Header{Kind: frame.End, Stream: 1}, "x")},
		"two streams":          {encode(head, "a"), encode(head, "a")},
		"a result in a stream": {encode(head, "a"), result(1, "1")},
		"endless content type": {encode(head, strings.Repeat("a", 1<<20))},
		"beyond its credit":    {encode(head, "a"), chunkOf(1, strings.Repeat("a", frame.Credit)), chunkOf(1, "a")},
		"far beyond it":        {encode(head, "a"), chunkOf(1, strings.Repeat("a", 4*frame.Credit))},
		"a flood of pings":     {bytes.Repeat(encode(frame.Header{Kind: frame.Ping}, ""), 100_000)},
	} {
		t.Run(name, func(t *testing.T) {
			link, p, _ := newPipeline(t)
			slow := &blocked{writing: make(chan struct{}, 1), open: make(chan struct{})}
			a, b := begin(t, link, p, request("a", "1"), slow), begin(t, link, p, request("b", "1"), nil)
			var wg sync.WaitGroup
			wg.Go(func() { p.conn.Write(bytes.Join(frames, nil)) })
			o := <-b
			close(slow.open)
			for _, o := range []outcome{o, <-a} {
				if _, ok := errors.AsType[*sandbox.ProtocolError](o.err); !ok || !errors.Is(o.err, sandbox.ErrClosed) || errors.Is(o.err, sandbox.ErrUndelivered) {
					t.Errorf("%v", o.err)
				}
			}
			if _, err := link.Invoke(request("c", "1"), nil); !errors.Is(err, sandbox.ErrUndelivered) {
				t.Errorf("Invoke on a broken link = %v", err)
			}
			link.Close()
			wg.Wait()
		})
	}
	t.Run("a ping", func(t *testing.T) {
		_, p, _ := newPipeline(t, encode(frame.Header{Kind: frame.Ping, Stream: 9}, "x"))
		if h, _ := p.receive(); h.Kind != frame.Ping || h.Stream != 9 || h.Length != 0 {
			t.Errorf("received %+v", h)
		}
	})
}

// Callers come and go in numbers, and each gets its own answer.
func TestPipelineCrowd(t *testing.T) {
	link, p, _ := newPipeline(t)
	var wg sync.WaitGroup
	wg.Go(func() { // the runtime, which answers in the order of arrival, some as streams
		for range 50 * 40 {
			h, body := p.receive()
			c, err := frame.ParseCall(body)
			if err != nil || h.Kind != frame.Invoke {
				t.Errorf("%s %v", h.Kind, err)
				return
			}
			if h.Stream%3 == 0 {
				p.send(streamed(h.Stream, ""), chunkOf(h.Stream, string(c.Event[:1])), chunkOf(h.Stream, string(c.Event[1:])), encode(frame.Header{Kind: frame.End, Stream: h.Stream}, ""))
			} else {
				p.send(result(h.Stream, string(c.Event)))
			}
		}
	})
	for i := range 50 {
		wg.Go(func() {
			for j := range 40 {
				want := fmt.Sprintf("%d/%d", i, j)
				resp, err := link.Invoke(request(want, want), nil)
				if err != nil || string(resp.Payload) != want {
					t.Errorf("%q, %v; want %q", resp.Payload, err, want)
					return
				}
				resp.Release()
			}
		})
	}
	wg.Wait()
}

// One slot is one call at a time, as a FrameLink has it.
func TestPipelineOfOne(t *testing.T) {
	server, f, err := sandbox.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &peer{t: t, conn: conn}
	link := sandbox.NewPipeline(server, nil, func(string, []byte) time.Duration { return 0 })
	defer link.Close()
	p.send(encode(frame.Header{Kind: frame.Ready}, string(frame.AppendBooted(nil, frame.Booted{Protocol: frame.Version, Runtime: "v1"}))), encode(frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}, ""))
	if err := link.Init(t.Context(), &sandbox.Init{Slots: 1}); err != nil {
		t.Fatal(err)
	}
	p.receive()
	if many, _, _ := newPipeline(t); !link.CarriesFibers() || many.CarriesFibers() {
		t.Error("one call is carried on its fiber, many are not")
	}
	a := begin(t, link, p, request("a", "1"), nil)
	p.send(streamed(1, ""), chunkOf(1, strings.Repeat("a", 2*frame.Credit)), encode(frame.Header{Kind: frame.End, Stream: 1}, "")) // without credit
	wantPayload(t, a, strings.Repeat("a", 2*frame.Credit))
}

// FuzzPipeline gives the link whatever a hostile runtime may write while three calls are under way.
func FuzzPipeline(f *testing.F) {
	f.Add(append(result(2, `"ok"`), result(1, "1")...))
	f.Add(bytes.Join([][]byte{streamed(1, "text/plain"), chunkOf(1, "x"), encode(frame.Header{Kind: frame.End, Stream: 1}, ""), result(3, "1")}, nil))
	f.Add(bytes.Join([][]byte{encode(frame.Header{Kind: frame.Log, Stream: 2}, "x"), encode(frame.Header{Kind: frame.Ping}, ""), encode(frame.Header{Kind: frame.Error, Flags: frame.FlagFatal, Stream: 1}, "{}")}, nil))
	f.Add([]byte("not a frame at all"))
	f.Fuzz(func(t *testing.T, data []byte) {
		link, p, _ := newPipeline(t)
		a, b, c := begin(t, link, p, request("a", "1"), &recorder{}), begin(t, link, p, request("b", "1"), nil), begin(t, link, p, request("c", "1"), &recorder{fail: true})
		var wg sync.WaitGroup
		wg.Go(func() {
			p.conn.Write(data)
			p.conn.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, p.conn)
		})
		for _, done := range []<-chan outcome{a, b, c} {
			o := <-done
			if o.err != nil && !errors.Is(o.err, sandbox.ErrClosed) {
				t.Errorf("Invoke = %v", o.err)
			}
			if len(o.resp.Payload) > len(data)+200 {
				t.Errorf("an answer of %d bytes from %d", len(o.resp.Payload), len(data))
			}
		}
		link.Close()
		wg.Wait()
	})
}
