package backlog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

// label is what a record of a message says beside its body; it is read when the index is made.
type label struct {
	ID    string `json:"i"`
	Group string `json:"g,omitempty"`
	Dedup string `json:"d,omitempty"`
	Sent  int64  `json:"s"`           // Unix microseconds
	Due   int64  `json:"v,omitempty"` // the same; it cannot be taken before
	Meta  string `json:"m,omitempty"`
}

// Put stores entries in a queue, in their order. When it returns nil they survive a crash. When it fails some may be stored all the
// same. Errors: TooLarge, Unavailable when there is no room or the log does not answer; Canceled when ctx ended before anything was sent.
func (s *Store) Put(ctx context.Context, name string, entries ...Entry) ([]Stored, error) {
	if err := s.admit(ctx, name); err != nil {
		return nil, err
	}
	q, now := s.open(name), s.cfg.Now()
	results := make([]Stored, len(entries))
	dedups := make([]*dedup, len(entries)) // that the entries wait for, or settle
	labels := make([]label, 0, len(entries))
	records := make([]bus.Record, 0, len(entries))
	of := make([]int, 0, len(entries)) // the entry of each record

	q.put.Lock()
	q.mu.Lock()
	q.advance(s.now())
	for i := range entries {
		e := &entries[i]
		if e.Dedup != "" {
			if d := q.dedups[e.Dedup]; d != nil {
				dedups[i], results[i].Duplicate = d, true
				continue
			}
			dedups[i] = q.remember(e.Dedup, s.now()+int64(s.cfg.Dedup))
		}
		l := label{ID: e.ID, Group: e.Group, Dedup: e.Dedup, Sent: now.UnixMicro(), Meta: e.Meta}
		if !e.Sent.IsZero() {
			l.Sent = e.Sent.UnixMicro()
		}
		if e.Delay > 0 {
			l.Due = now.Add(e.Delay).UnixMicro()
		}
		labels, of = append(labels, l), append(of, i)
	}
	q.mu.Unlock()
	var err error
	for i := range labels {
		r := bus.Record{Subject: "backlog." + q.token, Data: entries[of[i]].Body}
		var text []byte
		if text, err = json.Marshal(&labels[i]); err != nil {
			break
		}
		r.Meta = string(text)
		if err = bus.Check(&r); err != nil {
			break
		}
		records = append(records, r)
	}
	var seqs []uint64
	if err == nil && len(records) > 0 {
		appended := q.shard.log.Append(records...)
		q.put.Unlock()
		seqs, err = appended.Wait()
	} else {
		q.put.Unlock()
	}

	q.mu.Lock()
	added := 0
	for n := range labels {
		i := of[n]
		if n < len(seqs) && seqs[n] != 0 {
			x := s.entry(seqs[n], &labels[n])
			s.cache(x, &entries[i])
			q.add(x, labels[n].Group)
			added++
			results[i] = Stored{ID: entries[i].ID, Seq: seqs[n]}
		}
		if d := dedups[i]; d != nil {
			if d.id, d.seq = results[i].ID, results[i].Seq; d.seq == 0 {
				d.err = hansom.Errorf(hansom.Unavailable, "put message", "the message could not be stored: %w", err)
				delete(q.dedups, d.key)
			}
			close(d.done)
		}
	}
	q.wake(added)
	q.mu.Unlock()

	for i, d := range dedups {
		if results[i].Duplicate {
			<-d.done
			results[i].ID, results[i].Seq = d.id, d.seq
			if err == nil {
				err = d.err
			}
		}
	}
	return results, err
}

// Seen tells whether a queue had an entry with a deduplication id that still counts, also when its message has ended.
func (s *Store) Seen(name, dedup string) bool {
	q := s.find(name)
	if q == nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(s.now())
	d := q.dedups[dedup]
	return d != nil && d.seq != 0 // or it is being put
}

// admit refuses new messages.
func (s *Store) admit(ctx context.Context, name string) error {
	if len(name) == 0 || len(name) > MaxName {
		return hansom.Errorf(hansom.Invalid, "put message", "the name of a queue has 1 to %d bytes", MaxName)
	}
	if err := ctx.Err(); err != nil {
		return hansom.Errorf(hansom.Canceled, "put message", "%w", err)
	}
	if s.cfg.Room != nil {
		return s.cfg.Room()
	}
	return nil
}

// entry makes an index entry of a message's label.
func (s *Store) entry(seq uint64, l *label) *entry {
	e := &entry{seq: seq, id: l.ID, dedup: l.Dedup, sent: l.Sent}
	if l.Due != 0 {
		if e.due = s.due(l.Due); e.due > s.now() {
			e.place = delayed
		}
	}
	return e
}

// cache keeps what the entry was made of, while there is room.
func (s *Store) cache(x *entry, e *Entry) {
	size := int64(len(e.Body) + len(e.Meta))
	if s.cached.Add(size) > s.cfg.Cache {
		s.cached.Add(-size)
		return
	}
	x.cached, x.meta, x.body = true, e.Meta, slices.Clone(e.Body)
}

func (s *Store) uncache(x *entry) {
	if x.cached {
		s.cached.Add(-int64(len(x.body) + len(x.meta)))
		x.cached, x.meta, x.body = false, "", nil
	}
}

// remember notes a deduplication id. mu is held.
func (q *queue) remember(key string, expires int64) *dedup {
	d := &dedup{key: key, expires: expires, done: make(chan struct{})}
	q.dedups[key] = d
	q.recent = append(q.recent, d)
	return d
}

// seen is the record of a deduplication id whose message is gone.
type seen struct {
	Key     string `json:"k"`
	ID      string `json:"i"`
	Seq     uint64 `json:"q"`
	Expires int64  `json:"e"` // Unix microseconds
}

// keep stores a deduplication id that is to outlive its message. It returns what to wait for.
func (s *Store) keep(q *queue, d *dedup) bus.Appended {
	return q.shard.states.Append(s.seenRecord(q, seen{d.key, d.id, d.seq, s.at(d.expires).UnixMicro()}))
}

// seenRecord is the record of a deduplication id, which goes when it does.
func (s *Store) seenRecord(q *queue, d seen) bus.Record {
	left := max(time.UnixMicro(d.Expires).Sub(s.cfg.Now()), 0)
	data, _ := json.Marshal(d) // strings and numbers: it cannot fail
	return bus.Record{Subject: fmt.Sprintf("backlogstate.%s.d.%x", q.token, sha256.Sum256([]byte(d.Key))), Data: data, TTL: left + time.Second}
}
