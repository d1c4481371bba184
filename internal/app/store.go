package app

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

const selectApp = `SELECT a.project, a.name, a.deployment, a.created_at, d.created_at, d.manifest
	FROM app a JOIN app_deployment d ON d.project = a.project AND d.app = a.name AND d.number = a.deployment `

// find returns an app and whether it is there.
func find(ctx context.Context, q db.Querier, project, name string) (App, bool, error) {
	a, err := scanApp(q.QueryRowContext(ctx, selectApp+`WHERE a.project = ? AND a.name = ?`, project, name))
	if errors.Is(err, sql.ErrNoRows) {
		return App{}, false, nil
	}
	return a, err == nil, err
}

// list returns the apps of a project by name; of all projects when project is "".
func list(ctx context.Context, q db.Querier, project string) ([]App, error) {
	rows, err := q.QueryContext(ctx, selectApp+`WHERE ? IN ('', a.project) ORDER BY a.project, a.name`, project)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "list apps", "%w", err)
	}
	defer rows.Close()
	var out []App
	for rows.Next() {
		a, err := scanApp(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	if err := rows.Err(); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "list apps", "%w", err)
	}
	return out, nil
}

func scanApp(row interface{ Scan(...any) error }) (App, error) {
	var a App
	var created, updated int64
	var text string
	if err := row.Scan(&a.Project, &a.Name, &a.Deployment, &created, &updated, &text); err != nil {
		return App{}, hansom.Errorf(hansom.Internal, "read app", "%w", err)
	}
	a.Created, a.Updated = time.UnixMicro(created), time.UnixMicro(updated)
	var err error
	a.Manifest, err = decode(text)
	return a, err
}

// decode reads a stored manifest. It is not validated again: a later version may be stricter than the one that stored it.
func decode(text string) (*manifest.Resolved, error) {
	var r manifest.Resolved
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "read deployment", "%w", err)
	}
	return &r, nil
}

func history(ctx context.Context, q db.Querier, project, name string) ([]Deployment, error) {
	const op = "list deployments"
	rows, err := q.QueryContext(ctx, `SELECT number, actor, created_at, manifest, layers, restored FROM app_deployment
		WHERE project = ? AND app = ? ORDER BY number DESC`, project, name)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	defer rows.Close()
	var out []Deployment
	for rows.Next() {
		var d Deployment
		var created int64
		var text, layers string
		err := rows.Scan(&d.Number, &d.Actor, &created, &text, &layers, &d.Restored)
		if err == nil {
			err = json.Unmarshal([]byte(layers), &d.Layers)
		}
		if err != nil {
			return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		d.Created = time.UnixMicro(created)
		if d.Manifest, err = decode(text); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	return out, nil
}

// References marks the packages, layers and sites of all kept deployments.
func (s *Service) References(ctx context.Context, q db.Querier, refs *artifact.References) error {
	const op = "list deployments"
	rows, err := q.QueryContext(ctx, `SELECT project, manifest, layers FROM app_deployment`)
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var project, text, layers string
		var list []hansom.Layer
		if err := errors.Join(rows.Scan(&project, &text, &layers), json.Unmarshal([]byte(layers), &list)); err != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		r, err := decode(text)
		if err != nil {
			return err
		}
		for _, f := range r.Functions {
			refs.Package(project, f.CodeSHA256)
		}
		if r.Site != nil {
			refs.Site(project, r.Site.SHA256)
		}
		for i := range list {
			refs.Layers(list[i : i+1])
		}
	}
	if err := rows.Err(); err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	return nil
}

// store makes d the current deployment and forgets those beyond the history.
func (s *Service) store(ctx context.Context, tx *db.Tx, project string, d *Deployment) error {
	text, err := json.Marshal(d.Manifest)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "store deployment", "%w", err)
	}
	layers, err := json.Marshal(d.Layers)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "store deployment", "%w", err)
	}
	now, name := s.cfg.Now().UnixMicro(), d.Manifest.Name
	for _, stmt := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO app_deployment (project, app, number, manifest, layers, actor, created_at, restored) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			[]any{project, name, d.Number, string(text), string(layers), d.Actor, now, d.Restored}},
		{`INSERT INTO app (project, name, deployment, created_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (project, name) DO UPDATE SET deployment = excluded.deployment`, []any{project, name, d.Number, now}},
		{`DELETE FROM app_deployment WHERE project = ? AND app = ? AND number <= ?`, []any{project, name, d.Number - int64(s.cfg.History)}},
	} {
		if _, err := tx.ExecContext(ctx, stmt.query, stmt.args...); err != nil {
			return hansom.Errorf(hansom.Internal, "store deployment", "%w", err)
		}
	}
	tx.Changed(domain, project+"/"+name)
	return nil
}

func remove(ctx context.Context, tx *db.Tx, project, name string) error {
	for _, query := range []string{
		`DELETE FROM app WHERE project = ? AND name = ?`,
		`DELETE FROM app_deployment WHERE project = ? AND app = ?`,
	} {
		if _, err := tx.ExecContext(ctx, query, project, name); err != nil {
			return hansom.Errorf(hansom.Internal, "delete app", "%w", err)
		}
	}
	tx.Changed(domain, project+"/"+name)
	return nil
}
