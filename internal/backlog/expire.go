package backlog

import (
	"context"
	"time"
)

// Standing is what a receipt is worth.
type Standing uint8

const (
	Gone   Standing = iota // the message has ended
	Stale                  // the message was taken again since
	Shown                  // the message can be taken again
	Hidden                 // the message is in flight
)

// Standing tells what a receipt is worth, as of now.
func (s *Store) Standing(name string, r Receipt) Standing {
	q := s.find(name)
	if q == nil {
		return Gone
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(s.now())
	switch e := q.entries[r.Seq]; {
	case e == nil || e.place == leaving:
		return Gone
	case e.takes != r.Take:
		return Stale
	case e.place == flight:
		return Hidden
	}
	return Shown
}

// Expire ends the messages of a queue that were sent before t, also those in flight; n is how many. Error: Unavailable.
func (s *Store) Expire(ctx context.Context, name string, t time.Time) (n int, err error) {
	q := s.find(name)
	if q == nil {
		return 0, nil
	}
	q.mu.Lock()
	var list []*entry
	for _, e := range q.entries {
		if e.sent < t.UnixMicro() && e.place != leaving {
			q.move(e, leaving)
			list = append(list, e)
		}
	}
	q.mu.Unlock()
	return len(list), s.expire(ctx, q, list)
}
