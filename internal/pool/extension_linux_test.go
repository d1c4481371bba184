package pool

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox/linux"
)

// realPool runs testdata/extensions/index.mjs in real sandboxes, with these files of testdata/extensions, or "go", as external
// extensions.
func realPool(t *testing.T, r *recorder, env map[string]string, extensions ...string) (*Pool, *hansom.Version) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	d, err := linux.New(linux.DefaultConfig(), log)
	if err != nil {
		t.Skip("no sandboxes here:", err)
	}
	dir := t.TempDir()
	catalogue, err := runtimes.Discover(t.Context(), runtimes.DefaultConfig())
	if err == nil {
		err = catalogue.Install(t.Context(), filepath.Join(dir, "runtime"))
	}
	if err != nil {
		t.Fatal(err)
	}
	rt, err := catalogue.Resolve("nodejs22.x")
	if err != nil {
		d.Close()
		t.Skip(err)
	}
	r.runtime, r.code = *rt, filepath.Join(dir, "code")
	place := func(name string, mode os.FileMode, data []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	source := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata", "extensions", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	place("code/index.mjs", 0o644, source("index.mjs"))
	for _, name := range extensions {
		if name != "go" {
			place("opt/extensions/"+name, 0o755, source(name))
			continue
		}
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "opt", "extensions", "go-extension"), "./testdata/extensions/go")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if len(extensions) > 0 {
		r.runtime.Binds = append(r.runtime.Binds, runtimes.Bind{Source: filepath.Join(dir, "opt"), Target: runtimes.OptRoot})
	}
	v := version("f")
	v.Memory, v.Environment = 512, env
	return newPool(t, d, r, extensionLinks), v
}

func has(t *testing.T, lines []string, want string) {
	t.Helper()
	for _, line := range lines {
		if strings.HasPrefix(line, want) {
			return
		}
	}
	t.Errorf("no line %q in\n%s", want, strings.Join(lines, "\n"))
}

// A Python extension gets telemetry and a Go one flushes; both have their time at the end, and so has the runtime.
func TestRealExtensions(t *testing.T) {
	r := newRecorder()
	p, v := realPool(t, r, map[string]string{"EXTENSION_DOES": "flush"}, "telemetry.py", "go")
	v.Timeout = 20 * time.Second
	for i := range 2 {
		res := mustRun(t, p, v, id(i), "{}")
		if !strings.Contains(string(res.Payload), id(i)) {
			t.Fatalf("%s", res.Payload)
		}
		if len(r.recorded()) != i {
			t.Error("the call was over before the extension had flushed")
		}
		eventually(t, "the call is over", func() bool { return p.Stats().Idle == 1 })
		if c := r.recorded()[i]; c.Duration < 300*time.Millisecond || c.Status != hansom.StatusOK {
			t.Errorf("%+v", c)
		}
		has(t, r.lines(id(i)), "go flushed "+id(i))
	}
	p.Retire(v.Project, v.Function, v.Revision)
	eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 })
	lines := r.lines("")
	has(t, lines, `registered {"accountId": "000000000000", "functionName": "f", "functionVersion": "$LATEST", "handler": "index.handler"}`)
	has(t, lines, "TELEMETRY\tName: telemetry.py\tState: Subscribed\tTypes: [Extension, Function, Platform]")
	has(t, lines, "EXTENSION\tName: telemetry.py\tState: Ready\tEvents: [INVOKE, SHUTDOWN]")
	has(t, lines, "EXTENSION\tName: go-extension\tState: Ready\tEvents: [INVOKE, SHUTDOWN]")
	has(t, lines, "event SHUTDOWN spindown")
	has(t, lines, "go saw spindown")
	has(t, lines, "flushed")

	count := map[string]int{}
	for _, line := range lines {
		text, ok := strings.CutPrefix(line, "telemetry ")
		if !ok {
			continue
		}
		var e struct {
			Time, Type string
			Record     json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		if at, err := time.Parse(time.RFC3339, e.Time); err != nil || time.Since(at) > time.Hour {
			t.Error(text)
		}
		kind := e.Type
		if e.Type == "function" || e.Type == "extension" {
			var s string
			if err := json.Unmarshal(e.Record, &s); err != nil {
				t.Fatal(err)
			}
			kind += ":" + s[strings.LastIndexByte(s, '\t')+1:][:2]
		}
		count[kind]++
	}
	for kind, n := range map[string]int{"platform.initStart": 1, "platform.initRuntimeDone": 1, "platform.initReport": 1, "platform.extension": 2, "platform.telemetrySubscription": 1,
		"platform.start": 2, "platform.runtimeDone": 2, "platform.report": 2, "function:ha": 2, "extension:go": 2} {
		if count[kind] != n {
			t.Errorf("%d of %s, want %d: %v", count[kind], kind, n, count)
		}
	}
	for n := 2; !slices.Contains(r.lines(""), "node saw SIGTERM"); n++ { // on a busy machine the runtime's grace may be over before it says so
		if n == 10 {
			t.Fatal("no runtime said that it was told to end")
		}
		v.Revision = id(n)
		mustRun(t, p, v, id(n), "{}")
		eventually(t, "the call is over", func() bool { return p.Stats().Idle == 1 })
		p.Retire(v.Project, v.Function, v.Revision)
		eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 })
	}
}

