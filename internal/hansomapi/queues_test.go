package hansomapi

import (
	"context"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/queue"
)

// fakeQueues have two messages each.
type fakeQueues struct{ list []*queue.Queue }

func (f *fakeQueues) List(string, string, string) []*queue.Queue { return f.list }

func (f *fakeQueues) Get(_, name string) (*queue.Queue, error) {
	for _, q := range f.list {
		if q.Name == name {
			return q, nil
		}
	}
	return nil, hansom.Errorf(hansom.NotFound, "get", "The specified queue does not exist.")
}

func (f *fakeQueues) Counts(*queue.Queue) (ready, inFlight, delayed int) { return 1, 2, 3 }

func (f *fakeQueues) Peek(_ context.Context, _, _ string, limit int) ([]queue.Message, error) {
	list := []queue.Message{{ID: "1", Body: "a", Takes: 2, Attributes: map[string]queue.Attribute{"n": {Type: "Number", Text: "1"}}}, {ID: "2", Body: "b"}}
	return list[:min(limit, len(list))], nil
}

// fakeConsumers take from the queue jobs; they come in two pages.
type fakeConsumers struct{}

func (fakeConsumers) List(project, source, function, marker string, limit int) ([]event.Mapping, string, error) {
	m := event.Mapping{ID: "u", Function: "f", Qualifier: "live", Source: "arn:aws:sqs:us-east-1:" + project + ":jobs", State: "Enabled", Problem: "PROBLEM: none"}
	if marker == "" {
		return []event.Mapping{m}, "next", nil
	}
	m.Function, m.Qualifier = "g", ""
	return []event.Mapping{m}, "", nil
}

func TestQueues(t *testing.T) {
	f := newFixture(t)
	_, acme := f.tenant("acme")
	f.queues.list = []*queue.Queue{{Name: "jobs", App: "a"}, {Name: "dead"}}
	all := must[struct{ Queues []queueSummary }](f, acme, "GET", "queues", "").Queues
	if len(all) != 2 || all[0].Name != "dead" || all[1].Ready != 1 || all[1].InFlight != 2 || all[1].Delayed != 3 || len(all[1].Consumers) != 2 ||
		all[1].Consumers[0] != (consumer{"u", "f:live", "Enabled", "PROBLEM: none"}) || all[1].Consumers[1].Function != "g" {
		t.Errorf("%+v", all)
	}
	if list := must[struct{ Queues []queueSummary }](f, acme, "GET", "queues?app=a", "").Queues; len(list) != 1 || list[0].Name != "jobs" {
		t.Errorf("of an app: %+v", list)
	}
	if q := must[queueSummary](f, acme, "GET", "queues/jobs", ""); q.App != "a" {
		t.Errorf("%+v", q)
	}
	messages := must[struct{ Messages []message }](f, acme, "GET", "queues/jobs/messages", "").Messages
	if len(messages) != 2 || messages[0].Receives != 2 || messages[0].Attributes["n"].Value != "1" {
		t.Errorf("%+v", messages)
	}
	if list := must[struct{ Messages []message }](f, acme, "GET", "queues/jobs/messages?limit=1", "").Messages; len(list) != 1 {
		t.Errorf("limit 1: %+v", list)
	}
	for _, limit := range []string{"0", "101", "x"} {
		f.refused(acme, "GET", "queues/jobs/messages?limit="+limit, "", 400, "Invalid", "1 to 100")
	}
	for _, path := range []string{"queues/none", "queues/none/messages"} {
		f.refused(acme, "GET", path, "", 404, "NotFound", `there is no queue "none"`)
	}
}
