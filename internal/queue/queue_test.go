package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// What a queue is outlives a restart, on both engines, and a queue that is made again has nothing of the one before.
func TestDefinitions(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		r := newRig(t, url, nil, nil)
		ctx := t.Context()
		r.create("dead")
		deadARN := ARN("us-east-1", project, "dead")
		r.create("jobs", "VisibilityTimeout", "45", "RedrivePolicy", `{"deadLetterTargetArn":"`+deadARN+`","maxReceiveCount":"7"}`)
		if err := r.Tag(ctx, project, "jobs", map[string]string{"team": "a", "gone": "x"}); err != nil {
			t.Fatal(err)
		}
		if err := r.Untag(ctx, project, "jobs", []string{"gone", "never"}); err != nil {
			t.Fatal(err)
		}
		if err := r.SetAttributes(ctx, project, "jobs", map[string]string{"DelaySeconds": "0", "MaximumMessageSize": "1024"}); err != nil {
			t.Fatal(err)
		}
		r.send("jobs", "left")
		check := func() {
			t.Helper()
			m := attributesOf(t, r.Service, "jobs")
			for name, want := range map[string]string{"VisibilityTimeout": "45", "MaximumMessageSize": "1024", "DelaySeconds": "0", "MessageRetentionPeriod": "345600",
				"RedrivePolicy": `{"deadLetterTargetArn":"` + deadARN + `","maxReceiveCount":7}`, "QueueArn": ARN("us-east-1", project, "jobs"),
				"ApproximateNumberOfMessages": "1", "SqsManagedSseEnabled": "true"} {
				if m[name] != want {
					t.Errorf("%s is %q, want %q", name, m[name], want)
				}
			}
			q, _ := r.Get(project, "jobs")
			if !maps.Equal(q.Tags, map[string]string{"team": "a"}) {
				t.Errorf("tags %v", q.Tags)
			}
			sources, err := r.DeadLetterSources(project, "dead", "")
			if err != nil || len(sources) != 1 || sources[0].Name != "jobs" {
				t.Errorf("sources of dead: %v, %v", sources, err)
			}
		}
		check()
		r.restart()
		check()
		if _, err := r.Get("111111111111", "jobs"); code(err) != "QueueDoesNotExist" {
			t.Errorf("another project sees the queue: %v", err)
		}
		if err := r.Delete(ctx, project, "jobs"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Get(project, "jobs"); code(err) != "QueueDoesNotExist" {
			t.Errorf("a deleted queue: %v", err)
		}
		if err := r.Delete(ctx, project, "jobs"); code(err) != "QueueDoesNotExist" {
			t.Errorf("deleted twice: %v", err)
		}
		r.create("jobs")
		r.expect("jobs", "")
		if m := attributesOf(t, r.Service, "jobs"); m["VisibilityTimeout"] != "30" || m["RedrivePolicy"] != "" {
			t.Errorf("the new queue has attributes of the old one: %v", m)
		}
		var names []string
		for _, q := range r.List(project, "", "dead") {
			names = append(names, q.Name)
		}
		if !slices.Equal(names, []string{"jobs"}) {
			t.Errorf("listed after dead: %v", names)
		}
	})
}

func TestCreateAgain(t *testing.T) {
	r, _ := sqlite(t)
	first := r.create("q", "DelaySeconds", "5")
	for _, attributes := range [][]string{nil, {"DelaySeconds", "5"}, {"VisibilityTimeout", "30"}} {
		if again := r.create("q", attributes...); again.id != first.id {
			t.Errorf("%v made another queue", attributes)
		}
	}
	_, err := r.Create(t.Context(), project, "q", map[string]string{"DelaySeconds": "6"}, nil)
	refused(t, "another delay", err, "QueueNameExists", "A queue already exists with the same name and a different value for attribute DelaySeconds")
}

