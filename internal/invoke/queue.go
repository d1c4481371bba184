package invoke

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

const domain = "invoke"

//go:embed migrations/*.sql
var embedded embed.FS

// event is an asynchronous invocation that was accepted.
type event struct {
	id, qualifier, trace string
	function             function
	payload              []byte
	failures             int // attempts that the function ended with an error
	accepted             time.Time
}

// head is what a lane knows of an event before its turn.
type head struct {
	id  string
	due time.Time
}

// queue keeps events from their acceptance to their end. What a method has written survives a crash when it returns.
type queue interface {
	put(ctx context.Context, e *event) error                                // due at once
	functions(ctx context.Context) ([]function, error)                      // that have events
	next(ctx context.Context, f function, n int) ([]head, error)            // the n that are due first, in this order
	get(ctx context.Context, id string) (event, error)                      //
	retry(ctx context.Context, id string, failures int, at time.Time) error // another attempt comes at a time
	remove(ctx context.Context, id string) error
}

// table is the queue in the database.
type table struct{ db *db.DB }

func openTable(ctx context.Context, database *db.DB) (*table, error) {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed("open events", err)
	}
	return &table{database}, database.Migrate(ctx, domain, files)
}

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

func (t *table) exec(ctx context.Context, op, query string, args ...any) error {
	return t.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return failed(op, err)
		}
		return nil
	})
}

func (t *table) put(ctx context.Context, e *event) error {
	at := e.accepted.UnixMicro()
	return t.exec(ctx, "accept event", `INSERT INTO invoke_events (id, project, name, qualifier, trace, payload, failures, accepted, due)
		VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)`, e.id, e.function.project, e.function.name, e.qualifier, e.trace, e.payload, at, at)
}

func (t *table) functions(ctx context.Context) ([]function, error) {
	var list []function
	err := t.each(ctx, func(rows *sql.Rows) error {
		var f function
		err := rows.Scan(&f.project, &f.name)
		list = append(list, f)
		return err
	}, `SELECT DISTINCT project, name FROM invoke_events`)
	return list, err
}

func (t *table) next(ctx context.Context, f function, n int) ([]head, error) {
	var list []head
	err := t.each(ctx, func(rows *sql.Rows) error {
		var h head
		var due int64
		err := rows.Scan(&h.id, &due)
		h.due = time.UnixMicro(due)
		list = append(list, h)
		return err
	}, `SELECT id, due FROM invoke_events WHERE project = ? AND name = ? ORDER BY due LIMIT ?`, f.project, f.name, n)
	return list, err
}

func (t *table) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := t.db.Read().QueryContext(ctx, query, args...)
	if err != nil {
		return failed("read events", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return failed("read events", err)
		}
	}
	return rows.Err()
}

func (t *table) get(ctx context.Context, id string) (event, error) {
	e := event{id: id}
	var accepted int64
	err := t.db.Read().QueryRowContext(ctx, `SELECT project, name, qualifier, trace, payload, failures, accepted FROM invoke_events WHERE id = ?`, id).
		Scan(&e.function.project, &e.function.name, &e.qualifier, &e.trace, &e.payload, &e.failures, &accepted)
	if err != nil {
		return event{}, failed("read event", err)
	}
	e.accepted = time.UnixMicro(accepted)
	return e, nil
}

func (t *table) retry(ctx context.Context, id string, failures int, at time.Time) error {
	return t.exec(ctx, "delay event", `UPDATE invoke_events SET failures = ?, due = ? WHERE id = ?`, failures, at.UnixMicro(), id)
}

func (t *table) remove(ctx context.Context, id string) error {
	return t.exec(ctx, "end event", `DELETE FROM invoke_events WHERE id = ?`, id)
}
