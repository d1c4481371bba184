package event

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// An app's mappings are made, changed and ended within its transaction; it takes over one that was made through the Lambda API.
func TestDeploy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		w := newWorld()
		s := newService(t, d, w)
		want := hansom.Mapping{Project: project, App: "a", Source: jobs, Function: "f", Batch: 20, Window: time.Second, Concurrency: 1, Partial: true,
			Filters: []string{`{"body":{"a":[1]}}`}}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		owned := func() []hansom.Mapping {
			t.Helper()
			list, err := s.Owned(ctx, d.Read(), project, "a")
			must(err)
			return list
		}
		count := func() int {
			t.Helper()
			list, _, err := s.List(project, "", "", "", 0)
			must(err)
			return len(list)
		}
		made, err := s.Create(ctx, project, Input{Source: jobs, Function: "f", Enabled: to(false)})
		must(err)
		err = d.Write(ctx, func(tx *db.Tx) error { return errors.Join(s.Deploy(ctx, tx, want), errors.New("no")) })
		if err == nil || len(owned()) > 0 {
			t.Fatalf("a failed transaction left %v", owned())
		}
		must(d.Write(ctx, func(tx *db.Tx) error { return s.Deploy(ctx, tx, want) }))
		if diff := cmp.Diff([]hansom.Mapping{want}, owned()); diff != "" {
			t.Error(diff)
		}
		m, err := s.Get(project, made.ID)
		if must(err); m.State != StateEnabled || m.App != "a" || m.Batch != 20 {
			t.Errorf("%+v", m)
		}
		less := hansom.Mapping{Project: project, App: "a", Source: jobs, Function: "f", Batch: 1}
		must(d.Write(ctx, func(tx *db.Tx) error { return s.Deploy(ctx, tx, less) }))
		if diff := cmp.Diff([]hansom.Mapping{less}, owned()); diff != "" || count() != 1 {
			t.Error(diff, count())
		}
		_, err = s.Update(ctx, project, made.ID, Input{Enabled: to(false)})
		if must(err); !owned()[0].Disabled {
			t.Error("it is not seen that the mapping was turned off")
		}
		less.Filters = []string{`{"body":"x"}`}
		if err := d.Write(ctx, func(tx *db.Tx) error { return s.Deploy(ctx, tx, less) }); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("a filter that is none: %v", err)
		}
		must(d.Write(ctx, func(tx *db.Tx) error { return errors.Join(s.Undeploy(ctx, tx, want), s.Undeploy(ctx, tx, want)) }))
		if len(owned()) > 0 || count() > 0 {
			t.Errorf("left: %v", owned())
		}
	})
}
