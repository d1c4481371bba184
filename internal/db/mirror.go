package db

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	mirrorTime  = 30 * time.Second // for reading what changed
	mirrorRetry = time.Second
)

// Mirror keeps what a service has of a domain in memory in step with the database: everything is read at the start, what a commit
// changed after each, and everything again when that failed or changes of others were missed.
type Mirror struct {
	db     *DB
	domain string
	all    func(ctx context.Context) error
	some   func(ctx context.Context, c Change) error
	log    *slog.Logger

	mu       sync.Mutex
	revision int64 // of the database, up to which everything was read
	stale    bool  // reading failed: the next change has everything read again, or a timer
	waiting  bool  // for the timer
}

// Mirror reads everything with all, and what a change of the domain names with some, as Subscribe has it; without some it is all again.
// They are called one at a time.
func (d *DB) Mirror(ctx context.Context, domain string, all func(ctx context.Context) error, some func(ctx context.Context, c Change) error, log *slog.Logger) (*Mirror, error) {
	m := &Mirror{db: d, domain: domain, all: all, some: some, log: log}
	d.Subscribe(m.changed)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m, m.readAll(ctx)
}

// Do calls f while nothing is read.
func (m *Mirror) Do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *Mirror) readAll(ctx context.Context) error {
	// The revision first: what is committed after it is announced, or seen as a gap.
	revision, err := m.db.Revision(ctx)
	if err == nil {
		err = m.all(ctx)
	}
	if err != nil {
		return err
	}
	m.revision, m.stale = max(m.revision, revision), false
	return nil
}

func (m *Mirror) changed(c Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gap := c.Revision != m.revision+1
	m.revision = max(m.revision, c.Revision)
	switch {
	case gap || m.stale || c.Domain == m.domain && m.some == nil:
		m.read(m.readAll)
	case c.Domain == m.domain:
		m.read(func(ctx context.Context) error { return m.some(ctx, c) })
	}
}

// read calls f, and has everything read again later when it fails.
func (m *Mirror) read(f func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), mirrorTime)
	defer cancel()
	err := f(ctx)
	if err == nil || m.db.closed.Load() {
		return
	}
	m.stale = true
	m.log.Error("what changed in the database could not be read; it is tried again", "domain", m.domain, "error", err)
	if !m.waiting {
		m.waiting = true
		time.AfterFunc(mirrorRetry, m.retry)
	}
}

func (m *Mirror) retry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting = false; m.stale {
		m.read(m.readAll)
	}
}
