package hansom

import (
	"context"
	"errors"
)

// Fiber is the place of a request on an event loop that carries many: while one works, the others stand still. Whoever is about
// to wait for anything but the descriptors of its loop calls Detach first; from then on the request has a goroutine for itself.
type Fiber interface {
	Detach()
}

// ErrHandOver is the answer to a request on a fiber that needs a connection of net/http: nothing has been done for it yet. A
// handler that meets it panics with it.
var ErrHandOver = errors.New("the request needs a connection of net/http")

type fiberKey struct{}

// WithFiber returns a context that carries f.
func WithFiber(ctx context.Context, f Fiber) context.Context {
	return context.WithValue(ctx, fiberKey{}, f)
}

// FiberOf is the fiber that ctx carries; nil when there is none.
func FiberOf(ctx context.Context) Fiber {
	f, _ := ctx.Value(fiberKey{}).(Fiber)
	return f
}

// Detach gives inv a goroutine for itself when it is on a fiber.
func (inv *Invocation) Detach() {
	if inv.Fiber != nil {
		inv.Fiber.Detach()
	}
}
