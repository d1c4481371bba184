package fake_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// show makes a fake sandbox show the behaviours of the suite that need no process.
func show(spec sandbox.Spec) fake.Script {
	args := spec.Command[1:]
	var run func(ctx context.Context, s *fake.Sandbox) error
	switch sandboxtest.Behaviour(spec.Command[0]) {
	case sandboxtest.Hello:
		run = func(_ context.Context, s *fake.Sandbox) error {
			s.Print("to stdout\nto stderr\n")
			return fake.Exit(0)
		}
	case sandboxtest.Exit:
		code, _ := strconv.Atoi(args[0])
		run = func(context.Context, *fake.Sandbox) error { return fake.Exit(code) }
	case sandboxtest.Signal:
		n, _ := strconv.Atoi(args[0])
		run = func(context.Context, *fake.Sandbox) error { return fake.Signal(n) }
	case sandboxtest.Environment:
		run = func(_ context.Context, s *fake.Sandbox) error {
			for _, a := range args {
				s.Print(fmt.Sprintf("arg %q\n", a))
			}
			for _, e := range s.Environ() {
				s.Print(fmt.Sprintf("env %q\n", e))
			}
			s.Print("cwd " + spec.Dir + "\n")
			return fake.Exit(0)
		}
	case sandboxtest.Echo:
		run = func(_ context.Context, s *fake.Sandbox) error {
			io.Copy(s.Runtime(), struct{ io.Reader }{s.Runtime()})
			return fake.Exit(0)
		}
	case sandboxtest.Dial:
		run = func(_ context.Context, s *fake.Sandbox) error {
			for i := 0; i < len(args); i += 2 {
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.Getenv(args[i]), args[i+1]))
				if err != nil {
					return err
				}
				fmt.Fprintln(conn, args[i])
				answer, _ := io.ReadAll(conn)
				conn.Close()
				if string(answer) != "hello "+args[i]+"\n" {
					return fake.Exit(99)
				}
			}
			return fake.Exit(0)
		}
	case sandboxtest.Serve:
		run = func(ctx context.Context, s *fake.Sandbox) error {
			ln, err := net.Listen("tcp", "127.0.0.1:"+s.Getenv(args[0]))
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { ln.Close() })
			s.Print("ready\n")
			for {
				conn, err := ln.Accept()
				if err != nil {
					return fake.Signal(9)
				}
				go func() {
					defer conn.Close()
					if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
						fmt.Fprint(conn, "hello ", line)
					}
				}()
			}
		}
	case sandboxtest.Hold:
		run = func(ctx context.Context, s *fake.Sandbox) error {
			s.Print("ready\n")
			<-ctx.Done()
			return fake.Signal(9)
		}
	case sandboxtest.Work:
		run = func(ctx context.Context, s *fake.Sandbox) error {
			s.SetUsage(sandbox.Usage{MemoryPeak: 32 << 20, CPU: int64(50 * time.Millisecond)})
			s.Print("ready\n")
			<-ctx.Done()
			return fake.Signal(9)
		}
	}
	if run == nil {
		return fake.Script{Start: func(context.Context) error { return fmt.Errorf("cannot start %s", spec.Command[0]) }}
	}
	return fake.Script{Process: run}
}

func TestContract(t *testing.T) {
	sandboxtest.Run(t, func(testing.TB) sandbox.Driver { return fake.New(show) }, sandboxtest.Options{
		Escapes: true, // no processes, no daemons
		Command: func(_ testing.TB, b sandboxtest.Behaviour, args ...string) (sandbox.Spec, bool) {
			spec := sandbox.Spec{Command: append([]string{string(b)}, args...), Dir: "/var/task"}
			return spec, show(spec).Process != nil
		},
	})
}

func invoke(t *testing.T, link sandbox.Link, event string) (sandbox.Response, error) {
	t.Helper()
	return link.Invoke(&sandbox.Request{Invocation: &hansom.Invocation{ID: "id", Payload: []byte(event)}, Deadline: time.Now().Add(10 * time.Second).UnixMilli()}, nil)
}

// start starts one sandbox of frames that follows script, and loads it.
func start(t *testing.T, script fake.Script) (*fake.Sandbox, sandbox.Link, error) {
	t.Helper()
	d := fake.New(func(sandbox.Spec) fake.Script { return script })
	t.Cleanup(func() { d.Close() })
	box, err := d.Start(t.Context(), sandbox.Spec{ID: "a", Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Output().Close() })
	link := sandbox.NewFrameLink(box.Conn(), func(id string, m []byte) time.Duration { t.Logf("log %s %s", id, m); return 0 })
	return box.(*fake.Sandbox), link, link.Init(t.Context(), &sandbox.Init{Handler: "h"})
}

