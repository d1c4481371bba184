package archive

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

const (
	maxRows   = 1000 // events that are deleted in one transaction
	maxInsert = 100  // events that are stored by one statement
)

// row is an event for an archive.
type row struct {
	archive string
	*eventbus.Event
}

// batch is what is written together.
type batch struct {
	rows []row
	done chan struct{} // closed when it was written or has failed
	err  error
}

// Keeps says whether a bus has archives.
func (s *Service) Keeps(project, bus string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.archives[source{project, bus}]) > 0
}

// Keep stores the events that the archives of a bus ask for. When it returns nil they are durable. Errors: Unavailable.
func (s *Service) Keep(ctx context.Context, project, bus string, events []eventbus.Event) error {
	s.mu.Lock()
	archives := s.archives[source{project, bus}]
	s.mu.Unlock()
	var rows []row
	for _, a := range archives {
		for i := range events {
			ok := a.pattern == nil
			if !ok {
				var err error
				if ok, err = a.pattern.Match(events[i].JSON); err != nil {
					return err
				}
			}
			if ok {
				rows = append(rows, row{a.id, &events[i]})
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if s.cfg.Room != nil {
		if err := s.cfg.Room(); err != nil {
			return err
		}
	}
	return s.join(ctx, rows)
}

// join has rows written together with those of others who come while a batch is being written.
func (s *Service) join(ctx context.Context, rows []row) error {
	s.mu.Lock()
	b := s.next
	first := b == nil
	if first {
		b = &batch{done: make(chan struct{})}
		s.next = b
	}
	b.rows = append(b.rows, rows...)
	s.mu.Unlock()
	if first {
		s.writing <- struct{}{}
		s.mu.Lock()
		s.next = nil
		s.mu.Unlock()
		b.err = s.write(context.WithoutCancel(ctx), b.rows) // others wait for it, whatever becomes of ctx
		<-s.writing
		close(b.done)
		return b.err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write stores rows. An event that an archive has already is left out.
func (s *Service) write(ctx context.Context, rows []row) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		added := map[string]sum{}
		for chunk := range slices.Chunk(rows, maxInsert) {
			var args []any
			for _, r := range chunk {
				args = append(args, r.archive, r.Time.UnixMicro(), r.Source+"/"+r.ID, string(r.JSON)) // ids of other producers are unique in their source
			}
			list, err := tx.QueryContext(ctx, `INSERT INTO archived_events (archive, time, id, body) VALUES (?, ?, ?, ?)`+strings.Repeat(`, (?, ?, ?, ?)`, len(chunk)-1)+
				` ON CONFLICT DO NOTHING RETURNING archive, octet_length(body)`, args...)
			if err == nil {
				err = add(added, list)
			}
			if err != nil {
				return failed("archive events", err)
			}
		}
		for id, a := range added {
			there, err := count(ctx, tx, id, a.events, a.bytes)
			if err == nil && !there { // it was deleted meanwhile
				err = drop(ctx, tx, id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// sum is how much of an archive was changed.
type sum struct{ events, bytes int64 }

// add adds rows of an archive and a size to sums, and closes them.
func add(to map[string]sum, rows *sql.Rows) error {
	defer rows.Close()
	for rows.Next() {
		var id string
		var size int64
		if err := rows.Scan(&id, &size); err != nil {
			return err
		}
		to[id] = sum{to[id].events + 1, to[id].bytes + size}
	}
	return rows.Err()
}

// count adds to how much an archive holds, if it is there.
func count(ctx context.Context, tx *db.Tx, id string, events, bytes int64) (there bool, err error) {
	result, err := tx.ExecContext(ctx, `UPDATE archives SET events = events + ?, bytes = bytes + ? WHERE id = ?`, events, bytes, id)
	if err != nil {
		return false, failed("count archived events", err)
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// sweep deletes events that are too old, those of archives that were deleted, and replays that ended long ago.
func (s *Service) sweep(ctx context.Context) {
	now := s.cfg.Now()
	list, err := s.read(ctx, s.db.Read(), "")
	for _, a := range list {
		if a.Retention > 0 && err == nil {
			err = s.expire(ctx, a.id, now.AddDate(0, 0, -a.Retention))
		}
	}
	if err == nil {
		err = s.deleteDropped(ctx)
	}
	if err == nil {
		err = s.forget(ctx, now.Add(-s.cfg.Keep))
	}
	if err != nil && ctx.Err() == nil {
		s.logger.Warn("old events could not be deleted from archives; it is tried again", "error", err)
	}
}

// expire deletes the events of an archive from before a time.
func (s *Service) expire(ctx context.Context, id string, before time.Time) error {
	const old = `FROM archived_events WHERE archive = ? AND time < ?`
	for n := int64(maxRows); n == maxRows; {
		// Most of the time there is nothing, which needs no transaction.
		if err := s.db.Read().QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 `+old+` LIMIT 1) AS found`, id, before.UnixMicro()).Scan(&n); err != nil || n == 0 {
			return err
		}
		err := s.db.Write(ctx, func(tx *db.Tx) error {
			rows, err := tx.QueryContext(ctx, `DELETE FROM archived_events WHERE (archive, time, id) IN (SELECT archive, time, id `+old+` ORDER BY time, id LIMIT ?)
				RETURNING archive, octet_length(body)`, id, before.UnixMicro(), maxRows)
			deleted := map[string]sum{}
			if err == nil {
				err = add(deleted, rows)
			}
			if err != nil {
				return failed("expire archived events", err)
			}
			n = deleted[id].events
			_, err = count(ctx, tx, id, -n, -deleted[id].bytes)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteDropped deletes the events of archives that were deleted.
func (s *Service) deleteDropped(ctx context.Context) error {
	rows, err := s.db.Read().QueryContext(ctx, `SELECT id FROM deleted_archives`)
	if err != nil {
		return failed("delete archived events", err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return failed("delete archived events", err)
		}
		list = append(list, id)
	}
	if err := rows.Err(); err != nil {
		return failed("delete archived events", err)
	}
	for _, id := range list {
		if err := s.expire(ctx, id, time.UnixMicro(math.MaxInt64)); err != nil {
			return err
		}
		err := s.db.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM deleted_archives WHERE id = ?`, id)
			return err
		})
		if err != nil {
			return failed("delete archived events", err)
		}
	}
	return nil
}
