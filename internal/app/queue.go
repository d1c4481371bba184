package app

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Queues are the queues of projects, with the attributes of the SQS API.
type Queues interface {
	// Deploy makes a queue of an app, or changes the attributes given of the one there is; its dead-letter queue may be made later in the
	// same transaction. Errors: Invalid; Conflict (it is not of the app).
	Deploy(ctx context.Context, tx *db.Tx, project, app, name string, attributes map[string]string) error
	// Undeploy deletes a queue and its messages; a missing one is no error.
	Undeploy(ctx context.Context, tx *db.Tx, project, name string) error
	// Owned returns the attributes of the queues of an app by their names, as q has them.
	Owned(ctx context.Context, q db.Querier, project, app string) (map[string]map[string]string, error)
	// Owner is the app of a queue, "" when it was made through the SQS API. Errors: NotFound.
	Owner(ctx context.Context, q db.Querier, project, name string) (string, error)
	// Messages counts those that a queue has.
	Messages(project, name string) int
}

// queueState is what a manifest can say of a queue.
type queueState struct {
	manifest.ResolvedQueue
	dead string // name of the dead-letter queue

	key string
}

// queueState is what the manifest's entry key says.
func (s *Service) queueState(r *manifest.Resolved, key string) queueState {
	q := queueState{ResolvedQueue: r.Queues[key], key: key}
	if q.DeadLetter != "" {
		q.dead = manifest.QueueName(r.Name, q.DeadLetter, q.FIFO)
	}
	return q
}

// queueStates are the queues of a manifest by name; none of nil.
func (s *Service) queueStates(r *manifest.Resolved) map[string]queueState {
	out := map[string]queueState{}
	if r != nil {
		for _, key := range r.QueueKeys() {
			q := s.queueState(r, key)
			out[manifest.QueueName(r.Name, key, q.FIFO)] = q
		}
	}
	return out
}

// redrive is SQS's RedrivePolicy.
type redrive struct {
	Target string `json:"deadLetterTargetArn"`
	Max    int    `json:"maxReceiveCount"`
}

// attributes of a queue in the SQS API.
func (s *Service) attributes(project string, q *queueState) map[string]string {
	out := map[string]string{
		"VisibilityTimeout": strconv.Itoa(q.Visibility), "DelaySeconds": strconv.Itoa(q.Delay), "MessageRetentionPeriod": strconv.Itoa(q.Retention),
		"RedrivePolicy": "",
	}
	if q.FIFO {
		out["ContentBasedDeduplication"] = strconv.FormatBool(q.ContentDedup)
	}
	if q.dead != "" {
		text, _ := json.Marshal(redrive{s.queueARN(project, q.dead), q.Retries + 1}) // a text and a number
		out["RedrivePolicy"] = string(text)
	}
	return out
}

// ofAttributes reads back what attributes makes.
func ofAttributes(name string, values map[string]string) queueState {
	number := func(name string) int {
		n, _ := strconv.Atoi(values[name])
		return n
	}
	q := queueState{ResolvedQueue: manifest.ResolvedQueue{FIFO: strings.HasSuffix(name, ".fifo"), ContentDedup: values["ContentBasedDeduplication"] == "true",
		Visibility: number("VisibilityTimeout"), Delay: number("DelaySeconds"), Retention: number("MessageRetentionPeriod")}}
	var policy redrive
	if json.Unmarshal([]byte(values["RedrivePolicy"]), &policy) == nil && policy.Target != "" {
		arn, _ := hansom.ParseARN(policy.Target)
		q.dead, q.Retries = arn.Resource, policy.Max-1
	}
	return q
}

func (s *Service) queueARN(project, name string) string {
	return hansom.ARN{Partition: "aws", Service: "sqs", Region: s.cfg.Region, Account: project, Resource: name}.String()
}

