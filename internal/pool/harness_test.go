package pool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mb = 1 << 20

// recorder is the pool's Logs, Recorder, Code, Credentials and Runtimes.
type recorder struct {
	mu          sync.Mutex
	events      []hansom.LogEvent
	completions []hansom.Completion
	silent      bool
	ttl         time.Duration
	runtime     runtimes.Runtime
	code        string
}

func newRecorder() *recorder {
	return &recorder{runtime: runtimes.Runtime{Identifier: "nodejs22.x", Family: runtimes.Node, HostVersion: "22.23.3", Frames: true,
		Binds: []runtimes.Bind{{Source: "/srv/runtime", Target: runtimes.RuntimeRoot}}}, code: "/srv/code"}
}

func (r *recorder) Append(e hansom.LogEvent) {
	if r.silent {
		return
	}
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
}

func (r *recorder) Record(c hansom.Completion) {
	if r.silent {
		return
	}
	r.mu.Lock()
	r.completions = append(r.completions, c)
	r.mu.Unlock()
}

func (r *recorder) Resolve(string) (*runtimes.Runtime, error) { return &r.runtime, nil }

func (r *recorder) Code(context.Context, *hansom.Version) (string, string, func(), error) {
	return r.code, "", func() {}, nil
}

func (r *recorder) IssueFunction(_ *hansom.Version, ttl time.Duration) hansom.Credentials {
	if r.ttl != 0 {
		ttl = r.ttl
	}
	return hansom.Credentials{AccessKeyID: "ASIATEST", SecretAccessKey: "secret", SessionToken: "token", Expires: time.Now().Add(ttl)}
}

