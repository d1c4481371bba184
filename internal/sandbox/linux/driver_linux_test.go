package linux

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	sandboxtest.Main()
	if dir := os.Getenv(serverEnv); dir != "" {
		serve(dir)
	}
	goleak.VerifyTestMain(m)
}

func openDriver(t testing.TB, runDir string) *Driver {
	t.Helper()
	cfg := DefaultConfig()
	cfg.RunDir = runDir
	d, err := New(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// show is the Spec of a sandbox that shows a behaviour.
func show(t testing.TB, id string, b sandboxtest.Behaviour, args ...string) sandbox.Spec {
	spec, _ := sandboxtest.Self(t, b, args...)
	spec.ID, spec.Memory, spec.Tmp = id, 256<<20, 16<<20
	return spec
}

// startReady starts a sandbox and waits until it prints "ready".
func startReady(t testing.TB, d *Driver, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sb.Kill()
		sb.Output().Close()
	})
	if spec.Command[2] == string(sandboxtest.Hold) {
		if _, err := io.ReadFull(sb.Output(), make([]byte, len("ready\n"))); err != nil {
			t.Fatal(err)
		}
	}
	return sb
}

func TestContract(t *testing.T) {
	d := openDriver(t, t.TempDir())
	t.Logf("facts: %+v", d.Facts())
	none := len(d.groups.Dirs()) == 0
	if os.Geteuid() == 0 && none {
		t.Error("no cgroups though this is root")
	}
	sandboxtest.Run(t, func(t testing.TB) sandbox.Driver { return openDriver(t, t.TempDir()) },
		sandboxtest.Options{Isolated: true, Limited: !none, Freezes: !none})
}

// TestDescriptors: a start succeeds though one of the init's descriptors has the number right below that of its program.
func TestDescriptors(t *testing.T) {
	d := openDriver(t, t.TempDir())
	group, err := d.groups.Make("descriptors", cgroup.Limits{Memory: 64 << 20, Processes: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer group.Remove()
	below := int(d.init.Fd()) - 1
	if fd, err := unix.FcntlInt(d.null.Fd(), unix.F_DUPFD_CLOEXEC, below); err != nil || fd != below {
		t.Fatalf("descriptor %d, %v; want %d, which should be free in a process that has opened little", fd, err, below)
	}
	defer unix.Close(below)
	reply := make(chan spawned, 1)
	files := []uintptr{d.null.Fd(), uintptr(below), uintptr(below), noFile, noFile, noFile, noFile, noFile}
	d.spawns <- spawn{group, []string{"hansom-init", "descriptors"}, &syscall.ProcAttr{Dir: "/", Env: initEnv, Files: files, Sys: &syscall.SysProcAttr{}}, reply}
	s := <-reply
	if s.err != nil {
		t.Fatal(s.err)
	}
	var status syscall.WaitStatus // it has nobody to ask what to do, and ends
	if _, err := syscall.Wait4(s.pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
}

// TestWithoutRoot runs the contract suite as a user without rights.
func TestWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is not root: TestContract is that test")
	}
	dir, err := os.MkdirTemp("", "hansom")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const nobody = 65534
	for _, err := range []error{
		os.Chmod(dir, 0o755),
		os.CopyFS(filepath.Join(dir, "bin"), os.DirFS(filepath.Dir(testBinary(t)))),
		os.Mkdir(filepath.Join(dir, "run"), 0o755),
		os.Chown(filepath.Join(dir, "run"), nobody, nobody),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "bin", filepath.Base(testBinary(t))), "-test.run=^TestContract$", "-test.v")
	cmd.Dir = filepath.Join(dir, "run")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "TMPDIR=" + cmd.Dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "this user may not make user namespaces") {
		t.Skipf("this host has no user namespaces for users:\n%s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestContract/SystemCalls") {
		t.Errorf("%v\n%s", err, out)
	}
}

