package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the runtime's end of a link, driven by the test byte by byte.
type peer struct {
	t    testing.TB
	conn net.Conn
	logs []string // "id message"
}

func newLink(t testing.TB) (*sandbox.FrameLink, *peer) {
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
	p := &peer{t: t, conn: conn}
	link := sandbox.NewFrameLink(server, func(id string, m []byte) time.Duration { p.logs = append(p.logs, id+" "+string(m)); return 0 })
	t.Cleanup(func() { link.Close(); conn.Close() })
	return link, p
}

func encode(h frame.Header, body string) []byte {
	h.Length = uint32(len(body))
	return append(frame.AppendHeader(nil, h), body...)
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	if _, err := p.conn.Write(bytes.Join(frames, nil)); err != nil {
		p.t.Errorf("send: %v", err)
	}
}

func (p *peer) receive() (frame.Header, []byte) {
	head := make([]byte, frame.HeaderSize)
	if _, err := io.ReadFull(p.conn, head); err != nil {
		p.t.Errorf("receive: %v", err)
		return frame.Header{}, nil
	}
	h, err := frame.ParseHeader(head)
	if err != nil {
		p.t.Errorf("receive: %v", err)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(p.conn, body); err != nil {
		p.t.Errorf("receive: %v", err)
	}
	return h, body
}

func request(id, event string) *sandbox.Request {
	return &sandbox.Request{Invocation: &hansom.Invocation{ID: id, ARN: "arn", Trace: "trace", ClientContext: []byte(`{"a":1}`), Payload: []byte(event)},
		Deadline: time.Now().Add(time.Minute).UnixMilli()}
}

// answering makes p answer one INVOKE with frames.
func (p *peer) answering(frames ...[]byte) (done func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		if h, _ := p.receive(); h.Kind != frame.Invoke {
			p.t.Errorf("received %s", h.Kind)
		}
		p.send(frames...)
	})
	return wg.Wait
}

func result(stream uint64, body string) []byte {
	return encode(frame.Header{Kind: frame.Result, Stream: stream}, body)
}

