// Package tick keeps times in the database and fires each of them once, by one of the processes that use it: who fires a tick has
// leased it first. When a process dies between, another one, or it itself later, fires the tick again.
package tick

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

const (
	domain  = "tick"
	batch   = 64          // ticks leased at a time
	workers = 16          // of those, fired at a time
	glance  = time.Second // between two looks at most: other processes set ticks too
)

//go:embed migrations/*.sql
var embedded embed.FS

// Config of Ticks.
type Config struct {
	Owner string        // whose ticks they are; those of others are not seen
	Lease time.Duration // for firing a tick; after it, it is fired again
	Retry time.Duration // after firing failed
	Now   func() time.Time
}

// DefaultConfig has half a minute for firing and looks again 5 seconds after an error.
func DefaultConfig(owner string) Config {
	return Config{Owner: owner, Lease: 30 * time.Second, Retry: 5 * time.Second, Now: time.Now}
}

// Fire does what is to be done at a time and says when the next one is; zero removes the tick. due is when it was set for, which may be
// long ago after a downtime. An error has it called again. What Set or Remove say meanwhile counts, and not the answer.
// It is called from several goroutines, and must have ended when ctx does.
type Fire func(ctx context.Context, key string, due time.Time) (next time.Time, err error)

// Ticks are those of an owner. Its methods may be called from several goroutines.
type Ticks struct {
	cfg  Config
	db   *db.DB
	fire Fire
	log  *slog.Logger
	wake chan struct{}
}

// New migrates the table. Run must be called for ticks to be fired.
func New(ctx context.Context, cfg Config, database *db.DB, fire Fire, logger *slog.Logger) (*Ticks, error) {
	if cfg.Owner == "" || cfg.Lease <= 0 || cfg.Retry <= 0 || cfg.Now == nil {
		return nil, hansom.Errorf(hansom.Invalid, "make tick", "owner, lease, retry and now must be set")
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open tick", err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	t := &Ticks{cfg: cfg, db: database, fire: fire, log: logger.With("component", "tick", "owner", cfg.Owner), wake: make(chan struct{}, 1)}
	database.Subscribe(func(c db.Change) {
		if c.Domain == domain {
			select {
			case t.wake <- struct{}{}:
			default:
			}
		}
	})
	return t, nil
}

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }

// Set has a tick fired at due, within the caller's transaction. It is to the microsecond, and takes the place of what the key had.
func (t *Ticks) Set(ctx context.Context, tx *db.Tx, key string, due time.Time) error {
	tx.Changed(domain, t.cfg.Owner)
	_, err := tx.ExecContext(ctx, `INSERT INTO tick_ticks (owner, name, due, lease) VALUES (?, ?, ?, 0)
		ON CONFLICT (owner, name) DO UPDATE SET due = excluded.due, lease = 0`, t.cfg.Owner, key, due.UnixMicro())
	if err != nil {
		return failed("set tick", err)
	}
	return nil
}

// Remove has a tick no longer fired, within the caller's transaction; one that is not there is no error.
func (t *Ticks) Remove(ctx context.Context, tx *db.Tx, key string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM tick_ticks WHERE owner = ? AND name = ?`, t.cfg.Owner, key); err != nil {
		return failed("remove tick", err)
	}
	return nil
}

// Run fires ticks when they are due until ctx ends; those under way are ended first. A database of SQLite is one process's: what it had
// leased when it died is fired at once.
func (t *Ticks) Run(ctx context.Context) error {
	released := t.db.Engine() != "sqlite"
	for {
		wait := glance
		var next time.Time
		var err error
		if !released {
			err = t.release(ctx)
			released = err == nil
		}
		if err == nil {
			next, err = t.Look(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			t.log.Error("ticks cannot be read or written; it is tried again", "error", err)
		default:
			wait = min(wait, next.Sub(t.cfg.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-time.After(wait):
		}
	}
}

// release ends all leases.
func (t *Ticks) release(ctx context.Context) error {
	return t.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE tick_ticks SET lease = 0 WHERE owner = ? AND lease > 0`, t.cfg.Owner); err != nil {
			return failed("release ticks", err)
		}
		return nil
	})
}

// one is a tick as it was read.
type one struct {
	key        string
	due, lease int64 // microseconds; lease is 0 in the end when another process has it
	next       time.Time
	err        error
}

