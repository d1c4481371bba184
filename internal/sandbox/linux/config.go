// Package linux is the sandbox driver that isolates: each sandbox has namespaces, a control group, a file system, a user id and a
// system call filter of its own, and no capabilities. As root, and without root in a user namespace.
//
// A small init program (directory init, committed as built files in directory embed) is process 1 of each sandbox; see
// docs/architecture.md and the package plan, which is what the server tells it.
package linux

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
)

// Config of the driver.
type Config struct {
	// RunDir holds a directory for each server on the host, locked while the server lives. All servers of a host that run as the
	// same user should share it, or one cannot clean up after another.
	RunDir string
	// Files is the most open files of a process, RLIMIT_NOFILE.
	Files int
	// Boot starts every command, also those that could be forked.
	Boot bool
	// Network is for sandboxes that are connected with the internet.
	Network network.Config
	// CPUQuota makes Cap hold sandboxes to the CPU that comes with their memory, also while the machine has some to spare.
	CPUQuota bool
}

// DefaultConfig has /run/hansom as root; without root a directory in the user's runtime directory, or else in the temporary one.
func DefaultConfig() Config {
	cfg := Config{RunDir: "/run/hansom", Files: 1024, Network: network.Config{Range: network.DefaultRange}}
	if uid := os.Geteuid(); uid != 0 {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			cfg.RunDir = filepath.Join(dir, "hansom", "linux")
		} else {
			cfg.RunDir = filepath.Join(os.TempDir(), "hansom-"+strconv.Itoa(uid), "linux")
		}
	}
	return cfg
}
