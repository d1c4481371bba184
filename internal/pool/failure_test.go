package pool

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

// hostile does what the event tells it to.
func hostile(ctx context.Context, c *fake.Call) ([]byte, error) {
	switch string(c.Event) {
	case `"exit 1"`:
		return nil, fake.Exit(1)
	case `"exit 0"`:
		return nil, fake.Exit(0)
	case `"segfault"`:
		return nil, fake.Signal(11)
	case `"oom"`:
		return nil, fake.OutOfMemory()
	case `"hang"`:
		return fake.Hang(ctx, c)
	case `"garbage"`:
		c.Raw([]byte(strings.Repeat("garbage ", 10)))
		return fake.Hang(ctx, c)
	case `"error"`:
		return nil, &fake.FunctionError{Type: "ValueError", Message: "no"}
	case `"fatal"`:
		return nil, &fake.FunctionError{Type: "Runtime.UnhandledPromiseRejection", Message: "no", Fatal: true}
	case `"stream and exit"`:
		io.WriteString(c.Stream("text/plain"), "part")
		return nil, fake.Exit(3)
	case `"stream"`:
		w := c.Stream("text/plain")
		io.WriteString(w, "one ")
		io.WriteString(w, "two")
		return nil, nil
	}
	return c.Event, nil
}

// Each failure fails its own call, in Lambda's words, and the next call runs.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		event, errorType, message string
		status                    hansom.Status
		report                    string // end of the REPORT line
		log                       []string
		replaced                  bool
	}{
		{`"exit 1"`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 1", hansom.StatusCrash, "\tStatus: error\tError Type: Runtime.ExitError",
			[]string{"RequestId: ID Error: Runtime exited with error: exit status 1", "Runtime.ExitError"}, true},
		{`"exit 0"`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited without providing a reason", hansom.StatusCrash, "\tStatus: error\tError Type: Runtime.ExitError",
			[]string{"RequestId: ID Error: Runtime exited without providing a reason", "Runtime.ExitError"}, true},
		{`"segfault"`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: signal: segmentation fault", hansom.StatusCrash, "\tStatus: error\tError Type: Runtime.ExitError",
			[]string{"RequestId: ID Error: Runtime exited with error: signal: segmentation fault", "Runtime.ExitError"}, true},
		{`"oom"`, "Runtime.OutOfMemory", "RequestId: ID Error: Runtime exited with error: signal: killed", hansom.StatusOutOfMemory, "\tStatus: error\tError Type: Runtime.OutOfMemory",
			[]string{"RequestId: ID Error: Runtime exited with error: signal: killed", "Runtime.OutOfMemory"}, true},
		{`"hang"`, "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 1.00 seconds", hansom.StatusTimeout, "\tStatus: timeout",
			[]string{"*ID Task timed out after 1.00 seconds"}, true},
		{`"garbage"`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited without providing a reason", hansom.StatusCrash, "\tStatus: error\tError Type: Runtime.ExitError",
			[]string{"RequestId: ID Error: the runtime broke the protocol: *", "RequestId: ID Error: Runtime exited without providing a reason", "Runtime.ExitError"}, true},
		{`"stream and exit"`, "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 3", hansom.StatusCrash, "\tStatus: error\tError Type: Runtime.ExitError",
			[]string{"RequestId: ID Error: Runtime exited with error: exit status 3", "Runtime.ExitError"}, true},
		{`"error"`, "ValueError", "no", hansom.StatusError, " MB\t", nil, false},
		{`"fatal"`, "Runtime.UnhandledPromiseRejection", "no", hansom.StatusError, " MB\t", nil, true},
	} {
		t.Run(strings.Trim(c.event, `"`), func(t *testing.T) {
			t.Parallel()
			r := newRecorder()
			p, d := newFake(t, r, handler(hostile), nil)
			v := version("f")
			v.Timeout = time.Second
			mustRun(t, p, v, id(0), "1")
			res := mustRun(t, p, v, id(1), c.event)
			fill := func(s string) string { return strings.ReplaceAll(s, "ID", id(1)) }
			if typ, message := errorOf(t, res); typ != c.errorType || message != strings.ReplaceAll(c.message, "ID", id(1)) {
				t.Errorf("%s", res.Payload)
			}
			if res.Completion.Status != c.status || res.Completion.Cold || res.Version != hansom.Latest {
				t.Errorf("%+v", res.Completion)
			}
			lines := r.lines(id(1))
			want := []string{"START RequestId: " + id(1) + " Version: $LATEST"}
			for _, l := range c.log {
				if rest, ok := strings.CutPrefix(l, "*"); ok { // begins with the time
					if !slices.ContainsFunc(lines, func(s string) bool { return strings.HasSuffix(s, fill(rest)) }) {
						t.Errorf("no %q in %q", rest, lines)
					}
					l = time.Now().UTC().Format("2006-") + "*"
				}
				want = append(want, fill(l))
			}
			want = append(want, "END RequestId: "+id(1), "REPORT RequestId: "+id(1)+"\tDuration: *")
			wantLines(t, lines, want...)
			if report := lines[len(lines)-1]; !strings.HasSuffix(report, c.report) {
				t.Errorf("%q does not end with %q", report, c.report)
			}
			mustRun(t, p, v, id(2), "1")
			want2 := 1
			if c.replaced {
				want2 = 2
			}
			if d.Started() != want2 {
				t.Errorf("%d instances, want %d", d.Started(), want2)
			}
			eventually(t, "the failed instance is gone, and its memory free", func() bool { return len(d.Living()) == 1 && p.Stats().Reserved == 128*mb })
		})
	}
}

