package fake

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

var (
	_ sandbox.Preparer = (*Driver)(nil)
	_ sandbox.Blank    = (*Sandbox)(nil)
)

// Prepare implements sandbox.Preparer. Nothing keeps a fake sandbox from the late part of its Spec: Spec.Env is Boot.Env.
func (d *Driver) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Blank, error) {
	if spec.Boot == nil {
		return nil, hansom.Errorf(hansom.Invalid, "start sandbox", "the command cannot boot before its function is known")
	}
	spec.Env = spec.Boot.Env
	sb, err := d.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return sb.(*Sandbox), nil
}

// Bind implements sandbox.Blank.
func (s *Sandbox) Bind(ctx context.Context, spec sandbox.Spec) error {
	select {
	case <-s.done:
		return sandbox.ErrClosed
	default:
	}
	s.mu.Lock()
	s.bound = &spec
	s.mu.Unlock()
	return ctx.Err()
}

// Bound is what the sandbox was bound to; nil before.
func (s *Sandbox) Bound() *sandbox.Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound
}