func TestInit(t *testing.T) {
	ready := encode(frame.Header{Kind: frame.Ready}, string(frame.AppendBooted(nil, frame.Booted{Protocol: 1, Runtime: "v1"})))
	loaded := encode(frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}, "")
	failed := encode(frame.Header{Kind: frame.Error, Flags: frame.FlagInit}, `{"errorType":"E"}`)
	log := encode(frame.Header{Kind: frame.Log}, "loading")
	old := encode(frame.Header{Kind: frame.Ready}, string(frame.AppendBooted(nil, frame.Booted{Protocol: 9, Runtime: "v1"})))
	for name, c := range map[string]struct {
		frames [][]byte
		want   string // error; "" for none
	}{
		"loads":             {[][]byte{ready, log, loaded}, ""},
		"fails":             {[][]byte{ready, log, failed}, `did not initialise: {"errorType":"E"}`},
		"fails to boot":     {[][]byte{log, failed}, `did not initialise`},
		"not booted":        {[][]byte{loaded}, "broke the protocol"},
		"boots twice":       {[][]byte{ready, ready}, "broke the protocol"},
		"other version":     {[][]byte{old}, "version 9"},
		"early answer":      {[][]byte{ready, result(1, "1")}, "broke the protocol"},
		"garbage":           {[][]byte{[]byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, "broke the protocol"},
		"endless READY":     {[][]byte{encode(frame.Header{Kind: frame.Ready}, strings.Repeat("x", 1<<20))}, "broke the protocol"},
		"exits":             {nil, "closed its connection"},
		"exits when booted": {[][]byte{ready, log}, "closed its connection"},
	} {
		t.Run(name, func(t *testing.T) {
			link, p := newLink(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				h, body := p.receive()
				load, err := frame.ParseLoad(body)
				if h.Kind != frame.Init || err != nil || load.Handler != "app.handler" || load.TaskRoot != "/var/task" || len(load.Env) != 1 || load.Env[0] != [2]string{"A", "b=c"} {
					t.Errorf("INIT %+v %+v %v", h, load, err)
				}
				p.conn.Write(bytes.Join(c.frames, nil))
				p.conn.(*net.UnixConn).CloseWrite()
			})
			err := link.Init(t.Context(), &sandbox.Init{Handler: "app.handler", TaskRoot: "/var/task", Env: []string{"A=b=c"}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Init = %v, want %q", err, c.want)
			}
			if _, isInit := errors.AsType[*sandbox.InitError](err); err != nil && !isInit && !errors.Is(err, sandbox.ErrClosed) {
				t.Errorf("Init = %v, which is neither an InitError nor ErrClosed", err)
			}
			link.Close()
			wg.Wait()
		})
	}
	t.Run("takes too long", func(t *testing.T) {
		link, _ := newLink(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := link.Init(ctx, &sandbox.Init{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Init = %v", err)
		}
	})
	t.Run("bad environment", func(t *testing.T) {
		link, _ := newLink(t)
		if err := link.Init(t.Context(), &sandbox.Init{Env: []string{"NAME"}}); err == nil || !strings.Contains(err.Error(), `"NAME"`) {
			t.Errorf("Init = %v", err)
		}
	})
}

func TestInvoke(t *testing.T) {
	link, p := newLink(t)
	big := `"` + strings.Repeat("x", 5<<20) + `"`
	for i, event := range []string{`{}`, big, `"` + strings.Repeat("y", 40<<10) + `"`, `1`} {
		stream := uint64(i + 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			h, body := p.receive()
			c, err := frame.ParseCall(body)
			if err != nil || h.Stream != stream || c.RequestID != "id" || c.ARN != "arn" || c.Trace != "trace" || string(c.ClientContext) != `{"a":1}` || c.Deadline == 0 {
				t.Errorf("INVOKE %+v %v", h, err)
			}
			p.send(encode(frame.Header{Kind: frame.Log, Stream: stream}, "line"), result(stream, string(c.Event)))
		})
		resp, err := link.Invoke(request("id", event), nil)
		if err != nil || string(resp.Payload) != event || resp.Error || resp.Fatal || resp.Streamed {
			t.Fatalf("event %d: %.40s, %v", i, resp.Payload, err)
		}
		resp.Release()
		wg.Wait()
	}
	if len(p.logs) != 4 || p.logs[3] != "id line" {
		t.Errorf("logs %q", p.logs)
	}
}

func TestInvokeError(t *testing.T) {
	link, p := newLink(t)
	done := p.answering(encode(frame.Header{Kind: frame.Error, Stream: 1}, `{"e":1}`))
	resp, err := link.Invoke(request("a", "1"), nil)
	if done(); err != nil || !resp.Error || resp.Fatal || string(resp.Payload) != `{"e":1}` {
		t.Errorf("%+v, %v", resp, err)
	}
	done = p.answering(encode(frame.Header{Kind: frame.Error, Flags: frame.FlagFatal, Stream: 2}, `{"e":2}`))
	resp, err = link.Invoke(request("b", "1"), nil)
	if done(); err != nil || !resp.Error || !resp.Fatal {
		t.Errorf("%+v, %v", resp, err)
	}
}

// TestAnsweredTwice: what belongs to an earlier invocation is never taken for the current one's answer.
func TestAnsweredTwice(t *testing.T) {
	for name, together := range map[string]bool{"in one piece": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			link, p := newLink(t)
			again := [][]byte{result(1, `"again"`), encode(frame.Header{Kind: frame.Log, Stream: 1}, "late"), encode(frame.Header{Kind: frame.Error, Flags: frame.FlagFatal, Stream: 1}, `{}`)}
			first := [][]byte{result(1, `"first"`)}
			if together {
				first = append(first, again...)
			}
			done := p.answering(first...)
			resp, err := link.Invoke(request("one", "1"), nil)
			if done(); err != nil || string(resp.Payload) != `"first"` {
				t.Fatalf("%s, %v", resp.Payload, err)
			}
			if !together {
				p.send(again...)
			}
			done = p.answering(result(2, `"second"`))
			next, err := link.Invoke(request("two", "2"), nil)
			if done(); err != nil || string(next.Payload) != `"second"` || next.Error {
				t.Fatalf("%s, %v", next.Payload, err)
			}
			if string(resp.Payload) != `"first"` {
				t.Errorf("the first payload became %s before its release", resp.Payload)
			}
			if len(p.logs) != 1 || p.logs[0] != "one late" {
				t.Errorf("logs %q", p.logs)
			}
		})
	}
}

