package runtimeapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimeapi"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

func TestMain(m *testing.M) {
	bootstrap()
	goleak.VerifyTestMain(m)
}

// runtime is a client of the API, one connection unless it closes it.
type runtime struct {
	t    testing.TB
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func newLink(t testing.TB) (*runtimeapi.Link, *runtime) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := runtimeapi.New(ln)
	t.Cleanup(func() { l.Close() })
	return l, dial(t, ln.Addr().String())
}

func dial(t testing.TB, addr string) *runtime {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &runtime{t: t, addr: addr, conn: conn, in: bufio.NewReader(conn)}
}

// another is a further connection of the same runtime.
func (r *runtime) another() *runtime { return dial(r.t, r.addr) }

const root = "/2018-06-01/runtime/"

func (r *runtime) send(method, path, headers, body string) {
	r.t.Helper()
	if _, err := fmt.Fprintf(r.conn, "%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", method, path, headers, len(body), body); err != nil {
		r.t.Errorf("send: %v", err)
	}
}

func (r *runtime) receive() (int, http.Header, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(r.in, nil)
	if err != nil {
		r.t.Errorf("receive: %v", err)
		return 0, nil, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Errorf("receive: %v", err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func (r *runtime) poll()                       { r.send("GET", root+"invocation/next", "", "") }
func (r *runtime) next() (http.Header, string) { r.poll(); _, h, b := r.receive(); return h, b }
func (r *runtime) post(path, body string) (int, string) {
	r.send("POST", root+path, "", body)
	status, _, answer := r.receive()
	return status, answer
}

// respond answers an invocation, and expects status.
func (r *runtime) respond(id, body string, want int) {
	r.t.Helper()
	if status, answer := r.post("invocation/"+id+"/response", body); status != want {
		r.t.Errorf("response to %s: %d %s, want %d", id, status, answer, want)
	}
}

func request(id, event string) *sandbox.Request {
	return &sandbox.Request{Invocation: &hansom.Invocation{ID: id, ARN: "arn:aws:lambda:us-east-1:000000000000:function:f", Payload: []byte(event)},
		Deadline: time.Now().Add(time.Minute).UnixMilli()}
}

func invoke(t testing.TB, l sandbox.Link, id, event string, sink hansom.Sink) sandbox.Response {
	t.Helper()
	resp, err := l.Invoke(request(id, event), sink)
	if err != nil {
		t.Fatalf("Invoke %s: %v", id, err)
	}
	return resp
}

func TestInvoke(t *testing.T) {
	l, r := newLink(t)
	large := `"` + strings.Repeat("x", 5<<20) + `"`
	var wg sync.WaitGroup
	wg.Go(func() {
		h, event := r.next()
		for name, want := range map[string]string{
			"Lambda-Runtime-Aws-Request-Id": "one", "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
			"Lambda-Runtime-Trace-Id": "Root=1-a", "Lambda-Runtime-Client-Context": `{"a":  "é"}`, "Content-Type": "application/json", "Lambda-Runtime-Cognito-Identity": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if ms, err := strconv.ParseInt(h.Get("Lambda-Runtime-Deadline-Ms"), 10, 64); err != nil || time.Until(time.UnixMilli(ms)) < 10*time.Second {
			t.Errorf("deadline %d, %v", ms, err)
		}
		if event != `{"n":1}` {
			t.Errorf("event %s", event)
		}
		if status, answer := r.post("invocation/one/response", `{"ok":1}`); status != 202 || answer != `{"status":"OK"}` {
			t.Errorf("%d %s", status, answer)
		}
		_, event = r.next()
		r.respond("two", event, 202)
		r.next()
		if status, _ := r.post("invocation/three/error", `{"errorMessage":"m","errorType":"T"}`); status != 202 {
			t.Errorf("error: %d", status)
		}
		r.next()
		r.send("POST", root+"invocation/four/error", "Lambda-Runtime-Function-Error-Type: Runtime.Foo\r\n", "")
		r.receive()
	})
	if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
		t.Fatal(err)
	}
	req := request("one", `{"n":1}`)
	req.Trace, req.ClientContext = "Root=1-a", []byte("{\"a\":\r\n\"é\"}")
	resp, err := l.Invoke(req, nil)
	if err != nil || string(resp.Payload) != `{"ok":1}` || resp.Error {
		t.Fatalf("%s, %v", resp.Payload, err)
	}
	resp.Release()
	if resp := invoke(t, l, "two", large, nil); string(resp.Payload) != large {
		t.Errorf("%d bytes", len(resp.Payload))
	}
	if resp := invoke(t, l, "three", "3", nil); !resp.Error || string(resp.Payload) != `{"errorMessage":"m","errorType":"T"}` {
		t.Errorf("%s", resp.Payload)
	}
	if resp := invoke(t, l, "four", "4", nil); !resp.Error || !strings.Contains(string(resp.Payload), `"errorType":"Runtime.Foo"`) {
		t.Errorf("%s", resp.Payload)
	}
	wg.Wait()
}

func TestInit(t *testing.T) {
	t.Run("error", func(t *testing.T) {
		l, r := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			if status, answer := r.post("init/error", `{"errorMessage":"no","errorType":"T"}`); status != 202 {
				t.Errorf("%d %s", status, answer)
			}
		})
		err := l.Init(t.Context(), &sandbox.Init{})
		if e, ok := errors.AsType[*sandbox.InitError](err); !ok || string(e.Payload) != `{"errorMessage":"no","errorType":"T"}` {
			t.Errorf("Init = %v", err)
		}
		wg.Wait()
	})
	t.Run("error too late", func(t *testing.T) {
		l, r := newLink(t)
		r.poll()
		if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
			t.Fatal(err)
		}
		if status, answer := r.another().post("init/error", "{}"); status != 403 || errorType(t, answer) != "InvalidStateTransition" {
			t.Errorf("%d %s", status, answer)
		}
	})
	t.Run("too slow", func(t *testing.T) {
		l, _ := newLink(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := l.Init(ctx, &sandbox.Init{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Init = %v", err)
		}
	})
	t.Run("the sandbox ends", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := runtimeapi.New(ln)
		defer l.Close()
		ln.Close()
		if err := l.Init(t.Context(), &sandbox.Init{}); !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("Init = %v", err)
		}
		if _, err := l.Invoke(request("a", "1"), nil); !errors.Is(err, sandbox.ErrUndelivered) {
			t.Errorf("Invoke = %v", err)
		}
	})
}

