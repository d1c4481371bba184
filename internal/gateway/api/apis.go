package api

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// now is the time, to the second: AWS shows no more.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Second) }

// DefaultKeySelection is where an API key is looked for unless the API says otherwise.
const DefaultKeySelection = "$request.header.x-api-key"

// Quick is what a quick create makes: an integration, a route to it and the stage $default, which deploys by itself.
type Quick struct {
	Target      string // ARN of a function, or a URL
	RouteKey    string // "" is $default
	Credentials string
}

// CreateAPI makes an API of what a says of itself; quick may be nil. Errors: BadRequestException, TooManyRequestsException.
func (s *Service) CreateAPI(ctx context.Context, a API, quick *Quick) (*API, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if quick != nil {
		if err := s.quick(&a, *quick); err != nil {
			return nil, err
		}
	}
	return s.insert(ctx, a)
}

// insert stores a new API.
func (s *Service) insert(ctx context.Context, a API) (out *API, err error) {
	a.ID, a.Created = s.cfg.NewID(sizeOfAPI), s.now()
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := count(ctx, tx, "gateway_apis", a.Project)
		if err != nil {
			return err
		}
		if n >= MaxAPIs {
			return full("APIs", "project")
		}
		made := a
		made.Stages, made.Deployments = slices.Clone(a.Stages), nil
		if err := s.autoDeploy(ctx, tx, &made); err != nil {
			return err
		}
		out = &made
		return exec(ctx, tx, ofAPI+a.ID, `INSERT INTO gateway_apis (id, project, document) VALUES (?, ?, ?)`, a.ID, a.Project, db.Document(made))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// quick gives a new API its managed parts.
func (s *Service) quick(a *API, q Quick) error {
	i := Integration{ID: s.cfg.NewID(sizeOfPart), Managed: true, Credentials: q.Credentials}
	i.target(q.Target)
	r := Route{ID: s.cfg.NewID(sizeOfPart), Key: cmp.Or(q.RouteKey, DefaultRoute), Integration: i.ID, Managed: true}
	now := s.now()
	a.Integrations, a.Routes = []Integration{i}, []Route{r}
	a.Stages = []Stage{{Name: DefaultStage, AutoDeploy: true, Created: now, Updated: now, Managed: true}}
	if err := s.checkIntegration(a, &a.Integrations[0]); err != nil {
		return err
	}
	return a.checkRoute(&a.Routes[0])
}

// target makes i the integration of a quick create.
func (i *Integration) target(target string) {
	i.URI, i.Timeout = target, MaxTimeout
	if strings.HasPrefix(target, "arn:") {
		i.Type, i.Method, i.Payload = AWSProxy, "", "2.0"
	} else {
		i.Type, i.Method, i.Payload = HTTPProxy, "ANY", "1.0"
	}
}

// API reads an API. Error: NotFoundException.
func (s *Service) API(ctx context.Context, project, id string) (*API, error) {
	return s.api(ctx, s.db.Read(), project, id)
}

// APIs reads the APIs of a project after an ID, by ID, at most limit of them.
func (s *Service) APIs(ctx context.Context, project, after string, limit int) ([]*API, error) {
	return db.Documents[API](ctx, s.db.Read(), `SELECT document FROM gateway_apis WHERE project = ? AND id > ? ORDER BY id LIMIT ?`, project, after, limit)
}

// UpdateAPI changes what an API says of itself, and with quick what a quick create has made: what of it is "" stays. change may be run again.
// Errors: NotFoundException, BadRequestException.
func (s *Service) UpdateAPI(ctx context.Context, project, id string, change func(*API) error, quick *Quick) (*API, error) {
	return s.edit(ctx, project, id, func(_ *db.Tx, a *API) error {
		if err := change(a); err != nil {
			return err
		}
		if err := a.check(); err != nil {
			return err
		}
		if quick == nil {
			return nil
		}
		i := find(a.Integrations, func(i *Integration) bool { return i.Managed })
		r := find(a.Routes, func(r *Route) bool { return r.Managed })
		if i == nil || r == nil {
			return invalid("Target, RouteKey and CredentialsArn can only be updated for an API that was created using quick create.")
		}
		if quick.Target != "" {
			i.target(quick.Target)
		}
		i.Credentials, r.Key = cmp.Or(quick.Credentials, i.Credentials), cmp.Or(quick.RouteKey, r.Key)
		if err := s.checkIntegration(a, i); err != nil {
			return err
		}
		return a.checkRoute(r)
	})
}

// DeleteAPI removes an API with all that it has. Errors: NotFoundException; BadRequestException while a domain
// has a mapping of it.
func (s *Service) DeleteAPI(ctx context.Context, project, id string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if _, err := s.api(ctx, tx, project, id); err != nil {
			return err
		}
		mapped, err := mappedBy(ctx, tx, project, id, "")
		if err != nil {
			return err
		}
		if mapped != "" {
			return invalid("Deleting API %s failed. Please remove all API mappings for the API from your custom domain names.", id)
		}
		if err := s.onRemove(ctx, tx, project, id, ""); err != nil {
			return err
		}
		if err := exec(ctx, tx, "", `DELETE FROM gateway_snapshots WHERE api = ?`, id); err != nil {
			return err
		}
		return exec(ctx, tx, ofAPI+id, `DELETE FROM gateway_apis WHERE id = ?`, id)
	})
}

// SetCORS sets or, with nil, removes the CORS configuration of an API. Errors: NotFoundException, BadRequestException.
func (s *Service) SetCORS(ctx context.Context, project, id string, cors *hansom.CORS) error {
	_, err := s.UpdateAPI(ctx, project, id, func(a *API) error { a.CORS = cors; return nil }, nil)
	return err
}

// check holds what an API says of itself to API Gateway's rules. Its parts have their own.
func (a *API) check() error {
	switch {
	case a.Name == "":
		return invalid("Name must not be empty.")
	case a.KeySelection != "" && !keySelection(a.KeySelection):
		return invalid("Invalid API key selection expression %.200q. It must be $request.header.NAME or $request.querystring.NAME.", a.KeySelection)
	}
	if err := CheckTags(a.Tags); err != nil {
		return err
	}
	return checkCORS(a.CORS)
}

// keySelection tells whether an API key may be looked for at an expression.
func keySelection(expression string) bool {
	for _, prefix := range []string{"$request.header.", "$request.querystring."} {
		if name, ok := strings.CutPrefix(expression, prefix); ok {
			return name != "" && !strings.ContainsAny(name, " \t\r\n")
		}
	}
	return false
}

// checkAll holds a whole API to the rules, as an import makes it.
func (s *Service) checkAll(a *API) error {
	if err := a.check(); err != nil {
		return err
	}
	switch {
	case len(a.Routes) > MaxRoutes:
		return full("Routes", "API")
	case len(a.Integrations) > MaxIntegrations:
		return full("Integrations", "API")
	case len(a.Authorizers) > MaxAuthorizers:
		return full("Authorizers", "API")
	}
	for i := range a.Integrations {
		if err := s.checkIntegration(a, &a.Integrations[i]); err != nil {
			return err
		}
	}
	for i := range a.Authorizers {
		if err := a.checkAuthorizer(&a.Authorizers[i]); err != nil {
			return err
		}
	}
	for i := range a.Routes {
		if err := a.checkRoute(&a.Routes[i]); err != nil {
			return err
		}
	}
	return nil
}
