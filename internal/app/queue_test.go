package app

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// resource is a row of fake_resource.
type resource struct{ name, app, text string }

func (f *functions) keep(ctx context.Context, tx *db.Tx, kind, project, app, name string, v any) error {
	f.did("deploy " + kind + " " + name)
	if err := f.fail[name]; err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO fake_resource (kind, project, name, app, text) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (kind, project, name) DO UPDATE SET text = excluded.text`, kind, project, name, app, string(text))
	}
	return err
}

func (f *functions) drop(ctx context.Context, tx *db.Tx, kind, project, name string) error {
	f.did("undeploy " + kind + " " + name)
	_, err := tx.ExecContext(ctx, `DELETE FROM fake_resource WHERE kind = ? AND project = ? AND name = ?`, kind, project, name)
	return err
}

func (f *functions) rows(ctx context.Context, q db.Querier, kind, project string) (out []resource, err error) {
	rows, err := q.QueryContext(ctx, `SELECT name, app, text FROM fake_resource WHERE kind = ? AND project = ? ORDER BY name`, kind, project)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r resource
		if err := rows.Scan(&r.name, &r.app, &r.text); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

type queues struct{ *functions }

func (f *queues) Deploy(ctx context.Context, tx *db.Tx, project, app, name string, attributes map[string]string) error {
	return f.keep(ctx, tx, "queue", project, app, name, attributes)
}

func (f *queues) Undeploy(ctx context.Context, tx *db.Tx, project, name string) error {
	return f.drop(ctx, tx, "queue", project, name)
}

func (f *queues) Owned(ctx context.Context, q db.Querier, project, app string) (map[string]map[string]string, error) {
	list, err := f.rows(ctx, q, "queue", project)
	out := map[string]map[string]string{}
	for _, r := range list {
		if r.app == app {
			var attributes map[string]string
			err = errors.Join(err, json.Unmarshal([]byte(r.text), &attributes))
			out[r.name] = attributes
		}
	}
	return out, err
}

func (f *queues) Owner(ctx context.Context, q db.Querier, project, name string) (string, error) {
	list, err := f.rows(ctx, q, "queue", project)
	for _, r := range list {
		if r.name == name {
			return r.app, err
		}
	}
	return "", errors.Join(err, hansom.Errorf(hansom.NotFound, "owner", "none"))
}

func (f *queues) Messages(_, name string) int {
	if name == "hello-jobs" {
		return 7
	}
	return 0
}

// fakeTriggers keep triggers of one kind.
type fakeTriggers[T any] struct {
	*functions
	kind string
	of   func(*T) (project, app, name string)
}

func (f *functions) mappings() *fakeTriggers[hansom.Mapping] {
	return &fakeTriggers[hansom.Mapping]{f, KindMapping, func(m *hansom.Mapping) (string, string, string) { return m.Project, m.App, mappingName(m) }}
}

func (f *functions) rules() *fakeTriggers[hansom.Rule] {
	return &fakeTriggers[hansom.Rule]{f, KindRule, func(r *hansom.Rule) (string, string, string) { return r.Project, r.App, ruleName(r) }}
}

func (f *functions) schedules() *fakeTriggers[hansom.Schedule] {
	return &fakeTriggers[hansom.Schedule]{f, KindSchedule, func(c *hansom.Schedule) (string, string, string) { return c.Project, c.App, c.Name }}
}

func (f *fakeTriggers[T]) Deploy(ctx context.Context, tx *db.Tx, t T) error {
	project, app, name := f.of(&t)
	return f.keep(ctx, tx, f.kind, project, app, name, t)
}

func (f *fakeTriggers[T]) Undeploy(ctx context.Context, tx *db.Tx, t T) error {
	project, _, name := f.of(&t)
	return f.drop(ctx, tx, f.kind, project, name)
}

func (f *fakeTriggers[T]) Owned(ctx context.Context, q db.Querier, project, app string) (out []T, err error) {
	list, err := f.rows(ctx, q, f.kind, project)
	for _, r := range list {
		var t T
		err = errors.Join(err, json.Unmarshal([]byte(r.text), &t))
		if r.app == app {
			out = append(out, t)
		}
	}
	return out, err
}

// queued is hello with queues.
func queued() *manifest.Resolved {
	r := hello()
	r.Queues = map[string]manifest.ResolvedQueue{
		"jobs":      {Retries: 2, DeadLetter: "jobs-dead", Visibility: 30, Retention: 345600},
		"jobs-dead": {Visibility: 30, Retention: 1209600},
		"log":       {FIFO: true, ContentDedup: true, Visibility: 30, Retention: 345600},
	}
	work := r.Functions["work"]
	work.Queue = []manifest.ResolvedMapping{{Name: "jobs", Batch: 10}, {Name: "log", Batch: 5, Partial: true, Filter: []json.RawMessage{[]byte(`{"body":{"a":[1]}}`)}}}
	r.Functions["work"] = work
	return r
}

// Queues and mappings are made, changed and deleted with an app; functions know the queues.
func TestQueues(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		created := []string{
			"create function hello-api nodejs22.x", "create function hello-work nodejs22.x",
			"create queue hello-jobs dead letters to hello-jobs-dead", "create queue hello-jobs-dead", "create queue hello-log.fifo",
			"create mapping hello-jobs -> hello-work", "create mapping hello-log.fifo -> hello-work",
			"create route POST /messages hello-api", "create route GET /messages/{id} hello-api",
		}
		if diff := cmp.Diff(created, text(apply(t, s, queued()))); diff != "" {
			t.Error(diff)
		}
		all, err := f.all(ctx, d.Read(), project)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{
			"HANSOM_QUEUE_JOBS":      "http://127.0.0.1:4566/000000000000/hello-jobs",
			"HANSOM_QUEUE_JOBS_DEAD": "http://127.0.0.1:4566/000000000000/hello-jobs-dead",
			"HANSOM_QUEUE_LOG":       "http://127.0.0.1:4566/000000000000/hello-log.fifo",
		}, all["hello-api"].Environment); diff != "" {
			t.Error(diff)
		}
		q, m := &queues{f}, f.mappings()
		owned, err := q.Owned(ctx, d.Read(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"VisibilityTimeout": "30", "DelaySeconds": "0", "MessageRetentionPeriod": "345600",
			"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:hello-jobs-dead","maxReceiveCount":3}`}, owned["hello-jobs"]); diff != "" {
			t.Error(diff)
		}
		mapped, err := m.Owned(ctx, d.Read(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hansom.Mapping{Project: project, App: "hello", Source: "arn:aws:sqs:us-east-1:000000000000:hello-log.fifo", Function: "hello-work",
			Batch: 5, Partial: true, Filters: []string{`{"body":{"a":[1]}}`}}, mapped[1]); diff != "" {
			t.Error(diff)
		}
		if plan := apply(t, s, queued()); plan.Changed() {
			t.Errorf("the same again: %v", text(plan))
		}

		next := queued()
		jobs := next.Queues["jobs"]
		jobs.Retries, jobs.Visibility = 5, 60
		next.Queues["jobs"] = jobs
		delete(next.Queues, "log")
		work := next.Functions["work"]
		work.Queue = []manifest.ResolvedMapping{{Name: "jobs", Batch: 20, Window: 1, Concurrency: 2}}
		work.Environment = map[string]string{"HANSOM_QUEUE_JOBS": "mine"}
		next.Functions["work"] = work
		want := []string{
			"update function hello-api environment -HANSOM_QUEUE_LOG", "update function hello-work environment ~HANSOM_QUEUE_JOBS; environment -HANSOM_QUEUE_LOG",
			"update queue hello-jobs retries 2 -> 5; visibility 30s -> 60s", "unchanged queue hello-jobs-dead", "delete queue hello-log.fifo",
			"update mapping hello-jobs -> hello-work batch 10 -> 20; window 0s -> 1s; concurrency unlimited -> 2", "delete mapping hello-log.fifo -> hello-work",
			"unchanged route POST /messages", "unchanged route GET /messages/{id}",
		}
		if diff := cmp.Diff(want, text(apply(t, s, next))); diff != "" {
			t.Error(diff)
		}
		list, err := s.History(ctx, project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if got := text(Plan{Changes: list[0].Changes}); !cmp.Equal(got, append(want[:3:3], want[4:7]...)) {
			t.Errorf("history: %v", got)
		}

		plan, err := s.Plan(ctx, project, hello())
		if got := strings.Join(text(plan), "\n"); err != nil || !strings.Contains(got, "delete queue hello-jobs with 7 messages\ndelete queue hello-jobs-dead\n") {
			t.Errorf("%v\n%s", err, got)
		}
		plan, err = s.Rollback(ctx, project, actor, "hello", 0, false)
		if got := strings.Join(text(plan), "\n"); err != nil || !strings.Contains(got, "create queue hello-log.fifo\n") || !strings.Contains(got, "retries 5 -> 2") {
			t.Errorf("%v\n%s", err, got)
		}
		// What was changed beside the app is put right.
		err = d.Write(ctx, func(tx *db.Tx) error {
			bent := mapped[0]
			bent.Disabled = true
			return errors.Join(m.Deploy(ctx, tx, bent), q.Deploy(ctx, tx, project, "hello", "hello-jobs-dead", map[string]string{"DelaySeconds": "9"}))
		})
		if err != nil {
			t.Fatal(err)
		}
		plan = apply(t, s, queued())
		if got := strings.Join(text(plan), "\n"); !strings.Contains(got, "update mapping hello-jobs -> hello-work enabled again") || !strings.Contains(got, "delay 9s -> 0s") {
			t.Errorf("drift:\n%s", got)
		}
		if err := s.Delete(ctx, project, "hello"); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"queue", "mapping"} {
			if rows, err := f.rows(ctx, d.Read(), kind, project); err != nil || len(rows) > 0 {
				t.Errorf("the app left %v, %v", rows, err)
			}
		}
	})
}

