package process_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/process"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// serverEnv makes this binary a server that starts a sandbox in the directory it names and waits to be killed.
const serverEnv = "HANSOM_TEST_SERVER_DIR"

func TestMain(m *testing.M) {
	sandboxtest.Main()
	if dir := os.Getenv(serverEnv); dir != "" {
		serve(dir)
	}
	goleak.VerifyTestMain(m)
}

func newDriver(t testing.TB, dir string) *process.Driver {
	t.Helper()
	d, err := process.New(process.Config{Dir: dir}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	sandboxtest.Run(t, func(t testing.TB) sandbox.Driver { return newDriver(t, t.TempDir()) }, sandboxtest.Options{})
}

func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	d := newDriver(t, dir)
	spec, _ := sandboxtest.Self(t, sandboxtest.Environment)
	spec.ID = "one"
	box, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	var tmp string
	for in := bufio.NewScanner(box.Output()); in.Scan(); {
		if v, ok := strings.CutPrefix(in.Text(), `env "TMPDIR=`); ok {
			tmp = strings.TrimSuffix(v, `"`)
		}
	}
	box.Output().Close()
	if !strings.HasPrefix(tmp, dir) {
		t.Errorf("TMPDIR is %q, not below %s", tmp, dir)
	}
	box.Kill()
	if _, err := os.Stat(tmp); !os.IsNotExist(err) {
		t.Errorf("the sandbox's TMPDIR is still there: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSameID(t *testing.T) {
	d := newDriver(t, t.TempDir())
	defer d.Close()
	spec, _ := sandboxtest.Self(t, sandboxtest.Hold)
	spec.ID = "one"
	box, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Output().Close()
	if _, err := d.Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "one") {
		t.Errorf("a second sandbox of the same id: %v", err)
	}
	box.Kill()
	again, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	again.Output().Close()
}

func TestRelocate(t *testing.T) {
	d := newDriver(t, t.TempDir())
	defer d.Close()
	spec := sandbox.Spec{Binds: []sandbox.Bind{{Source: "/code/1", Target: "/var/task"}, {Source: "/layer", Target: "/opt"}, {Source: "/deep", Target: "/var/task/deep"}}}
	for path, want := range map[string]string{
		"/var/task":        "/code/1",
		"/var/task/a/b.js": "/code/1/a/b.js",
		"/var/task/deep/x": "/deep/x",
		"/var/tasks":       "/var/tasks",
		"/opt/lib":         "/layer/lib",
		"/usr/bin/node":    "/usr/bin/node",
		"":                 "",
	} {
		if got := d.Relocate(spec, path); got != want {
			t.Errorf("Relocate(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestForeignDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if d, err := process.New(process.Config{Dir: dir}, slog.New(slog.DiscardHandler)); err == nil {
		d.Close()
		t.Error("a directory that everybody may write to was accepted")
	} else if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the directory: %v", err)
	}
}

// serve starts a tree whose daemon dials the test, which then kills this server.
func serve(dir string) {
	d, err := process.New(process.Config{Dir: dir}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		panic(err)
	}
	spec, _ := sandboxtest.Self(nil, sandboxtest.Daemon, "API", "hold")
	spec.ID, spec.Env = "left", append(spec.Env, "API="+os.Getenv("API"))
	if _, err := d.Start(context.Background(), spec); err != nil {
		panic(err)
	}
	select {}
}

// TestSweep: what a killed server leaves is gone with the next start, and what belongs to a living one stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	living := newDriver(t, dir)
	defer living.Close()
	hold, _ := sandboxtest.Self(t, sandboxtest.Hold)
	hold.ID = "neighbour"
	neighbour, err := living.Start(t.Context(), hold)
	if err != nil {
		t.Fatal(err)
	}
	defer neighbour.Output().Close()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(exe)
	server.Env = append(os.Environ(), serverEnv+"="+dir, "API="+ln.Addr().String())
	server.Stderr = t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	daemon, err := ln.Accept()
	if err != nil {
		server.Process.Kill()
		server.Wait()
		t.Fatal(err)
	}
	defer daemon.Close()
	daemon.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(daemon)
	if line, err := in.ReadString('\n'); err != nil || line != "daemon\n" {
		t.Fatalf("the daemon said %q, %v", line, err)
	}
	server.Process.Kill()
	server.Wait()

	newDriver(t, dir).Close()
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the dead server's daemon lives on: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d directories, want that of the living server alone", len(left))
	}
	select {
	case <-neighbour.Done():
		t.Errorf("the sandbox of the living server ended: %v", neighbour.Exit())
	default:
	}
}
