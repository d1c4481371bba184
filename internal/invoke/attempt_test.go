package invoke

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/lanes/lanestest"
)

const (
	goodARN     = "arn:aws:lambda:us-east-1:000000000000:function:good"
	badARN      = "arn:aws:sqs:us-east-1:000000000000:bad"
	functionARN = "arn:aws:lambda:us-east-1:000000000000:function:f:"
	deadARN     = "arn:aws:sqs:us-east-1:000000000000:dead"
)

// answers gives results by the payload of an event.
func answers(i *hansom.Invocation) (hansom.Result, error) {
	switch string(i.Payload) {
	case `"throttled"`:
		return hansom.Result{}, hansom.Errorf(hansom.Throttled, "run", "Rate Exceeded.")
	case `"failing"`:
		r := hansom.NewResult([]byte(`{"errorMessage":"no <luck>","errorType":"Error"}`), nil)
		r.FunctionError, r.Version = "Unhandled", "7"
		return r, nil
	case `"odd"`:
		r := hansom.NewResult([]byte(`not JSON`), nil)
		r.Version = "7"
		return r, nil
	}
	r := hansom.NewResult(bytes.Clone(i.Payload), nil)
	r.Version = "7"
	return r, nil
}

// summary is a delivery in one line, without the timestamp, which must be now.
func summary(t *testing.T, d hansom.Delivery) string {
	t.Helper()
	var r map[string]any
	if err := json.Unmarshal(d.Payload, &r); err == nil && r["version"] == "1.0" {
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(r["timestamp"])); err != nil {
			t.Error(err)
		}
		delete(r, "timestamp")
		text, _ := encode(r)
		return d.ARN + " " + string(text)
	}
	text, _ := json.Marshal(d.Attributes)
	return d.ARN + " " + string(d.Payload) + " " + string(text)
}

