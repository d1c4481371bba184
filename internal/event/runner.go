package event

import (
	"context"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// How a mapping goes on after something went wrong.
const (
	minPause = 100 * time.Millisecond // after a throttled call or a source that does not answer; it doubles
	maxPause = 10 * time.Second
	minLook  = time.Second // for a function or a queue that is gone; it doubles
	maxLook  = time.Minute
	calm     = 2 * time.Second // after a throttled call in which no worker is added
)

// runner is what works for a mapping: workers, each of which gathers a batch, runs it, and begins anew. As long as there may be more of
// them one is gathering: when it has a batch the next is added. Those that wait for messages in vain end, but the last.
type runner struct {
	s *Service

	mu        sync.Mutex
	m         *Mapping // as it is, or was when it was deleted; never changed
	deleted   bool
	ctx       context.Context // of Run; nil when nothing runs
	polls     context.Context // of the polls; ended when the mapping changes
	stop      context.CancelFunc
	workers   int
	gathering int       // of the workers
	added     time.Time // when the last worker was
	quiet     time.Time // no worker is added before
	timer     *time.Timer
	problem   string
	counts    Counts
}

func newRunner(s *Service, m *Mapping) *runner {
	return &runner{s: s, m: m, stop: func() {}}
}

// change has it work as m says, which is nil when the mapping was deleted. ctx is that of Run, or nil; s.mu is held.
func (r *runner) change(ctx context.Context, m *Mapping) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deleted = m == nil; m != nil {
		r.m = m
	}
	r.begin(ctx)
}

// restart has it look at its function and its queue anew. s.mu is held.
func (r *runner) restart(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin(ctx)
}

// begin ends polls and pauses, and sees to it that somebody polls if that is to be. r.mu is held.
func (r *runner) begin(ctx context.Context) {
	r.stop()
	r.ctx, r.stop = ctx, func() {}
	if ctx == nil || !r.active() {
		return
	}
	r.polls, r.stop = context.WithCancel(ctx)
	r.grow()
}

// active says that messages are to be polled. r.mu is held.
func (r *runner) active() bool {
	return !r.deleted && r.m.Enabled && r.ctx != nil && r.ctx.Err() == nil
}

func (r *runner) mapping() *Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m
}

// view is the mapping with its state.
func (r *runner) view() Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := *r.m
	m.State, m.Problem = r.stateLocked(), r.problem
	return m
}

// state is "" when the mapping was deleted and has ended.
func (r *runner) state() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stateLocked()
}

func (r *runner) stateLocked() string {
	switch {
	case r.deleted && r.workers == 0:
		return ""
	case r.deleted:
		return StateDeleting
	case r.m.Enabled:
		return StateEnabled
	case r.workers > 0:
		return StateDisabling
	}
	return StateDisabled
}

// limit is how many workers there may be. r.mu is held.
func (r *runner) limit() int {
	n := r.s.cfg.Most
	if r.m.Concurrency > 0 {
		n = min(n, r.m.Concurrency)
	}
	if target, err := r.s.Functions.Resolve(context.Background(), r.m.Project, r.m.Function, r.m.Qualifier); err == nil && target.Reserved >= 0 {
		n = min(n, target.Reserved)
	}
	return max(1, n)
}

// grow adds a worker when none is gathering and there may be more. Beyond cfg.Pollers that is done now and then only. r.mu is held.
func (r *runner) grow() {
	if !r.active() || r.gathering > 0 || r.workers >= r.limit() {
		return
	}
	if r.workers > 0 {
		next := r.quiet
		if due := r.added.Add(r.s.cfg.Growth); r.workers >= r.s.cfg.Pollers && due.After(next) {
			next = due
		}
		if wait := time.Until(next); wait > 0 {
			if r.timer == nil {
				r.timer = time.AfterFunc(wait, r.late)
			}
			return
		}
	}
	r.added = time.Now()
	r.workers++
	r.gathering++
	r.s.working.Go(r.work)
}

// late is grow after a while. It holds s.mu so that Run does not end meanwhile.
func (r *runner) late() {
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer = nil; r.s.ctx != nil {
		r.grow()
	}
}

// work is a worker.
func (r *runner) work() {
	b := &batch{runner: r}
	for r.gathers(b) {
		b.gather()
		r.mu.Lock()
		r.gathering--
		if len(b.messages) > 0 {
			r.grow()
		}
		r.mu.Unlock()
		if len(b.messages) > 0 {
			b.run()
		}
		if !r.stays(b) {
			break
		}
	}
	if r.state() == "" {
		r.s.forget(b.mapping.ID)
	}
}

// gathers has a worker that is among those that gather see how the mapping is now; it is false when the worker is to end.
func (r *runner) gathers(b *batch) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.mapping, b.ctx, b.polls = r.m, r.ctx, r.polls
	if r.active() || len(b.rest) > 0 && r.ctx != nil && r.ctx.Err() == nil {
		return true
	}
	r.gathering--
	r.workers--
	return false
}

// stays has a worker gather again, unless others do already and it has found nothing, or there are too many.
func (r *runner) stays(b *batch) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(b.rest) == 0 && (r.gathering > 0 && (b.idle || r.problem != "") || r.workers > r.limit()) {
		r.workers--
		return false
	}
	r.gathering++
	return true
}

// count notes what became of messages.
func (r *runner) count(f func(c *Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.counts)
}

// slow has no worker added for a while.
func (r *runner) slow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = time.Now().Add(calm)
}

// obstacle says why a mapping cannot work now: "" when it can. r.problem is set to it.
func (r *runner) obstacle(ctx context.Context, m *Mapping) string {
	text := ""
	target, err := r.s.Functions.Resolve(ctx, m.Project, m.Function, m.Qualifier)
	switch {
	case err != nil && hansom.KindOf(err) == hansom.NotFound:
		text = "PROBLEM: Function not found: " + m.FunctionARN
	case err == nil && target.Reserved == 0:
		text = "PROBLEM: The reserved concurrency of the function is 0: " + m.FunctionARN
	default:
		if _, _, err := r.s.Queues.Queue(m.Source); err != nil && hansom.KindOf(err) == hansom.NotFound {
			if text = "PROBLEM: The queue does not exist: " + m.Source; m.kind() == kindSubject {
				text = "PROBLEM: " + err.Error()
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if text != r.problem && text != "" {
		r.s.log.Warn("a mapping cannot work", "mapping", m.ID, "project", m.Project, "reason", text)
	}
	r.problem = text
	return text
}