// differences names what a manifest changes in a queue.
func (q *queueState) differences(want *queueState) []string {
	var out []string
	diff := func(what, a, b string) {
		if a != b {
			out = append(out, what+" "+a+" -> "+b)
		}
	}
	diff("deadLetter", orNone(q.dead), orNone(want.dead))
	diff("retries", q.retries(), want.retries())
	diff("visibility", strconv.Itoa(q.Visibility)+"s", strconv.Itoa(want.Visibility)+"s")
	diff("delay", strconv.Itoa(q.Delay)+"s", strconv.Itoa(want.Delay)+"s")
	diff("retention", strconv.Itoa(q.Retention)+"s", strconv.Itoa(want.Retention)+"s")
	diff("dedup", q.dedup(), want.dedup())
	return out
}

func (q *queueState) retries() string {
	if q.dead == "" {
		return "unlimited"
	}
	return strconv.Itoa(q.Retries)
}

func (q *queueState) dedup() string {
	if q.ContentDedup {
		return "content"
	}
	return "id"
}

// planQueues compares the queues that are there, which are used up, with those of next.
func (s *Service) planQueues(have map[string]queueState, next *manifest.Resolved) []Change {
	var out []Change
	for name, want := range s.queueStates(next) {
		old, ok := have[name]
		delete(have, name)
		c := Change{Kind: KindQueue, Name: name, Action: Create, key: want.key}
		switch {
		case ok:
			c.Action, c.Details = Unchanged, old.differences(&want)
			if len(c.Details) > 0 {
				c.Action = Update
			}
		case want.dead != "":
			c.Details = []string{"dead letters to " + want.dead}
		}
		out = append(out, c)
	}
	for name := range have {
		out = append(out, Change{Kind: KindQueue, Name: name, Action: Delete})
	}
	return out
}

// checkQueues refuses what cannot be done with queues, and adds to a plan how many messages are lost.
func (s *Service) checkQueues(ctx context.Context, q db.Querier, project string, have map[string]bool, p *Plan, next *manifest.Resolved) error {
	const op = "plan app"
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Kind != KindQueue {
			continue
		}
		if n := s.Queues.Messages(project, c.Name); c.Action == Delete && n > 0 {
			c.Details = append(c.Details, "with "+counted(n, "message"))
		}
		if c.Action != Create {
			continue
		}
		fifo := next.Queues[c.key].FIFO
		if other := manifest.QueueName(next.Name, c.key, !fifo); have[other] {
			return hansom.Errorf(hansom.Conflict, op, "the queue %s cannot become %s: SQS cannot change that; give the queue another key, or deploy once without it", c.key, kindOf(fifo))
		}
		owner, err := s.Queues.Owner(ctx, q, project, c.Name)
		switch {
		case err == nil:
			return conflict("queue", c.Name, owner, "SQS")
		case hansom.KindOf(err) != hansom.NotFound:
			return err
		}
	}
	return nil
}

func kindOf(fifo bool) string {
	if fifo {
		return "a FIFO queue"
	}
	return "a standard queue"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// applyQueue does what a change of a queue says.
func (s *Service) applyQueue(ctx context.Context, tx *db.Tx, project string, r *manifest.Resolved, c *Change) error {
	if c.Action == Delete {
		return s.Queues.Undeploy(ctx, tx, project, c.Name)
	}
	q := s.queueState(r, c.key)
	return s.Queues.Deploy(ctx, tx, project, r.Name, c.Name, s.attributes(project, &q))
}

// environment is that of a function: its own, and where it does not say otherwise the URLs of the app's queues as functions reach them.
func (s *Service) environment(project string, r *manifest.Resolved, own map[string]string) map[string]string {
	if len(r.Queues) == 0 {
		return own
	}
	out := map[string]string{}
	for key, q := range r.Queues {
		out[manifest.QueueVariable(key)] = s.cfg.Platform + "/" + project + "/" + manifest.QueueName(r.Name, key, q.FIFO)
	}
	maps.Copy(out, own)
	return out
}

// sortKinds are the kinds of resource in the order of a plan.
var sortKinds = map[string]int{KindFunction: 0, KindQueue: 1, KindMapping: 2, KindRule: 3, KindSchedule: 4, KindAuthorizer: 5, KindCORS: 6, KindRoute: 7, KindSite: 8, KindDomain: 9}

// compareChanges orders a plan.
func compareChanges(a, b Change) int {
	return cmp.Or(cmp.Compare(sortKinds[a.Kind], sortKinds[b.Kind]), strings.Compare(sortName(a), sortName(b)))
}