func TestRealExtensionFailures(t *testing.T) {
	for name, c := range map[string]struct{ does, event, payload, log string }{
		"init error": {"init/error", "{}", `"errorType":"Extension.InitError"`, "EXTENSION\tName: go-extension\tState: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Extension.Told"},
		"crash":      {"crash", `{"hang":true}`, `"errorType":"Extension.Crash","errorMessage":"RequestId: ` + id(1) + ` Error: exit status 9"`, ""},
		"hang":       {"hang", "{}", `"request"`, ""},
		"timeout":    {"", `{"hang":true}`, "Task timed out after 2.00 seconds", "go saw timeout"},
		"exit":       {"", `{"exit":4}`, "Runtime exited with error: exit status 4", "go saw failure"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder()
			p, v := realPool(t, r, map[string]string{"EXTENSION_DOES": c.does}, "go")
			v.Timeout = 2 * time.Second
			res, err := p.Run(context.Background(), v, call(id(1), c.event), nil)
			if err != nil || !strings.Contains(string(res.Payload), c.payload) {
				t.Errorf("%s %v\nwant %s", res.Payload, err, c.payload)
			}
			eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 && len(r.recorded()) == 1 })
			if record := r.recorded()[0]; record.Status == hansom.StatusOK {
				t.Errorf("%+v", record)
			}
			if c.log != "" {
				has(t, r.lines(""), c.log)
			}
			if name == "hang" {
				lines := r.lines(id(1))
				if last := lines[len(lines)-1]; !strings.HasSuffix(last, "Status: timeout") {
					t.Error(lines)
				}
			}
		})
	}
}

func TestRealInternalExtension(t *testing.T) {
	r := newRecorder()
	p, v := realPool(t, r, map[string]string{"INTERNAL": "1"})
	v.Timeout = 20 * time.Second
	for i := range 2 {
		res := mustRun(t, p, v, id(i), "{}")
		if i == 1 && !strings.Contains(string(res.Payload), id(0)) {
			t.Errorf("%s", res.Payload)
		}
		eventually(t, "the call is over", func() bool { return p.Stats().Idle == 1 })
	}
	has(t, r.lines(""), "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]")
	p.Retire(v.Project, v.Function, v.Revision)
	// On a machine under load the half second of an internal extension may be over first; a retired instance ends with its call.
	for i := 2; ; i++ {
		eventually(t, "the instance has ended", func() bool { return p.Stats().Reserved == 0 })
		if i == 6 || strings.Contains(strings.Join(r.lines("*"), "\n"), "node saw SIGTERM") {
			break
		}
		mustRun(t, p, v, id(i), "{}")
	}
	has(t, r.lines("*"), "node saw SIGTERM")
}
