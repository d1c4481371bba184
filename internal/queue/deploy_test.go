package queue

import (
	"context"
	"errors"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// An app's queues are made, changed and deleted within its transaction, and nobody else's are touched.
func TestDeploy(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		r := newRig(t, url, nil, nil)
		r.run()
		write := func(f func(tx *db.Tx) error) error { return r.db.Write(ctx, f) }
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		redrive := map[string]string{"RedrivePolicy": encode(redrive{ARN(hansom.DefaultRegion, project, "a-dead"), 3}), "VisibilityTimeout": "5"}
		deploy := func(tx *db.Tx) error {
			return errors.Join(r.Deploy(ctx, tx, project, "a", "a-jobs", redrive), r.Deploy(ctx, tx, project, "a", "a-dead", nil),
				r.Deploy(ctx, tx, project, "a", "a-log.fifo", map[string]string{"ContentBasedDeduplication": "true"}))
		}
		if err := write(func(tx *db.Tx) error { return errors.Join(deploy(tx), errors.New("no")) }); err == nil || len(r.List(project, "", "")) > 0 {
			t.Fatalf("a failed transaction left %v, %v", r.List(project, "", ""), err)
		}
		must(write(deploy))
		r.send("a-jobs", "one")
		r.send("a-log.fifo", "g:1")
		must(write(func(tx *db.Tx) error {
			return r.Deploy(ctx, tx, project, "a", "a-jobs", map[string]string{"RedrivePolicy": "", "VisibilityTimeout": "30", "DelaySeconds": "7"})
		}))
		owned, err := r.Owned(ctx, r.db.Read(), project, "a")
		must(err)
		if jobs := owned["a-jobs"]; len(owned) != 3 || jobs["DelaySeconds"] != "7" || jobs["VisibilityTimeout"] != "30" || jobs["RedrivePolicy"] != "" ||
			owned["a-log.fifo"]["ContentBasedDeduplication"] != "true" {
			t.Errorf("owned: %v", owned)
		}
		r.create("b-jobs")
		err = write(func(tx *db.Tx) error { return r.Deploy(ctx, tx, project, "b", "b-jobs", nil) })
		if hansom.KindOf(err) != hansom.Conflict {
			t.Errorf("a queue of the SQS API became an app's: %v", err)
		}
		if owner, err := r.Owner(ctx, r.db.Read(), project, "b-jobs"); owner != "" || err != nil {
			t.Errorf("owner %q, %v", owner, err)
		}
		if owner, err := r.Owner(ctx, r.db.Read(), project, "a-jobs"); owner != "a" || err != nil {
			t.Errorf("owner %q, %v", owner, err)
		}
		if n := r.Messages(project, "a-jobs"); n != 1 {
			t.Errorf("%d messages", n)
		}
		list, err := r.Peek(ctx, project, "a-log.fifo", 5)
		if must(err); len(list) != 1 || list[0].Body != "g:1" || list[0].Group != "g" || list[0].Takes != 0 {
			t.Errorf("peeked %+v", list)
		}
		must(write(func(tx *db.Tx) error {
			return errors.Join(r.Undeploy(ctx, tx, project, "a-jobs"), r.Undeploy(ctx, tx, project, "a-jobs"))
		}))
		must(write(func(tx *db.Tx) error { return r.Deploy(ctx, tx, project, "a", "a-jobs", nil) }))
		if n := r.Messages(project, "a-jobs"); n != 0 {
			t.Errorf("the queue made anew has %d messages", n)
		}
	})
}

// What was left by a deployment that deleted a queue goes when the service next looks.
func TestUndeployedMessagesGo(t *testing.T) {
	r := newRig(t, dbtest.SQLite(t), nil, nil)
	err := r.db.Write(t.Context(), func(tx *db.Tx) error { return r.Deploy(context.Background(), tx, project, "a", "a-jobs", nil) })
	if err != nil {
		t.Fatal(err)
	}
	r.send("a-jobs", "one")
	if err := r.db.Write(t.Context(), func(tx *db.Tx) error { return r.Undeploy(context.Background(), tx, project, "a-jobs") }); err != nil {
		t.Fatal(err)
	}
	r.sweep(t.Context())
	for _, name := range r.backlog.Queues(logPrefix) {
		if n := r.backlog.Counts(name); n.Ready > 0 {
			t.Errorf("%s still has %+v", name, n)
		}
	}
}
