package app

import (
	"context"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// History returns the deployments of an app, the latest first.
func (s *Service) History(ctx context.Context, project, name string) ([]Deployment, error) {
	list, err := history(ctx, s.db.Read(), project, name)
	for i := range list {
		var before *manifest.Resolved
		switch {
		case i+1 < len(list):
			before = list[i+1].Manifest
		case list[i].Number > 1:
			continue
		}
		changes := s.compare(project, s.states(project, before), before, list[i].Manifest, s.webChanges(project, before, list[i].Manifest))
		list[i].Changes = slices.DeleteFunc(changes, func(c Change) bool { return c.Action == Unchanged })
	}
	return list, err
}

// Rollback makes an app what it was at the deployment number to, all or nothing, as a new deployment; to is 0 for the one before
// the current. dry plans only. Errors as Apply's; NotFound also for a deployment that is not kept, Conflict when there is none
// before the current one, or when code of that deployment is no longer stored.
func (s *Service) Rollback(ctx context.Context, project, actor, name string, to int64, dry bool) (Plan, error) {
	const op = "roll back"
	if _, err := s.Get(ctx, project, name); err != nil {
		return Plan{}, err
	}
	list, err := history(ctx, s.db.Read(), project, name)
	if err != nil {
		return Plan{}, err
	}
	if to == 0 {
		if len(list) < 2 {
			return Plan{}, hansom.Errorf(hansom.Conflict, op, "%s has one deployment only: there is none to go back to", name)
		}
		to = list[1].Number
	}
	i := slices.IndexFunc(list, func(d Deployment) bool { return d.Number == to })
	if i < 0 {
		return Plan{}, hansom.Errorf(hansom.NotFound, op, "%s has no deployment %d; `hansom history %s` lists those that are kept", name, to, name)
	}
	plan, err := s.Plan(ctx, project, list[i].Manifest)
	if err != nil {
		return Plan{}, err
	}
	err = s.prepare(ctx, project, plan, list[i].Manifest)
	if err == nil && !dry {
		plan, err = s.apply(ctx, project, actor, &list[i])
	}
	if hansom.KindOf(err) == hansom.NotFound {
		err = hansom.Errorf(hansom.Conflict, op, "deployment %d of %s cannot be restored: its code is no longer stored (%w); deploy it from its source", to, name, err)
	}
	if err != nil {
		return Plan{}, err
	}
	return plan, nil
}