// errorType parses an error as the Runtime API documents it.
func errorType(t testing.TB, body string) string {
	t.Helper()
	var e struct{ ErrorMessage, ErrorType string }
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.ErrorMessage == "" {
		t.Errorf("%q is no error: %v", body, err)
	}
	return e.ErrorType
}

func TestRefused(t *testing.T) {
	l, r := newLink(t)
	for _, c := range []struct {
		method, path string
		status       int
		errorType    string
	}{
		{"POST", root + "invocation/unknown/response", 400, "InvalidRequestID"},
		{"POST", root + "invocation/unknown/error", 400, "InvalidRequestID"},
		{"GET", root + "invocation/unknown/response", 405, "MethodNotAllowed"},
		{"POST", root + "invocation/next", 405, "MethodNotAllowed"},
		{"PUT", root + "invocation/next", 405, "MethodNotAllowed"},
		{"GET", "/", 404, "NotFound"},
		{"POST", "/2020-01-01/extension", 404, "NotFound"},
		{"GET", root + "restore/next", 404, "NotFound"},
	} {
		r.send(c.method, c.path, "", "body")
		if status, h, body := r.receive(); status != c.status || errorType(t, body) != c.errorType || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, body, c.status, c.errorType)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { // all on one connection, which still serves
		r.next()
		if status, body := r.post("invocation/other/response", "1"); status != 400 || errorType(t, body) != "InvalidRequestID" {
			t.Errorf("the answer to another: %d %s", status, body)
		}
		r.respond("a", "1", 202)
		if status, body := r.post("invocation/a/response", "2"); status != 403 || errorType(t, body) != "InvalidStateTransition" {
			t.Errorf("the second answer: %d %s", status, body)
		}
		if status, body := r.post("invocation/a/error", "{}"); status != 403 || errorType(t, body) != "InvalidStateTransition" {
			t.Errorf("the third answer: %d %s", status, body)
		}
		r.next()
		r.respond("a", "3", 403)
		r.respond("b", "b", 202)
		r.respond("a", "4", 400)
	})
	if resp := invoke(t, l, "a", "1", nil); string(resp.Payload) != "1" {
		t.Errorf("%s", resp.Payload)
	}
	if resp := invoke(t, l, "b", "1", nil); string(resp.Payload) != "b" {
		t.Errorf("%s", resp.Payload)
	}
	wg.Wait()

	bad := r.another()
	io.WriteString(bad.conn, "not HTTP at all\r\n\r\n")
	if status, _, body := bad.receive(); status != 400 || errorType(t, body) != "InvalidRequest" {
		t.Errorf("garbage: %d %s", status, body)
	}
	if _, err := bad.in.ReadByte(); err != io.EOF {
		t.Errorf("the connection goes on after garbage: %v", err)
	}
}