// What becomes of an event is told in Lambda's words, and dead letters are the event itself.
func TestDestinations(t *testing.T) {
	both := func(change func(*hansom.AsyncConfig)) hansom.AsyncConfig {
		c := hansom.DefaultAsyncConfig()
		c.OnSuccess, c.OnFailure = goodARN, badARN
		if change != nil {
			change(&c)
		}
		return c
	}
	arn := `"functionArn":"` + functionARN
	for name, c := range map[string]struct {
		payload, qualifier string
		config             hansom.AsyncConfig
		dead               string
		reserved           map[string]int
		after              time.Duration
		want               []string
	}{
		"success": {payload: `{"a":1}`, config: both(nil), want: []string{goodARN + ` {"requestContext":{"approximateInvokeCount":1,"condition":"Success",` + arn +
			`$LATEST","requestId":"id"},"requestPayload":{"a":1},"responseContext":{"executedVersion":"7","statusCode":200},"responsePayload":{"a":1},"version":"1.0"}`}},
		"no JSON": {payload: `"odd"`, qualifier: "live", config: both(nil), want: []string{goodARN + ` {"requestContext":{"approximateInvokeCount":1,"condition":"Success",` + arn +
			`live","requestId":"id"},"requestPayload":"odd","responseContext":{"executedVersion":"7","statusCode":200},"responsePayload":"not JSON","version":"1.0"}`}},
		"failure": {payload: `"failing"`, config: both(nil), dead: deadARN, after: 3 * time.Minute, want: []string{
			badARN + ` {"requestContext":{"approximateInvokeCount":3,"condition":"RetriesExhausted",` + arn +
				`$LATEST","requestId":"id"},"requestPayload":"failing","responseContext":{"executedVersion":"7","functionError":"Unhandled","statusCode":200},"responsePayload":{"errorMessage":"no <luck>","errorType":"Error"},"version":"1.0"}`,
			deadARN + ` "failing" {"ErrorCode":{"Type":"Number","Value":"200"},"ErrorMessage":{"Type":"String","Value":"no \u003cluck\u003e"},"RequestID":{"Type":"String","Value":"id"}}`}},
		"no retries": {payload: `"failing"`, config: both(func(c *hansom.AsyncConfig) { c.Retries, c.OnFailure = 0, "" }), dead: deadARN, want: []string{
			deadARN + ` "failing" {"ErrorCode":{"Type":"Number","Value":"200"},"ErrorMessage":{"Type":"String","Value":"no \u003cluck\u003e"},"RequestID":{"Type":"String","Value":"id"}}`}},
		"too old for the next": {payload: `"failing"`, config: both(func(c *hansom.AsyncConfig) { c.MaxAge = 90 * time.Second }), after: time.Minute, want: []string{
			badARN + ` {"requestContext":{"approximateInvokeCount":2,"condition":"EventAgeExceeded",` + arn +
				`$LATEST","requestId":"id"},"requestPayload":"failing","responseContext":{"executedVersion":"7","functionError":"Unhandled","statusCode":200},"responsePayload":{"errorMessage":"no <luck>","errorType":"Error"},"version":"1.0"}`}},
		"never run": {payload: `"throttled"`, config: both(func(c *hansom.AsyncConfig) { c.MaxAge = time.Minute }), dead: deadARN, after: 32 * time.Second, want: []string{
			badARN + ` {"requestContext":{"approximateInvokeCount":0,"condition":"EventAgeExceeded",` + arn + `$LATEST","requestId":"id"},"requestPayload":"throttled","version":"1.0"}`,
			deadARN + ` "throttled" {"ErrorCode":{"Type":"Number","Value":"429"},"ErrorMessage":{"Type":"String","Value":"Rate Exceeded."},"RequestID":{"Type":"String","Value":"id"}}`}},
		"no concurrency": {payload: `"throttled"`, config: both(nil), dead: deadARN, reserved: map[string]int{"f": 0}, want: []string{
			badARN + ` {"requestContext":{"approximateInvokeCount":0,"condition":"ZeroReservedConcurrency",` + arn + `$LATEST","requestId":"id"},"requestPayload":"throttled","version":"1.0"}`,
			deadARN + ` "throttled" {"ErrorCode":{"Type":"Number","Value":"429"},"ErrorMessage":{"Type":"String","Value":"Rate Exceeded."},"RequestID":{"Type":"String","Value":"id"}}`}},
		"no concurrency, only a dead-letter queue": {payload: `"throttled"`, config: hansom.DefaultAsyncConfig(), dead: deadARN, reserved: map[string]int{"f": 0}, want: []string{
			deadARN + ` "throttled" {"ErrorCode":{"Type":"Number","Value":"429"},"ErrorMessage":{"Type":"String","Value":"Rate Exceeded."},"RequestID":{"Type":"String","Value":"id"}}`}},
		"no concurrency, nobody to tell": {payload: `"throttled"`, config: hansom.AsyncConfig{MaxAge: time.Minute}, reserved: map[string]int{"f": 0}, after: 32 * time.Second},
		"nobody to tell":                 {payload: `"failing"`, config: hansom.DefaultAsyncConfig(), after: 3 * time.Minute},
		"success, nowhere":               {payload: `1`, config: hansom.DefaultAsyncConfig(), dead: deadARN},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, m *lanestest.Memory) {
				w := &world{configs: map[string]hansom.AsyncConfig{"f:" + c.qualifier: c.config}, dead: c.dead, reserved: c.reserved}
				a, stop := running(t, m, w, newAttempts(answers), nil)
				if err := a.Accept(t.Context(), &hansom.Invocation{ID: "id", Project: hansom.DefaultProject, Function: "f", Qualifier: c.qualifier, Payload: []byte(c.payload)}); err != nil {
					t.Fatal(err)
				}
				if c.after > 0 {
					time.Sleep(c.after - time.Second)
					synctest.Wait()
					if n := len(w.arrived); n > 0 || left(t, a) != 1 {
						t.Errorf("%d deliveries before its end, %d left", n, left(t, a))
					}
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				var got []string
				for _, d := range w.arrived {
					if d.Project != hansom.DefaultProject || d.Trace == "" {
						t.Errorf("%+v", d)
					}
					got = append(got, summary(t, d))
					how := map[string]string{goodARN: "Success", badARN: "Failure"}[d.ARN]
					if want := "lambda Lambda Function Invocation Result - " + how + " [" + d.ARN + " " + functionARN + cmp.Or(c.qualifier, "$LATEST") + "]"; d.ARN != deadARN &&
						(d.Event == nil || fmt.Sprint(d.Event.Source, " ", d.Event.DetailType, " ", d.Event.Resources) != want) || d.ARN == deadARN && d.Event != nil {
						t.Errorf("%s: %+v", d.ARN, d.Event)
					}
				}
				if diff := gocmp.Diff(c.want, got); diff != "" || left(t, a) != 0 {
					t.Errorf("%s\n%d left", diff, left(t, a))
				}
				stop()
			})
		})
	}
}

