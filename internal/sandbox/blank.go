package sandbox

import (
	"context"
	"slices"
)

// Boot is the part of a Spec that the command needs to boot. It takes the rest when its Link's Init tells it to.
type Boot struct {
	Env  []string // that it cannot be told later; what Spec.Listen and Spec.Serve add is added to it too
	Late []string // targets of those of Spec.Binds that it does not look at before
}

// Preparer is the optional ability of a Driver to start a command before it is known for which function. A Driver without it
// ignores Spec.Boot.
type Preparer interface {
	// Prepare is Start of what is in spec without its late binds and with Boot.Env for an environment. Until it is bound the
	// sandbox runs only when nothing else needs the CPU. Errors are those of Start, and Unsupported when this host cannot.
	Prepare(ctx context.Context, spec Spec) (Blank, error)
}

// Blank is a sandbox that no function's code, environment or data has been in.
type Blank interface {
	Sandbox
	// Bind shows the late binds of spec and sets its limits, Memory and Tmp; nothing else of spec counts. It is called once; a
	// sandbox that it fails on must be killed. ErrClosed says that the tree is gone.
	Bind(ctx context.Context, spec Spec) error
}

// IsLate says whether a bind is shown when a blank is bound, and not before.
func (b *Boot) IsLate(bind Bind) bool { return b != nil && slices.Contains(b.Late, bind.Target) }
