package layer

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

func failed(op string, err error) error {
	return hansom.Errorf(hansom.KindOf(err), op, "%w", err)
}

// versions reads versions; rest is what follows FROM.
func (s *Service) versions(ctx context.Context, q db.Querier, rest string, args ...any) ([]Version, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, number, sha256, size, description, license, runtimes, architectures, statements,
		revision_id, created FROM layer_versions `+rest, args...)
	if err != nil {
		return nil, failed("read layers", err)
	}
	defer rows.Close()
	var list []Version
	for rows.Next() {
		v := Version{Region: s.cfg.Region}
		var runtimes, architectures, statements string
		var created int64
		if err := rows.Scan(&v.Project, &v.Name, &v.Number, &v.SHA256, &v.Size, &v.Description, &v.License, &runtimes, &architectures,
			&statements, &v.revisionID, &created); err != nil {
			return nil, failed("read layers", err)
		}
		if err := errors.Join(json.Unmarshal([]byte(runtimes), &v.Runtimes), json.Unmarshal([]byte(architectures), &v.Architectures),
			json.Unmarshal([]byte(statements), &v.statements)); err != nil {
			return nil, failed("read layers", err)
		}
		v.Created = time.UnixMicro(created).UTC()
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read layers", err)
	}
	return list, nil
}

// find reads one version; ok is false when it is not there.
func (s *Service) find(ctx context.Context, q db.Querier, project, name string, number int64) (v Version, ok bool, err error) {
	list, err := s.versions(ctx, q, `WHERE project = ? AND name = ? AND number = ?`, project, name, number)
	if err != nil || len(list) == 0 {
		return Version{}, false, err
	}
	return list[0], true, nil
}

func (s *Service) insert(ctx context.Context, tx *db.Tx, v *Version) error {
	runtimes, err := json.Marshal(v.Runtimes)
	if err != nil {
		return failed("write layer", err)
	}
	architectures, err := json.Marshal(v.Architectures)
	if err != nil {
		return failed("write layer", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO layer_versions (project, name, number, sha256, size, description, license, runtimes, architectures,
		statements, revision_id, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '[]', ?, ?)`, v.Project, v.Name, v.Number, v.SHA256, v.Size,
		v.Description, v.License, string(runtimes), string(architectures), v.revisionID, v.Created.UnixMicro())
	if err != nil {
		return failed("write layer", err)
	}
	return nil
}