// The message is what was sent, and a restart changes neither it nor how often it was received.
func TestMessage(t *testing.T) {
	r, clk := sqlite(t)
	r.create("q")
	in := SendInput{Body: "line\nß \"quoted\"", Sender: "AIDA", Group: "tenant-1",
		Attributes: map[string]Attribute{"n": {Type: "Number.int", Text: "12"}, "b": {Type: "Binary", Bytes: []byte{0, 1}}, "s": {Type: "String", Text: "x"}},
		System:     map[string]Attribute{"AWSTraceHeader": {Type: "String", Text: "Root=1-5759e988-bd862e3fe1be46a994272793"}}}
	sent, err := r.SendMessage(t.Context(), project, "q", in)
	if err != nil {
		t.Fatal(err)
	}
	at := clk.now()
	clk.forward(2 * time.Second)
	first := r.receive("q", 1)
	r.restart()
	clk.forward(31 * time.Second)
	list := r.receive("q", 1)
	if len(first) != 1 || len(list) != 1 {
		t.Fatal(len(first), len(list))
	}
	m := list[0]
	if m.ID != sent.ID || m.Body != in.Body || m.BodyDigest() != sent.Body || Digest(m.Attributes) != sent.Attributes || m.Sender != "AIDA" || m.Group != "tenant-1" ||
		m.Takes != 2 || !m.Sent.Equal(at.Truncate(time.Microsecond)) || m.First.Before(at.Add(time.Second)) || m.Trace != in.System["AWSTraceHeader"].Text || m.Sequence != "" {
		t.Errorf("received %+v of %+v", m, sent)
	}
	// Computed by hand after the developer guide's description.
	if got := Digest(map[string]Attribute{"timestamp": {Type: "Number", Text: "1493147359900"}}); got != "235c5c510d26fb653d073faed50ae77c" {
		t.Errorf("digest %s", got)
	}
	if first[0].Handle == m.Handle {
		t.Error("two takings have one handle")
	}
	if err := r.DeleteMessage(t.Context(), project, "q", first[0].Handle); err != nil {
		t.Error(err)
	}
	clk.forward(31 * time.Second)
	if err := r.DeleteMessage(t.Context(), project, "q", r.expect("q", in.Body)[0].Handle); err != nil {
		t.Error(err)
	}
	clk.forward(time.Hour)
	r.expect("q", "")
}

func TestReceiptHandles(t *testing.T) {
	r, _ := sqlite(t)
	r.create("q")
	r.create("other")
	r.send("q", "a")
	h := r.expect("q", "a")[0].Handle
	flipped := []byte(h)
	flipped[3] ^= 1
	for _, bad := range []string{"", "nonsense", string(flipped), h[:len(h)-4], h + "AAAA"} {
		refused(t, "delete "+bad, r.DeleteMessage(t.Context(), project, "q", bad), "ReceiptHandleIsInvalid", "is not a valid receipt handle")
		refused(t, "show "+bad, r.ChangeVisibility(t.Context(), project, "q", bad, 0), "ReceiptHandleIsInvalid", "is not a valid receipt handle")
	}
	refused(t, "another queue's", r.DeleteMessage(t.Context(), project, "other", h), "ReceiptHandleIsInvalid", "")
	r.restart()
	if err := r.DeleteMessage(t.Context(), project, "q", h); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := r.DeleteMessage(t.Context(), project, "q", h); err != nil {
		t.Errorf("again: %v", err)
	}
	refused(t, "show what is gone", r.ChangeVisibility(t.Context(), project, "q", h, 5), "InvalidParameterValueException", "does not exist or is not available")
}

func TestVisibility(t *testing.T) {
	r, clk := sqlite(t)
	r.create("q", "VisibilityTimeout", "10")
	r.send("q", "a")
	m := r.expect("q", "a")[0]
	clk.forward(9 * time.Second)
	r.expect("q", "")
	if err := r.ChangeVisibility(t.Context(), project, "q", m.Handle, 60); err != nil {
		t.Fatal(err)
	}
	clk.forward(59 * time.Second)
	r.expect("q", "")
	refused(t, "too long", r.ChangeVisibility(t.Context(), project, "q", m.Handle, 43200), "InvalidParameterValueException", "Total VisibilityTimeout for the message is beyond the limit")
	if err := r.ChangeVisibility(t.Context(), project, "q", m.Handle, 0); err != nil {
		t.Fatal(err)
	}
	r.expect("q", "a")
	refused(t, "of an old taking", r.ChangeVisibility(t.Context(), project, "q", m.Handle, 0), "InvalidParameterValueException", "not available for visibility timeout change")
	if m := attributesOf(t, r.Service, "q"); m["ApproximateNumberOfMessagesNotVisible"] != "1" {
		t.Errorf("%v", m)
	}
}

