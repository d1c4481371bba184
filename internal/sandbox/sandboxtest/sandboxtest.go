// Package sandboxtest is the contract suite of sandbox drivers: what each of them promises to the pool, as tests.
// A driver's test is one call:
//
//	func TestMain(m *testing.M) {
//		sandboxtest.Main() // a sandbox of the suite runs this binary
//		goleak.VerifyTestMain(m)
//	}
//
//	func TestContract(t *testing.T) {
//		sandboxtest.Run(t, newDriver, sandboxtest.Options{Isolated: true})
//	}
package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// patience is how long the suite waits for what must happen, on a slow machine.
const patience = 20 * time.Second

// Options say what a driver can do. The zero Options suit a driver that runs real commands without isolating them.
type Options struct {
	// Command says how a sandbox of this driver shows a behaviour: the Command, Binds, Env and Dir of a Spec. It returns false
	// for what the driver cannot show: its test is skipped. nil runs this test binary, which must call Main first.
	Command func(t testing.TB, b Behaviour, args ...string) (sandbox.Spec, bool)
	// Escapes says that processes which leave their session and their parent outlive Kill.
	Escapes bool
	// Relaxed leaves out what only real processes have: usage and output.
	Relaxed bool
	// Isolated adds what isolation promises: own uid, no capabilities, system call filter, own file system, loopback only, a
	// limited number of processes.
	Isolated bool
	// Limited adds the limit of memory, and that running out of it is told apart.
	Limited bool
	// Freezes says that sandboxes are a sandbox.Freezer.
	Freezes bool
}

type suite struct {
	Options
	newDriver func(testing.TB) sandbox.Driver
	seq       int
	mu        sync.Mutex
}

// Run runs the suite. newDriver is called by each test; the suite closes the driver.
func Run(t *testing.T, newDriver func(testing.TB) sandbox.Driver, opts Options) {
	s := &suite{Options: opts, newDriver: newDriver}
	if s.Command == nil {
		s.Command = Self
	}
	for name, test := range map[string]func(*testing.T, sandbox.Driver){
		"Output":               s.testOutput,
		"Exit":                 s.testExit,
		"Environment":          s.testEnvironment,
		"Conn":                 s.testConn,
		"Listeners":            s.testListeners,
		"Kill":                 s.testKill,
		"KillTree":             s.testKillTree,
		"KillAtOnce":           s.testKillAtOnce,
		"DaemonEnds":           s.testDaemonEnds,
		"Usage":                s.testUsage,
		"StartFails":           s.testStartFails,
		"Close":                s.testClose,
		"Concurrent":           s.testConcurrent,
		"FreezeThaw":           s.testFreezeThaw,
		"KillFrozen":           s.testKillFrozen,
		"OutOfMemory":          s.testOutOfMemory,
		"ProcessLimit":         s.testProcessLimit,
		"FullTmp":              s.testFullTmp,
		"ReadOnly":             s.testReadOnly,
		"HostFiles":            s.testHostFiles,
		"Identity":             s.testIdentity,
		"OwnUsers":             s.testOwnUsers,
		"SystemCalls":          s.testSystemCalls,
		"Network":              s.testNetwork,
		"OtherProcesses":       s.testOtherProcesses,
		"Dial":                 s.testDial,
		"DialNobody":           s.testDialNobody,
		"DialDeaf":             s.testDialDeaf,
		"DialFrozen":           s.testDialFrozen,
		"Extend":               s.testExtend,
		"ExtensionEnds":        s.testExtensionEnds,
		"End":                  s.testEnd,
		"KillExtensions":       s.testKillExtensions,
		"ExtendFails":          s.testExtendFails,
		"ExtensionEnvironment": s.testExtensionEnvironment,
		"Blank":                s.testBlank,
		"BlankEnvironment":     s.testBlankEnvironment,
		"BlankTmp":             s.testBlankTmp,
		"BlankMemory":          s.testBlankMemory,
		"BlankDies":            s.testBlankDies,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			t.Cleanup(func() {
				if err := d.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test(t, d)
		})
	}
}

