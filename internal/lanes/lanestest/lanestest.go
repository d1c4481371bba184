// Package lanestest has a backlog for tests with a clock of their own, in which NATS cannot run.
package lanestest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
)

// Memory is a lanes.Backlog.
type Memory struct {
	mu     sync.Mutex
	seq    uint64
	queues map[string][]*kept
	seen   map[string]time.Time // when a deduplication id was put, by queue and id
	put    chan struct{}        // closed when something was put or shown
	Full   error                // refuses what is put
	Broken int                  // so many calls of Release and Delete fail
}

// kept is a message; disk is what a crash leaves of it.
type kept struct {
	backlog.Message
	due, disk time.Time
	leftNote  string
	leftTakes int
}

// NewMemory returns one without messages.
func NewMemory() *Memory {
	return &Memory{queues: map[string][]*kept{}, seen: map[string]time.Time{}, put: make(chan struct{})}
}

// Crashed is what a process finds that follows one which was killed.
func (m *Memory) Crashed() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := NewMemory()
	next.seq, next.seen = m.seq, maps.Clone(m.seen)
	for name, list := range m.queues {
		for _, k := range list {
			c := *k
			c.due, c.Note, c.Takes = k.disk, k.leftNote, k.leftTakes
			next.queues[name] = append(next.queues[name], &c)
		}
	}
	return next
}

func (m *Memory) wake() { close(m.put); m.put = make(chan struct{}) }

// Put is as backlog.Store has it.
func (m *Memory) Put(_ context.Context, name string, entries ...backlog.Entry) ([]backlog.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Full != nil {
		return nil, m.Full
	}
	var out []backlog.Stored
	for _, e := range entries {
		if i := slices.IndexFunc(m.queues[name], func(k *kept) bool { return e.Dedup != "" && k.Dedup == e.Dedup }); i >= 0 {
			out = append(out, backlog.Stored{ID: m.queues[name][i].ID, Seq: m.queues[name][i].Seq, Duplicate: true})
			continue
		}
		m.seq++
		if e.Dedup != "" {
			m.seen[name+" "+e.Dedup] = time.Now()
		}
		k := &kept{Message: backlog.Message{ID: e.ID, Dedup: e.Dedup, Meta: e.Meta, Body: slices.Clone(e.Body), Seq: m.seq, Sent: e.Sent}}
		if e.Sent.IsZero() {
			k.Sent = time.Now()
		}
		k.due = time.Now().Add(e.Delay)
		k.disk = k.due
		m.queues[name] = append(m.queues[name], k)
		out = append(out, backlog.Stored{ID: e.ID, Seq: m.seq})
	}
	m.wake()
	return out, nil
}

// Seen is as backlog.Store has it.
func (m *Memory) Seen(name, dedup string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.seen[name+" "+dedup]
	return ok && time.Since(t) < 5*time.Minute
}

// Queues is as backlog.Store has it.
func (m *Memory) Queues(prefix string) (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range maps.Keys(m.queues) {
		if strings.HasPrefix(name, prefix) && len(m.queues[name]) > 0 {
			list = append(list, name)
		}
	}
	return list
}

// Counts is as backlog.Store has it.
func (m *Memory) Counts(name string) (c backlog.Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.queues[name] {
		switch {
		case !k.due.After(time.Now()):
			c.Ready++
		case k.Takes > 0:
			c.InFlight++
		default:
			c.Delayed++
		}
	}
	return c
}

// Drop is as backlog.Store has it.
func (m *Memory) Drop(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.queues, name)
	return nil
}

// Take is as backlog.Store has it.
func (m *Memory) Take(ctx context.Context, name string, t backlog.Take) (list []backlog.Message, err error) {
	timer := time.NewTimer(t.Wait)
	defer timer.Stop()
	for {
		m.mu.Lock()
		now := time.Now()
		next := 24 * time.Hour
		for _, k := range m.queues[name] {
			if k.due.After(now) {
				next = min(next, k.due.Sub(now))
			} else if len(list) < t.Limit {
				k.due = now.Add(t.Hidden)
				k.Takes++
				if !t.Volatile {
					k.disk, k.leftTakes = k.due, k.Takes
				}
				k.Receipt = backlog.Receipt{Seq: k.Seq, Take: k.Takes}
				list = append(list, k.Message)
			}
		}
		put := m.put
		m.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		due := time.NewTimer(next)
		select {
		case <-put:
		case <-due.C:
		case <-timer.C:
			due.Stop()
			return nil, nil
		case <-ctx.Done():
			due.Stop()
			return nil, nil
		}
		due.Stop()
	}
}

// held finds the message of a receipt. mu is held.
func (m *Memory) held(name string, r backlog.Receipt) int {
	return slices.IndexFunc(m.queues[name], func(k *kept) bool { return k.Seq == r.Seq && k.Takes == r.Take })
}

var errBroken = hansom.Errorf(hansom.Unavailable, "store", "the message log does not answer")

// Release is as backlog.Store has it.
func (m *Memory) Release(_ context.Context, name string, r backlog.Receipt, hidden time.Duration, note *string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.held(name, r)
	if i < 0 {
		return false, nil
	}
	k := m.queues[name][i]
	k.due = time.Now().Add(hidden)
	if note != nil {
		k.Note = *note
	}
	m.wake()
	if m.Broken > 0 {
		m.Broken--
		return true, errBroken
	}
	k.disk, k.leftNote, k.leftTakes = k.due, k.Note, k.Takes
	return true, nil
}

// Delete is as backlog.Store has it.
func (m *Memory) Delete(_ context.Context, name string, r backlog.Receipt) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.held(name, r)
	if i < 0 {
		return false, nil
	}
	if m.Broken > 0 {
		m.Broken--
		m.queues[name][i].due = time.Now()
		m.wake()
		return true, errBroken
	}
	m.queues[name] = slices.Delete(m.queues[name], i, i+1)
	return true, nil
}
