package lambda

import "github.com/hansomcloud/hansom/internal/function"

func (s *Service) createAlias(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	a, err := s.functions.CreateAlias(c.Context(), c.project, c.function, function.AliasInput{
		Name: c.in.text("Name"), Version: c.in.text("FunctionVersion"), Description: c.in.text("Description"), Weights: weightsOf(c.in),
	})
	return alias(&a, err)
}

func (s *Service) getAlias(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	a, err := s.functions.GetAlias(c.Context(), c.project, c.function, c.in.text("Name"))
	return alias(&a, err)
}

func (s *Service) updateAlias(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	a, err := s.functions.UpdateAlias(c.Context(), c.project, c.function, c.in.text("Name"), function.UpdateAliasInput{
		Version: c.in.textPtr("FunctionVersion"), Description: c.in.textPtr("Description"), Weights: weightsOf(c.in), RevisionID: c.in.text("RevisionId"),
	})
	return alias(&a, err)
}

func (s *Service) deleteAlias(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	return nil, s.functions.DeleteAlias(c.Context(), c.project, c.function, c.in.text("Name"))
}

func (s *Service) listAliases(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	list, next, err := s.functions.ListAliases(c.Context(), c.project, c.function, c.in.text("FunctionVersion"), c.page())
	if err != nil {
		return nil, err
	}
	out := struct {
		NextMarker string `json:",omitempty"`
		Aliases    []aliasConfiguration
	}{next, make([]aliasConfiguration, len(list))}
	for i := range list {
		out.Aliases[i] = aliasOf(&list[i])
	}
	return out, nil
}

func alias(a *function.Alias, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return aliasOf(a), nil
}

// weightsOf returns nil when the request has no RoutingConfig, and an empty map when it has one without weights.
func weightsOf(in params) map[string]float64 {
	routing := in.sub("RoutingConfig")
	if routing == nil {
		return nil
	}
	out := map[string]float64{}
	weights, _ := routing["AdditionalVersionWeights"].(map[string]any)
	for version, w := range weights {
		out[version], _ = w.(float64)
	}
	return out
}
