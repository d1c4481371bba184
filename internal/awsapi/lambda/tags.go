package lambda

import (
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/function/tagging"
)

// tagged is the function or the event source mapping that a Resource names; of others there are none that have tags.
func (s *Service) tagged(c *call) (function, mapping string, err error) {
	resource := c.in.text("Resource")
	arn, err := hansom.ParseARN(resource)
	if err != nil {
		return "", "", err
	}
	mapping, isMapping := strings.CutPrefix(arn.Resource, "event-source-mapping:")
	name, isFunction := strings.CutPrefix(arn.Resource, "function:")
	name, _, qualified := strings.Cut(name, ":")
	switch {
	case qualified && isFunction:
		return "", "", hansom.Errorf(hansom.Invalid, c.op.Name, "Tags on function aliases and versions are not supported. Please specify a function ARN.")
	case !isFunction && !isMapping:
		return "", "", hansom.Errorf(hansom.NotFound, c.op.Name, "The resource %s does not exist: functions and event source mappings have tags here.", resource)
	case arn.Account != c.project:
		return "", "", hansom.Errorf(hansom.Denied, c.op.Name,
			"User: %s is not authorized to perform: lambda:%s on resource: %s because no resource-based policy allows the lambda:%[2]s action", c.principal.ARN, c.op.Name, resource)
	case arn.Region != s.cfg.Region:
		return "", "", hansom.Errorf(hansom.NotFound, c.op.Name, "Function not found: %s", resource)
	case isMapping:
		return "", mapping, nil
	}
	return name, "", nil
}

func (s *Service) tag(c *call) (any, error) {
	name, mapping, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	tags := c.in.textMap("Tags")
	if len(tags) == 0 {
		return nil, hansom.Errorf(hansom.Invalid, c.op.Name, "An error occurred and the request cannot be processed.")
	}
	if mapping == "" {
		return nil, s.functions.Tag(c.Context(), c.project, name, tags)
	}
	if err := tagging.Check(tags); err != nil {
		return nil, err
	}
	return nil, s.mappings.Tag(c.Context(), c.project, mapping, tags, nil)
}

func (s *Service) untag(c *call) (any, error) {
	name, mapping, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	if mapping != "" {
		return nil, s.mappings.Tag(c.Context(), c.project, mapping, nil, c.in.texts("TagKeys"))
	}
	return nil, s.functions.Untag(c.Context(), c.project, name, c.in.texts("TagKeys"))
}

func (s *Service) listTags(c *call) (any, error) {
	name, mapping, err := s.tagged(c)
	if err != nil {
		return nil, err
	}
	var tags map[string]string
	if mapping != "" {
		var m event.Mapping
		m, err = s.mappings.Get(c.project, mapping)
		tags = m.Tags
	} else {
		tags, err = s.functions.Tags(c.Context(), c.project, name)
	}
	if err != nil {
		return nil, err
	}
	if tags == nil {
		tags = map[string]string{}
	}
	return struct{ Tags map[string]string }{tags}, nil
}