// Look fires what is due, up to a batch, and says when to look again. Run calls it; tests do, after they have set the clock.
func (t *Ticks) Look(ctx context.Context) (time.Time, error) {
	now := t.cfg.Now()
	ready, next, err := t.ready(ctx, now)
	if err != nil || len(ready) == 0 {
		return next, err
	}
	if err := t.lease(ctx, ready, now); err != nil {
		return now, err
	}
	t.fireAll(ctx, ready)
	return now, t.settle(context.WithoutCancel(ctx), ready)
}

// ready lists the ticks to be fired now; when there is none, next is the time of the first that is to come, within the next glance.
func (t *Ticks) ready(ctx context.Context, now time.Time) (list []*one, next time.Time, err error) {
	next = now.Add(glance)
	rows, err := t.db.Read().QueryContext(ctx, `SELECT name, due, lease FROM tick_ticks WHERE owner = ? AND due <= ? AND lease <= ?
		ORDER BY due, name LIMIT ?`, t.cfg.Owner, next.UnixMicro(), next.UnixMicro(), batch)
	if err != nil {
		return nil, next, failed("read ticks", err)
	}
	defer rows.Close()
	for rows.Next() {
		o := &one{}
		if err := rows.Scan(&o.key, &o.due, &o.lease); err != nil {
			return nil, next, failed("read ticks", err)
		}
		if at := time.UnixMicro(max(o.due, o.lease)); !at.After(now) {
			list = append(list, o)
		} else if at.Before(next) {
			next = at
		}
	}
	if err := rows.Err(); err != nil {
		return nil, next, failed("read ticks", err)
	}
	return list, next, nil
}

// lease takes ticks for this process. A lease that is taken over is another number, as that of before has ended.
func (t *Ticks) lease(ctx context.Context, list []*one, now time.Time) error {
	until := now.Add(t.cfg.Lease).UnixMicro()
	leases := make([]int64, len(list))
	err := t.db.Write(ctx, func(tx *db.Tx) error {
		for i, o := range list {
			leases[i] = 0
			result, err := tx.ExecContext(ctx, `UPDATE tick_ticks SET lease = ? WHERE owner = ? AND name = ? AND due = ? AND lease = ?`,
				until, t.cfg.Owner, o.key, o.due, o.lease)
			if err != nil {
				return failed("lease ticks", err)
			}
			if n, err := result.RowsAffected(); err != nil {
				return failed("lease ticks", err)
			} else if n == 1 {
				leases[i] = until
			}
		}
		return nil
	})
	for i, o := range list {
		o.lease = leases[i]
	}
	return err
}

// fireAll fires what this process has leased. The end of ctx lets it end.
func (t *Ticks) fireAll(ctx context.Context, list []*one) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.Lease)
	defer cancel()
	var running sync.WaitGroup
	slots := make(chan struct{}, workers)
	for _, o := range list {
		if o.lease == 0 {
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if o.next, o.err = t.fire(ctx, o.key, time.UnixMicro(o.due)); o.err != nil {
				t.log.Warn("a tick could not be fired; it is tried again", "tick", o.key, "due", time.UnixMicro(o.due), "error", o.err)
			}
		})
	}
	running.Wait()
}

// settle moves fired ticks on, unless they were set anew meanwhile.
func (t *Ticks) settle(ctx context.Context, list []*one) error {
	retry := t.cfg.Now().Add(t.cfg.Retry).UnixMicro()
	return t.db.Write(ctx, func(tx *db.Tx) error {
		for _, o := range list {
			if o.lease == 0 {
				continue
			}
			const same = ` WHERE owner = ? AND name = ? AND due = ? AND lease = ?`
			var err error
			switch {
			case o.err != nil:
				_, err = tx.ExecContext(ctx, `UPDATE tick_ticks SET lease = ?`+same, retry, t.cfg.Owner, o.key, o.due, o.lease)
			case o.next.IsZero():
				_, err = tx.ExecContext(ctx, `DELETE FROM tick_ticks`+same, t.cfg.Owner, o.key, o.due, o.lease)
			default:
				_, err = tx.ExecContext(ctx, `UPDATE tick_ticks SET due = ?, lease = 0`+same, o.next.UnixMicro(), t.cfg.Owner, o.key, o.due, o.lease)
			}
			if err != nil {
				return failed("move ticks", err)
			}
		}
		return nil
	})
}