// TestOtherConnections: runtimes may poll and answer wherever they like.
func TestOtherConnections(t *testing.T) {
	t.Run("a connection a request", func(t *testing.T) { // as curl does
		l, r := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 20 {
				c := r.another()
				_, event := c.next()
				c.conn.Close()
				c = r.another()
				c.respond(strconv.Itoa(i), event, 202)
				c.conn.Close()
			}
		})
		for i := range 20 {
			if resp := invoke(t, l, strconv.Itoa(i), fmt.Sprint("event ", i), nil); string(resp.Payload) != fmt.Sprint("event ", i) {
				t.Errorf("%d: %s", i, resp.Payload)
			}
		}
		wg.Wait()
	})
	t.Run("both kept open", func(t *testing.T) {
		l, r := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			answers := r.another()
			for i := range 20 {
				_, event := r.next()
				answers.respond(strconv.Itoa(i), event, 202)
			}
		})
		for i := range 20 {
			if resp := invoke(t, l, strconv.Itoa(i), fmt.Sprint("event ", i), nil); string(resp.Payload) != fmt.Sprint("event ", i) {
				t.Errorf("%d: %s", i, resp.Payload)
			}
		}
		wg.Wait()
	})
	t.Run("two answers at once", func(t *testing.T) {
		l, r := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			others := []*runtime{r.another(), r.another(), r.another()}
			for i := range 20 {
				_, event := r.next()
				var accepted sync.Map
				var all sync.WaitGroup
				for n, c := range append(others, r) {
					all.Go(func() {
						if status, _ := c.post("invocation/"+strconv.Itoa(i)+"/response", event); status == 202 {
							accepted.Store(n, true)
						} else if status != 403 && status != 400 {
							t.Errorf("status %d", status)
						}
					})
				}
				all.Wait()
				n := 0
				accepted.Range(func(any, any) bool { n++; return true })
				if n != 1 {
					t.Errorf("%d answers of one invocation were accepted", n)
				}
			}
		})
		for i := range 20 {
			if resp := invoke(t, l, strconv.Itoa(i), fmt.Sprint("event ", i), nil); string(resp.Payload) != fmt.Sprint("event ", i) {
				t.Errorf("%d: %s", i, resp.Payload)
			}
		}
		wg.Wait()
	})
	t.Run("a poller that has gone", func(t *testing.T) {
		l, r := newLink(t)
		gone := r.another()
		gone.poll()
		if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
			t.Fatal(err)
		}
		gone.conn.Close()
		var wg sync.WaitGroup
		wg.Go(func() { r.next(); r.respond("a", "1", 202) })
		if resp := invoke(t, l, "a", "1", nil); string(resp.Payload) != "1" {
			t.Errorf("%s", resp.Payload)
		}
		wg.Wait()
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		l, r := newLink(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			fmt.Fprintf(r.conn, "GET %sinvocation/next HTTP/1.0\r\n\r\n", root)
			if all, _ := io.ReadAll(r.in); !bytes.Contains(all, []byte("Connection: close")) || !bytes.HasSuffix(all, []byte("\r\n\r\n1")) {
				t.Errorf("received %s", all)
			}
			r := r.another()
			fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.0\r\nContent-Length: 1\r\n\r\n2", root)
			if all, _ := io.ReadAll(r.in); !bytes.Contains(all, []byte(" 202 Accepted\r\n")) {
				t.Errorf("received %s", all)
			}
		})
		if resp := invoke(t, l, "a", "1", nil); string(resp.Payload) != "2" {
			t.Errorf("%s", resp.Payload)
		}
		wg.Wait()
	})
	t.Run("too many", func(t *testing.T) {
		_, r := newLink(t)
		var open []*runtime
		for range 80 {
			open = append(open, r.another())
		}
		refused := 0
		for _, c := range open {
			fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\n\r\n")
			if _, err := http.ReadResponse(c.in, nil); err != nil {
				refused++
			}
		}
		if refused != 17 { // 64 with the first
			t.Errorf("%d of 80 connections were refused", refused)
		}
	})
}

