//go:build !linux

package linux

import (
	"log/slog"
	"runtime"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Driver exists on Linux only; elsewhere New makes none.
type Driver struct{ sandbox.Driver }

// Facts are those of a Driver on Linux.
func (d *Driver) Facts() []sandbox.Fact { return nil }

// Internet is that of a Driver on Linux.
func (d *Driver) Internet() error { return nil }

// New returns an error of kind Unsupported: this system is not Linux.
func New(Config, *slog.Logger) (*Driver, error) {
	return nil, hansom.Errorf(hansom.Unsupported, "open sandboxes", "sandboxes that isolate need Linux, and this is %s: use the process driver", runtime.GOOS)
}
