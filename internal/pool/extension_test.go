package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimeapi"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

// layer makes a folder for /opt whose extensions/ has these files.
func layer(t testing.TB, mode os.FileMode, files ...string) runtimes.Bind {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "extensions", "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(dir, "extensions", file), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	return runtimes.Bind{Source: dir, Target: runtimes.OptRoot}
}

// extensionLinks has the links of a fake driver's sandboxes serve extensions.
func extensionLinks(_ *Config, d *Deps) {
	d.Link = func(sb sandbox.Sandbox, _ *runtimes.Runtime, log sandbox.LogFunc) (sandbox.Link, error) {
		return runtimeapi.Beside(sb.Listener(RuntimePort), sandbox.NewFrameLink(sb.Conn(), log)), nil
	}
}

// client is an extension's, or an internal extension's, side of the Extensions API.
type client struct {
	api, id string
	http    http.Client
}

func (c *client) do(ctx context.Context, method, path, body string, headers ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.api+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if c.id != "" {
		req.Header.Set("Lambda-Extension-Identifier", c.id)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	return resp, string(b), err
}

func registerAt(ctx context.Context, api, name string, events ...string) (*client, error) {
	c := &client{api: api, http: http.Client{Transport: &http.Transport{}}}
	body, _ := json.Marshal(map[string]any{"events": events})
	resp, _, err := c.do(ctx, "POST", "/2020-01-01/extension/register", string(body), "Lambda-Extension-Name", name)
	if err == nil {
		c.id = resp.Header.Get("Lambda-Extension-Identifier")
	}
	return c, err
}

// next returns an event as "INVOKE id" or "SHUTDOWN reason".
func (c *client) next(ctx context.Context) (string, error) {
	_, body, err := c.do(ctx, "GET", "/2020-01-01/extension/event/next", "")
	if err != nil {
		return "", err
	}
	var e struct{ EventType, RequestID, ShutdownReason string }
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return "", err
	}
	return e.EventType + " " + e.RequestID + e.ShutdownReason, nil
}

// heard is what happened, in its order.
type heard struct {
	mu      sync.Mutex
	entries []string
}

func (j *heard) add(entry string) {
	j.mu.Lock()
	j.entries = append(j.entries, entry)
	j.mu.Unlock()
}

func (j *heard) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.entries, "; ")
}

// polite is an external extension that registers, and gives each event but SHUTDOWN to on; it ends after SHUTDOWN.
func polite(j *heard, on func(ctx context.Context, s *fake.Sandbox, c *client, event string) error) func(context.Context, *fake.Sandbox, string) error {
	return func(ctx context.Context, s *fake.Sandbox, path string) error {
		name := filepath.Base(path)
		c, err := registerAt(ctx, s.Getenv("AWS_LAMBDA_RUNTIME_API"), name, "INVOKE", "SHUTDOWN")
		defer c.http.CloseIdleConnections()
		for err == nil {
			var event string
			if event, err = c.next(ctx); err != nil {
				break
			}
			j.add(name + " " + event)
			if strings.HasPrefix(event, "SHUTDOWN") {
				return nil
			}
			if on != nil {
				err = on(ctx, s, c, event)
			}
		}
		return err
	}
}

func TestExtension(t *testing.T) {
	j, r := &heard{}, newRecorder()
	r.runtime.Binds = append(r.runtime.Binds, layer(t, 0o755, "one"))
	p, d := newFake(t, r, func(spec sandbox.Spec) fake.Script {
		if fmt.Sprint(spec.Extend) != "[/opt/extensions/one]" { // the folder there is none
			t.Errorf("extensions: %q", spec.Extend)
		}
		return fake.Script{
			Boot:    func(context.Context) { j.add("boot") },
			Handler: func(_ context.Context, c *fake.Call) ([]byte, error) { j.add("handle"); return c.Event, nil },
			Extend: polite(j, func(_ context.Context, s *fake.Sandbox, _ *client, event string) error {
				s.PrintExtension("got " + event + "\n")
				return nil
			}),
		}
	}, extensionLinks)
	for i := range 2 {
		if res := mustRun(t, p, version("f"), id(i), "1"); string(res.Payload) != "1" {
			t.Errorf("%s", res.Payload)
		}
		eventually(t, "the call is over", func() bool { return p.Stats().Busy == 0 })
		wantLines(t, r.lines(id(i)), "START *", "got INVOKE "+id(i), "END *", "REPORT *")
	}
	if d.Started() != 1 {
		t.Errorf("%d sandboxes", d.Started())
	}
	p.Retire(hansom.DefaultProject, "f", "r1-f")
	eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 })
	// An INVOKE event comes beside the runtime's.
	got := strings.ReplaceAll(j.String(), "handle; one INVOKE", "one INVOKE")
	want := "boot; one INVOKE " + id(0) + "; one INVOKE " + id(1) + "; one SHUTDOWN spindown"
	if got = strings.ReplaceAll(got, "; handle", ""); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	wantLines(t, r.lines(""), "INIT_START *", "EXTENSION\tName: one\tState: Ready\tEvents: [INVOKE, SHUTDOWN]")
}

