package invoke

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/db"
)

const domain = "invoke"

//go:embed migrations/*.sql
var embedded embed.FS

// table is where versions before the backlog kept events. It stays, empty.
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

// stored is an event in the table.
type stored struct {
	function
	id       string
	payload  []byte
	accepted time.Time
	due      time.Time
	label
}

// moveBatch is how many events are moved at a time.
const moveBatch = 16

// first are the events that were accepted first, at most moveBatch.
func (t *table) first(ctx context.Context) ([]stored, error) {
	rows, err := t.db.Read().QueryContext(ctx, `SELECT id, project, name, qualifier, trace, payload, failures, accepted, due FROM invoke_events
		ORDER BY accepted, id LIMIT ?`, moveBatch)
	if err != nil {
		return nil, failed("read events", err)
	}
	defer rows.Close()
	var list []stored
	for rows.Next() {
		var e stored
		var accepted, due int64
		if err := rows.Scan(&e.id, &e.project, &e.name, &e.Qualifier, &e.Trace, &e.payload, &e.Failures, &accepted, &due); err != nil {
			return nil, failed("read events", err)
		}
		e.accepted, e.due = time.UnixMicro(accepted), time.UnixMicro(due)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read events", err)
	}
	return list, nil
}

func (t *table) remove(ctx context.Context, id string) error {
	return t.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM invoke_events WHERE id = ?`, id); err != nil {
			return failed("move event", err)
		}
		return nil
	})
}

// move takes the events of the table into the backlog. While that does not work, for want of room perhaps, they stay and it tries again.
func (a *Async) move(ctx context.Context) {
	for ctx.Err() == nil {
		list, err := a.old.first(ctx)
		if err == nil && len(list) == 0 {
			return
		}
		for i := 0; err == nil && i < len(list); i++ {
			e := &list[i]
			// The deduplication id is for a crash between the two.
			if err = a.put(ctx, e.function, backlog.Entry{ID: e.id, Dedup: e.id, Sent: e.accepted, Delay: time.Until(e.due), Body: e.payload}, e.label); err == nil {
				err = a.old.remove(context.WithoutCancel(ctx), e.id)
			}
		}
		if err != nil && ctx.Err() == nil {
			a.logger.Warn("events that an older version has accepted wait in the database; tried again", "error", err)
			select {
			case <-time.After(maxBackOff):
			case <-ctx.Done():
			}
		}
	}
}
