// Package authorize says who may call a route: JWT authorizers, Lambda authorizers, AWS_IAM and API keys, as HTTP APIs have them.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control.html
package authorize

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/jwt"
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
	Region string // stands in the ARNs that policies are evaluated against
	JWT    jwt.Config
	// Answers is how many answers of Lambda authorizers are kept; the oldest go first.
	Answers int
	// Timeout is the longest that a Lambda authorizer may take.
	Timeout time.Duration
	Now     func() time.Time
}

// DefaultConfig has API Gateway's limits: 10 s for a Lambda authorizer.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, JWT: jwt.DefaultConfig(), Answers: 100_000, Timeout: 10 * time.Second, Now: time.Now}
}

// Service authorizes requests. Its methods may be called from several goroutines.
type Service struct {
	cfg    Config
	deps   Deps
	logger *slog.Logger
	tokens *jwt.Verifier
	answers answers
}

// New returns a Service. Its Run must be called for the keys of issuers to be fetched again before they are too old.
func New(cfg Config, deps Deps, logger *slog.Logger) *Service {
	return &Service{cfg: cfg, deps: deps, logger: logger.With("component", "authorize"), tokens: jwt.New(cfg.JWT, deps.Dialer, logger)}
}

// Run keeps the keys of issuers fresh until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.tokens.Run(ctx) }

// Reset forgets what Lambda authorizers have answered for a stage of an API: ResetAuthorizersCache.
func (s *Service) Reset(api, stage string) { s.answers.reset(api, stage) }