// Self is the Options.Command that runs this test binary, which must call Main first.
func Self(t testing.TB, b Behaviour, args ...string) (sandbox.Spec, bool) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.Spec{
		Command: append([]string{"/var/task/" + filepath.Base(exe), marker, string(b)}, args...),
		Binds:   []sandbox.Bind{{Source: filepath.Dir(exe), Target: "/var/task"}},
		Env:     []string{"PATH=/usr/bin:/bin", "GOTRACEBACK=none", "GORACE=atexit_sleep_ms=0"}, // a race build sleeps a second at its exit
		Dir:     "/var/task",
	}, true
}

// spec is a Spec with fair limits that shows b.
func (s *suite) spec(t testing.TB, b Behaviour, args ...string) sandbox.Spec {
	t.Helper()
	spec, ok := s.Command(t, b, args...)
	if !ok {
		t.Skipf("this driver cannot show %q", b)
	}
	s.mu.Lock()
	s.seq++
	spec.ID = fmt.Sprintf("t%d", s.seq)
	s.mu.Unlock()
	spec.Memory, spec.Tmp = 256<<20, 512<<20
	return spec
}

// start starts a sandbox that the test's end kills.
func start(t testing.TB, d sandbox.Driver, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sb, err := d.Start(ctx, spec)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		sb.Kill()
		sb.Output().Close()
		if len(spec.Extend) > 0 {
			sb.(sandbox.Gate).ExtensionOutput().Close()
		}
	})
	return sb
}

// output reads all that the sandbox prints, until its tree is gone.
func output(t testing.TB, sb sandbox.Sandbox) string {
	t.Helper()
	sb.Output().SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(sb.Output())
	if err != nil {
		t.Fatalf("Output: %v after %q", err, b)
	}
	return string(b)
}

// awaitReady waits for the line "ready"; it returns what was printed before it.
func awaitReady(t testing.TB, sb sandbox.Sandbox) string {
	t.Helper()
	var got []byte
	buf := make([]byte, 1024)
	sb.Output().SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := sb.Output().Read(buf)
		got = append(got, buf[:n]...)
		if before, _, ok := strings.Cut(string(got), "ready\n"); ok {
			return before
		}
		if err != nil {
			t.Fatalf("the process did not get ready: %v after %q", err, got)
		}
	}
}

// ended waits for the end of the tree.
func ended(t testing.TB, sb sandbox.Sandbox) sandbox.Exit {
	t.Helper()
	select {
	case <-sb.Done():
		return sb.Exit()
	case <-time.After(patience):
		t.Fatal("the tree did not end")
		panic("unreachable")
	}
}

func (s *suite) testOutput(t *testing.T, d sandbox.Driver) {
	if s.Relaxed {
		t.Skip("no output")
	}
	sb := start(t, d, s.spec(t, Hello))
	if got, want := output(t, sb), "to stdout\nto stderr\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if got := ended(t, sb); got != (sandbox.Exit{}) {
		t.Errorf("exit %+v, want status 0", got)
	}
	if sb.Conn() != nil {
		t.Error("Conn is not nil though the Spec asked for no frames")
	}
}

func (s *suite) testExit(t *testing.T, d sandbox.Driver) {
	for _, c := range []struct {
		b    Behaviour
		arg  string
		want sandbox.Exit
	}{
		{Exit, "0", sandbox.Exit{}},
		{Exit, "7", sandbox.Exit{Code: 7}},
		{Signal, "15", sandbox.Exit{Code: -1, Signal: 15}},
		{Signal, "9", sandbox.Exit{Code: -1, Signal: 9}},
	} {
		t.Run(string(c.b)+c.arg, func(t *testing.T) {
			sb := start(t, d, s.spec(t, c.b, c.arg))
			if got := ended(t, sb); got != c.want {
				t.Errorf("exit %+v, want %+v", got, c.want)
			}
		})
	}
}

func (s *suite) testEnvironment(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Environment, "first argument", "")
	spec.Env = append(spec.Env, "HANSOM_TEST=a value\nof two lines")
	got := output(t, start(t, d, spec))
	for _, want := range []string{
		`arg "first argument"` + "\n", `arg ""` + "\n",
		`env "HANSOM_TEST=a value\nof two lines"` + "\n",
		"cwd ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in what the process saw:\n%s", want, got)
		}
	}
	if home := os.Getenv("HOME"); home != "" && strings.Contains(got, `"HOME=`) {
		t.Errorf("the process saw the server's environment:\n%s", got)
	}
}