// The answer goes out when the runtime is done; the instance is busy, and the call's duration goes on, until extensions are.
func TestExtensionFlush(t *testing.T) {
	j, r := &heard{}, newRecorder()
	r.runtime.Binds = append(r.runtime.Binds, layer(t, 0o755, "one"))
	flush := make(chan struct{})
	p, d := newFake(t, r, func(sandbox.Spec) fake.Script {
		return fake.Script{Extend: polite(j, func(ctx context.Context, s *fake.Sandbox, _ *client, _ string) error {
			select {
			case <-flush:
			case <-ctx.Done():
			}
			return nil
		})}
	}, extensionLinks)
	v := version("f")
	v.Timeout = time.Minute
	mustRun(t, p, v, id(1), "1")
	if s := p.Stats(); s.Busy != 1 || len(r.recorded()) != 0 {
		t.Errorf("%+v, %d records: the extension still works", s, len(r.recorded()))
	}
	inv := call(id(2), "2")
	inv.LogTail = true
	tail := make(chan hansom.Result, 1)
	go func() {
		res, err := p.Run(context.Background(), v, inv, nil)
		if err != nil {
			t.Error(err)
		}
		tail <- res
	}()
	eventually(t, "the second call has an instance of its own", func() bool { return d.Started() == 2 && strings.Contains(j.String(), id(2)) })
	select {
	case <-tail:
		t.Error("the tail of the log came before its end")
	case <-time.After(50 * time.Millisecond):
	}
	close(flush)
	if res := <-tail; !strings.Contains(string(res.LogTail), "REPORT RequestId: "+id(2)) || res.Completion.Duration < 50*time.Millisecond {
		t.Errorf("%s %v", res.LogTail, res.Completion.Duration)
	}
	eventually(t, "both calls are recorded", func() bool { return len(r.recorded()) == 2 && p.Stats().Idle == 2 })
	for _, c := range r.recorded() {
		if c.Duration < 50*time.Millisecond || c.Billed < c.Duration+c.Init || c.Status != hansom.StatusOK {
			t.Errorf("%+v", c)
		}
	}
	wantLines(t, r.lines(id(1)), "START *", "END *", "REPORT *")
}

