package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"

	_ "github.com/hansomcloud/hansom/internal/cli" // the program is built from it: a change must not find a cached result
)

// rootKey are the root credentials of the programs that tests start.
var rootKey = hansom.Credentials{AccessKeyID: "AKIAE2EROOTE2EROOT00", SecretAccessKey: "e2e/root/secret"}

var binaryDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hansom-e2e-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "../../cmd/hansom").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return dir, err
})

var built atomic.Bool // binaryDir was called

// binary is the program's path; it is built once.
func binary(t testing.TB) string {
	t.Helper()
	built.Store(true)
	dir, err := binaryDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "hansom")
}

func removeBinary() {
	if built.Load() {
		if dir, err := binaryDir(); err == nil {
			os.RemoveAll(dir)
		}
	}
}

// program is a running `hansom serve`.
type program struct {
	cmd       *exec.Cmd
	api, edge string // URLs
	edgeTLS   string // address; "" for none
	ended     chan struct{}
}

// serve starts a server and returns when it answers. It is stopped when the test ends: one that is killed leaves its control
// groups to the next server of its run directory, and there is none.
func serve(t testing.TB, data, runDir string, flags ...string) *program {
	t.Helper()
	flags = append([]string{"serve", "--json", "--data", data, "--edge", "127.0.0.1:0", "--api", "127.0.0.1:0", "--run-dir", runDir, "--insecure-no-isolation"}, flags...)
	cmd := exec.Command(binary(t), flags...)
	cmd.Env = append(os.Environ(), "HANSOM_ROOT_ACCESS_KEY_ID="+rootKey.AccessKeyID, "HANSOM_ROOT_SECRET_ACCESS_KEY="+rootKey.SecretAccessKey)
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: cmd, ended: make(chan struct{})}
	var printed, file struct{ API, Edge, EdgeTLS string }
	decoded := json.NewDecoder(stdout).Decode(&printed)
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("log of the server with pid %d:\n%s", cmd.Process.Pid, log.String())
		}
	})
	text, err := os.ReadFile(filepath.Join(data, "server.json"))
	if decoded == nil && err == nil {
		err = json.Unmarshal(text, &file)
	}
	if decoded != nil || err != nil || printed != file {
		p.kill()
		t.Fatalf("the server printed %v, %+v; its address file says %+v, %v\n%s", decoded, printed, file, err, log.String())
	}
	p.api, p.edge, p.edgeTLS = "http://"+printed.API, "http://"+printed.Edge, printed.EdgeTLS
	return p
}

// kill ends the program as kill -9 does, and waits until it is gone.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends the program as its service manager does.
func (p *program) stop(t testing.TB) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.kill()
		t.Error("the server did not stop within a minute")
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("not within two minutes: " + what)
		}
	}
}

// serverIDs are the ids under which servers have things on the host: the directories of the drivers below the run directory.
func serverIDs(t testing.TB, runDir string) []string {
	t.Helper()
	var ids []string
	for _, dir := range []string{runDir, filepath.Join(runDir, "process")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() && e.Name() != "uids" && e.Name() != "process" {
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// leftovers finds what is there of servers with these ids: processes, control groups and mounts. Namespaces that nothing of
// these holds are gone.
func leftovers(t testing.TB, ids []string) []string {
	t.Helper()
	var found []string
	belongs := func(text, before, after string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(text, before+id+after) })
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup")) // an error means that it has ended
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		mounts, _ := os.ReadFile(filepath.Join(dir, "mounts"))
		if belongs(string(groups), "/hansom/", "") || belongs(string(env), "HANSOM_SANDBOX=", "/") || belongs(string(mounts), "/", "") {
			command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			found = append(found, "process "+filepath.Base(dir)+": "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && belongs(path, "/hansom/", "") {
			found = append(found, "control group "+path)
		}
		return nil
	})
	return found
}

// busy is the number of instances of a server that run an invocation.
func busy(t testing.TB, api string) int {
	t.Helper()
	status, text := get(t, browser(t, strings.TrimPrefix(api, "http://")), api+"/_hansom/metrics")
	_, after, found := strings.Cut(text, `hansom_instances{state="busy"} `)
	value, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(value)
	if status != 200 || !found || err != nil {
		t.Fatalf("metrics: %d, %v, %.200s", status, err, text)
	}
	return n
}
