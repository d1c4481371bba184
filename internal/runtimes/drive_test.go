package runtimes

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/frame"
)

// patience is how long a test waits for something that should happen at once.
const patience = time.Minute

// installed is the catalogue of this machine, home directories included, with the bootstraps in a directory of its own.
var installed = sync.OnceValues(func() (*Catalogue, error) {
	cfg := DefaultConfig()
	cfg.Homes = true
	c, err := Discover(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	return c, c.Install(context.Background(), installDir)
})

var installDir string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "--version" { // this program under another name: an interpreter that discovery finds
		version, err := os.ReadFile(os.Args[0] + ".version")
		fmt.Print(string(version))
		if err != nil {
			os.Exit(9)
		}
		return
	}
	var err error
	if installDir, err = os.MkdirTemp("", "runtimes"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(installDir)
		os.Exit(code)
	}))
}

// each runs f for every interpreter of a family that this machine has, one of each version.
func each(t *testing.T, family Family, f func(t *testing.T, r *Runtime)) {
	c, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, in := range c.Interpreters() {
		if in.Family != family || seen[in.number()] {
			continue
		}
		seen[in.number()] = true
		t.Run(in.Identifier(), func(t *testing.T) {
			for _, identifier := range append([]string{in.Identifier()}, AWS()...) {
				if r, err := c.Resolve(identifier); err == nil && r.Interpreter == in.Path {
					f(t, r)
					return
				}
			}
			t.Skip("no identifier of AWS's runs on it") // Node.js 23 beside Node.js 24
		})
	}
	if len(seen) == 0 {
		t.Skip("this machine has no " + languages[family].name + ": run scripts/setup.sh")
	}
}

// process is an interpreter that runs a bootstrap, and the server's end of its socket.
type process struct {
	t      testing.TB
	conn   *net.UnixConn
	cmd    *exec.Cmd
	output bytes.Buffer // stdout and stderr; to be read after wait
	exit   chan error
	stream uint64
}

func start(t testing.TB, r *Runtime, memory int, env ...string) *process {
	t.Helper()
	command, err := r.Command("", memory, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for i, arg := range command { // no sandbox: the host's own paths
		if rest, ok := strings.CutPrefix(arg, RuntimeRoot+"/"); ok {
			command[i] = filepath.Join(installDir, rest)
		}
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	syscall.SetNonblock(fds[1], true)
	mine, theirs := os.NewFile(uintptr(fds[0]), "server"), os.NewFile(uintptr(fds[1]), "runtime")
	defer theirs.Close()
	defer mine.Close()
	conn, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, conn: conn.(*net.UnixConn), exit: make(chan error, 1)}
	p.cmd = exec.Command(r.Interpreter, command[1:]...)
	p.cmd.Env = append(append([]string{"PATH=/usr/bin:/bin"}, r.Env...), env...)
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exit <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.conn.Close()
		p.cmd.Process.Kill()
		p.wait()
	})
	return p
}

// wait returns the exit code, -1 for a signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case err := <-p.exit:
		p.exit <- err
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("the runtime goes on")
		return 0
	}
}

func (p *process) send(h frame.Header, body []byte) {
	p.t.Helper()
	h.Length = uint32(len(body))
	p.conn.SetDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(append(frame.AppendHeader(nil, h), body...)); err != nil {
		p.t.Fatalf("send kind %d: %v", h.Kind, err)
	}
}

// receive returns the next frame; io.EOF when there are no more.
func (p *process) receive() (frame.Header, []byte, error) {
	head := make([]byte, frame.HeaderSize)
	p.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(p.conn, head); err != nil {
		return frame.Header{}, nil, err
	}
	h, err := frame.ParseHeader(head)
	if err != nil {
		return h, nil, err
	}
	body := make([]byte, h.Length)
	_, err = io.ReadFull(p.conn, body)
	return h, body, err
}

// next is receive for a frame that must come.
func (p *process) next() (frame.Header, []byte) {
	p.t.Helper()
	h, body, err := p.receive()
	if err != nil {
		p.conn.Close()
		p.cmd.Process.Kill()
		p.wait()
		p.t.Fatalf("no frame: %v; the runtime printed: %s", err, p.output.String())
	}
	return h, body
}

// boot reads the first READY.
func (p *process) boot(r *Runtime) {
	p.t.Helper()
	h, body := p.next()
	booted, err := frame.ParseBooted(body)
	if err != nil || h.Kind != frame.Ready || h.Flags != 0 || h.Stream != 0 {
		p.t.Fatalf("boot: %+v %q %v", h, body, err)
	}
	if booted.Protocol != frame.Version || strings.TrimPrefix(booted.Runtime, "v") != r.HostVersion {
		p.t.Fatalf("booted: %+v, want version %d and %s", booted, frame.Version, r.HostVersion)
	}
}

func (p *process) init(identifier, handler, root string, env ...string) {
	load := frame.Load{Handler: handler, TaskRoot: root, Env: [][2]string{
		{"AWS_EXECUTION_ENV", "AWS_Lambda_" + identifier}, {"AWS_LAMBDA_FUNCTION_NAME", "fn"}, {"AWS_LAMBDA_FUNCTION_VERSION", "7"},
		{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"}, {"AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/fn"}, {"AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/23/[7]abc"},
		{"TZ", ":UTC"}}}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		load.Env = append(load.Env, [2]string{name, value})
	}
	p.send(frame.Header{Kind: frame.Init}, frame.AppendLoad(nil, &load))
}

// call is what an INVOKE holds beside the event.
type call struct {
	trace, clientContext, identity string
	timeout                        time.Duration
}

// invoke sends the next invocation; its request id is "id-" and the number of its stream.
func (p *process) invoke(event []byte, c call) {
	p.t.Helper()
	p.stream++
	if c.timeout == 0 {
		c.timeout = time.Minute
	}
	head := frame.AppendCall(nil, &frame.Call{Deadline: time.Now().Add(c.timeout).UnixMilli(), RequestID: fmt.Sprintf("id-%d", p.stream), ARN: "arn:aws:lambda:us-east-1:000000000000:function:fn",
		Trace: c.trace, ClientContext: []byte(c.clientContext), Identity: []byte(c.identity)})
	p.send(frame.Header{Kind: frame.Invoke, Stream: p.stream}, append(head, event...))
}

// ready boots a runtime with a function made of one file.
func ready(t testing.TB, r *Runtime, source string) *process {
	t.Helper()
	root := t.TempDir()
	name := "index.js"
	if r.Family == Python {
		name = "index.py"
	}
	if err := os.WriteFile(filepath.Join(root, name), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, r, 128)
	p.boot(r)
	p.init(r.Identifier, "index.handler", root)
	h, body := p.next()
	if h.Kind != frame.Ready || h.Flags != frame.FlagInit {
		t.Fatalf("init: %+v %s", h, body)
	}
	return p
}

func window(bytes uint32) []byte { return binary.LittleEndian.AppendUint32(nil, bytes) }
