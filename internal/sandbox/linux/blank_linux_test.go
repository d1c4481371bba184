package linux

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// boundFiles is the directory, below the run directory, that serveBlank binds.
const boundFiles = "bound"

// serveBlank starts a blank and a sandbox that was one, and prints their pids.
func serveBlank(t testing.TB, d *Driver) error {
	if d.binder == nil {
		return nil
	}
	for _, id := range []string{"blank", "boundblank"} {
		spec := show(t, id, sandboxtest.Hold)
		spec.Boot = &sandbox.Boot{Env: spec.Env, Late: []string{"/opt"}}
		sb, err := d.Prepare(context.Background(), spec)
		if err != nil {
			return err
		}
		fmt.Println("pid", sb.(interface{ Pid() int }).Pid())
		if id == "blank" {
			continue
		}
		dir := filepath.Join(d.cfg.RunDir, d.lease.id, boundFiles)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: dir, Target: "/opt"})
		if err := sb.Bind(context.Background(), spec); err != nil {
			return err
		}
	}
	return nil
}

// noMounts checks that what a server has bound into sandboxes is mounted nowhere else: neither here nor where the server is.
func noMounts(t *testing.T, s *server) {
	t.Helper()
	for _, pid := range []int{os.Getpid(), s.cmd.Process.Pid} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), boundFiles) || strings.Contains(string(b), s.id) {
			t.Errorf("mounts of %s show in the mount namespace of process %d", s.id, pid)
		}
	}
}

// TestBindAtTheEnd: a driver that closes meanwhile makes Bind fail, and nothing worse.
func TestBindAtTheEnd(t *testing.T) {
	d := openDriver(t, t.TempDir())
	if d.binder == nil {
		t.Skip("no blanks here")
	}
	spec := show(t, "blank", sandboxtest.Hold)
	spec.Boot = &sandbox.Boot{Env: spec.Env, Late: []string{"/opt"}}
	sb, err := d.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer sb.Output().Close()
	binds := make(chan error)
	spec.Binds = append(spec.Binds, sandbox.Bind{Source: t.TempDir(), Target: "/opt"})
	go func() { binds <- sb.Bind(t.Context(), spec) }()
	d.Close()
	<-binds
	if err := sb.Bind(t.Context(), spec); err == nil {
		t.Error("a blank of a closed driver was bound")
	}
}