func TestGone(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(l *runtimeapi.Link, r *runtime)
		want   error
	}{
		"the link is closed": {func(l *runtimeapi.Link, r *runtime) { l.Close() }, sandbox.ErrClosed},
		"half an answer": {func(l *runtimeapi.Link, r *runtime) {
			fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", root)
			r.conn.Close()
		}, sandbox.ErrClosed},
		"half, on another": {func(l *runtimeapi.Link, r *runtime) {
			c := r.another()
			fmt.Fprintf(c.conn, "POST %sinvocation/a/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", root)
			c.conn.Close()
		}, sandbox.ErrClosed},
		"not chunks": {func(l *runtimeapi.Link, r *runtime) {
			fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", root)
		}, sandbox.ErrClosed},
		"no answer":       {func(l *runtimeapi.Link, r *runtime) {}, os.ErrDeadlineExceeded},
		"no answer, gone": {func(l *runtimeapi.Link, r *runtime) { r.conn.Close() }, os.ErrDeadlineExceeded},
		"an unfinished answer": {func(l *runtimeapi.Link, r *runtime) {
			fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", root)
		}, os.ErrDeadlineExceeded},
		"unfinished on another": {func(l *runtimeapi.Link, r *runtime) {
			fmt.Fprintf(r.another().conn, "POST %sinvocation/a/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n1", root)
		}, os.ErrDeadlineExceeded},
		"polls again": {func(l *runtimeapi.Link, r *runtime) { r.poll() }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			l, r := newLink(t)
			var wg sync.WaitGroup
			wg.Go(func() { r.next(); c.answer(l, r) })
			if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
				t.Fatal(err)
			}
			req := request("a", "1")
			if c.want == os.ErrDeadlineExceeded {
				req.Deadline = time.Now().Add(200 * time.Millisecond).UnixMilli()
			}
			if _, err := l.Invoke(req, nil); !errors.Is(err, c.want) {
				t.Errorf("Invoke = %v", err)
			}
			wg.Wait()
			l.Close()
			if _, err := l.Invoke(request("b", "1"), nil); !errors.Is(err, sandbox.ErrUndelivered) {
				t.Errorf("Invoke of a closed link = %v", err)
			}
		})
	}
	t.Run("does not poll", func(t *testing.T) {
		l, _ := newLink(t)
		req := request("a", "1")
		req.Deadline = time.Now().Add(10 * time.Millisecond).UnixMilli()
		if _, err := l.Invoke(req, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Invoke = %v", err)
		}
	})
	t.Run("does not read", func(t *testing.T) {
		l, r := newLink(t)
		r.poll()
		req := request("a", strings.Repeat("x", 6<<20))
		req.Deadline = time.Now().Add(100 * time.Millisecond).UnixMilli()
		if _, err := l.Invoke(req, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Invoke = %v", err)
		}
	})
}

func TestTooLarge(t *testing.T) {
	l, r := newLink(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		r.next()
		r.respond("a", strings.Repeat("x", sandbox.MaxResponse), 202)
		r.next()
		status, answer := r.post("invocation/b/response", strings.Repeat("x", sandbox.MaxResponse+1))
		if status != 413 || errorType(t, answer) != "RequestEntityTooLarge" {
			t.Errorf("%d %s", status, answer)
		}
		r.next()
		r.respond("c", "1", 202)
	})
	if resp := invoke(t, l, "a", "1", nil); len(resp.Payload) != sandbox.MaxResponse || resp.Error {
		t.Errorf("%d bytes", len(resp.Payload))
	}
	want := `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`
	if resp := invoke(t, l, "b", "1", nil); !resp.Error || string(resp.Payload) != want {
		t.Errorf("%.100s", resp.Payload)
	}
	if resp := invoke(t, l, "c", "1", nil); string(resp.Payload) != "1" {
		t.Errorf("%s", resp.Payload)
	}
	wg.Wait()
}

