package backlog

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

// A dump that is loaded elsewhere has the messages, their order, delays and counts; an attempt under way is none.
func TestDump(t *testing.T) {
	s, stop := open(t, t.TempDir(), nil)
	put(t, s, "q", Entry{ID: "a", Meta: "meta", Body: []byte("A\x00\n"), Group: "g"}, Entry{ID: "b", Group: "g"}, Entry{ID: "late", Delay: time.Hour})
	put(t, s, "volatile", Entry{ID: "v", Body: []byte("V")})
	put(t, s, "noted", Entry{ID: "n"})
	put(t, s, "gone", Entry{ID: "x", Dedup: "once"})
	large := bytes.Repeat([]byte{0, 1, 0xff}, 1<<20)
	for range loadBatch + 1 {
		put(t, s, "many", Entry{ID: hansom.NewID(), Body: []byte("m")})
	}
	put(t, s, "large", Entry{ID: "l", Body: large})
	take(t, s, "q", Take{Limit: 1, Hidden: time.Hour})
	take(t, s, "volatile", Take{Limit: 1, Hidden: time.Hour, Volatile: true})
	note := "half <done>"
	if ok, err := s.Release(t.Context(), "noted", take(t, s, "noted", Take{Limit: 1, Hidden: time.Hour, Volatile: true})[0].Receipt, 0, &note); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := s.Delete(t.Context(), "gone", take(t, s, "gone", Take{Limit: 1, Hidden: time.Hour})[0].Receipt); !ok || err != nil {
		t.Fatal(ok, err)
	}
	var dump bytes.Buffer
	if err := s.Dump(t.Context(), &dump); err != nil {
		t.Fatal(err)
	}
	stop()

	dir := t.TempDir()
	s, stop = open(t, dir, nil)
	if err := s.Load(t.Context(), bytes.NewReader(dump.Bytes())); err != nil {
		t.Fatal(err)
	}
	stop()
	s, _ = open(t, dir, nil)
	counts(t, s, "q", 1, 1, 1)
	counts(t, s, "volatile", 1, 0, 0)
	counts(t, s, "many", loadBatch+1, 0, 0)
	if list := take(t, s, "q", Take{Limit: 9}); len(list) != 0 {
		t.Errorf("%s while the first of the group is in flight", ids(list))
	}
	q, err := s.Peek(t.Context(), "q", 9)
	if err != nil || ids(q) != "a b late" || q[0].Takes != 1 || q[0].Meta != "meta" || string(q[0].Body) != "A\x00\n" || q[0].Group != "g" {
		t.Errorf("%+v %v", q, err)
	}
	if v := take(t, s, "volatile", Take{Limit: 1}); v[0].Takes != 1 || string(v[0].Body) != "V" {
		t.Errorf("%+v", v)
	}
	if n := take(t, s, "noted", Take{Limit: 1}); n[0].Note != note || n[0].Takes != 2 {
		t.Errorf("%+v", n)
	}
	if l := take(t, s, "large", Take{Limit: 1}); !bytes.Equal(l[0].Body, large) {
		t.Error("the large message is another one")
	}
	if stored := put(t, s, "gone", Entry{ID: "y", Dedup: "once"}); !stored[0].Duplicate || stored[0].ID != "x" {
		t.Errorf("%+v", stored)
	}
	for _, bad := range []string{"{", `{"queue":"q"}`, `{"label":{"i":"x","s":1}}`, `{"queue":"q","seen":1}`} {
		if err := s.Load(t.Context(), strings.NewReader(bad)); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
