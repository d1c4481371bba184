package eventbus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestPublish(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		s, d := open(t, database, nil)
		must[*Bus](t)(s.CreateBus(t.Context(), project, "other", BusSettings{}, nil))
		rule(t, s, "", "paid", `{"detail":{"state":["paid"]}}`, queue, function)
		rule(t, s, "", "all", `{"source":["shop"]}`, queue)
		rule(t, s, "", "off", `{"source":["shop"]}`, queue)
		rule(t, s, "other", "all", `{"source":["shop"]}`, queue)
		if err := s.SetState(t.Context(), project, "", "off", Disabled); err != nil {
			t.Fatal(err)
		}
		in := entry("shop", "order <paid>", ` { "state" : "paid", "amount": 1.50 } `)
		in.Resources, in.Time, in.Trace = []string{"arn:x"}, now.Add(-time.Hour+time.Millisecond), "Root=1-2;Lineage=a:1"
		results := must[[]Result](t)(s.Publish(t.Context(), project, []Entry{in, entry("shop", "order", `{"state":"open"}`), entry("else", "order", `{}`)}))
		if want := []Result{{ID: "event-1"}, {ID: "event-2"}, {ID: "event-3"}}; !reflect.DeepEqual(results, want) {
			t.Errorf("results %v", results)
		}
		got := d.take()
		if want := "default/all/a default/all/a default/paid/a default/paid/b"; lanes(got) != want {
			t.Fatalf("dispatched to %s, want %s", lanes(got), want)
		}
		event := `{"version":"0","id":"event-1","detail-type":"order <paid>","source":"shop","account":"000000000000","time":"2026-11-30T11:00:00Z","region":"us-east-1",` +
			`"resources":["arn:x"],"detail":{"state":"paid","amount":1.50}}`
		want := hansom.Dispatch{
			Delivery: hansom.Delivery{Project: project, ARN: function, Payload: []byte(event), Trace: "Root=1-2;Lineage=a:1", Hops: 1},
			Lane:     "rule/000000000000/default/paid/b", ID: "event-1", Retries: 185, MaxAge: 24 * time.Hour,
			About: map[string]hansom.Attribute{"RULE_ARN": {Type: "String", Value: "arn:aws:events:us-east-1:000000000000:rule/paid"}, "TARGET_ARN": {Type: "String", Value: function}},
		}
		if !reflect.DeepEqual(got[3], want) {
			t.Errorf("dispatched %+v\n%s\nwant %+v", got[3], got[3].Payload, want)
		}
		if got[0].Quiet || got[0].ID != "event-1" || got[1].ID != "event-2" || !strings.Contains(string(got[1].Payload), `"resources":[],"detail":{"state":"open"}`) {
			t.Errorf("the events of a target are %s and %s: %s", got[0].ID, got[1].ID, got[1].Payload)
		}
	})
}

