package edge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *log.Logger { return slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) }

// start serves h on a loop and returns the address.
func start(t testing.TB, h http.HandlerFunc, change func(*http.Server)) (*Server, string) {
	t.Helper()
	return startPaced(t, h, change, pace{}.usual())
}

// startPaced is start with a pace for clients on the loop.
func startPaced(t testing.TB, h http.HandlerFunc, change func(*http.Server), p pace) (*Server, string) {
	t.Helper()
	hs := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: quiet()}
	if change != nil {
		change(hs)
	}
	var loops []*loop.Loop
	if loop.Supported {
		l, err := loop.New()
		if err != nil {
			t.Fatal(err)
		}
		loops = append(loops, l)
	}
	s := New(hs, loops, slog.New(slog.DiscardHandler))
	s.pace = p
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
		for _, l := range loops {
			l.Close()
		}
	})
	return s, l.Addr().String()
}

// startSlow is start with a handler that detaches /slow, closes waiting and goes on when release is closed.
func startSlow(t *testing.T) (s *Server, addr string, waiting, release chan struct{}) {
	waiting, release = make(chan struct{}), make(chan struct{})
	s, addr = start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			if f := hansom.FiberOf(r.Context()); f != nil {
				f.Detach()
			}
			close(waiting)
			<-release
		}
		echo(w, r)
	}, nil)
	return s, addr, waiting, release
}

// exchange sends text and returns all that comes back before the server closes or, with n above 0, n answers.
func exchange(t testing.TB, addr, text string, n int) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		all, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%v after %q", err, all)
		}
		return string(all)
	}
	var out bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &out))
	for range n {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header()["Content-Type"] = []string{"text/plain"}
	fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Host, body)
}

// fast says that the request is on a loop.
func fast(r *http.Request) bool { return hansom.FiberOf(r.Context()) != nil }

func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"echo":    echo,
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = w.Write([]byte("hi"))
		},
		"status":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418); _, _ = w.Write([]byte("tea")) },
		"own status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) },
		"no content": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(204)
		},
		"not modified": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Etag", "x"); w.WriteHeader(304) },
		"date":         func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", "now") },
		"split header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", "a\r\nSet-Cookie: b")
			w.Header().Set("Bad name", "c")
		},
		"several": func(w http.ResponseWriter, _ *http.Request) { w.Header()["Set-Cookie"] = []string{"a=1", "b=2"} },
		"close": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = w.Write([]byte("bye"))
		},
		"large": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20)) },
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("a"))
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte("b"))
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1")
			_, _ = w.Write([]byte("a"))
			_, _ = w.Write([]byte("b"))
		},
		"content guess": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
	}
	for name, h := range handlers {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				request := func(addr string) (*http.Response, string) {
					r, err := http.NewRequest(method, "http://"+addr+"/path?q=1", nil)
					if method == "POST" {
						r, err = http.NewRequest(method, "http://"+addr+"/path?q=1", strings.NewReader("body"))
					}
					if err != nil {
						t.Fatal(err)
					}
					r.Host = "some.host"
					tr := &http.Transport{DisableCompression: true}
					defer tr.CloseIdleConnections()
					res, err := tr.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					body, err := io.ReadAll(res.Body)
					if err != nil {
						t.Fatal(err)
					}
					if name != "date" {
						if _, err := time.Parse(http.TimeFormat, res.Header.Get("Date")); err != nil {
							t.Error(err)
						}
						res.Header.Del("Date")
					}
					return res, string(body)
				}
				_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
					if loop.Supported && !fast(r) {
						t.Error("not on a loop")
					}
					h(w, r)
				}, nil)
				oracle := httptest.NewServer(h)
				defer oracle.Close()
				res, body := request(addr)
				want, wantBody := request(oracle.Listener.Addr().String())
				if res.Status != want.Status || body != wantBody || fmt.Sprint(res.Header) != fmt.Sprint(want.Header) ||
					res.ContentLength != want.ContentLength || res.Close != want.Close || fmt.Sprint(res.TransferEncoding) != fmt.Sprint(want.TransferEncoding) {
					t.Errorf("got %s %v length %d close %v %v, %d bytes; net/http: %s %v length %d close %v %v, %d bytes",
						res.Status, res.Header, res.ContentLength, res.Close, res.TransferEncoding, len(body),
						want.Status, want.Header, want.ContentLength, want.Close, want.TransferEncoding, len(wantBody))
				}
			})
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	_, addr := start(t, echo, nil)
	got := exchange(t, addr, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\noneGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 0)
	one, two, three := strings.Index(got, "POST /1 a one"), strings.Index(got, "GET /2 a "), strings.Index(got, "GET /3 a ")
	if one < 0 || two < one || three < two || !strings.Contains(got[two:], "Connection: close") {
		t.Errorf("got %q", got)
	}
}

