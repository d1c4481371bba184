package event

import (
	"context"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Deploy makes a mapping of an app, or brings the one of the same source and function to what m says, within the caller's transaction,
// which may make the function and the queue too. The caller has held it to what they are. Errors: Invalid for filters, and for what a subject cannot be.
func (s *Service) Deploy(ctx context.Context, tx *db.Tx, m hansom.Mapping) error {
	now := s.now().UTC()
	x := Mapping{ID: s.newID(), Project: m.Project, Source: m.Source, Function: m.Function, Created: now}
	same, err := s.deployed(ctx, tx, m)
	if err != nil {
		return err
	}
	if len(same) > 0 {
		x = same[0]
	}
	enabled, batch, window := true, m.Batch, int(m.Window/time.Second)
	if m.Filters == nil {
		m.Filters = []string{}
	}
	if err := x.apply(Input{Enabled: &enabled, Batch: &batch, Window: &window, Concurrency: &m.Concurrency, Filters: m.Filters, Partial: &m.Partial}); err != nil {
		return err
	}
	x.App, x.Modified = m.App, now
	if x.kind() == kindSubject {
		if err := s.Source.Begin(ctx, x.Source, x.ID); err != nil {
			return err
		}
	}
	return s.save(ctx, tx, &x)
}

// Undeploy ends the mapping of a source and a function within the caller's transaction; one that is not there is no error.
func (s *Service) Undeploy(ctx context.Context, tx *db.Tx, m hansom.Mapping) error {
	list, err := s.deployed(ctx, tx, m)
	if err != nil {
		return err
	}
	return s.remove(ctx, tx, list...)
}

// deployed is the mapping of a source and a function, if there is one.
func (s *Service) deployed(ctx context.Context, tx *db.Tx, m hansom.Mapping) ([]Mapping, error) {
	return s.mappings(ctx, tx, `WHERE project = ? AND source = ? AND name = ? AND qualifier = ''`, m.Project, m.Source, m.Function)
}

// Owned lists the mappings of an app, as q has them.
func (s *Service) Owned(ctx context.Context, q db.Querier, project, app string) ([]hansom.Mapping, error) {
	list, err := s.mappings(ctx, q, `WHERE project = ? AND app = ?`, project, app)
	out := make([]hansom.Mapping, len(list))
	for i := range list {
		x := &list[i]
		out[i] = hansom.Mapping{Project: project, App: app, Source: x.Source, Function: x.Function, Batch: x.Batch, Window: x.Window,
			Concurrency: x.Concurrency, Partial: x.Partial, Disabled: !x.Enabled}
		for _, f := range x.Filters {
			out[i].Filters = append(out[i].Filters, f.String())
		}
	}
	return out, err
}
