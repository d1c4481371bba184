package throttle

import (
	"context"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// domain names this package's table and migrations.
const domain = "throttle"

// batch is how many counts are stored in one transaction.
const batch = 1000

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }

// read reads counts, the oldest of each API key first.
func (q *Quotas) read(ctx context.Context, from db.Querier, where string, args []any, f func(m member, project string, c count)) error {
	rows, err := from.QueryContext(ctx, `SELECT project, plan, api_key, day, used, granted FROM throttle_usage `+where+` ORDER BY plan, api_key, day`, args...)
	if err != nil {
		return failed("read usage", err)
	}
	defer rows.Close()
	for rows.Next() {
		var project string
		var m member
		var c count
		if err := rows.Scan(&project, &m.plan, &m.key, &c.day, &c.stored, &c.granted); err != nil {
			return failed("read usage", err)
		}
		f(m, project, c)
	}
	if err := rows.Err(); err != nil {
		return failed("read usage", err)
	}
	return nil
}

// pending is what is to be added to a stored count.
type pending struct {
	member
	project string
	day     int64
	add     int64
	total   int64 // after it
	granted int64
}

// Flush stores what has been counted. What cannot be stored stays counted, and is stored by the next one.
func (q *Quotas) Flush(ctx context.Context) error {
	q.store.Lock()
	defer q.store.Unlock()
	return q.flushAll(ctx)
}

// flushAll is Flush; store is locked.
func (q *Quotas) flushAll(ctx context.Context) error {
	for part := range slices.Chunk(q.collect(), batch) {
		err := q.db.Write(ctx, func(tx *db.Tx) error {
			for i := range part {
				p := &part[i]
				// Other servers may count the same: the total is what all have stored.
				err := tx.QueryRowContext(ctx, `INSERT INTO throttle_usage (project, plan, api_key, day, used, granted) VALUES (?, ?, ?, ?, ?, 0)
					ON CONFLICT (plan, api_key, day) DO UPDATE SET used = throttle_usage.used + excluded.used RETURNING used, granted`,
					p.project, p.plan, p.key, p.day, p.add).Scan(&p.total, &p.granted)
				if err != nil {
					return failed("store usage", err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		q.settle(part)
	}
	return q.sweep(ctx)
}

// collect lists what is to be stored.
func (q *Quotas) collect() (list []pending) {
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		for m, c := range s.dirty {
			for _, d := range c.days {
				if d.pending > 0 {
					list = append(list, pending{member: m, project: c.project, day: d.day, add: d.pending})
				}
			}
		}
		s.mu.Unlock()
	}
	return list
}

// settle notes what has been stored.
func (q *Quotas) settle(list []pending) {
	for _, p := range list {
		s := q.shard(p.member)
		s.mu.Lock()
		if c := s.counters[p.member]; c != nil {
			d := c.at(p.day)
			d.pending -= p.add
			d.stored, d.granted = p.total, p.granted
			if !slices.ContainsFunc(c.days, func(d count) bool { return d.pending > 0 }) {
				delete(s.dirty, p.member)
			}
		}
		s.mu.Unlock()
	}
}

// sweep forgets what is old, once a day.
func (q *Quotas) sweep(ctx context.Context) error {
	today := q.today()
	if q.swept == today {
		return nil
	}
	err := q.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM throttle_usage WHERE day < ?`, today-int64(q.cfg.Retain))
		return err
	})
	if err != nil {
		return failed("sweep usage", err)
	}
	q.swept = today
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		for m, c := range s.counters {
			c.days = slices.DeleteFunc(c.days, func(d count) bool { return d.day < today-inMemory && d.pending == 0 })
			if len(c.days) == 0 {
				delete(s.counters, m)
				delete(s.dirty, m)
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// grant stores that n more requests of a day do not count.
func (q *Quotas) grant(ctx context.Context, tx *db.Tx, m member, project string, day, n int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO throttle_usage (project, plan, api_key, day, used, granted) VALUES (?, ?, ?, ?, 0, ?)
		ON CONFLICT (plan, api_key, day) DO UPDATE SET granted = throttle_usage.granted + excluded.granted`, project, m.plan, m.key, day, n)
	if err != nil {
		return failed("grant usage", err)
	}
	return nil
}

// RemoveProject removes what a project has within the caller's transaction. What is counted of it meanwhile goes with the next sweep.
func (q *Quotas) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM throttle_usage WHERE project = ?`, project); err != nil {
		return failed("remove project", err)
	}
	return nil
}
