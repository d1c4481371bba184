package backlog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

// readers is how many messages of a call are read at a time.
const readers = 16

// Take says how messages are taken.
type Take struct {
	Limit  int           // at most this many
	Hidden time.Duration // nobody else gets them for this long
	Wait   time.Duration // for the first of them
	// Volatile does not store that they were taken: a crash shows them at once, as if they had not been.
	Volatile bool
	Since    time.Time // messages sent before are deleted in place of being given; zero keeps all
}

// state is the record of what happened to a message.
type state struct {
	Takes int    `json:"n"`
	First int64  `json:"f"` // Unix microseconds
	Due   int64  `json:"v"` // the same
	Note  string `json:"o,omitempty"`
}

// Take gives messages out: those without a group from the oldest on, those of a group in their order and only while no other of the
// group is in flight. Without any before Wait is over, or when ctx ends, the list is empty and there is no error. Error: Unavailable.
func (s *Store) Take(ctx context.Context, name string, t Take) ([]Message, error) {
	q := s.open(name)
	deadline := s.now() + int64(t.Wait)
	for {
		if err := s.bus.Writable("take message"); err != nil {
			return nil, err // it could not be deleted
		}
		q.mu.Lock()
		now := s.now()
		q.advance(now)
		list := q.pick(t.Limit, now+int64(t.Hidden))
		var expired []*entry
		if !t.Since.IsZero() {
			list = slices.DeleteFunc(list, func(e *entry) bool {
				if e.sent >= t.Since.UnixMicro() {
					return false
				}
				q.move(e, leaving)
				expired = append(expired, e)
				return true
			})
		}
		for _, e := range list {
			e.takes++
			if e.first == 0 {
				e.first = s.at(now).UnixMicro()
			}
		}
		if len(list) > 0 || len(expired) > 0 {
			q.mu.Unlock()
			if err := s.expire(ctx, q, expired); err != nil {
				s.logger.Warn("messages that are too old could not be deleted", "queue", name, "error", err)
			}
			if len(list) > 0 {
				return s.taken(ctx, q, list, t.Volatile)
			}
			continue
		}
		left := time.Duration(deadline - now)
		if left <= 0 || ctx.Err() != nil {
			q.mu.Unlock()
			return nil, nil
		}
		if d, ok := q.until(now); ok {
			left = min(left, d)
		}
		woken := make(chan struct{})
		q.waiters = append(q.waiters, woken)
		q.mu.Unlock()
		timer := time.NewTimer(left)
		select {
		case <-woken:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		q.mu.Lock()
		if i := slices.Index(q.waiters, woken); i >= 0 {
			q.waiters = slices.Delete(q.waiters, i, i+1)
		} else if ctx.Err() != nil && q.next() != nil {
			q.wake(1) // what woke this one is for another
		}
		q.mu.Unlock()
	}
}

// taken stores that entries were taken and reads them.
func (s *Store) taken(ctx context.Context, q *queue, list []*entry, volatile bool) ([]Message, error) {
	var err error
	if !volatile {
		err = s.store(q, list)
	}
	var messages []Message
	if err == nil {
		messages, err = s.load(ctx, q, list)
	}
	if err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, e := range list {
			if q.entries[e.seq] == e && e.place == flight {
				q.move(e, ready)
			}
		}
		q.wake(len(list))
		return nil, err
	}
	return messages, nil
}

// store writes the states of entries.
func (s *Store) store(q *queue, list []*entry) error {
	records := make([]bus.Record, 0, len(list))
	q.mu.Lock()
	for _, e := range list {
		data, _ := json.Marshal(state{e.takes, e.first, s.at(e.due).UnixMicro(), e.note}) // strings and numbers: it cannot fail
		records = append(records, bus.Record{Subject: fmt.Sprintf("backlogstate.%s.t.%d", q.token, e.seq), Data: data})
	}
	q.mu.Unlock()
	seqs, err := q.shard.states.Append(records...).Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, seq := range seqs {
		switch e := list[i]; {
		case seq == 0:
		case q.entries[e.seq] != e: // it ended meanwhile
			q.shard.states.Forget(seq)
		default:
			e.state = max(e.state, seq)
		}
	}
	return err
}

