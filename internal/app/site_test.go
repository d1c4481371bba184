package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// sites has every upload but that which functions.gone names.
type sites struct{ f *functions }

func (s sites) Prepare(_ context.Context, _, upload string) error {
	s.f.did("prepare site " + upload[:2])
	if upload == s.f.gone {
		return hansom.Errorf(hansom.NotFound, "prepare", "a.txt has not been uploaded")
	}
	return nil
}

func (s sites) Deploy(_ context.Context, tx *db.Tx, _, upload string) error {
	s.f.did("deploy site " + upload[:2])
	return s.f.fail["site"]
}

func (s sites) Compare(_ context.Context, _, old, next string) (int, int, int, bool) {
	return 1, 2, 3, old[:2] != "ee"
}

func pages(digest string, files int) *manifest.Resolved {
	return &manifest.Resolved{Name: "pages", Site: &manifest.ResolvedSite{SHA256: code(digest), Files: files, Bytes: int64(files) * 1000, CleanURLs: true}}
}

// A site goes with the app's deployments: planned, applied, looked up by its number, brought back, removed.
func TestSite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
		s := newService(t, d, f, func(c *Config) { c.Now = func() time.Time { return now } })
		changes := func(p Plan, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, text(p)); diff != "" {
				t.Error(diff)
			}
		}
		if site, latest := s.LiveSite(project, "pages"); site != nil || latest != 0 {
			t.Error(site, latest)
		}
		changes(apply(t, s, pages("11", 12)), "create site site 12 files; 12 KB")
		if diff := cmp.Diff([]string{"prepare site 11", "deploy site 11"}, f.done()); diff != "" {
			t.Error(diff)
		}
		want := hansom.Site{Project: project, App: "pages", Deployment: 1, Created: now, Upload: code("11"), CleanURLs: true}
		site, latest := s.LiveSite(project, "pages")
		if site == nil || latest != 1 {
			t.Fatal(site, latest)
		}
		if diff := cmp.Diff(want, *site, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
			t.Error(diff)
		}
		if p := apply(t, s, pages("11", 12)); p.Changed() || len(f.done()) > 0 {
			t.Error("the same again changes", text(p))
		}
		next := pages("22", 13)
		next.Site.SPA = true
		changes(apply(t, s, next), "update site site files 12 -> 13; size 12 KB -> 13 KB; spa false -> true; 1 added, 2 changed, 3 removed")
		both := pages("22", 13)
		both.Functions = map[string]manifest.ResolvedFunction{"api": function("33", "GET /api")}
		changes(apply(t, s, both), "create function pages-api nodejs22.x", "create route GET /api pages-api", "update site site spa true -> false")
		f.done()
		last := &manifest.Resolved{Name: "pages", Functions: both.Functions}
		changes(apply(t, s, last), "unchanged function pages-api", "unchanged route GET /api", "delete site site 13 files")
		if site, latest := s.LiveSite(project, "pages"); site != nil || latest != 4 {
			t.Error(site, latest)
		}

		// Earlier ones are looked up.
		for number, want := range map[int64]string{1: "11", 2: "22", 3: "22", 4: "", 5: "", 0: ""} {
			got, err := s.Site(t.Context(), project, "pages", number)
			if want == "" && hansom.KindOf(err) != hansom.NotFound || want != "" && (err != nil || got.Upload != code(want) || got.Deployment != number) {
				t.Errorf("deployment %d: %+v %v", number, got, err)
			}
		}

		// All or nothing; a file that is gone is a conflict of the rollback.
		f.fail["site"] = hansom.Errorf(hansom.NotFound, "deploy", "the list has gone")
		if _, err := s.Apply(t.Context(), project, actor, pages("44", 1)); err == nil {
			t.Error("a site that cannot be deployed was")
		}
		if _, latest := s.LiveSite(project, "pages"); latest != 4 || len(f.names(project)) != 1 {
			t.Error("what failed left something", latest, f.names(project))
		}
		delete(f.fail, "site")
		f.gone = code("11")
		if _, err := s.Rollback(t.Context(), project, actor, "pages", 1, false); hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), "a.txt") {
			t.Error(err)
		}
		f.gone = ""
		p, err := s.Rollback(t.Context(), project, actor, "pages", 1, false)
		if err != nil {
			t.Fatal(err)
		}
		changes(p, "delete function pages-api", "delete route GET /api", "create site site 12 files; 12 KB")
		if site, latest := s.LiveSite(project, "pages"); site == nil || site.Upload != code("11") || latest != 5 {
			t.Error(site, latest)
		}
		list, err := s.History(t.Context(), project, "pages")
		if err != nil || len(list) != 5 || text(Plan{Changes: list[3].Changes})[0] != "update site site files 12 -> 13; size 12 KB -> 13 KB; spa false -> true" {
			t.Error(list, err)
		}
	})
}

// What deployments that are kept refer to is not collected.
func TestSiteReferences(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, func(c *Config) { c.History = 2 })
		blobs, err := disk.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Add(time.Hour) // blobs have the time of the clock
		cfg := artifact.DefaultConfig(t.TempDir())
		cfg.Now = func() time.Time { return now }
		store, err := artifact.New(cfg, blobs, nil)
		if err != nil {
			t.Fatal(err)
		}
		var digests []string
		for i, name := range []string{"a", "b", "c"} {
			u := &artifact.Upload{Files: []artifact.File{{Path: "same.txt", SHA256: artifact.Digest([]byte("same")), Size: 4}, {Path: name + ".txt", SHA256: artifact.Digest([]byte(name)), Size: 1}}}
			text, digest, err := u.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := store.PutUpload(t.Context(), project, digest, text); err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{"same", name} {
				if err := store.PutFile(t.Context(), project, u.Find(artifact.Digest([]byte(content))), strings.NewReader(content)); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.PutVariant(t.Context(), project, artifact.Digest([]byte(name)), ".gz", []byte("small")); err != nil {
				t.Fatal(err)
			}
			digests = append(digests, digest)
			r := pages("11", i+1)
			r.Site.SHA256 = digest
			apply(t, s, r)
		}
		collect := func(want int) {
			t.Helper()
			c, err := store.Collect(t.Context(), func(ctx context.Context, refs *artifact.References) error { return s.References(ctx, d.Read(), refs) })
			if err != nil || c.Packages != want {
				t.Errorf("%+v %v, want %d", c, err, want)
			}
			now = now.Add(25 * time.Hour)
		}
		there := func(want ...string) {
			t.Helper()
			var got []string
			for _, name := range []string{"same", "a", "b", "c"} {
				if _, ok, err := store.FileSize(t.Context(), project, artifact.Digest([]byte(name)), ""); ok {
					got = append(got, name)
				} else if err != nil {
					t.Error(err)
				}
				if _, ok, _ := store.FileSize(t.Context(), project, artifact.Digest([]byte(name)), ".gz"); ok {
					got = append(got, name+".gz")
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		now = now.Add(time.Minute) // since the last upload
		collect(0)
		collect(2) // the list of the first deployment, and the file that it alone had, with what was made of it
		there("same", "b", "b.gz", "c", "c.gz")
		if err := s.Delete(t.Context(), project, "pages"); err != nil {
			t.Fatal(err)
		}
		collect(0)
		collect(5)
		there()
		if _, err := store.ReadUpload(t.Context(), project, digests[2]); hansom.KindOf(err) != hansom.NotFound {
			t.Error(err)
		}
	})
}