func TestExtensionFailures(t *testing.T) {
	refuse := func(path string) func(ctx context.Context, s *fake.Sandbox, c *client) error {
		return func(ctx context.Context, s *fake.Sandbox, c *client) error {
			if _, _, err := c.do(ctx, "POST", "/2020-01-01/extension/"+path, "{}", "Lambda-Extension-Function-Error-Type", "Extension.NoKey"); err != nil {
				return err
			}
			return fake.Exit(7)
		}
	}
	type act = func(ctx context.Context, s *fake.Sandbox, c *client) error
	handling := make(chan struct{}, 1)
	hang := func(ctx context.Context, c *fake.Call) ([]byte, error) {
		handling <- struct{}{}
		return fake.Hang(ctx, c)
	}
	meanwhile := func(f act) act {
		return func(ctx context.Context, s *fake.Sandbox, c *client) error { <-handling; return f(ctx, s, c) }
	}
	for name, c := range map[string]struct {
		mode     os.FileMode
		files    int
		start    error                                      // of the driver
		launch   func(context.Context, *fake.Sandbox) error // in place of registering
		register act                                        // once registered
		invoke   act                                        // once it has an INVOKE event
		handler  func(context.Context, *fake.Call) ([]byte, error)
		timeout  time.Duration
		want     string // of the payload
		lines    []string
		end      string // in the heard
		survives bool   // the caller had its answer
	}{
		"not executable": {mode: 0o644, want: `{"errorType":"Extension.LaunchError","errorMessage":"RequestId: ` + id(1) + ` Error: fork/exec /opt/extensions/e0: permission denied"}`,
			lines: []string{"EXTENSION\tName: e0\tState: LaunchError\tEvents: []\tError Type: PermissionDenied", "INIT_REPORT Init Duration: 0.00 ms\tPhase: init\tStatus: error\tError Type: Extension.LaunchError"}},
		"too many": {files: 11, want: "Extension limit (10) reached", lines: []string{"*TooManyExtensions", "INIT_REPORT *"}},
		"not a program": {start: hansom.Errorf(hansom.Invalid, "start sandbox", "cannot start /opt/extensions/e0: exec format error"), want: "exec format error",
			lines: []string{"EXTENSION\tName: e0\tState: LaunchError\tEvents: []\tError Type: UnknownError", "INIT_REPORT *"}},
		"exit before register": {launch: func(context.Context, *fake.Sandbox) error { return nil },
			want: `{"errorType":"Extension.Crash","errorMessage":"RequestId: ` + id(1) + ` Error: exit code 0"}`, lines: []string{"INIT_START *", "EXTENSION\tName: e0\tState: Started*", "INIT_REPORT *Error Type: Extension.Crash"}},
		"exit after register": {register: func(context.Context, *fake.Sandbox, *client) error { return fake.Exit(3) },
			want: `{"errorType":"Extension.Crash","errorMessage":"RequestId: ` + id(1) + ` Error: exit status 3"}`, lines: []string{"INIT_START *", "EXTENSION\tName: e0\tState: Registered\tEvents: [INVOKE, SHUTDOWN]", "INIT_REPORT *Error Type: Extension.Crash"}},
		"init error": {register: refuse("init/error"), want: `{"errorType":"Extension.InitError","errorMessage":"RequestId: ` + id(1) + ` Error: exit status 7"}`,
			lines: []string{"INIT_START *", "EXTENSION\tName: e0\tState: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Extension.NoKey", "INIT_REPORT *Error Type: Extension.InitError"}},
		"crash in a call": {invoke: meanwhile(func(context.Context, *fake.Sandbox, *client) error { return fake.Signal(11) }), handler: hang,
			want: `{"errorType":"Extension.Crash","errorMessage":"RequestId: ` + id(1) + ` Error: signal: segmentation fault"}`, lines: []string{"INIT_START *", "EXTENSION\tName: e0\tState: Ready*"}},
		"exit error in a call": {invoke: meanwhile(refuse("exit/error")), handler: hang,
			want: `{"errorType":"Extension.ExitError","errorMessage":"RequestId: ` + id(1) + ` Error: exit status 7"}`, lines: []string{"INIT_START *", "EXTENSION\tName: e0\tState: Ready*"}},
		"exit error after a call": {invoke: refuse("exit/error"), want: "1", survives: true},
		"never done":              {invoke: func(ctx context.Context, _ *fake.Sandbox, _ *client) error { <-ctx.Done(); return nil }, timeout: 200 * time.Millisecond, want: "1", survives: true},
		"runtime timeout":         {handler: fake.Hang, timeout: 200 * time.Millisecond, want: "Task timed out after 0.20 seconds", end: "e0 SHUTDOWN timeout"},
		"fatal answer": {handler: func(context.Context, *fake.Call) ([]byte, error) {
			return nil, &fake.FunctionError{Type: "Error", Message: "boom", Fatal: true}
		}, want: "boom", end: "e0 SHUTDOWN failure"},
		"runtime crash": {handler: func(context.Context, *fake.Call) ([]byte, error) { return nil, fake.Exit(4) },
			want: `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: ` + id(1) + ` Error: Runtime exited with error: exit status 4"}`, end: "e0 SHUTDOWN failure"},
	} {
		t.Run(name, func(t *testing.T) {
			j, r := &heard{}, newRecorder()
			files := []string{}
			for i := range max(c.files, 1) {
				files = append(files, fmt.Sprintf("e%d", i))
			}
			if c.mode == 0 {
				c.mode = 0o755
			}
			r.runtime.Binds = append(r.runtime.Binds, layer(t, c.mode, files...))
			script := fake.Script{Handler: c.handler, Start: func(context.Context) error { return c.start }}
			script.Extend = func(ctx context.Context, s *fake.Sandbox, path string) error {
				if c.launch != nil {
					return c.launch(ctx, s)
				}
				if c.register != nil {
					client, err := registerAt(ctx, s.Getenv("AWS_LAMBDA_RUNTIME_API"), filepath.Base(path), "INVOKE", "SHUTDOWN")
					if err != nil {
						return err
					}
					defer client.http.CloseIdleConnections()
					return c.register(ctx, s, client)
				}
				return polite(j, func(ctx context.Context, s *fake.Sandbox, client *client, _ string) error {
					if c.invoke == nil {
						return nil
					}
					return c.invoke(ctx, s, client)
				})(ctx, s, path)
			}
			p, d := newFake(t, r, func(sandbox.Spec) fake.Script { return script }, extensionLinks)
			v := version("f")
			if c.timeout != 0 {
				v.Timeout = c.timeout
			}
			res, err := p.Run(context.Background(), v, call(id(1), "1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(res.Payload), c.want) || (res.FunctionError == "") != c.survives {
				t.Errorf("%s %s\nwant %s", res.FunctionError, res.Payload, c.want)
			}
			eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 && len(d.Living()) == 0 && len(r.recorded()) == 1 })
			if c.survives {
				want := "*Error Type: Extension.ExitError"
				if c.timeout != 0 {
					want = "*Status: timeout"
				}
				lines := r.lines(id(1))
				if last := lines[len(lines)-1]; !strings.Contains(last, want[1:]) || r.recorded()[0].Status == hansom.StatusOK {
					t.Errorf("%q, want %q", lines, want)
				}
			}
			if c.end != "" && !strings.Contains(j.String(), c.end) {
				t.Errorf("%s, want %s", j, c.end)
			}
			if c.lines != nil {
				lines := r.lines("")
				if len(lines) != len(c.lines) {
					t.Fatalf("%q", lines)
				}
				for i, want := range c.lines {
					before, after, star := strings.Cut(want, "*")
					if !strings.HasPrefix(lines[i], before) || !strings.HasSuffix(lines[i], after) || !star && lines[i] != want {
						t.Errorf("line %d:\n got %q\nwant %q", i, lines[i], want)
					}
				}
			}
		})
	}
}

