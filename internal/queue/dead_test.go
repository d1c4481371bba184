package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func redriveTo(name string, max int) string {
	return encode(redrive{ARN("us-east-1", project, name), max})
}

// A message that is received too often moves to the dead-letter queue as it is.
func TestDeadLetters(t *testing.T) {
	for _, suffix := range []string{"", ".fifo"} {
		t.Run("queue"+suffix, func(t *testing.T) {
			r, clk := sqlite(t)
			var kind []string
			if suffix != "" {
				kind = []string{"FifoQueue", "true"}
			}
			r.create("dead"+suffix, kind...)
			r.create("q"+suffix, append(kind, "RedrivePolicy", redriveTo("dead"+suffix, 2), "VisibilityTimeout", "0")...)
			r.send("q"+suffix, "a:poison", "a:next")
			at := clk.now()
			clk.forward(time.Minute)
			one := r.receive("q"+suffix, 1)[0]
			if again := r.receive("q"+suffix, 1)[0]; again.ID != one.ID || again.Takes != 2 {
				t.Fatalf("%+v", again)
			}
			if next := r.receive("q"+suffix, 1)[0]; next.Body != "a:next" || next.Takes != 1 {
				t.Fatalf("%+v", next)
			}
			r.restart()
			m := r.expect("dead"+suffix, "a:poison")[0]
			if m.ID != one.ID || m.Takes != 3 || m.Source != ARN("us-east-1", project, "q"+suffix) || !m.First.Equal(one.First) || m.Sender != "AIDA" {
				t.Errorf("%+v was %+v", m, one)
			}
			if suffix == "" && !m.Sent.Equal(at.Truncate(time.Microsecond)) {
				t.Errorf("a standard queue's message was sent at %v, not %v", m.Sent, at)
			}
			if suffix != "" && (m.Group != "a" || m.Dedup != "a:poison") {
				t.Errorf("group %q, deduplication id %q", m.Group, m.Dedup)
			}
		})
	}
}

