package usage

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// load reads everything.
func (s *Service) load(ctx context.Context) error {
	keys, err := s.readKeys(ctx, s.db.Read(), ``)
	if err != nil {
		return err
	}
	plans, err := readPlans(ctx, s.db.Read(), ``)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.values, s.plans, s.byKey = map[string]*stored{}, map[value]*api.Key{}, map[string]*api.Plan{}, map[string][]*api.Plan{}
	for _, k := range keys {
		s.setKey(k.ID, k)
	}
	for _, p := range plans {
		s.setPlan(p.ID, p)
	}
	return nil
}

func (s *Service) reloadKey(ctx context.Context, id string) error {
	list, err := s.readKeys(ctx, s.db.Read(), `WHERE id = ?`, id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(list) == 0 {
		s.setKey(id, nil)
	} else {
		s.setKey(id, list[0])
	}
	return nil
}

func (s *Service) reloadPlan(ctx context.Context, id string) error {
	list, err := readPlans(ctx, s.db.Read(), `WHERE id = ?`, id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(list) == 0 {
		s.setPlan(id, nil)
	} else {
		s.setPlan(id, list[0])
	}
	return nil
}

// exec runs a statement and notes a change.
func exec(ctx context.Context, tx *db.Tx, notice, statement string, args ...any) error {
	tx.Changed(domain, notice)
	if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
		return failed("write usage plans", err)
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

// readKeys reads API keys without their values; rest is what follows FROM.
func (s *Service) readKeys(ctx context.Context, q db.Querier, rest string, args ...any) (list []*stored, err error) {
	rows, err := q.QueryContext(ctx, `SELECT digest, document FROM usage_keys `+rest, args...)
	if err != nil {
		return nil, failed("read API keys", err)
	}
	defer rows.Close()
	for rows.Next() {
		k := &stored{Key: &api.Key{}}
		var digest string
		var text, raw []byte
		err := rows.Scan(&digest, &text)
		if err == nil {
			err = json.Unmarshal(text, k.Key)
		}
		if err == nil {
			raw, err = hex.DecodeString(digest)
		}
		if err != nil {
			return nil, failed("read API keys", err)
		}
		k.digest = string(raw)
		list = append(list, k)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read API keys", err)
	}
	return list, nil
}

// key reads an API key without its value. Error: NotFoundException.
func (s *Service) key(ctx context.Context, q db.Querier, project, id string) (*api.Key, error) {
	list, err := s.readKeys(ctx, q, `WHERE id = ? AND project = ?`, id, project)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, noKey()
	}
	return list[0].Key, nil
}

// unsealed is the value of a key. Error: Internal, when it was sealed with another master key.
func (s *Service) unsealed(ctx context.Context, q db.Querier, id string) (string, error) {
	var sealed string
	err := q.QueryRowContext(ctx, `SELECT sealed FROM usage_keys WHERE id = ?`, id).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return "", noKey()
	}
	var text []byte
	if err == nil {
		text, err = base64.StdEncoding.DecodeString(sealed)
	}
	if err == nil {
		text, err = s.aead.Open(nil, nil, text, []byte(id))
	}
	if err != nil {
		return "", hansom.Errorf(hansom.Internal, "read API key", "the value of API key %s cannot be read with this server's master key: %w", id, err)
	}
	return string(text), nil
}

// seal encrypts the value of a key, for this key alone.
func (s *Service) seal(id, v string) string {
	return base64.StdEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(v), []byte(id)))
}

// readPlans reads usage plans with the IDs of their keys; rest is what follows FROM.
func readPlans(ctx context.Context, q db.Querier, rest string, args ...any) ([]*api.Plan, error) {
	plans, err := db.Documents[api.Plan](ctx, q, `SELECT document FROM usage_plans `+rest, args...)
	if err != nil || len(plans) == 0 {
		return nil, err
	}
	byID := map[string]*api.Plan{}
	for _, p := range plans {
		byID[p.ID] = p
	}
	query, keyArgs := `SELECT plan, id FROM usage_plan_keys ORDER BY plan, id`, []any(nil)
	if len(plans) == 1 {
		query, keyArgs = `SELECT plan, id FROM usage_plan_keys WHERE plan = ? ORDER BY id`, []any{plans[0].ID}
	}
	rows, err := q.QueryContext(ctx, query, keyArgs...)
	if err != nil {
		return nil, failed("read usage plans", err)
	}
	defer rows.Close()
	for rows.Next() {
		var plan, id string
		if err := rows.Scan(&plan, &id); err != nil {
			return nil, failed("read usage plans", err)
		}
		if p := byID[plan]; p != nil {
			p.Keys = append(p.Keys, id)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read usage plans", err)
	}
	return plans, nil
}