func TestBrokenProtocol(t *testing.T) {
	for name, frames := range map[string][][]byte{
		"unknown kind":         {encode(frame.Header{Kind: 99, Stream: 1}, "")},
		"text":                 {[]byte("console.log output that went to the wrong descriptor\n")},
		"stream never sent":    {result(2, "1")},
		"stream 0":             {result(0, "1")},
		"log of the future":    {encode(frame.Header{Kind: frame.Log, Stream: 2}, "x"), result(1, "1")},
		"server's frame":       {encode(frame.Header{Kind: frame.Invoke, Stream: 1}, "")},
		"READY":                {encode(frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}, "")},
		"chunk without stream": {encode(frame.Header{Kind: frame.Chunk, Stream: 1}, "x")},
		"end without stream":   {encode(frame.Header{Kind: frame.End, Stream: 1}, "")},
		"two streams":          {encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}, "a"), encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}, "a")},
		"endless content type": {encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}, strings.Repeat("a", 1<<20))},
		"next answer early":    {result(1, "1"), result(2, "1")},
	} {
		t.Run(name, func(t *testing.T) {
			link, p := newLink(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				p.receive()
				p.conn.Write(bytes.Join(frames, nil))
			})
			_, err := link.Invoke(request("a", "1"), nil)
			if name == "next answer early" {
				if err != nil {
					t.Fatal(err)
				}
				_, err = link.Invoke(request("b", "1"), nil)
			}
			defer wg.Wait()
			defer link.Close()
			if _, ok := errors.AsType[*sandbox.ProtocolError](err); !ok || !errors.Is(err, sandbox.ErrClosed) {
				t.Errorf("Invoke = %v", err)
			}
			if _, err := link.Invoke(request("c", "1"), nil); !errors.Is(err, sandbox.ErrClosed) {
				t.Errorf("Invoke on a broken link = %v", err)
			}
		})
	}
}

func TestPeerGone(t *testing.T) {
	t.Run("in the middle", func(t *testing.T) {
		link, p := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			p.receive()
			p.send(encode(frame.Header{Kind: frame.Log, Stream: 1}, "last words"), result(1, "null")[:18])
			p.conn.Close()
		})
		_, err := link.Invoke(request("a", "1"), nil)
		if wg.Wait(); !errors.Is(err, sandbox.ErrClosed) || errors.Is(err, sandbox.ErrUndelivered) {
			t.Errorf("Invoke = %v", err)
		}
		if len(p.logs) != 1 || p.logs[0] != "a last words" {
			t.Errorf("logs %q", p.logs)
		}
	})
	t.Run("while idle", func(t *testing.T) {
		link, p := newLink(t)
		p.send(encode(frame.Header{Kind: frame.Log}, "last words"))
		p.conn.Close()
		if _, err := link.Invoke(request("a", "1"), nil); !errors.Is(err, sandbox.ErrUndelivered) || !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("Invoke = %v", err)
		}
		if len(p.logs) != 1 || p.logs[0] != " last words" {
			t.Errorf("logs %q", p.logs)
		}
	})
	t.Run("event unread", func(t *testing.T) {
		link, p := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			io.ReadFull(p.conn, make([]byte, 8))
			p.conn.Close()
		})
		_, err := link.Invoke(request("a", "1"), nil)
		if wg.Wait(); !errors.Is(err, sandbox.ErrUndelivered) {
			t.Errorf("Invoke = %v", err)
		}
	})
	t.Run("closed here", func(t *testing.T) {
		link, p := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			p.receive()
			link.Close()
		})
		_, err := link.Invoke(request("a", "1"), nil)
		if wg.Wait(); !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("Invoke = %v", err)
		}
		if err := link.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

func TestDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		event  string
		answer func(p *peer)
	}{
		"silence":            {"1", func(p *peer) { p.receive() }},
		"half an answer":     {"1", func(p *peer) { p.receive(); p.send(result(1, strings.Repeat("x", 100))[:50]) }},
		"event is not read":  {strings.Repeat("x", 5<<20), func(p *peer) {}},
		"a flood of logs":    {"1", flood(encode(frame.Header{Kind: frame.Log, Stream: 1}, "spam"))},
		"a flood of chunks":  {"1", flood(encode(frame.Header{Kind: frame.Chunk, Stream: 1}, "spam"))},
		"a flood of answers": {"1", func(p *peer) { p.receive(); p.send(encode(frame.Header{Kind: frame.Result, Stream: 1}, "")[:4]) }},
	} {
		t.Run(name, func(t *testing.T) {
			link, p := newLink(t)
			var wg sync.WaitGroup
			wg.Go(func() { c.answer(p) })
			req := request("a", c.event)
			req.Deadline = time.Now().Add(50 * time.Millisecond).UnixMilli()
			start := time.Now()
			_, err := link.Invoke(req, nil)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Invoke = %v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
			link.Close()
			wg.Wait()
			if _, err := link.Invoke(request("b", "1"), nil); !errors.Is(err, sandbox.ErrClosed) {
				t.Errorf("Invoke after a deadline = %v", err)
			}
		})
	}
}

