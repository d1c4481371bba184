// Package blank keeps blanks: sandboxes whose interpreter has booted and which belong to no function yet. Stock is a driver that
// starts a sandbox by binding a blank that fits, when it has one, and else as the driver below it does.
//
// Blanks are of kinds: what boots alike, down to the last flag and variable, is of one kind. How many there are of a kind follows
// demand, within a number and a share of the memory for instances, which they leave as soon as instances need it. They are booted
// in the background when nothing else wants the CPU.
package blank

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Config of a Stock.
type Config struct {
	// Most blanks at a time; negative: as many as demand asks for within an eighth of the memory for instances.
	Most int
	// Keep blanks of a kind this long after its last start.
	Keep time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{Most: -1, Keep: 24 * time.Hour} }

// Driver is what a Stock stands on.
type Driver interface {
	sandbox.Driver
	sandbox.Preparer
}

// Stats of one moment. Booted, Used and Missed count since the start.
type Stats struct {
	Ready   int   // blanks that wait
	Booting int   // blanks to be
	Memory  int64 // bytes that those use which wait
	Booted  int64
	Used    int64 // starts that got a blank
	Missed  int64 // starts that could have had one
}

// Stock is a sandbox.Driver that binds blanks. Close ends it.
type Stock struct {
	Driver
	cfg  Config
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{} // something changed that the workers look at; capacity 1

	ctx    context.Context // of boots
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	kinds    map[string]*kind
	free     int64     // bytes of memory that instances leave
	share    int64     // bytes that blanks may use of it
	quiet    time.Time // nothing boots before: calls come first
	since    time.Time // quiet has been put off since then
	starting int       // starts without a blank under way, which come first too
	later    time.Time // nor before this, after a boot that failed
	broken   error     // why no blank is made any more
	closed   bool
	stats    Stats
}

// kind is what boots alike.
type kind struct {
	spec    sandbox.Spec // what a blank of it is prepared with, but for the id
	ready   []*blank     // the oldest first
	booting int
	out     int       // starts since the stock was full, or since began
	began   time.Time // of starts that count as coming at once
	need    float64   // so many have come at once, lately
	last    time.Time
	bytes   int64         // that one uses
	boot    time.Duration // that one took
}

// blank that waits.
type blank struct {
	sandbox.Blank
	kind  *kind
	taken chan struct{} // closed when it waits no more
}

const (
	guess     = 48 << 20         // bytes of a blank before the first of its kind has been measured
	limit     = 256 << 20        // bytes that a blank may use
	bootLimit = 30 * time.Second // for a machine with more to do than it can
	atOnce    = 2 * time.Second  // starts within come at once: a steady stream of them is no burst, however long it lasts
)

// New returns a stock that is empty. Run must run beside it, and Fit be called once at least.
func New(cfg Config, driver Driver, log *slog.Logger) *Stock {
	s := &Stock{Driver: driver, cfg: cfg, log: log.With("component", "blanks"), now: time.Now, wake: make(chan struct{}, 1), kinds: map[string]*kind{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Start implements sandbox.Driver.
func (s *Stock) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if spec.Boot == nil || len(spec.Extend) > 0 {
		return s.Driver.Start(ctx, spec)
	}
	for {
		b := s.take(spec)
		if b == nil {
			defer s.begin()()
			return s.Driver.Start(ctx, spec)
		}
		err := b.Bind(ctx, spec)
		if err == nil {
			return b.Blank, nil
		}
		b.drop()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case hansom.KindOf(err) == hansom.Invalid:
			return nil, err
		case !errors.Is(err, sandbox.ErrClosed):
			s.stop(err)
		}
	}
}

// take removes a blank for spec from the stock; nil when there is none.
func (s *Stock) take(spec sandbox.Spec) *blank {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.notify()
	k := s.kind(spec)
	if k.last.Sub(k.began) >= atOnce {
		k.out, k.began = 0, k.last
	}
	k.out++
	k.need = max(k.need, float64(k.out))
	if len(k.ready) == 0 {
		s.stats.Missed++
		s.hold(max(k.boot, missHold))
		return nil
	}
	b := k.ready[0]
	s.remove(b)
	s.stats.Used++
	s.hold(useHold)
	return b
}

// begin counts a start without a blank until it is over.
func (s *Stock) begin() (over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.starting--; s.starting == 0 {
			s.since = s.now() // what was started still boots
			s.hold(missHold)
			s.notify()
		}
	}
}