func testBinary(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func TestRefusedSpecs(t *testing.T) {
	d := openDriver(t, t.TempDir())
	dir := t.TempDir()
	for name, c := range map[string]struct {
		change func(*sandbox.Spec)
		want   string
	}{
		"no command":       {func(s *sandbox.Spec) { s.Command = nil }, "absolute path"},
		"relative command": {func(s *sandbox.Spec) { s.Command = []string{"node"} }, "absolute path"},
		"id":               {func(s *sandbox.Spec) { s.ID = "../x" }, "lower-case letters"},
		"long id":          {func(s *sandbox.Spec) { s.ID = strings.Repeat("a", 21) }, "lower-case letters"},
		"memory":           {func(s *sandbox.Spec) { s.Memory = 1 << 20 }, "16 MB"},
		"NUL":              {func(s *sandbox.Spec) { s.Env = []string{"A=b\x00c"} }, "NUL"},
		"missing source":   {func(s *sandbox.Spec) { s.Binds = []sandbox.Bind{{Source: "/no/such", Target: "/opt"}} }, "/no/such"},
		"relative source":  {func(s *sandbox.Spec) { s.Binds = []sandbox.Bind{{Source: "code", Target: "/opt"}} }, "absolute"},
		"over /usr":        {func(s *sandbox.Spec) { s.Binds = []sandbox.Bind{{Source: dir, Target: "/usr/x"}} }, "/usr/x"},
		"over /":           {func(s *sandbox.Spec) { s.Binds = []sandbox.Bind{{Source: dir, Target: "/"}} }, "clean absolute"},
		"unclean target":   {func(s *sandbox.Spec) { s.Binds = []sandbox.Bind{{Source: dir, Target: "/opt/../etc"}} }, "clean absolute"},
		"nested targets": {func(s *sandbox.Spec) {
			s.Binds = []sandbox.Bind{{Source: dir, Target: "/opt/a"}, {Source: dir, Target: "/opt"}}
		}, "below the other"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := show(t, "refused", sandboxtest.Hold)
			c.change(&spec)
			sb, err := d.Start(t.Context(), spec)
			if err == nil {
				sb.Kill()
				sb.Output().Close()
				t.Fatal("it was started")
			}
			if hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: want an error of kind Invalid about %q", err, c.want)
			}
		})
	}
	spec := show(t, "twice", sandboxtest.Hold)
	startReady(t, d, spec)
	if _, err := d.Start(t.Context(), spec); hansom.KindOf(err) != hansom.Conflict {
		t.Errorf("a second sandbox of the same id: %v, want a conflict", err)
	}
}

// TestLeaks counts what sandboxes leave in the process.
func TestLeaks(t *testing.T) {
	d := openDriver(t, t.TempDir())
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	round := func(i int) {
		spec := show(t, fmt.Sprintf("leak%d", i), sandboxtest.Exit, "0")
		spec.Frames = true
		spec.Listen = []sandbox.Listen{{Port: 9001}, {Port: 4566}}
		if i%3 == 0 {
			spec.Command[0] = "/no/such/command"
		}
		sb, err := d.Start(t.Context(), spec)
		if err != nil {
			return
		}
		if i%3 == 1 {
			<-sb.Done()
		}
		sb.Kill()
		sb.Output().Close()
	}
	for i := range 6 {
		round(i)
	}
	files, threads, free := count("/proc/self/fd"), count("/proc/self/task"), d.free()
	for i := range 60 {
		round(i)
	}
	if now := count("/proc/self/fd"); now > files {
		t.Errorf("%d open files after 60 sandboxes, %d before", now, files)
	}
	if now := count("/proc/self/task"); now > threads+4 { // the runtime may have wanted one more now and then
		t.Errorf("%d threads after 60 sandboxes, %d before", now, threads)
	}
	if now := d.free(); now != free {
		t.Errorf("%d user ids are free after 60 sandboxes, %d before", now, free)
	}
	for _, dir := range d.groups.Dirs() {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				t.Errorf("%s is left", filepath.Join(dir, e.Name()))
			}
		}
	}
}

// free is how many user ids can be handed out.
func (d *Driver) free() int {
	if d.uids == nil {
		return 0
	}
	return uidRange - int(d.uids.next) + len(d.uids.free)
}

func TestUserIDs(t *testing.T) {
	dir := t.TempDir()
	a, err := acquireUIDs(dir, "s1")
	if err != nil {
		t.Fatal(err)
	}
	defer a.release()
	b, err := acquireUIDs(dir, "s1") // the same place to begin the search at
	if err != nil {
		t.Fatal(err)
	}
	defer b.release()
	seen := map[uint32]bool{}
	for _, u := range []*uids{a, b} {
		for range uidRange {
			uid, ok := u.get()
			if !ok || seen[uid] || uid < firstUID || uid >= 1<<31 {
				t.Fatalf("uid %d, %v", uid, ok)
			}
			seen[uid] = true
		}
		if uid, ok := u.get(); ok {
			t.Fatalf("uid %d is one too many", uid)
		}
	}
	a.put(firstUID + 7)
	if uid, ok := a.get(); !ok || uid != firstUID+7 {
		t.Errorf("got %d, %v, want the one that was given back", uid, ok)
	}
}

// TestIdleInit waits until nothing in the init of a sandbox that only waits wakes up any more.
func TestIdleInit(t *testing.T) {
	d := openDriver(t, t.TempDir())
	sb := startReady(t, d, show(t, "idle", sandboxtest.Hold))
	wakes := func() (all []string) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", sb.(interface{ Pid() int }).Pid()))
		for _, file := range files {
			b, _ := os.ReadFile(file)
			for line := range strings.Lines(string(b)) {
				if strings.HasPrefix(line, "voluntary_ctxt_switches") {
					all = append(all, line)
				}
			}
		}
		return all
	}
	before := wakes()
	if len(before) < 2 {
		t.Fatalf("the init has the threads %q", before)
	}
	await(t, "the init sleeps", func() bool {
		time.Sleep(200 * time.Millisecond) // a look at the threads is short, a monitor's pause is 10 ms
		was := before
		before = wakes()
		return slices.Equal(was, before)
	})
}
