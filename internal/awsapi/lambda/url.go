package lambda

import (
	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
)

// aliasOnly refuses a version in the name: function URLs belong to $LATEST, unqualified, or to an alias.
func (c *call) aliasOnly() error {
	if c.qualifier == hansom.Latest || isDigits(c.qualifier) {
		return invalid([]string{"Value '" + c.qualifier + `' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)`})
	}
	return nil
}

func (s *Service) createURL(c *call) (any, error) {
	if err := c.aliasOnly(); err != nil {
		return nil, err
	}
	u, err := s.functions.CreateURL(c.Context(), c.project, c.function, c.qualifier, function.URLInput{
		AuthType: c.in.text("AuthType"), InvokeMode: c.in.text("InvokeMode"), CORS: corsOf(c.in),
	})
	if err != nil {
		return nil, err
	}
	out := s.urlOf(&u)
	out.LastModifiedTime, out.InvokeMode = "", c.in.text("InvokeMode") // as AWS answers a creation
	return out, nil
}

func (s *Service) getURL(c *call) (any, error) {
	if err := c.aliasOnly(); err != nil {
		return nil, err
	}
	u, err := s.functions.GetURL(c.Context(), c.project, c.function, c.qualifier)
	if err != nil {
		return nil, err
	}
	return s.urlOf(&u), nil
}

func (s *Service) updateURL(c *call) (any, error) {
	if err := c.aliasOnly(); err != nil {
		return nil, err
	}
	u, err := s.functions.UpdateURL(c.Context(), c.project, c.function, c.qualifier, function.UpdateURLInput{
		AuthType: c.in.text("AuthType"), InvokeMode: c.in.text("InvokeMode"), CORS: corsOf(c.in),
	})
	if err != nil {
		return nil, err
	}
	return s.urlOf(&u), nil
}

func (s *Service) deleteURL(c *call) (any, error) {
	if err := c.aliasOnly(); err != nil {
		return nil, err
	}
	return nil, s.functions.DeleteURL(c.Context(), c.project, c.function, c.qualifier)
}

func (s *Service) listURLs(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	list, next, err := s.functions.ListURLs(c.Context(), c.project, c.function, c.page())
	if err != nil {
		return nil, err
	}
	out := struct {
		FunctionUrlConfigs []urlConfiguration
		NextMarker         string `json:",omitempty"`
	}{make([]urlConfiguration, len(list)), next}
	for i := range list {
		out.FunctionUrlConfigs[i] = s.urlOf(&list[i])
	}
	return out, nil
}

// corsOf returns nil when the request has no Cors.
func corsOf(in params) *hansom.CORS {
	c := in.sub("Cors")
	if c == nil {
		return nil
	}
	return &hansom.CORS{AllowCredentials: c.boolPtr("AllowCredentials"), AllowHeaders: c.texts("AllowHeaders"), AllowMethods: c.texts("AllowMethods"),
		AllowOrigins: c.texts("AllowOrigins"), ExposeHeaders: c.texts("ExposeHeaders"), MaxAge: c.integerPtr("MaxAge")}
}