// lines of the log that belong to a request; all when id is "*".
func (r *recorder) lines(id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, e := range r.events {
		if id == "*" || e.RequestID == id {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

func (r *recorder) recorded() []hansom.Completion {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]hansom.Completion(nil), r.completions...)
}

func (r *recorder) deps(d sandbox.Driver) Deps {
	return Deps{Driver: d, Runtimes: r, Code: r, Credentials: r, Logs: r, Recorder: r,
		Link: func(sb sandbox.Sandbox, rt *runtimes.Runtime, log sandbox.LogFunc) (sandbox.Link, error) {
			if s, ok := sb.(*stubSandbox); ok {
				return s, nil
			}
			if !rt.Frames {
				return nil, errors.New("no frames")
			}
			return sandbox.NewPipeline(sb.Conn(), nil, log), nil
		}}
}

func version(name string) *hansom.Version {
	return &hansom.Version{Project: hansom.DefaultProject, Region: hansom.DefaultRegion, Function: name, Number: hansom.Latest, Revision: "r1-" + name,
		Runtime: "nodejs22.x", Handler: "index.handler", Role: "arn:aws:iam::000000000000:role/app", Memory: 128, Ephemeral: 512, Timeout: 3 * time.Second}
}

func call(id, payload string) *hansom.Invocation {
	return &hansom.Invocation{ID: id, Project: hansom.DefaultProject, Payload: []byte(payload), Source: "api"}
}

// newPool makes a pool that is closed, and whose Maintain ends, with the test.
func newPool(t testing.TB, d sandbox.Driver, r *recorder, change func(*Config, *Deps)) *Pool {
	t.Helper()
	cfg, deps := DefaultConfig(), r.deps(d)
	cfg.Memory = 1 << 40
	if change != nil {
		change(&cfg, &deps)
	}
	p, err := New(cfg, deps, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	maintained := make(chan struct{})
	go func() { defer close(maintained); p.Maintain(ctx) }()
	t.Cleanup(func() {
		stop()
		<-maintained
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Reserved != 0 || s.Idle+s.Busy+s.Booting+s.Waiting != 0 {
			t.Errorf("after Close: %+v", s)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func newFake(t testing.TB, r *recorder, script func(sandbox.Spec) fake.Script, change func(*Config, *Deps)) (*Pool, *fake.Driver) {
	t.Helper()
	d := fake.New(script)
	return newPool(t, d, r, change), d
}

// handler is a fake.Script with nothing but a handler.
func handler(f func(ctx context.Context, c *fake.Call) ([]byte, error)) func(sandbox.Spec) fake.Script {
	return func(sandbox.Spec) fake.Script { return fake.Script{Handler: f} }
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func mustRun(t testing.TB, p *Pool, v *hansom.Version, id, payload string) hansom.Result {
	t.Helper()
	res, err := p.Run(context.Background(), v, call(id, payload), nil)
	if err != nil {
		t.Errorf("%s: %v", id, err) // not Fatal: it is called by goroutines too
	}
	return res
}

// errorOf decodes the error of a result.
func errorOf(t testing.TB, res hansom.Result) (errorType, message string) {
	t.Helper()
	var body struct{ ErrorType, ErrorMessage string }
	if res.FunctionError != "Unhandled" {
		t.Fatalf("no function error: %q %s", res.FunctionError, res.Payload)
	}
	if err := json.Unmarshal(res.Payload, &body); err != nil {
		t.Fatalf("%s: %v", res.Payload, err)
	}
	return body.ErrorType, body.ErrorMessage
}

// stub is a driver without files, sockets and goroutines, for tests with synctest. Its sandboxes are their own links.
type stub struct {
	boot   func(ctx context.Context, s *stubSandbox) error // in Init
	invoke func(s *stubSandbox, req *sandbox.Request) (sandbox.Response, error)

	mu      sync.Mutex
	living  map[*stubSandbox]bool
	started int
	onStart func() // sees the pool while it starts a sandbox
}

type stubSandbox struct {
	sandbox.Spec
	driver         *stub
	number         int
	done           chan struct{}
	once           sync.Once
	exit           sandbox.Exit
	calls          int // so far, and at once; under driver.mu
	running, most  int
	frozen         atomic.Bool
	freezes, thaws atomic.Int32
}

var (
	_ sandbox.Freezer = (*stubSandbox)(nil)
	_ sandbox.Link    = (*stubSandbox)(nil)
)

func (d *stub) Name() string { return "stub" }
func (d *stub) Close() error { return nil }
func (d *stub) Start(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if d.onStart != nil {
		d.onStart()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started++
	s := &stubSandbox{Spec: spec, driver: d, number: d.started, done: make(chan struct{})}
	if d.living == nil {
		d.living = map[*stubSandbox]bool{}
	}
	d.living[s] = true
	return s, nil
}

func (d *stub) alive() []*stubSandbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*stubSandbox
	for s := range d.living {
		all = append(all, s)
	}
	return all
}

func (d *stub) starts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started
}

func (s *stubSandbox) Conn() *net.UnixConn       { return nil }
func (s *stubSandbox) Listener(int) net.Listener { return nil }
func (s *stubSandbox) Output() *os.File          { return nil }
func (s *stubSandbox) Done() <-chan struct{}     { return s.done }
func (s *stubSandbox) Exit() sandbox.Exit        { return s.exit }
func (s *stubSandbox) Usage() sandbox.Usage      { return sandbox.Usage{MemoryPeak: 40 * mb} }
func (s *stubSandbox) Kill()                     { s.stop(sandbox.Exit{Code: -1, Signal: 9}) }
func (s *stubSandbox) Close() error              { return nil }
func (s *stubSandbox) Freeze() error             { s.frozen.Store(true); s.freezes.Add(1); return nil }
func (s *stubSandbox) Thaw() error               { s.frozen.Store(false); s.thaws.Add(1); return nil }
func (s *stubSandbox) stop(e sandbox.Exit) {
	s.once.Do(func() {
		s.exit = e
		s.driver.mu.Lock()
		delete(s.driver.living, s)
		s.driver.mu.Unlock()
		close(s.done)
	})
}

func (s *stubSandbox) Init(ctx context.Context, _ *sandbox.Init) error {
	if s.driver.boot == nil {
		return nil
	}
	return s.driver.boot(ctx, s)
}

func (s *stubSandbox) Invoke(req *sandbox.Request, _ hansom.Sink) (sandbox.Response, error) {
	s.driver.mu.Lock()
	s.calls++
	s.running++
	s.most = max(s.most, s.running)
	s.driver.mu.Unlock()
	defer func() {
		s.driver.mu.Lock()
		s.running--
		s.driver.mu.Unlock()
	}()
	if s.frozen.Load() {
		panic("an invocation of a frozen sandbox")
	}
	if s.driver.invoke == nil {
		return sandbox.Response{Payload: req.Payload}, nil
	}
	return s.driver.invoke(s, req)
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "(nothing)", "(nothing)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w && !(strings.HasSuffix(w, "*") && strings.HasPrefix(g, strings.TrimSuffix(w, "*"))) {
			t.Errorf("line %d:\n got %q\nwant %q", i, g, w)
		}
	}
}

func isKind(t *testing.T, err error, kind hansom.Kind) *hansom.Error {
	t.Helper()
	var e *hansom.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v, want kind %d", err, kind)
	}
	return e
}

func repeat(b byte, n int) string { return string(bytes.Repeat([]byte{b}, n)) }

func id(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
