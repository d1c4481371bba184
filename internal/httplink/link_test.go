package httplink

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is a server in a fake sandbox.
type process struct {
	handler http.HandlerFunc
	gate    chan struct{} // it listens when this is closed; nil: at once
	raw     func(net.Conn)

	conns atomic.Int32 // accepted so far
	stop  chan error   // ends it
	deaf  chan struct{}
}

func (p *process) run(ctx context.Context, s *fake.Sandbox) error {
	if p.gate != nil {
		select {
		case <-p.gate:
		case err := <-p.stop:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:"+s.Getenv("PORT"))
	if err != nil {
		return err
	}
	var conns sync.WaitGroup
	defer conns.Wait()
	srv := &http.Server{Handler: p.handler, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			p.conns.Add(1)
		}
	}}
	if p.raw != nil {
		conns.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				p.raw(c)
				c.Close()
			}
		})
	} else {
		conns.Go(func() { srv.Serve(ln) })
	}
	defer ln.Close()
	defer srv.Close()
	for {
		select {
		case err := <-p.stop:
			return err
		case <-p.deaf:
			ln.Close()
			p.deaf = nil
		case <-ctx.Done():
			return nil
		}
	}
}

// open starts the process in a sandbox and makes its link.
func open(t *testing.T, p *process) (*Link, sandbox.Sandbox) {
	t.Helper()
	p.stop = make(chan error, 1)
	if p.deaf == nil {
		p.deaf = make(chan struct{})
	}
	d := fake.New(func(sandbox.Spec) fake.Script { return fake.Script{Process: p.run} })
	sb, err := d.Start(t.Context(), sandbox.Spec{ID: "a", Serve: &sandbox.Serve{Port: 8080, Env: "PORT"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(t.Context(), sb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		d.Close()
		<-sb.Done()
		sb.Output().Close()
	})
	return l, sb
}

// ready is open and Init.
func ready(t *testing.T, p *process) (*Link, sandbox.Sandbox) {
	t.Helper()
	l, sb := open(t, p)
	if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
		t.Fatal(err)
	}
	return l, sb
}

func event(payload string, limit time.Duration) *sandbox.Request {
	return &sandbox.Request{Invocation: &hansom.Invocation{ID: "id", ARN: "arn", Trace: "Root=1", Payload: []byte(payload), ClientContext: []byte("{}")},
		Deadline: time.Now().Add(limit).UnixMilli()}
}

func TestInit(t *testing.T) {
	t.Run("listens late", func(t *testing.T) {
		p := &process{gate: make(chan struct{}), handler: func(http.ResponseWriter, *http.Request) {}}
		l, _ := open(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := l.Init(ctx, &sandbox.Init{})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not listen on 127.0.0.1:$PORT") {
			t.Error(err)
		}
		done := make(chan error)
		go func() { done <- l.Init(t.Context(), &sandbox.Init{}) }()
		close(p.gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("path", func(t *testing.T) {
		var asked atomic.Int32
		l, _ := open(t, &process{handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RequestURI() != "/healthz?deep=1" {
				t.Error(r.URL)
			}
			if asked.Add(1) < 4 {
				w.WriteHeader(503)
			}
		}})
		if err := l.Init(t.Context(), &sandbox.Init{Ready: "/healthz?deep=1"}); err != nil || asked.Load() != 4 {
			t.Error(asked.Load(), err)
		}
	})
	t.Run("never ready", func(t *testing.T) {
		l, _ := open(t, &process{handler: http.NotFound})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := l.Init(ctx, &sandbox.Init{Ready: "/healthz"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "404") {
			t.Error(err)
		}
	})
	t.Run("exit", func(t *testing.T) {
		p := &process{gate: make(chan struct{})}
		l, _ := open(t, p)
		p.stop <- fake.Exit(3)
		if err := l.Init(t.Context(), &sandbox.Init{}); err != sandbox.ErrClosed {
			t.Error(err)
		}
	})
}

func TestEvent(t *testing.T) {
	l, _ := ready(t, &process{handler: func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case "headers":
			json.NewEncoder(w).Encode(r.Header)
		case `{"state":"paid"}`:
			json.NewEncoder(w).Encode(r.Header)
		case "large":
			io.CopyN(w, zeros{}, sandbox.MaxResponse+1)
		case "empty":
			w.WriteHeader(204)
		case "moved":
			http.Redirect(w, r, "/other", http.StatusFound)
		case "binary error":
			w.WriteHeader(500)
			w.Write([]byte{0xff})
		case "breaks off":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "part")
		case "hang":
			<-r.Context().Done()
		}
	}})
	call := func(payload string) (string, sandbox.Response) {
		t.Helper()
		resp, err := l.Invoke(event(payload, 20*time.Second), nil)
		if err != nil {
			t.Fatal(payload, err)
		}
		text := string(resp.Payload)
		if resp.Release != nil {
			resp.Release()
		}
		return text, resp
	}
	var h map[string][]string
	text, _ := call("headers")
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Ce-Id": "id", "Ce-Source": "arn", "Ce-Type": EventType, "Ce-Specversion": "1.0", "Content-Type": "application/json",
		"X-Amzn-Requestid": "id", "X-Request-Id": "id", "X-Amzn-Trace-Id": "Root=1", "X-Amz-Client-Context": "e30="} {
		if len(h[name]) != 1 || h[name][0] != want {
			t.Errorf("%s: %q, want %q", name, h[name], want)
		}
	}
	h = nil
	text, _ = call(`{"version":"0","id":"i","detail-type":"order é","source":"shop","account":"000000000000","time":"2026-11-30T12:00:00Z","region":"us-east-1",` +
		`"resources":["r"],"detail":{"state":"paid"},"cloudevent":{"subject":"o-1","attempt":2}}`)
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		t.Fatal(text, err)
	}
	for name, want := range map[string]string{"Ce-Id": "i", "Ce-Source": "shop", "Ce-Type": "order %C3%A9", "Ce-Specversion": "1.0", "Ce-Time": "2026-11-30T12:00:00Z",
		"Ce-Subject": "o-1", "Ce-Attempt": "2", "Ce-Awsresources": `[%22r%22]`, "Content-Type": "application/json", "X-Amzn-Requestid": "id"} {
		if len(h[name]) != 1 || h[name][0] != want {
			t.Errorf("of a bus: %s: %q, want %q", name, h[name], want)
		}
	}
	for _, c := range []struct {
		payload, want string
		failed        bool
	}{
		{"empty", "", false},
		{"large", "Function.ResponseSizeTooLarge", true},
		{"moved", `"statusCode":302`, true},
		{"binary error", `"body":"/w==","isBase64Encoded":true}`, true},
		{"breaks off", `{"errorType":"Runtime.InvalidResponse"`, true},
	} {
		if text, resp := call(c.payload); resp.Error != c.failed || resp.Fatal || !strings.Contains(text, c.want) {
			t.Errorf("%s: %+v %.200s", c.payload, resp, text)
		}
	}
	if _, err := l.Invoke(event("hang", 50*time.Millisecond), nil); err != os.ErrDeadlineExceeded {
		t.Error(err)
	}
	call("empty") // the link goes on
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// What ends the process has had the request, also when the transport tries again on another connection.
func TestEnd(t *testing.T) {
	p := &process{}
	var seen atomic.Int32
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			seen.Add(1)
			p.stop <- fake.Exit(1)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
	}
	l, _ := ready(t, p)
	front := serve(t, l)
	for _, path := range []string{"/", "/end"} { // the second on the connection of the first
		resp, err := http.Get(front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if err := front.err(); err != sandbox.ErrClosed || seen.Load() != 1 {
		t.Errorf("%v, seen %d times", err, seen.Load())
	}
	if _, err := l.Invoke(event("1", time.Second), nil); err != sandbox.ErrUndelivered {
		t.Errorf("after the end: %v", err)
	}
}

func TestNotListening(t *testing.T) {
	p := &process{deaf: make(chan struct{}), handler: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") }}
	l, _ := ready(t, p)
	close(p.deaf)
	for {
		resp, err := l.Invoke(event("1", 20*time.Second), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Error && !bytes.Contains(resp.Payload, []byte("reset by peer")) { // the kernel may have accepted it before
			if !resp.Fatal || !bytes.Contains(resp.Payload, []byte(`"Runtime.NotListening"`)) {
				t.Errorf("%+v %s", resp, resp.Payload)
			}
			return
		}
	}
}

// front is an edge listener that gives requests to a link.
type front struct {
	*httptest.Server
	mu      sync.Mutex
	last    sandbox.Response
	fault   error
	bodyErr error
	over    chan struct{}
}

func serve(t *testing.T, l *Link) *front {
	f := &front{over: make(chan struct{}, 100)}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "gateway")
		inv := &hansom.Invocation{ID: "id", HTTP: &hansom.Exchange{Request: r, Response: w}}
		resp, err := l.Invoke(&sandbox.Request{Invocation: inv, Deadline: time.Now().Add(time.Minute).UnixMilli()}, nil)
		f.mu.Lock()
		f.last, f.fault, f.bodyErr = resp, err, inv.HTTP.BodyErr
		f.mu.Unlock()
		f.over <- struct{}{}
		if !resp.Streamed {
			w.WriteHeader(502)
		} else if resp.Error || err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(func() {
		f.Server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return f
}

func (f *front) err() error { f.mu.Lock(); defer f.mu.Unlock(); return f.fault }

func TestExchange(t *testing.T) {
	p := &process{}
	arrived := make(chan struct{}, 1)
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "function")
		switch r.URL.Path {
		case "/echo":
			io.Copy(w, r.Body)
			if sum := r.Trailer.Get("X-Sum"); sum != "" {
				io.WriteString(w, " sum "+sum)
			}
		case "/refuse": // answers and does not read
			http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(413)
		case "/upload":
			arrived <- struct{}{}
			io.Copy(io.Discard, r.Body)
		case "/break":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "part")
		}
	}
	l, _ := ready(t, p)
	f := serve(t, l)
	before := p.conns.Load()
	for i := range 10 {
		resp, err := http.Post(f.URL+"/echo", "", strings.NewReader(fmt.Sprint("body ", i)))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		<-f.over
		if string(body) != fmt.Sprint("body ", i) || f.last.In != 6 || f.last.Out != 6 || resp.Header.Values("Access-Control-Allow-Origin")[0] != "gateway" || len(resp.Header.Values("Access-Control-Allow-Origin")) != 1 {
			t.Errorf("%q %+v %v", body, f.last, resp.Header)
		}
	}
	if n := p.conns.Load() - before; n > 3 { // one that was idle for a second is not used again
		t.Errorf("%d connections for 10 requests", n)
	}

	// What follows the body of a request comes with it.
	req, err := http.NewRequest("POST", f.URL+"/echo", io.NopCloser(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Sum": {"4"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "body sum 4" {
		t.Errorf("%q", body)
	}
	resp.Body.Close()
	<-f.over

	// The client is still sending when the answer is there: neither waits for the other.
	r, w := io.Pipe()
	go w.Write([]byte("x"))
	resp, err = http.Post(f.URL+"/refuse", "", r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-f.over
	w.Close()
	if resp.StatusCode != 413 || f.err() != nil {
		t.Error(resp.Status, f.err())
	}

	// What is left of a body whose answer came early is not taken for a request.
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\npart", "Content-Length: 100000\r\n\r\npart", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"} {
		early, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = early.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(early, "POST /refuse HTTP/1.1\r\nHost: a\r\n"+framing)
		in := bufio.NewReader(early)
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 413 || !resp.Close {
			t.Errorf("%s: %+v %v", framing, resp, err)
		}
		<-f.over
		fmt.Fprint(early, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n")
		if rest, err := io.ReadAll(in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: one more answer: %q, %v", framing, rest, err)
		}
		early.Close()
	}

	// Over HTTP/2 the connection goes on.
	var conns atomic.Int32
	h2 := httptest.NewUnstartedServer(f.Config.Handler)
	h2.EnableHTTP2 = true
	h2.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	h2.StartTLS()
	defer h2.Close()
	for range 3 {
		r, w := io.Pipe()
		resp, err := h2.Client().Post(h2.URL+"/refuse", "", r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 413 || resp.ProtoMajor != 2 {
			t.Error(resp.Proto, resp.Status, err)
		}
		resp.Body.Close()
		w.Close()
		<-f.over
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for answers that came early", n)
	}

	// The client goes away in the middle of its body: that is nobody's failure.
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart")
	<-arrived
	conn.Close()
	<-f.over
	if f.err() != nil || f.last.Error || f.last.Streamed || !errors.Is(f.bodyErr, io.ErrUnexpectedEOF) {
		t.Errorf("%+v %v %v", f.last, f.err(), f.bodyErr)
	}

	resp, err = http.Get(f.URL + "/break")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("half an answer passes as a whole one")
	}
	resp.Body.Close()
	<-f.over
	if !f.last.Error || !f.last.Streamed || f.err() != nil {
		t.Errorf("%+v %v", f.last, f.err())
	}
}

// Answers that are not HTTP fail their call alone.
func TestGarbage(t *testing.T) {
	for _, garbage := range []string{"", "garbage\r\n\r\n", "HTTP/1.1 099 No\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 101 Up\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzz\r\n"} {
		l, _ := ready(t, &process{raw: func(c net.Conn) {
			buf := make([]byte, 1000)
			if n, _ := c.Read(buf); n > 0 {
				io.WriteString(c, garbage)
			}
		}})
		f := serve(t, l)
		resp, err := http.Get(f.URL)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		<-f.over
		if err == nil && resp.StatusCode != 502 || f.err() != nil || !f.last.Error || f.last.Fatal {
			t.Errorf("%q: %v %v %+v", garbage, resp, err, f.last)
		}
	}
}

// Close ends what is under way.
func TestClose(t *testing.T) {
	arrived := make(chan struct{})
	l, _ := ready(t, &process{handler: func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or its end is not noticed
		close(arrived)
		<-r.Context().Done()
	}})
	done := make(chan error)
	go func() {
		_, err := l.Invoke(event("1", time.Minute), nil)
		done <- err
	}()
	<-arrived
	l.Close()
	if err := <-done; err != sandbox.ErrClosed {
		t.Error(err)
	}
}