func TestDelayAndCounts(t *testing.T) {
	r, clk := sqlite(t)
	r.create("q", "DelaySeconds", "10")
	five, zero := int64(5), int64(0)
	for body, delay := range map[string]*int64{"queue": nil, "own": &five, "none": &zero} {
		if _, err := r.SendMessage(t.Context(), project, "q", SendInput{Body: body, Delay: delay}); err != nil {
			t.Fatal(err)
		}
	}
	m := attributesOf(t, r.Service, "q")
	if m["ApproximateNumberOfMessages"] != "1" || m["ApproximateNumberOfMessagesDelayed"] != "2" {
		t.Errorf("%v", m)
	}
	r.expect("q", "none")
	clk.forward(5 * time.Second)
	r.expect("q", "own")
	clk.forward(5 * time.Second)
	r.expect("q", "queue")
}

// The first of a group that is in flight holds up its group alone, and what was sent twice is there once, also after it was deleted.
func TestFIFO(t *testing.T) {
	r, clk := sqlite(t)
	r.create("q.fifo", "FifoQueue", "true")
	r.send("q.fifo", "a:1", "a:2", "b:1", "a:3", "a:2")
	one := r.receive("q.fifo", 1)
	if bodies(one) != "a:1" {
		t.Fatal(bodies(one))
	}
	r.expect("q.fifo", "b:1")
	r.expect("q.fifo", "")
	if err := r.DeleteMessage(t.Context(), project, "q.fifo", one[0].Handle); err != nil {
		t.Fatal(err)
	}
	two := r.expect("q.fifo", "a:2 a:3")
	if two[0].Sequence >= two[1].Sequence || len(two[0].Sequence) != 20 || two[0].Dedup != "a:2" {
		t.Errorf("%+v", two)
	}
	r.send("q.fifo", "a:1")
	clk.forward(30 * time.Second)
	refused(t, "expired", r.DeleteMessage(t.Context(), project, "q.fifo", two[0].Handle), "InvalidParameterValueException", "The receipt handle has expired.")
	r.expect("q.fifo", "a:2 a:3 b:1")
	clk.forward(5 * time.Minute)
	r.send("q.fifo", "a:1")
	r.expect("q.fifo", "a:2 a:3 a:1 b:1")
}

