package event

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/pattern"
)

// A batch is what is there, unless it has a window: then what comes within that, or until it is full.
func TestBatches(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		w.send(jobs, numbers(12)...)
		m := mapping(t, s, jobs, nil)
		synctest.Wait()
		got := w.said()
		slices.Sort(got) // they run beside each other
		same(t, got, "0 0,1,2,3,4,5,6,7,8,9", "0 10,11")
		if _, err := s.Update(t.Context(), project, m.ID, Input{Batch: to(20), Window: to(5)}); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.calls = nil
		w.mu.Unlock()
		time.Sleep(time.Second)
		w.send(jobs, "a")
		time.Sleep(4 * time.Second)
		w.send(jobs, "b")
		time.Sleep(2 * time.Second)
		w.send(jobs, numbers(25)...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		same(t, w.said(), "6 a,b", "7 "+strings.Join(numbers(20), ","), "12 20,21,22,23,24")
		if n := w.left(jobs); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
}

// The payload of a batch has at most 6 MB; what comes beyond is the next.
func TestPayload(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		for range 8 {
			w.send(jobs, strings.Repeat("x", 1<<20))
		}
		mapping(t, s, jobs, nil)
		synctest.Wait()
		var sizes []int
		w.mu.Lock()
		for _, c := range w.calls {
			sizes = append(sizes, len(c.ids))
		}
		w.mu.Unlock()
		if !slices.Equal(sizes, []int{5, 3}) || w.left(jobs) != 0 {
			t.Errorf("batches of %v", sizes)
		}
	})
}

// A window ends while the messages are hidden for as long as the function may take.
func TestWindowEndsBeforeVisibility(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		mapping(t, s, jobs, func(in *Input) { in.Window = to(300) })
		w.send(jobs, "a")
		time.Sleep(time.Minute)
		same(t, w.said(), "27 a")
	})
}

// Workers come with the backlog, five at once and then one after another, and go with it.
func TestGrowth(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		w.visibility = 10 * time.Minute
		w.answer = func(context.Context, []string) (string, error) { time.Sleep(20 * time.Second); return "", nil }
		mapping(t, s, jobs, func(in *Input) { in.Batch = to(1) })
		synctest.Wait()
		if n, _ := w.counts(); n != 1 {
			t.Errorf("%d polls without messages", n)
		}
		w.send(jobs, numbers(40)...)
		synctest.Wait()
		if _, n := w.counts(); n != 5 {
			t.Errorf("%d batches at first", n)
		}
		time.Sleep(1050 * time.Millisecond)
		if _, n := w.counts(); n != 10 {
			t.Errorf("%d batches after a second", n)
		}
		time.Sleep(3 * time.Minute)
		if n, most := w.counts(); n != 1 || most != 40 || w.left(jobs) != 0 {
			t.Errorf("%d polls after %d batches at a time, %d messages left", n, most, w.left(jobs))
		}
	})
}

func TestMaximumConcurrency(t *testing.T) {
	for _, limit := range []string{"mapping", "reserved"} {
		inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
			w.answer = func(context.Context, []string) (string, error) { time.Sleep(2 * time.Second); return "", nil }
			if limit == "reserved" {
				w.reserved = 3
			}
			m := mapping(t, s, jobs, func(in *Input) {
				if in.Batch = to(1); limit == "mapping" {
					in.Concurrency = to(3)
				}
			})
			w.send(jobs, numbers(12)...)
			time.Sleep(7 * time.Second)
			// One after another: a change of the limit holds for those that run.
			if _, most := w.counts(); most != 3 || w.left(jobs) != 3 {
				t.Errorf("%s: %d at a time, %d left", limit, most, w.left(jobs))
			}
			w.send(jobs, numbers(12)...)
			if _, err := s.Update(t.Context(), project, m.ID, Input{Concurrency: to(2)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			w.mu.Lock()
			w.most = 0
			w.mu.Unlock()
			time.Sleep(time.Minute)
			if _, most := w.counts(); most != 2 || w.left(jobs) != 0 {
				t.Errorf("%s: %d at a time, %d left after the update", limit, most, w.left(jobs))
			}
		})
	}
}

// What a function fails on comes again after its visibility timeout.
func TestFailures(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		w.fails = "Unhandled"
		w.answer = func(context.Context, []string) (string, error) { time.Sleep(time.Second); return `{}`, nil }
		mapping(t, s, jobs, func(in *Input) { in.Partial = to(true) })
		w.send(jobs, "a", "b")
		time.Sleep(70 * time.Second)
		same(t, w.said(), "0 a,b", "30 a,b", "60 a,b")
	})
}

