package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/edge"
	"github.com/hansomcloud/hansom/internal/frame"
	"github.com/hansomcloud/hansom/internal/gateway"
	"github.com/hansomcloud/hansom/internal/gateway/compress"
	"github.com/hansomcloud/hansom/internal/invoke"
	"github.com/hansomcloud/hansom/internal/loop"
	"github.com/hansomcloud/hansom/internal/pool"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// warm is everything that a warm call meets but its runtime: edge, gateway, invoke, pool and telemetry are the real ones.
// Its sandboxes are their own links, or have the runtime's end of one that takes several calls at once.
type warm struct {
	version hansom.Version
	url     hansom.FunctionURL
	runtime runtimes.Runtime
}

type warmBox struct {
	done chan struct{}
	once sync.Once
}

func (w *warm) URL(string) (*hansom.FunctionURL, bool) { return &w.url, true }
func (w *warm) Resolve(context.Context, string, string, string) (hansom.Target, error) {
	return hansom.Target{ARN: "arn:aws:lambda:us-east-1:000000000000:function:f", Version: &w.version, Reserved: -1}, nil
}
func (w *warm) Reserved(string) int                                      { return 0 }
func (w *warm) Authenticate(*http.Request) (p hansom.Principal, e error) { return }
func (w *warm) Code(context.Context, *hansom.Version) (string, string, func(), error) {
	return "/code", "", func() {}, nil
}
func (w *warm) IssueFunction(_ *hansom.Version, ttl time.Duration) hansom.Credentials {
	return hansom.Credentials{Expires: time.Now().Add(ttl)}
}
func (w *warm) Name() string { return "warm" }
func (w *warm) Close() error { return nil }
func (w *warm) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) {
	return &warmBox{done: make(chan struct{})}, nil
}

type warmRuntimes struct{ *runtimes.Runtime }

func (r warmRuntimes) Resolve(string) (*runtimes.Runtime, error) { return r.Runtime, nil }

func (b *warmBox) Conn() *net.UnixConn                       { return nil }
func (b *warmBox) Listener(int) net.Listener                 { return nil }
func (b *warmBox) Output() *os.File                          { return nil }
func (b *warmBox) Done() <-chan struct{}                     { return b.done }
func (b *warmBox) Exit() sandbox.Exit                        { return sandbox.Exit{} }
func (b *warmBox) Usage() sandbox.Usage                      { return sandbox.Usage{} }
func (b *warmBox) Kill()                                     { b.once.Do(func() { close(b.done) }) }
func (b *warmBox) Init(context.Context, *sandbox.Init) error { return nil }
func (b *warmBox) Close() error                              { return nil }
func (b *warmBox) CarriesFibers() bool                       { return true }
func (b *warmBox) Invoke(*sandbox.Request, hansom.Sink) (sandbox.Response, error) {
	return sandbox.Response{Payload: warmAnswer}, nil
}

var warmAnswer = []byte(`{"hello":"world","path":"/hello"}`)

