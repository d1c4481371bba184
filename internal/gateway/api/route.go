package api

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Ways to authorize the callers of a route.
const (
	NoAuthorization = "NONE"
	IAM             = "AWS_IAM"
	Custom          = "CUSTOM" // by an authorizer of type Request
)

const maxScopes = 10

// Segments of a route's path: fixed ones, and parameters.
var (
	fixedSegment = regexp.MustCompile(`^[A-Za-z0-9._~:@!$&'()*+,;=%-]*$`)
	paramSegment = regexp.MustCompile(`^\{([A-Za-z0-9._:-]+)(\+?)\}$`)
)

// CheckRouteKey holds a route key to API Gateway's rules: "$default", or a method and a path whose parameters take a whole segment each, the
// last of them possibly a greedy one: "GET /pets/{id}", "ANY /{proxy+}". Error: BadRequestException.
func CheckRouteKey(key string) error {
	if key == DefaultRoute {
		return nil
	}
	method, path, _ := strings.Cut(key, " ")
	if !slices.Contains(methods, method) || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t") {
		return invalid(`The provided route key is not formatted properly for HTTP protocol. Format should be "<HTTP METHOD> /<RESOURCE PATH>" or "$default"`)
	}
	segments := strings.Split(path[1:], "/")
	names := map[string]bool{}
	for i, segment := range segments {
		last := i == len(segments)-1
		if p := paramSegment.FindStringSubmatch(segment); p != nil {
			switch {
			case p[2] == "+" && !last:
				return invalid("One or more path parts appear to be invalid: the greedy path variable {%s+} must be the last part.", p[1])
			case names[p[1]]:
				return invalid("One or more path parts appear to be invalid: the path variable {%s} is there twice.", p[1])
			}
			names[p[1]] = true
		} else if segment == "" && !last || !fixedSegment.MatchString(segment) {
			return invalid("One or more path parts appear to be invalid")
		}
	}
	return nil
}

// shape is a route key without the names of its parameters: two routes with the same one take the same requests.
func shape(key string) string {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		if p := paramSegment.FindStringSubmatch(part); p != nil {
			parts[i] = "{" + p[2] + "}"
		}
	}
	return strings.Join(parts, "/")
}

// checkRoute holds a route of an API, which is one of a.Routes already, to the rules.
func (a *API) checkRoute(r *Route) error {
	if err := CheckRouteKey(r.Key); err != nil {
		return err
	}
	own := shape(r.Key)
	switch other := find(a.Routes, func(o *Route) bool { return o.ID != r.ID && shape(o.Key) == own }); {
	case other != nil && other.Key == r.Key:
		return conflict("Route with key %s already exists for this API", r.Key)
	case other != nil:
		return conflict("Route with key %s already exists for this API: %s takes the same requests", r.Key, other.Key)
	case r.Integration != "" && a.integration(r.Integration) == nil:
		return notFound("Integration")
	}
	return a.checkAuthorization(r)
}

// checkAuthorization holds a route's authorizer to its type of authorization.
func (a *API) checkAuthorization(r *Route) error {
	z := find(a.Authorizers, func(z *Authorizer) bool { return z.ID == r.Authorizer })
	switch r.Authorization {
	case JWT:
		if z == nil || z.Type != JWT {
			return invalid("Invalid authorizer ID specified. Setting the authorization type to JWT requires a valid JWT authorizer.")
		}
	case Custom:
		if z == nil || z.Type != Request {
			return invalid("Invalid authorizer ID specified. Setting the authorization type to CUSTOM or COGNITO_USER_POOLS requires a valid authorizer.")
		}
	case "", NoAuthorization, IAM:
		if r.Authorizer != "" {
			return invalid("Invalid authorizer ID specified. An authorizer requires the authorization type JWT or CUSTOM.")
		}
	default:
		return invalid("Invalid authorization type %.64q. Must be one of: [NONE, AWS_IAM, CUSTOM, JWT]", r.Authorization)
	}
	switch {
	case len(r.Scopes) > 0 && r.Authorization != JWT:
		return invalid("Invalid Route authorization type specified. Authorization Scopes are only valid for COGNITO_USER_POOLS and JWT authorization types")
	case len(r.Scopes) > maxScopes:
		return full("authorization scopes", "Route")
	}
	return nil
}

func (a *API) route(id string) *Route {
	return find(a.Routes, func(r *Route) bool { return r.ID == id })
}

// CreateRoute adds a route to an API. Errors: NotFoundException for the API and the integration, BadRequestException, ConflictException for a key that is
// there, TooManyRequestsException.
func (s *Service) CreateRoute(ctx context.Context, project, api string, r Route) (out *Route, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		if len(a.Routes) >= MaxRoutes {
			return full("Routes", "API")
		}
		made := r
		made.ID = s.unused(sizeOfPart, func(id string) bool { return a.route(id) != nil })
		a.Routes = append(a.Routes, made)
		out = &made
		return a.checkRoute(&made)
	})
	return out, err
}

// UpdateRoute changes a route. change may be run again. Errors: as CreateRoute.
func (s *Service) UpdateRoute(ctx context.Context, project, api, id string, change func(*Route) error) (out *Route, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		r := a.route(id)
		if r == nil {
			return notFound("Route")
		}
		key := r.Key
		if err := change(r); err != nil {
			return err
		}
		if r.Managed && r.Key != key {
			return managed("Route")
		}
		out = r
		return a.checkRoute(r)
	})
	return out, err
}

// DeleteRoute removes a route. Errors: NotFoundException; BadRequestException for the one of a quick create.
func (s *Service) DeleteRoute(ctx context.Context, project, api, id string) error {
	_, err := s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		if r := a.route(id); r != nil && r.Managed {
			return managed("Route")
		}
		if !remove(&a.Routes, func(r *Route) bool { return r.ID == id }) {
			return notFound("Route")
		}
		return nil
	})
	return err
}

// Route reads a route. Error: NotFoundException.
func (s *Service) Route(ctx context.Context, project, api, id string) (*Route, error) {
	a, err := s.API(ctx, project, api)
	if err != nil {
		return nil, err
	}
	if r := a.route(id); r != nil {
		return r, nil
	}
	return nil, notFound("Route")
}

// managed refuses a change of what a quick create has made.
func managed(what string) error {
	return hansom.Errorf(hansom.Invalid, "change "+what, "The %s is managed by API Gateway: it was created using quick create, and is deleted with its API.", what)
}