func TestDeduplication(t *testing.T) {
	r, _ := sqlite(t)
	r.create("q.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
	r.create("scope.fifo", "FifoQueue", "true", "DeduplicationScope", "messageGroup", "FifoThroughputLimit", "perMessageGroupId")
	send := func(name, group, dedup, body string) Sent {
		t.Helper()
		sent, err := r.SendMessage(t.Context(), project, name, SendInput{Body: body, Group: group, Dedup: dedup})
		if err != nil {
			t.Fatal(err)
		}
		return sent
	}
	a, b, c := send("q.fifo", "g", "", "same"), send("q.fifo", "h", "", "same"), send("q.fifo", "g", "other", "same")
	if a.ID != b.ID || a.Sequence != b.Sequence || a.ID == c.ID {
		t.Errorf("content: %v %v %v", a, b, c)
	}
	list := r.expect("q.fifo", "same same")
	if list[0].Dedup != "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5" {
		t.Errorf("the deduplication id of the content is %s", list[0].Dedup)
	}
	a, b, c = send("scope.fifo", "g", "d", "1"), send("scope.fifo", "h", "d", "2"), send("scope.fifo", "g", "d", "3")
	if a.ID == b.ID || a.ID != c.ID {
		t.Errorf("by group: %v %v %v", a, b, c)
	}
	if list := r.expect("scope.fifo", "1 2"); list[0].Dedup != "d" || list[1].Dedup != "d" {
		t.Errorf("%+v", list)
	}
}

func TestReceiveAttempt(t *testing.T) {
	r, clk := sqlite(t)
	r.create("q.fifo", "FifoQueue", "true")
	r.send("q.fifo", "a:1", "a:2", "b:1")
	receive := func(attempt string) []Message {
		t.Helper()
		two := int64(2)
		list, err := r.ReceiveMessages(t.Context(), project, "q.fifo", ReceiveInput{Max: &two, Attempt: attempt})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	first := receive("one")
	clk.forward(20 * time.Second)
	again := receive("one")
	if bodies(first) != "a:1 a:2" || bodies(again) != "a:1 a:2" || again[0].Handle != first[0].Handle {
		t.Fatalf("%s, then %s", bodies(first), bodies(again))
	}
	if other := receive("two"); bodies(other) != "b:1" {
		t.Errorf("another attempt got %s", bodies(other))
	}
	if err := r.DeleteMessage(t.Context(), project, "q.fifo", again[0].Handle); err != nil {
		t.Fatal(err)
	}
	if list := receive("one"); len(list) != 0 {
		t.Errorf("after a deletion: %s", bodies(list))
	}
	clk.forward(6 * time.Minute)
	if list := receive("three"); bodies(list) != "a:2 b:1" || len(r.attempts) != 1 {
		t.Errorf("later: %s, and %d attempts are remembered", bodies(list), len(r.attempts))
	}
}

func TestRetention(t *testing.T) {
	clk := &clock{t: time.Now()}
	r := newRig(t, dbtest.SQLite(t), clk, func(c *Config) { c.Sweep = time.Millisecond })
	r.create("q", "MessageRetentionPeriod", "60")
	r.create("untouched", "MessageRetentionPeriod", "60")
	r.send("untouched", "old")
	r.send("q", "old", "older")
	r.receive("q", 1)
	clk.forward(50 * time.Second)
	r.send("q", "new")
	clk.forward(11 * time.Second)
	r.expect("untouched", "") // before anything was swept
	r.run()
	wait(t, func() bool { return r.backlog.Counts(mustGet(t, r, "q").log).Ready == 1 })
	r.expect("q", "new")
	// What a deleted queue left behind goes too.
	orphan := mustGet(t, r, "q").log
	q := mustGet(t, r, "q")
	if err := r.Delete(t.Context(), project, "q"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Service.send(t.Context(), q, []SendInput{{Body: "late"}}); err != nil {
		t.Fatal(err)
	}
	wait(t, func() bool { return !slices.Contains(r.backlog.Queues(""), orphan) })
}

func mustGet(t *testing.T, r *rig, name string) *Queue {
	t.Helper()
	q, err := r.Get(project, name)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// wait waits for a condition.
func wait(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to pass within a minute")
		}
	}
}

func TestInFlightLimit(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t), nil, func(c *Config) { c.InFlight = 2 })
	r.create("q")
	r.create("q.fifo", "FifoQueue", "true")
	r.send("q", "a", "b", "c")
	r.send("q.fifo", "a:", "b:", "c:")
	r.expect("q", "a b")
	_, err := r.ReceiveMessages(t.Context(), project, "q", ReceiveInput{})
	refused(t, "a third", err, "OverLimit", "in flight")
	r.expect("q.fifo", "a: b:")
	r.expect("q.fifo", "")
}

