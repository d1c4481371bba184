package function

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/policy"
)

// resourcePolicy is the one of a qualifier. Its RevisionID is given anew together with that of its function, version or
// alias, and stays when only that one changes: the Lambda API accepts either as a precondition.
type resourcePolicy struct {
	revisionID string
	statements policy.Statements
}

var (
	accountPattern   = regexp.MustCompile(`^\d{12}$`)
	principalPattern = regexp.MustCompile(`^arn:(aws[a-zA-Z0-9-]*):(iam|sts)::\d{12}:[^\s]+$`)
	servicePattern   = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws\.com(\.cn)?|amazon\.com)$`)
)

// AddPermission adds a statement to the policy of a function, version or alias, and returns it as JSON.
// Errors: NotFound, Conflict for a statement id that is taken, Precondition, Invalid.
func (s *Service) AddPermission(ctx context.Context, project, name, qualifier string, in PermissionInput) (string, error) {
	if qualifier == hansom.Latest {
		return "", hansom.Errorf(hansom.Invalid, "add permission", "We currently do not support adding policies for $LATEST.")
	}
	st, err := s.statement(project, name, qualifier, in)
	if err != nil {
		return "", err
	}
	return st.String(), s.db.Write(ctx, func(tx *db.Tx) error {
		current, err := s.policyTarget(ctx, tx, project, name, qualifier)
		if err != nil {
			return err
		}
		p, found, err := s.policy(ctx, tx, project, name, qualifier)
		if err != nil {
			return err
		}
		statements, err := p.statements.Add(st)
		if err != nil {
			return err
		}
		if err := checkPolicyRevision(in.RevisionID, current, p.revisionID, found); err != nil {
			return err
		}
		return s.savePolicy(ctx, tx, project, name, qualifier, statements)
	})
}

// RemovePermission takes a statement out of a policy. Errors: NotFound, Precondition.
func (s *Service) RemovePermission(ctx context.Context, project, name, qualifier, statementID, revisionID string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, ok, err := s.record(ctx, tx, project, name, 0); err != nil {
			return err
		} else if !ok {
			return hansom.Errorf(hansom.NotFound, "remove permission", "No policy found for: %s", s.arn(project, name, qualifier))
		}
		current, err := s.policyTarget(ctx, tx, project, name, qualifier)
		if err != nil {
			return err
		}
		p, ok, err := s.policy(ctx, tx, project, name, qualifier)
		if err != nil {
			return err
		}
		if !ok {
			return hansom.Errorf(hansom.NotFound, "remove permission", "No policy is associated with the given resource.")
		}
		statements, err := p.statements.Remove(statementID)
		if err != nil {
			return err
		}
		if err := checkPolicyRevision(revisionID, current, p.revisionID, true); err != nil {
			return err
		}
		return s.savePolicy(ctx, tx, project, name, qualifier, statements)
	})
}

// GetPolicy returns the policy document of a function, version or alias as JSON. Errors: NotFound.
func (s *Service) GetPolicy(ctx context.Context, project, name, qualifier string) (document, revisionID string, err error) {
	p, ok, err := s.policy(ctx, s.db.Read(), project, name, qualifier)
	if err != nil {
		return "", "", err
	}
	if !ok {
		return "", "", noResource()
	}
	return p.statements.Document(), p.revisionID, nil
}

// statement makes a statement of a request, as the Lambda API does.
func (s *Service) statement(project, name, qualifier string, in PermissionInput) (policy.Statement, error) {
	const op = "add permission"
	st := policy.Statement{Sid: in.StatementID, Effect: "Allow", Action: in.Action, Resource: s.arn(project, name, qualifier)}
	switch {
	case in.Principal == "*":
		st.Principal = "*"
	case accountPattern.MatchString(in.Principal):
		st.Principal = map[string]string{"AWS": "arn:aws:iam::" + in.Principal + ":root"}
	case principalPattern.MatchString(in.Principal):
		st.Principal = map[string]string{"AWS": in.Principal}
	case servicePattern.MatchString(in.Principal):
		st.Principal = map[string]string{"Service": in.Principal}
	default:
		return policy.Statement{}, hansom.Errorf(hansom.Invalid, op, "The provided principal was invalid. Please check the principal and try again.")
	}
	if in.FunctionURLAuthType != "" && in.Action != "lambda:InvokeFunctionUrl" {
		return policy.Statement{}, hansom.Errorf(hansom.Invalid, op, "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
	}
	add := func(operator, key, value string) {
		if value == "" {
			return
		}
		if st.Condition == nil {
			st.Condition = map[string]map[string]string{}
		}
		if st.Condition[operator] == nil {
			st.Condition[operator] = map[string]string{}
		}
		st.Condition[operator][key] = value
	}
	add("StringEquals", "AWS:SourceAccount", in.SourceAccount)
	add("StringEquals", "aws:PrincipalOrgID", in.PrincipalOrgID)
	add("StringEquals", "lambda:EventSourceToken", in.EventSourceToken)
	add("StringEquals", "lambda:FunctionUrlAuthType", in.FunctionURLAuthType)
	add("ArnLike", "AWS:SourceArn", in.SourceARN)
	if in.InvokedViaURL != nil {
		add("Bool", "lambda:InvokedViaFunctionUrl", strconv.FormatBool(*in.InvokedViaURL))
	}
	return st, nil
}

// policyTarget checks that what a policy is for is there, and returns its RevisionID.
func (s *Service) policyTarget(ctx context.Context, q db.Querier, project, name, qualifier string) (revisionID string, err error) {
	r, err := s.latest(ctx, q, project, name)
	if err != nil || qualifier == "" {
		return r.RevisionID, err
	}
	if aliasPattern.MatchString(qualifier) && isAlias(qualifier) {
		a, err := s.knownAlias(ctx, q, project, name, qualifier)
		return a.RevisionID, err
	}
	number, ok := numberOf(qualifier)
	if ok {
		r, ok, err = s.record(ctx, q, project, name, number)
	}
	if err == nil && !ok {
		err = s.notFound(project, name, qualifier)
	}
	return r.RevisionID, err
}

func checkPolicyRevision(want, target, policy string, found bool) error {
	if want == "" || want == target || found && want == policy {
		return nil
	}
	return hansom.Errorf(hansom.Precondition, "check revision",
		"The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id")
}

func (s *Service) policy(ctx context.Context, q db.Querier, project, name, qualifier string) (p resourcePolicy, ok bool, err error) {
	var text string
	err = q.QueryRowContext(ctx, `SELECT statements, revision_id FROM function_policies WHERE project = ? AND name = ? AND qualifier = ?`,
		project, name, qualifier).Scan(&text, &p.revisionID)
	if errors.Is(err, sql.ErrNoRows) {
		return resourcePolicy{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &p.statements)
	}
	if err != nil {
		return resourcePolicy{}, false, failed("read policy", err)
	}
	return p, true, nil
}

// savePolicy writes a policy, or removes it with its last statement, under a new RevisionID that its target gets too.
func (s *Service) savePolicy(ctx context.Context, tx *db.Tx, project, name, qualifier string, statements policy.Statements) error {
	const op = "write policy"
	revisionID := s.newID()
	var err error
	if len(statements) == 0 {
		err = exec(ctx, tx, op, []any{project, name, qualifier}, `DELETE FROM function_policies WHERE project = ? AND name = ? AND qualifier = ?`)
	} else {
		err = exec(ctx, tx, op, []any{project, name, qualifier, statements.String(), revisionID},
			`INSERT INTO function_policies (project, name, qualifier, statements, revision_id) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (project, name, qualifier) DO UPDATE SET statements = excluded.statements, revision_id = excluded.revision_id`)
	}
	if err != nil {
		return err
	}
	note(tx, project, name)
	if qualifier != "" && isAlias(qualifier) {
		return exec(ctx, tx, op, []any{revisionID, project, name, qualifier},
			`UPDATE function_aliases SET revision_id = ? WHERE project = ? AND name = ? AND alias = ?`)
	}
	number, _ := numberOf(qualifier) // 0, $LATEST, for ""
	return exec(ctx, tx, op, []any{revisionID, project, name, number},
		`UPDATE function_versions SET revision_id = ? WHERE project = ? AND name = ? AND number = ?`)
}
