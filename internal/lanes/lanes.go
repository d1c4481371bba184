// Package lanes has messages in queues of backlog worked on, each queue by itself: a lane is a goroutine that serves a queue while there
// is something in it, several messages at a time.
package lanes

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom/internal/backlog"
)

const (
	Idle       = 10 * time.Second // a queue without messages is served this long
	storePause = time.Second      // after an error of the backlog
)

// Backlog keeps messages from their acceptance to their end; *backlog.Store is one. What a method has written survives a crash when it
// returns, unless its error is Unavailable.
type Backlog interface {
	Put(ctx context.Context, queue string, entries ...backlog.Entry) ([]backlog.Stored, error)
	Queues(prefix string) []string
	Counts(queue string) backlog.Counts
	Drop(ctx context.Context, queue string) error
	Worklist
}

// Worklist is what a worker needs of a Backlog.
type Worklist interface {
	Take(ctx context.Context, queue string, t backlog.Take) ([]backlog.Message, error)
	Release(ctx context.Context, queue string, r backlog.Receipt, hidden time.Duration, note *string) (ok bool, err error)
	Delete(ctx context.Context, queue string, r backlog.Receipt) (ok bool, err error)
}

// Config says how messages are worked on.
type Config struct {
	Prefix  string                 // of the names of the queues
	Workers func(queue string) int // how many messages of a queue are worked on at a time; at least 1
	// Begin is how many it are when a lane begins; each that ends and each Growth makes it one more, up to Workers, so that what has
	// been prepared for the first ones is there for those behind. No Growth: Workers from the beginning.
	Begin  int
	Growth time.Duration
	// Work works on a message once. nil ends the message; after an error it comes again some time. ctx ends when the server does: what
	// can be cut short should be, and what Work has done then counts all the same.
	Work func(ctx context.Context, queue string, m *backlog.Message) (*Again, error)
}

// Again has a message come again.
type Again struct {
	After time.Duration
	Note  string // kept with the message until then
}

// Lanes are the lanes of one prefix. A message is worked on at least once, and those of a queue in their order but several at a time.
// An attempt that a crash cuts off has not been one.
type Lanes struct {
	cfg     Config
	backlog Backlog
	logger  *slog.Logger

	mu   sync.Mutex
	ctx  context.Context // of Run; nil before it
	open map[string]bool // queues that are served
	work sync.WaitGroup
}

// New returns the lanes of messages. Run must be called for them to be worked on.
func New(cfg Config, messages Backlog, logger *slog.Logger) *Lanes {
	return &Lanes{cfg: cfg, backlog: messages, logger: logger, open: map[string]bool{}}
}

// Put stores a message in a queue, whose name has the prefix, and has it served. Its errors are backlog's.
func (l *Lanes) Put(ctx context.Context, queue string, e backlog.Entry) error {
	if _, err := l.backlog.Put(ctx, queue, e); err != nil {
		return err
	}
	l.begin(queue)
	return nil
}

// Each calls f for the queues that have messages: how many wait for their turn, and how many are worked on or wait for another attempt.
func (l *Lanes) Each(f func(queue string, waiting, taken int)) {
	for _, name := range l.backlog.Queues(l.cfg.Prefix) {
		n := l.backlog.Counts(name)
		f(name, n.Ready, n.InFlight+n.Delayed)
	}
}

// Drop ends the messages of a queue.
func (l *Lanes) Drop(ctx context.Context, queue string) error {
	if l.backlog.Counts(queue) == (backlog.Counts{}) {
		return nil
	}
	return l.backlog.Drop(ctx, queue)
}

// Run serves what is put, and what is left from before, until ctx ends; then it waits for the work under way. What has not begun by then
// waits for the next Run.
func (l *Lanes) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	l.mu.Lock()
	l.ctx = ctx
	l.mu.Unlock()
	for _, name := range l.backlog.Queues(l.cfg.Prefix) {
		l.begin(name)
	}
	<-ctx.Done()
	stop()
	l.mu.Lock()
	l.ctx = nil // no lane is opened any more
	l.mu.Unlock()
	l.work.Wait()
	return nil
}

// begin has a queue served.
func (l *Lanes) begin(queue string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx := l.ctx; ctx != nil && !l.open[queue] {
		l.open[queue] = true
		l.work.Go(func() { l.serve(ctx, queue) })
	}
}

// end ends the lane of a queue that has no messages.
func (l *Lanes) end(queue string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backlog.Counts(queue) != (backlog.Counts{}) {
		return false
	}
	delete(l.open, queue)
	return true
}

// serve works on the messages of a queue that are due.
func (l *Lanes) serve(ctx context.Context, queue string) {
	var running, ended atomic.Int64
	began := time.Now()
	freed := make(chan struct{}, 1)
	var work sync.WaitGroup
	defer func() {
		work.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if ctx.Err() != nil {
			delete(l.open, queue)
		}
	}()
	for ctx.Err() == nil {
		free, more := l.room(queue, int(ended.Load()), time.Since(began))
		if free -= int(running.Load()); free <= 0 {
			select {
			case <-freed:
			case <-more:
			case <-ctx.Done():
			}
			continue
		}
		list, err := l.backlog.Take(ctx, queue, backlog.Take{Limit: free, Hidden: backlog.MaxHidden, Wait: Idle, Volatile: true})
		if err != nil {
			l.logger.Warn("messages could not be read; tried again", "queue", queue, "error", err)
			pause(ctx, storePause)
			continue
		}
		for i := range list {
			running.Add(1)
			work.Go(func() {
				l.handle(ctx, queue, &list[i])
				running.Add(-1)
				ended.Add(1)
				select {
				case freed <- struct{}{}:
				default:
				}
			})
		}
		if len(list) == 0 && running.Load() == 0 && l.end(queue) {
			return
		}
	}
}

// room is how many messages a lane may work on at a time, and what tells when it will be more; nil when it will not be.
func (l *Lanes) room(queue string, ended int, age time.Duration) (int, <-chan time.Time) {
	most := max(l.cfg.Workers(queue), 1)
	if l.cfg.Growth <= 0 {
		return most, nil
	}
	n := max(l.cfg.Begin, 1) + ended + int(age/l.cfg.Growth)
	if n >= most {
		return most, nil
	}
	return n, time.After(l.cfg.Growth - age%l.cfg.Growth)
}

// handle works on a message, and removes it or has it come again.
func (l *Lanes) handle(ctx context.Context, queue string, m *backlog.Message) {
	store := context.WithoutCancel(ctx)
	again, err := l.cfg.Work(ctx, queue, m)
	switch {
	case err != nil:
	case again != nil:
		_, err = l.backlog.Release(store, queue, m.Receipt, again.After, &again.Note)
	default:
		_, err = l.backlog.Delete(store, queue, m.Receipt) // one that is gone was dropped with its queue
	}
	if err != nil {
		l.logger.Warn("what became of a message could not be stored; it may be worked on again", "queue", queue, "message", m.ID, "error", err)
		pause(ctx, storePause) // or it would come again at once
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
