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
	"syscall"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// dial connects to what listens inside and has it answer.
func dial(ctx context.Context, d sandbox.Dialer, port int) error {
	conn, err := d.Dial(ctx, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if conn.RemoteAddr() == nil {
		return errors.New("the connection has no remote address")
	}
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(conn, "you")
	answer, err := io.ReadAll(conn)
	if err == nil && string(answer) != "hello you\n" {
		err = fmt.Errorf("it answered %q", answer)
	}
	return err
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func dialer(t *testing.T, sb sandbox.Sandbox) sandbox.Dialer {
	t.Helper()
	d, ok := sb.(sandbox.Dialer)
	if !ok {
		t.Fatal("the sandbox is not a sandbox.Dialer")
	}
	return d
}

func (s *suite) testDial(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Serve, "PORT")
	spec.Serve = &sandbox.Serve{Port: 8080, Env: "PORT"}
	sb := start(t, d, spec)
	awaitReady(t, sb)
	box, ctx := dialer(t, sb), patient(t)
	for _, port := range []int{0, 8080} {
		if err := dial(ctx, box, port); err != nil {
			t.Errorf("port %d: %v", port, err)
		}
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := dial(ctx, box, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := dial(over, box, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
	// A connection that is open does not outlive the tree.
	conn, err := box.Dial(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s.Escapes { // the fake's are the test's own
		return
	}
	sb.Kill()
	conn.SetDeadline(time.Now().Add(patience))
	var timeout net.Error
	if n, err := conn.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("after Kill: read %d bytes, %v", n, err)
	}
	if err := dial(ctx, box, 0); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("after Kill: %v, want ErrClosed", err)
	}
}

func (s *suite) testDialNobody(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Hold)
	spec.Serve = &sandbox.Serve{Port: 8080, Env: "PORT"}
	sb := start(t, d, spec)
	if err := dial(patient(t), dialer(t, sb), 0); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nothing listens: %v, want ECONNREFUSED", err)
	}
	go sb.Kill()
	<-sb.Done()
	if err := dial(patient(t), dialer(t, sb), 0); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("after Kill: %v, want ErrClosed", err)
	}
}

// testDialDeaf: a hostile listener, whose queue is full, hangs nobody.
func (s *suite) testDialDeaf(t *testing.T, d sandbox.Driver) {
	s.isolated(t)
	spec := s.spec(t, Deaf, "PORT")
	spec.Serve = &sandbox.Serve{Port: 8080, Env: "PORT"}
	sb := start(t, d, spec)
	awaitReady(t, sb)
	box := dialer(t, sb)
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		conn, err := box.Dial(ctx, 0)
		cancel()
		if err == nil {
			defer conn.Close()
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the context's error", err)
		}
		return
	}
	t.Error("the queue never filled")
}

func (s *suite) testDialFrozen(t *testing.T, d sandbox.Driver) {
	if !s.Freezes {
		t.Skip("this driver does not freeze")
	}
	spec := s.spec(t, Serve, "PORT")
	spec.Serve = &sandbox.Serve{Port: 8080, Env: "PORT"}
	sb := start(t, d, spec)
	awaitReady(t, sb)
	box, f := dialer(t, sb), sb.(sandbox.Freezer)
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if conn, err := box.Dial(ctx, 0); err == nil { // the kernel may accept for it
				conn.Close()
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("frozen: %v", err)
			}
		})
	}
	wg.Wait()
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := dial(patient(t), box, 0); err != nil {
			t.Errorf("thawed: %v", err)
		}
	}
}

