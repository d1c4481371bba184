// Package pool keeps the instances of functions: it boots them on demand within a memory budget, gives each call a slot of the
// fullest one, or an idle one (last in, first out), or makes it wait, freezes, expires and evicts what is idle, and replaces what
// failed. An instance has as many slots as its version takes calls at once: one, but for functions that serve HTTP.
//
// The goroutine that calls Run does all the work of a warm call: it takes the lock of the function's revision twice, writes the
// event to the runtime and reads the answer. Everything else happens in the background. A call whose caller has gone runs to
// its end all the same, a web request apart: only the wait for an instance can be given up.
package pool

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/pool/budget"
	"github.com/hansomcloud/hansom/internal/pool/table"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Pool of instances. Close ends it.
type Pool struct {
	cfg    Config
	deps   Deps
	logger *slog.Logger
	groups *table.Table[key, *group]
	memory *budget.Budget[*group] // that the limits of all instances share; only cold paths lock it

	draining  atomic.Bool
	closed    atomic.Bool
	progressC chan struct{} // one is put there when something ended that Drain may wait for
	endedC    chan struct{} // one is put there when a provisioned instance has ended
	evictions atomic.Int64

	ctx    context.Context // of boots
	cancel context.CancelFunc
	mu     sync.Mutex // guards work against Add after Wait
	work   sync.WaitGroup
}

// New returns a pool. Maintain must run beside it.
func New(cfg Config, deps Deps, logger *slog.Logger) (*Pool, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Memory == 0 {
		host, err := budget.HostMemory()
		if err != nil {
			return nil, hansom.Errorf(hansom.Internal, "make pool", "the host does not tell how much memory it has (%w): set the memory for instances", err)
		}
		cfg.Memory = host / 4 * 3
	}
	var left func(free, limit int64)
	if deps.Blanks != nil {
		left = deps.Blanks.Fit
	}
	p := &Pool{cfg: cfg, deps: deps, logger: logger.With("component", "pool"), groups: table.New[key, *group](func(k key) string { return k.revision }),
		memory: budget.New[*group](cfg.Memory, left), progressC: make(chan struct{}, 1), endedC: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// maxAttempts bounds how many instances that ended before they saw the event a call may meet.
const maxAttempts = 3

// Run gives inv to an instance of v and returns its result; a sink receives a streamed one. What goes wrong inside the function
// is in the result. Errors are *hansom.Error: Throttled when no memory became free in time, Canceled or Timeout when ctx ended
// during the wait, Unavailable when the pool is draining or v can never fit, and what Runtimes, Code and the driver answer.
func (p *Pool) Run(ctx context.Context, v *hansom.Version, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	for attempt := 1; ; attempt++ {
		inst, start, failure, err := p.acquire(ctx, v, inv)
		if err != nil {
			return hansom.Result{}, err
		}
		if failure != nil {
			return p.answer(v, failure, inv), nil
		}
		if result, ok := p.invoke(inst, start, inv, sink, attempt == maxAttempts); ok {
			if p.closed.Load() && result.Completion.Status == hansom.StatusCrash && !result.Streamed {
				return hansom.Result{}, errDraining()
			}
			return result, nil
		}
	}
}

// Retire says that a revision is no longer current: its idle instances end at once, busy ones after their call. Calls that were
// resolved to it before still run.
func (p *Pool) Retire(project, function, revision string) {
	g := p.group(key{project, function, revision})
	g.retired = time.Now()
	idle := append(g.idle, g.ready...)
	g.idle, g.ready = nil, nil
	g.provisioned.Store(0)
	for _, inst := range idle {
		inst.busy.Store(true)
	}
	g.mu.Unlock()
	for _, inst := range idle {
		p.endLater(inst, sandbox.Spindown)
	}
}

// Drain refuses new calls and waits until those that were accepted have ended, or ctx has.
func (p *Pool) Drain(ctx context.Context) error {
	p.draining.Store(true)
	for {
		s := p.Stats()
		if s.Busy+s.Waiting == 0 {
			return nil
		}
		select {
		case <-p.progressC:
		case <-ctx.Done():
			return hansom.Errorf(hansom.Timeout, "drain pool", "%d calls still run and %d wait: %w", s.Busy, s.Waiting, ctx.Err())
		}
	}
}

// closeGrace is how long Close waits for goroutines in Run: their instances have ended, but a sink may block.
const closeGrace = 5 * time.Second

// Close ends all instances, also busy ones, whose calls fail with Unavailable, and waits for what runs in the background.
// The error says that calls are stuck in their sink.
func (p *Pool) Close() error {
	p.draining.Store(true)
	p.mu.Lock()
	p.closed.Store(true)
	p.mu.Unlock()
	p.cancel()
	for range 2 { // what has booted meanwhile ends too
		var ending sync.WaitGroup
		for g := range p.groups.All() {
			g.mu.Lock()
			for w := g.waiters.pop(); w != nil; w = g.waiters.pop() {
				w.err = errDraining()
				close(w.ready)
			}
			g.idle, g.ready = nil, nil
			for inst := range g.instances {
				ending.Go(func() { p.end(inst) })
			}
			g.mu.Unlock()
		}
		ending.Wait()
		p.work.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	return p.Drain(ctx)
}

// start runs f in the background; false when the pool is closed.
func (p *Pool) start(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return false
	}
	p.work.Go(f)
	return true
}

// progress wakes Drain.
func (p *Pool) progress() {
	if p.draining.Load() {
		select {
		case p.progressC <- struct{}{}:
		default:
		}
	}
}

func errDraining() error {
	return hansom.Errorf(hansom.Unavailable, "run function", "the server is shutting down; try again")
}

func (p *Pool) throttled(why string) error {
	e := hansom.Errorf(hansom.Throttled, "run function", "Rate Exceeded: %s", why)
	e.Reason = "ConcurrentInvocationLimitExceeded"
	return e
}

// Stats of one moment.
type Stats struct {
	Booting, Idle, Busy int   // instances
	Provisioned         int   // of those idle and busy
	Frozen              int   // of those idle
	Waiting             int   // calls that wait for an instance
	Reserved, Budget    int64 // bytes of memory limits
	Evictions           int64 // idle instances ended so far to make room for others
}

// Stats counts what there is.
func (p *Pool) Stats() Stats {
	s := Stats{Reserved: p.memory.Used(), Budget: p.memory.Limit(), Evictions: p.evictions.Load()}
	for g := range p.groups.All() {
		g.mu.Lock()
		s.Booting += g.booting + g.preparing
		s.Idle += len(g.idle) + len(g.ready)
		s.Busy += g.busy
		s.Waiting += g.waiters.n
		for inst := range g.instances {
			if inst.provisioned {
				s.Provisioned++
			}
			if !inst.busy.Load() && inst.frozen.Load() {
				s.Frozen++
			}
		}
		g.mu.Unlock()
	}
	return s
}

// Memory is the bytes that the memory limits of all instances may sum up to.
func (p *Pool) Memory() int64 { return p.memory.Limit() }

// Instances counts the instances of a function, those that boot included, and how many of them are busy.
func (p *Pool) Instances(project, function string) (all, busy int) {
	for g := range p.groups.All() {
		if g.key.project != project || g.key.function != function {
			continue
		}
		g.mu.Lock()
		all += g.booting + g.preparing + len(g.idle) + len(g.ready) + g.busy
		busy += g.busy
		g.mu.Unlock()
	}
	return all, busy
}
