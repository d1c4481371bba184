package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/lambda"
	"github.com/hansomcloud/hansom/internal/backup"
	"github.com/hansomcloud/hansom/internal/buildinfo"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/egress"
	"github.com/hansomcloud/hansom/internal/hansomapi"
)

// apiHandler is the api listener's: Hansom's own paths, and the AWS-shaped APIs at all others.
func (s *Server) apiHandler(management, downloads, aws http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_hansom/health", s.health)
	mux.Handle("GET /_hansom/metrics", loopbackOnly(s.metrics.Handler()))
	mux.Handle("/_hansom/debug/pprof/", loopbackOnly(http.StripPrefix("/_hansom", http.HandlerFunc(profile))))
	mux.Handle("GET "+lambda.DownloadPath, downloads)
	mux.Handle(hansomapi.Prefix, management)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := hansom.FiberOf(r.Context()); f != nil && !lambda.IsInvoke(r) {
			f.Detach() // it waits for the database
		}
		if r.Method == http.MethodDelete {
			r = r.WithContext(db.Essential(r.Context())) // it frees space
		}
		// The mux cleans paths and redirects; AWS paths go around it, as they were sent and signed.
		if len(r.URL.Path) >= 9 && r.URL.Path[:9] == "/_hansom/" {
			mux.ServeHTTP(w, r)
			return
		}
		aws.ServeHTTP(w, r)
	})
}

func profile(w http.ResponseWriter, r *http.Request) {
	switch filepath.Base(r.URL.Path) {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	default:
		pprof.Index(w, r)
	}
}

// health answers 200 when the server is ready and its database answers, 503 otherwise.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	state, status := "ready", http.StatusOK
	select {
	case <-s.ready:
	default:
		state, status = "starting", http.StatusServiceUnavailable
	}
	if _, err := s.db.Revision(r.Context()); err != nil {
		state, status = "the database does not answer", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": state})
}

// loopbackOnly refuses requests of other machines.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "this path is open to loopback only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// servePlatform serves the AWS-shaped APIs on the listener inside a sandbox until the sandbox ends.
func (s *Server) servePlatform(l net.Listener, _ *hansom.Version) { _ = s.platform.Serve(l) }

// innerEdge serves the hosts under the base domain on a listener inside a sandbox. Where functions share the host's loopback, they
// have the edge listener itself.
func (s *Server) innerEdge() func(net.Listener) {
	if s.driver.Name() != "linux" {
		return nil
	}
	return func(l net.Listener) { _ = s.inner.Serve(l) }
}

// resolver answers look-ups of functions.
func (s *Server) resolver(logger *slog.Logger) *egress.Resolver {
	config := egress.DefaultConfig()
	config.Domain = s.cfg.Domain
	config.Policy, _ = s.cfg.policy() // Validate has accepted it
	return egress.New(config, logger.With("component", "egress"))
}

// openData makes the data directory and takes its lock: two servers on one directory would destroy each other's work.
func (s *Server) openData() error {
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return hansom.Errorf(hansom.Invalid, "open data directory", "%w; choose another with --data", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.cfg.Data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return hansom.Errorf(hansom.Invalid, "open data directory", "%w; choose another with --data", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return hansom.Errorf(hansom.Conflict, "open data directory", "another Hansom uses %s; stop it or choose another directory with --data", s.cfg.Data)
	}
	s.lock = lock
	left, _ := filepath.Glob(filepath.Join(s.cfg.Data, backup.Temporary+"*")) // the pattern is well formed
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return hansom.Errorf(hansom.Internal, "open data directory", "%w", err)
		}
	}
	return nil
}

// addressFile holds the bound addresses while the server runs, for the commands that look for it.
func (s *Server) addressFile() string { return filepath.Join(s.cfg.Data, "server.json") }

func (s *Server) writeAddresses() error {
	addresses := map[string]any{"edge": s.EdgeAddr(), "api": s.APIAddr(), "pid": os.Getpid()}
	if s.NATSAddr() != "" {
		addresses["nats"] = s.NATSAddr()
	}
	if s.EdgeTLSAddr() != "" {
		addresses["edgeTls"] = s.EdgeTLSAddr()
	}
	text, err := json.Marshal(addresses)
	if err == nil {
		temp := s.addressFile() + ".new"
		if err = os.WriteFile(temp, append(text, '\n'), 0o644); err == nil {
			err = os.Rename(temp, s.addressFile())
		}
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, "write addresses", "%w", err)
	}
	return nil
}

// info is what GET /_hansom/v1/info answers.
func (s *Server) info(context.Context) (hansomapi.Info, error) {
	build := buildinfo.Read()
	info := hansomapi.Info{
		Version: build.Version, Commit: build.Commit, Arch: runtime.GOARCH, Region: s.cfg.Region, Domain: s.cfg.Domain,
		Edge: s.EdgeAddr(), API: s.APIAddr(), Database: s.db.Engine(), Sync: s.cfg.Sync, Driver: s.driver.Name(), Egress: s.cfg.Egress,
		Memory: s.pool.Stats().Budget, Time: time.Now(), Checks: append(s.hostChecks(), s.checks...),
	}
	for _, in := range s.runtimes.Interpreters() {
		info.Runtimes = append(info.Runtimes, hansomapi.Runtime{Identifier: in.Identifier(), HostVersion: in.Version})
	}
	info.Runtimes = append(info.Runtimes, hansomapi.Runtime{Identifier: "provided.al2023"}, hansomapi.Runtime{Identifier: "provided.al2"})
	return info, nil
}

// backup writes what this server keeps.
func (s *Server) backup(ctx context.Context, w io.Writer, logs bool) error {
	if logs {
		if err := s.logs.Sync(ctx); err != nil {
			return err
		}
	}
	defer s.artifacts.Pause()()
	return backup.Write(ctx, w, backup.Source{
		Dir: s.cfg.Data, DB: s.db, Backlog: s.backlog, Version: buildinfo.Read().Version, Region: s.cfg.Region, Logs: logs, Now: time.Now(),
	})
}

// Backup describes a backup.
type Backup = backup.Info

// Restore makes a data directory of a backup; see backup.Restore.
func Restore(ctx context.Context, r io.Reader, dir, postgres string) (Backup, error) {
	return backup.Restore(ctx, r, dir, postgres)
}