// A crash after the message was put into the dead-letter queue, before it was deleted, leaves it there once.
func TestBuriedOnce(t *testing.T) {
	r, _ := sqlite(t)
	r.create("dead")
	q := r.create("q", "RedrivePolicy", redriveTo("dead", 1), "VisibilityTimeout", "0")
	r.die("q", "poison")
	r.expect("dead", "poison")
	r.send("q", "again")
	r.receive("q", 1)
	taken, err := r.backlog.Take(t.Context(), q.log, backlog.Take{Limit: 1})
	if err != nil || len(taken) != 1 {
		t.Fatal(taken, err)
	}
	e, _, err := unwrap(taken[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	taken[0].Receipt.Take = 99 // it does not delete
	if err := r.bury(t.Context(), q, mustGet(t, r, "dead"), &taken[0], e); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.expect("q", "")
	r.expect("dead", "again")
	if m := attributesOf(t, r.Service, "q"); m["ApproximateNumberOfMessages"] != "0" {
		t.Errorf("%v", m)
	}
}

// A dead-letter queue that is gone leaves the messages where they are.
func TestNoDeadLetterQueue(t *testing.T) {
	r, _ := sqlite(t)
	r.create("dead")
	r.create("q", "RedrivePolicy", redriveTo("dead", 1), "VisibilityTimeout", "0")
	if err := r.Delete(t.Context(), project, "dead"); err != nil {
		t.Fatal(err)
	}
	r.send("q", "a")
	for n := 1; n < 4; n++ {
		if m := r.receive("q", 1); len(m) != 1 || m[0].Takes != n {
			t.Fatalf("%d: %+v", n, m)
		}
	}
}

func TestRedriveRules(t *testing.T) {
	r, _ := sqlite(t)
	r.create("dead")
	r.create("dead.fifo", "FifoQueue", "true")
	r.create("closed", "RedriveAllowPolicy", `{"redrivePermission":"denyAll"}`)
	r.create("one", "RedriveAllowPolicy", `{"redrivePermission":"byQueue","sourceQueueArns":["`+ARN("us-east-1", project, "q")+`"]}`)
	r.create("q")
	set := func(name, policy string) error {
		return r.SetAttributes(t.Context(), project, name, map[string]string{"RedrivePolicy": policy})
	}
	for _, c := range []struct{ policy, text string }{
		{"{", "not in JSON format"},
		{`{"maxReceiveCount":1}`, "mandatory attribute: deadLetterTargetArn"},
		{`{"deadLetterTargetArn":"` + ARN("us-east-1", project, "dead") + `"}`, "mandatory attribute: maxReceiveCount"},
		{redriveTo("dead", 1001), "valid values are from 1 to 1000 both inclusive"},
		{`{"deadLetterTargetArn":"dummy","maxReceiveCount":1}`, "Invalid value for deadLetterTargetArn"},
		{redriveTo("nope", 1), "Dead letter target does not exist."},
		{redriveTo("dead.fifo", 1), "must be same type of queue"},
		{redriveTo("closed", 1), "RedriveAllowPolicy"},
		{encode(redrive{ARN("us-east-1", "111111111111", "dead"), 1}), "owner should be same as the source"},
	} {
		refused(t, c.policy, set("q", c.policy), "InvalidParameterValueException", c.text)
	}
	for _, policy := range []string{redriveTo("dead", 1), redriveTo("one", 1000), ""} {
		if err := set("q", policy); err != nil {
			t.Errorf("%s: %v", policy, err)
		}
	}
	if err := set("dead", redriveTo("one", 1)); err == nil {
		t.Error("a queue that is not named may use a dead-letter queue byQueue")
	}
}

// die sends messages to a dead-letter queue the long way.
func (r *rig) die(source string, bodies ...string) {
	r.t.Helper()
	r.send(source, bodies...)
	for range bodies {
		if list := r.receive(source, 1); len(list) != 1 {
			r.t.Fatal("nothing to receive")
		}
	}
	r.receive(source, 10) // everything was received once, which is enough
}

func (r *rig) move(source, destination string, rate *int64) string {
	r.t.Helper()
	if destination != "" {
		destination = ARN("us-east-1", project, destination)
	}
	handle, err := r.StartMove(context.Background(), project, ARN("us-east-1", project, source), destination, rate)
	if err != nil {
		r.t.Fatal(err)
	}
	return handle
}

func (r *rig) lastMove(source string) Move {
	r.t.Helper()
	list, err := r.Moves(context.Background(), project, ARN("us-east-1", project, source), 1)
	if err != nil || len(list) == 0 {
		r.t.Fatal(list, err)
	}
	return list[0]
}

func TestMove(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		clk := &clock{t: time.Now()}
		r := newRig(t, url, clk, nil)
		r.create("dead")
		for _, name := range []string{"a", "b"} {
			r.create(name, "RedrivePolicy", redriveTo("dead", 1), "VisibilityTimeout", "0")
			r.die(name, name+"1", name+"2")
		}
		r.create("target")
		before := r.receive("dead", 1)[0]
		if err := r.ChangeVisibility(t.Context(), project, "dead", before.Handle, 0); err != nil {
			t.Fatal(err)
		}
		r.run()
		r.move("dead", "", nil)
		wait(t, func() bool { return r.lastMove("dead").Status != MoveRunning })
		if m := r.lastMove("dead"); m.Status != MoveCompleted || m.Moved != 4 || m.Total != 4 || m.Handle != "" {
			t.Errorf("%+v", m)
		}
		m := r.receive("a", 1)[0]
		if m.Body != "a1" || m.ID == before.ID || m.Takes != 1 || m.Source != "" {
			t.Errorf("what was moved back is %+v, was %+v", m, before)
		}
		r.receive("b", 1)
		r.receive("a", 10)
		r.receive("b", 10)
		clk.forward(time.Second)
		r.move("dead", "target", nil)
		wait(t, func() bool { return r.lastMove("dead").Status == MoveCompleted })
		if list := r.receive("target", 10); len(list) == 0 {
			t.Error("nothing came to the target")
		}
	})
}