func TestEntries(t *testing.T) {
	s, d := sqlite(t)
	rule(t, s, "", "all", `{"account":["000000000000"]}`, queue)
	other := entry("shop", "order", `{}`)
	other.Bus = "none"
	foreign := other
	foreign.Bus = "arn:aws:events:us-east-1:111111111111:event-bus/default"
	platform := entry("aws.s3", "Object Created", `{}`)
	platform.Platform = true
	named := entry("shop", "order", `{}`)
	named.Bus, named.ID = "arn:aws:events:us-east-1:000000000000:event-bus/default", "mine"
	for _, c := range []struct {
		what          string
		in            Entry
		code, message string
		sent          bool
	}{
		{"all of it", entry("shop", "order", `{}`), "", "", true},
		{"an ARN and an id", named, "", "", true},
		{"of the platform", platform, "", "", true},
		{"a bus that is not there", other, "", "", false},
		{"another project's bus", foreign, "AccessDeniedException", "is not an event bus of this account and region", false},
		{"no source", entry("", "order", `{}`), "InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument.", false},
		{"no detail type", entry("shop", "", `{}`), "InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is a required argument.", false},
		{"no detail", entry("shop", "order", ``), "InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument.", false},
		{"an array", entry("shop", "order", `[{}]`), "MalformedDetail", "Detail is malformed.", false},
		{"a string", entry("shop", "order", `"{}"`), "MalformedDetail", "Detail is malformed.", false},
		{"no JSON", entry("shop", "order", `{`), "MalformedDetail", "Detail is malformed.", false},
		{"no UTF-8", entry("shop", "order", "{\"a\":\"\xff\"}"), "MalformedDetail", "Detail is malformed.", false},
		{"space", entry("shop", "order", ` `), "MalformedDetail", "Detail is malformed.", false},
		{"nested as deep as can be", entry("shop", "order", nested(999)), "", "", true},
		{"nested deeper", entry("shop", "order", nested(1000)), "MalformedDetail", "Detail is malformed.", false},
		{"brackets in a text", entry("shop", "order", `{"a\"[":"`+strings.Repeat("[", 2000)+`"}`), "", "", true},
		{"AWS's", entry("aws.s3", "order", `{}`), "NotAuthorizedForSourceException", "Not authorized for the source.", false},
		{"a long detail type", entry("shop", strings.Repeat("ü", 129), `{}`), "InvalidArgument", "128", false},
	} {
		results := must[[]Result](t)(s.Publish(t.Context(), project, []Entry{c.in}))
		if c.code != "" {
			refused(t, c.what, results[0].Err, c.code, c.message)
		}
		if (results[0].Err != nil) != (c.code != "") || (results[0].ID == "") != (c.code != "") {
			t.Errorf("%s: %+v", c.what, results[0])
		}
		if got := d.take(); (len(got) == 1) != c.sent || c.sent && (got[0].ID != results[0].ID || c.in.ID != "" && got[0].ID != c.in.ID) {
			t.Errorf("%s: sent %v", c.what, got)
		}
	}
}

// nested is JSON n levels deep.
func nested(n int) string {
	return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
}

func TestCounts(t *testing.T) {
	s, _ := sqlite(t)
	rule(t, s, "", "all", `{"source":["s"]}`, queue)
	none := entry("s", "t", "{}")
	none.Bus = "none"
	must[[]Result](t)(s.Publish(t.Context(), project, []Entry{entry("s", "t", "{}"), entry("other", "t", "{}"), entry("s", "t", ""), none}))
	if got := s.Counts(); len(got) != 1 || got[0] != (Counts{project, DefaultBus, 2, 1}) {
		t.Errorf("%+v", got)
	}
}

func TestSize(t *testing.T) {
	s, _ := sqlite(t)
	e := entry("12345", "1234", `{"a":"`+strings.Repeat("x", MaxSize-9-14-3-8)+`"}`)
	e.Time, e.Resources = now, []string{"a", "bc"}
	if n := e.Size(); n != MaxSize {
		t.Fatalf("it counts %d bytes", n)
	}
	if r := must[[]Result](t)(s.Publish(t.Context(), project, []Entry{e})); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	_, err := s.Publish(t.Context(), project, []Entry{e, entry("s", "t", "{}")})
	refused(t, "too much", err, "ValidationException", "Total size of the entries in the request is over the limit.")
}

// TestUntaken tells of what a dispatcher or the archives do not take, and only of that.
func TestUntaken(t *testing.T) {
	s, d := sqlite(t)
	rule(t, s, "", "queue", `{"detail":{"to":["queue"]}}`, queue)
	rule(t, s, "", "function", `{"detail":{"to":["function"]}}`, queue, function)
	full := hansom.Errorf(hansom.Unavailable, "put", "the disk is full")
	d.fail[function] = full
	publish := func() []Result {
		return must[[]Result](t)(s.Publish(t.Context(), project, []Entry{entry("s", "t", `{"to":"queue"}`), entry("s", "t", `{"to":"function"}`), entry("s", "t", `{}`)}))
	}
	r := publish()
	if r[0].Err != nil || !errors.Is(r[1].Err, full) || r[1].ID != "" || r[2].Err != nil {
		t.Errorf("results %+v", r)
	}
	delete(d.fail, function)
	s.SetArchiver(archiver(func(_ string, events []Event) error {
		if len(events) != 3 {
			t.Errorf("archived %d events", len(events))
		}
		return full
	}))
	if r := publish(); !errors.Is(r[0].Err, full) || !errors.Is(r[1].Err, full) || !errors.Is(r[2].Err, full) {
		t.Errorf("results %+v", r)
	}
}

