// Package backlog keeps messages from their acceptance to their end, in any number of queues: those of the SQS API, the asynchronous
// invocations of a function, the events for a target.
//
// The messages are records of a fixed number of logs (shards), with a subject for each queue. What is ready, in flight or delayed, and
// the order within groups, is an index in memory, made anew when the store is opened. How often a message was taken and until when it
// is hidden, and the deduplication ids of messages that are gone, are records of a second log beside each shard. A message ends by the
// deletion of its record.
package backlog

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

// Config of a store.
type Config struct {
	Shards int           // logs; it cannot change once there are messages
	Cache  int64         // bytes of messages that are kept in memory so that they need not be read again
	Dedup  time.Duration // within which two entries with one deduplication id are the same
	// Room is asked before a message is accepted; its error refuses. nil lets everything through.
	Room func() error
	Now  func() time.Time
}

// DefaultConfig has 4 shards, 32 MB of cache, and SQS's five minutes.
func DefaultConfig() Config {
	return Config{Shards: 4, Cache: 32 << 20, Dedup: 5 * time.Minute, Now: time.Now}
}

// Store is all queues. Its methods may be called from several goroutines. A queue comes to be with its first message; its name is
// anything of at most 200 bytes.
type Store struct {
	cfg    Config
	logger *slog.Logger
	bus    *bus.Bus
	shards []*shard
	start  time.Time // times in the index are counted from here, so that a clock that is set does not move them
	cached atomic.Int64

	mu     sync.RWMutex
	queues map[string]*queue
}

// shard is a log of messages and the log of what is known about them.
type shard struct {
	n           int
	log, states *bus.Log
}

// MaxHidden is the longest that a message can be hidden or delayed.
const MaxHidden = 12 * time.Hour

// MaxName is the most bytes that the name of a queue may have.
const MaxName = 200

// Entry is a message that is to be put into a queue.
type Entry struct {
	ID    string        // names the message
	Group string        // messages of a group are taken in their order, and none while another one is in flight; "" for none
	Dedup string        // an entry whose deduplication id another one had shortly before is that one; "" for none
	Delay time.Duration // until it can be taken
	Sent  time.Time     // zero means now
	Meta  string        // what the caller wants to know again
	Body  []byte        // belongs to the caller again when Put returns
}

// Stored says what became of an entry.
type Stored struct {
	ID        string // of the message; with Duplicate that of the earlier one
	Seq       uint64 // rises with each message of a queue, with gaps
	Duplicate bool
}

// Message is a message that was taken, or looked at. Body must not be changed.
type Message struct {
	ID, Group, Dedup, Meta string
	Body                   []byte
	Seq                    uint64
	Sent                   time.Time
	Takes                  int       // how often it was taken, this time included
	First                  time.Time // when it was taken first; zero for never
	Note                   string    // see Release
	Receipt                Receipt
}

// Receipt names one taking of a message: what may delete the message or change how long it is hidden, until it is taken again.
type Receipt struct {
	Seq  uint64
	Take int
}

// Counts of a queue's messages.
type Counts struct {
	Ready, InFlight, Delayed int
}