func TestScript(t *testing.T) {
	box, link, err := start(t, fake.Script{
		Usage: sandbox.Usage{MemoryPeak: 7},
		Handler: func(ctx context.Context, call *fake.Call) ([]byte, error) {
			switch string(call.Event) {
			case `"error"`:
				return nil, &fake.FunctionError{Type: "T", Message: "m"}
			case `"plain"`:
				return nil, errors.New("m")
			case `"stream"`:
				io.WriteString(call.Stream("text/plain"), "part")
				return nil, nil
			case `"oom"`:
				return nil, fake.OutOfMemory()
			}
			call.Log("hello")
			call.Print("out\n")
			return call.Event, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for event, want := range map[string]string{
		`1`:        `1`,
		`"error"`:  `{"errorMessage":"m","errorType":"T"}`,
		`"plain"`:  `{"errorMessage":"m","errorType":"Error"}`,
		`"stream"`: `part`,
	} {
		if resp, err := invoke(t, link, event); err != nil || string(resp.Payload) != want || resp.Error != strings.Contains(want, "errorType") {
			t.Errorf("%s: %s, %v", event, resp.Payload, err)
		}
	}
	if box.Usage().MemoryPeak != 7 {
		t.Errorf("usage %+v", box.Usage())
	}
	if _, err := invoke(t, link, `"oom"`); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("out of memory: %v", err)
	}
	<-box.Done()
	if want := (sandbox.Exit{Code: -1, Signal: 9, OOM: true}); box.Exit() != want {
		t.Errorf("exit %+v", box.Exit())
	}
	if out, _ := io.ReadAll(box.Output()); string(out) != "out\n" {
		t.Errorf("output %q", out)
	}
}

func TestInitFails(t *testing.T) {
	box, _, err := start(t, fake.Script{Init: func(_ context.Context, in *sandbox.Init) error {
		return &fake.FunctionError{Type: "Runtime.ImportModuleError", Message: "no " + in.Handler}
	}})
	if e, ok := errors.AsType[*sandbox.InitError](err); !ok || !strings.Contains(string(e.Payload), "no h") {
		t.Errorf("Init = %v", err)
	}
	<-box.Done()
	if box.Exit() != (sandbox.Exit{Code: 1}) {
		t.Errorf("exit %+v", box.Exit())
	}
}

func TestExtend(t *testing.T) {
	d := fake.New(func(sandbox.Spec) fake.Script {
		return fake.Script{
			Process: func(_ context.Context, s *fake.Sandbox) error { s.Print("command\n"); return fake.Exit(4) },
			Extend: func(ctx context.Context, s *fake.Sandbox, path string) error {
				if path == "/ends" {
					return fake.Exit(3)
				}
				<-ctx.Done()
				return nil
			},
		}
	})
	t.Cleanup(func() { d.Close() })
	for _, c := range []struct {
		path string
		want sandbox.Exit
	}{{"/ends", sandbox.Exit{Code: 3, Extension: "/ends"}}, {"/stays", sandbox.Exit{Code: 4}}} {
		box, err := d.Start(t.Context(), sandbox.Spec{ID: "a", Extend: []string{c.path}})
		if err != nil {
			t.Fatal(err)
		}
		if c.path == "/stays" {
			if err := box.(sandbox.Gate).Open(); err != nil {
				t.Fatal(err)
			}
			<-box.(sandbox.Gate).Ended()
			box.Kill()
		}
		<-box.Done()
		if box.Exit() != c.want {
			t.Errorf("%s: exit %+v, want %+v", c.path, box.Exit(), c.want)
		}
		out, _ := io.ReadAll(box.Output())
		if (string(out) == "command\n") != (c.path == "/stays") {
			t.Errorf("%s: output %q", c.path, out)
		}
		box.Output().Close()
		box.(sandbox.Gate).ExtensionOutput().Close()
	}
}

// TestKillUnblocks: a kill ends an invocation that hangs, and a boot that does.
func TestKillUnblocks(t *testing.T) {
	called := make(chan struct{})
	box, link, err := start(t, fake.Script{Handler: func(ctx context.Context, call *fake.Call) ([]byte, error) {
		close(called)
		return fake.Hang(ctx, call)
	}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-called; box.Kill() }()
	if _, err := invoke(t, link, "1"); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Invoke = %v", err)
	}
	booting := make(chan struct{})
	d := fake.New(func(sandbox.Spec) fake.Script {
		return fake.Script{Boot: func(ctx context.Context) { close(booting); <-ctx.Done() }}
	})
	defer d.Close()
	slow, err := d.Start(t.Context(), sandbox.Spec{ID: "b", Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Output().Close()
	go func() { <-booting; slow.Kill() }()
	if err := sandbox.NewFrameLink(slow.Conn(), nil).Init(t.Context(), &sandbox.Init{}); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Init = %v", err)
	}
	if len(d.Living()) != 0 || d.Started() != 1 {
		t.Errorf("%d living of %d", len(d.Living()), d.Started())
	}
}

func TestFrozen(t *testing.T) {
	box, link, err := start(t, fake.Script{})
	if err != nil {
		t.Fatal(err)
	}
	box.Freeze()
	if !box.Frozen() {
		t.Error("not frozen")
	}
	req := &sandbox.Request{Invocation: &hansom.Invocation{ID: "id", Payload: []byte("1")}, Deadline: time.Now().Add(20 * time.Millisecond).UnixMilli()}
	if _, err := link.Invoke(req, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frozen sandbox answered: %v", err)
	}
	box, link, err = start(t, fake.Script{})
	if err != nil {
		t.Fatal(err)
	}
	box.Freeze()
	go box.Thaw()
	if _, err := invoke(t, link, "1"); err != nil {
		t.Errorf("Invoke after Thaw: %v", err)
	}
}
