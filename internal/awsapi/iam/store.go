package iam

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

//go:embed migrations/*.sql
var embedded embed.FS

// domain names the tables, migrations and change notices of this package.
const domain = "iam"

func migrate(ctx context.Context, database *db.DB) error {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return hansom.Errorf(hansom.Internal, "migrate iam", "%w", err)
	}
	return database.Migrate(ctx, domain, files)
}

// role is an IAM role: it is kept, and gives nothing, until access policies exist.
type role struct {
	project, name, path, id string
	trust                   string // the policy document that says who may assume it
	description             string
	maxSession              int // seconds
	tags                    map[string]string
	created                 time.Time
}

func (r *role) arn() string { return "arn:aws:iam::" + r.project + ":role" + r.path + r.name }

const roleColumns = `project, name, path, id, trust, description, max_session, tags, created`

func scanRole(row interface{ Scan(...any) error }) (role, error) {
	var r role
	var tags string
	var created int64
	if err := row.Scan(&r.project, &r.name, &r.path, &r.id, &r.trust, &r.description, &r.maxSession, &tags, &created); err != nil {
		return role{}, err
	}
	r.created = time.UnixMicro(created).UTC()
	return r, json.Unmarshal([]byte(tags), &r.tags)
}

// findRole looks a role up by its name, in any case. Errors: NotFound.
func findRole(ctx context.Context, q db.Querier, project, name string) (role, error) {
	r, err := scanRole(q.QueryRowContext(ctx, `SELECT `+roleColumns+` FROM iam_roles WHERE project = ? AND folded = ?`, project, strings.ToLower(name)))
	if errors.Is(err, sql.ErrNoRows) {
		return role{}, hansom.Errorf(hansom.NotFound, "find role", "The role with name %s cannot be found.", name)
	}
	if err != nil {
		return role{}, hansom.Errorf(hansom.Internal, "find role", "%w", err)
	}
	return r, nil
}

// saveRole writes a new role, or replaces it.
func saveRole(ctx context.Context, tx *db.Tx, r *role) error {
	tags, err := json.Marshal(r.tags)
	if err != nil {
		return hansom.Errorf(hansom.Internal, "save role", "%w", err)
	}
	return exec(ctx, tx, r.project, r.name, `INSERT INTO iam_roles (`+roleColumns+`, folded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET trust = excluded.trust, description = excluded.description, max_session = excluded.max_session, tags = excluded.tags`,
		r.project, r.name, r.path, r.id, r.trust, r.description, r.maxSession, string(tags), r.created.UnixMicro(), strings.ToLower(r.name))
}

// exec changes something of a role and notes it.
func exec(ctx context.Context, tx *db.Tx, project, role, query string, args ...any) error {
	tx.Changed(domain, project+"/"+role)
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return hansom.Errorf(hansom.Internal, "write role", "%w", err)
	}
	return nil
}

// texts runs a query for one column of text.
func texts(ctx context.Context, q db.Querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "list", "%w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, hansom.Errorf(hansom.Internal, "list", "%w", err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "list", "%w", err)
	}
	return out, nil
}

func listRoles(ctx context.Context, q db.Querier, project, prefix, after string, limit int) ([]role, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+roleColumns+` FROM iam_roles
		WHERE project = ? AND name > ? AND substr(path, 1, ?) = ? ORDER BY name LIMIT ?`, project, after, len(prefix), prefix, limit)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "list roles", "%w", err)
	}
	defer rows.Close()
	var out []role
	for rows.Next() {
		r, err := scanRole(rows)
		if err != nil {
			return nil, hansom.Errorf(hansom.Internal, "list roles", "%w", err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, hansom.Errorf(hansom.Internal, "list roles", "%w", err)
	}
	return out, nil
}
