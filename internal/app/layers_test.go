package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

func TestLayers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		r := hello()
		with := func(layers ...string) *manifest.Resolved {
			work := r.Functions["work"]
			work.Layers = layers
			r.Functions["work"] = work
			return r
		}
		const shared = "arn:aws:lambda:us-east-1:222222222222:layer:shared:3"
		apply(t, s, with("boto3:1", shared))
		all, err := f.all(t.Context(), d.Read(), project)
		if err != nil {
			t.Fatal(err)
		}
		want := []hansom.Layer{{ARN: "arn:aws:lambda:us-east-1:000000000000:layer:boto3:1", SHA256: "dd", Size: 1}, {ARN: shared, SHA256: "dd", Size: 1}}
		if diff := cmp.Diff(want, all["hello-work"].Layers); diff != "" {
			t.Error(diff)
		}
		if p := apply(t, s, with("boto3:1", shared)); p.Changed() {
			t.Errorf("the same again changes %v", text(p))
		}
		for _, c := range []struct {
			layers []string
			want   string
		}{
			{[]string{shared, "boto3:1"}, "layers boto3:1," + shared + " -> " + shared + ",boto3:1"},
			{nil, "layers " + shared + ",boto3:1 -> none"},
		} {
			p := apply(t, s, with(c.layers...))
			if changes := strings.Join(text(p), "\n"); !strings.Contains(changes, "update function hello-work "+c.want) {
				t.Errorf("changes %s, want %s", changes, c.want)
			}
		}
		if _, err := s.Plan(t.Context(), project, with("boto3")); hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), "must be name:version") {
			t.Errorf("a layer without a version: %v", err)
		}
		// Deployments keep the layers that they had.
		f.layersGone = true
		if _, err := s.Apply(t.Context(), project, actor, with("boto3:1", shared)); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("layers that were deleted: %v", err)
		}
		if _, err := s.Rollback(t.Context(), project, actor, "hello", 1, false); err != nil {
			t.Error(err)
		}
		if all, err = f.all(t.Context(), d.Read(), project); err != nil || !slices.Equal(all["hello-work"].Layers, want) {
			t.Errorf("%+v, %v", all["hello-work"].Layers, err)
		}
	})
}