type archiver func(bus string, events []Event) error

func (f archiver) Keeps(_, bus string) bool { return bus == DefaultBus }

func (f archiver) Keep(_ context.Context, _, bus string, events []Event) error { return f(bus, events) }

func TestForward(t *testing.T) {
	s, d := open(t, dbtest.Open(t, dbtest.SQLite(t)), func(c *Config) { c.Hops = 2 })
	must[*Bus](t)(s.CreateBus(t.Context(), project, "other", BusSettings{}, nil))
	rule(t, s, "other", "all", `{"source":[{"exists":true}]}`, queue)
	event := `{"version":"0","id":"x","detail-type":"t","source":"s","account":"111111111111","time":"2026-11-30T11:00:00Z","region":"eu-west-1","resources":[],"detail":{"a":1}}`
	forward := func(d hansom.Delivery) error {
		d.Project, d.ARN = project, otherBus
		return s.Forward(t.Context(), d)
	}
	if err := forward(hansom.Delivery{Payload: []byte(event), Hops: 2, Trace: "Root=1"}); err != nil {
		t.Fatal(err)
	}
	if got := d.take(); len(got) != 1 || string(got[0].Payload) != event || got[0].ID != "s/x" || got[0].Hops != 3 || got[0].Trace != "Root=1" {
		t.Errorf("sent %+v", got)
	}
	p := &hansom.EventParameters{Source: "lambda", DetailType: "Lambda Function Invocation Result - Success", Resources: []string{function}}
	if err := forward(hansom.Delivery{Payload: []byte(`{"a": 1}`), Event: p}); err != nil {
		t.Fatal(err)
	}
	got := d.take()
	if len(got) != 1 {
		t.Fatalf("sent %+v", got)
	}
	equalJSON(t, "a detail", string(got[0].Payload), `{"version":"0","id":"event-1","detail-type":"Lambda Function Invocation Result - Success","source":"lambda","account":"000000000000",
		"time":"2026-11-30T12:00:00Z","region":"us-east-1","resources":["`+function+`"],"detail":{"a":1}}`)
	for what, x := range map[string]hansom.Delivery{
		"a circle": {Payload: []byte(event), Hops: 3}, "no event": {Payload: []byte(`{"a":1}`)}, "no object": {Payload: []byte(`[]`)},
		"no detail": {Payload: []byte(`1`), Event: p},
	} {
		if err := forward(x); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Forward(t.Context(), hansom.Delivery{Project: project, ARN: strings.Replace(otherBus, "other", "none", 1), Payload: []byte(event)}); hansom.KindOf(err) != hansom.NotFound {
		t.Error(err)
	}
	d.fail[queue] = hansom.Errorf(hansom.Unavailable, "put", "later")
	if err := forward(hansom.Delivery{Payload: []byte(event)}); hansom.KindOf(err) != hansom.Unavailable {
		t.Error(err)
	}
	if got := d.take(); len(got) != 0 {
		t.Errorf("sent %+v", got)
	}
}

func TestReplay(t *testing.T) {
	s, d := sqlite(t)
	s.SetArchiver(archiver(func(string, []Event) error { t.Error("a replayed event was archived"); return nil }))
	rule(t, s, "", "one", `{"source":["s"]}`, queue)
	rule(t, s, "", "two", `{"replay-name":["again"]}`, queue)
	events := [][]byte{
		[]byte(`{"version":"0","id":"x","source":"s","time":"2026-11-30T11:00:00Z","detail":{}}`), []byte(`{"version":"0","id":"y","source":"s","time":"2026-11-30T11:00:00Z","detail":{}}`),
	}
	if err := s.Replay(t.Context(), project, "", "again", nil, events); err != nil {
		t.Fatal(err)
	}
	got := d.take()
	if lanes(got) != "default/one/a default/one/a default/two/a default/two/a" || got[0].ID != "again/s/x" {
		t.Errorf("sent %s, %s", lanes(got), got[0].ID)
	}
	equalJSON(t, "a replayed event", string(got[1].Payload), `{"replay-name":"again","version":"0","id":"y","source":"s","time":"2026-11-30T11:00:00Z","detail":{}}`)
	if err := s.Replay(t.Context(), project, "default", "again", []string{RuleARN("us-east-1", project, DefaultBus, "two")}, events[:1]); err != nil {
		t.Fatal(err)
	}
	if got := d.take(); lanes(got) != "default/two/a" {
		t.Errorf("with a filter it sent %s", lanes(got))
	}
	d.fail[queue] = hansom.Errorf(hansom.Unavailable, "put", "later")
	if err := s.Replay(t.Context(), project, "", "again", nil, events); hansom.KindOf(err) != hansom.Unavailable {
		t.Error(err)
	}
}

// TestNoWrite holds publishing to memory: it works while the database is closed.
func TestNoWrite(t *testing.T) {
	database, err := db.Open(t.Context(), dbtest.SQLite(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, d := open(t, database, nil)
	rule(t, s, "", "all", `{"source":["s"]}`, queue)
	if err := database.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Publish(t.Context(), project, []Entry{entry("s", "t", `{}`), entry("x", "t", `{}`)}); err != nil || r[0].Err != nil || r[1].Err != nil {
		t.Error(r, err)
	}
	if got := d.take(); len(got) != 1 {
		t.Errorf("sent %v", got)
	}
	if _, err := s.PutRule(t.Context(), project, RuleInput{Name: "r", Pattern: `{"a":[1]}`}); err == nil || errors.Is(err, sql.ErrNoRows) {
		t.Error("the database is open still")
	}
}

// TestTogether publishes while rules change.
func TestTogether(t *testing.T) {
	s, d := sqlite(t)
	s.newID = hansom.NewID
	rule(t, s, "", "stays", `{"source":["s"]}`, queue)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 25 {
				if r, err := s.Publish(t.Context(), project, []Entry{entry("s", "t", `{}`)}); err != nil || r[0].Err != nil {
					t.Error(r, err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				name := fmt.Sprint("r", i)
				rule(t, s, "", name, `{"source":["other"]}`, queue)
				if _, err := s.RemoveTargets(t.Context(), project, "", name, []string{"a"}); err != nil {
					t.Error(err)
				}
				if err := s.DeleteRule(t.Context(), project, "", name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := d.take(); len(got) != 100 {
		t.Errorf("sent %d", len(got))
	}
}

func BenchmarkPublish(b *testing.B) {
	database, err := db.Open(b.Context(), "sqlite:"+b.TempDir()+"/x.db", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer database.Close()
	s, d := open(b, database, nil)
	s.newID = hansom.NewID
	rule(b, s, "", "paid", `{"source":["shop"],"detail":{"state":["paid"]}}`, queue)
	for name, source := range map[string]string{"one target": "shop", "none": "else"} {
		in := []Entry{entry(source, "order", `{"state":"paid","amount":1.5,"items":[{"id":1,"name":"a"},{"id":2,"name":"b"}]}`)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := s.Publish(b.Context(), project, in); err != nil || r[0].Err != nil {
					b.Fatal(r, err)
				}
				d.got = d.got[:0]
			}
		})
	}
}

// TestQuiet has deliveries of the platform's own events fail without an event about it, also on other buses.
func TestQuiet(t *testing.T) {
	s, d := sqlite(t)
	rule(t, s, "", "all", `{"account":["000000000000"]}`, queue)
	own := entry(Source, "Delivery Failed", `{}`)
	own.Platform = true
	must[[]Result](t)(s.Publish(t.Context(), project, []Entry{own, entry("shop", "t", `{}`)}))
	got := d.take()
	if len(got) != 2 || !got[0].Quiet || got[1].Quiet {
		t.Fatalf("%+v", got)
	}
	if err := s.Forward(t.Context(), hansom.Delivery{Project: project, ARN: BusARN("us-east-1", project, DefaultBus), Payload: got[0].Payload}); err != nil {
		t.Fatal(err)
	}
	if got := d.take(); len(got) != 1 || !got[0].Quiet {
		t.Errorf("%+v", got)
	}
}