// A record that is larger than an event may be goes without the answer, then without the event.
func TestLargeRecords(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		config := hansom.DefaultAsyncConfig()
		config.OnSuccess = goodARN
		w := &world{configs: map[string]hansom.AsyncConfig{"f:": config}}
		a, stop := running(t, m, w, newAttempts(answers), nil)
		for _, size := range []int{hansom.MaxEventPayload / 3, hansom.MaxEventPayload * 2 / 3, hansom.MaxEventPayload - 2} {
			accept(t, a, "f", "id", `"`+strings.Repeat("x", size)+`"`)
			synctest.Wait()
		}
		var have []string
		for _, d := range w.arrived {
			var r record
			if err := json.Unmarshal(d.Payload, &r); err != nil || len(d.Payload) > hansom.MaxEventPayload || r.ResponseContext == nil {
				t.Error(len(d.Payload), err)
			}
			have = append(have, fmt.Sprint(r.RequestPayload != nil, r.ResponsePayload != nil))
		}
		if !slices.Equal(have, []string{"true true", "true false", "false false"}) {
			t.Error(have)
		}
		stop()
	})
}

// A destination that does not answer gets the record later, the function does not run again, and a crash between forgets nothing.
func TestDestinationIsDown(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		config := hansom.DefaultAsyncConfig()
		config.Retries, config.OnFailure = 0, badARN
		var down atomic.Bool
		down.Store(true)
		w := &world{configs: map[string]hansom.AsyncConfig{"f:": config}, dead: deadARN}
		w.refuse = func(d hansom.Delivery) error {
			if down.Load() && d.ARN == badARN {
				return hansom.Errorf(hansom.Unavailable, "deliver", "the queue does not answer")
			}
			return nil
		}
		i := newAttempts(answers)
		a, stop := running(t, m, w, i, nil)
		accept(t, a, "f", "id", `"failing"`)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(i.list()) != 1 || len(w.arrived) != 1 || w.arrived[0].ARN != deadARN || left(t, a) != 1 {
			t.Fatalf("%q, %+v, %d left", i.list(), w.arrived, left(t, a))
		}
		stop()
		w.configs = nil // what was true when it ended counts
		b, stop := running(t, m.Crashed(), w, i, nil)
		down.Store(false)
		time.Sleep(maxBackOff)
		synctest.Wait()
		if len(i.list()) != 1 || len(w.arrived) != 2 || w.arrived[1].ARN != badARN || !strings.Contains(string(w.arrived[1].Payload), "RetriesExhausted") || left(t, b) != 0 {
			t.Errorf("%q, %+v, %d left", i.list(), w.arrived, left(t, b))
		}
		stop()
	})
}

// A destination that can never take a record is not asked again.
func TestDestinationIsGone(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		config := hansom.DefaultAsyncConfig()
		config.OnSuccess = goodARN
		w := &world{configs: map[string]hansom.AsyncConfig{"f:": config}}
		w.refuse = func(hansom.Delivery) error { return hansom.Errorf(hansom.NotFound, "deliver", "no such function") }
		var log bytes.Buffer
		a, stop := running(t, m, w, newAttempts(answers), &log)
		accept(t, a, "f", "id", `1`)
		synctest.Wait()
		if left(t, a) != 0 {
			t.Error("the event is kept")
		}
		stop()
		if !strings.Contains(log.String(), "could not be delivered") || !strings.Contains(log.String(), "no such function") {
			t.Error(log.String())
		}
	})
}

// A function that invokes itself is stopped after 16 times, unless it may; so is one that does so by way of another.
func TestLoops(t *testing.T) {
	for _, c := range []struct {
		allow   bool
		through string
		runs    int
	}{{false, "f", 16}, {true, "f", 100}, {false, "g", 32}} {
		inTime(t, func(t *testing.T, m *lanestest.Memory) {
			var a *Async
			w := &world{loops: c.allow, dead: deadARN}
			next := map[string]string{"f": c.through, "g": "f"}
			runs := 0
			w.run = func(_ *hansom.Version, i *hansom.Invocation) (hansom.Result, error) {
				if runs++; runs < 100 {
					again := &hansom.Invocation{Project: i.Project, Function: next[i.Function], Payload: i.Payload, Trace: i.Trace}
					if err := a.Accept(t.Context(), again); err != nil {
						t.Error(err)
					}
				}
				return hansom.Result{}, nil
			}
			s := newService(t, w)
			a, stop := running(t, m, w, s, nil)
			accept(t, a, "f", "id", "1")
			synctest.Wait()
			if runs != c.runs || left(t, a) != 0 {
				t.Errorf("%+v: %d runs, %d left", c, runs, left(t, a))
			}
			if c.allow != (len(w.arrived) == 0) || !c.allow && !strings.Contains(w.arrived[0].Attributes["ErrorMessage"].Value, "recursive loop") {
				t.Errorf("%+v: %+v", c, w.arrived)
			}
			stop()
		})
	}
}