// Open reads what the logs of b hold.
func Open(ctx context.Context, cfg Config, b *bus.Bus, logger *slog.Logger) (*Store, error) {
	s := &Store{cfg: cfg, logger: logger.With("component", "backlog"), bus: b, start: cfg.Now(), queues: map[string]*queue{}}
	if cfg.Shards < 1 || cfg.Dedup <= 0 {
		return nil, hansom.Errorf(hansom.Invalid, "open backlog", "shards and dedup must be positive")
	}
	for n := range cfg.Shards {
		sh := &shard{n: n}
		var err error
		if sh.log, err = b.Log(ctx, bus.LogConfig{Name: fmt.Sprintf("backlog-%d", n), Subject: fmt.Sprintf("backlog.%d.>", n)}); err != nil {
			return nil, err
		}
		if sh.states, err = b.Log(ctx, bus.LogConfig{Name: fmt.Sprintf("backlog-state-%d", n), Subject: fmt.Sprintf("backlogstate.%d.>", n), Last: true}); err != nil {
			return nil, err
		}
		s.shards = append(s.shards, sh)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, sh := range s.shards {
		g.Go(func() error { return s.rebuild(ctx, sh) })
	}
	return s, g.Wait()
}

// now is the time in the index, in nanoseconds since the store was opened; at makes a time of it.
func (s *Store) now() int64           { return int64(s.cfg.Now().Sub(s.start)) }
func (s *Store) at(t int64) time.Time { return s.cfg.Now().Add(time.Duration(t - s.now())) }
func (s *Store) in(t time.Time) int64 { return s.now() + int64(t.Sub(s.cfg.Now().Round(0))) }
func (sh *shard) token(q string) string {
	return fmt.Sprintf("%d.%s", sh.n, base64.RawURLEncoding.EncodeToString([]byte(q)))
}

// due is a stored time, Unix microseconds, until which something is hidden. A clock that was set back does not hide it for longer
// than anything can be.
func (s *Store) due(micros int64) int64 {
	return min(s.in(time.UnixMicro(micros)), s.now()+int64(MaxHidden))
}

// nameOf reads the queue's name from a subject's third element.
func nameOf(subject string) (name string, rest []string, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) < 3 {
		return "", nil, hansom.Errorf(hansom.Internal, "read backlog", "the subject %q is not of a queue", subject)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[2])
	return string(b), parts[3:], err
}

// find returns a queue that has or had messages, or nil.
func (s *Store) find(name string) *queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queues[name]
}

// open returns a queue, which it makes where it is missing.
func (s *Store) open(name string) *queue {
	if q := s.find(name); q != nil {
		return q
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		h := fnv.New32a()
		h.Write([]byte(name))
		sh := s.shards[int(h.Sum32())%len(s.shards)]
		q = newQueue(sh, sh.token(name))
		s.queues[name] = q
	}
	return q
}

// Queues lists the queues that have messages and whose name begins with prefix, in no order.
func (s *Store) Queues(prefix string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []string
	for name, q := range s.queues {
		if strings.HasPrefix(name, prefix) && q.len() > 0 {
			list = append(list, name)
		}
	}
	return list
}

// Counts tells how many messages a queue has, as of now.
func (s *Store) Counts(name string) Counts {
	q := s.find(name)
	if q == nil {
		return Counts{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(s.now())
	return Counts{Ready: len(q.entries) - q.inFlight - q.delayed - q.leaving, InFlight: q.inFlight, Delayed: q.delayed}
}

// Peek returns the first messages of a queue, at most limit, without taking them.
func (s *Store) Peek(ctx context.Context, name string, limit int) ([]Message, error) {
	q := s.find(name)
	if q == nil {
		return nil, nil
	}
	q.mu.Lock()
	list := make([]*entry, 0, len(q.entries))
	for _, e := range q.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *entry) int { return int(int64(a.seq) - int64(b.seq)) })
	list = list[:min(limit, len(list))]
	q.mu.Unlock()
	return s.load(ctx, q, list)
}

// Purge ends all messages that a queue has, also those in flight. Deduplication ids are kept.
func (s *Store) Purge(ctx context.Context, name string) error { return s.clear(ctx, name, false) }

// Drop ends all messages of a queue and forgets the queue. Who waits for its messages goes on waiting.
func (s *Store) Drop(ctx context.Context, name string) error { return s.clear(ctx, name, true) }

func (s *Store) clear(ctx context.Context, name string, drop bool) error {
	q := s.open(name) // also when it is not known: an earlier attempt may have ended in the middle
	q.put.Lock()
	defer q.put.Unlock()
	if err := q.shard.log.Purge(ctx, "backlog."+q.token); err != nil {
		return err
	}
	q.mu.Lock()
	for _, e := range q.entries {
		s.uncache(e)
	}
	q.reset()
	if drop {
		q.dedups, q.recent = map[string]*dedup{}, nil
	}
	q.mu.Unlock()
	states := "backlogstate." + q.token + ".t.>"
	if drop {
		states = "backlogstate." + q.token + ".>"
	}
	if err := q.shard.states.Purge(ctx, states); err != nil {
		return err
	}
	if drop {
		s.mu.Lock()
		defer s.mu.Unlock()
		q.mu.Lock()
		defer q.mu.Unlock()
		if len(q.entries) == 0 && len(q.waiters) == 0 {
			delete(s.queues, name)
		}
	}
	return nil
}