// Expect says that a sandbox like spec may be started soon: there will be a blank for it.
func (s *Stock) Expect(spec sandbox.Spec) {
	if spec.Boot == nil || len(spec.Extend) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind(spec)
	s.notify()
}

// kind finds or makes the kind of spec, which is used now. s is locked.
func (s *Stock) kind(spec sandbox.Spec) *kind {
	boot := common(spec)
	text, _ := json.Marshal(boot) // strings, numbers and flags: it cannot fail
	k := s.kinds[string(text)]
	if k == nil {
		k = &kind{need: 1, bytes: guess, spec: boot}
		s.kinds[string(text)] = k
	}
	k.last = s.now()
	return k
}

// common is what specs of a kind have in common, and what a blank is prepared with.
func common(spec sandbox.Spec) sandbox.Spec {
	spec.ID, spec.Owner, spec.Env, spec.Memory, spec.Tmp = "", "", nil, limit, 1<<20
	spec.Binds = slices.DeleteFunc(slices.Clone(spec.Binds), spec.Boot.IsLate)
	return spec
}

// Fit tells how many bytes of memory instances leave of their budget. Blanks that do not fit any more are given up.
func (s *Stock) Fit(free, budget int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := free > s.free
	s.free, s.share = free, budget/8
	if s.cfg.Most >= 0 {
		s.share = budget
	}
	for s.stats.Memory > s.free {
		if !s.giveUp(nil) {
			return // what boots is given up when it has booted
		}
	}
	if more {
		s.notify()
	}
}

// giveUp ends the blank that is missed least; false when there is none. s is locked.
func (s *Stock) giveUp(spare *kind) bool {
	var victim *kind
	for _, k := range s.kinds {
		if len(k.ready) == 0 || k == spare {
			continue
		}
		surplus, other := len(k.ready) > 1, victim != nil && len(victim.ready) > 1
		if victim == nil || surplus && !other || surplus == other && k.last.Before(victim.last) {
			victim = k
		}
	}
	if victim == nil {
		return false
	}
	s.end(victim.ready[0])
	return true
}

// remove takes a blank out of the stock; false when it is not there. s is locked.
func (s *Stock) remove(b *blank) bool {
	for i, o := range b.kind.ready {
		if o == b {
			b.kind.ready = append(b.kind.ready[:i:i], b.kind.ready[i+1:]...)
			s.stats.Ready--
			s.stats.Memory -= b.kind.bytes
			close(b.taken)
			return true
		}
	}
	return false
}

// end ends a blank of the stock in the background. s is locked.
func (s *Stock) end(b *blank) {
	s.remove(b)
	if s.closed {
		b.drop() // Close waits
		return
	}
	s.work.Go(b.drop)
}

// stop makes no more blanks.
func (s *Stock) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || s.closed {
		return
	}
	s.broken = err
	s.log.Warn("there are no blanks: functions start without them, and slower", "reason", err)
	for s.giveUp(nil) {
	}
}

// Stats counts what there is.
func (s *Stock) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close ends the blanks and the driver.
func (s *Stock) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	for s.giveUp(nil) {
	}
	s.mu.Unlock()
	s.work.Wait()
	return s.Driver.Close()
}

// drop ends a sandbox that nobody reads.
func (b *blank) drop() {
	b.Kill()
	_ = b.Output().Close()
}

func newID() string { return "b" + strings.ToLower(rand.Text()[:19]) }

// awaitBoot waits until the runtime has said that it has booted, and leaves what it said to be read.
func awaitBoot(ctx context.Context, conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return failed != syscall.EAGAIN && failed != syscall.EINTR
	})
	switch {
	case !stop():
		return ctx.Err()
	case err != nil:
		return err
	case failed != nil:
		return failed
	case n == 0:
		return io.ErrUnexpectedEOF
	}
	return nil
}