// A task that a crash ended goes on, and one that is slow can be cancelled.
func TestMoveResumes(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t), nil, nil)
	r.create("dead")
	r.create("q", "RedrivePolicy", redriveTo("dead", 1), "VisibilityTimeout", "0")
	r.die("q", "1", "2", "3", "4")
	r.run()
	one := int64(1)
	handle := r.move("dead", "q", &one)
	_, err := r.StartMove(t.Context(), project, ARN("us-east-1", project, "dead"), "", nil)
	refused(t, "a second task", err, "UnsupportedOperation", "There is already a task running.")
	wait(t, func() bool { return r.backlog.Counts(mustGet(t, r, "q").log).Ready == 1 })
	r.restart()
	if m := r.lastMove("dead"); m.Status != MoveRunning || m.Handle != handle {
		t.Fatalf("after a restart: %+v", m)
	}
	r.run()
	wait(t, func() bool { return r.backlog.Counts(mustGet(t, r, "q").log).Ready == 2 })
	moved, err := r.CancelMove(t.Context(), project, handle)
	if err != nil || moved < 2 || moved > 3 {
		t.Errorf("cancelled after %d: %v", moved, err)
	}
	if m := r.lastMove("dead"); m.Status != MoveCancelled || m.Moved != moved {
		t.Errorf("%+v", m)
	}
	_, err = r.CancelMove(t.Context(), project, handle)
	refused(t, "cancel again", err, "UnsupportedOperation", "Only active tasks can be cancelled.")
	if n := r.backlog.Counts(mustGet(t, r, "dead").log); n.Ready != 4-moved || n.InFlight != 0 {
		t.Errorf("of 4, %d were moved and %+v are left", moved, n)
	}
}

func TestMoveRefused(t *testing.T) {
	r, _ := sqlite(t)
	r.create("dead")
	r.create("q", "RedrivePolicy", redriveTo("dead", 1))
	dead, q := ARN("us-east-1", project, "dead"), ARN("us-east-1", project, "q")
	zero := int64(0)
	for _, c := range []struct {
		source, destination string
		rate                *int64
		code, text          string
	}{
		{q, "", nil, "InvalidParameterValueException", "Source queue must be configured as a Dead Letter Queue."},
		{ARN("us-east-1", project, "nope"), "", nil, "ResourceNotFoundException", "SourceArn parameter doesn't exist."},
		{ARN("us-east-1", "111111111111", "dead"), "", nil, "ResourceNotFoundException", "SourceArn parameter doesn't exist."},
		{dead, ARN("us-east-1", project, "nope"), nil, "ResourceNotFoundException", "DestinationArn parameter doesn't exist."},
		{dead, dead, nil, "InvalidParameterValueException", "cannot be the same"},
		{dead, "", &zero, "InvalidParameterValueException", "between 1 and 500"},
	} {
		_, err := r.StartMove(t.Context(), project, c.source, c.destination, c.rate)
		refused(t, fmt.Sprint(c), err, c.code, c.text)
	}
	for handle, want := range map[string]string{
		"x": "InvalidParameterValueException", moveHandle("x", dead): "ResourceNotFoundException", moveHandle("x", ARN("us-east-1", project, "nope")): "ResourceNotFoundException",
	} {
		if _, err := r.CancelMove(t.Context(), project, handle); code(err) != want {
			t.Errorf("cancel %s: %v", handle, err)
		}
	}
	r.send("dead", "from nowhere")
	r.run()
	r.move("dead", "", nil)
	wait(t, func() bool { return r.lastMove("dead").Status != MoveRunning })
	if m := r.lastMove("dead"); m.Status != MoveFailed || m.Failure != "CouldNotDetermineMessageSource" {
		t.Errorf("%+v", m)
	}
	r.expect("dead", "from nowhere")
}

