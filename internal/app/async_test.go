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

type eventConfigs struct{ *functions }

func (f *eventConfigs) Keep(ctx context.Context, tx *db.Tx, project, name string, c *hansom.AsyncConfig) error {
	if c == nil {
		_, err := tx.ExecContext(ctx, `DELETE FROM fake_resource WHERE kind = 'events' AND project = ? AND name = ?`, project, name)
		return err
	}
	text, err := json.Marshal(c)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO fake_resource (kind, project, name, app, text) VALUES ('events', ?, ?, '', ?)
			ON CONFLICT (kind, project, name) DO UPDATE SET text = excluded.text`, project, name, string(text))
	}
	return err
}

func (f *eventConfigs) Load(ctx context.Context, q db.Querier, project, _ string) (map[string]map[string]hansom.AsyncConfig, error) {
	list, err := f.rows(ctx, q, "events", project)
	out := map[string]map[string]hansom.AsyncConfig{}
	for _, r := range list {
		var c hansom.AsyncConfig
		err = errors.Join(err, json.Unmarshal([]byte(r.text), &c))
		out[project+"/"+r.name] = map[string]hansom.AsyncConfig{hansom.Latest: c}
	}
	return out, err
}

// How events are treated is planned, applied and rolled back with the function.
func TestAsync(t *testing.T) {
	d := dbtest.Open(t, dbtest.SQLite(t))
	f := newFunctions(t, d)
	s := newService(t, d, f, nil)
	with := func(a *manifest.ResolvedAsync) *manifest.Resolved {
		r := queued()
		work := r.Functions["work"]
		work.Async = a
		r.Functions["work"] = work
		return r
	}
	set := &manifest.ResolvedAsync{Retries: 0, MaxAge: 60, OnSuccess: "api", OnFailure: "jobs-dead", DeadLetter: "jobs-dead"}
	apply(t, s, with(set))
	if got, err := f.Resolve(t.Context(), project, "hello-work", ""); err != nil || got.Version.DeadLetter != "arn:aws:sqs:us-east-1:000000000000:hello-jobs-dead" {
		t.Errorf("dead letters go to %q: %v", got.Version.DeadLetter, err)
	}
	all, err := (&eventConfigs{f}).Load(t.Context(), d.Read(), project, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]hansom.AsyncConfig{project + "/hello-work": {hansom.Latest: {MaxAge: time.Minute,
		OnSuccess: "arn:aws:lambda:us-east-1:000000000000:function:hello-api", OnFailure: "arn:aws:sqs:us-east-1:000000000000:hello-jobs-dead"}}}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	if plan := apply(t, s, with(set)); plan.Changed() {
		t.Errorf("the same again: %v", text(plan))
	}
	plan := apply(t, s, with(nil))
	const line = "update function hello-work async retries 0 -> 2; async maxAge 60s -> 21600s; async onSuccess function:hello-api -> none; async onFailure hello-jobs-dead -> none; " +
		"async deadLetter hello-jobs-dead -> none"
	if got := strings.Join(text(plan), "\n"); !strings.Contains(got, line) {
		t.Errorf("%s", got)
	}
	if plan := apply(t, s, with(&manifest.ResolvedAsync{Retries: 2, MaxAge: 21600})); plan.Changed() {
		t.Errorf("the default, written out: %v", text(plan))
	}
	plan, err = s.Rollback(t.Context(), project, actor, "hello", 1, false)
	if got := strings.Join(text(plan), "\n"); err != nil || !strings.Contains(got, "async retries 2 -> 0") {
		t.Errorf("%v\n%s", err, got)
	}
}
