package schedule

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Deploy makes a schedule of an app in the default group, or brings the one there is to what d says, within the caller's transaction,
// which may make the function too. Errors: Conflict when the schedule belongs to something else; Invalid.
func (s *Service) Deploy(ctx context.Context, tx *db.Tx, d hansom.Schedule) error {
	c := Schedule{Project: d.Project, Region: s.cfg.Region, Group: DefaultGroup, Name: d.Name, App: d.App, Expression: d.Expression, Zone: d.Zone, Enabled: true}
	if c.Zone == "" {
		c.Zone = "UTC"
	}
	c.Target = Target{ARN: hansom.FunctionARN(s.cfg.Region, d.Project, d.Function, ""), Role: "arn:aws:iam::" + d.Project + ":role/" + d.App, Input: d.Input}
	if c.Target.Input == "" {
		c.Target.Input = "{}"
	}
	old, err := s.one(ctx, tx, c.Project, c.Group, c.Name)
	switch {
	case hansom.KindOf(err) == hansom.NotFound:
		now := s.now()
		c.Created, c.Modified, c.phase = now, now, now
		if err := s.check(&c, c.Start); err != nil {
			return err
		}
		return s.store(ctx, tx, nil, &c)
	case err != nil:
		return err
	case old.App != d.App:
		return hansom.Errorf(hansom.Conflict, "deploy schedule", "there is a schedule %s already, which is not of the app %s; delete it, or rename the app or the function", d.Name, d.App)
	}
	return s.change(ctx, tx, old, c)
}

// Undeploy deletes a schedule of an app within the caller's transaction; one that is not there is no error.
func (s *Service) Undeploy(ctx context.Context, tx *db.Tx, d hansom.Schedule) error {
	return s.remove(ctx, tx, &Schedule{Project: d.Project, Group: DefaultGroup, Name: d.Name})
}

// Owned returns the schedules of an app, as q has them.
func (s *Service) Owned(ctx context.Context, q db.Querier, project, app string) ([]hansom.Schedule, error) {
	list, err := s.read(ctx, q, `WHERE project = ? AND app = ? ORDER BY name`, project, app)
	out := make([]hansom.Schedule, len(list))
	for i, c := range list {
		out[i] = hansom.Schedule{Project: project, App: app, Name: c.Name, Expression: c.Expression, Zone: c.Zone, Input: c.Target.Input, Disabled: !c.Enabled}
		if project, name, ok := functionOf(c.Target.ARN); ok && project == c.Project {
			out[i].Function = name
		}
	}
	return out, err
}
