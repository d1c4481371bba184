package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// triggered is hello with rules and schedules.
func triggered() *manifest.Resolved {
	r := hello()
	work := r.Functions["work"]
	work.On = []manifest.ResolvedEvent{{Bus: "default", Event: []byte(`{"source":["orders"]}`)}, {Bus: "other", Event: []byte(`{"source":["a"]}`)}}
	work.Schedule = []manifest.ResolvedSchedule{{Expression: "rate(5 minutes)", Timezone: "UTC"}, {Expression: "cron(0 9 * * ? *)", Timezone: "Europe/Berlin", Input: []byte(`{"a":1}`)}}
	r.Functions["work"] = work
	return r
}

// Rules and schedules are made, changed and deleted with an app.
func TestTriggers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		created := []string{
			"create function hello-api nodejs22.x", "create function hello-work nodejs22.x",
			"create rule hello-work-1", "create rule other/hello-work-2", "create schedule hello-work-1 rate(5 minutes)", "create schedule hello-work-2 cron(0 9 * * ? *)",
			"create route POST /messages hello-api", "create route GET /messages/{id} hello-api",
		}
		if diff := cmp.Diff(created, text(apply(t, s, triggered()))); diff != "" {
			t.Error(diff)
		}
		rules, err := f.rules().Owned(ctx, d.Read(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hansom.Rule{Project: project, App: "hello", Bus: "other", Name: "hello-work-2", Pattern: `{"source":["a"]}`, Function: "hello-work"}, rules[1]); diff != "" {
			t.Error(diff)
		}
		schedules, err := f.schedules().Owned(ctx, d.Read(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hansom.Schedule{Project: project, App: "hello", Name: "hello-work-2", Expression: "cron(0 9 * * ? *)", Zone: "Europe/Berlin", Input: `{"a":1}`,
			Function: "hello-work"}, schedules[1]); diff != "" {
			t.Error(diff)
		}
		if plan := apply(t, s, triggered()); plan.Changed() {
			t.Errorf("the same again: %v", text(plan))
		}

		next := triggered()
		work := next.Functions["work"]
		work.On, work.Schedule = work.On[:1], work.Schedule[:1]
		work.On[0].Event = []byte(`{"source":["b"]}`)
		work.Schedule[0] = manifest.ResolvedSchedule{Expression: "rate(1 hour)", Timezone: "Asia/Tokyo", Input: []byte(`1`)}
		next.Functions["work"] = work
		want := []string{
			"unchanged function hello-api", "unchanged function hello-work",
			"update rule hello-work-1 event", "delete rule other/hello-work-2",
			"update schedule hello-work-1 expression rate(5 minutes) -> rate(1 hour); timezone UTC -> Asia/Tokyo; input", "delete schedule hello-work-2",
			"unchanged route POST /messages", "unchanged route GET /messages/{id}",
		}
		if diff := cmp.Diff(want, text(apply(t, s, next))); diff != "" {
			t.Error(diff)
		}
		plan, err := s.Rollback(ctx, project, actor, "hello", 0, false)
		if got := strings.Join(text(plan), "\n"); err != nil || !strings.Contains(got, "create schedule hello-work-2") || !strings.Contains(got, "update rule hello-work-1 event") {
			t.Errorf("%v\n%s", err, got)
		}
		// What was changed beside the app is put right.
		err = d.Write(ctx, func(tx *db.Tx) error {
			rule, schedule := rules[0], schedules[0]
			rule.Disabled, schedule.Disabled = true, true
			rule.Function = ""
			return errors.Join(f.rules().Deploy(ctx, tx, rule), f.schedules().Deploy(ctx, tx, schedule))
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(text(apply(t, s, triggered())), "\n"); !strings.Contains(got, "rule hello-work-1 function none -> hello-work; enabled again") || !strings.Contains(got, "schedule hello-work-1 enabled again") {
			t.Errorf("drift:\n%s", got)
		}
		if err := s.Delete(ctx, project, "hello"); err != nil {
			t.Fatal(err)
		}
		last := f.announced[len(f.announced)-2:]
		if last[0].Type != "App Deployed" || last[0].Project != project || last[0].Detail["deployment"] != int64(4) || last[1].Type != "App Removed" || last[1].Detail["app"] != "hello" {
			t.Errorf("announced %+v", last)
		}
		for _, kind := range []string{KindRule, KindSchedule} {
			if rows, err := f.rows(ctx, d.Read(), kind, project); err != nil || len(rows) > 0 {
				t.Errorf("the app left %v, %v", rows, err)
			}
		}
	})
}
