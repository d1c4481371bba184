package backlog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

// dumped is a line of a dump: a message with its state, or the deduplication id of one that is gone.
type dumped struct {
	Queue string          `json:"queue"`
	Label json.RawMessage `json:"label,omitempty"`
	Body  []byte          `json:"body,omitempty"`
	State json.RawMessage `json:"state,omitempty"`
	Seen  json.RawMessage `json:"seen,omitempty"`
}

// Dump writes all messages to w, one a line of JSON, as a process would find them that followed a crash of this one now: a message that
// was taken with Volatile has not been. What is put or ended meanwhile is in it or not.
func (s *Store) Dump(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 256<<10)
	enc := json.NewEncoder(out)
	for _, sh := range s.shards {
		if err := sh.dump(ctx, enc); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return hansom.Errorf(hansom.Internal, "dump backlog", "%w", err)
	}
	return nil
}

func (sh *shard) dump(ctx context.Context, enc *json.Encoder) error {
	write := func(d *dumped) error {
		if err := enc.Encode(d); err != nil {
			return hansom.Errorf(hansom.Internal, "dump backlog", "%w", err)
		}
		return nil
	}
	states := map[uint64]json.RawMessage{}
	err := sh.states.Scan(ctx, true, func(r bus.Record) error {
		name, rest, err := nameOf(r.Subject)
		if err == nil && len(rest) == 2 && rest[0] == "d" {
			return write(&dumped{Queue: name, Seen: r.Data})
		}
		var seq uint64
		if err == nil && len(rest) == 2 {
			seq, err = strconv.ParseUint(rest[1], 10, 64)
		}
		states[seq] = r.Data
		return err
	})
	if err != nil {
		return err
	}
	return sh.log.Scan(ctx, true, func(r bus.Record) error {
		name, _, err := nameOf(r.Subject)
		if err != nil {
			return err
		}
		d := dumped{Queue: name, Label: json.RawMessage(r.Meta), Body: r.Data, State: states[r.Seq]}
		delete(states, r.Seq)
		return write(&d)
	})
}

// loadBatch is how much of a dump is under way at a time, in messages and bytes.
const (
	loadBatch = 512
	loadBytes = 16 << 20
)

// Load stores what Dump has written. The store must be empty, and be opened anew to show it.
// Errors: Invalid for what is no dump; Unavailable.
func (s *Store) Load(ctx context.Context, r io.Reader) error {
	const op = "load backlog"
	type loading struct {
		queue *queue
		state []byte
		bus.Appended
	}
	var batch []loading
	size := 0
	flush := func() error {
		var states []bus.Appended
		for _, l := range batch {
			seqs, err := l.Wait()
			if err != nil {
				return err
			}
			if l.state != nil {
				states = append(states, l.queue.shard.states.Append(bus.Record{Subject: fmt.Sprintf("backlogstate.%s.t.%d", l.queue.token, seqs[0]), Data: l.state}))
			}
		}
		for _, a := range states {
			if _, err := a.Wait(); err != nil {
				return err
			}
		}
		batch, size = batch[:0], 0
		return nil
	}
	dec := json.NewDecoder(bufio.NewReaderSize(r, 256<<10))
	for ctx.Err() == nil {
		var d dumped
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		var l label
		if err == nil && d.Seen == nil {
			err = json.Unmarshal(d.Label, &l)
		}
		if err != nil || d.Queue == "" {
			return hansom.Errorf(hansom.Invalid, op, "this is not a dump of messages: %w", err)
		}
		q := s.open(d.Queue)
		if d.Seen != nil {
			var gone seen
			if err := json.Unmarshal(d.Seen, &gone); err != nil {
				return hansom.Errorf(hansom.Invalid, op, "this is not a dump of messages: %w", err)
			}
			batch = append(batch, loading{q, nil, q.shard.states.Append(s.seenRecord(q, gone))})
		} else {
			batch = append(batch, loading{q, d.State, q.shard.log.Append(bus.Record{Subject: "backlog." + q.token, Meta: string(d.Label), Data: d.Body})})
		}
		if size += len(d.Label) + len(d.Body); len(batch) == loadBatch || size > loadBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}