// The messages that the function names come again; all of them when the answer cannot be understood (Lambda developer guide,
// "Implementing partial batch responses").
func TestPartialFailures(t *testing.T) {
	for answer, want := range map[string]string{
		``:                           "",
		`null`:                       "",
		`{}`:                         "",
		`{"batchItemFailures":null}`: "",
		`{"batchItemFailures":[]}`:   "",
		`{"batchItemFailures":[{"itemIdentifier":"m2"}]}`:                         "m2",
		`{"batchItemFailures":[{"itemIdentifier":"m3"},{"itemIdentifier":"m1"}]}`: "m1,m3",
		`{"batchItemFailures":[{"itemIdentifier":""}]}`:                           "m1,m2,m3",
		`{"batchItemFailures":[{"itemIdentifier":null}]}`:                         "m1,m2,m3",
		`{"batchItemFailures":[{"identifier":"m1"}]}`:                             "m1,m2,m3",
		`{"batchItemFailures":[{"itemIdentifier":"m1"},{"itemIdentifier":"m9"}]}`: "m1,m2,m3",
		`{"batchItemFailures":"m1"}`:                                              "m1,m2,m3",
		`"ok"`:                                                                    "m1,m2,m3",
		`{"batchItemFailures"`:                                                    "m1,m2,m3",
	} {
		inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
			w.answer = func(context.Context, []string) (string, error) { return answer, nil }
			m := mapping(t, s, jobs, func(in *Input) { in.Partial = to(true) })
			w.send(jobs, "a", "b", "c")
			time.Sleep(20 * time.Second)
			var left []string
			w.mu.Lock()
			for _, x := range w.queues[jobs] {
				left = append(left, x.id)
			}
			w.mu.Unlock()
			if got := strings.Join(left, ","); got != want {
				t.Errorf("%s: %s left, want %s", answer, got, want)
			}
			// Without the setting the answer has no meaning.
			if _, err := s.Update(t.Context(), project, m.ID, Input{Partial: to(false)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if n := w.left(jobs); n != 0 {
				t.Errorf("%s: %d left without partial failures", answer, n)
			}
		})
	}
}

// Whatever a function answers, each message of the batch is either ended or not; what is no JSON fails all.
func FuzzFailures(f *testing.F) {
	for _, answer := range []string{``, `null`, `{}`, `"ok"`, `[]`, `{"batchItemFailures":[{"itemIdentifier":"m2"}]}`, `{"batchItemFailures":[null]}`, `{"batchItemFailures":[{"itemIdentifier":1}]}`} {
		f.Add([]byte(answer))
	}
	messages := []hansom.Polled{{ID: "m1"}, {ID: "m2"}, {ID: "m3"}}
	f.Fuzz(func(t *testing.T, answer []byte) {
		failed := failures(&Mapping{Partial: true}, messages, hansom.NewResult(answer, nil))
		if len(failed) != 3 || len(answer) > 0 && !json.Valid(answer) && slices.Contains(failed, false) {
			t.Errorf("%q: %v", answer, failed)
		}
		if slices.Contains(failures(&Mapping{}, messages, hansom.NewResult(answer, nil)), true) {
			t.Errorf("%q: failures without the setting", answer)
		}
	})
}

// Groups are served beside each other, each in its order, also after a failure.
func TestOrder(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		var tries atomic.Int32
		w.answer = func(_ context.Context, ids []string) (string, error) {
			time.Sleep(time.Second)
			if tries.Add(1) > 1 {
				return "", nil
			}
			return `{"batchItemFailures":[{"itemIdentifier":"m2"}]}`, nil
		}
		mapping(t, s, ordered, func(in *Input) { in.Partial = to(true) })
		w.send(ordered, "a:1", "a:2", "b:1", "a:3", "b:2")
		time.Sleep(10 * time.Second)
		w.send(ordered, "a:4", "b:3")
		time.Sleep(50 * time.Second)
		same(t, w.said(), "0 a:1,a:2,b:1,a:3,b:2", "10 b:3", "30 a:2,a:3,a:4")
		if n := w.left(ordered); n != 0 {
			t.Errorf("%d left", n)
		}
	})
}