func flood(part []byte) func(p *peer) {
	return func(p *peer) {
		p.receive()
		if part[4] == byte(frame.Chunk) {
			p.send(encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}, ""))
		}
		part = bytes.Repeat(part, 100)
		for {
			if _, err := p.conn.Write(part); err != nil {
				return
			}
		}
	}
}

// recorder is a Sink.
type recorder struct {
	status  int
	header  http.Header
	body    bytes.Buffer
	flushes int
	fail    bool
	wrote   chan string // when set, receives each part at its Flush
}

func (r *recorder) Start(status int, h http.Header) { r.status, r.header = status, h }

func (r *recorder) Write(p []byte) (int, error) {
	if r.fail {
		return 0, io.ErrClosedPipe
	}
	return r.body.Write(p)
}

func (r *recorder) Flush() {
	r.flushes++
	if r.wrote != nil {
		r.wrote <- r.body.String()
	}
}

func TestStream(t *testing.T) {
	head := encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}, "text/plain")
	chunk := func(s string) []byte { return encode(frame.Header{Kind: frame.Chunk, Stream: 1}, s) }
	end := encode(frame.Header{Kind: frame.End, Stream: 1}, "")
	broken := encode(frame.Header{Kind: frame.End, Flags: frame.FlagError, Stream: 1}, `{"e":1}`)

	t.Run("part by part", func(t *testing.T) {
		link, p := newLink(t)
		sink := &recorder{wrote: make(chan string)}
		var wg sync.WaitGroup
		wg.Go(func() {
			p.receive()
			p.send(head, chunk("one"))
			for _, part := range []string{"two", "three"} {
				<-sink.wrote // it was flushed while the function has yet to go on
				p.send(chunk(part))
			}
			p.send(end)
			for range sink.wrote {
			}
		})
		resp, err := link.Invoke(request("a", "1"), sink)
		close(sink.wrote)
		wg.Wait()
		if err != nil || !resp.Streamed || resp.Error || resp.Payload != nil || sink.body.String() != "onetwothree" || sink.status != 200 || sink.header.Get("Content-Type") != "text/plain" {
			t.Errorf("%+v, %v: %q", resp, err, sink.body.String())
		}
	})
	t.Run("large chunks", func(t *testing.T) {
		link, p := newLink(t)
		sink := &recorder{}
		want := strings.Repeat("0123456789", 300_000)
		done := p.answering(head, chunk(want), chunk(""), chunk("tail"), end, encode(frame.Header{Kind: frame.Log, Stream: 1}, "late"))
		resp, err := link.Invoke(request("a", "1"), sink)
		if done(); err != nil || !resp.Streamed || sink.body.String() != want+"tail" {
			t.Errorf("%+v, %v: %d bytes", resp, err, sink.body.Len())
		}
		done = p.answering(result(2, "2"))
		resp, err = link.Invoke(request("b", "1"), sink)
		if done(); err != nil || string(resp.Payload) != "2" || resp.Streamed {
			t.Errorf("%+v, %v", resp, err)
		}
	})
	t.Run("breaks off", func(t *testing.T) {
		for name, sink := range map[string]*recorder{"sink": {}, "no sink": nil} {
			link, p := newLink(t)
			done := p.answering(head, chunk("part"), broken)
			var s hansom.Sink
			if sink != nil {
				s = sink
			}
			resp, err := link.Invoke(request("a", "1"), s)
			if done(); err != nil || !resp.Error || resp.Streamed != (sink != nil) || string(resp.Payload) != `{"e":1}` {
				t.Errorf("%s: %+v, %v", name, resp, err)
			}
		}
	})
	t.Run("the sink fails", func(t *testing.T) {
		link, p := newLink(t)
		done := p.answering(head, chunk("one"), chunk("two"), end)
		resp, err := link.Invoke(request("a", "1"), &recorder{fail: true})
		if done(); err != nil || !resp.Streamed || resp.Error {
			t.Errorf("%+v, %v", resp, err)
		}
	})
	t.Run("collected", func(t *testing.T) {
		link, p := newLink(t)
		part := strings.Repeat("x", 100_000)
		done := p.answering(head, chunk("a"), chunk(part), chunk(part), end)
		resp, err := link.Invoke(request("a", "1"), nil)
		if done(); err != nil || resp.Streamed || string(resp.Payload) != "a"+part+part {
			t.Errorf("%d bytes, %v", len(resp.Payload), err)
		}
		resp.Release()
	})
	t.Run("collected over the limit", func(t *testing.T) {
		link, p := newLink(t)
		done := p.answering(head, chunk(strings.Repeat("x", sandbox.MaxResponse)), chunk("x"), end)
		resp, err := link.Invoke(request("a", "1"), nil)
		if done(); err != nil || !resp.Error || !strings.Contains(string(resp.Payload), "6291556 bytes") {
			t.Errorf("%.80s, %v", resp.Payload, err)
		}
	})
}