func TestSource(t *testing.T) {
	r, _ := sqlite(t)
	ctx := t.Context()
	r.create("dead")
	q := r.create("q", "RedrivePolicy", redriveTo("dead", 1), "VisibilityTimeout", "100")
	r.create("q.fifo", "FifoQueue", "true", "ContentBasedDeduplication", "true")
	for _, d := range []hansom.Delivery{
		{Project: project, ARN: q.ARN(), Payload: []byte(`{"a":1}`), Trace: "Root=1", Attributes: map[string]hansom.Attribute{
			"ErrorCode": {Type: "Number", Value: "200"}, "ErrorMessage": {Type: "String", Value: "\x1b[31mred\x00 \xff\tend"}}},
		{Project: project, ARN: q.ARN(), Payload: []byte(`{"a":2}`)},
		{Project: project, ARN: ARN("us-east-1", project, "q.fifo"), Payload: []byte(`{"a":3}`), Group: "g"},
	} {
		if err := r.Send(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Send(ctx, hansom.Delivery{Project: "111111111111", ARN: q.ARN(), Payload: []byte("{}")}); code(err) != "QueueDoesNotExist" {
		t.Errorf("another project delivers: %v", err)
	}
	if fifo, hidden, err := r.Queue(q.ARN()); fifo || hidden != 100*time.Second || err != nil {
		t.Error(fifo, hidden, err)
	}
	poll := func(arn string) []hansom.Polled {
		t.Helper()
		list, err := r.Poll(ctx, arn, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	list := poll(q.ARN())
	if len(list) != 2 {
		t.Fatal(list)
	}
	var record struct {
		MessageID, ReceiptHandle, Body, MD5OfBody, EventSource, EventSourceARN, AWSRegion string
		Attributes                                                                        map[string]string
		MessageAttributes                                                                 map[string]any
	}
	if err := json.Unmarshal(list[0].Record, &record); err != nil || record.MessageID != list[0].ID || record.ReceiptHandle != list[0].Handle || record.Body != `{"a":1}` ||
		record.EventSource != "aws:sqs" || record.EventSourceARN != q.ARN() || record.AWSRegion != "us-east-1" || record.Attributes["ApproximateReceiveCount"] != "1" ||
		record.MD5OfBody != md5hex(`{"a":1}`) || fmt.Sprint(record.MessageAttributes["ErrorCode"]) != "map[binaryListValues:[] dataType:Number stringListValues:[] stringValue:200]" || record.Attributes["AWSTraceHeader"] != "Root=1" {
		t.Errorf("%s: %v", list[0].Record, err)
	}
	if text := fmt.Sprint(record.MessageAttributes["ErrorMessage"]); !strings.HasSuffix(text, "stringValue:\ufffd[31mred\ufffd \ufffd\tend]") {
		t.Errorf("a text that SQS does not take: %q", text)
	}
	r.send("q", strings.Repeat("<", MaxSize))
	if list := poll(q.ARN()); len(list) != 1 || len(list[0].Record) > MaxSize+2048 {
		t.Errorf("a message of markup: %d records", len(list))
	}
	if err := r.Done(ctx, q.ARN(), []string{list[0].Handle}); err != nil {
		t.Fatal(err)
	}
	if err := r.Show(ctx, q.ARN(), []string{list[1].Handle}, 0); err != nil {
		t.Fatal(err)
	}
	if list := poll(q.ARN()); len(list) != 0 {
		t.Errorf("polled %s, which is for the dead-letter queue", list[0].Record)
	}
	r.expect("dead", `{"a":2}`)
	if list := poll(ARN("us-east-1", project, "q.fifo")); len(list) != 1 || list[0].Group != "g" {
		t.Errorf("%v", list)
	}
	if _, err := r.Poll(ctx, ARN("us-east-1", project, "nope"), 1, 0); code(err) != "QueueDoesNotExist" {
		t.Error(err)
	}
}
