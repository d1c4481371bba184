package event

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/lanes/lanestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	project = hansom.DefaultProject
	jobs    = "arn:aws:sqs:us-east-1:000000000000:jobs"
	ordered = "arn:aws:sqs:us-east-1:000000000000:jobs.fifo"
)

// message of a world's queue.
type message struct {
	id, group, body string
	due             time.Time
	takes           int
}

// call of a world's function.
type call struct {
	at     time.Duration // since the beginning
	ids    []string
	bodies []string
}

// world is all that a Service stands on.
type world struct {
	visibility time.Duration
	timeout    time.Duration
	reserved   int
	missing    map[string]bool // functions and queues that are not there
	answer     func(ctx context.Context, ids []string) (string, error)
	fails      string // FunctionError

	mu       sync.Mutex
	from     time.Time
	queues   map[string][]*message
	changed  chan struct{}
	calls    []call
	running  int
	most     int
	pollers  int
	sequence int
}

func newWorld() *world {
	return &world{visibility: 30 * time.Second, timeout: 3 * time.Second, reserved: -1, missing: map[string]bool{}, from: time.Now(),
		queues: map[string][]*message{}, changed: make(chan struct{})}
}

func (w *world) Resolve(_ context.Context, project, name, qualifier string) (hansom.Target, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.missing[name] || w.missing[name+":"+qualifier] {
		return hansom.Target{}, hansom.Errorf(hansom.NotFound, "resolve", "Function not found: %s", name)
	}
	return hansom.Target{Version: &hansom.Version{Project: project, Function: name, Timeout: w.timeout}, Reserved: w.reserved}, nil
}

func (w *world) gone(arn string) error {
	if w.missing[arn] {
		return hansom.Errorf(hansom.NotFound, "queue", "The specified queue does not exist.")
	}
	return nil
}

func (w *world) Queue(arn string) (bool, time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.HasSuffix(arn, ".fifo"), w.visibility, w.gone(arn)
}

func (w *world) tell() { close(w.changed); w.changed = make(chan struct{}) }

// send puts bodies into a queue; group: body for a FIFO queue.
func (w *world) send(arn string, bodies ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, body := range bodies {
		w.sequence++
		m := &message{id: "m" + strconv.Itoa(w.sequence), body: body}
		if strings.HasSuffix(arn, ".fifo") {
			m.group, _, _ = strings.Cut(body, ":")
		}
		w.queues[arn] = append(w.queues[arn], m)
	}
	w.tell()
}

func (w *world) Send(context.Context, hansom.Delivery) error      { return nil }
func (w *world) Accept(context.Context, *hansom.Invocation) error { return nil }

func (w *world) Begin(context.Context, string, string) error { return nil }

func (w *world) End(context.Context, string, string) error { return nil }

func (w *world) Poll(ctx context.Context, arn, _ string, limit int, wait time.Duration) (list []hansom.Polled, err error) {
	deadline := time.Now().Add(wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pollers++
	defer func() { w.pollers-- }()
	for {
		if err := w.gone(arn); err != nil || ctx.Err() != nil {
			return nil, err
		}
		now, next := time.Now(), deadline
		blocked := map[string]bool{}
		for _, m := range w.queues[arn] {
			if m.due.After(now) {
				blocked[m.group] = m.group != ""
				if m.due.Before(next) {
					next = m.due
				}
				continue
			}
			if blocked[m.group] || len(list) == limit {
				continue
			}
			m.due = now.Add(w.visibility)
			m.takes++
			attributes := map[string]string{}
			if strings.HasPrefix(m.body, "loop") {
				attributes["AWSTraceHeader"] = "Root=1;Lineage=0000abcd:16"
			}
			record, _ := json.Marshal(map[string]any{"messageId": m.id, "body": m.body, "eventSource": "aws:sqs", "attributes": attributes})
			list = append(list, hansom.Polled{ID: m.id, Group: m.group, Record: record, Handle: m.id + "/" + strconv.Itoa(m.takes)})
		}
		if len(list) > 0 || !now.Before(deadline) {
			return list, nil
		}
		changed := w.changed
		w.mu.Unlock()
		timer := time.NewTimer(time.Until(next))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		w.mu.Lock()
	}
}

func (w *world) each(arn string, handles []string, f func(i int, m *message)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.tell()
	for _, h := range handles {
		for i, m := range w.queues[arn] {
			if m.id+"/"+strconv.Itoa(m.takes) == h {
				f(i, m)
				break
			}
		}
	}
	return w.gone(arn)
}

func (w *world) Done(_ context.Context, arn string, handles []string) error {
	return w.each(arn, handles, func(i int, _ *message) { w.queues[arn] = slices.Delete(w.queues[arn], i, i+1) })
}

func (w *world) Show(_ context.Context, arn string, handles []string, after time.Duration) error {
	return w.each(arn, handles, func(_ int, m *message) { m.due = time.Now().Add(after) })
}

func (w *world) Invoke(ctx context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	var event struct {
		Records []struct{ MessageID, Body, EventSource string }
	}
	if err := json.Unmarshal(inv.Payload, &event); err != nil || inv.Source != "queue" || len(event.Records) == 0 {
		return hansom.Result{}, hansom.Errorf(hansom.Internal, "invoke", "%s %v", inv.Payload, err)
	}
	if strings.Contains(inv.Trace, ":16") {
		return hansom.Result{}, hansom.Errorf(hansom.Invalid, "invoke", "loop").WithCode("RecursiveInvocationException")
	}
	c := call{at: time.Since(w.from)}
	for _, r := range event.Records {
		c.ids, c.bodies = append(c.ids, r.MessageID), append(c.bodies, r.Body)
	}
	w.mu.Lock()
	w.calls = append(w.calls, c)
	w.running++
	w.most = max(w.most, w.running)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.running--
		w.mu.Unlock()
	}()
	w.mu.Lock()
	result := hansom.Result{FunctionError: w.fails}
	w.mu.Unlock()
	if w.answer == nil {
		return result, nil
	}
	text, err := w.answer(ctx, c.ids)
	result.Payload = []byte(text)
	return result, err
}

// said lists the calls: "seconds body,body".
func (w *world) said() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		out = append(out, fmt.Sprintf("%g %s", c.at.Seconds(), strings.Join(c.bodies, ",")))
	}
	return out
}

func (w *world) left(arn string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queues[arn])
}

func (w *world) counts() (pollers, most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pollers, w.most
}

func newService(t *testing.T, d *db.DB, w *world) *Service {
	t.Helper()
	s, err := New(t.Context(), DefaultConfig(), d, Deps{w, w, w, w, w, lanestest.NewMemory()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inTime runs f with a running service in a time of its own. stop ends its Run.
func inTime(t *testing.T, f func(t *testing.T, w *world, s *Service, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		d := dbtest.Open(t, "sqlite:"+filepath.Join(t.TempDir(), "hansom.db"))
		w := newWorld()
		s := newService(t, d, w)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		defer stop()
		synctest.Wait()
		f(t, w, s, stop)
	})
}

// mapping makes one of the function f.
func mapping(t *testing.T, s *Service, source string, change func(in *Input)) Mapping {
	t.Helper()
	in := Input{Source: source, Function: "f"}
	if change != nil {
		change(&in)
	}
	m, err := s.Create(t.Context(), project, in)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

func state(t *testing.T, s *Service, id string) string {
	t.Helper()
	m, err := s.Get(project, id)
	if err != nil {
		return err.Error()
	}
	return m.State + " " + m.Problem
}

func to[T any](x T) *T { return &x }