func (s *suite) testConn(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Echo)
	spec.Frames = true
	sb := start(t, d, spec)
	conn := sb.Conn()
	if conn == nil {
		t.Fatal("no Conn")
	}
	conn.SetDeadline(time.Now().Add(patience))
	sent := strings.Repeat("frames ", 50_000)
	go io.WriteString(conn, sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != sent {
		t.Fatalf("fd 3 did not echo: %v", err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Errorf("after the process closed fd 3: %q, %v, want EOF", rest, err)
	}
	if got := ended(t, sb); got != (sandbox.Exit{}) {
		t.Errorf("exit %+v, want status 0", got)
	}
}

func (s *suite) testListeners(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Dial, "FIRST", "http://", "SECOND", "", "ALIAS", "")
	spec.Listen = []sandbox.Listen{
		{Port: 9001, Env: []string{"FIRST"}, Format: "http://%s"},
		{Port: 4566, Env: []string{"SECOND", "ALIAS"}, Format: "%s"},
	}
	sb := start(t, d, spec)
	for _, c := range []struct { // in the order of the process
		port  int
		names []string
	}{{9001, []string{"FIRST"}}, {4566, []string{"SECOND", "ALIAS"}}} {
		ln := sb.Listener(c.port)
		if ln == nil {
			t.Fatalf("no listener at port %d", c.port)
		}
		for _, name := range c.names {
			conn := accept(t, ln)
			if got := readLine(t, conn); got != name {
				t.Errorf("port %d was dialled by %s, want %s", c.port, got, name)
			}
			fmt.Fprintf(conn, "hello %s\n", name)
			conn.Close()
		}
	}
	if ln := sb.Listener(80); ln != nil {
		t.Errorf("a listener at a port that was not asked for: %v", ln.Addr())
	}
	if got := ended(t, sb); got != (sandbox.Exit{}) {
		t.Errorf("exit %+v: the process did not get its answers: %s", got, output(t, sb))
	}
	sb.Kill()
	if conn, err := sb.Listener(9001).Accept(); err == nil {
		conn.Close()
		t.Error("the listener accepts after Kill")
	}
}

func (s *suite) testKill(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Hold)
	spec.Frames = true
	spec.Listen = []sandbox.Listen{{Port: 9001, Env: []string{"API"}, Format: "%s"}}
	sb := start(t, d, spec)
	if !s.Relaxed {
		awaitReady(t, sb)
	}
	select {
	case <-sb.Done():
		t.Fatalf("it ended by itself: %v", sb.Exit())
	default:
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			sb.Kill()
			select {
			case <-sb.Done():
			default:
				t.Error("Kill returned before the tree was gone")
			}
		})
	}
	wg.Wait()
	if got, want := sb.Exit(), (sandbox.Exit{Code: -1, Signal: 9}); got != want {
		t.Errorf("exit %+v, want %+v", got, want)
	}
	if got := output(t, sb); got != "" {
		t.Errorf("output after Kill: %q, want EOF", got)
	}
	sb.Usage()
	sb.Kill()
}

func (s *suite) testKillAtOnce(t *testing.T, d sandbox.Driver) {
	for range 5 { // the process is somewhere between its exec and its main
		sb := start(t, d, s.spec(t, Hold))
		sb.Kill()
		if got, want := sb.Exit(), (sandbox.Exit{Code: -1, Signal: 9}); got != want {
			t.Errorf("exit %+v, want %+v", got, want)
		}
	}
}

// daemon starts a tree whose daemon has left its session, its parent and its standard files, and returns the connection that
// the daemon holds.
func (s *suite) daemon(t *testing.T, d sandbox.Driver, then string) (sandbox.Sandbox, net.Conn) {
	t.Helper()
	if s.Escapes {
		t.Skip("this driver does not hold what leaves its session")
	}
	spec := s.spec(t, Daemon, "API", then)
	spec.Listen = []sandbox.Listen{{Port: 9001, Env: []string{"API"}, Format: "%s"}}
	sb := start(t, d, spec)
	conn := accept(t, sb.Listener(9001))
	if got := readLine(t, conn); got != "daemon" {
		t.Fatalf("read %q from the daemon", got)
	}
	return sb, conn
}

