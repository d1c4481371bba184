package provision

import (
	"context"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

// configs reads what was asked for, in the order of project, function and qualifier; rest is what follows FROM.
func (s *Service) configs(ctx context.Context, q db.Querier, rest string, args ...any) ([]Concurrency, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, qualifier, requested, modified FROM provision_configs `+rest+
		` ORDER BY project, name, qualifier`, args...)
	if err != nil {
		return nil, failed("read provisioned concurrency", err)
	}
	defer rows.Close()
	var list []Concurrency
	for rows.Next() {
		var c Concurrency
		var modified int64
		if err := rows.Scan(&c.Project, &c.Function, &c.Qualifier, &c.Requested, &modified); err != nil {
			return nil, failed("read provisioned concurrency", err)
		}
		c.Modified = time.UnixMicro(modified).UTC()
		c.ARN = hansom.FunctionARN(s.cfg.Region, c.Project, c.Function, c.Qualifier)
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read provisioned concurrency", err)
	}
	return list, nil
}

// save writes what is asked for.
func save(ctx context.Context, tx *db.Tx, c *Concurrency) error {
	tx.Changed(domain, c.Project+"/"+c.Function)
	_, err := tx.ExecContext(ctx, `INSERT INTO provision_configs (project, name, qualifier, requested, modified) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (project, name, qualifier) DO UPDATE SET requested = excluded.requested, modified = excluded.modified`,
		c.Project, c.Function, c.Qualifier, c.Requested, c.Modified.UnixMicro())
	if err != nil {
		return failed("write provisioned concurrency", err)
	}
	return nil
}

// Remove forgets what was asked for a qualifier of a function within the caller's transaction, for all when it is "".
func (s *Service) Remove(ctx context.Context, tx *db.Tx, project, function, qualifier string) error {
	result, err := tx.ExecContext(ctx, `DELETE FROM provision_configs WHERE project = ? AND name = ? AND ? IN ('', qualifier)`, project, function, qualifier)
	if err != nil {
		return failed("delete provisioned concurrency", err)
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		tx.Changed(domain, project+"/"+function)
	}
	return nil
}

// Sums is the provisioned concurrency of a project's functions, by name, as q has it.
func (s *Service) Sums(ctx context.Context, q db.Querier, project string) (map[string]int, error) {
	list, err := s.configs(ctx, q, `WHERE project = ?`, project)
	out := map[string]int{}
	for i := range list {
		out[list[i].Function] += list[i].Requested
	}
	return out, err
}
