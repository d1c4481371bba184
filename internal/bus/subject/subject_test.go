package subject

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const project = "111111111111"

func open(t *testing.T, listen string) (*Source, *bus.Bus) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Config{Dir: t.TempDir(), Listen: listen}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return New(b, "us-east-1", slog.New(slog.DiscardHandler)), b
}

func arnOf(subject string) string { return hansom.SubjectARN("us-east-1", project, subject) }

func poll(t *testing.T, s *Source, arn, mapping string, limit int, wait time.Duration) (ids, handles []string, list []hansom.Polled) {
	t.Helper()
	list, err := s.Poll(t.Context(), arn, mapping, limit, wait)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		ids, handles = append(ids, m.ID), append(handles, m.Handle)
	}
	return ids, handles, list
}

func TestPoll(t *testing.T) {
	s, b := open(t, "127.0.0.1:0")
	arn := arnOf("orders.*")
	for _, mapping := range []string{"a", "b"} {
		if err := s.Begin(t.Context(), arn, mapping); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := b.Connect(project)
	if err != nil {
		t.Fatal(err)
	}
	if ids, _, _ := poll(t, s, arn, "a", 10, 50*time.Millisecond); ids != nil {
		t.Error(ids)
	}
	first := &nats.Msg{Subject: "orders.new", Data: []byte("\xff1"), Header: nats.Header{"X-Amzn-Trace-Id": {"Root=1;Lineage=2:3"}, "k": {"<v>"}}}
	if err := conn.PublishMsg(first); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := conn.Publish("orders.new", nil); err != nil {
			t.Fatal(err)
		}
	}
	ids, handles, list := poll(t, s, arn, "a", 3, 10*time.Second)
	for len(ids) < 3 { // those that came with the first
		more, h, _ := poll(t, s, arn, "a", 3-len(ids), 10*time.Second)
		ids, handles = append(ids, more...), append(handles, h...)
	}
	if !slices.Equal(ids, []string{"1", "2", "3"}) {
		t.Error(ids)
	}
	var record map[string]any
	if err := json.Unmarshal(list[0].Record, &record); err != nil {
		t.Fatal(err)
	}
	stamp, err := time.Parse(time.RFC3339Nano, fmt.Sprint(record["timestamp"]))
	if err != nil || time.Since(stamp) > time.Minute {
		t.Error(stamp, err)
	}
	delete(record, "timestamp")
	if got, want := fmt.Sprint(record), "map[attributes:map[AWSTraceHeader:Root=1;Lineage=2:3] awsRegion:us-east-1 data:/zE= deliveries:1 eventSource:hansom:nats "+
		"eventSourceARN:"+arn+" headers:map[X-Amzn-Trace-Id:[Root=1;Lineage=2:3] k:[<v>]] sequence:1 stream:"+streamName("orders.*")+" subject:orders.new]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := s.Done(t.Context(), arn, handles[:2]); err != nil {
		t.Error(err)
	}
	if err := s.Show(t.Context(), arn, handles[2:], time.Hour); err != nil {
		t.Error(err)
	}
	if len(s.taken) != 0 {
		t.Error(s.taken)
	}
	seen := map[string]int{}
	for start := time.Now(); len(seen) < 3; {
		for _, m := range func() []hansom.Polled { _, _, l := poll(t, s, arn, "a", 10, 10*time.Second); return l }() {
			seen[m.ID]++
			if m.ID == "3" && (time.Since(start) < minDelay/2 || !strings.Contains(string(m.Record), `"deliveries":2`)) {
				t.Errorf("it came again after %s: %s", time.Since(start), m.Record)
			}
		}
	}
	if seen["3"] != 1 || seen["4"] != 1 || seen["5"] != 1 {
		t.Error(seen)
	}

	// The other mapping has them all, also when a user has deleted its consumer.
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if ids, _, _ := poll(t, s, arn, "b", 10, 10*time.Second); len(ids) != 5 {
		t.Error(ids)
	}
	if err := js.DeleteConsumer(t.Context(), streamName("orders.*"), durable("b")); err != nil {
		t.Fatal(err)
	}
	if err := conn.Publish("orders.new", nil); err != nil {
		t.Fatal(err)
	}
	for ids = nil; !slices.Contains(ids, "6"); {
		list, err := s.Poll(t.Context(), arn, "b", 10, time.Second)
		if err != nil && hansom.KindOf(err) != hansom.Unavailable {
			t.Fatal(err)
		}
		for _, m := range list {
			ids = append(ids, m.ID)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if list, err := s.Poll(ctx, arn, "b", 10, time.Minute); len(list) > 0 || err != nil {
		t.Error(list, err)
	}
	for range 2 {
		if err := s.End(t.Context(), arn, "b"); err != nil {
			t.Error(err)
		}
	}
	if _, err := js.Consumer(t.Context(), streamName("orders.*"), durable("b")); err == nil {
		t.Error("the consumer is still there")
	}
}

// What is worked on is held, and what nobody ends is let go in the end.
func TestExtend(t *testing.T) {
	s, b := open(t, "127.0.0.1:0")
	arn := arnOf("x")
	if err := s.Begin(t.Context(), arn, "a"); err != nil {
		t.Fatal(err)
	}
	conn, err := b.Connect(project)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Publish("x", nil); err != nil {
		t.Fatal(err)
	}
	_, handles, _ := poll(t, s, arn, "a", 1, 10*time.Second)
	heard, err := conn.SubscribeSync("$JS.ACK.>")
	if err != nil {
		t.Fatal(err)
	}
	s.extend()
	if m, err := heard.NextMsg(10 * time.Second); err != nil || m.Subject != handles[0] || string(m.Data) != "+WPI" {
		t.Error(m, err)
	}
	s.now = func() time.Time { return time.Now().Add(Visibility + time.Second) }
	s.extend()
	if len(s.taken) != 0 {
		t.Error(s.taken)
	}
}

func TestErrors(t *testing.T) {
	s, b := open(t, "127.0.0.1:0")
	conn, err := b.Connect(project)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}}); err != nil {
			t.Fatal(err)
		}
	}
	for arn, want := range map[string]string{
		arnOf("*.x"):  "several streams: a, b",
		arnOf("*"):    "",
		arnOf("a.>"):  "",
		arnOf("a..b"): "empty token",
		hansom.SubjectARN("eu-west-1", project, "a"): "region",
		"arn:aws:sqs:us-east-1:111111111111:a":       "Unrecognized",
	} {
		if err := s.Begin(t.Context(), arn, fmt.Sprintf("%x", arn)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", arn, err, want)
		}
	}
	off, _ := open(t, "")
	if _, err := off.Check(arnOf("a")); hansom.KindOf(err) != hansom.NotFound || !strings.Contains(err.Error(), "--nats") {
		t.Error(err)
	}
}
