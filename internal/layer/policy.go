package layer

import (
	"context"
	"regexp"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/policy"
)

var (
	accountPattern = regexp.MustCompile(`^\d{12}$`)
	rootPattern    = regexp.MustCompile(`^arn:aws[a-zA-Z-]*:iam::(\d{12}):root$`)
)

// allows says whether the policy lets another project use the version. A statement for an organisation lets nobody: there are none.
func (v *Version) allows(project string) bool {
	return slices.ContainsFunc(v.statements, func(st policy.Statement) bool {
		if st.Condition != nil {
			return false
		}
		if st.Principal == "*" {
			return true
		}
		p, _ := st.Principal.(map[string]any)
		arn, _ := p["AWS"].(string)
		m := rootPattern.FindStringSubmatch(arn)
		return m != nil && m[1] == project
	})
}

// PermissionInput is one statement for a version's policy.
type PermissionInput struct {
	StatementID    string
	Action         string // "lambda:GetLayerVersion"
	Principal      string // "*", an account id, or the ARN of an account's root
	OrganizationID string
	RevisionID     string // "" or the one that the policy must have
}

// AddPermission adds a statement to a version's policy and returns it as JSON, with the policy's new RevisionId.
// Errors: NotFound, Conflict for a statement id that is taken, Precondition, Invalid.
func (s *Service) AddPermission(ctx context.Context, project, name string, number int64, in PermissionInput) (text, revisionID string, err error) {
	const op = "share layer"
	st := policy.Statement{Sid: in.StatementID, Effect: "Allow", Action: in.Action, Resource: hansom.LayerARN(s.cfg.Region, project, name, number)}
	switch {
	case in.Action != "lambda:GetLayerVersion":
		return "", "", hansom.Errorf(hansom.Invalid, op, "the action of a layer's policy is lambda:GetLayerVersion, not %.80q", in.Action)
	case in.Principal == "*":
		st.Principal = "*"
	case accountPattern.MatchString(in.Principal):
		st.Principal = map[string]string{"AWS": "arn:aws:iam::" + in.Principal + ":root"}
	case rootPattern.MatchString(in.Principal):
		st.Principal = map[string]string{"AWS": in.Principal}
	default:
		return "", "", hansom.Errorf(hansom.Invalid, op, "The provided principal was invalid. Please check the principal and try again.")
	}
	if in.OrganizationID != "" {
		if in.Principal != "*" {
			return "", "", hansom.Errorf(hansom.Invalid, op, `OrganizationId goes with the principal "*" only`)
		}
		st.Condition = map[string]map[string]string{"StringEquals": {"aws:PrincipalOrgID": in.OrganizationID}}
	}
	revisionID, err = s.changePolicy(ctx, project, name, number, in.RevisionID, func(all policy.Statements) (policy.Statements, error) {
		return all.Add(st)
	})
	return st.String(), revisionID, err
}

// RemovePermission takes a statement out of a version's policy. Errors: NotFound, Precondition.
func (s *Service) RemovePermission(ctx context.Context, project, name string, number int64, statementID, revisionID string) error {
	_, err := s.changePolicy(ctx, project, name, number, revisionID, func(all policy.Statements) (policy.Statements, error) {
		return all.Remove(statementID)
	})
	return err
}

// Policy returns the policy document of a version as JSON. Errors: NotFound.
func (s *Service) Policy(ctx context.Context, project, name string, number int64) (document, revisionID string, err error) {
	v, err := s.known(ctx, s.db.Read(), project, name, number)
	if err != nil {
		return "", "", err
	}
	if len(v.statements) == 0 {
		return "", "", hansom.Errorf(hansom.NotFound, "find policy", "No policy is associated with the given resource.")
	}
	return v.statements.Document(), v.revisionID, nil
}

func (s *Service) known(ctx context.Context, q db.Querier, project, name string, number int64) (Version, error) {
	v, ok, err := s.find(ctx, q, project, name, number)
	if err == nil && !ok {
		err = hansom.Errorf(hansom.NotFound, "find layer", "Layer version %s does not exist.", hansom.LayerARN(s.cfg.Region, project, name, number))
	}
	return v, err
}

func (s *Service) changePolicy(ctx context.Context, project, name string, number int64, want string, change func(policy.Statements) (policy.Statements, error)) (revisionID string, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		v, err := s.known(ctx, tx, project, name, number)
		if err != nil {
			return err
		}
		if want != "" && want != v.revisionID {
			return hansom.Errorf(hansom.Precondition, "check revision",
				"The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id")
		}
		statements, err := change(v.statements)
		if err != nil {
			return err
		}
		revisionID = s.newID()
		_, err = tx.ExecContext(ctx, `UPDATE layer_versions SET statements = ?, revision_id = ? WHERE project = ? AND name = ? AND number = ?`,
			statements.String(), revisionID, project, name, number)
		if err != nil {
			return failed("write policy", err)
		}
		return nil
	})
	return revisionID, err
}
