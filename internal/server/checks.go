package server

import (
	"fmt"
	"net"
	"syscall"

	"github.com/hansomcloud/hansom/internal/hansomapi"
)

// What hostChecks finds enough.
const (
	enoughDisk        = 2 << 30 // bytes
	enoughDescriptors = 16 << 10
)

// hostChecks look at what may change while the server runs, or was chosen badly.
func (s *Server) hostChecks() []hansomapi.Check {
	checks := []hansomapi.Check{s.diskCheck(), descriptorCheck()}
	if host, _, err := net.SplitHostPort(s.APIAddr()); err == nil && !net.ParseIP(host).IsLoopback() {
		checks = append(checks, hansomapi.Check{Name: "api listener", Status: "warning",
			Detail: s.APIAddr() + " can be reached from other machines, without TLS",
			Fix:    "bind it to loopback with --api 127.0.0.1:4566, or to a private network behind a proxy that ends TLS"})
	}
	return append(checks, s.certificateCheck()...)
}

func (s *Server) diskCheck() hansomapi.Check {
	c := hansomapi.Check{Name: "disk", Status: "ok"}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.cfg.Data, &fs); err != nil {
		c.Status, c.Detail, c.Fix = "error", s.cfg.Data+" cannot be looked at: "+err.Error(), "mount its disk, or choose another directory with --data"
		return c
	}
	free, all := int64(fs.Bavail)*int64(fs.Bsize), int64(fs.Blocks)*int64(fs.Bsize)
	c.Detail = fmt.Sprintf("%.1f of %.1f GB are free at %s", float64(free)/(1<<30), float64(all)/(1<<30), s.cfg.Data)
	if free < enoughDisk {
		c.Status, c.Fix = "warning", "free some space, keep less log with --log-size and --log-age, or move the data directory"
	}
	return c
}

func descriptorCheck() hansomapi.Check {
	c := hansomapi.Check{Name: "open files", Status: "ok"}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		c.Status, c.Detail, c.Fix = "warning", "their limit is not known: "+err.Error(), "set it with ulimit -n 1048576 before the start"
		return c
	}
	c.Detail = fmt.Sprintf("at most %d; an instance takes up to 14", limit.Cur)
	if limit.Cur < enoughDescriptors {
		c.Status, c.Fix = "warning", "raise it with ulimit -n 1048576 before the start, or LimitNOFILE=1048576 in the systemd unit"
	}
	return c
}
