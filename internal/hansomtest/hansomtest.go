// Package hansomtest runs a whole server inside a test: a temporary data directory, free ports, stopped when the test ends.
package hansomtest

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/server"
)

// Credentials of the root of the default project on every test server.
var Credentials = hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}

// Server is a running test server.
type Server struct {
	*server.Server
	Config server.Config
	stop   context.CancelFunc
	done   chan error
}

// Start runs a server as hansom dev does: loopback, test/test; but functions do not reach the internet, so that a test leaves the
// machine's network alone. change may alter its configuration; nil leaves it.
// Server logs go to the test's log when it fails.
func Start(t testing.TB, change func(*server.Config)) *Server {
	t.Helper()
	cfg := server.DevConfig()
	cfg.Data, cfg.Edge, cfg.API = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", "127.0.0.1:0"
	cfg.Egress, cfg.Drain = hansom.EgressPlatform, server.DefaultConfig().Drain
	if change != nil {
		change(&cfg)
	}
	s := &Server{Config: cfg}
	s.run(t)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

func (s *Server) run(t testing.TB) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "server-*.log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("server log:\n%s", text)
		}
		log.Close()
	})
	ctx, stop := context.WithCancel(context.Background())
	srv, err := server.New(ctx, s.Config, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		stop()
		t.Fatal(err)
	}
	s.Server, s.stop, s.done = srv, stop, make(chan error, 1)
	go func() { s.done <- srv.Run(ctx) }()
	select {
	case <-srv.Ready():
	case err := <-s.done:
		t.Fatal(err)
	}
}

// Stop ends the server as SIGTERM does, and waits for it. It may be called again.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	select {
	case err := <-s.done:
		if err != nil {
			t.Errorf("server ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("server did not stop within a minute")
	}
	http.DefaultClient.CloseIdleConnections()
}

// Restart stops the server and starts another one on the same data directory.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t)
	s.run(t)
}

// Edge and API are the addresses of the listeners as URLs without a trailing slash.
func (s *Server) Edge() string { return "http://" + s.EdgeAddr() }
func (s *Server) API() string  { return "http://" + s.APIAddr() }
