package app

import (
	"context"
	"reflect"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// view is an immutable picture of the store: what the gateway serves.
type view struct {
	apps      map[string][]string     // project -> names, sorted
	manifests map[string]current      // project/app
	sites     map[string]*hansom.Site // the same; nil for none
}

// current is the manifest of an app's current deployment.
type current struct {
	deployment int64
	manifest   *manifest.Resolved
}

// Manifest of an app, from memory; ok is false when there is no such app. It is another one after each deployment, the same until then,
// and must not be changed.
func (s *Service) Manifest(project, app string) (m *manifest.Resolved, ok bool) {
	c, ok := s.view.Load().manifests[project+"/"+app]
	return c.manifest, ok
}

// Apps of a project by name, from memory. The slice must not be changed.
func (s *Service) Apps(project string) []string { return s.view.Load().apps[project] }

func (s *Service) reload(ctx context.Context) error {
	apps, err := list(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	old, v := s.view.Load(), &view{apps: map[string][]string{}, manifests: map[string]current{}, sites: map[string]*hansom.Site{}}
	for _, a := range apps {
		v.apps[a.Project] = append(v.apps[a.Project], a.Name)
		key := a.Project + "/" + a.Name
		c := current{a.Deployment, a.Manifest}
		if old != nil {
			// An app that was removed and made again counts from 1, too.
			if was := old.manifests[key]; was.deployment == a.Deployment && reflect.DeepEqual(was.manifest, a.Manifest) {
				c = was
			}
		}
		v.manifests[key], v.sites[key] = c, siteOf(a.Project, a.Deployment, a.Updated, a.Manifest)
	}
	s.view.Store(v)
	return nil
}

// refresh reads the store again after a change. Notices come one after the other, in the order of the commits.
func (s *Service) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := s.reload(ctx)
		if err == nil {
			return
		}
		s.logger.Error("routes could not be read again", "attempt", attempt, "error", err)
		select {
		case <-ctx.Done():
			return // what was in memory stays until the next change
		case <-time.After(100 * time.Millisecond):
		}
	}
}