func TestTimeoutReport(t *testing.T) {
	r := newRecorder()
	p, _ := newFake(t, r, handler(hostile), nil)
	v := version("f")
	v.Timeout = time.Second
	res := mustRun(t, p, v, id(0), `"hang"`)
	c := res.Completion
	if c.Duration != time.Second || c.Billed < time.Second+c.Init || c.Billed > time.Second+c.Init+time.Millisecond || !c.Cold || c.Init <= 0 {
		t.Errorf("%+v", c)
	}
	lines := r.lines(id(0))
	if report := lines[len(lines)-1]; !strings.Contains(report, "\tDuration: 1000.00 ms\t") || !strings.Contains(report, "\tInit Duration: ") || !strings.HasSuffix(report, " ms\tStatus: timeout") {
		t.Error(report)
	}
}

type sink struct {
	status  int
	header  http.Header
	body    strings.Builder
	flushes int
}

func (s *sink) Start(status int, h http.Header) { s.status, s.header = status, h }
func (s *sink) Write(p []byte) (int, error)     { return s.body.Write(p) }
func (s *sink) Flush()                          { s.flushes++ }

func TestStream(t *testing.T) {
	p, _ := newFake(t, newRecorder(), handler(hostile), nil)
	v := version("f")
	for _, c := range []struct{ event, body, functionError string }{
		{`"stream"`, "one two", ""},
		{`"stream and exit"`, "part", "Unhandled"},
		{`"stream"`, "one two", ""},
	} {
		s := &sink{}
		res, err := p.Run(t.Context(), v, call(id(1), c.event), s)
		if err != nil {
			t.Fatal(err)
		}
		if !res.Streamed || s.status != 200 || s.header.Get("Content-Type") != "text/plain" || s.body.String() != c.body || res.FunctionError != c.functionError {
			t.Errorf("%s: %+v, sink %+v %q", c.event, res, s, s.body.String())
		}
		if want := len(c.body) + len(res.Payload); res.Completion.BytesOut != want {
			t.Errorf("%d bytes out, want %d", res.Completion.BytesOut, want)
		}
	}
	// A function that does not stream answers with a payload all the same.
	s := &sink{}
	res, err := p.Run(t.Context(), v, call(id(1), `"plain"`), s)
	if err != nil || res.Streamed || string(res.Payload) != `"plain"` || s.status != 0 {
		t.Errorf("%+v %v", res, err)
	}
	// And one that streams to nobody is buffered.
	if res := mustRun(t, p, v, id(1), `"stream"`); res.Streamed || string(res.Payload) != "one two" {
		t.Errorf("%+v %s", res, res.Payload)
	}
}

