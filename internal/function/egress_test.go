package function

import (
	"context"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

// TestEgress: the tag sets what $LATEST may reach, and a manifest what a function of an app may.
func TestEgress(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		h := newHost(t)
		s := h.open(t, d)
		run(t, s)
		changed := changes(d)
		in := simple(t, "f")
		in.Tags = map[string]string{EgressTag: "none"}
		create(t, s, in)
		before := settle(t, s, changed, project, "f")
		if before.Egress != hansom.EgressNone {
			t.Errorf("created with %q", before.Egress)
		}
		if _, err := s.Publish(ctx, project, "f", PublishInput{}); err != nil {
			t.Fatal(err)
		}
		settle(t, s, changed, project, "f")
		if err := s.Tag(ctx, project, "f", map[string]string{EgressTag: "internet", "other": "x"}); err != nil {
			t.Fatal(err)
		}
		after := settle(t, s, changed, project, "f")
		if after.Egress != hansom.EgressInternet || after.Revision == before.Revision {
			t.Errorf("%q, another revision: %t", after.Egress, after.Revision != before.Revision)
		}
		if one, err := s.Get(ctx, project, "f", "1"); err != nil || one.Egress != hansom.EgressNone {
			t.Errorf("version 1: %q, %v", one.Egress, err)
		}
		wantError(t, "another word", s.Tag(ctx, project, "f", map[string]string{EgressTag: "lan"}), hansom.Invalid, "none, platform or internet")
		if err := s.Untag(ctx, project, "f", []string{EgressTag}); err != nil {
			t.Fatal(err)
		}
		if f := settle(t, s, changed, project, "f"); f.Egress != "" {
			t.Errorf("without the tag: %q", f.Egress)
		}
		in.Name, in.Tags = "g", map[string]string{EgressTag: "lan"}
		_, err := s.Create(ctx, project, in)
		wantError(t, "another word at creation", err, hansom.Invalid, "none, platform or internet")

		zip := archive(t, "index.py", "app")
		if _, err := h.blobs.Put(ctx, artifact.Key(project, digestOf(zip)), strings.NewReader(string(zip))); err != nil {
			t.Fatal(err)
		}
		v := hansom.Version{Project: project, Function: "app-api", App: "app", Runtime: "python3.12", Handler: "index.handler", CodeSHA256: digestOf(zip)}
		for _, egress := range []string{"", "internet", "internet", "none"} {
			v.Egress = egress
			err := d.Write(ctx, func(tx *db.Tx) error {
				_, err := s.Deploy(ctx, tx, v)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if f := settle(t, s, changed, project, "app-api"); f.Egress != egress {
				t.Errorf("deployed with %q: %q", egress, f.Egress)
			}
		}
		wantError(t, "the tag of an app's function", s.Tag(ctx, project, "app-api", map[string]string{EgressTag: "internet"}), hansom.Invalid, "its manifest")
	})
}
