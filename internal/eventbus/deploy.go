package eventbus

import (
	"context"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// appTarget is the id of the target of an app's rule.
const appTarget = "function"

// Deploy makes a rule of an app, or brings the one there is to what x says, within the caller's transaction, which may make the function
// too. Errors: Conflict when the rule belongs to something else; as PutRule.
func (s *Service) Deploy(ctx context.Context, tx *db.Tx, x hansom.Rule) error {
	if _, err := s.oneBus(ctx, tx, x.Project, x.Bus); err != nil {
		return err
	}
	list, err := s.readRules(ctx, tx, `WHERE project = ? AND bus = ? AND name = ?`, x.Project, x.Bus, x.Name)
	if err != nil {
		return err
	}
	r := &Rule{Project: x.Project, Region: s.cfg.Region, Bus: x.Bus, Name: x.Name, App: x.App, Created: s.cfg.Now().UTC()}
	if len(list) > 0 {
		if r = list[0]; r.App != x.App {
			return hansom.Errorf(hansom.Conflict, "deploy rule", "there is a rule %s on the event bus %s already, which is not of the app %s; delete it, or rename the app or the function", x.Name, x.Bus, x.App)
		}
	} else if err := s.room(ctx, tx, x.Project, x.Bus); err != nil {
		return err
	}
	r.State, r.Schedule = Enabled, ""
	if err := r.check(x.Pattern); err != nil {
		return err
	}
	target := Target{ID: appTarget, ARN: hansom.FunctionARN(s.cfg.Region, x.Project, x.Function, "")}
	if err := s.checkTarget(x.Project, &target); err != nil {
		return err
	}
	r.Targets = []Target{target}
	if err := s.setTick(ctx, tx, r); err != nil {
		return err
	}
	return saveRule(ctx, tx, r)
}

// Undeploy deletes a rule with its targets within the caller's transaction; one that is not there is no error.
func (s *Service) Undeploy(ctx context.Context, tx *db.Tx, x hansom.Rule) error {
	return s.removeRule(ctx, tx, &Rule{Project: x.Project, Bus: x.Bus, Name: x.Name})
}

// Owned returns the rules of an app, as q has them. One that has other targets than Deploy gives it has no Function.
func (s *Service) Owned(ctx context.Context, q db.Querier, project, app string) ([]hansom.Rule, error) {
	list, err := s.readRules(ctx, q, `WHERE project = ? AND app = ? ORDER BY bus, name`, project, app)
	out := make([]hansom.Rule, len(list))
	for i, r := range list {
		x := hansom.Rule{Project: project, App: app, Bus: r.Bus, Name: r.Name, Disabled: !r.Enabled()}
		if r.Pattern != nil && r.Schedule == "" {
			x.Pattern = r.Pattern.String()
		}
		if len(r.Targets) == 1 {
			x.Function = r.Targets[0].function(project)
		}
		out[i] = x
	}
	return out, err
}

// function is the one that a target of Deploy is, "" for other targets.
func (t *Target) function(project string) string {
	arn, err := hansom.ParseARN(t.ARN)
	name, ok := strings.CutPrefix(arn.Resource, "function:")
	plain := t.ID == appTarget && t.Input == "" && t.path == nil && t.transformer == nil && t.DeadLetter == nil && t.Retry == nil
	if err != nil || !ok || !plain || arn.Service != "lambda" || arn.Account != project {
		return ""
	}
	return name
}
