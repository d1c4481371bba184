package linux

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// serverEnv makes this binary a server with the run directory that it names. It starts a sandbox that runs, one that is frozen
// and one with a daemon, prints its id, their pids and "ready", and waits to be killed.
const serverEnv = "HANSOM_TEST_SERVER"

// internetEnv connects the sandboxes of such a server with the internet.
const internetEnv = "HANSOM_TEST_INTERNET"

func serve(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	cfg := DefaultConfig()
	cfg.RunDir = dir
	d, err := New(cfg, slog.New(slog.DiscardHandler))
	fail(err)
	fmt.Println("id", d.lease.id)
	var t testing.T
	for _, id := range []string{"runs", "frozen", "daemon"} {
		spec := show(&t, id, sandboxtest.Hold)
		if id == "daemon" {
			spec = show(&t, id, sandboxtest.Daemon, "API", "hold")
			spec.Listen = []sandbox.Listen{{Port: 9001, Env: []string{"API"}, Format: "%s"}}
		}
		spec.Internet = os.Getenv(internetEnv) != ""
		sb, err := d.Start(context.Background(), spec)
		fail(err)
		fmt.Println("pid", sb.(interface{ Pid() int }).Pid())
		switch f, ok := sb.(sandbox.Freezer); {
		case id == "daemon":
			conn, err := sb.Listener(9001).Accept()
			fail(err)
			_, err = io.ReadFull(conn, make([]byte, len("daemon\n")))
			fail(err)
		case id == "frozen" && ok:
			fail(f.Freeze())
		}
	}
	fail(serveBlank(&t, d))
	if d.zygotes != nil {
		d.zygotes.Warm(context.Background(), executorFork(&t))
	}
	fmt.Println("ready")
	select {}
}

// server is a server in a process of its own.
type server struct {
	id   string
	pids []int
	cmd  *exec.Cmd
}

func startServer(t *testing.T, dir string) *server {
	t.Helper()
	s := &server{cmd: exec.Command(testBinary(t))}
	s.cmd.Env = append(os.Environ(), serverEnv+"="+dir)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		openDriver(t, dir) // sweeps what it left
	})
	for in := bufio.NewScanner(out); in.Scan(); {
		switch word, rest, _ := strings.Cut(in.Text(), " "); word {
		case "id":
			s.id = rest
		case "pid":
			pid, _ := strconv.Atoi(rest)
			s.pids = append(s.pids, pid)
		case "ready":
			return s
		default:
			t.Fatal(in.Text())
		}
	}
	t.Fatal("the server ended")
	return nil
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// groups are the server's cgroup directories that are there.
func (s *server) groups(t *testing.T, runDir string) []string {
	b, err := os.ReadFile(filepath.Join(runDir, s.id, "cgroups"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Fields(string(b)), func(dir string) bool {
		_, err := os.Stat(dir)
		return err != nil
	})
}

// await waits until a condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not so: " + what)
		}
	}
}

// alive reports whether a process runs: one that nobody has waited for yet does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

func TestKilledServer(t *testing.T) {
	runDir := t.TempDir()
	living := startServer(t, runDir)
	dead := startServer(t, runDir)
	groups := dead.groups(t, runDir)
	if os.Geteuid() == 0 && len(groups) == 0 {
		t.Fatal("the server noted no cgroups")
	}
	var members []int
	for _, g := range groups {
		dirs, _ := filepath.Glob(g + "/*/cgroup.procs")
		for _, procs := range dirs {
			members = append(members, readPids(procs)...)
		}
	}
	noMounts(t, dead)
	if zygotes, _ := filepath.Glob(filepath.Join(groups[0], "zygote-*")); len(zygotes) != 1 {
		t.Errorf("the server's zygotes: %v", zygotes)
	}
	dead.kill()
	// Its processes end with it, whatever they were at, before any other server sweeps.
	for _, pid := range append(dead.pids, members...) {
		await(t, fmt.Sprintf("process %d has ended", pid), func() bool { return !alive(pid) })
	}

	// What nothing should leave behind: a frozen process in one of its groups.
	var stray *exec.Cmd
	for _, g := range groups {
		if _, err := os.Stat(filepath.Join(g, "runs")); err != nil {
			t.Errorf("the sandbox's group is gone before the sweep: %v", err)
		}
		if stray == nil {
			stray = exec.Command("sleep", "1000")
			if err := stray.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { stray.Process.Kill() })
		}
		if err := os.WriteFile(filepath.Join(g, "runs", "cgroup.procs"), []byte(strconv.Itoa(stray.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(g, "runs", "freezer.state"), []byte("FROZEN"), 0)
		os.WriteFile(filepath.Join(g, "runs", "cgroup.freeze"), []byte("1"), 0)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if stray != nil {
			stray.Wait()
		}
	}()

	d := openDriver(t, runDir)
	if stray != nil {
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("a process of the dead server is left")
			stray.Process.Kill()
		}
	}
	<-ended
	for _, g := range groups {
		if _, err := os.Stat(g); err == nil {
			t.Errorf("%s is left of the dead server", g)
		}
	}
	if _, err := os.Stat(filepath.Join(runDir, dead.id)); err == nil {
		t.Error("the dead server's directory is left")
	}
	for _, pid := range living.pids {
		if !alive(pid) {
			t.Errorf("process %d of the living server has ended", pid)
		}
	}
	if os.Geteuid() == 0 && len(living.groups(t, runDir)) != len(groups) {
		t.Error("cgroups of the living server are gone")
	}
	startReady(t, d, show(t, "works", sandboxtest.Hold))
}

// TestSweepBelievesNoPath holds a sweep away from groups that no server made.
func TestSweepBelievesNoPath(t *testing.T) {
	runDir := t.TempDir()
	dir := filepath.Join(runDir, "saaaaaaaa")
	victim := filepath.Join(t.TempDir(), "group")
	for _, d := range []string{dir, victim} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroups"), []byte(victim+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	openDriver(t, runDir)
	for _, d := range []string{dir, victim} {
		if _, err := os.Stat(d); err != nil {
			t.Errorf("%s was removed", d)
		}
	}
}

// readPids reads a file cgroup.procs.
func readPids(procs string) (pids []int) {
	text, _ := os.ReadFile(procs)
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