func TestInitFailures(t *testing.T) {
	for _, c := range []struct {
		name               string
		err                error
		errorType, message string
		status             hansom.Status
		log                []string
	}{
		{"error", &fake.FunctionError{Type: "Runtime.ImportModuleError", Message: "Cannot find module 'index'"}, "Runtime.ImportModuleError", "Cannot find module 'index'", hansom.StatusError, nil},
		{"exit", fake.Exit(2), "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 2", hansom.StatusCrash,
			[]string{"RequestId: ID Error: Runtime exited with error: exit status 2", "Runtime.ExitError"}},
		{"oom", fake.OutOfMemory(), "Runtime.OutOfMemory", "RequestId: ID Error: Runtime exited with error: signal: killed", hansom.StatusOutOfMemory,
			[]string{"RequestId: ID Error: Runtime exited with error: signal: killed", "Runtime.OutOfMemory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRecorder()
			p, d := newFake(t, r, func(sandbox.Spec) fake.Script {
				return fake.Script{Init: func(context.Context, *sandbox.Init) error { return c.err }, Usage: sandbox.Usage{MemoryPeak: 30*mb - 1}}
			}, nil)
			v := version("f")
			for n := 1; n <= 2; n++ { // each call boots again
				inv := call(id(n), "1")
				inv.LogTail = true
				res, err := p.Run(t.Context(), v, inv, nil)
				if err != nil {
					t.Fatal(err)
				}
				if typ, message := errorOf(t, res); typ != c.errorType || message != strings.ReplaceAll(c.message, "ID", id(n)) {
					t.Errorf("%s", res.Payload)
				}
				if got := res.Completion; got.Status != c.status || !got.Cold || got.Duration <= 0 || got.ID != id(n) || got.MemoryUsed != 30*mb-1 {
					t.Errorf("%+v", got)
				}
				want := []string{"START RequestId: " + id(n) + " Version: $LATEST"}
				for _, l := range c.log {
					want = append(want, strings.ReplaceAll(l, "ID", id(n)))
				}
				want = append(want, "END RequestId: "+id(n), "REPORT RequestId: "+id(n)+"\tDuration: *")
				lines := r.lines(id(n))
				wantLines(t, lines, want...)
				if tail := strings.Split(strings.TrimSuffix(string(res.LogTail), "\n"), "\n"); !slices.Equal(tail, lines) {
					t.Errorf("tail %q", tail)
				}
				if d.Started() != n {
					t.Errorf("%d boots for %d calls", d.Started(), n)
				}
			}
			wantLines(t, r.lines("")[:2], "INIT_START Runtime Version: nodejs:22.23.3\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:*",
				"INIT_REPORT Init Duration: *")
			if l := r.lines("")[1]; !strings.HasSuffix(l, " ms\tPhase: init\tStatus: error\tError Type: "+c.errorType) {
				t.Error(l)
			}
			if s := p.Stats(); s.Reserved != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// An init that takes longer than 10 s is begun again within the function's timeout, as on Lambda.
func TestInitTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 15 * time.Second
		d := &stub{boot: func(ctx context.Context, _ *stubSandbox) error {
			select {
			case <-time.After(takes):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		r := newRecorder()
		p, v := newPool(t, d, r, nil), version("f")
		res := mustRun(t, p, v, id(1), "1")
		if typ, message := errorOf(t, res); typ != "Sandbox.Timedout" || message != "RequestId: "+id(1)+" Error: Task timed out after 3.00 seconds" {
			t.Errorf("%s", res.Payload)
		}
		var reports []string
		for _, l := range r.lines("") {
			if strings.HasPrefix(l, "INIT_REPORT") {
				reports = append(reports, l)
			}
		}
		wantLines(t, reports, "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout", "INIT_REPORT Init Duration: 3000.00 ms\tPhase: invoke\tStatus: timeout")
		if d.starts() != 2 || len(d.alive()) != 0 {
			t.Errorf("%d started, %d alive", d.starts(), len(d.alive()))
		}
		patient := version("patient")
		patient.Timeout = 30 * time.Second
		if res := mustRun(t, p, patient, id(2), "1"); res.FunctionError != "" || res.Completion.Init != 15*time.Second {
			t.Errorf("%s %+v", res.Payload, res.Completion)
		}
	})
}

// TestSlowStart: what the driver takes, in a burst mostly for its turn, is not the time that a function has to initialise.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stub{onStart: func() { time.Sleep(time.Minute) }}
		p := newPool(t, d, newRecorder(), nil)
		if res := mustRun(t, p, version("f"), id(1), "1"); res.FunctionError != "" {
			t.Errorf("%s", res.Payload)
		}
	})
}

func TestNoBootstrap(t *testing.T) {
	r := newRecorder()
	r.runtime, r.code = runtimes.Runtime{Identifier: "provided.al2023", Family: runtimes.Provided}, t.TempDir()
	p, d := newFake(t, r, func(sandbox.Spec) fake.Script { return fake.Script{} }, nil)
	v := version("f")
	v.Runtime = "provided.al2023"
	res := mustRun(t, p, v, id(1), "1")
	if typ, message := errorOf(t, res); typ != "Runtime.InvalidEntrypoint" || message != "RequestId: "+id(1)+" Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]" {
		t.Errorf("%s", res.Payload)
	}
	if d.Started() != 0 || p.Stats().Reserved != 0 || len(r.recorded()) != 1 {
		t.Errorf("%d started, %+v", d.Started(), p.Stats())
	}
}

func TestNotExecutable(t *testing.T) {
	var cause error
	p, _ := newFake(t, newRecorder(), func(sandbox.Spec) fake.Script {
		return fake.Script{Start: func(context.Context) error { return cause }}
	}, nil)
	cause = hansom.Errorf(hansom.Invalid, "start sandbox", "cannot start /var/task/bootstrap: exec format error")
	res := mustRun(t, p, version("f"), id(1), "1")
	if typ, message := errorOf(t, res); typ != "Runtime.InvalidEntrypoint" || message != "RequestId: "+id(1)+" Error: cannot start /var/task/bootstrap: exec format error" {
		t.Errorf("%s", res.Payload)
	}
	cause = hansom.Errorf(hansom.Internal, "start sandbox", "no cgroup")
	_, err := p.Run(t.Context(), version("f"), call(id(2), "1"), nil)
	isKind(t, err, hansom.Internal)
	if s := p.Stats(); s.Reserved != 0 {
		t.Errorf("%+v", s)
	}
}

// relocating is a driver that shows host paths as they are.
type relocating struct{ *fake.Driver }

func (relocating) Relocate(spec sandbox.Spec, path string) string {
	for _, b := range spec.Binds {
		if rest, ok := strings.CutPrefix(path, b.Target); ok && (rest == "" || rest[0] == '/') {
			return b.Source + rest
		}
	}
	return path
}

func TestSpec(t *testing.T) {
	specs := make(chan sandbox.Spec, 1)
	inits := make(chan *sandbox.Init, 1)
	script := func(spec sandbox.Spec) fake.Script {
		specs <- spec
		return fake.Script{Init: func(_ context.Context, in *sandbox.Init) error { inits <- in; return nil }}
	}
	served := make(chan string, 1)
	platform := func(_ *Config, d *Deps) {
		d.Platform = func(l net.Listener, v *hansom.Version) {
			served <- v.Function
			for {
				if _, err := l.Accept(); err != nil {
					return
				}
			}
		}
	}
	v := version("f")
	v.Environment = map[string]string{"GREETING": "hello", "TZ": "Europe/Berlin"}
	has := func(t *testing.T, env []string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !slices.Contains(env, w) {
				t.Errorf("no %s in %q", w, env)
			}
		}
		if !slices.IsSorted(env) || len(slices.CompactFunc(slices.Clone(env), func(a, b string) bool {
			return a[:strings.IndexByte(a, '=')] == b[:strings.IndexByte(b, '=')]
		})) != len(env) {
			t.Errorf("not sorted, or twice the same name: %q", env)
		}
	}
	t.Run("frames", func(t *testing.T) {
		r := newRecorder()
		r.runtime.Env = []string{"NODE_PATH=/var/runtime/node_modules:/var/task"}
		r.runtime.Warning = "nodejs22.x runs on something else."
		p, _ := newFake(t, r, script, platform)
		mustRun(t, p, v, id(1), "1")
		spec, in := <-specs, <-inits
		has(t, spec.Env, "GREETING=hello", "TZ=Europe/Berlin", "LANG=en_US.UTF-8", "_HANDLER=index.handler", "LAMBDA_TASK_ROOT=/var/task", "LAMBDA_RUNTIME_DIR=/var/runtime",
			"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
			"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/f", "AWS_EXECUTION_ENV=AWS_Lambda_nodejs22.x",
			"AWS_LAMBDA_LOG_STREAM_NAME="+time.Now().UTC().Format("2006/01/02")+"/[$LATEST]"+spec.ID,
			"AWS_ACCESS_KEY_ID=ASIATEST", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=token", "NODE_PATH=/var/runtime/node_modules:/var/task")
		if !slices.Equal(in.Env, spec.Env) || in.Handler != "index.handler" || in.TaskRoot != "/var/task" {
			t.Errorf("%+v", in)
		}
		if !slices.Equal(spec.Binds, []sandbox.Bind{{Source: "/srv/runtime", Target: "/var/runtime"}, {Source: "/srv/code", Target: "/var/task"}}) ||
			spec.Memory != 128*mb || spec.Tmp != 512*mb || !spec.Frames || spec.Dir != "/var/task" || len(spec.ID) != 20 || strings.ToLower(spec.ID) != spec.ID {
			t.Errorf("%+v", spec)
		}
		if l := spec.Listen; len(l) != 2 || l[0].Port != RuntimePort || !slices.Equal(l[0].Env, []string{"AWS_LAMBDA_RUNTIME_API"}) || l[0].Format != "%s" ||
			l[1].Port != PlatformPort || !slices.Equal(l[1].Env, []string{"AWS_ENDPOINT_URL"}) || l[1].Format != "http://%s" {
			t.Errorf("%+v", l)
		}
		if got := <-served; got != "f" {
			t.Error(got)
		}
		if lines := r.lines(""); len(lines) != 2 || !strings.Contains(lines[1], r.runtime.Warning) {
			t.Errorf("no warning in %q", lines)
		}
	})
	t.Run("several at once", func(t *testing.T) {
		p, _ := newFake(t, newRecorder(), script, nil)
		mustRun(t, p, several("f", 10), id(1), "1")
		spec := <-specs
		<-inits
		has(t, spec.Env, "AWS_LAMBDA_INITIALIZATION_TYPE=lambda-managed-instances", "AWS_LAMBDA_MAX_CONCURRENCY=10")
	})
	t.Run("relocated", func(t *testing.T) {
		r := newRecorder()
		r.runtime.Env = []string{"NODE_PATH=/var/runtime/node_modules:/var/task:/opt/x"}
		p := newPool(t, relocating{fake.New(script)}, r, nil)
		mustRun(t, p, v, id(1), "1")
		spec, in := <-specs, <-inits
		has(t, spec.Env, "LAMBDA_TASK_ROOT=/srv/code", "LAMBDA_RUNTIME_DIR=/srv/runtime", "NODE_PATH=/srv/runtime/node_modules:/srv/code:/opt/x")
		if in.TaskRoot != "/srv/code" || len(spec.Listen) != 1 || spec.Listen[0].Port != RuntimePort {
			t.Errorf("%+v %+v", in, spec.Listen)
		}
	})
	t.Run("runtime api", func(t *testing.T) {
		r := newRecorder()
		r.runtime, r.code = runtimes.Runtime{Identifier: "provided.al2023", Family: runtimes.Provided}, t.TempDir()
		if err := os.WriteFile(filepath.Join(r.code, "bootstrap"), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		d := &stub{}
		p := newPool(t, d, r, nil)
		mustRun(t, p, v, id(1), "1")
		spec := d.alive()[0].Spec
		if len(spec.Listen) != 1 || spec.Listen[0].Port != RuntimePort || !slices.Equal(spec.Listen[0].Env, []string{"AWS_LAMBDA_RUNTIME_API"}) || spec.Listen[0].Format != "%s" ||
			spec.Frames || !slices.Equal(spec.Command, []string{"/var/task/bootstrap"}) {
			t.Errorf("%+v", spec)
		}
		if slices.ContainsFunc(spec.Env, func(e string) bool { return strings.HasPrefix(e, "AWS_EXECUTION_ENV=") }) {
			t.Error("a provided runtime has AWS_EXECUTION_ENV")
		}
	})
}
