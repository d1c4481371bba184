package db

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
)

// keptChanges is how many changes are there for processes that have not followed for a while.
const keptChanges = 10_000

// Follow announces what other processes change in the same database, in the order of the revisions, until ctx ends: when wake has
// something, and every so often in any case. SQLite has one process, and nothing to follow.
func (d *DB) Follow(ctx context.Context, wake <-chan struct{}, every time.Duration) error {
	if !d.dialect.shared {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case d.writing <- struct{}{}:
			if err := d.catchUp(ctx, nil); err != nil && ctx.Err() == nil {
				d.log.Error("changes of other servers could not be read; it is tried again", "error", err)
			}
			<-d.writing
		case <-ctx.Done():
			return nil
		}
		select {
		case <-wake:
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// note stores a change for the other processes.
func (d *DB) note(ctx context.Context, tx *Tx, c *Change) error {
	keys, err := json.Marshal(c.Keys)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO hansom_changes (revision, domain, keys) VALUES (?, ?, ?)`, c.Revision, c.Domain, string(keys))
	}
	if err == nil && c.Revision%100 == 0 {
		_, err = tx.ExecContext(ctx, `DELETE FROM hansom_changes WHERE revision <= ?`, c.Revision-keptChanges)
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, "note change", "%w", err)
	}
	return nil
}

// catchUp announces all changes that were not yet. own are those of this process. The token of writing is held.
func (d *DB) catchUp(ctx context.Context, own []Change) error {
	rows, err := d.Read().QueryContext(ctx, `SELECT revision, domain, keys FROM hansom_changes WHERE revision > ? ORDER BY revision`, d.seen)
	if err != nil {
		return err
	}
	defer rows.Close()
	var list []Change
	for rows.Next() {
		var c Change
		var keys string
		if err := rows.Scan(&c.Revision, &c.Domain, &keys); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(keys), &c.Keys); err != nil {
			return err
		}
		c.Other = !slices.ContainsFunc(own, func(o Change) bool { return o.Revision == c.Revision })
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(list) > 0 {
		if list[0].Revision > d.seen+1 {
			d.log.Error("changes of other servers were missed; restart this one", "from", d.seen+1, "to", list[0].Revision-1)
		}
		d.seen = list[len(list)-1].Revision
		d.announce(list)
	}
	return nil
}
