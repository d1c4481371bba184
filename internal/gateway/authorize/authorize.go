// Package authorize says who may call a route: JWT authorizers, Lambda authorizers, AWS_IAM and API keys, as HTTP APIs have them.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control.html
package authorize

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/jwt"
	"github.com/hansomcloud/hansom/internal/gateway/recent"
	"github.com/hansomcloud/hansom/internal/upstream"
)

// Query is one request at a route.
type Query struct {
	Request *http.Request
	API     *api.Live
	Stage   *api.LiveStage
	Route   *api.Route
	ID      string // request id
	Path    string // below the stage and the mapping, as routes are matched against it; begins with "/"
	// Params are the parameters of the path, by name; nil when there is none.
	Params func(name string) (string, bool)
	// Selection is what a selection expression finds in the request: "$request.header.x", "$request.querystring.x", "$context.x",
	// "$stageVariables.x". ok is false when there is nothing.
	Selection func(expression string) (value string, ok bool)
	// Event makes the event of a Lambda authorizer of payload format "1.0" or "2.0"; identity are the values of the identity sources
	// in their order. The event belongs to the caller until the function has answered.
	Event  func(payload string, identity []string) ([]byte, error)
	Source string // address of the client, without its port
}

// Decision says whether a request goes on. Status is 0 when it does; 401, 403 or 500 otherwise.
type Decision struct {
	Status  int
	Message string      // of a refusal: "Unauthorized", "Forbidden", "Internal Server Error"
	Header  http.Header // of a refusal: WWW-Authenticate; may be nil
	// Context is the JSON for requestContext.authorizer of payload format 2.0: {"jwt":{"claims":{...},"scopes":[...]}},
	// {"lambda":{...}} or {"iam":{...}}. nil for none.
	Context []byte
	// ContextV1 is the JSON for requestContext.authorizer of payload format 1.0: {"claims":{...},"scopes":[...]}, or the context of a
	// Lambda authorizer with its principalId. nil for none.
	ContextV1 []byte
	// Value is $context.authorizer.<name>, "" for what is not there; "error" says why a request was refused. It is never nil.
	Value     func(name string) string
	Principal *hansom.Principal // who signed, with AWS_IAM
	Key       *api.Key          // of the request, with KeyRequired
	Plan      *api.Plan         // that Key has for the stage
}

// Authenticator verifies a signed request; its error is answered with 403.
type Authenticator interface {
	Authenticate(r *http.Request) (hansom.Principal, error)
}

// Keys finds an API key by its value, and the usage plan that it has for a stage of an API. ok is false when there is no such key;
// the plan is nil when it has none for the stage.
type Keys interface {
	Key(value, api, stage string) (k *api.Key, p *api.Plan, ok bool)
}

// Deps are what a Service works with.
type Deps struct {
	Dialer  *upstream.Dialer // to issuers
	Invoker hansom.Invoker   // of Lambda authorizers
	Auth    Authenticator
	Keys    Keys
}

// Config of a Service.
type Config struct {
	Region  string // stands in the ARNs that policies are evaluated against
	JWT     jwt.Config
	Answers int           // of Lambda authorizers that are kept
	Timeout time.Duration // of a Lambda authorizer
	Now     func() time.Time
}

// DefaultConfig gives Lambda authorizers 10 s, as API Gateway does.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, JWT: jwt.DefaultConfig(), Answers: 10_000, Timeout: 10 * time.Second, Now: time.Now}
}

// Service authorizes requests. Its methods may be called from several goroutines.
type Service struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	tokens  *jwt.Verifier
	answers *recent.Map[question, *answer]
	resets  atomic.Int64
}

// New returns a Service. Run keeps the keys of issuers fresh.
func New(cfg Config, deps Deps, logger *slog.Logger) *Service {
	return &Service{cfg: cfg, deps: deps, log: logger.With("component", "authorize"), tokens: jwt.New(cfg.JWT, deps.Dialer, logger),
		answers: recent.New[question, *answer](cfg.Answers)}
}

// Run fetches the keys of issuers before they are too old, until ctx ends. Afterwards no keys are fetched any more.
func (s *Service) Run(ctx context.Context) error { return s.tokens.Run(ctx) }

// Reset forgets what Lambda authorizers have answered for a stage of an API: ResetAuthorizersCache.
func (s *Service) Reset(api, stage string) {
	s.resets.Add(1)
	s.answers.DeleteFunc(func(q question, _ *answer) bool { return q.api == api && q.stage == stage })
}

