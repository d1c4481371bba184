package eventbus

import (
	"context"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestFollow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, _ := open(t, dbtest.Open(t, dbtest.SQLite(t)), nil)
	if _, err := s.PutRule(ctx, project, RuleInput{Name: "paid", Pattern: `{"source":["shop"]}`}); err != nil {
		t.Fatal(err)
	}
	seen, began, ended := make(chan Followed), make(chan struct{}), make(chan error)
	follow := func(text string) {
		go func() {
			ended <- s.Follow(ctx, project, "", text, func() { began <- struct{}{} }, func(f Followed) bool { seen <- f; return true })
		}()
		<-began
	}
	follow(`{"detail-type":["x"]}`)
	publish := func(source, kind string) {
		must[[]Result](t)(s.Publish(t.Context(), project, []Entry{entry(source, kind, `{"n":1}`)}))
	}
	publish("shop", "y") // is not shown
	publish("shop", "x")
	if f := <-seen; !strings.Contains(string(f.Event), `"source":"shop"`) || len(f.Rules) != 1 || f.Rules[0] != "paid" {
		t.Errorf("%s %v", f.Event, f.Rules)
	}
	publish("other", "x")
	if f := <-seen; len(f.Rules) != 0 {
		t.Errorf("%s %v", f.Event, f.Rules)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ctx = t.Context()
	follow("")
	s.StopFollowing()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	refused(t, "a pattern", s.Follow(ctx, project, "", "{", nil, nil), "InvalidEventPatternException", "Event pattern is not valid")
	refused(t, "a bus", s.Follow(ctx, project, "none", "", nil, nil), "ResourceNotFoundException", "Event bus none does not exist")
}