// A message that comes wakes who waits; the end of the caller and that of the service end the waiting.
func TestLongPoll(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t), nil, nil)
	r.create("q", "ReceiveMessageWaitTimeSeconds", "20")
	r.run()
	got := make(chan string, 3)
	poll := func(ctx context.Context) {
		go func() {
			list, err := r.ReceiveMessages(ctx, project, "q", ReceiveInput{})
			got <- fmt.Sprint(bodies(list), err)
		}()
	}
	next := func(want string) {
		t.Helper()
		select {
		case s := <-got:
			if s != want {
				t.Errorf("the poll ended with %q, want %q", s, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the poll did not end")
		}
	}
	poll(t.Context())
	r.send("q", "hello")
	next("hello<nil>")
	ctx, cancel := context.WithCancel(t.Context())
	poll(ctx)
	cancel()
	next("<nil>")
	poll(t.Context())
	r.stop()
	next("<nil>")
}

func TestPurge(t *testing.T) {
	r, clk := sqlite(t)
	r.create("q")
	r.send("q", "a", "b")
	r.receive("q", 1)
	if err := r.Purge(t.Context(), project, "q"); err != nil {
		t.Fatal(err)
	}
	refused(t, "again", r.Purge(t.Context(), project, "q"), "PurgeQueueInProgress", "Only one PurgeQueue operation on q is allowed every 60 seconds.")
	r.send("q", "c")
	clk.forward(time.Minute)
	r.expect("q", "c")
	if err := r.Purge(t.Context(), project, "q"); err != nil {
		t.Fatal(err)
	}
	clk.forward(time.Minute)
	r.expect("q", "")
}

func TestPermissions(t *testing.T) {
	r, _ := sqlite(t)
	r.create("q", "Policy", `{"Version":"2012-10-17","Statement":{"Sid":"mine","Effect":"Allow","Principal":"*","Action":"sqs:SendMessage","Resource":"x"}}`)
	ctx := t.Context()
	if err := r.AddPermission(ctx, project, "q", "label", []string{"111111111111"}, []string{"SendMessage"}); err != nil {
		t.Fatal(err)
	}
	var d struct {
		Statement []struct {
			Sid    string
			Action any
		}
	}
	if err := json.Unmarshal([]byte(attributesOf(t, r.Service, "q")["Policy"]), &d); err != nil || len(d.Statement) != 2 || d.Statement[1].Sid != "label" ||
		fmt.Sprint(d.Statement[1].Action) != "[SQS:SendMessage]" {
		t.Errorf("%v %+v", err, d)
	}
	refused(t, "again", r.AddPermission(ctx, project, "q", "label", []string{"111111111111"}, []string{"*"}), "InvalidParameterValueException", "Already exists.")
	refused(t, "another", r.RemovePermission(ctx, project, "q", "nope"), "InvalidParameterValueException", "can't find label")
	for _, label := range []string{"label", "mine"} {
		if err := r.RemovePermission(ctx, project, "q", label); err != nil {
			t.Fatal(err)
		}
	}
	if p, ok := attributesOf(t, r.Service, "q")["Policy"]; ok {
		t.Errorf("an empty policy is left: %s", p)
	}
}

func TestRefused(t *testing.T) {
	r, _ := sqlite(t)
	r.create("q", "MaximumMessageSize", "1024")
	r.create("big")
	r.create("q.fifo", "FifoQueue", "true")
	ctx := t.Context()
	for _, c := range []struct {
		what string
		in   SendInput
		name string
		code string
		text string
	}{
		{"empty", SendInput{}, "q", "MissingRequiredParameterException", "The request must contain the parameter MessageBody."},
		{"1 MiB and a byte", SendInput{Body: strings.Repeat("x", MaxSize+1)}, "big", "InvalidParameterValueException", "Message must be shorter than 1048576 bytes."},
		{"attributes count", SendInput{Body: strings.Repeat("x", 1020), Attributes: map[string]Attribute{"a": {Type: "String", Text: "y"}}}, "q", "InvalidParameterValueException", "shorter than 1024"},
		{"control character", SendInput{Body: "a\x01"}, "q", "InvalidMessageContents", "Invalid characters found"},
		{"no group", SendInput{Body: "a", Dedup: "x"}, "q.fifo", "MissingRequiredParameterException", "MessageGroupId"},
		{"no deduplication id", SendInput{Body: "a", Group: "x"}, "q.fifo", "InvalidParameterValueException", "The queue should either have ContentBasedDeduplication"},
		{"deduplication of a standard queue", SendInput{Body: "a", Dedup: "x"}, "q", "InvalidParameterValueException", "not valid for this queue type"},
		{"not a number", SendInput{Body: "a", Attributes: map[string]Attribute{"n": {Type: "Number", Text: "NaN"}}}, "q", "InvalidParameterValueException", "to a number"},
		{"infinity", SendInput{Body: "a", Attributes: map[string]Attribute{"n": {Type: "Number", Text: "-Infinity"}}}, "q", "InvalidParameterValueException", "to a number"},
		{"a number that is none", SendInput{Body: "a", Attributes: map[string]Attribute{"n": {Type: "Number", Text: "x"}}}, "q", "InvalidParameterValueException", "to a number"},
		{"no such queue", SendInput{Body: "a"}, "nope", "QueueDoesNotExist", "The specified queue does not exist."},
	} {
		_, err := r.SendMessage(ctx, project, c.name, c.in)
		refused(t, c.what, err, c.code, c.text)
	}
	if _, err := r.SendMessage(ctx, project, "big", SendInput{Body: strings.Repeat("x", MaxSize)}); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	sent, err := r.SendBatch(ctx, project, "q", []SendInput{{Body: "fine"}, {Body: ""}, {Body: strings.Repeat("x", 1025)}, {Body: "too"}})
	if err != nil || sent[0].Err != nil || code(sent[1].Err) != "MissingRequiredParameterException" || code(sent[2].Err) != "InvalidParameterValueException" || sent[3].Err != nil {
		t.Errorf("batch: %+v, %v", sent, err)
	}
	r.expect("q", "fine too")
	_, err = r.SendBatch(ctx, project, "big", []SendInput{{Body: strings.Repeat("x", MaxSize)}, {Body: "y"}})
	refused(t, "batch", err, "BatchRequestTooLong", "You have sent 1048577 bytes.")
}
