package eventbus

import (
	"context"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Deploy makes a rule of an app on a bus, or brings the one there is to what in and targets say, within the caller's transaction, which may make
// the targets too. Errors: Conflict when the rule belongs to something else; as PutRule and PutTargets.
func (s *Service) Deploy(ctx context.Context, tx *db.Tx, project, app string, in RuleInput, targets []Target) error {
	bus, err := s.BusName(project, in.Bus)
	if err != nil {
		return err
	}
	if _, err := s.oneBus(ctx, tx, project, bus); err != nil {
		return err
	}
	r := &Rule{Project: project, Region: s.cfg.Region, Bus: bus, Name: in.Name, App: app, Schedule: in.Schedule, Tags: in.Tags,
		Created: s.cfg.Now().UTC(), RuleSettings: in.RuleSettings}
	list, err := s.readRules(ctx, tx, `WHERE project = ? AND bus = ? AND name = ?`, project, bus, in.Name)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		if list[0].App != app {
			return hansom.Errorf(hansom.Conflict, "deploy rule", "there is a rule %s on the event bus %s already, which is not of the app %s; delete it, or rename the app or the function", in.Name, bus, app)
		}
		r.Created = list[0].Created
	}
	if r.State == "" {
		r.State = Enabled
	}
	if err := r.check(in.Pattern); err != nil {
		return err
	}
	for i := range targets {
		if err := s.checkTarget(project, &targets[i]); err != nil {
			return err
		}
	}
	r.Targets = slices.SortedFunc(slices.Values(targets), func(a, b Target) int { return strings.Compare(a.ID, b.ID) })
	return saveRule(ctx, tx, r)
}

// Undeploy deletes a rule with its targets within the caller's transaction; one that is not there is no error.
func (s *Service) Undeploy(ctx context.Context, tx *db.Tx, project, bus, name string) error {
	bus, err := s.BusName(project, bus)
	if err != nil {
		return err
	}
	return removeRule(ctx, tx, project, bus, name)
}

// Owned returns the rules of an app, as q has them.
func (s *Service) Owned(ctx context.Context, q db.Querier, project, app string) ([]*Rule, error) {
	return s.readRules(ctx, q, `WHERE project = ? AND app = ? ORDER BY bus, name`, project, app)
}