// extend adds programs to a Spec: each is a script of its name that shows a behaviour.
func (s *suite) extend(t *testing.T, spec *sandbox.Spec, programs map[string][]string, order ...string) {
	t.Helper()
	if s.Escapes {
		t.Skip("this driver has no programs")
	}
	dir, err := os.MkdirTemp("", "extensions")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	for name, args := range programs {
		script := "#!/bin/sh\nexec \"$SANDBOXTEST\" " + marker
		for _, a := range args {
			script += " '" + a + "'"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script+" \"$0\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec.Binds = append(spec.Binds, sandbox.Bind{Source: dir, Target: "/opt/extensions"})
	spec.Env = append(spec.Env, "SANDBOXTEST="+spec.Command[0])
	spec.Listen = []sandbox.Listen{{Port: 9001, Env: []string{"API"}, Format: "%s"}}
	for _, name := range order {
		spec.Extend = append(spec.Extend, "/opt/extensions/"+name)
	}
}

func open(t *testing.T, sb sandbox.Sandbox) error {
	t.Helper()
	g, ok := sb.(sandbox.Gate)
	if !ok {
		t.Fatal("the sandbox is not a sandbox.Gate")
	}
	return g.Open()
}

var obedient = map[string][]string{"one": {string(Obey), "API"}, "two": {string(Obey), "API"}}

// obeying starts a sandbox with the programs one and two, and returns their connections.
func (s *suite) obeying(t *testing.T, d sandbox.Driver, b Behaviour, args ...string) (sandbox.Sandbox, map[string]net.Conn) {
	t.Helper()
	spec := s.spec(t, b, args...)
	s.extend(t, &spec, obedient, "one", "two")
	sb := start(t, d, spec)
	conns := map[string]net.Conn{}
	for range spec.Extend {
		conn := accept(t, sb.Listener(9001))
		conns[filepath.Base(readLine(t, conn))] = conn
	}
	if conns["one"] == nil || conns["two"] == nil {
		t.Fatalf("the programs that run: %v", conns)
	}
	return sb, conns
}

func (s *suite) testExtend(t *testing.T, d sandbox.Driver) {
	sb, conns := s.obeying(t, d, Hello)
	fmt.Fprintln(conns["one"], "before the command")
	extOutput := sb.(sandbox.Gate).ExtensionOutput()
	extOutput.SetReadDeadline(time.Now().Add(patience))
	if line := readLine(t, extOutput); line != "before the command" {
		t.Errorf("one said %q", line)
	}
	for range 2 {
		if err := open(t, sb); err != nil {
			t.Fatalf("Open: %v", err)
		}
	}
	for _, want := range []string{"to stdout", "to stderr"} {
		if got := readLine(t, sb.Output()); got != want {
			t.Errorf("the command said %q, want %q", got, want)
		}
	}
	<-sb.(sandbox.Gate).Ended()
	if got := sb.Exit(); got != (sandbox.Exit{}) {
		t.Errorf("exit %+v, want that of the command", got)
	}
	sb.Kill()
	if got := ended(t, sb); got != (sandbox.Exit{}) {
		t.Errorf("after Kill: exit %+v, want that of the command", got)
	}
	gone(t, conns["two"])
}

func (s *suite) testExtensionEnds(t *testing.T, d sandbox.Driver) {
	for _, opened := range []bool{false, true} {
		sb, conns := s.obeying(t, d, Hold)
		if opened {
			if err := open(t, sb); err != nil {
				t.Fatal(err)
			}
			awaitReady(t, sb)
		}
		fmt.Fprintln(conns["two"], "exit")
		if got, want := ended(t, sb), (sandbox.Exit{Code: 3, Extension: "/opt/extensions/two"}); got != want {
			t.Errorf("opened %t: exit %+v, want %+v", opened, got, want)
		}
		gone(t, conns["one"])
		if err := open(t, sb); !opened && !errors.Is(err, sandbox.ErrClosed) {
			t.Errorf("Open of a tree that is gone: %v", err)
		}
	}
}

// testEnd: after End each program has its own end, and the tree ends with the last.
func (s *suite) testEnd(t *testing.T, d sandbox.Driver) {
	sb, conns := s.obeying(t, d, Obey, "API")
	if err := open(t, sb); err != nil {
		t.Fatal(err)
	}
	command := accept(t, sb.Listener(9001))
	readLine(t, command)
	sb.(sandbox.Gate).End(syscall.SIGTERM)
	gone(t, command)
	for i, name := range []string{"one", "two"} {
		select {
		case <-sb.Done():
			t.Fatalf("the tree ended with %d programs left", 2-i)
		case <-time.After(50 * time.Millisecond):
		}
		fmt.Fprintln(conns[name], "exit")
		gone(t, conns[name])
	}
	ended(t, sb)

	sb, _ = s.obeying(t, d, Hold)
	sb.(sandbox.Gate).End(syscall.SIGKILL) // before the command runs
	sb.Kill()
	ended(t, sb)
}

func (s *suite) testKillExtensions(t *testing.T, d sandbox.Driver) {
	for _, opened := range []bool{false, true} {
		sb, conns := s.obeying(t, d, Hold)
		if opened {
			if err := open(t, sb); err != nil {
				t.Fatal(err)
			}
		}
		sb.Kill()
		if got, want := sb.Exit(), (sandbox.Exit{Code: -1, Signal: 9}); got != want {
			t.Errorf("opened %t: exit %+v, want %+v", opened, got, want)
		}
		gone(t, conns["one"])
		gone(t, conns["two"])
		output(t, sb)
	}
}

func (s *suite) testExtendFails(t *testing.T, d sandbox.Driver) {
	for name, make := range map[string]func(path string) error{
		"missing": func(string) error { return nil },
		"not executable": func(path string) error {
			return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o644)
		},
		"no program": func(path string) error { return os.WriteFile(path, []byte("text"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.spec(t, Hold)
			s.extend(t, &spec, obedient, "one", "bad")
			if err := make(filepath.Join(spec.Binds[len(spec.Binds)-1].Source, "bad")); err != nil {
				t.Fatal(err)
			}
			sb, err := d.Start(patient(t), spec)
			if err == nil {
				sb.Kill()
				sb.Output().Close()
				t.Fatal("it was started")
			}
			if hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), "/opt/extensions/bad") {
				t.Errorf("%v, want an error of kind Invalid that names the program", err)
			}
		})
	}
	spec := s.spec(t, Hold)
	s.extend(t, &spec, obedient, "one")
	spec.Command = []string{"/var/task/no-such-file"}
	sb := start(t, d, spec)
	if err := open(t, sb); hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), "/var/task/no-such-file") {
		t.Errorf("Open: %v, want an error of kind Invalid that names the command", err)
	}
	ended(t, sb)
}

func (s *suite) testExtensionEnvironment(t *testing.T, d sandbox.Driver) {
	spec := s.spec(t, Hold)
	s.extend(t, &spec, map[string][]string{"environment": {string(Environment)}}, "environment")
	spec.Env = append(spec.Env, "HANSOM_TEST=a value")
	sb := start(t, d, spec)
	got, err := io.ReadAll(sb.(sandbox.Gate).ExtensionOutput())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"environment\"\n", `env "HANSOM_TEST=a value"` + "\n", "cwd "} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %q in what the program saw:\n%s", want, got)
		}
	}
}