// A throttled batch is tried again while its messages are hidden, and then shown.
func TestThrottles(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		refuse := 3
		w.answer = func(context.Context, []string) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if refuse--; refuse >= 0 {
				return "", hansom.Errorf(hansom.Throttled, "invoke", "Rate Exceeded.")
			}
			return "", nil
		}
		mapping(t, s, jobs, nil)
		w.send(jobs, "a")
		time.Sleep(29 * time.Second)
		same(t, w.said(), "0 a", "0.1 a", "0.3 a", "0.7 a")
		w.mu.Lock()
		w.calls, refuse, w.from = nil, 1000, time.Now()
		w.mu.Unlock()
		w.send(jobs, "b")
		time.Sleep(29 * time.Second)
		w.mu.Lock()
		takes := w.queues[jobs][0].takes
		w.mu.Unlock()
		same(t, w.said(), "0 b", "0.1 b", "0.3 b", "0.7 b", "1.5 b", "3.1 b", "6.3 b", "12.7 b", "22.7 b")
		if takes != 1 {
			t.Errorf("taken %d times", takes)
		}
		time.Sleep(2 * time.Second)
		if got := w.said(); len(got) < 10 || got[9] != "30 b" {
			t.Errorf("%q", got)
		}
	})
}

// Messages of a function that has called itself too often are not given to it again; the others of their batch are.
func TestLoops(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		mapping(t, s, jobs, nil)
		w.send(jobs, "a", "loop", `b "AWSTraceHeader":"Root=1;Lineage=1:16"`, "loop 2")
		time.Sleep(time.Minute)
		same(t, w.said(), `0 a,b "AWSTraceHeader":"Root=1;Lineage=1:16"`)
		w.mu.Lock()
		defer w.mu.Unlock()
		if c := w.queues[jobs]; len(c) != 2 || c[0].takes < 2 {
			t.Errorf("%d left", len(c))
		}
	})
}

func TestFilters(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		mapping(t, s, jobs, func(in *Input) {
			in.Filters = []string{`{"body":{"state":["new"]}}`, `{"body":[{"prefix":"urgent"},{"prefix":"{"}]}`}
		})
		w.send(jobs, `{"state":"new"}`, `{"state":"old"}`, `urgent!`, `other`, ` {"state": "new", "n": [1]}`, `{"state":`, `[{"state":"new"}]`)
		synctest.Wait()
		same(t, w.said(), `0 {"state":"new"},urgent!, {"state": "new", "n": [1]},{"state":`)
		if n := w.left(jobs); n != 0 {
			t.Errorf("%d messages left that no filter lets through", n)
		}
		w.mu.Lock()
		w.fails = "Unhandled"
		w.mu.Unlock()
		w.send(jobs, `urgent?`)
		synctest.Wait()
		if c := s.Counts(); len(c) != 1 || c[0].Polled != 8 || c[0].Filtered != 3 || c[0].Done != 4 || c[0].Failed != 1 || c[0].Function != "f" {
			t.Errorf("%+v", c)
		}
	})
}

// The data of a message of NATS is matched as the body of a queue's is.
func TestDataFilters(t *testing.T) {
	for _, c := range []struct {
		filter, data string
		passes       bool
	}{
		{`{"data":{"state":["new"]}}`, `{"state":"new"}`, true},
		{`{"data":{"state":["new"]}}`, `{"state":"old"}`, false},
		{`{"data":{"state":["new"]}}`, `new`, false},
		{`{"data":["new"]}`, `new`, true},
		{`{"data":["bmV3"]}`, `new`, false},
		{`{"data":[{"prefix":"{"}]}`, `{"state":"new"}`, false},
		{`{"data":[{"prefix":"{"}]}`, `{"state":`, true},
		{`{"data":[""]}`, ``, true},
		{`{"subject":[{"prefix":"orders."}],"data":{"n":[1]}}`, `{"n":1}`, true},
		{`{"subject":["orders"]}`, `{"n":1}`, false},
	} {
		p, err := pattern.Parse(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		record, err := json.Marshal(map[string]any{"subject": "orders.new", "data": []byte(c.data)})
		if err != nil {
			t.Fatal(err)
		}
		if got := passes([]*pattern.Pattern{p}, record); got != c.passes {
			t.Errorf("%s of %s: %v", c.filter, c.data, got)
		}
	}
}

// What is gone is a problem of the mapping, which goes on when it is there again.
func TestProblems(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		m := mapping(t, s, jobs, nil)
		synctest.Wait()
		for _, c := range []struct{ missing, problem string }{
			{"f", "Enabled PROBLEM: Function not found: arn:aws:lambda:us-east-1:000000000000:function:f"},
			{jobs, "Enabled PROBLEM: The queue does not exist: " + jobs},
		} {
			set := func(missing bool) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.missing[c.missing] = missing
				w.tell()
			}
			set(true)
			time.Sleep(25 * time.Second)
			same(t, []string{state(t, s, m.ID)}, c.problem)
			w.send(jobs, "a")
			time.Sleep(10 * time.Minute)
			set(false)
			time.Sleep(time.Minute)
			if got := state(t, s, m.ID); got != "Enabled " || w.left(jobs) != 0 || len(w.said()) == 0 {
				t.Errorf("%q, %d left", got, w.left(jobs))
			}
		}
		w.mu.Lock()
		w.reserved = 0
		w.mu.Unlock()
		time.Sleep(25 * time.Second)
		if got := state(t, s, m.ID); !strings.HasPrefix(got, "Enabled PROBLEM: The reserved concurrency") {
			t.Error(got)
		}
	})
}