func (s *suite) testKillTree(t *testing.T, d sandbox.Driver) {
	sb, conn := s.daemon(t, d, "hold")
	sb.Kill()
	gone(t, conn)
}

func (s *suite) testDaemonEnds(t *testing.T, d sandbox.Driver) {
	sb, conn := s.daemon(t, d, "exit")
	fmt.Fprintln(conn, "go on") // only now does the first process exit
	if got := ended(t, sb); got != (sandbox.Exit{Code: 3}) {
		t.Errorf("exit %+v, want that of the first process, 3", got)
	}
	gone(t, conn)
}

// gone checks that the process at the other end has ended.
func gone(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the daemon still holds its connection")
	}
}

func (s *suite) testUsage(t *testing.T, d sandbox.Driver) {
	if s.Relaxed {
		t.Skip("no usage")
	}
	sb := start(t, d, s.spec(t, Work))
	awaitReady(t, sb)
	check := func(when string, u sandbox.Usage) {
		if u.CPU < int64(40*time.Millisecond) || u.CPU > int64(patience) {
			t.Errorf("%s: CPU %v, want at least 40ms", when, time.Duration(u.CPU))
		}
		if u.MemoryPeak < 32<<20 || u.MemoryPeak > 256<<20 {
			t.Errorf("%s: peak of %d MB, want at least 32", when, u.MemoryPeak>>20)
		}
	}
	check("running", sb.Usage())
	sb.Kill()
	check("ended", sb.Usage())
}

func (s *suite) testStartFails(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Hold)
	if !s.Relaxed {
		missing := spec
		missing.Command = []string{"/var/task/no-such-file"}
		sb, err := d.Start(t.Context(), missing)
		if err == nil {
			sb.Kill()
			sb.Output().Close()
			t.Fatal("a command that does not exist was started")
		}
		if !strings.Contains(err.Error(), "/var/task/no-such-file") || s.Isolated && hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%v, want an error of kind Invalid that names the command", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if sb, err := d.Start(ctx, spec); err == nil {
		sb.Kill()
		sb.Output().Close()
		t.Error("started with a cancelled context")
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a cancelled context: %v", err)
	}
	start(t, d, spec) // the id is free again
}

func (s *suite) testClose(t *testing.T, d sandbox.Driver) {
	var all []sandbox.Sandbox
	for range 3 {
		all = append(all, start(t, d, s.spec(t, Hold)))
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, sb := range all {
		select {
		case <-sb.Done():
		default:
			t.Error("a sandbox outlives its driver")
		}
	}
	if sb, err := d.Start(t.Context(), s.spec(t, Hold)); err == nil {
		sb.Kill()
		sb.Output().Close()
		t.Error("a closed driver started a sandbox")
	} else if hansom.KindOf(err) != hansom.Unavailable {
		t.Errorf("Start of a closed driver: %v, want an error of kind Unavailable", err)
	}
}

func (s *suite) testConcurrent(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Exit, "5")
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			spec := spec
			spec.ID = fmt.Sprintf("c%d", i)
			sb, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Errorf("Start: %v", err)
				return
			}
			defer sb.Output().Close()
			if i%3 == 0 {
				sb.Kill()
				return
			}
			select {
			case <-sb.Done():
				if got := sb.Exit(); got != (sandbox.Exit{Code: 5}) {
					t.Errorf("exit %+v, want 5", got)
				}
			case <-time.After(patience):
				t.Error("a sandbox did not end")
			}
			sb.Kill()
		})
	}
	wg.Wait()
}

// accept takes the next connection and gives it a deadline.
func accept(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	if l, ok := ln.(interface{ SetDeadline(time.Time) error }); ok {
		l.SetDeadline(time.Now().Add(patience))
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// readLine reads byte by byte, so that nothing after the line is lost.
func readLine(t testing.TB, r io.Reader) string {
	t.Helper()
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("reading a line: %v after %q", err, line)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}
