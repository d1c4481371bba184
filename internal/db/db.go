// Package db opens SQLite or PostgreSQL and hides their differences: placeholders, locking, retries, migrations.
// Every configuration write bumps one revision row in its own transaction and is announced to subscribers after the commit.
package db

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
)

// Querier is what stores take: the read side of a DB, or a Tx. Placeholders are "?" on every engine. Times are BIGINT Unix microseconds.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Change says what a committed transaction changed. Revisions count up by one; a subscriber that misses one re-reads everything.
type Change struct {
	Revision int64
	Domain   string
	Keys     []string
	Other    bool // another process made it
}

// DB is an open database. Its methods may be called from several goroutines.
type DB struct {
	dialect dialect
	url     string // as Open was given it
	read    *sql.DB
	write   *sql.DB // the same as read on PostgreSQL
	room    func() error
	log     *slog.Logger
	closed  atomic.Bool

	seen        int64         // revision of the last change that was announced, where the database is shared; the token is held
	writing     chan struct{} // holds one token while a transaction runs: notices go out in the order of commits
	subscribers struct {
		sync.RWMutex
		list []func(Change)
	}
}

// Option changes how Open opens a database.
type Option func(*options)

type options struct {
	syncAlways bool
	room       func() error
}

// SyncAlways makes each commit survive a power cut (SQLite synchronous=FULL). PostgreSQL has its own setting for that.
func SyncAlways() Option { return func(o *options) { o.syncAlways = true } }

// Room has room asked before each Write; its error refuses it. Those of an Essential context are not asked about.
func Room(room func() error) Option { return func(o *options) { o.room = room } }

type essential struct{}

// Essential marks what is written though there is little room: what frees some, and the server's own upkeep.
func Essential(ctx context.Context) context.Context { return context.WithValue(ctx, essential{}, true) }

