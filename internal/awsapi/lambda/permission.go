package lambda

import "github.com/hansomcloud/hansom/internal/function"

func (s *Service) addPermission(c *call) (any, error) {
	statement, err := s.functions.AddPermission(c.Context(), c.project, c.function, c.qualifier, function.PermissionInput{
		StatementID: c.in.text("StatementId"), Action: c.in.text("Action"), Principal: c.in.text("Principal"),
		SourceARN: c.in.text("SourceArn"), SourceAccount: c.in.text("SourceAccount"), PrincipalOrgID: c.in.text("PrincipalOrgID"),
		EventSourceToken: c.in.text("EventSourceToken"), FunctionURLAuthType: c.in.text("FunctionUrlAuthType"),
		InvokedViaURL: c.in.boolPtr("InvokedViaFunctionUrl"), RevisionID: c.in.text("RevisionId"),
	})
	if err != nil {
		return nil, err
	}
	return struct{ Statement string }{statement}, nil
}

func (s *Service) removePermission(c *call) (any, error) {
	return nil, s.functions.RemovePermission(c.Context(), c.project, c.function, c.qualifier, c.in.text("StatementId"), c.in.text("RevisionId"))
}

func (s *Service) getPolicy(c *call) (any, error) {
	policy, revision, err := s.functions.GetPolicy(c.Context(), c.project, c.function, c.qualifier)
	if err != nil {
		return nil, err
	}
	return struct{ Policy, RevisionId string }{policy, revision}, nil
}
