package lambda

import (
	"strings"

	"github.com/hansomcloud/hansom"
)

// tagged is the function that a Resource names; of others there are none that have tags.
func (s *Service) tagged(c *call) (function string, err error) {
	resource := c.in.text("Resource")
	arn, err := hansom.ParseARN(resource)
	if err != nil {
		return "", err
	}
	name, isFunction := strings.CutPrefix(arn.Resource, "function:")
	name, _, qualified := strings.Cut(name, ":")
	switch {
	case qualified:
		return "", hansom.Errorf(hansom.Invalid, c.op.name, "Tags on function aliases and versions are not supported. Please specify a function ARN.")
	case !isFunction:
		return "", hansom.Errorf(hansom.NotFound, c.op.name, "The resource %s does not exist: functions have tags here.", resource)
	case arn.Account != c.project:
		return "", hansom.Errorf(hansom.Denied, c.op.name,
			"User: %s is not authorized to perform: lambda:%s on resource: %s because no resource-based policy allows the lambda:%[2]s action", c.principal.ARN, c.op.name, resource)
	case arn.Region != s.cfg.Region:
		return "", hansom.Errorf(hansom.NotFound, c.op.name, "Function not found: %s", resource)
	}
	return name, nil
}

func (s *Service) tag(c *call) (any, error) {
	name, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	tags := c.in.textMap("Tags")
	if len(tags) == 0 {
		return nil, hansom.Errorf(hansom.Invalid, c.op.name, "An error occurred and the request cannot be processed.")
	}
	return nil, s.functions.Tag(c.Context(), c.project, name, tags)
}

func (s *Service) untag(c *call) (any, error) {
	name, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	return nil, s.functions.Untag(c.Context(), c.project, name, c.in.texts("TagKeys"))
}

func (s *Service) listTags(c *call) (any, error) {
	name, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	tags, err := s.functions.Tags(c.Context(), c.project, name)
	if err != nil {
		return nil, err
	}
	return struct{ Tags map[string]string }{tags}, nil
}
