package api

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// load reads everything, and tells the followers.
func (s *Service) load(ctx context.Context) error {
	apis, err := db.Documents[API](ctx, s.db.Read(), `SELECT document FROM gateway_apis`)
	if err != nil {
		return err
	}
	domains, err := db.Documents[Domain](ctx, s.db.Read(), `SELECT document FROM gateway_domains`)
	if err != nil {
		return err
	}
	live, changed, named := map[string]*Live{}, map[string]*Live{}, map[string]*Domain{}
	for id := range s.live {
		changed[id] = nil
	}
	for _, a := range apis {
		if live[a.ID], err = s.makeLive(ctx, a); err != nil {
			return err
		}
		changed[a.ID] = live[a.ID]
	}
	for _, d := range domains {
		named[d.Name] = d
	}
	s.mu.Lock()
	s.live, s.domains = live, named
	s.mu.Unlock()
	s.tell(changed, true)
	return nil
}

// document reads one JSON document; nil when there is none.
func document[T any](ctx context.Context, q db.Querier, query string, args ...any) (*T, error) {
	list, err := db.Documents[T](ctx, q, query, args...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// exec runs a statement and notes a change; "" notes none.
func exec(ctx context.Context, tx *db.Tx, notice, statement string, args ...any) error {
	if notice != "" {
		tx.Changed(domain, notice)
	}
	if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
		return failed("write APIs", err)
	}
	return nil
}

// count is how many rows of a table a project has.
func count(ctx context.Context, tx *db.Tx, table, project string) (n int, err error) {
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table+` WHERE project = ?`, project).Scan(&n); err != nil {
		return 0, failed("count "+table, err)
	}
	return n, nil
}

// api reads an API of a project. Error: NotFoundException.
func (s *Service) api(ctx context.Context, q db.Querier, project, id string) (*API, error) {
	a, err := document[API](ctx, q, `SELECT document FROM gateway_apis WHERE id = ? AND project = ?`, id, project)
	if err == nil && a == nil {
		err = hansom.Errorf(hansom.NotFound, "find API", "Invalid API identifier specified %s:%s", project, id)
	}
	return a, err
}

func save(ctx context.Context, tx *db.Tx, a *API) error {
	return exec(ctx, tx, ofAPI+a.ID, `UPDATE gateway_apis SET document = ? WHERE id = ?`, db.Document(a), a.ID)
}

// readLive reads an API as it answers; nil when it is gone.
func (s *Service) readLive(ctx context.Context, id string) (*Live, error) {
	a, err := document[API](ctx, s.db.Read(), `SELECT document FROM gateway_apis WHERE id = ?`, id)
	if err != nil || a == nil {
		return nil, err
	}
	return s.makeLive(ctx, a)
}

// makeLive puts what is deployed together. Snapshots that are in memory are not read again. Only what the mirror calls may call it.
func (s *Service) makeLive(ctx context.Context, a *API) (*Live, error) {
	known := map[string]*Snapshot{}
	if old := s.live[a.ID]; old != nil {
		for _, st := range old.Stages {
			known[st.Deployment] = st.Snapshot
		}
	}
	l := &Live{API: a, Stages: map[string]*LiveStage{}}
	for _, st := range a.Stages {
		if st.Deployment == "" {
			continue
		}
		if known[st.Deployment] == nil {
			snapshot, err := readSnapshot(ctx, s.db.Read(), a.ID, st.Deployment)
			if err != nil {
				return nil, err
			}
			known[st.Deployment] = snapshot
		}
		l.Stages[st.Name] = &LiveStage{st, known[st.Deployment]}
	}
	a.Routes, a.Integrations, a.Authorizers, a.Deployments = nil, nil, nil, nil // what counts of them is in the snapshots
	return l, nil
}

func readSnapshot(ctx context.Context, q db.Querier, api, id string) (*Snapshot, error) {
	snapshot, err := document[Snapshot](ctx, q, `SELECT document FROM gateway_snapshots WHERE api = ? AND id = ?`, api, id)
	if err == nil && snapshot == nil {
		err = hansom.Errorf(hansom.Internal, "read deployment", "deployment %s of API %s is not there", id, api)
	}
	return snapshot, err
}

func (s *Service) reloadDomain(ctx context.Context, name string) error {
	d, err := document[Domain](ctx, s.db.Read(), `SELECT document FROM gateway_domains WHERE name = ?`, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d == nil {
		delete(s.domains, name)
	} else {
		s.domains[name] = d
	}
	return nil
}

// HasStage tells whether an API of a project has a stage, as q has it.
func (s *Service) HasStage(ctx context.Context, q db.Querier, project, api, stage string) (bool, error) {
	a, err := s.api(ctx, q, project, api)
	if hansom.KindOf(err) == hansom.NotFound && err != nil {
		return false, nil
	}
	return err == nil && a.stage(stage) != nil, err
}
