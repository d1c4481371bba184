package sandboxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

func (s *suite) isolated(t *testing.T) {
	t.Helper()
	if !s.Isolated {
		t.Skip("this driver does not isolate")
	}
}

func (s *suite) limited(t *testing.T) {
	t.Helper()
	if !s.Limited {
		t.Skip("this driver does not limit memory")
	}
}

// freezer starts a sandbox that writes a byte each millisecond to the returned connection.
func (s *suite) freezer(t *testing.T, d sandbox.Driver) (sb sandbox.Sandbox, f sandbox.Freezer, read func() error) {
	t.Helper()
	if !s.Freezes {
		t.Skip("this driver does not freeze")
	}
	spec := s.spec(t, Tick, "API")
	spec.Listen = []sandbox.Listen{{Port: 9001, Env: []string{"API"}, Format: "%s"}}
	sb = start(t, d, spec)
	f, ok := sb.(sandbox.Freezer)
	if !ok {
		t.Fatal("the sandbox is not a sandbox.Freezer")
	}
	conn := accept(t, sb.Listener(9001))
	buf := make([]byte, 4096)
	return sb, f, func() error {
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := conn.Read(buf)
		return err
	}
}

// awaitQuiet waits until the process has stopped writing.
func awaitQuiet(t *testing.T, read func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); read() == nil; {
		if time.Now().After(deadline) {
			t.Fatal("the process runs though it was frozen")
		}
	}
}

func (s *suite) testFreezeThaw(t *testing.T, d sandbox.Driver) {
	sb, f, read := s.freezer(t, d)
	for range 3 {
		if err := f.Freeze(); err != nil {
			t.Fatal(err)
		}
		awaitQuiet(t, read)
		if err := f.Thaw(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); read() != nil; {
			if time.Now().After(deadline) {
				t.Fatal("the process does not run though it was thawed")
			}
		}
	}
	sb.Kill()
	if err := f.Freeze(); err == nil {
		t.Error("a sandbox that has ended was frozen")
	}
}

func (s *suite) testKillFrozen(t *testing.T, d sandbox.Driver) {
	sb, f, read := s.freezer(t, d)
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	awaitQuiet(t, read)
	sb.Kill()
	if got, want := sb.Exit(), (sandbox.Exit{Code: -1, Signal: 9}); got != want {
		t.Errorf("exit %+v, want %+v", got, want)
	}
}

func (s *suite) testOutOfMemory(t *testing.T, d sandbox.Driver) {
	s.limited(t)
	for _, arg := range []string{"self", "child"} {
		t.Run(arg, func(t *testing.T) {
			spec := s.spec(t, Eat, arg)
			spec.Memory = 128 << 20
			sb := start(t, d, spec)
			if got := ended(t, sb); !got.OOM {
				t.Errorf("exit %+v, want OOM; output %s", got, output(t, sb))
			}
			if peak := sb.Usage().MemoryPeak; peak < 120<<20 || peak > 129<<20 {
				t.Errorf("peak of %d MB, want about 128", peak>>20)
			}
		})
	}
}

func (s *suite) testProcessLimit(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	spec := s.spec(t, Fork)
	spec.Processes = 64
	sb := start(t, d, spec)
	got := awaitReady(t, sb)
	m := regexp.MustCompile(`^(\d+) then (.+)\n$`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("output %q", got)
	}
	// The starter is a program of several threads.
	if n, _ := strconv.Atoi(m[1]); n < 20 || n > 64 || !strings.Contains(m[2], "EAGAIN") {
		t.Errorf("%d processes were started, then %s; want less than 64, then EAGAIN", n, m[2])
	}
	other := start(t, d, s.spec(t, Hello))
	if got := ended(t, other); got != (sandbox.Exit{}) {
		t.Errorf("the neighbour of a full sandbox: exit %+v", got)
	}
}

func (s *suite) testFullTmp(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	spec := s.spec(t, Fill, "/tmp/file")
	spec.Memory, spec.Tmp = 256<<20, 16<<20
	sb := start(t, d, spec)
	if got, want := output(t, sb), "16 MB then ENOSPC\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	// A /tmp larger than half the memory must not end in an out-of-memory kill.
	spec = s.spec(t, Fill, "/tmp/file")
	spec.Memory, spec.Tmp = 128<<20, 512<<20
	sb = start(t, d, spec)
	if got, want := output(t, sb), "64 MB then ENOSPC\n"; got != want || ended(t, sb).OOM {
		t.Errorf("output %q, %v, want %q", got, sb.Exit(), want)
	}
}

