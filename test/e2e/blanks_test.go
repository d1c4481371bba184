package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// metric is the value of a metric with its labels.
func metric(t testing.TB, s *hansomtest.Server, name string) float64 {
	t.Helper()
	_, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

const (
	ready   = `hansom_blanks{state="ready"}`
	booting = `hansom_blanks{state="booting"}`

	used   = `hansom_blank_starts_total{blank="used"}`
	missed = `hansom_blank_starts_total{blank="missed"}`
)

// awaitBlanks waits until n blanks are ready and no more are being made.
func awaitBlanks(t testing.TB, s *hansomtest.Server, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); metric(t, s, ready) < float64(n) || metric(t, s, booting) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v blanks, want %d", metric(t, s, ready), n)
		}
	}
}

// withBlanks starts a server that keeps blanks.
func withBlanks(t testing.TB, change func(*server.Config)) *hansomtest.Server {
	t.Helper()
	s := start(t, change)
	if isolated, _ := isolation(t, s); !isolated || os.Geteuid() != 0 || s.Config.Blanks == 0 {
		t.Skip("blanks need the linux driver and root, and are not there with HANSOM_BLANKS=0")
	}
	return s
}

var runtimesWithBlanks = []types.Runtime{node22, python311}

func setting(of map[string]string) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) { in.Environment = &types.Environment{Variables: of} }
}

// looks is what a handler can tell of what it runs in: app.js and app.py of testdata/blanks answer with it.
type looks struct {
	Env     map[string]string
	Values  map[string]any // that a blank and a boot have in common
	Files   []string       // in /var/task, /opt and /tmp
	Initial []string       // names in /proc/self/environ
}

// blankSource also brings a module that Python has, and a blank has imported.
func blankSource(t testing.TB, r types.Runtime) []byte {
	t.Helper()
	file := "app.js"
	if r == python311 {
		file = "app.py"
	}
	return pack(t, map[string]string{file: testdata(t, "blanks/"+file), "own.txt": "own", "base64.py": "value = 'own'"})
}