// Parts that come one by one make one request.
func TestARequestMayComeInParts(t *testing.T) {
	_, addr := start(t, echo, nil)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, part := range []string{"PO", "ST / HTTP/1.1\r\nHo", "st: a\r\nContent-Length: 6\r", "\n\r\nabc", "def"} {
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(i, err)
		}
		time.Sleep(time.Millisecond) // so that they are parts; the test holds without it
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "POST / a abcdef" {
		t.Errorf("got %q", body)
	}
}

// What the loop does not serve, net/http does, on the same connection.
func TestOddRequestsGoToNetHTTP(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Fast", fmt.Sprint(fast(r)))
		if r.URL.Path == "/over" && fast(r) {
			panic(hansom.ErrHandOver)
		}
		echo(w, r)
	}, func(s *http.Server) { s.MaxHeaderBytes = 64 << 10 })
	for _, c := range []struct{ name, text, want string }{
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST / a abc"},
		{"old version", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / a "},
		{"after a plain one", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.0\r\nHost: a\r\n\r\n", "GET /2 a "},
		{"handler's wish", "POST /over HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", "POST /over a abc"},
		{"large body", "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), strings.Repeat("x", 100000)},
		{"expects", "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "100 Continue"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "400 Bad Request"},
		{"both framings", "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST / a "},
		{"space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "400 Bad Request"},
		{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n", "431 Request Header Fields Too Large"},
		{"no HTTP", "\x16\x03\x01\r\n\r\n", "400 Bad Request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := exchange(t, addr, c.text, 0)
			if !strings.Contains(got, c.want) || !strings.Contains(c.want, "00 ") && !strings.Contains(c.want, "431") && loop.Supported && !strings.Contains(got, "Fast: false") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A request that waits does not hold up others once it is detached, and goes on when it has waited.
func TestADetachedRequestMayWait(t *testing.T) {
	_, addr, waiting, release := startSlow(t)
	slow := make(chan string)
	go func() {
		slow <- exchange(t, addr, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /then HTTP/1.1\r\nHost: a\r\n\r\n", 2)
	}()
	<-waiting
	for range 10 {
		if got := exchange(t, addr, "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n", 1); !strings.Contains(got, "GET /quick a") {
			t.Errorf("got %q", got)
		}
	}
	close(release)
	if got := <-slow; !strings.Contains(got, "GET /slow a") || !strings.Contains(got, "GET /then a") {
		t.Errorf("got %q", got)
	}
}

func TestAClientThatGoesAwayCancelsItsRequest(t *testing.T) {
	began, over := make(chan struct{}), make(chan struct{})
	_, addr := start(t, func(_ http.ResponseWriter, r *http.Request) {
		if f := hansom.FiberOf(r.Context()); f != nil {
			f.Detach()
		}
		close(began)
		<-r.Context().Done()
		close(over)
	}, nil)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-began
	c.Close()
	<-over
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name, text string
		head, idle time.Duration
		answers    int
	}{
		{"new", "", 20 * time.Millisecond, time.Hour, 0},
		{"head", "GET / HTTP/1.1\r\nHost", 20 * time.Millisecond, time.Hour, 0},
		{"kept alive", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", time.Hour, 20 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, addr := start(t, echo, func(s *http.Server) { s.ReadHeaderTimeout, s.IdleTimeout = c.head, c.idle })
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(conn, c.text) // the server may have closed already
			got, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) || strings.Count(string(got), "200 OK") != c.answers {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestShutdownWaitsForAnswers(t *testing.T) {
	s, addr, waiting, release := startSlow(t)
	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	idleReader := bufio.NewReader(idle)
	res, err := http.ReadResponse(idleReader, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	slow := make(chan string)
	go func() { slow <- exchange(t, addr, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 0) }()
	<-waiting
	down := make(chan error)
	go func() { down <- s.Shutdown(context.Background()) }()
	if _, err := idleReader.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v, want EOF", err)
	}
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned %v before the answer", err)
	default:
	}
	close(release)
	if got := <-slow; !strings.Contains(got, "GET /slow a") {
		t.Errorf("got %q", got)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("it still accepts")
	}
}

// A client that does not read holds up nobody else.
func TestShutdownBeforeServe(t *testing.T) {
	l, err := loop.New()
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	s := New(&http.Server{}, []*loop.Loop{l}, slog.New(slog.DiscardHandler))
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

func TestASlowReader(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 32<<20)
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(big)
			return
		}
		echo(w, r)
	}, nil)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		exchange(t, addr, "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n", 1)
	}
	r := bufio.NewReader(c)
	for _, want := range []int{len(big), len("GET /next a ")} {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); err != nil || int(n) != want {
			t.Errorf("%d bytes, %v; want %d", n, err, want)
		}
	}
}

func TestAPanicEndsTheConnection(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("x"))
		panic(http.ErrAbortHandler)
	}, nil)
	if got := exchange(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestManyConnections(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if f := hansom.FiberOf(r.Context()); f != nil && strings.HasSuffix(r.URL.Path, "7") {
			f.Detach()
		}
		echo(w, r)
	}, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			for i := range 200 {
				text := strings.Repeat("y", i*37)
				r, _ := http.NewRequest("POST", fmt.Sprintf("http://%s/%d", addr, i), strings.NewReader(text))
				res, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if want := fmt.Sprintf("POST /%d %s %s", i, addr, text); err != nil || string(body) != want {
					t.Errorf("got %.50q, %v", body, err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzParse holds what the loop takes for a plain request against net/http's reading of it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n", "POST /a?b=c HTTP/1.1\r\nhost: a:80\r\ncontent-length: 3\r\nX-A: 1\r\nx-a:  2\t\r\n",
		"GET //x HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n", "PUT /%41 HTTP/1.1\r\nHost:a\r\nContent-Length: 00\r\n", "GET /a;b HTTP/1.1\r\nHost: [::1]\r\nA:\r\n", "GET /a? HTTP/1.1\r\nHost: a\r\n", "GET /a!(b)*'?? HTTP/1.1\r\nHost: a\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", "GET / HTTP/1.1\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: b\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, head string) {
		if strings.Contains(head, "\r\n\r\n") || strings.HasPrefix(head, "\r\n") {
			t.Skip("the loop cuts it there")
		}
		var r request
		if !strings.HasSuffix(head, "\r\n") || !r.parse(head) {
			return
		}
		const rest = "0123456789"
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n" + strings.Repeat(rest, maxBody/len(rest)+1))))
		if err != nil {
			t.Fatalf("%q: net/http refuses it: %v", head, err)
		}
		body, _ := io.ReadAll(want.Body)
		if r.method != want.Method || r.target != want.RequestURI || r.host != want.Host || *r.url != *want.URL ||
			r.close != want.Close || int64(len(body)) != max(r.length, 0) || len(want.TransferEncoding) > 0 || want.Trailer != nil {
			t.Errorf("%q: got %+v, net/http: %+v", head, r, want)
		}
		if len(r.header) != len(want.Header) {
			t.Errorf("%q: headers %v, net/http: %v", head, r.header, want.Header)
		}
		for name, values := range want.Header {
			if fmt.Sprintf("%q", r.header[name]) != fmt.Sprintf("%q", values) {
				t.Errorf("%q: %s is %q, net/http: %q", head, name, r.header[name], values)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	const head = "GET /hello?a=b HTTP/1.1\r\nHost: abc.lambda-url.localhost\r\nUser-Agent: bench\r\nAccept: */*\r\naccept-encoding: gzip\r\n"
	var r request
	b.ReportAllocs()
	for b.Loop() {
		if !r.parse(head) {
			b.Fatal("not plain")
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	w := response{write: func([]byte) error { return nil }}
	contentType, length, body := []string{"application/json"}, []string{"33"}, []byte(`{"hello":"world","path":"/hello"}`)
	b.ReportAllocs()
	for b.Loop() {
		w.reset(false, false)
		w.Header()["Content-Type"], w.Header()["Content-Length"] = contentType, length
		_, _ = w.Write(body)
		w.finish()
	}
}

// A client that always has sent more requests holds up no other.
func TestAFloodOfRequests(t *testing.T) {
	const text, most = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100000
	var served atomic.Int64
	var flooding atomic.Value // the connection
	begun := make(chan struct{})
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			fmt.Fprint(w, served.Load())
			return
		}
		if n := served.Add(1); n == 1 {
			close(begun)
		} else if n > most {
			return
		}
		_, _ = io.WriteString(flooding.Load().(net.Conn), text) // before the last one is read
	}, nil)
	flood, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	flooding.Store(flood)
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, flood) })
	if _, err := io.WriteString(flood, strings.Repeat(text, 2000)); err != nil { // several buffers
		t.Fatal(err)
	}
	<-begun
	answer := exchange(t, addr, "GET /other HTTP/1.1\r\nHost: x\r\n\r\n", 1)
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	if n, err := strconv.Atoi(body); err != nil || n > most {
		t.Errorf("answered after %s other requests, %v", body, err)
	}
	flood.Close()
	reading.Wait()
}
