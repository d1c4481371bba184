package zygote

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Config of a Keeper.
type Config struct {
	// Forks is after how many of them a zygote is replaced: its children share the secret of their hashes and the addresses of
	// what they have loaded.
	Forks int
	// Idle is after how long without a fork a zygote ends.
	Idle time.Duration
	// Patience is how long a start waits for a zygote that is being started.
	Patience time.Duration
}

// DefaultConfig replaces a zygote after 500 forks and ends it after 5 minutes.
func DefaultConfig() Config {
	return Config{Forks: 500, Idle: 5 * time.Minute, Patience: 500 * time.Millisecond}
}

// ahead is how many forks before its last a zygote's successor is started.
const ahead = 50

// again is how long after a zygote that could not be started the next one is tried.
const again = time.Minute

// Keeper keeps one zygote for each program that is in use. Its methods may be called from several goroutines.
type Keeper struct {
	cfg   Config
	log   *slog.Logger
	start func(*sandbox.Fork) (*Process, error)

	mu     sync.Mutex
	closed bool
	kept   map[string]*program
	work   sync.WaitGroup // starts and ends under way
}

// program is what is kept for one Fork. The Keeper's mutex guards it.
type program struct {
	current, next *kept
	starting      chan struct{} // closed when the start that is under way is over; nil when there is none
	failed        time.Time     // of the last start
	idle          *time.Timer
}

type kept struct {
	*Process
	forks, users int
	retired      bool
}

// NewKeeper returns a Keeper that starts zygotes with start.
func NewKeeper(cfg Config, log *slog.Logger, start func(*sandbox.Fork) (*Process, error)) *Keeper {
	return &Keeper{cfg: cfg, log: log, start: start, kept: map[string]*program{}}
}

// key tells programs apart: by what is run, and by the state of the files that it comes from.
func key(f *sandbox.Fork) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q", f.Command, f.Env, f.Binds)
	for _, file := range f.Files {
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil {
			fmt.Fprintf(&b, " %d %d %d %d", st.Dev, st.Ino, st.Size, st.Mtim.Nano())
		}
	}
	return b.String()
}

// Fork has a process forked. It returns 0 when the command must be started instead: the first time, while nothing is known to
// fork, and when the zygote refuses. After an error, which may be ctx's, there may be a process that nobody knows the pid of; what
// was given to it is not to be given to another.
func (k *Keeper) Fork(ctx context.Context, f *sandbox.Fork, flags byte, id string, files []int) (pid int, err error) {
	z, err := k.take(ctx, f)
	if z == nil {
		return 0, err
	}
	pid, err = z.fork(flags, id, files)
	_, refused := err.(unix.Errno)
	k.mu.Lock()
	defer k.mu.Unlock()
	z.users--
	if err != nil && !refused {
		z.retired = true
		for _, p := range k.kept {
			if p.current == z {
				p.current = nil
			}
		}
	}
	k.endRetired(z)
	if refused {
		k.log.Warn("a zygote could not fork; the command is started instead", "program", f.Command, "error", err)
		return 0, nil
	}
	return pid, err
}

// take returns the zygote for one fork, or nil.
func (k *Keeper) take(ctx context.Context, f *sandbox.Fork) (*kept, error) {
	name := key(f)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, nil
	}
	p := k.program(name)
	if p.current == nil && p.next == nil {
		wait := p.starting
		k.fill(p, f)
		if wait == nil {
			return nil, nil // a command that is started now is there before the zygote is
		}
		k.mu.Unlock()
		timer := time.NewTimer(k.cfg.Patience)
		select {
		case <-wait:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		k.mu.Lock()
		if ctx.Err() != nil || k.closed {
			return nil, ctx.Err()
		}
	}
	if p.current == nil {
		p.current, p.next = p.next, nil
	}
	z := p.current
	if z == nil {
		return nil, nil
	}
	z.forks++
	z.users++
	if z.forks >= k.cfg.Forks {
		z.retired = true
		p.current, p.next = p.next, nil
	}
	if p.next == nil && z.forks >= k.cfg.Forks-ahead {
		k.fill(p, f)
	}
	return z, nil
}

// program returns what is kept for a program. The caller holds k.mu.
func (k *Keeper) program(name string) *program {
	p := k.kept[name]
	if p == nil {
		p = &program{}
		p.idle = time.AfterFunc(k.cfg.Idle, func() { k.expire(name, p) })
		k.kept[name] = p
	}
	p.idle.Reset(k.cfg.Idle)
	return p
}

// fill starts a zygote in the background, unless one is being started. The caller holds k.mu.
func (k *Keeper) fill(p *program, f *sandbox.Fork) {
	if p.starting != nil || !p.failed.IsZero() && time.Since(p.failed) < again {
		return
	}
	over := make(chan struct{})
	p.starting = over
	k.work.Go(func() {
		z, err := k.start(f)
		k.mu.Lock()
		defer k.mu.Unlock()
		defer close(over)
		p.starting = nil
		switch {
		case err != nil:
			p.failed = time.Now()
			if !k.closed {
				k.log.Warn("no zygote could be started; its commands are started one by one", "program", f.Command, "error", err)
			}
		case k.closed || k.kept[key(f)] != p:
			k.endRetired(&kept{Process: z, retired: true})
		default:
			p.failed = time.Time{}
			p.next = &kept{Process: z}
		}
	})
}

// endRetired ends a zygote that is out of use. The caller holds k.mu.
func (k *Keeper) endRetired(z *kept) {
	if z != nil && z.retired && z.users == 0 {
		z.users = -1
		k.work.Go(z.stop)
	}
}

// expire ends what is kept for a program.
func (k *Keeper) expire(name string, p *program) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept[name] != p {
		return
	}
	if p.starting != nil {
		p.idle.Reset(k.cfg.Idle)
		return
	}
	delete(k.kept, name)
	k.end(p)
}

// end retires both zygotes of a program. The caller holds k.mu.
func (k *Keeper) end(p *program) {
	p.idle.Stop()
	for _, z := range []*kept{p.current, p.next} {
		if z != nil {
			z.retired = true
			k.endRetired(z)
		}
	}
	p.current, p.next = nil, nil
}

// Close ends all zygotes and waits for that. What they have forked lives on.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	for _, p := range k.kept {
		k.end(p)
	}
	clear(k.kept)
	k.mu.Unlock()
	k.work.Wait()
}

// Warm starts the zygote of a program, when none is kept, and waits for it.
func (k *Keeper) Warm(ctx context.Context, f *sandbox.Fork) {
	name := key(f)
	k.mu.Lock()
	p := k.program(name)
	if p.current == nil && p.next == nil {
		k.fill(p, f)
	}
	starting := p.starting
	k.mu.Unlock()
	if starting == nil {
		return
	}
	select {
	case <-starting:
	case <-ctx.Done():
	}
}
