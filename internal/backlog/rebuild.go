package backlog

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

// rebuild makes the index of a shard's queues from its logs.
func (s *Store) rebuild(ctx context.Context, sh *shard) error {
	type known struct {
		state
		seq uint64
	}
	states := map[uint64]known{}
	err := sh.states.Scan(ctx, true, func(r bus.Record) error {
		name, rest, err := nameOf(r.Subject)
		if err != nil || len(rest) != 2 {
			return hansom.Errorf(hansom.Internal, "read backlog", "the subject %q is not of a state: %w", r.Subject, err)
		}
		if rest[0] == "d" {
			var d seen
			if err := json.Unmarshal(r.Data, &d); err != nil {
				return hansom.Errorf(hansom.Internal, "read backlog", "%s: %w", r.Subject, err)
			}
			s.recall(name, d)
			return nil
		}
		var k known
		seq, err := strconv.ParseUint(rest[1], 10, 64)
		if err == nil {
			err = json.Unmarshal(r.Data, &k.state)
		}
		if err != nil {
			return hansom.Errorf(hansom.Internal, "read backlog", "%s: %w", r.Subject, err)
		}
		k.seq = r.Seq
		states[seq] = k
		return nil
	})
	if err != nil {
		return err
	}
	err = sh.log.Scan(ctx, false, func(r bus.Record) error {
		name, _, err := nameOf(r.Subject)
		var l label
		if err == nil {
			err = json.Unmarshal([]byte(r.Meta), &l)
		}
		if err != nil {
			return hansom.Errorf(hansom.Internal, "read backlog", "message %d of shard %d: %w", r.Seq, sh.n, err)
		}
		e := s.entry(r.Seq, &l)
		if k, ok := states[r.Seq]; ok {
			delete(states, r.Seq)
			e.state, e.takes, e.first, e.note = k.seq, k.Takes, k.First, k.Note
			if due := s.due(k.Due); due > s.now() {
				e.place, e.due = flight, due
			}
		}
		q := s.open(name)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.add(e, l.Group)
		if expires := time.UnixMicro(l.Sent).Add(s.cfg.Dedup); l.Dedup != "" && s.in(expires) > s.now() {
			q.recallLocked(l.Dedup, l.ID, r.Seq, s.in(expires))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range states { // of messages that are gone
		sh.states.Forget(k.seq)
	}
	return nil
}

func (s *Store) recall(name string, d seen) {
	expires := s.in(time.UnixMicro(d.Expires))
	if expires <= s.now() {
		return
	}
	q := s.open(name)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recallLocked(d.Key, d.ID, d.Seq, expires)
}

func (q *queue) recallLocked(key, id string, seq uint64, expires int64) {
	d := &dedup{key: key, id: id, seq: seq, expires: expires, done: make(chan struct{})}
	close(d.done)
	q.dedups[key] = d
	at, _ := slices.BinarySearchFunc(q.recent, expires, func(d *dedup, t int64) int { return int(d.expires - t) })
	q.recent = slices.Insert(q.recent, at, d)
}