// load makes messages of entries. Those that are gone are left out.
func (s *Store) load(ctx context.Context, q *queue, list []*entry) ([]Message, error) {
	messages := make([]Message, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, e := range list {
		q.mu.Lock()
		m := Message{ID: e.id, Dedup: e.dedup, Meta: e.meta, Body: e.body, Seq: e.seq, Sent: time.UnixMicro(e.sent), Takes: e.takes, Note: e.note, Receipt: Receipt{e.seq, e.takes}}
		if e.group != nil {
			m.Group = e.group.name
		}
		if e.first != 0 {
			m.First = time.UnixMicro(e.first)
		}
		cached := e.cached
		q.mu.Unlock()
		messages[i] = m
		if cached {
			continue
		}
		g.Go(func() error {
			r, err := q.shard.log.Read(ctx, m.Seq)
			if hansom.KindOf(err) == hansom.NotFound { // it was purged while it was being put
				q.mu.Lock()
				defer q.mu.Unlock()
				q.remove(e)
				messages[i].Seq = 0
				return nil
			}
			var l label
			if err == nil {
				err = json.Unmarshal([]byte(r.Meta), &l)
			}
			messages[i].Meta, messages[i].Body = l.Meta, r.Data
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(messages, func(m Message) bool { return m.Seq == 0 }), nil
}

// held returns the entry that a receipt is for, or nil when it is not there or was taken again since. mu is held.
func (q *queue) held(r Receipt) *entry {
	if e := q.entries[r.Seq]; e != nil && e.takes == r.Take && e.place != leaving {
		return e
	}
	return nil
}

// Delete ends a message for good. ok is false when the receipt is not the latest one of a message, which then stays. Error: Unavailable; the
// message may be gone all the same.
func (s *Store) Delete(ctx context.Context, name string, r Receipt) (ok bool, err error) {
	q := s.find(name)
	if q == nil {
		return false, nil
	}
	q.mu.Lock()
	q.advance(s.now())
	e := q.held(r)
	if e != nil {
		q.move(e, leaving)
	}
	q.mu.Unlock()
	if e == nil {
		return false, nil
	}
	return true, s.expire(ctx, q, []*entry{e})
}

// expire deletes entries that are leaving.
func (s *Store) expire(ctx context.Context, q *queue, list []*entry) error {
	if len(list) == 0 {
		return nil
	}
	var kept []bus.Appended
	q.mu.Lock()
	for _, e := range list {
		if d := q.dedups[e.dedup]; e.dedup != "" && d != nil && d.seq == e.seq {
			kept = append(kept, s.keep(q, d))
		}
	}
	q.mu.Unlock()
	for _, k := range kept {
		if _, err := k.Wait(); err != nil {
			s.back(q, list)
			return err
		}
	}
	g := errgroup.Group{}
	g.SetLimit(readers)
	for _, e := range list {
		g.Go(func() error {
			if err := q.shard.log.Delete(context.WithoutCancel(ctx), e.seq); err != nil {
				s.back(q, []*entry{e})
				return err
			}
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.entries[e.seq] != e {
				return nil
			}
			q.remove(e)
			s.uncache(e)
			if e.state != 0 {
				q.shard.states.Forget(e.state)
			}
			if e.group != nil {
				q.wake(1)
			}
			return nil
		})
	}
	return g.Wait()
}

// back shows entries again that could not be deleted.
func (s *Store) back(q *queue, list []*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range list {
		if q.entries[e.seq] == e {
			q.move(e, ready)
		}
	}
	q.wake(len(list))
}

// Release changes for how long a message that was taken is hidden, from now on; 0 shows it at once. note is kept with the message until
// it is changed; nil leaves it. A crash forgets neither. ok is false when the receipt is not the latest one of a message in flight.
// Error: Unavailable.
func (s *Store) Release(_ context.Context, name string, r Receipt, hidden time.Duration, note *string) (ok bool, err error) {
	q := s.find(name)
	if q == nil {
		return false, nil
	}
	q.mu.Lock()
	now := s.now()
	q.advance(now)
	e := q.held(r)
	if e == nil || e.place != flight {
		q.mu.Unlock()
		return false, nil
	}
	q.leave(e)
	e.due = now + int64(hidden)
	if note != nil {
		e.note = *note
	}
	q.settle(e, flight)
	q.mu.Unlock()
	if err := s.store(q, []*entry{e}); err != nil {
		return true, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(s.now())
	q.wake(1) // to see what has changed
	return true, nil
}