// TestBlanks: a function that was bound to a blank sees just what it sees without, and its start is told as any other.
func TestBlanks(t *testing.T) {
	with := withBlanks(t, nil)
	without := start(t, func(c *server.Config) { c.Blanks = 0 })
	layer := pack(t, map[string]string{"nodejs/node_modules/layered/index.js": "module.exports = 'layered'", "python/layered.py": "value = 'layered'", "bin/tool": "#!/bin/sh\necho tool"})
	variables := map[string]string{"OWN": "a value\nof two lines", "TZ": "America/New_York", "PATH": "/opt/bin:/usr/bin:/bin", "NODE_ENV": "production", "EMPTY": ""}
	seen := map[types.Runtime]map[*hansomtest.Server]looks{}
	for i, r := range runtimesWithBlanks {
		seen[r] = map[*hansomtest.Server]looks{}
		for _, s := range []*hansomtest.Server{with, without} {
			c := client(t, s.API(), hansomtest.Credentials)
			published, err := c.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: aws.String("layer-" + strings.Split(string(r), ".")[0]), Content: &types.LayerVersionContentInput{ZipFile: layer}})
			if err != nil {
				t.Fatal(err)
			}
			name := "look-" + string(r[:4])
			create(t, c, name, r, blankSource(t, r), memory(300), setting(variables), func(in *lambda.CreateFunctionInput) {
				in.Layers = []string{aws.ToString(published.LayerVersionArn)}
			})
			before := 0.0
			if s == with {
				awaitBlanks(t, s, i+1)
				before = metric(t, s, used)
			}
			var l looks
			mustInvoke(t, c, name, `{}`, &l)
			if s == with && metric(t, s, used) != before+1 {
				t.Errorf("%s: the start did not use the blank", r)
			}
			seen[r][s] = l
		}
	}
	for r, by := range seen {
		blank, boot := by[with], by[without]
		for _, name := range slices.Sorted(maps.Keys(boot.Env)) {
			switch name {
			case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID":
				boot.Env[name], blank.Env[name] = "", ""
			}
		}
		if got, want := mustJSON(t, blank.Env), mustJSON(t, boot.Env); got != want {
			t.Errorf("%s: environment\n%s\nwithout blanks\n%s", r, got, want)
		}
		if got, want := mustJSON(t, blank.Values), mustJSON(t, boot.Values); got != want {
			t.Errorf("%s: values\n%s\nwithout blanks\n%s", r, got, want)
		}
		if got, want := mustJSON(t, blank.Files), mustJSON(t, boot.Files); got != want || len(blank.Files) == 0 {
			t.Errorf("%s: files\n%s\nwithout blanks\n%s", r, got, want)
		}
		for _, name := range blank.Initial {
			if strings.HasPrefix(name, "AWS_") && name != "AWS_LAMBDA_RUNTIME_API" && name != "AWS_ENDPOINT_URL" || name == "OWN" {
				t.Errorf("%s: a blank booted with %s", r, name)
			}
		}
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBlanksBoot: versions that set what an interpreter reads when it boots get what they ask for.
func TestBlanksBoot(t *testing.T) {
	s := withBlanks(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	for name, f := range map[string]struct {
		runtime   types.Runtime
		code      string
		variables map[string]string
		want      string
	}{
		"options": {node22, `exports.handler = async () => typeof gc`, map[string]string{"NODE_OPTIONS": "--expose-gc"}, `"function"`},
		"locale":  {node22, `exports.handler = async () => Intl.DateTimeFormat().resolvedOptions().locale`, map[string]string{"LANG": "de_DE.UTF-8"}, `"de-DE"`},
		"hash":    {python311, "def handler(e, c):\n    return hash('x') == hash('x') and __import__('sys').flags.hash_randomization", map[string]string{"PYTHONHASHSEED": "0"}, `0`},
	} {
		create(t, c, name, f.runtime, source(t, f.runtime, f.code), setting(f.variables))
		before := metric(t, s, used)
		if a, err := invoke(t.Context(), c, name, `{}`); err != nil || a.payload != f.want {
			t.Errorf("%s: %v, %s, want %s", name, err, a.payload, f.want)
		}
		if metric(t, s, used) != before {
			t.Errorf("%s: the start used a blank", name)
		}
	}
}

// TestBlanksTenants: functions of two projects that come from one stock see nothing of each other.
func TestBlanksTenants(t *testing.T) {
	s := withBlanks(t, nil)
	for i, r := range runtimesWithBlanks {
		for _, slug := range []string{"one", "two"} {
			name := slug + string(r[:4])
			var project struct{ ID string }
			var key struct{ AccessKeyID, SecretAccessKey string }
			if err := cli(t, s, hansomtest.Credentials, &project, "projects", "create", name); err != nil {
				t.Fatal(err)
			}
			if err := cli(t, s, hansomtest.Credentials, &key, "keys", "create", "test", "--project", name); err != nil {
				t.Fatal(err)
			}
			who := hansomtest.Credentials
			who.AccessKeyID, who.SecretAccessKey = key.AccessKeyID, key.SecretAccessKey
			c := client(t, s.API(), who)
			create(t, c, "look", r, blankSource(t, r), setting(map[string]string{"MARK": "of-project-" + slug}))
			awaitBlanks(t, s, i+1)
			before := metric(t, s, used)
			var l looks
			mustInvoke(t, c, "look", `{"write":"written-by-`+slug+`"}`, &l)
			if metric(t, s, used) != before+1 {
				t.Errorf("%s: the start did not use a blank", r)
			}
			other := map[string]string{"one": "two", "two": "one"}[slug]
			if all := mustJSON(t, l); strings.Contains(all, "of-project-"+other) || strings.Contains(all, "written-by-"+other) {
				t.Errorf("%s sees what belongs to the other project:\n%s", name, all)
			}
			if l.Env["MARK"] != "of-project-"+slug {
				t.Errorf("%s: MARK is %q", name, l.Env["MARK"])
			}
		}
	}
}

// TestBlanksLimits: memory, heap and /tmp are the function's.
func TestBlanksLimits(t *testing.T) {
	s := withBlanks(t, nil)
	if _, limited := isolation(t, s); !limited {
		t.Skip("memory is not limited here")
	}
	c := client(t, s.API(), hansomtest.Credentials)
	const eat = `const all = []; exports.handler = async (e) => {
	if (e.fill) { const fs = require('fs'); const b = Buffer.alloc(1 << 20); let n = 0; try { for (;; n++) fs.appendFileSync('/tmp/f', b); } catch (err) { return n + ' MB, ' + err.code; } }
	if (e.heap) return Math.round(require('v8').getHeapStatistics().heap_size_limit / 1048576);
	for (;;) all.push(Buffer.alloc(1 << 20, 1)); }`
	create(t, c, "eat", node22, source(t, node22, eat), memory(256), func(in *lambda.CreateFunctionInput) {
		in.EphemeralStorage = &types.EphemeralStorage{Size: aws.Int32(512)}
	})
	create(t, c, "heap", node22, source(t, node22, eat), memory(1024))
	awaitBlanks(t, s, 2)
	before := metric(t, s, used)
	var answer any
	mustInvoke(t, c, "eat", `{"fill":1}`, &answer)
	if answer != "128 MB, ENOSPC" {
		t.Errorf("/tmp: %v, want half of the memory", answer)
	}
	mustInvoke(t, c, "heap", `{"heap":1}`, &answer)
	if n := answer.(float64); n < 850 || n > 1024 {
		t.Errorf("a heap of %v MB in 1024", n)
	}
	if got := metric(t, s, used) - before; got != 2 {
		t.Errorf("%v of 2 starts used a blank", got)
	}
	a, err := invoke(t.Context(), c, "heap", `{}`)
	if err != nil || a.errorType != "Runtime.OutOfMemory" {
		t.Errorf("%v, %+v, want Runtime.OutOfMemory", err, a)
	}
}

// TestBlanksMounts: what is shown to a sandbox is mounted nowhere else, so that a server that is killed leaves no mounts.
func TestBlanksMounts(t *testing.T) {
	s := withBlanks(t, nil)
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	c := client(t, s.API(), hansomtest.Credentials)
	before := strings.Count(mounts(), filepath.Dir(s.Config.Data))
	create(t, c, "look", python311, blankSource(t, python311))
	awaitBlanks(t, s, 1)
	var l looks
	mustInvoke(t, c, "look", `{}`, &l)
	if after := strings.Count(mounts(), filepath.Dir(s.Config.Data)); after != before {
		t.Errorf("%d mounts of the host show the data directory, %d before", after, before)
	}
}
