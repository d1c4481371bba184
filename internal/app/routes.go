package app

import (
	"context"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
)

// view is an immutable picture of the store: what the gateway serves.
type view struct {
	apps   map[string][]string       // project -> names, sorted
	routes map[string][]hansom.Route // project/app
	sites  map[string]*hansom.Site   // the same; nil for none
	latest map[string]int64          // the same: number of the current deployment
}

// Routes of an app, from memory; ok is false when there is no such app. The slice must not be changed.
func (s *Service) Routes(project, app string) (routes []hansom.Route, ok bool) {
	routes, ok = s.view.Load().routes[project+"/"+app]
	return routes, ok
}

// Apps of a project by name, from memory. The slice must not be changed.
func (s *Service) Apps(project string) []string { return s.view.Load().apps[project] }

func (s *Service) reload(ctx context.Context) error {
	apps, err := list(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	v := &view{apps: map[string][]string{}, routes: map[string][]hansom.Route{}, sites: map[string]*hansom.Site{}, latest: map[string]int64{}}
	for _, a := range apps {
		v.apps[a.Project] = append(v.apps[a.Project], a.Name)
		key := a.Project + "/" + a.Name
		v.routes[key] = slices.Clip(a.Manifest.Routes())
		v.sites[key], v.latest[key] = siteOf(a.Project, a.Deployment, a.Updated, a.Manifest), a.Deployment
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
