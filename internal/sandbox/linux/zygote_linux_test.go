package linux

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// inspector is a zygote whose commands run the Python program that is their argument.
const inspector = `import sys
sys.path.insert(0, "/var/runtime")
known = set(sys.modules)
command = __import__("zygote").serve(known)
exec(command[1])`

// inspect runs a Python program in a forked command and returns what it prints.
func (d *forking) inspect(id, program string, env ...string) string {
	d.t.Helper()
	spec := sandbox.Spec{ID: id, Command: []string{"/inspect", program}, Env: env, Dir: "/tmp", Memory: 128 << 20, Tmp: 16 << 20, Fork: d.fork}
	sb, err := d.Driver.Start(d.t.Context(), spec)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		sb.Kill()
		sb.Output().Close()
	})
	out, err := io.ReadAll(sb.Output())
	if err != nil {
		d.t.Fatal(err)
	}
	return string(out)
}

func openInspecting(t *testing.T) *forking {
	d := openForking(t, t.TempDir())
	d.fork.Command[5] = inspector
	d.zygotes.Warm(t.Context(), d.fork)
	return d
}

// TestForkedSeesNothing looks for what a forked command could find of its zygote, of the server and of the starts before it.
func TestForkedSeesNothing(t *testing.T) {
	d := openInspecting(t)
	if got := d.inspect("firstone", "import os; print(os.environ['KEY'])", "KEY=swordfish", "LD_LIBRARY_PATH=/opt/lib"); got != "swordfish\n" {
		t.Fatalf("the first one printed %q", got)
	}
	const program = `
import os, sys
print("env", dict(os.environ), open("/proc/self/environ").read())
print("fds", sorted(int(f) for f in os.listdir("/proc/self/fd")))
print("status", [l.split() for l in open("/proc/self/status") if l.split(":")[0] in ("Uid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Threads")])
print("ids", os.getpid(), os.getppid(), os.getsid(0) == os.getpid(), os.getcwd())
print("processes", sorted(int(p) for p in os.listdir("/proc") if p.isdigit()))
print("modules", [m for m in ("zygote", "ctypes", "struct", "socket") if m in sys.modules])
print("cgroups", set(l.strip().split(":")[2] for l in open("/proc/self/cgroup")))
print("roots", os.stat("/proc/self/root").st_ino == os.stat("/").st_ino, os.path.exists("/var/runtime"))
backwards = [b"hsifdrows", b"enotsrif", b"1-etogyz"]  # or the search would find itself
memory = open("/proc/self/mem", "rb", 0)
found = set()
for line in open("/proc/self/maps"):
    span, mode = line.split()[:2]
    if "r" not in mode or "[v" in line:
        continue
    begin, end = (int(x, 16) for x in span.split("-"))
    memory.seek(begin)
    data = memory.read(end - begin)[::-1]
    found.update(w for w in backwards if w in data)
print("found", found)
`
	got := d.inspect("second", program, "KEY=value")
	for _, want := range []string{
		"env {'KEY': 'value'} LC_CTYPE=C.UTF-8\x00\n", "fds [0, 1, 2, 3]\n", "['Groups:']", "['NoNewPrivs:', '1']", "['Seccomp:', '2']", "['Threads:', '1']",
		"ids 2 1 True /tmp\n", "processes [1, 2]\n", "modules []\n", "cgroups {'/'}\n", "roots True False\n", "found set()\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q", want)
		}
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if !strings.Contains(got, "['"+set+":', '0000000000000000']") {
			t.Errorf("%s is not empty", set)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestDeadZygote kills a zygote: what it has forked lives on, the next start does without, and another one is kept.
func TestDeadZygote(t *testing.T) {
	d := openForking(t, t.TempDir())
	old := startReady(t, d.Driver, forked(t, d, "old"))
	d.mu.Lock()
	groups := d.groups.Dirs()
	d.mu.Unlock()
	pids := readPids(filepath.Join(groups[0], "zygote-1", "cgroup.procs"))
	if len(pids) != 1 {
		t.Fatalf("the zygote's group has the processes %v", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	startReady(t, d.Driver, forked(t, d, "next"))
	d.zygotes.Warm(t.Context(), d.fork)
	sb := startReady(t, d.Driver, forked(t, d, "last"))
	if b, ok := sb.(freezable); ok && !b.forked {
		t.Error("there is no zygote again")
	}
	select {
	case <-old.Done():
		t.Error("a sandbox has ended with the zygote")
	default:
	}
	await(t, "the dead zygote's group is gone", func() bool {
		_, err := os.Stat(filepath.Join(groups[0], "zygote-1"))
		return err != nil
	})
}

func forked(t testing.TB, d *forking, id string) sandbox.Spec {
	spec := show(t, id, sandboxtest.Hold)
	spec.Fork = d.fork
	return spec
}

// TestNoZygote starts commands whose zygote cannot be started.
func TestNoZygote(t *testing.T) {
	d := openForking(t, t.TempDir())
	for i, command := range [][]string{{"/no/such/python"}, {"/bin/true"}, {"/bin/sh", "-c", "echo so it is >&2; exit 1"}} {
		d.fork = &sandbox.Fork{Command: command}
		d.zygotes.Warm(t.Context(), d.fork)
		startReady(t, d.Driver, forked(t, d, fmt.Sprintf("none%d", i)))
	}
}