// A change of the function or the queue is looked at at once.
func TestProblemsAtOnce(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, _ func()) {
		m := mapping(t, s, jobs, nil)
		synctest.Wait()
		for _, c := range []struct{ domain, name, missing string }{{"function", "f", "f"}, {"queue", "jobs", jobs}} {
			for _, missing := range []bool{true, false} {
				w.mu.Lock()
				w.missing[c.missing] = missing
				w.mu.Unlock()
				if err := s.db.Write(t.Context(), func(tx *db.Tx) error { tx.Changed(c.domain, project+"/"+c.name); return nil }); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := state(t, s, m.ID); strings.Contains(got, "PROBLEM") != missing {
					t.Errorf("%s is missing: %v, but %q", c.name, missing, got)
				}
			}
		}
		if time.Since(w.from) != 0 {
			t.Errorf("it took %v", time.Since(w.from))
		}
	})
}

// Batches under way end; nothing more is taken.
func TestStop(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, stop func()) {
		w.answer = func(ctx context.Context, _ []string) (string, error) {
			time.Sleep(2 * time.Second)
			return "", ctx.Err()
		}
		m := mapping(t, s, jobs, func(in *Input) { in.Batch = to(1) })
		w.send(jobs, "a")
		synctest.Wait()
		if _, err := s.Update(t.Context(), project, m.ID, Input{Enabled: to(false)}); err != nil {
			t.Fatal(err)
		}
		w.send(jobs, "b")
		synctest.Wait()
		same(t, []string{state(t, s, m.ID)}, "Disabling ")
		time.Sleep(time.Minute)
		same(t, append(w.said(), state(t, s, m.ID)), "0 a", "Disabled ")
		if _, err := s.Update(t.Context(), project, m.ID, Input{Enabled: to(true)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := s.Delete(t.Context(), project, m.ID); err != nil {
			t.Fatal(err)
		}
		w.send(jobs, "c")
		synctest.Wait()
		same(t, []string{state(t, s, m.ID)}, "Deleting ")
		time.Sleep(time.Minute)
		same(t, append(w.said(), state(t, s, m.ID)), "0 a", "60 b", "The resource you requested does not exist.")
		mapping(t, s, jobs, nil)
		synctest.Wait()
		stop()
		if got := w.said(); len(got) != 3 || w.left(jobs) != 0 || time.Since(w.from) != 122*time.Second {
			t.Errorf("%q, %d left, ended after %v", got, w.left(jobs), time.Since(w.from))
		}
		w.send(jobs, "d")
		time.Sleep(time.Minute)
		if w.left(jobs) != 1 {
			t.Error("a message was taken after the end")
		}
	})
}

// A batch that is throttled when the server stops is left, and counts as not taken.
func TestStopWhileThrottled(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, s *Service, stop func()) {
		w.answer = func(context.Context, []string) (string, error) {
			return "", hansom.Errorf(hansom.Unavailable, "invoke", "shutting down")
		}
		mapping(t, s, jobs, nil)
		w.send(jobs, "a")
		time.Sleep(time.Second)
		stop()
		if w.left(jobs) != 1 {
			t.Error("the message is gone")
		}
	})
}