// warmPipeline is a link whose runtime answers several calls at once and allocates nothing for them.
func warmPipeline(t testing.TB, on *loop.Loop) sandbox.Link {
	server, file, err := sandbox.Socketpair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ready := frame.AppendBooted(make([]byte, frame.HeaderSize), frame.Booted{Protocol: frame.Version, Runtime: "v1"})
		frame.AppendHeader(ready[:0], frame.Header{Length: uint32(len(ready) - frame.HeaderSize), Kind: frame.Ready})
		_, _ = conn.Write(frame.AppendHeader(ready, frame.Header{Kind: frame.Ready, Flags: frame.FlagInit}))
		r, out := bufio.NewReader(conn), make([]byte, 0, 1<<10)
		header := make([]byte, frame.HeaderSize)
		for {
			if _, err := io.ReadFull(r, header); err != nil {
				return
			}
			h, _ := frame.ParseHeader(header)
			_, _ = r.Discard(int(h.Length))
			if h.Kind == frame.Invoke {
				out = frame.AppendHeader(out[:0], frame.Header{Length: uint32(len(warmAnswer)), Kind: frame.Result, Stream: h.Stream})
				_, _ = conn.Write(append(out, warmAnswer...))
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return sandbox.NewPipeline(server, on, func(string, []byte) time.Duration { return 0 })
}

// startWarm returns a connection to the edge, before a function whose instances take several calls at once.
func startWarm(t testing.TB, concurrency int) net.Conn {
	t.Helper()
	if !loop.Supported {
		t.Skip("no event loops here")
	}
	logger := slog.New(slog.DiscardHandler)
	w := &warm{
		version: hansom.Version{Project: hansom.DefaultProject, Function: "f", Number: hansom.Latest, Revision: "r", Runtime: "nodejs22.x", Handler: "app.handler", Memory: 128, Timeout: time.Minute, Concurrency: concurrency},
		url:     hansom.FunctionURL{ID: "abc", Project: hansom.DefaultProject, Function: "f", AuthType: hansom.URLAuthNone, InvokeMode: hansom.URLBuffered},
		runtime: runtimes.Runtime{Identifier: "nodejs22.x", Family: runtimes.Node, Frames: true},
	}
	logs, err := telemetry.NewLogs(telemetry.DefaultLogsConfig(), t.TempDir(), logger)
	if err != nil {
		t.Fatal(err)
	}
	loops, err := newLoops()
	if err != nil {
		t.Fatal(err)
	}
	p, err := pool.New(pool.DefaultConfig(), pool.Deps{
		Driver: w, Runtimes: warmRuntimes{&w.runtime}, Code: w, Credentials: w, Logs: logs, Recorder: telemetry.NewMetrics(telemetry.DefaultMetricsConfig()),
		Link: func(sb sandbox.Sandbox, _ *runtimes.Runtime, _ sandbox.LogFunc) (sandbox.Link, error) {
			if concurrency > 1 {
				return warmPipeline(t, loops[0]), nil
			}
			return sb.(*warmBox), nil
		},
	}, logger)
	if err != nil {
		t.Fatal(err)
	}
	invocations, err := invoke.New(invoke.DefaultConfig(), w, p, newThrottles(telemetry.NewMetrics(telemetry.DefaultMetricsConfig()), nil))
	if err != nil {
		t.Fatal(err)
	}
	requests := telemetry.NewRequests()
	g := gateway.New(gateway.DefaultConfig(), gateway.Deps{URLs: w, Auth: w, Invoker: requests.Invoker(invocations)}, logger)
	s := edge.New(httpServer(&edge.Front{Next: requests.Handler(compress.Handler(g))}, logger), loops, logger)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		_ = s.Close()
		<-served
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for _, l := range loops {
			l.Close()
		}
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// warmCall is one request and its answer, which allocate nothing here.
func warmCall(t testing.TB, conn net.Conn) func() {
	request := []byte("GET /hello?a=b HTTP/1.1\r\nHost: abc.lambda-url.localhost\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
	r := bufio.NewReader(conn)
	body := make([]byte, len(warmAnswer))
	return func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		for first := true; ; first = false {
			line, err := r.ReadSlice('\n')
			if err != nil {
				t.Fatal(err)
			}
			if first && string(line) != "HTTP/1.1 200 OK\r\n" {
				t.Fatalf("answered %q", line)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := io.ReadFull(r, body); err != nil || string(body) != string(warmAnswer) {
			t.Fatalf("answered %q, %v", body, err)
		}
	}
}

// What a warm call allocates from the client's request to the answer; comments beside the sum would age, a profile does not:
// go test -run xxx -bench Warm -memprofile mem ./internal/server
const warmAllocations = 9

func TestWarmCallAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, concurrency := range []int{1, 16} {
		t.Run(strconv.Itoa(concurrency), func(t *testing.T) {
			call := warmCall(t, startWarm(t, concurrency))
			for range 10 {
				call()
			}
			if n := testing.AllocsPerRun(2000, call); n > warmAllocations {
				t.Errorf("%.1f allocations in a warm call, want at most %d", n, warmAllocations)
			}
		})
	}
}

// BenchmarkWarm is a warm call over a TCP connection to a runtime that answers at once.
func BenchmarkWarm(b *testing.B) {
	call := warmCall(b, startWarm(b, 1))
	call()
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}