// A caller does not wait for the extensions of an instance that failed.
func TestExtensionShutdownDelaysNobody(t *testing.T) {
	for name, script := range map[string]fake.Script{
		"init":    {Init: func(context.Context, *sandbox.Init) error { return &fake.FunctionError{Type: "Error", Message: "no"} }},
		"timeout": {Handler: fake.Hang},
	} {
		t.Run(name, func(t *testing.T) {
			j, r := &heard{}, newRecorder()
			r.runtime.Binds = append(r.runtime.Binds, layer(t, 0o755, "one"))
			script.Extend = func(ctx context.Context, s *fake.Sandbox, path string) error {
				err := polite(j, nil)(ctx, s, path)
				<-ctx.Done() // until it is killed
				return err
			}
			p, _ := newFake(t, r, func(sandbox.Spec) fake.Script { return script }, extensionLinks)
			v := version("f")
			v.Timeout = 100 * time.Millisecond
			res, err := p.Run(context.Background(), v, call(id(1), "1"), nil)
			if err != nil || res.FunctionError == "" || p.Stats().Reserved == 0 {
				t.Errorf("%s, %v, %d bytes reserved", res.Payload, err, p.Stats().Reserved)
			}
			eventually(t, "it is killed", func() bool { return p.Stats().Reserved == 0 })
			if !strings.Contains(j.String(), "SHUTDOWN") {
				t.Error(j)
			}
		})
	}
}

// An extension that takes too long to register is an init that times out.
func TestExtensionInitTimeout(t *testing.T) {
	r := newRecorder()
	r.runtime.Binds = append(r.runtime.Binds, layer(t, 0o755, "idle"))
	p, d := newFake(t, r, func(sandbox.Spec) fake.Script {
		return fake.Script{Extend: func(ctx context.Context, _ *fake.Sandbox, _ string) error { <-ctx.Done(); return fake.Signal(9) },
			Boot: func(context.Context) { t.Error("the runtime started before the extension had registered") }}
	}, func(c *Config, deps *Deps) { extensionLinks(c, deps); c.InitTimeout = 50 * time.Millisecond })
	v := version("f")
	v.Timeout = 100 * time.Millisecond
	res, err := p.Run(context.Background(), v, call(id(1), "1"), nil)
	if err != nil || !strings.Contains(string(res.Payload), "Sandbox.Timedout") || d.Started() != 2 {
		t.Errorf("%s, %v, %d sandboxes", res.Payload, err, d.Started())
	}
}

