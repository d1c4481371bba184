package eventbus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

const project = hansom.DefaultProject

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// dispatcher keeps what it is given, and refuses what is for ARNs that fail.
type dispatcher struct {
	mu   sync.Mutex
	got  []hansom.Dispatch
	fail map[string]error
}

func (d *dispatcher) Dispatch(_ context.Context, x hansom.Dispatch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fail[x.ARN]; err != nil {
		return err
	}
	d.got = append(d.got, x)
	return nil
}

// take returns what has come since the last time, ordered by lanes.
func (d *dispatcher) take() []hansom.Dispatch {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.got
	d.got = nil
	slices.SortStableFunc(list, func(a, b hansom.Dispatch) int { return cmp.Compare(a.Lane, b.Lane) })
	return list
}

// lanes of dispatches, without "rule/000000000000/".
func lanes(list []hansom.Dispatch) string {
	var out []string
	for _, d := range list {
		out = append(out, strings.TrimPrefix(d.Lane, "rule/"+project+"/"))
	}
	return strings.Join(out, " ")
}

// open makes a service on a database. Its ids are event-1, event-2 and so on.
func open(t testing.TB, database *db.DB, change func(*Config)) (*Service, *dispatcher) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Now = func() time.Time { return now }
	if change != nil {
		change(&cfg)
	}
	d := &dispatcher{fail: map[string]error{}}
	s, err := New(t.Context(), cfg, database, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	s.newID = func() string { n++; return "event-" + string(rune('0'+n)) }
	return s, d
}

func sqlite(t *testing.T) (*Service, *dispatcher) {
	t.Helper()
	return open(t, dbtest.Open(t, dbtest.SQLite(t)), nil)
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const (
	queue    = "arn:aws:sqs:us-east-1:000000000000:q"
	fifo     = "arn:aws:sqs:us-east-1:000000000000:q.fifo"
	function = "arn:aws:lambda:us-east-1:000000000000:function:f"
	otherBus = "arn:aws:events:us-east-1:000000000000:event-bus/other"
	endpoint = "arn:aws:events:us-east-1:000000000000:api-destination/d/0000"
)

// rule makes a rule with targets, which are ARNs or whole targets.
func rule(t testing.TB, s *Service, bus, name, pattern string, targets ...any) {
	t.Helper()
	_, err := s.PutRule(t.Context(), project, RuleInput{Bus: bus, Name: name, Pattern: pattern})
	var list []Target
	for i, x := range targets {
		switch x := x.(type) {
		case string:
			list = append(list, Target{ID: string(rune('a' + i)), ARN: x})
		case Target:
			list = append(list, x)
		}
	}
	if err == nil && len(list) > 0 {
		err = s.PutTargets(t.Context(), project, bus, name, list)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless err has a code and its message has a text.
func refused(t testing.TB, what string, err error, code, text string) {
	t.Helper()
	var e *hansom.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("%s: %v, want %s %q", what, err, code, text)
	}
}

func entry(source, detailType, detail string) Entry {
	return Entry{Source: source, DetailType: detailType, Detail: []byte(detail)}
}

// equalJSON compares what two texts say.
func equalJSON(t testing.TB, what, got, want string) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(got), &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Errorf("%s: %v in %s", what, err, got)
		return
	}
	if x, y := encode(a), encode(b); x != y {
		t.Errorf("%s: %s\nwant %s", what, x, y)
	}
}
