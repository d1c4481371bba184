package db_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// seen is what a mirror was asked to read: "all", or keys.
type seen struct {
	sync.Mutex
	list []string
	err  error // of what is read
}

func (s *seen) note(what ...string) error {
	s.Lock()
	defer s.Unlock()
	s.list = append(s.list, what...)
	return s.err
}

func (s *seen) take() []string {
	s.Lock()
	defer s.Unlock()
	list := s.list
	s.list = nil
	return list
}

// fail makes reads fail, or not, from now on, and forgets those before.
func (s *seen) fail(err error) {
	s.Lock()
	defer s.Unlock()
	s.list, s.err = nil, err
}

func (s *seen) mirror(t *testing.T, d *db.DB) {
	t.Helper()
	all := func(context.Context) error { return s.note("all") }
	some := func(_ context.Context, c db.Change) error { return s.note(c.Keys...) }
	if _, err := d.Mirror(t.Context(), "mine", all, some, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, d *db.DB, domain, key string) {
	t.Helper()
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		tx.Changed(domain, key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMirror(t *testing.T) {
	url := dbtest.SQLite(t)
	here, there := dbtest.Open(t, url), dbtest.Open(t, url)
	var s seen
	expect := func(what string, want ...string) {
		t.Helper()
		if got := s.take(); !slices.Equal(got, want) {
			t.Errorf("%s: it read %q, want %q", what, got, want)
		}
	}
	change(t, here, "mine", "before")
	s.mirror(t, here)
	expect("at the start", "all")
	change(t, here, "mine", "a")
	change(t, here, "other", "b")
	expect("after changes", "a")
	change(t, there, "other", "c") // nobody tells here of it
	change(t, here, "other", "d")
	expect("after a gap", "all")

	s.fail(errors.New("the disk is gone"))
	change(t, here, "mine", "e")
	change(t, here, "mine", "f") // it is stale already
	expect("while it fails", "e", "all")
	again := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			got := s.take()
			if len(got) > 0 && got[0] == "all" {
				return
			}
			if len(got) > 0 || time.Now().After(end) {
				t.Fatalf("it read %q", got)
			}
		}
	}
	again()
	s.fail(nil)
	again()
	change(t, here, "mine", "g")
	expect("and then", "g")
}
