//go:build !linux

package loop

import (
	"errors"
	"syscall"
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
func (l *Loop) Later(func())                       {}
func (l *Loop) takeOver()                          {}
func (l *Loop) again(*Fiber)                       {}
func (f *Fiber) Suspend()                          {}
func (f *Fiber) Resume()                           {}
func (w *Watch) Loop() *Loop                       { return w.loop }
func (w *Watch) Close()                            {}
func (w *Watch) Wait(*Fiber, time.Time) error      { return errUnsupported }
func (w *Watch) WaitWrite(*Fiber, time.Time) error { return errUnsupported }
func (w *Watch) Writes(bool) error                 { return errUnsupported }

// Read reads from a non-blocking descriptor.
func Read(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

// Write is Read's counterpart.
func Write(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
