package usage

import (
	"context"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// Periods of a Quota, of UTC. A week begins on Sunday.
const (
	Day   = "DAY"
	Week  = "WEEK"
	Month = "MONTH"
)

// stageOf is what a plan says of a stage of an API; nil when it does not have it.
func stageOf(p *api.Plan, apiID, name string) *api.PlanStage {
	for i := range p.Stages {
		if st := &p.Stages[i]; st.API == apiID && st.Stage == name {
			return st
		}
	}
	return nil
}

// checkPlan holds a plan to the rules, but for its stages.
func checkPlan(p *api.Plan) error {
	if p.Name == "" {
		return invalid("Usage Plan name must be set")
	}
	if err := api.CheckSettings(api.Settings{Rate: p.Rate, Burst: p.Burst}); err != nil {
		return err
	}
	if q := p.Quota; q != nil {
		last, ok := map[string]int{Day: 0, Week: 6, Month: 27}[q.Period]
		switch {
		case !ok:
			return invalid("Usage Plan quota period must be set in the quota settings: DAY, WEEK or MONTH")
		case q.Limit <= 0:
			return invalid("Usage Plan quota limit must be set to a positive number")
		case q.Offset < 0 || q.Offset > last:
			return invalid("Usage Plan quota offset must be between zero and %d inclusive in the %s period", last, q.Period)
		}
	}
	return api.CheckTags(p.Tags)
}

// checkStages looks whether the stages of a plan are there, each once.
func (s *Service) checkStages(ctx context.Context, tx *db.Tx, p *api.Plan) error {
	for i, st := range p.Stages {
		if stageOf(p, st.API, st.Stage) != &p.Stages[i] {
			return conflict("The API Stage %s:%s is in the usage plan already", st.API, st.Stage)
		}
		ok, err := s.apis.HasStage(ctx, tx, p.Project, st.API, st.Stage)
		if err != nil {
			return err
		}
		if !ok {
			return hansom.Errorf(hansom.NotFound, "check usage plan", "API Stage not found: %s:%s", st.API, st.Stage)
		}
		for _, x := range st.Settings {
			if err := api.CheckSettings(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// plansOf reads the plans that a key is in, without their keys.
func plansOf(ctx context.Context, q db.Querier, key string) ([]*api.Plan, error) {
	return db.Documents[api.Plan](ctx, q, `SELECT document FROM usage_plans WHERE id IN (SELECT plan FROM usage_plan_keys WHERE id = ?)`, key)
}

// plan reads a plan. Error: NotFoundException.
func (s *Service) plan(ctx context.Context, q db.Querier, project, id string) (*api.Plan, error) {
	list, err := readPlans(ctx, q, `WHERE id = ? AND project = ?`, id, project)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, hansom.Errorf(hansom.NotFound, "find usage plan", "Invalid Usage Plan ID specified")
	}
	return list[0], nil
}

// shared refuses two plans of one key that have one stage.
func shared(p *api.Plan, others []*api.Plan) error {
	for _, o := range others {
		for _, st := range o.Stages {
			if o.ID != p.ID && stageOf(p, st.API, st.Stage) != nil {
				return conflict("An API Key can be in one Usage Plan only for an API Stage: Usage Plan %s has %s:%s too", o.ID, st.API, st.Stage)
			}
		}
	}
	return nil
}

// CreatePlan makes a usage plan. Its Keys do not count. Errors: BadRequestException, NotFoundException for its stages, TooManyRequestsException.
func (s *Service) CreatePlan(ctx context.Context, p api.Plan) (*api.Plan, error) {
	if err := checkPlan(&p); err != nil {
		return nil, err
	}
	p.ID, p.Keys = s.cfg.NewID(sizeOfPlan), nil
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := count(ctx, tx, "usage_plans", p.Project)
		if err != nil {
			return err
		}
		if n >= MaxPlans {
			return full("Usage Plans", "project")
		}
		if err := s.checkStages(ctx, tx, &p); err != nil {
			return err
		}
		return exec(ctx, tx, ofPlan+p.ID, `INSERT INTO usage_plans (id, project, document) VALUES (?, ?, ?)`, p.ID, p.Project, db.Document(p))
	})
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// Plan reads a usage plan with the IDs of its keys. Error: NotFoundException.
func (s *Service) Plan(ctx context.Context, project, id string) (*api.Plan, error) {
	return s.plan(ctx, s.db.Read(), project, id)
}

// Plans reads the usage plans of a project after an ID, by ID, at most limit of them, and only those that a key is in unless it is "". Their Keys are
// left out.
func (s *Service) Plans(ctx context.Context, project, key, after string, limit int) ([]*api.Plan, error) {
	query, args := `SELECT document FROM usage_plans WHERE project = ? AND id > ?`, []any{project, after}
	if key != "" {
		if _, err := s.APIKey(ctx, project, key, false); err != nil {
			return nil, err
		}
		query, args = query+` AND id IN (SELECT plan FROM usage_plan_keys WHERE id = ?)`, append(args, key)
	}
	return db.Documents[api.Plan](ctx, s.db.Read(), query+` ORDER BY id LIMIT ?`, append(args, limit)...)
}

// savePlan stores a plan, whose keys are stored apart.
func savePlan(ctx context.Context, tx *db.Tx, p *api.Plan) error {
	stored := *p
	stored.Keys = nil
	return exec(ctx, tx, ofPlan+p.ID, `UPDATE usage_plans SET document = ? WHERE id = ?`, db.Document(stored), p.ID)
}

// UpdatePlan changes a usage plan, but for its keys. change may be run again. Errors: NotFoundException, BadRequestException, ConflictException when a
// key would be in two plans for one stage.
func (s *Service) UpdatePlan(ctx context.Context, project, id string, change func(*api.Plan) error) (out *api.Plan, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := s.plan(ctx, tx, project, id)
		if err != nil {
			return err
		}
		if err := change(p); err != nil {
			return err
		}
		if err := checkPlan(p); err != nil {
			return err
		}
		if err := s.checkStages(ctx, tx, p); err != nil {
			return err
		}
		others, err := db.Documents[api.Plan](ctx, tx, `SELECT document FROM usage_plans WHERE id IN
			(SELECT plan FROM usage_plan_keys WHERE id IN (SELECT id FROM usage_plan_keys WHERE plan = ?))`, id)
		if err != nil {
			return err
		}
		if err := shared(p, others); err != nil {
			return err
		}
		out = p
		return savePlan(ctx, tx, p)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeletePlan removes a usage plan. Errors: NotFoundException; BadRequestException while it has stages.
func (s *Service) DeletePlan(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := s.plan(ctx, tx, project, id)
		if err != nil {
			return err
		}
		if len(p.Stages) > 0 {
			return invalid("Cannot delete Usage Plan %s because there are API Stages associated with it, including %s:%s", id, p.Stages[0].API, p.Stages[0].Stage)
		}
		if err := exec(ctx, tx, ofPlan+id, `DELETE FROM usage_plan_keys WHERE plan = ?`, id); err != nil {
			return err
		}
		return exec(ctx, tx, ofPlan+id, `DELETE FROM usage_plans WHERE id = ?`, id)
	})
}

// addKey puts a key into a plan.
func (s *Service) addKey(ctx context.Context, tx *db.Tx, project, plan, key string) (*api.Key, error) {
	p, err := s.plan(ctx, tx, project, plan)
	if err != nil {
		return nil, err
	}
	k, err := s.key(ctx, tx, project, key)
	if err != nil {
		return nil, err
	}
	if slices.Contains(p.Keys, key) {
		return nil, conflict("Usage Plan %s has the API Key %s already", plan, key)
	}
	others, err := plansOf(ctx, tx, key)
	if err != nil {
		return nil, err
	}
	if len(others) >= MaxPlansOfKey {
		return nil, full("Usage Plans", "API Key")
	}
	if err := shared(p, others); err != nil {
		return nil, err
	}
	return k, exec(ctx, tx, ofPlan+plan, `INSERT INTO usage_plan_keys (plan, id, project) VALUES (?, ?, ?)`, plan, key, project)
}

// AddKey puts an API key into a usage plan. Errors: NotFoundException, ConflictException when it is in it, or in another for one of its stages,
// TooManyRequestsException.
func (s *Service) AddKey(ctx context.Context, project, plan, key string) (out *api.Key, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		out, err = s.addKey(ctx, tx, project, plan, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// PlanKey reads an API key of a usage plan. Error: NotFoundException.
func (s *Service) PlanKey(ctx context.Context, project, plan, key string) (*api.Key, error) {
	p, err := s.Plan(ctx, project, plan)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(p.Keys, key) {
		return nil, noKey()
	}
	return s.APIKey(ctx, project, key, true)
}

// RemoveKey takes an API key out of a usage plan. Error: NotFoundException.
func (s *Service) RemoveKey(ctx context.Context, project, plan, key string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := s.plan(ctx, tx, project, plan)
		if err != nil {
			return err
		}
		if !slices.Contains(p.Keys, key) {
			return noKey()
		}
		return exec(ctx, tx, ofPlan+plan, `DELETE FROM usage_plan_keys WHERE plan = ? AND id = ?`, plan, key)
	})
}
