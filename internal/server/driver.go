package server

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomapi"
	"github.com/hansomcloud/hansom/internal/httplink"
	"github.com/hansomcloud/hansom/internal/loop"
	"github.com/hansomcloud/hansom/internal/pool"
	"github.com/hansomcloud/hansom/internal/runtimeapi"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux"
	"github.com/hansomcloud/hansom/internal/sandbox/process"
)

// isolationFix gives the driver what it may lack.
const isolationFix = "run the server as root, or under systemd with a cgroup of its own (`hansom systemd` prints a unit), on Linux 5.14 or newer"

// openDriver chooses what isolates functions, and finds the interpreters that it can show them.
func (s *Server) openDriver(ctx context.Context, logger *slog.Logger) error {
	var reason error
	if s.cfg.Driver != "process" && runtime.GOOS == "linux" {
		config := linux.DefaultConfig()
		config.RunDir, config.CPUQuota, config.Boot = s.cfg.RunDir, s.cfg.CPUQuota, !s.cfg.Zygotes
		policy, err := s.cfg.policy()
		if err != nil {
			return err
		}
		config.Network.Refuse, config.Network.Allow = policy.Refuse(), policy.Allow()
		if config.Network.Range, err = netip.ParsePrefix(s.cfg.EgressRange); err != nil {
			return err
		}
		driver, err := linux.New(config, logger)
		if err == nil {
			s.driver = driver
			s.describe(driver.Facts())
			if s.offline = driver.Internet(); s.cfg.Egress == hansom.EgressInternet && s.offline != nil {
				s.cfg.Egress = hansom.EgressPlatform
				s.logger.Warn("the default egress of functions is platform instead of internet")
			}
			for _, p := range s.auth.Projects() {
				s.checkEgress(p)
			}
			return s.openRuntimes(ctx, false)
		}
		if s.cfg.Driver == "linux" {
			return err
		}
		reason = err
	}
	if reason == nil {
		reason = errors.New("the process driver does not isolate functions")
	}
	if !s.cfg.Dev && !s.cfg.InsecureNoIsolation {
		return hansom.Errorf(hansom.Unsupported, "open driver", "functions cannot be isolated here: %w; "+
			"run as root on Linux, or accept that functions can read and change all that this user can with --insecure-no-isolation", reason)
	}
	config := process.DefaultConfig()
	config.Dir = filepath.Join(s.cfg.RunDir, "process")
	driver, err := process.New(config, logger)
	if err != nil {
		return err
	}
	s.driver = driver
	s.logger.Warn("functions run without isolation: they can read and change all that this user can", "driver", "process", "reason", reason)
	s.isolation = "none (process driver): functions can read and change all that this user can"
	s.checks = append(s.checks, hansomapi.Check{Name: "isolation", Status: "warning", Detail: "none: functions can read and change all that this user can; " + reason.Error(),
		Fix: isolationFix})
	return s.openRuntimes(ctx, true)
}

func (s *Server) openRuntimes(ctx context.Context, homes bool) (err error) {
	config := runtimes.DefaultConfig()
	config.Homes = homes
	config.Cache = filepath.Join(s.cfg.Data, "runtime", "versions.json")
	if s.runtimes, err = runtimes.Discover(ctx, config); err != nil {
		return err
	}
	return s.runtimes.Install(ctx, filepath.Join(s.cfg.Data, "runtime"))
}

// link makes what carries invocations to the runtime in a sandbox.
func (s *Server) link(sb sandbox.Sandbox, rt *runtimes.Runtime, log sandbox.LogFunc) (sandbox.Link, error) {
	switch {
	case rt.Family == runtimes.HTTP:
		return httplink.New(s.streams, sb)
	case rt.Frames:
		var on *loop.Loop
		if n := len(s.loops); n > 0 {
			on = s.loops[int(s.linked.Add(1))%n]
		}
		return runtimeapi.Beside(sb.Listener(pool.RuntimePort), sandbox.NewPipeline(sb.Conn(), on, log)), nil
	}
	return runtimeapi.New(sb.Listener(pool.RuntimePort)), nil
}