// Open opens "sqlite:PATH" or "postgres://..." and migrates the tables of this package. The file is made when it is not there.
// Errors: Invalid for a URL of another form; Unavailable when the database cannot be reached.
func Open(ctx context.Context, url string, logger *slog.Logger, opts ...Option) (*DB, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	d := &DB{url: url, room: o.room, log: logger.With("component", "db"), writing: make(chan struct{}, 1)}
	var err error
	switch {
	case strings.HasPrefix(url, "sqlite:"):
		err = d.openSQLite(strings.TrimPrefix(url, "sqlite:"), o)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		err = d.openPostgres(url)
	default:
		return nil, hansom.Errorf(hansom.Invalid, "open database", `the database URL must be "sqlite:PATH" or "postgres://USER:PASSWORD@HOST/NAME"`)
	}
	if err != nil {
		return nil, err
	}
	if err := d.read.PingContext(ctx); err != nil {
		d.Close()
		return nil, hansom.Errorf(hansom.Unavailable, "open database", "cannot reach the database: %w", err)
	}
	if err := d.Migrate(ctx, "db", migrations()); err != nil {
		d.Close()
		return nil, err
	}
	if d.seen, err = d.Revision(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close waits for running queries and closes the database.
func (d *DB) Close() error {
	d.closed.Store(true)
	err := d.read.Close()
	if d.write != nil && d.write != d.read {
		err = errors.Join(err, d.write.Close())
	}
	return err
}

// Engine is "sqlite" or "postgres".
func (d *DB) Engine() string { return d.dialect.name }

// Read answers queries outside of transactions, from the last committed state. It must not be used to write.
func (d *DB) Read() Querier { return querier{d.read, d.dialect} }

// Subscribe calls f after each commit that noted changes, in the order of the commits and before Write returns; with those of other
// processes on PostgreSQL before the next of this one, and while Follow runs. f must be quick and must not call Write. It cannot be taken back.
func (d *DB) Subscribe(f func(Change)) {
	d.subscribers.Lock()
	defer d.subscribers.Unlock()
	d.subscribers.list = append(d.subscribers.list, f)
}

// Revision is the number of the last committed configuration change.
func (d *DB) Revision(ctx context.Context) (int64, error) {
	var rev int64
	err := d.Read().QueryRowContext(ctx, `SELECT revision FROM hansom_revision WHERE id = 1`).Scan(&rev)
	if err != nil {
		return 0, hansom.Errorf(hansom.Internal, "read revision", "%w", err)
	}
	return rev, nil
}

// Tx is a running transaction of Write.
type Tx struct {
	querier
	changes []Change
}

// Changed notes that the thing called key of a domain has a new configuration. The keys of one domain go out as one Change, each of them once.
func (t *Tx) Changed(domain, key string) {
	for i := range t.changes {
		if t.changes[i].Domain == domain {
			if !slices.Contains(t.changes[i].Keys, key) {
				t.changes[i].Keys = append(t.changes[i].Keys, key)
			}
			return
		}
	}
	t.changes = append(t.changes, Change{Domain: domain, Keys: []string{key}})
}

// Write runs f in a transaction and commits it unless f returns an error, which Write returns as it is. Transactions run one
// at a time, across processes too, so that what f reads stays true until the commit. f is run again after a conflict: it must
// not keep anything from a run before, nor do anything outside of the transaction that cannot be repeated. Room may refuse it.
func (d *DB) Write(ctx context.Context, f func(tx *Tx) error) error {
	if d.room != nil && ctx.Value(essential{}) == nil {
		if err := d.room(); err != nil {
			return err
		}
	}
	select {
	case d.writing <- struct{}{}:
		defer func() { <-d.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for attempt := 0; ; attempt++ {
		changes, err := d.try(ctx, f)
		if err == nil {
			if d.dialect.shared && len(changes) > 0 && d.catchUp(context.WithoutCancel(ctx), changes) == nil {
				return nil
			}
			d.announce(changes)
			return nil
		}
		if attempt == 8 || !d.dialect.transient(err) {
			return err
		}
		d.log.Debug("transaction is run again", "attempt", attempt+1, "error", err)
		select {
		case <-time.After(time.Duration(1<<attempt) * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (d *DB) try(ctx context.Context, f func(tx *Tx) error) ([]Change, error) {
	sqlTx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, "begin transaction", "the database does not answer: %w", err)
	}
	defer sqlTx.Rollback() // after a commit this does nothing
	tx := &Tx{querier: querier{sqlTx, d.dialect}}
	if d.dialect.lock != "" {
		if _, err := sqlTx.ExecContext(ctx, d.dialect.lock); err != nil {
			return nil, hansom.Errorf(hansom.Unavailable, "begin transaction", "cannot lock the database: %w", err)
		}
	}
	if err := f(tx); err != nil {
		return nil, err
	}
	for i := range tx.changes {
		err := tx.QueryRowContext(ctx, `UPDATE hansom_revision SET revision = revision + 1 WHERE id = 1 RETURNING revision`).Scan(&tx.changes[i].Revision)
		if err != nil {
			return nil, hansom.Errorf(hansom.Internal, "bump revision", "%w", err)
		}
		if d.dialect.shared {
			if err := d.note(ctx, tx, &tx.changes[i]); err != nil {
				return nil, err
			}
		}
	}
	if err := sqlTx.Commit(); err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, "commit", "the change could not be stored: %w", err)
	}
	return tx.changes, nil
}

func (d *DB) announce(changes []Change) {
	d.subscribers.RLock()
	defer d.subscribers.RUnlock()
	for _, c := range changes {
		for _, f := range d.subscribers.list {
			f(c)
		}
	}
}

// conn is what *sql.DB and *sql.Tx share.
type conn interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// querier rewrites placeholders for the engine.
type querier struct {
	conn
	dialect dialect
}

func (q querier) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return q.conn.ExecContext(ctx, q.dialect.rewrite(query), args...)
}

func (q querier) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return q.conn.QueryContext(ctx, q.dialect.rewrite(query), args...)
}

func (q querier) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return q.conn.QueryRowContext(ctx, q.dialect.rewrite(query), args...)
}
