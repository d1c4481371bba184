package event

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/pattern"
)

func failed(op string, err error) error { return hansom.Errorf(hansom.KindOf(err), op, "%w", err) }

// settings is what of a mapping is kept as JSON.
type settings struct {
	Batch       int      `json:"batch"`
	Window      int      `json:"window,omitempty"`      // seconds
	Concurrency int      `json:"concurrency,omitempty"` // 0 for no limit of its own
	Filters     []string `json:"filters,omitempty"`
	Partial     bool     `json:"partial,omitempty"`
	Metrics     []string `json:"metrics,omitempty"`
}

// mappings reads mappings in the order in which they were made; rest is what follows FROM.
func (s *Service) mappings(ctx context.Context, q db.Querier, rest string, args ...any) ([]Mapping, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, project, app, source, name, qualifier, enabled, settings, tags, created, modified FROM event_mappings `+rest+
		` ORDER BY created, id`, args...)
	if err != nil {
		return nil, failed("read mappings", err)
	}
	defer rows.Close()
	var list []Mapping
	for rows.Next() {
		var m Mapping
		var text, tags string
		var enabled, created, modified int64
		if err := rows.Scan(&m.ID, &m.Project, &m.App, &m.Source, &m.Function, &m.Qualifier, &enabled, &text, &tags, &created, &modified); err != nil {
			return nil, failed("read mappings", err)
		}
		var set settings
		err := json.Unmarshal([]byte(text), &set)
		if err == nil {
			err = json.Unmarshal([]byte(tags), &m.Tags)
		}
		for _, f := range set.Filters {
			var p *pattern.Pattern
			if err == nil {
				if p, err = pattern.Parse(f); err == nil {
					m.Filters = append(m.Filters, p)
				}
			}
		}
		if err != nil {
			return nil, failed("read mappings", err)
		}
		m.Enabled, m.Created, m.Modified = enabled == 1, time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		m.Batch, m.Window, m.Concurrency = set.Batch, time.Duration(set.Window)*time.Second, set.Concurrency
		m.Partial, m.Metrics = set.Partial, set.Metrics
		m.FunctionARN = hansom.FunctionARN(s.cfg.Region, m.Project, m.Function, m.Qualifier)
		m.ARN = "arn:aws:lambda:" + s.cfg.Region + ":" + m.Project + ":event-source-mapping:" + m.ID
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read mappings", err)
	}
	return list, nil
}

// one reads a mapping of a project. Error: NotFound.
func (s *Service) one(ctx context.Context, q db.Querier, project, id string) (Mapping, error) {
	list, err := s.mappings(ctx, q, `WHERE id = ? AND project = ?`, id, project)
	if err != nil {
		return Mapping{}, err
	}
	if len(list) == 0 {
		return Mapping{}, notFound()
	}
	return list[0], nil
}

// save writes a mapping.
func (s *Service) save(ctx context.Context, tx *db.Tx, m *Mapping) error {
	set := settings{m.Batch, int(m.Window / time.Second), m.Concurrency, nil, m.Partial, m.Metrics}
	for _, f := range m.Filters {
		set.Filters = append(set.Filters, f.String())
	}
	text, err := json.Marshal(set)
	if err != nil {
		return failed("write mapping", err)
	}
	tags, err := json.Marshal(m.Tags)
	if err != nil {
		return failed("write mapping", err)
	}
	enabled := 0
	if m.Enabled {
		enabled = 1
	}
	tx.Changed(domain, m.ID)
	_, err = tx.ExecContext(ctx, `INSERT INTO event_mappings (id, project, app, source, name, qualifier, enabled, settings, tags, created, modified)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET app = excluded.app, name = excluded.name, qualifier = excluded.qualifier, enabled = excluded.enabled,
		settings = excluded.settings, tags = excluded.tags, modified = excluded.modified`,
		m.ID, m.Project, m.App, m.Source, m.Function, m.Qualifier, enabled, string(text), string(tags), m.Created.UnixMicro(), m.Modified.UnixMicro())
	if err != nil {
		return failed("write mapping", err)
	}
	return nil
}

// remove deletes mappings.
func (s *Service) remove(ctx context.Context, tx *db.Tx, list ...Mapping) error {
	for i := range list {
		tx.Changed(domain, list[i].ID)
		if _, err := tx.ExecContext(ctx, `DELETE FROM event_mappings WHERE id = ?`, list[i].ID); err != nil {
			return failed("delete mapping", err)
		}
	}
	return nil
}

// RemoveProject removes the mappings of a project within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	list, err := s.mappings(ctx, tx, `WHERE project = ?`, project)
	if err != nil {
		return err
	}
	return s.remove(ctx, tx, list...)
}
