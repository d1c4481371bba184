package backlog

import (
	"context"
	"testing"
	"time"
)

func TestStanding(t *testing.T) {
	clk := &clock{t: time.Now()}
	s, _ := open(t, t.TempDir(), func(c *Config) { c.Now = clk.now })
	put(t, s, "q", Entry{ID: "a"})
	if st := s.Standing("none", Receipt{1, 1}); st != Gone {
		t.Errorf("no queue: %d", st)
	}
	first := take(t, s, "q", Take{Limit: 1, Hidden: time.Second})[0].Receipt
	if st := s.Standing("q", first); st != Hidden {
		t.Errorf("taken: %d", st)
	}
	clk.forward(time.Second)
	if st := s.Standing("q", first); st != Shown {
		t.Errorf("shown again: %d", st)
	}
	second := take(t, s, "q", Take{Limit: 1, Hidden: time.Second})[0].Receipt
	if st := s.Standing("q", first); st != Stale {
		t.Errorf("taken again: %d", st)
	}
	if ok, err := s.Delete(context.Background(), "q", second); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if st := s.Standing("q", second); st != Gone {
		t.Errorf("deleted: %d", st)
	}
}

// What is too old ends, wherever it is in its queue, and stays away.
func TestExpire(t *testing.T) {
	dir, clk := t.TempDir(), &clock{t: time.Now()}
	s, stop := open(t, dir, func(c *Config) { c.Now = clk.now })
	put(t, s, "q", Entry{ID: "flight"}, Entry{ID: "ready"}, Entry{ID: "group", Group: "g"}, Entry{ID: "late", Delay: time.Hour})
	take(t, s, "q", Take{Limit: 1, Hidden: time.Hour})
	clk.forward(time.Minute)
	put(t, s, "q", Entry{ID: "new"}, Entry{ID: "next", Group: "g"})
	n, err := s.Expire(context.Background(), "q", clk.now())
	if n != 4 || err != nil {
		t.Fatal(n, err)
	}
	counts(t, s, "q", 2, 0, 0)
	stop()
	s, _ = open(t, dir, func(c *Config) { c.Now = clk.now })
	if got := ids(take(t, s, "q", Take{Limit: 9, Hidden: time.Hour})); got != "new next" {
		t.Errorf("left: %s", got)
	}
}