// Internal extensions get INVOKE events, and no SHUTDOWN.
func TestInternalExtension(t *testing.T) {
	j, r := &heard{}, newRecorder()
	var api string
	p, _ := newFake(t, r, func(sandbox.Spec) fake.Script {
		return fake.Script{
			Init: func(ctx context.Context, in *sandbox.Init) error {
				for _, e := range in.Env {
					if strings.HasPrefix(e, "AWS_LAMBDA_RUNTIME_API=") {
						t.Error("it is the driver that sets", e)
					}
				}
				c, err := registerAt(ctx, api, "inner", "INVOKE")
				if err != nil {
					return err
				}
				go func() {
					defer c.http.CloseIdleConnections()
					for {
						event, err := c.next(ctx)
						if err != nil {
							return
						}
						j.add(event)
					}
				}()
				return nil
			},
		}
	}, func(c *Config, deps *Deps) {
		deps.Link = func(sb sandbox.Sandbox, _ *runtimes.Runtime, log sandbox.LogFunc) (sandbox.Link, error) {
			api = sb.Listener(RuntimePort).Addr().String()
			return runtimeapi.Beside(sb.Listener(RuntimePort), sandbox.NewFrameLink(sb.Conn(), log)), nil
		}
	})
	mustRun(t, p, version("f"), id(1), "1")
	eventually(t, "an event", func() bool { return j.String() == "INVOKE "+id(1) })
	eventually(t, "the call is over", func() bool { return p.Stats().Idle == 1 })
	wantLines(t, r.lines(""), "INIT_START *", "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]")
}

// Every way in which an idle instance ends says so to its extensions, a frozen one too.
func TestExtensionShutdown(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*Config)
		end    func(p *Pool)
	}{
		"idle":   {func(c *Config) { c.Idle = 300 * time.Millisecond }, func(*Pool) {}},
		"retire": {nil, func(p *Pool) { p.Retire(hansom.DefaultProject, "f", "r1-f") }},
		"close":  {nil, func(p *Pool) { p.Close() }},
		"evict": {func(c *Config) { c.Memory = 128 * mb }, func(p *Pool) {
			p.Run(context.Background(), version("other"), call(id(2), "1"), nil)
		}},
		"frozen": {func(c *Config) { c.Freeze = time.Nanosecond }, func(p *Pool) {
			for p.Stats().Frozen == 0 {
				time.Sleep(time.Millisecond)
			}
			p.Retire(hansom.DefaultProject, "f", "r1-f")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j, r := &heard{}, newRecorder()
			r.runtime.Binds = append(r.runtime.Binds, layer(t, 0o755, "one"))
			p, _ := newFake(t, r, func(sandbox.Spec) fake.Script { return fake.Script{Extend: polite(j, nil)} }, func(cfg *Config, deps *Deps) {
				extensionLinks(cfg, deps)
				if c.config != nil {
					c.config(cfg)
				}
			})
			mustRun(t, p, version("f"), id(1), "1")
			eventually(t, "the instance is idle", func() bool { return p.Stats().Busy == 0 })
			c.end(p)
			eventually(t, "SHUTDOWN", func() bool { return strings.Contains(j.String(), "one INVOKE "+id(1)+"; one SHUTDOWN spindown") })
		})
	}
}

// The first extension that exits at the end does not cut short what another one has to do.
func TestExtensionsEndOneByOne(t *testing.T) {
	j, r := &heard{}, newRecorder()
	r.runtime.Binds = append(r.runtime.Binds, layer(t, 0o755, "quick", "slow"))
	first := make(chan struct{})
	p, _ := newFake(t, r, func(sandbox.Spec) fake.Script {
		return fake.Script{Extend: func(ctx context.Context, s *fake.Sandbox, path string) error {
			err := polite(j, nil)(ctx, s, path)
			if filepath.Base(path) == "quick" {
				close(first)
				return err
			}
			<-first
			select {
			case <-time.After(50 * time.Millisecond):
				j.add("flushed")
			case <-ctx.Done():
			}
			return err
		}}
	}, extensionLinks)
	mustRun(t, p, version("f"), id(1), "1")
	eventually(t, "the call is over", func() bool { return p.Stats().Busy == 0 })
	p.Retire(hansom.DefaultProject, "f", "r1-f")
	eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 })
	if !strings.HasSuffix(j.String(), "; flushed") {
		t.Error(j)
	}
}

// Without extensions a warm call does what it does over a link that serves none.
func TestNoExtensions(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	allocations := func(change func(*Config, *Deps)) float64 {
		r := newRecorder()
		r.silent = true
		p, _ := newFake(t, r, handler(func(_ context.Context, c *fake.Call) ([]byte, error) { return c.Event, nil }), change)
		v, inv := version("f"), call(id(1), "1")
		return testing.AllocsPerRun(500, func() {
			res, err := p.Run(context.Background(), v, inv, nil)
			if err != nil {
				t.Fatal(err)
			}
			res.Release()
		})
	}
	if plain, beside := allocations(nil), allocations(extensionLinks); beside > plain {
		t.Errorf("%.1f allocations in a warm call, %.1f without the API", beside, plain)
	}
}