// TestBackPressure: a function that streams faster than its reader reads is held back.
func TestBackPressure(t *testing.T) {
	link, p := newLink(t)
	gate := make(chan struct{})
	written := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		p.receive()
		p.send(encode(frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}, ""))
		p.conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		part := encode(frame.Header{Kind: frame.Chunk, Stream: 1}, strings.Repeat("x", 64<<10))
		n := 0
		for {
			k, err := p.conn.Write(part)
			n += k
			if err != nil {
				break
			}
		}
		written <- n
		p.conn.Close()
	})
	wg.Go(func() { // the reader stands still until the function has been held back
		n := <-written
		if n > 8<<20 {
			t.Errorf("the function wrote %d bytes that nobody read", n)
		}
		close(gate)
	})
	_, err := link.Invoke(request("a", "1"), blockedSink{gate})
	if wg.Wait(); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Invoke = %v", err)
	}
}

type blockedSink struct{ gate chan struct{} }

func (blockedSink) Start(int, http.Header)        {}
func (s blockedSink) Write(p []byte) (int, error) { <-s.gate; return len(p), nil }
func (blockedSink) Flush()                        {}

func TestTooLarge(t *testing.T) {
	for name, n := range map[string]int{"limit": sandbox.MaxResponse, "one over": sandbox.MaxResponse + 1, "over a frame": frame.MaxBody + 1} {
		t.Run(name, func(t *testing.T) {
			link, p := newLink(t)
			done := p.answering(result(1, strings.Repeat("x", n)), result(1, "again"))
			resp, err := link.Invoke(request("a", "1"), nil)
			want := `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`
			if done(); err != nil || (n > sandbox.MaxResponse) != resp.Error || resp.Error && string(resp.Payload) != want || !resp.Error && len(resp.Payload) != n {
				t.Errorf("%.80s, %v", resp.Payload, err)
			}
			done = p.answering(result(2, "2"))
			resp, err = link.Invoke(request("b", "1"), nil)
			if done(); err != nil || string(resp.Payload) != "2" {
				t.Errorf("the next: %.40s, %v", resp.Payload, err)
			}
		})
	}
}

func TestLargeLog(t *testing.T) {
	link, p := newLink(t)
	message := strings.Repeat("0123456789abcdef", 64<<10) // 1 MB
	done := p.answering(encode(frame.Header{Kind: frame.Log, Stream: 1}, message), encode(frame.Header{Kind: frame.Log, Stream: 1}, message[:20<<10]), result(1, "1"))
	resp, err := link.Invoke(request("a", "1"), nil)
	if done(); err != nil || string(resp.Payload) != "1" {
		t.Fatalf("%.40s, %v", resp.Payload, err)
	}
	if len(p.logs) != 5 || strings.ReplaceAll(strings.Join(p.logs[:4], ""), "a ", "") != message || p.logs[4] != "a "+message[:20<<10] {
		t.Errorf("%d logs", len(p.logs))
	}
}

func TestPing(t *testing.T) {
	link, p := newLink(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		p.receive()
		p.send(encode(frame.Header{Kind: frame.Ping}, "x"))
		if h, _ := p.receive(); h.Kind != frame.Ping {
			t.Errorf("answer %s", h.Kind)
		}
		p.send(result(1, "1"))
	})
	resp, err := link.Invoke(request("a", "1"), nil)
	if wg.Wait(); err != nil || string(resp.Payload) != "1" {
		t.Errorf("%s, %v", resp.Payload, err)
	}
}

