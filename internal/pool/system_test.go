package pool

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

var changing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`), `"time":"TIME"`},
	{regexp.MustCompile(`(durationMs|billedDurationMs|initDurationMs)":[0-9.]+`), `$1":N`},
	{regexp.MustCompile(`runtime:[0-9a-f]{64}`), `runtime:HASH`},
}

// testdata/json.txt holds what a function logs in JSON: after each "== SYSTEM-LEVEL APPLICATION-LEVEL EVENT" the lines of a cold
// start and of one call.
func TestJSONLines(t *testing.T) {
	cases, err := os.ReadFile("testdata/json.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.Split(string(cases), "== ")[1:] {
		title, want, _ := strings.Cut(c, "\n")
		t.Run(title, func(t *testing.T) {
			f := strings.SplitN(title, " ", 3)
			r := newRecorder()
			r.runtime.Warning = "runs on another version"
			p, _ := newFake(t, r, func(sandbox.Spec) fake.Script {
				return fake.Script{
					Init: func(context.Context, *sandbox.Init) error {
						if f[2] == `"init"` {
							return &fake.FunctionError{Type: "Runtime.ImportModuleError", Message: "no"}
						}
						return nil
					},
					Handler: func(ctx context.Context, c *fake.Call) ([]byte, error) {
						c.Print("plain\n" + `{"level":"debug","message":"1 <a>"}` + "\n" + `{"level":"WARNING"}` + "\n" + `{"level":30}` + "\n")
						return hostile(ctx, c)
					},
					Usage: sandbox.Usage{MemoryPeak: 84 << 20},
				}
			}, nil)
			v := version("f")
			v.Timeout = time.Second
			v.Logging = hansom.Logging{Format: "JSON", System: f[0], Application: f[1], Group: "custom"}
			inv := call("ID", f[2])
			inv.LogTail = true
			res, err := p.Run(t.Context(), v, inv, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.lines("*"), "\n") + "\n"
			if got == "\n" {
				got = ""
			}
			for _, c := range changing {
				got = c.pattern.ReplaceAllString(got, c.with)
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if calls := r.lines("ID"); strings.Join(append(calls, ""), "\n") != string(res.LogTail) {
				t.Errorf("tail %q of %q", res.LogTail, calls)
			}
			for _, e := range r.events {
				if e.Group != "custom" || e.Function != "f" {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

func TestLoggingEnvironment(t *testing.T) {
	for _, c := range []struct {
		logging hansom.Logging
		want    string
	}{
		{hansom.Logging{Format: "Text"}, "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/f"},
		{hansom.Logging{Format: "JSON", Application: "WARN", System: "INFO", Group: "mine"}, "AWS_LAMBDA_LOG_FORMAT=JSON AWS_LAMBDA_LOG_GROUP_NAME=mine AWS_LAMBDA_LOG_LEVEL=WARN"},
	} {
		v := version("f")
		v.Logging = c.logging
		r := newRecorder()
		var got []string
		for _, e := range environment(v, &r.runtime, slices.Concat(ownEnvironment, r.runtime.Env), "i", hansom.Credentials{}, onDemand, time.Now(), func(s string) string { return s }) {
			if strings.HasPrefix(e, "AWS_LAMBDA_LOG_") && !strings.HasPrefix(e, "AWS_LAMBDA_LOG_STREAM") {
				got = append(got, e)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s, want %s", s, c.want)
		}
	}
}

// Whatever a function writes has a level, and one that is hidden at a level is hidden at those with less detail.
func FuzzLevels(f *testing.F) {
	for _, line := range []string{"", "plain", `{"level":"debug"}`, `{"level":"CRITICAL","level":1}`, `{"level":{}}`, `{"LEVEL":"trace"} `, `{`, "{\"level\":\"\xff\"}"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		hidden := false
		for least := range levels {
			o := output{least: least}
			if h := o.hides(line); hidden && !h || h && least == 0 {
				t.Errorf("%q at %s: %v", line, levels[least], h)
			} else {
				hidden = h
			}
		}
	})
}
