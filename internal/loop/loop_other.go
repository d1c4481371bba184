//go:build !linux

package loop

import (
	"errors"
	"time"

	"github.com/hansomcloud/hansom"
)

// Supported says that this system has event loops.
const Supported = false

var errUnsupported = hansom.Errorf(hansom.Internal, "make event loop", "%w", errors.ErrUnsupported)

// Loop cannot be made here.
type Loop struct{ timed *Fiber }

// Watch cannot be made here.
type Watch struct{ loop *Loop }

// New fails.
func New() (*Loop, error) { return nil, errUnsupported }

// Close, Go and the rest are never called, for want of a Loop.
func (l *Loop) Close()                             {}
func (l *Loop) Go(func(*Fiber)) error              { return errUnsupported }
func (l *Loop) Watch(int, func()) (*Watch, error)  { return nil, errUnsupported }
func (l *Loop) takeOver()                          {}
func (w *Watch) Loop() *Loop                       { return w.loop }
func (w *Watch) Close()                            {}
func (w *Watch) Wait(*Fiber, time.Time) error      { return errUnsupported }
func (w *Watch) WaitWrite(*Fiber, time.Time) error { return errUnsupported }
func Read(int, []byte) (int, error)                { return 0, errUnsupported }
func Write(int, []byte) (int, error)               { return 0, errUnsupported }
