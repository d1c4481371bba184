package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Sites keep the files of apps. Which of them are live is what the current deployment says.
type Sites interface {
	// Prepare sees to it that an upload can be served at once. Errors: Invalid, NotFound when a file or the list of them is not there.
	Prepare(ctx context.Context, project, upload string) error
	// Deploy has an upload kept from the transaction on that refers to it. Errors: NotFound.
	Deploy(ctx context.Context, tx *db.Tx, project, upload string) error
	// Compare counts the files that an upload has more, others and less than an earlier one; ok is false when a list is not there.
	Compare(ctx context.Context, project, old, next string) (added, changed, removed int, ok bool)
}

// LiveSite is the site of an app, from memory, and the number of its current deployment; nil when it has none.
func (s *Service) LiveSite(project, app string) (site *hansom.Site, latest int64) {
	v := s.view.Load()
	return v.sites[project+"/"+app], v.manifests[project+"/"+app].deployment
}

// Site is the one that an app had at a deployment that is kept. Errors: NotFound.
func (s *Service) Site(ctx context.Context, project, app string, number int64) (hansom.Site, error) {
	const op = "find site"
	var text string
	var created int64
	err := s.db.Read().QueryRowContext(ctx, `SELECT manifest, created_at FROM app_deployment WHERE project = ? AND app = ? AND number = ?`, project, app, number).Scan(&text, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return hansom.Site{}, hansom.Errorf(hansom.NotFound, op, "%s has no deployment %d", app, number)
	}
	if err != nil {
		return hansom.Site{}, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	r, err := decode(text)
	if err != nil {
		return hansom.Site{}, err
	}
	site := siteOf(project, number, time.UnixMicro(created), r)
	if site == nil {
		return hansom.Site{}, hansom.Errorf(hansom.NotFound, op, "the deployment %d of %s has no site", number, app)
	}
	return *site, nil
}

// siteOf is the site of a deployment; nil when it has none.
func siteOf(project string, number int64, created time.Time, r *manifest.Resolved) *hansom.Site {
	if r.Site == nil {
		return nil
	}
	return &hansom.Site{Project: project, App: r.Name, Deployment: number, Created: created, Upload: r.Site.SHA256, SPA: r.Site.SPA, CleanURLs: r.Site.CleanURLs}
}

// planSite compares the site of the current deployment, nil when there is none, with the next one's.
func (s *Service) planSite(project string, current, next *manifest.Resolved) []Change {
	var old *manifest.ResolvedSite
	if current != nil {
		old = current.Site
	}
	want := next.Site
	c := Change{Kind: KindSite, Name: "site", Action: Unchanged}
	switch {
	case old == nil && want == nil:
		return nil
	case want == nil:
		c.Action = Delete
		c.Details = []string{counted(old.Files, "file")}
		c.apply = func(context.Context, *db.Tx) error { return nil } // the deployment without it is all that it takes
		return []Change{c}
	case old == nil:
		c.Action, c.Details = Create, []string{counted(want.Files, "file"), size(want.Bytes)}
	case *old != *want:
		c.Action, c.Details = Update, siteDifferences(old, want)
	}
	c.apply = func(ctx context.Context, tx *db.Tx) error { return s.Sites.Deploy(ctx, tx, project, want.SHA256) }
	return []Change{c}
}

// siteDifferences names what a manifest changes in a site.
func siteDifferences(old, want *manifest.ResolvedSite) []string {
	var out changes
	switch {
	case old.Files != want.Files:
		out.diff("files", old.Files, want.Files)
	case old.SHA256 != want.SHA256:
		out = append(out, counted(want.Files, "file"))
	}
	if old.Bytes != want.Bytes {
		out.diff("size", size(old.Bytes), size(want.Bytes))
	}
	out.diff("spa", old.SPA, want.SPA)
	out.diff("cleanUrls", old.CleanURLs, want.CleanURLs)
	return out
}

// countFiles adds to a plan how many files of a site change, when both lists are there.
func (s *Service) countFiles(ctx context.Context, project string, p *Plan, current, next *manifest.Resolved) {
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Kind != KindSite || c.Action != Update || current.Site.SHA256 == next.Site.SHA256 {
			continue
		}
		added, changed, removed, ok := s.Sites.Compare(ctx, project, current.Site.SHA256, next.Site.SHA256)
		if ok {
			c.Details = append(c.Details, fmt.Sprintf("%d added, %d changed, %d removed", added, changed, removed))
		}
	}
}

// size in words, as people read it.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KB", (n+1<<9)>>10)
	}
	return fmt.Sprintf("%d MB", (n+1<<19)>>20)
}