// TestFake runs the link against the fake driver's runtime, which is what other packages test with.
func TestFake(t *testing.T) {
	d := fake.New(func(sandbox.Spec) fake.Script { return fake.Script{} })
	defer d.Close()
	box, err := d.Start(t.Context(), sandbox.Spec{ID: "a", Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	link := sandbox.NewFrameLink(box.Conn(), func(string, []byte) time.Duration { return 0 })
	if err := link.Init(t.Context(), &sandbox.Init{}); err != nil {
		t.Fatal(err)
	}
	resp, err := link.Invoke(request("a", `{"x":1}`), nil)
	if err != nil || string(resp.Payload) != `{"x":1}` {
		t.Errorf("%s, %v", resp.Payload, err)
	}
}

// echo answers every INVOKE with its event, and allocates nothing.
func echo(conn net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		if _, err := io.ReadFull(conn, buf[:frame.HeaderSize]); err != nil {
			return
		}
		n := int(binary.LittleEndian.Uint32(buf))
		if _, err := io.ReadFull(conn, buf[frame.HeaderSize:frame.HeaderSize+n]); err != nil {
			return
		}
		event := buf[frame.HeaderSize+8 : frame.HeaderSize+n]
		for range 5 {
			event = event[4+binary.LittleEndian.Uint32(event):]
		}
		binary.LittleEndian.PutUint32(buf, uint32(len(event)))
		buf[4] = byte(frame.Result)
		copy(buf[frame.HeaderSize:], event)
		if _, err := conn.Write(buf[:frame.HeaderSize+len(event)]); err != nil {
			return
		}
	}
}

func invokeEcho(t testing.TB, link *sandbox.FrameLink, req *sandbox.Request) {
	resp, err := link.Invoke(req, nil)
	if err != nil || !bytes.Equal(resp.Payload, req.Payload) {
		t.Fatalf("%s, %v", resp.Payload, err)
	}
	resp.Release()
}

func TestInvokeAllocations(t *testing.T) {
	link, p := newLink(t)
	var wg sync.WaitGroup
	wg.Go(func() { echo(p.conn) })
	req := request("id", `{"hello":"world"}`)
	n := testing.AllocsPerRun(500, func() { invokeEcho(t, link, req) })
	if raceEnabled {
		t.Logf("%v allocations under the race detector, which drops pooled buffers at random", n)
	} else if n > 0 {
		t.Errorf("a warm Invoke makes %v allocations; want none", n)
	}
	link.Close()
	wg.Wait()
}

func BenchmarkInvoke(b *testing.B) {
	link, p := newLink(b)
	var wg sync.WaitGroup
	wg.Go(func() { echo(p.conn) })
	req := request("id", `{"hello":"world"}`)
	b.ReportAllocs()
	for b.Loop() {
		invokeEcho(b, link, req)
	}
	link.Close()
	wg.Wait()
}

// FuzzLink gives the link whatever a hostile runtime may write.
func FuzzLink(f *testing.F) {
	stream := frame.Header{Kind: frame.Result, Flags: frame.FlagStream, Stream: 1}
	f.Add(result(1, `"ok"`))
	f.Add(append(result(0, ""), result(1, "1")...))
	f.Add(bytes.Join([][]byte{encode(stream, "text/plain"), encode(frame.Header{Kind: frame.Chunk, Stream: 1}, "x"), encode(frame.Header{Kind: frame.End, Stream: 1}, "")}, nil))
	f.Add(bytes.Join([][]byte{encode(frame.Header{Kind: frame.Log, Stream: 1}, "x"), encode(frame.Header{Kind: frame.Ping}, ""), encode(frame.Header{Kind: frame.Error, Flags: frame.FlagFatal, Stream: 1}, "{}")}, nil))
	f.Add([]byte("not a frame at all"))
	f.Fuzz(func(t *testing.T, data []byte) {
		link, p := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			p.receive()
			p.conn.Write(data)
			p.conn.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, p.conn)
		})
		for _, id := range []string{"a", "b"} {
			resp, err := link.Invoke(request(id, "1"), &recorder{})
			if err != nil && !errors.Is(err, sandbox.ErrClosed) {
				t.Errorf("Invoke = %v", err)
			}
			if len(resp.Payload) > len(data)+200 {
				t.Errorf("an answer of %d bytes from %d", len(resp.Payload), len(data))
			}
		}
		link.Close()
		wg.Wait()
	})
}
