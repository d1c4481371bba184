package escape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/sandbox/linux"
	"github.com/hansomcloud/hansom/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// row is one of testdata/attempts.txt.
type row struct {
	door     string
	language string
	attempt  string
	refusal  []string // any of these
	control  string   // what a control run comes to, after who makes it; "" when there is none
}

// readRows reads testdata/attempts.txt; see there.
func readRows(t *testing.T) (rows []row) {
	t.Helper()
	b, err := os.ReadFile("testdata/attempts.txt")
	if err != nil {
		t.Fatal(err)
	}
	door := ""
	for n, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if name, ok := strings.CutSuffix(line, ":"); ok {
			door = name
			continue
		}
		f := strings.Split(line, "|")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if len(f) < 3 || len(f) > 4 {
			t.Fatalf("testdata/attempts.txt:%d: %q", n+1, line)
		}
		for language := range strings.FieldsSeq(f[0]) {
			r := row{door: door, language: language, attempt: f[1], refusal: strings.Split(f[2], " or ")}
			if len(f) == 4 {
				r.control = f[3]
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// forbiddenCalls are the numbers of system calls that no sandbox may make, known and unknown ones. uretprobe and uprobe of amd64 are
// not among them: the kernel lets no filter see them, and ends who makes them without having been probed.
func forbiddenCalls() []int {
	var list []int
	for n := range 600 {
		if !slices.Contains(linux.SystemCalls(), uint32(n)) && n != 335 && n != 336 {
			list = append(list, n)
		}
	}
	return list
}

func TestEscape(t *testing.T) {
	f := newFixture(t, nil)
	t.Run("bound", func(t *testing.T) { // the first instances; those that come later may find no blank
		for _, function := range []string{"hostile-python", "hostile-python-slow", "hostile-node", "hostile-node-slow"} {
			f.bound(t, function, "bound", "forked")
		}
	})
	t.Run("inside", func(t *testing.T) { f.testInside(t, func(row) bool { return true }) })
	t.Run("outside", f.testOutside)
	t.Run("left behind", f.testLeftBehind)
	t.Run("instances", f.testInstances)
	t.Run("forked", func(t *testing.T) { // there has been a zygote for long
		f.create(t, f.own, "late", "python", memory, 60)
		f.bound(t, "late", "forked")
	})
}

// TestEscapeBooted makes those attempts again that blanks and zygotes could answer differently, in instances that have booted.
func TestEscapeBooted(t *testing.T) {
	f := newFixture(t, func(c *server.Config) { c.Blanks, c.Zygotes = 0, false })
	for _, function := range []string{"hostile-python", "hostile-node"} {
		if a := f.attempt(t.Context(), function, "see how it was started"); a.Result != "booted" {
			t.Errorf("%s: %+v", function, a)
		}
	}
	doors := []string{"/proc", "shared code", "mounts", "processes", "between instances", "the connection to the server"}
	f.testInside(t, func(r row) bool {
		return (r.language == "python" || r.language == "node") && slices.Contains(doors, r.door)
	})
}

// bound sees that a function's first instance is made of a blank.
func (f *fixture) bound(t *testing.T, function string, how ...string) {
	t.Helper()
	f.awaitBlanks(t)
	before := f.metric(t, `hansom_blank_starts_total{blank="used"}`)
	if a := f.attempt(t.Context(), function, "see how it was started"); !slices.Contains(how, a.Result) {
		t.Errorf("%s: %+v, want %v", function, a, how)
	}
	if n := f.metric(t, `hansom_blank_starts_total{blank="used"}`) - before; n != 1 {
		t.Errorf("%s: %v blanks were used for its start", function, n)
	}
}

// testInside makes each attempt that which is true for in a sandbox, and sees it refused.
func (f *fixture) testInside(t *testing.T, which func(row) bool) {
	rows := readRows(t)
	t.Run("all", func(t *testing.T) {
		for _, language := range []string{"go", "go/slow", "python", "python/slow", "node", "node/slow"} {
			t.Run(language, func(t *testing.T) {
				t.Parallel()
				function := "hostile-" + strings.ReplaceAll(language, "/", "-")
				for _, r := range rows {
					if r.language != language || !which(r) {
						continue
					}
					t.Run(r.attempt, func(t *testing.T) {
						a := f.attempt(t.Context(), function, r.attempt)
						if !slices.Contains(r.refusal, a.Result) {
							t.Errorf("%s: %q (%s), want %q", r.door, a.Result, a.Detail, r.refusal)
						}
					})
				}
			})
		}
	})
	if n := f.askVictim(t); n != 2 {
		t.Errorf("the victim's instance is another one now: call %d of it, not 2", n)
	}
}

// testOutside makes attempts outside a sandbox: they show that a refusal is the sandbox's work and not that of a mistake here.
func (f *fixture) testOutside(t *testing.T) {
	mighty := allCapabilities(t)
	for _, r := range readRows(t) {
		who, want, ok := strings.Cut(r.control, " ")
		if !ok {
			continue
		}
		t.Run(r.language+"/"+r.attempt, func(t *testing.T) {
			a := f.outside(t, r.language, who, r.attempt)
			switch {
			case a.Result == "ENOSYS" && want != "ENOSYS" || strings.Contains(a.Detail, "not found"):
				t.Skip("this host has no such thing")
			case slices.Contains(r.refusal, a.Result) && (!mighty || who == "nobody" && r.door == "namespaces"):
				t.Skip("this host refuses it to everybody")
			}
			if a.Result != want || slices.Contains(r.refusal, want) {
				t.Errorf("outside a sandbox: %q (%s), want %q", a.Result, a.Detail, want)
			}
		})
	}
}

// allCapabilities reports whether root may do here what root may do: in a container it may not.
func allCapabilities(t *testing.T) bool {
	t.Helper()
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var effective uint64
	fmt.Sscan(string(last), &n)
	_, line, _ := strings.Cut(string(status), "CapEff:")
	fmt.Sscanf(strings.TrimSpace(line), "%x", &effective)
	return effective == 1<<(n+1)-1
}

// outside makes an attempt without a sandbox: as root on the host, as root in fresh namespaces, which keep from the host what it
// changes ("root"), or as a user without rights ("nobody").
func (f *fixture) outside(t *testing.T, language, who, name string) answer {
	t.Helper()
	e := f.event
	e.Attempt, e.Init = name, e.PID
	input, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	switch language {
	case "go":
		cmd = exec.Command(filepath.Join(f.setuid, "hostile"), "-attempt", name)
	case "python":
		cmd = exec.Command("/usr/bin/python3", "-c", "import hostile,json,sys; print(json.dumps(hostile.handler(json.load(sys.stdin), None)))")
	case "node":
		cmd = exec.Command("node", "--input-type=module", "-e", "import {handler} from '"+f.setuid+"/hostile.mjs'; import fs from 'node:fs';"+
			"console.log(JSON.stringify(await handler(JSON.parse(fs.readFileSync(0))))); process.exit(0)")
	}
	cmd.Dir, cmd.Stdin = f.setuid, bytes.NewReader(input)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	switch who {
	case "host":
	case "root":
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	case "nobody":
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	default:
		t.Fatalf("nobody is called %q", who)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var a answer
	if err != nil || json.Unmarshal(out, &a) != nil {
		return answer{"no answer", fmt.Sprintf("%v: %s%s", err, out, &stderr)}
	}
	return a
}

// marked are the processes of the host whose command line holds the mark of this test, and the time on a CPU that each has had.
func (f *fixture) marked(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		stat, _ := os.ReadFile(dir + "/stat")
		_, after, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); len(fields) > 13 && strings.Contains(string(line), f.event.Abstract) {
			found[dir] = fields[11] + " " + fields[12]
		}
	}
	return found
}

// testLeftBehind leaves processes behind: after a timeout they are gone, after an answer they stand still.
func (f *fixture) testLeftBehind(t *testing.T) {
	await := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v", what, f.marked(t))
			}
		}
	}
	if a := f.attempt(t.Context(), "hostile-go-slow", "go on after the time limit"); a.Result != "Sandbox.Timedout" {
		t.Fatalf("%+v", a)
	}
	await("processes outlive the time limit", func() bool { return len(f.marked(t)) == 0 })
	if a := f.attempt(t.Context(), "hostile-go", "burn the processor after the answer"); a.Result != "left" {
		t.Fatalf("%+v", a)
	}
	before := map[string]string{}
	await("it runs after the answer", func() bool {
		last := before
		before = f.marked(t)
		return len(before) > 0 && maps.Equal(last, before)
	})
	if a := f.attempt(t.Context(), "hostile-go", "see other processes"); a.Result != "ok" {
		t.Errorf("%+v: the instance that was frozen should answer, and still see what it had left behind", a)
	}
}

// testInstances has several instances of one version draw lots at once: they share no luck and no files. And the victim finds its
// own secret, which shows that the search works.
func (f *fixture) testInstances(t *testing.T) {
	const n = 3
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = f.attempt(t.Context(), "hostile-python", "draw lots") })
	}
	wg.Wait()
	for i, a := range answers {
		for _, other := range answers[:i] {
			if a.Result == other.Result {
				t.Errorf("two instances drew the same: %+v", answers)
			}
		}
		if len(strings.Fields(a.Detail)) != 1 {
			t.Errorf("one instance sees files of another: %+v", answers)
		}
	}
	e := f.event
	e.Attempt = "find another function's secret in its own memory"
	if a := call(t.Context(), f.other, "victim", e); a.Result != "ok" {
		t.Errorf("the victim does not find its own secret: %+v", a)
	}
}
