package linux

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// executor is a zygote whose forked commands execute what a Spec says, so that programs of any kind can be tried.
const executor = `import os, sys
sys.path.insert(0, "/var/runtime")
known = set(sys.modules)
command = __import__("zygote").serve(known)
os.execv(command[0], command)`

func executorFork(t testing.TB) *sandbox.Fork {
	t.Helper()
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Skip("no /usr/bin/python3")
	}
	dir, err := filepath.Abs("../../runtimes/python")
	if err != nil {
		t.Fatal(err)
	}
	return &sandbox.Fork{
		Command: []string{python, "-s", "-S", "-B", "-c", executor},
		Env:     []string{"LC_CTYPE=C.UTF-8"},
		Binds:   []sandbox.Bind{{Source: dir, Target: "/var/runtime"}},
		Files:   []string{python},
	}
}

// forking is a driver that forks whatever can be.
type forking struct {
	*Driver
	t    testing.TB
	fork *sandbox.Fork
}

func openForking(t testing.TB, runDir string) *forking {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root forks")
	}
	d := &forking{openDriver(t, runDir), t, executorFork(t)}
	d.zygotes.Warm(t.Context(), d.fork)
	return d
}

func (d *forking) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if _, err := os.Stat(filepath.Join(spec.Binds[0].Source, filepath.Base(spec.Command[0]))); err == nil {
		spec.Fork = d.fork // else there is no such command, which only an exec finds out
	}
	sb, err := d.Driver.Start(ctx, spec)
	if err == nil && spec.Fork != nil && len(spec.Extend) == 0 {
		b, ok := sb.(*box)
		if f, freezes := sb.(freezable); freezes {
			b, ok = f.box, true
		}
		if !ok || !b.forked {
			d.t.Errorf("%v was not forked", spec.Command)
		}
	}
	return sb, err
}

// TestForkedContract runs the contract suite with commands that are forked.
func TestForkedContract(t *testing.T) {
	d := openForking(t, t.TempDir())
	none := len(d.groups.Dirs()) == 0
	sandboxtest.Run(t, func(t testing.TB) sandbox.Driver { return openForking(t, t.TempDir()) },
		sandboxtest.Options{Isolated: true, Limited: !none, Freezes: !none})
}