// The trace of an event passes the function on to its destination, counted once however often it was tried.
func TestLineage(t *testing.T) {
	f, g := function{"p", "f"}, function{"p", "g"}
	trace, n := descend("Root=1-a;Parent=b;Sampled=0", f)
	if n != 1 || !strings.HasPrefix(trace, "Root=1-a;Parent=b;Sampled=0;Lineage=") {
		t.Fatal(trace, n)
	}
	for want := 1; want < 4; want++ {
		if trace, n = descend(trace, g); n != want {
			t.Errorf("%s: %d, want %d", trace, n, want)
		}
	}
	if _, n = descend(trace, f); n != 2 {
		t.Errorf("%s: %d", trace, n)
	}
	for i := range 100 {
		trace, _ = descend(trace, function{"p", fmt.Sprint(i)})
	}
	if len(trace) > 600 {
		t.Errorf("%d bytes", len(trace))
	}
	for _, odd := range []string{"", ";", "Lineage=", "Lineage=x", "Lineage=1:fc3b4ff1:0;Root=1", "Lineage=,,:;;", "Lineage=" + strings.Repeat("9", 100)} {
		if out, n := descend(odd, f); n != 1 || strings.Count(out, "Lineage=") != 1 {
			t.Errorf("%q: %q %d", odd, out, n)
		}
	}
}

// The events of a function that is deleted go with it, and those of others stay.
func TestRetired(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		w := &world{gone: map[string]bool{}}
		a := newAsync(t, m, w, newAttempts(ok), nil)
		accept(t, a, "f", "1", "1")
		accept(t, a, "g", "2", "1")
		counts := map[string][2]int{}
		a.Each(func(project, function string, waiting, taken int) {
			counts[project+" "+function] = [2]int{waiting, taken}
		})
		if diff := gocmp.Diff(map[string][2]int{hansom.DefaultProject + " f": {1, 0}, hansom.DefaultProject + " g": {1, 0}}, counts); diff != "" {
			t.Error(diff)
		}
		a.Retired(hansom.DefaultProject, "f", "an older revision")
		if left(t, a) != 2 {
			t.Error("an update has dropped events")
		}
		w.gone["f"] = true
		a.Retired(hansom.DefaultProject, "f", "the last revision")
		if left(t, a) != 1 || m.Counts(function{hansom.DefaultProject, "g"}.queue()).Ready != 1 {
			t.Errorf("%d left", left(t, a))
		}
	})
}

// While the backlog cannot store how an attempt went, the event may run again; it is not lost and does not run hot.
func TestBacklogFails(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		m.Broken = 5
		i := newAttempts(ok)
		a, stop := running(t, m, &world{}, i, nil)
		accept(t, a, "f", "id", "1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(i.list()); n < 2 || n > 6 || left(t, a) != 0 {
			t.Errorf("%d runs, %d left", n, left(t, a))
		}
		stop()
	})
}

// Events that an older version has left in the database run, with the attempts that they have had, and are there no more.
func TestMovedEvents(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		if _, err := openTable(ctx, d); err != nil {
			t.Fatal(err)
		}
		payload := []byte("\"\xff\"")
		now := time.Now()
		for n := range 2*moveBatch + 1 {
			due := now.Add(-time.Minute)
			if n == 0 {
				due = now.Add(time.Hour)
			}
			err := d.Write(ctx, func(tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO invoke_events (id, project, name, qualifier, trace, payload, failures, accepted, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
					fmt.Sprintf("id-%02d", n), hansom.DefaultProject, "f", "live", "Root=1", payload, 2, now.Add(time.Duration(n-3600)*time.Second).UnixMicro(), due.UnixMicro())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		m := lanestest.NewMemory()
		all := make(chan struct{})
		seen := 0
		w := &world{}
		i := newAttempts(func(inv *hansom.Invocation) (hansom.Result, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if seen++; inv.Qualifier != "live" || inv.Trace != "Root=1" || !bytes.Equal(inv.Payload, payload) {
				t.Errorf("%+v", inv)
			}
			if seen == 2*moveBatch {
				close(all)
			}
			return hansom.Result{FunctionError: "Unhandled"}, nil // the third time
		})
		a, err := NewAsync(ctx, DefaultConfig(), d, m, w, i, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, a)
		<-all
		stop()
		if list, err := a.old.first(ctx); err != nil || len(list) != 0 || left(t, a) != 1 || m.Counts(function{hansom.DefaultProject, "f"}.queue()).Delayed != 1 {
			t.Errorf("%d in the table, %v; %d left", len(list), err, left(t, a))
		}
	})
}
