package api

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom/internal/db"
)

// DefaultTTL is how long the answer of a Lambda authorizer is used again unless the authorizer says otherwise, in s; MaxTTL the longest.
const (
	DefaultTTL = 300
	MaxTTL     = 3600
)

const maxAudiences = 50

// checkAuthorizer holds an authorizer, which may be one of a.Authorizers already, to the rules.
func (a *API) checkAuthorizer(z *Authorizer) error {
	if z.Name == "" {
		return invalid("Name must not be empty.")
	}
	if find(a.Authorizers, func(o *Authorizer) bool { return o.ID != z.ID && o.Name == z.Name }) != nil {
		return conflict("Authorizer name must be unique. Authorizer %s already exists in this API.", z.Name)
	}
	for _, source := range z.Sources {
		if !identitySource(source) {
			return invalid("Invalid identity source expression: %.200s. The source must be a request header, request querystring, stage variable or context parameter", source)
		}
	}
	switch z.Type {
	case JWT:
		return z.checkJWT()
	case Request:
		return z.checkRequest(a.Project)
	}
	return invalid("Invalid authorizer type %.64q. Must be one of: [REQUEST, JWT]", z.Type)
}

func identitySource(expression string) bool {
	for _, prefix := range []string{"$request.header.", "$request.querystring.", "$stageVariables.", "$context."} {
		if name, ok := strings.CutPrefix(expression, prefix); ok {
			return name != "" && !strings.ContainsAny(name, " \t\r\n,")
		}
	}
	return false
}

func (z *Authorizer) checkJWT() error {
	switch u, err := url.Parse(z.Issuer); {
	case z.URI != "" || z.Payload != "" || z.Simple || z.TTL != 0 || z.Credentials != "":
		return invalid("AuthorizerUri, AuthorizerPayloadFormatVersion, AuthorizerResultTtlInSeconds, AuthorizerCredentialsArn and EnableSimpleResponses can only be set for REQUEST authorizers.")
	case len(z.Sources) != 1 || !strings.HasPrefix(z.Sources[0], "$request."):
		return invalid("A JWT authorizer requires exactly one identity source, a request header or request querystring.")
	case z.Issuer == "" || len(z.Audience) == 0:
		return invalid("JwtConfiguration with an Issuer and an Audience is a required parameter for JWT authorizer")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return invalid("Invalid issuer: %.200s is no URL below which /.well-known/openid-configuration is", z.Issuer)
	case len(z.Audience) > maxAudiences:
		return full("audiences", "Authorizer")
	case slices.Contains(z.Audience, ""):
		return invalid("An audience of JwtConfiguration must not be empty.")
	}
	return nil
}

func (z *Authorizer) checkRequest(project string) error {
	switch {
	case z.Issuer != "" || len(z.Audience) > 0:
		return invalid("JwtConfiguration can only be set for JWT authorizers.")
	case z.Payload == "":
		return invalid("AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer")
	case z.Payload != "1.0" && z.Payload != "2.0":
		return invalid("Invalid AuthorizerPayloadFormatVersion %.64q. Must be one of: [1.0, 2.0]", z.Payload)
	case z.Simple && z.Payload != "2.0":
		return invalid(`EnableSimpleResponses can only be set for AuthorizerPayloadFormatVersion "2.0".`)
	case z.TTL < 0 || z.TTL > MaxTTL:
		return invalid("Authorizer result TTL outside allowable range. TTL must be between 0 and %d seconds.", MaxTTL)
	case z.TTL > 0 && len(z.Sources) == 0:
		return invalid("Identity source must be set if authorizer caching is enabled (TTL is greater than 0)")
	}
	if err := checkRole(z.Credentials); err != nil {
		return err
	}
	return checkFunction(project, z.URI)
}

func (a *API) authorizer(id string) *Authorizer {
	return find(a.Authorizers, func(z *Authorizer) bool { return z.ID == id })
}

// CreateAuthorizer adds an authorizer to an API. Errors: NotFoundException, BadRequestException, ConflictException for a name that is there,
// TooManyRequestsException.
func (s *Service) CreateAuthorizer(ctx context.Context, project, api string, z Authorizer) (out *Authorizer, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		if len(a.Authorizers) >= MaxAuthorizers {
			return full("Authorizers", "API")
		}
		made := z
		made.ID = s.unused(sizeOfAuthorizer, func(id string) bool { return a.authorizer(id) != nil })
		if err := a.checkAuthorizer(&made); err != nil {
			return err
		}
		a.Authorizers = append(a.Authorizers, made)
		out = &made
		return nil
	})
	return out, err
}

// UpdateAuthorizer changes an authorizer; its type stays that which routes need. change may be run again. Errors: as CreateAuthorizer.
func (s *Service) UpdateAuthorizer(ctx context.Context, project, api, id string, change func(*Authorizer) error) (out *Authorizer, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		out = a.authorizer(id)
		if out == nil {
			return notFound("Authorizer")
		}
		if err := change(out); err != nil {
			return err
		}
		if err := a.checkAuthorizer(out); err != nil {
			return err
		}
		for i := range a.Routes {
			if err := a.checkAuthorization(&a.Routes[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// DeleteAuthorizer removes an authorizer. Errors: NotFoundException; ConflictException while a route has it.
func (s *Service) DeleteAuthorizer(ctx context.Context, project, api, id string) error {
	_, err := s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		z := a.authorizer(id)
		if z == nil {
			return notFound("Authorizer")
		}
		if r := find(a.Routes, func(r *Route) bool { return r.Authorizer == id }); r != nil {
			return conflict("Cannot delete authorizer '%s', is referenced in route: %s", z.Name, r.Key)
		}
		remove(&a.Authorizers, func(z *Authorizer) bool { return z.ID == id })
		return nil
	})
	return err
}

// Authorizer reads an authorizer. Error: NotFoundException.
func (s *Service) Authorizer(ctx context.Context, project, api, id string) (*Authorizer, error) {
	a, err := s.API(ctx, project, api)
	if err != nil {
		return nil, err
	}
	if z := a.authorizer(id); z != nil {
		return z, nil
	}
	return nil, notFound("Authorizer")
}