func TestExpect(t *testing.T) {
	l, r := newLink(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		r.next()
		fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", root)
		if line, _ := r.in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Errorf("received %q", line)
		}
		r.in.ReadString('\n')
		io.WriteString(r.conn, "1")
		if status, _, _ := r.receive(); status != 202 {
			t.Errorf("status %d", status)
		}
	})
	if resp := invoke(t, l, "a", "1", nil); string(resp.Payload) != "1" {
		t.Errorf("%s", resp.Payload)
	}
	wg.Wait()
}

// recorder is a Sink that gives each part to the test when it is flushed.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	parts  chan string
}

func (r *recorder) Start(_ int, h http.Header)  { r.header = h }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) Flush() {
	if r.parts != nil {
		r.parts <- r.body.String()
	}
}

func TestStream(t *testing.T) {
	const streaming = "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
	failed := base64.StdEncoding.EncodeToString([]byte(`{"errorType":"T","errorMessage":"m"}`))
	trailers := "0\r\nLambda-Runtime-Function-Error-Type: T\r\nLambda-Runtime-Function-Error-Body: " + failed + "\r\n\r\n"
	for name, c := range map[string]struct {
		headers, body string
		sink          bool
		streamed      bool
		payload, sunk string
		isError       bool
		status        int
	}{
		"mode":                     {streaming + "Content-Type: text/html\r\n", "4\r\npart\r\n0\r\n\r\n", true, true, "", "part", false, 202},
		"mode, no sink":            {streaming, "4\r\npart\r\n0\r\n\r\n", false, false, "part", "", false, 202},
		"no mode":                  {"", "4\r\npart\r\n0\r\n\r\n", true, false, "part", "", false, 202},
		"integration":              {"Content-Type: application/vnd.awslambda.http-integration-response\r\n", "4\r\npart\r\n0\r\n\r\n", true, true, "", "part", false, 202},
		"breaks off":               {streaming, "4\r\npart\r\n" + trailers, true, true, `{"errorType":"T","errorMessage":"m"}`, "part", true, 202},
		"breaks off, no mode":      {"Trailer: Lambda-Runtime-Function-Error-Type\r\n", "4\r\npart\r\n" + trailers, false, false, `{"errorType":"T","errorMessage":"m"}`, "", true, 202},
		"breaks off without words": {streaming, "0\r\nLambda-Runtime-Function-Error-Type: T\r\n\r\n", true, true, `{"errorType":"T","errorMessage":"The runtime reported an error without a message."}`, "", true, 202},
		"other mode":               {"Lambda-Runtime-Function-Response-Mode: dreaming\r\n", "4\r\npart\r\n0\r\n\r\n", true, false, `{"errorType":"Runtime.InvalidResponseModeHeader","errorMessage":"Invalid function response mode"}`, "", true, 400},
	} {
		t.Run(name, func(t *testing.T) {
			l, r := newLink(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				r.next()
				fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s", root, c.headers, c.body)
				if status, _, body := r.receive(); status != c.status {
					t.Errorf("%d %s", status, body)
				}
			})
			rec := &recorder{}
			var sink hansom.Sink
			if c.sink {
				sink = rec
			}
			resp := invoke(t, l, "a", "1", sink)
			wg.Wait()
			if resp.Streamed != c.streamed || string(resp.Payload) != c.payload || resp.Error != c.isError || rec.body.String() != c.sunk {
				t.Errorf("%+v %s %q", resp, resp.Payload, rec.body.String())
			}
			if _, want, _ := strings.Cut(strings.TrimSpace(c.headers), "Content-Type: "); c.streamed && rec.header.Get("Content-Type") != want {
				t.Errorf("content type %q, want %q", rec.header.Get("Content-Type"), want)
			}
		})
	}
	t.Run("part by part", func(t *testing.T) {
		l, r := newLink(t)
		rec := &recorder{parts: make(chan string)}
		var wg sync.WaitGroup
		wg.Go(func() {
			r.next()
			fmt.Fprintf(r.conn, "POST %sinvocation/a/response HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n", root, streaming)
			want := ""
			for i := range 3 {
				want += strconv.Itoa(i)
				fmt.Fprintf(r.conn, "1\r\n%d\r\n", i)
				if got := <-rec.parts; got != want { // it was flushed though more is to come
					t.Errorf("got %q, want %q", got, want)
				}
			}
			io.WriteString(r.conn, "0\r\n\r\n")
		})
		if resp := invoke(t, l, "a", "1", rec); !resp.Streamed {
			t.Errorf("%+v", resp)
		}
		wg.Wait()
	})
}
