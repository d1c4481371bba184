package lanes

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/lanes/lanestest"
)

var _ Backlog = (*backlog.Store)(nil)

// What lanes rely on holds for the backlog and for what stands for it in tests.
func TestBacklogContract(t *testing.T) {
	open := func(dir string) (deduplicating, func()) {
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
		contract(t, b, func() deduplicating { stop(); b, stop = open(dir); return b })
		stop()
	})
	t.Run("memory", func(t *testing.T) {
		m := lanestest.NewMemory()
		contract(t, m, func() deduplicating { m = m.Crashed(); return m })
	})
}

// deduplicating is a Backlog that event needs.
type deduplicating interface {
	Backlog
	Seen(queue, dedup string) bool
}

func contract(t *testing.T, b deduplicating, crash func() deduplicating) {
	ctx, q := t.Context(), prefix+"p/f"
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
	if names := b.Queues(prefix); !slices.Equal(names, []string{q}) {
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
	for range 2 {
		if !b.Seen(q, "d") || b.Seen(q, "1") || b.Seen(prefix, "d") {
			t.Error("the deduplication ids are not those that were put")
		}
		b = crash()
	}
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
	if err := b.Drop(ctx, q); err != nil || b.Counts(q) != (backlog.Counts{}) || len(b.Queues(prefix)) != 0 {
		t.Error(err, b.Counts(q), b.Queues(prefix))
	}
}
