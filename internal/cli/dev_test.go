package cli

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/server"
)

// screen is what a person sees; it can be waited on.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	seen    int // what expect has found already
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

// expect waits until text appears after what was expected before.
func (s *screen) expect(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		rest := s.text.String()[s.seen:]
		if i := strings.Index(rest, text); i >= 0 {
			s.seen += i + len(text)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("%q did not appear in:\n%s", text, rest)
		}
	}
}

// A day of dev: deploy, save, break the manifest, break the code, repair, add a function, read logs, Ctrl-C.
func TestDev(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	const manifest = "name: hello\nfunctions:\n  api: {runtime: nodejs22.x, code: ./api, handler: index.handler, http: [\"GET /api\"]}\n"
	write(t, dir, map[string]string{"hansom.yaml": manifest + "site: ./public\n", "public/_redirects": "/a\n", "api/index.mjs": "1", "api/lib/x.mjs": "1"})
	var srv *testServer
	started := make(chan struct{})
	out, errs := newScreen(), newScreen()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	exit := make(chan int, 1)
	serverDir := t.TempDir()
	go func() {
		exit <- Run(ctx, Options{
			NewServer: func(_ context.Context, cfg server.Config, _ *slog.Logger) (Server, error) {
				if !cfg.Dev {
					t.Error("dev starts a server that is not one for development")
				}
				srv = newTestServer(t, serverDir)
				close(started)
				return srv, nil
			},
			Args: []string{"dev", dir}, Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Environ: os.Environ(),
		})
	}()
	<-started
	out.expect(t, "api   http://"+srv.APIAddr()+"  (access key test, secret test)\n")
	errs.expect(t, filepath.Join(dir, "public", "_redirects")+":1:1: a rule needs a path or an address to go to: /from /to 301\nsave a file to try again\n")
	write(t, dir, map[string]string{"hansom.yaml": manifest})
	out.expect(t, "create hello-api")
	if err := os.RemoveAll(filepath.Join(dir, "public")); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "GET     http://hello.localhost:8080/api\n")

	write(t, dir, map[string]string{"api/lib/x.mjs": "2"})
	out.expect(t, "update hello-api")

	write(t, dir, map[string]string{"hansom.yaml": manifest + "  bad: {runtime: wasm, code: .}\n"})
	errs.expect(t, "hansom.yaml:4:18: runtime wasm is not supported yet")
	errs.expect(t, "what was deployed last goes on running")

	write(t, dir, map[string]string{"hansom.yaml": manifest + "  other: {runtime: nodejs22.x, code: ./other, handler: index.handler}\n"})
	errs.expect(t, "hansom.yaml:4:38: there is no ./other beside the manifest")
	write(t, dir, map[string]string{"other/index.mjs": "1"}) // a folder that was missing is the remedy
	out.expect(t, "create hello-other")

	write(t, dir, map[string]string{"other/new/deep.mjs": "1"})
	out.expect(t, "update hello-other")
	write(t, dir, map[string]string{"other/new/deep.mjs": "2"}) // a folder made later is watched too
	out.expect(t, "update hello-other")

	srv.log("hello-api", "START RequestId: d3d47848-ca60-4bed-9ced-36f2ba554c56 Version: $LATEST", 0)
	srv.log("hello-api", "a line from the function", 0)
	out.expect(t, "hello-api  a line from the function\n")
	if _, err := http.Get("http://" + srv.APIAddr() + "/edge"); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "  GET    /edge                     204 ")

	write(t, dir, map[string]string{"hansom.yaml": manifest})
	out.expect(t, "delete hello-other")

	write(t, dir, map[string]string{"public/index.html": "1", "hansom.yaml": manifest + "site: ./public\n"})
	out.expect(t, "create site")
	out.expect(t, "SITE    http://hello.localhost:8080/\n")
	write(t, dir, map[string]string{"public/index.html": "2"})
	out.expect(t, "update site")
	write(t, dir, map[string]string{"public/new/a.txt": "1"})
	out.expect(t, "update site")

	// A file that belongs to no function changes nothing, the next one does.
	write(t, dir, map[string]string{"README.md": "hello"})
	if err := os.Rename(filepath.Join(dir, "api", "index.mjs"), filepath.Join(dir, "api", "index.js")); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "update hello-api")

	interrupt()
	if code := <-exit; code != command.ExitOK {
		t.Errorf("exit code %d", code)
	}
	errs.expect(t, "\nstopping;")
	if text := out.text.String(); strings.Contains(text, "up to date") || strings.Contains(text, "START") {
		t.Errorf("something was deployed without need:\n%s", text)
	}
}

// The server that fails ends dev; so does one that cannot start.
func TestDevWithoutServer(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"hansom.yaml": "name: a\nfunctions: {b: {runtime: nodejs22.x, code: ., handler: a.b}}\n"})
	for name, c := range map[string]struct {
		server Server
		err    error
		want   string
	}{
		"start": {nil, os.ErrPermission, "hansom: permission denied\n"},
		"run":   {brokenServer{}, nil, "hansom: file already closed\n"},
	} {
		errs := newScreen()
		code := Run(t.Context(), Options{
			NewServer: func(context.Context, server.Config, *slog.Logger) (Server, error) { return c.server, c.err },
			Args:      []string{"dev", dir}, Stdin: strings.NewReader(""), Stdout: newScreen(), Stderr: errs,
		})
		if code != command.ExitFailure || errs.text.String() != c.want {
			t.Errorf("%s: exit code %d, %q", name, code, errs.text.String())
		}
	}
}

type brokenServer struct{}

func (brokenServer) Run(context.Context) error { return os.ErrClosed }
func (brokenServer) Ready() <-chan struct{}    { return nil }
func (brokenServer) EdgeAddr() string          { return "" }
func (brokenServer) APIAddr() string           { return "" }
func (brokenServer) NATSAddr() string          { return "" }
func (brokenServer) Isolation() string         { return "" }

// logs -f prints what comes until it is interrupted.
func TestFollowLogs(t *testing.T) {
	checkLeaks(t)
	srv := newTestServer(t, t.TempDir())
	srv.start(t)
	out := newScreen()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	exit := make(chan int, 1)
	srv.log("f", "first", 0)
	go func() {
		exit <- Run(ctx, Options{Args: []string{"logs", "-f", "f"}, Stdin: strings.NewReader(""), Stdout: out, Stderr: newScreen(),
			Environ: []string{"HANSOM_API=" + srv.APIAddr(), "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test"}})
	}()
	out.expect(t, "f  first\n")
	srv.log("f", "second", 0)
	out.expect(t, "f  second\n")
	interrupt()
	if code := <-exit; code != command.ExitOK {
		t.Errorf("exit code %d", code)
	}
}