// Authorize says whether a request goes on: first what the authorizer of its route has, then the API key. It detaches the fiber of ctx
// before it waits for anything.
func (s *Service) Authorize(ctx context.Context, q *Query) Decision {
	d := s.authorize(ctx, q)
	if d.Status == 0 && q.Route.KeyRequired {
		s.key(q, &d)
	}
	if d.Value == nil {
		d.Value = nothing
	}
	return d
}

func (s *Service) authorize(ctx context.Context, q *Query) Decision {
	switch q.Route.Authorization {
	case "", "NONE":
		return Decision{}
	case "AWS_IAM":
		return s.iam(ctx, q)
	}
	for i := range q.Stage.Authorizers {
		a := &q.Stage.Authorizers[i]
		switch {
		case a.ID != q.Route.Authorizer:
		case q.Route.Authorization == "JWT" && a.Type == api.JWT:
			return s.jwt(ctx, q, a)
		case q.Route.Authorization == "CUSTOM" && a.Type == api.Request:
			return s.function(ctx, q, a)
		}
	}
	s.log.Error("a route has no authorizer", "api", q.API.ID, "route", q.Route.Key, "authorization", q.Route.Authorization, "authorizer", q.Route.Authorizer)
	return refused(http.StatusInternalServerError, "the route's authorizer is not there")
}

func nothing(string) string { return "" }

// refused is a refusal, with what $context.authorizer.error says.
func refused(status int, reason string) Decision {
	d := Decision{Status: status, Value: func(name string) string {
		if name == "error" {
			return reason
		}
		return ""
	}}
	switch status {
	case http.StatusUnauthorized:
		d.Message = "Unauthorized"
	case http.StatusForbidden:
		d.Message = "Forbidden"
	default:
		d.Message = "Internal Server Error"
	}
	return d
}

// iam takes requests that are signed with keys of the API's project.
func (s *Service) iam(ctx context.Context, q *Query) Decision {
	detach(ctx) // keys are read from the database
	p, err := s.deps.Auth.Authenticate(q.Request)
	if err != nil {
		return refused(http.StatusForbidden, err.Error())
	}
	if p.Project != q.API.Project {
		return refused(http.StatusForbidden, "the caller is of another project")
	}
	text, err := json.Marshal(map[string]any{"iam": map[string]any{"accessKey": p.AccessKeyID, "accountId": p.Project, "callerId": p.UserID,
		"cognitoIdentity": nil, "principalOrgId": nil, "userArn": p.ARN, "userId": p.UserID}})
	if err != nil {
		return refused(http.StatusInternalServerError, err.Error())
	}
	return Decision{Context: text, Principal: &p}
}

const (
	headerSelection = "$request.header."
	keySelection    = headerSelection + "x-api-key"
	usageKey        = "$context.authorizer.usageIdentifierKey" // the key that a Lambda authorizer has named
)

// key looks for an API key that has a usage plan for the stage.
func (s *Service) key(q *Query, d *Decision) {
	value := ""
	switch expression := q.API.KeySelection; expression {
	case usageKey:
		if d.Value != nil {
			value = d.Value("usageIdentifierKey")
		}
	case "":
		value, _ = q.selected(keySelection)
	default:
		value, _ = q.selected(expression)
	}
	if value == "" {
		*d = refused(http.StatusForbidden, "the request has no API key")
		return
	}
	k, p, ok := s.deps.Keys.Key(value, q.API.ID, q.Stage.Name)
	switch {
	case !ok || k.Project != q.API.Project:
		*d = refused(http.StatusForbidden, "the API key is not known")
	case !k.Enabled:
		*d = refused(http.StatusForbidden, "the API key is disabled")
	case p == nil:
		*d = refused(http.StatusForbidden, "the API key has no usage plan for the stage")
	default:
		d.Key, d.Plan = k, p
	}
}

// selected is what a selection expression finds; empty is nothing.
func (q *Query) selected(expression string) (string, bool) {
	if name, ok := strings.CutPrefix(expression, headerSelection); ok { // most are; they need no parser
		switch values := q.Request.Header.Values(name); len(values) {
		case 0:
			return "", false
		case 1:
			return values[0], values[0] != ""
		default:
			return strings.Join(values, ","), true
		}
	}
	value, ok := q.Selection(expression)
	return value, ok && value != ""
}

func detach(ctx context.Context) {
	if f := hansom.FiberOf(ctx); f != nil {
		f.Detach()
	}
}
