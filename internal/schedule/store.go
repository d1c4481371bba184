package schedule

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// micro is a time as the database has it; 0 stands for the zero time.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// read reads schedules; rest is what follows FROM.
func (s *Service) read(ctx context.Context, q db.Querier, rest string, args ...any) (list []*Schedule, err error) {
	rows, err := q.QueryContext(ctx, `SELECT project, grp, name, app, expression, zone, starts, ends, phase, enabled, settings, created, modified FROM schedules `+rest, args...)
	if err != nil {
		return nil, failed("read schedules", err)
	}
	defer rows.Close()
	for rows.Next() {
		c := &Schedule{Region: s.cfg.Region}
		var starts, ends, phase, enabled, created, modified int64
		var settings string
		err := rows.Scan(&c.Project, &c.Group, &c.Name, &c.App, &c.Expression, &c.Zone, &starts, &ends, &phase, &enabled, &settings, &created, &modified)
		if err == nil {
			err = json.Unmarshal([]byte(settings), &c.Settings)
		}
		if err != nil {
			return nil, failed("read schedules", err)
		}
		c.Start, c.End, c.phase, c.Enabled = timeOf(starts), timeOf(ends), timeOf(phase), enabled == 1
		c.Created, c.Modified = timeOf(created), timeOf(modified)
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read schedules", err)
	}
	return list, nil
}

// one reads a schedule. Error: ResourceNotFoundException.
func (s *Service) one(ctx context.Context, q db.Querier, project, group, name string) (*Schedule, error) {
	list, err := s.read(ctx, q, `WHERE project = ? AND grp = ? AND name = ?`, project, group, name)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, hansom.Errorf(hansom.NotFound, "find schedule", "Schedule %s does not exist.", name)
	}
	return list[0], nil
}

func save(ctx context.Context, tx *db.Tx, c *Schedule) error {
	settings, err := json.Marshal(c.Settings)
	if err != nil {
		return failed("write schedule", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO schedules (project, grp, name, app, expression, zone, starts, ends, phase, enabled, settings, created, modified)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, grp, name) DO UPDATE SET expression = excluded.expression, zone = excluded.zone, starts = excluded.starts, ends = excluded.ends,
		phase = excluded.phase, enabled = excluded.enabled, settings = excluded.settings, modified = excluded.modified`,
		c.Project, c.Group, c.Name, c.App, c.Expression, c.Zone, micro(c.Start), micro(c.End), micro(c.phase), flag(c.Enabled), string(settings),
		micro(c.Created), micro(c.Modified))
	if err != nil {
		return failed("write schedule", err)
	}
	return nil
}

// knownToken is the digest of the request that had a token; "" when there was none.
func knownToken(ctx context.Context, tx *db.Tx, project, token string) (digest string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT digest FROM schedule_tokens WHERE project = ? AND token = ?`, project, token).Scan(&digest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", failed("read token", err)
	}
	return digest, nil
}

// readGroups reads groups; rest is what follows FROM.
func (s *Service) readGroups(ctx context.Context, q db.Querier, rest string, args ...any) (list []*Group, err error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, state, tags, created, modified FROM schedule_groups `+rest, args...)
	if err != nil {
		return nil, failed("read schedule groups", err)
	}
	defer rows.Close()
	for rows.Next() {
		g := &Group{Region: s.cfg.Region}
		var tags string
		var created, modified int64
		err := rows.Scan(&g.Project, &g.Name, &g.State, &tags, &created, &modified)
		if err == nil {
			err = json.Unmarshal([]byte(tags), &g.Tags)
		}
		if err != nil {
			return nil, failed("read schedule groups", err)
		}
		g.Created, g.Modified = timeOf(created), timeOf(modified)
		list = append(list, g)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read schedule groups", err)
	}
	return list, nil
}

func saveGroup(ctx context.Context, tx *db.Tx, g *Group) error {
	tags, err := json.Marshal(g.Tags)
	if err != nil {
		return failed("write schedule group", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO schedule_groups (project, name, state, tags, created, modified) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET state = excluded.state, tags = excluded.tags, modified = excluded.modified`,
		g.Project, g.Name, g.State, string(tags), micro(g.Created), micro(g.Modified))
	if err != nil {
		return failed("write schedule group", err)
	}
	return nil
}