func TestQueuesRefused(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	ctx := t.Context()
	f := newFunctions(t, d)
	s := newService(t, d, f, func(c *Config) { c.Now = func() time.Time { return time.Unix(1, 0) } })
	refused := func(what string, r *manifest.Resolved, want string) {
		t.Helper()
		if _, err := s.Apply(ctx, project, actor, r); hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	err := d.Write(ctx, func(tx *db.Tx) error { return (&queues{f}).Deploy(ctx, tx, project, "", "hello-jobs", nil) })
	if err != nil {
		t.Fatal(err)
	}
	refused("one of the SQS API", queued(), "the queue hello-jobs is there already and was made through the SQS API; delete it or rename the app or the queue")
	err = d.Write(ctx, func(tx *db.Tx) error { return (&queues{f}).Undeploy(ctx, tx, project, "hello-jobs") })
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, queued())
	next := queued()
	log := next.Queues["log"]
	log.FIFO, log.ContentDedup = false, false
	next.Queues["log"] = log
	refused("FIFO no more", next, "the queue log cannot become a standard queue")

	// All or nothing.
	f.fail["hello-work"] = hansom.Errorf(hansom.Invalid, "deploy", "no")
	more := queued()
	more.Queues["more"] = manifest.ResolvedQueue{Visibility: 30, Retention: 60}
	if _, err := s.Apply(ctx, project, actor, more); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
	if _, err := (&queues{f}).Owner(ctx, d.Read(), project, "hello-more"); hansom.KindOf(err) != hansom.NotFound {
		t.Errorf("a deployment that failed left a queue: %v", err)
	}
}
