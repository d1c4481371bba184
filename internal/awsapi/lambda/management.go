package lambda

import (
	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
)

type runtimeManagement struct {
	UpdateRuntimeOn   string
	FunctionArn       string
	RuntimeVersionArn string `json:",omitempty"`
}

func runtimeManagementOf(m function.RuntimeManagement, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return runtimeManagement{m.UpdateOn, m.FunctionARN, m.RuntimeARN}, nil
}

func (s *Service) getRuntimeManagement(c *call) (any, error) {
	return runtimeManagementOf(s.functions.GetRuntimeManagement(c.Context(), c.project, c.function, c.qualifier))
}

func (s *Service) putRuntimeManagement(c *call) (any, error) {
	return runtimeManagementOf(s.functions.PutRuntimeManagement(c.Context(), c.project, c.function, c.qualifier,
		c.in.text("UpdateRuntimeOn"), c.in.text("RuntimeVersionArn")))
}

type recursion struct{ RecursiveLoop string }

func (s *Service) getRecursion(c *call) (any, error) {
	mode, err := s.functions.GetRecursion(c.Context(), c.project, c.function)
	if err != nil {
		return nil, err
	}
	return recursion{mode}, nil
}

func (s *Service) putRecursion(c *call) (any, error) {
	mode := c.in.text("RecursiveLoop")
	return recursion{mode}, s.functions.PutRecursion(c.Context(), c.project, c.function, mode)
}

// There are no code signing configurations: CreateCodeSigningConfig is refused. What reads them answers as AWS does when none is there.

func (s *Service) getFunctionCodeSigning(c *call) (any, error) {
	_, err := s.functions.Get(c.Context(), c.project, c.function, "")
	return struct{}{}, err
}

func (s *Service) deleteFunctionCodeSigning(c *call) (any, error) {
	_, err := s.functions.Get(c.Context(), c.project, c.function, "")
	return nil, err
}

func (s *Service) listCodeSigning(*call) (any, error) {
	return struct{ CodeSigningConfigs []struct{} }{[]struct{}{}}, nil
}

// noCodeSigning answers what names a configuration.
func (s *Service) noCodeSigning(c *call) (any, error) {
	return nil, hansom.Errorf(hansom.NotFound, c.op.Name, "The code signing configuration cannot be found. Check that the provided configuration is not deleted: %s.",
		c.in.text("CodeSigningConfigArn"))
}
