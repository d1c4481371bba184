package iam

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

func (s *service) putRolePolicy(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, policy := f.roleName(), f.text("PolicyName", maxPolicyName, namePattern, true)
	document, err := f.document("PolicyDocument")
	if err != nil {
		return nil, err
	}
	return nil, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		return exec(ctx, tx, r.project, r.name, `INSERT INTO iam_role_policies (project, role, name, document) VALUES (?, ?, ?, ?)
			ON CONFLICT (project, role, name) DO UPDATE SET document = excluded.document`, r.project, r.name, policy, document)
	})
}

func (s *service) getRolePolicy(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, policy := f.roleName(), f.text("PolicyName", maxPolicyName, namePattern, true)
	if err := f.err(); err != nil {
		return nil, err
	}
	r, err := findRole(ctx, s.db.Read(), project(ctx), name)
	if err != nil {
		return nil, err
	}
	out := struct{ RoleName, PolicyName, PolicyDocument string }{r.name, policy, ""}
	err = s.db.Read().QueryRowContext(ctx, `SELECT document FROM iam_role_policies WHERE project = ? AND role = ? AND name = ?`, r.project, r.name, policy).Scan(&out.PolicyDocument)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noPolicy(policy)
	}
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "get role policy", "%w", err)
	}
	out.PolicyDocument = encoded(out.PolicyDocument)
	return out, nil
}

func noPolicy(name string) error {
	return hansom.Errorf(hansom.NotFound, "find role policy", "The role policy with name %s cannot be found.", name)
}

// list reads a page of a column that belongs to a role.
func (s *service) list(ctx context.Context, values url.Values, table, column string) ([]string, paging, error) {
	f := form{Values: values}
	name := f.roleName()
	after, limit, err := f.page()
	if err != nil {
		return nil, paging{}, err
	}
	r, err := findRole(ctx, s.db.Read(), project(ctx), name)
	if err != nil {
		return nil, paging{}, err
	}
	all, err := texts(ctx, s.db.Read(), `SELECT `+column+` FROM `+table+` WHERE project = ? AND role = ? AND `+column+` > ? ORDER BY `+column+` LIMIT ?`,
		r.project, r.name, after, limit+1)
	all, p := more(all, limit, func(s string) string { return s })
	return all, p, err
}

func (s *service) listRolePolicies(ctx context.Context, values url.Values) (any, error) {
	names, p, err := s.list(ctx, values, "iam_role_policies", "name")
	return struct {
		PolicyNames []string `xml:"PolicyNames>member"`
		paging
	}{names, p}, err
}

func (s *service) deleteRolePolicy(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, policy := f.roleName(), f.text("PolicyName", maxPolicyName, namePattern, true)
	if err := f.err(); err != nil {
		return nil, err
	}
	return nil, s.remove(ctx, name, "iam_role_policies", "name", policy, noPolicy(policy))
}

// remove deletes one row that belongs to a role; missing is the error when it is not there.
func (s *service) remove(ctx context.Context, name, table, column, value string, missing error) error {
	return s.change(ctx, name, func(tx *db.Tx, r *role) error {
		found, err := texts(ctx, tx, `SELECT `+column+` FROM `+table+` WHERE project = ? AND role = ? AND `+column+` = ?`, r.project, r.name, value)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return missing
		}
		return exec(ctx, tx, r.project, r.name, `DELETE FROM `+table+` WHERE project = ? AND role = ? AND `+column+` = ?`, r.project, r.name, value)
	})
}

func (s *service) attachRolePolicy(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, arn := f.roleName(), f.policyARN()
	if err := f.err(); err != nil {
		return nil, err
	}
	return nil, s.change(ctx, name, func(tx *db.Tx, r *role) error {
		return exec(ctx, tx, r.project, r.name, `INSERT INTO iam_role_attachments (project, role, arn) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, r.project, r.name, arn)
	})
}

func (f *form) policyARN() string { return f.text("PolicyArn", 2048, arnPattern, true) }

func (s *service) detachRolePolicy(ctx context.Context, values url.Values) (any, error) {
	f := form{Values: values}
	name, arn := f.roleName(), f.policyARN()
	if err := f.err(); err != nil {
		return nil, err
	}
	return nil, s.remove(ctx, name, "iam_role_attachments", "arn", arn,
		hansom.Errorf(hansom.NotFound, "detach role policy", "Policy %s was not found.", arn))
}

func (s *service) listAttachedRolePolicies(ctx context.Context, values url.Values) (any, error) {
	type attached struct{ PolicyName, PolicyArn string }
	arns, p, err := s.list(ctx, values, "iam_role_attachments", "arn")
	out := struct {
		AttachedPolicies []attached `xml:"AttachedPolicies>member"`
		paging
	}{paging: p}
	for _, arn := range arns {
		out.AttachedPolicies = append(out.AttachedPolicies, attached{arn[strings.LastIndexByte(arn, '/')+1:], arn})
	}
	return out, err
}