func (s *suite) testReadOnly(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	code := t.TempDir()
	if err := os.WriteFile(filepath.Join(code, "file"), []byte("code"), 0o666); err != nil {
		t.Fatal(err)
	}
	os.Chmod(code, 0o777)
	os.Chmod(filepath.Join(code, "file"), 0o666)
	spec := s.spec(t, Files, "/opt/file", "/opt/new", "/usr/new", "/etc/new", "/etc/passwd", "/new", "/dev/new", "/proc/sys/kernel/hostname", "/tmp/new")
	spec.Binds = append(spec.Binds, sandbox.Bind{Source: code, Target: "/opt"})
	got := output(t, start(t, d, spec))
	for _, want := range []string{
		"/opt/file read ok", "/opt/file write EROFS", "/opt/new write EROFS", "/usr/new write EROFS",
		"/etc/passwd read ok", "/tmp/new write ok",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("want %q", want)
		}
	}
	if strings.Count(got, "write ok\n") != 1 {
		t.Error("more than /tmp can be written")
	}
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "mount /opt ") && (!strings.Contains(line, "ro,") || !strings.Contains(line, "nosuid") || !strings.Contains(line, "nodev")) {
			t.Errorf("want ro, nosuid and nodev: %s", line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func (s *suite) testHostFiles(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := s.spec(t, Files, secret, "/root", "/home", "/var/lib", "/var/log", "/sys", "/run", "/etc/shadow", "/etc/hostname",
		"/proc/kcore", "/proc/keys", "/proc/1/environ", "/proc/1/root", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda")
	got := output(t, start(t, d, spec))
	if strings.Contains(got, "read ok\n") || !strings.Contains(got, secret+" read ENOENT\n") {
		t.Errorf("files of the host are visible:\n%s", got)
	}
	for line := range strings.Lines(got) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "mount" && strings.HasPrefix(f[1], "/old") {
			t.Errorf("the old root is still mounted: %s", line)
		}
	}
}

func (s *suite) testIdentity(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	inheritable, err := syscall.Dup(0) // as a server may have from whoever started it
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inheritable)
	got := output(t, start(t, d, s.spec(t, Identity)))
	if strings.Contains(got, "inherited descriptor") {
		t.Error("it has descriptors of the server")
	}
	for _, want := range []string{
		`CapInh:\s0+\n`, `CapPrm:\s0+\n`, `CapEff:\s0+\n`, `CapBnd:\s0+\n`, `CapAmb:\s0+\n`, `NoNewPrivs:\s1\n`, `Seccomp:\s2\n`,
		`core limit 0 0\n`, `user [a-z_]+\n`,
	} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("want %s", want)
		}
	}
	if regexp.MustCompile(`(?m)^[UG]id:.*\b0\b`).MatchString(got) {
		t.Error("it runs as root")
	}
	if os.Geteuid() == 0 && !regexp.MustCompile(`Groups:\s*\n`).MatchString(got) {
		t.Error("it has groups")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func (s *suite) testOwnUsers(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	if os.Geteuid() != 0 {
		t.Skip("only root gives each sandbox a uid of its own")
	}
	seen := map[string]bool{}
	for range 3 {
		sb := start(t, d, s.spec(t, Processes)) // all live at once
		awaitReady(t, sb)
		uids := hostUIDs(t, d, sb)
		for _, uid := range uids {
			if uid == "0" || seen[uid] {
				t.Errorf("uid %s is root or that of another sandbox", uid)
			}
			seen[uid] = true
		}
	}
}

// hostUIDs are the real uids of the sandbox's processes as the host sees them.
func hostUIDs(t *testing.T, _ sandbox.Driver, sb sandbox.Sandbox) []string {
	t.Helper()
	p, ok := sb.(interface{ Pid() int })
	if !ok {
		t.Skip("the sandbox does not tell its pid")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Uid:\s(\d+)`).FindStringSubmatch(string(b))
	if m == nil {
		t.Fatalf("no uid in %s", b)
	}
	return m[1:]
}

func (s *suite) testSystemCalls(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	got := output(t, start(t, d, s.spec(t, Calls)))
	want := callsWanted()
	if len(want) == 0 {
		t.Fatal("no system calls to try on this system")
	}
	for name, err := range want {
		if !strings.Contains(got, name+" "+err+"\n") {
			t.Errorf("%s: want %s", name, err)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func (s *suite) testNetwork(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	// A listener of the host, which the sandbox must not reach.
	spec := s.spec(t, Network, "192.0.2.1:80", "169.254.169.254:80", "127.0.0.1:22", "localhost:1", "example.com:80")
	got := output(t, start(t, d, spec))
	want := "interface lo\n192.0.2.1:80 ENETUNREACH\n169.254.169.254:80 ENETUNREACH\n127.0.0.1:22 ECONNREFUSED\nlocalhost:1 ECONNREFUSED\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("output\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(got, "example.com:80 ok") {
		t.Error("it reached the internet")
	}
}

func (s *suite) testOtherProcesses(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	start(t, d, s.spec(t, Hold))
	sb := start(t, d, s.spec(t, Processes))
	got := awaitReady(t, sb)
	if n := strings.Count(got, "process "); n != 2 {
		t.Errorf("it sees %d processes, want its own and the init of its sandbox:\n%s", n, got)
	}
}
