package invoke

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/bus"
)

var _ Backlog = (*backlog.Store)(nil)

// memory is a Backlog for tests with a clock of their own, in which NATS cannot run.
type memory struct {
	mu     sync.Mutex
	seq    uint64
	queues map[string][]*kept
	put    chan struct{} // closed when something was put or shown
	full   error         // refuses what is put
	broken int           // so many calls of Release and Delete fail
}

// kept is a message; disk is what a crash leaves of it.
type kept struct {
	backlog.Message
	due, disk time.Time
	leftNote  string
	leftTakes int
}

func newMemory() *memory { return &memory{queues: map[string][]*kept{}, put: make(chan struct{})} }

// crashed is what a process finds that follows one which was killed.
func (m *memory) crashed() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := newMemory()
	next.seq = m.seq
	for name, list := range m.queues {
		for _, k := range list {
			c := *k
			c.due, c.Note, c.Takes = k.disk, k.leftNote, k.leftTakes
			next.queues[name] = append(next.queues[name], &c)
		}
	}
	return next
}

func (m *memory) wake() { close(m.put); m.put = make(chan struct{}) }

func (m *memory) Put(_ context.Context, name string, entries ...backlog.Entry) ([]backlog.Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full != nil {
		return nil, m.full
	}
	var out []backlog.Stored
	for _, e := range entries {
		if i := slices.IndexFunc(m.queues[name], func(k *kept) bool { return e.Dedup != "" && k.Dedup == e.Dedup }); i >= 0 {
			out = append(out, backlog.Stored{ID: m.queues[name][i].ID, Seq: m.queues[name][i].Seq, Duplicate: true})
			continue
		}
		m.seq++
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

func (m *memory) Queues(prefix string) (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range maps.Keys(m.queues) {
		if strings.HasPrefix(name, prefix) && len(m.queues[name]) > 0 {
			list = append(list, name)
		}
	}
	return list
}

func (m *memory) Counts(name string) (c backlog.Counts) {
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

func (m *memory) Drop(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.queues, name)
	return nil
}

func (m *memory) Take(ctx context.Context, name string, t backlog.Take) (list []backlog.Message, err error) {
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
func (m *memory) held(name string, r backlog.Receipt) int {
	return slices.IndexFunc(m.queues[name], func(k *kept) bool { return k.Seq == r.Seq && k.Takes == r.Take })
}

var errBroken = hansom.Errorf(hansom.Unavailable, "store", "the message log does not answer")

func (m *memory) Release(_ context.Context, name string, r backlog.Receipt, hidden time.Duration, note *string) (bool, error) {
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
	if m.broken > 0 {
		m.broken--
		return true, errBroken
	}
	k.disk, k.leftNote, k.leftTakes = k.due, k.Note, k.Takes
	return true, nil
}

func (m *memory) Delete(_ context.Context, name string, r backlog.Receipt) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.held(name, r)
	if i < 0 {
		return false, nil
	}
	if m.broken > 0 {
		m.broken--
		m.queues[name][i].due = time.Now()
		m.wake()
		return true, errBroken
	}
	m.queues[name] = slices.Delete(m.queues[name], i, i+1)
	return true, nil
}

// What Async relies on holds for the backlog and for what stands for it in tests.
func TestBacklogContract(t *testing.T) {
	open := func(dir string) (Backlog, func()) {
		b, err := bus.Open(t.Context(), bus.Config{Dir: dir}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s, err := backlog.Open(t.Context(), backlog.DefaultConfig(), b, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s, b.Close
	}
	t.Run("backlog", func(t *testing.T) {
		dir := t.TempDir()
		b, stop := open(dir)
		contract(t, b, func() Backlog { stop(); b, stop = open(dir); return b })
		stop()
	})
	t.Run("memory", func(t *testing.T) {
		m := newMemory()
		contract(t, m, func() Backlog { m = m.crashed(); return m })
	})
}

func contract(t *testing.T, b Backlog, crash func() Backlog) {
	ctx, q := t.Context(), function{"p", "f"}.queue()
	sent := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	for _, e := range []backlog.Entry{{ID: "1", Meta: "m", Body: []byte("\"\xff\""), Sent: sent}, {ID: "2", Dedup: "d"}, {ID: "again", Dedup: "d"}, {ID: "late", Delay: time.Hour}} {
		if _, err := b.Put(ctx, q, e); err != nil {
			t.Fatal(err)
		}
	}
	take := func(limit int, wait time.Duration) (list []backlog.Message, ids string) {
		t.Helper()
		list, err := b.Take(ctx, q, backlog.Take{Limit: limit, Hidden: time.Hour, Wait: wait, Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			ids += m.ID + " "
		}
		return list, ids
	}
	list, ids := take(9, 0)
	if ids != "1 2 " || list[0].Meta != "m" || string(list[0].Body) != "\"\xff\"" || !list[0].Sent.Equal(sent) || b.Counts(q) != (backlog.Counts{InFlight: 2, Delayed: 1}) {
		t.Fatalf("%+v %+v", list, b.Counts(q))
	}
	b = crash() // the attempts have not been
	if names := b.Queues(queuePrefix); !slices.Equal(names, []string{q}) {
		t.Error(names)
	}
	list, ids = take(1, 0)
	if ids != "1 " {
		t.Fatal(ids)
	}
	note := "note"
	if ok, err := b.Release(ctx, q, list[0].Receipt, time.Second, &note); !ok || err != nil {
		t.Fatal(ok, err)
	}
	second, ids := take(1, 0)
	if ids != "2 " {
		t.Fatal(ids)
	}
	if ok, err := b.Delete(ctx, q, second[0].Receipt); !ok || err != nil {
		t.Fatal(ok, err)
	}
	b = crash()
	list, ids = take(9, time.Minute) // it waits for what is hidden
	if ids != "1 " || list[0].Note != "note" {
		t.Fatalf("%+v", list)
	}
	if ok, err := b.Delete(ctx, q, backlog.Receipt{Seq: list[0].Receipt.Seq, Take: 99}); ok || err != nil {
		t.Error("deleted by a receipt that is not its", ok, err)
	}
	if ok, err := b.Delete(ctx, q, list[0].Receipt); !ok || err != nil {
		t.Error(ok, err)
	}
	if err := b.Drop(ctx, q); err != nil || b.Counts(q) != (backlog.Counts{}) || len(b.Queues(queuePrefix)) != 0 {
		t.Error(err, b.Counts(q), b.Queues(queuePrefix))
	}
}
