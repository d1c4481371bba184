// Package awsapi is the AWS side of the api listener: it authenticates a request, finds the service it is meant for and
// hands it over. The services' wire shapes are in the packages below.
package awsapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
)

// Authenticator tells who sent a request. Errors are of kind hansom.Unauthenticated and carry AWS's code.
type Authenticator interface {
	Authenticate(r *http.Request) (hansom.Principal, error)
}

// Service is one AWS API. Its ServeHTTP finds the caller with PrincipalFrom and the request's id with RequestID.
type Service interface {
	http.Handler
	// WriteError answers with err in the service's own protocol.
	WriteError(w http.ResponseWriter, r *http.Request, err error)
}

// Handler dispatches requests to services.
type Handler struct {
	auth     Authenticator
	logger   *slog.Logger
	services map[string]Service
}

// New returns a handler for services, which are named as in the scope of a SigV4 signature: "lambda", "apigateway", "sqs".
func New(auth Authenticator, logger *slog.Logger, services map[string]Service) *Handler {
	return &Handler{auth: auth, logger: logger.With("component", "awsapi"), services: services}
}

type contextKey struct{}

type call struct {
	principal hansom.Principal
	requestID string
}

// PrincipalFrom returns who sent the request; the zero Principal is hansom.Anonymous.
func PrincipalFrom(ctx context.Context) hansom.Principal {
	if c, ok := ctx.Value(contextKey{}).(*call); ok {
		return c.principal
	}
	return hansom.Principal{}
}

// RequestID returns the id that x-amzn-RequestId carries, a lower-case UUID; "" outside a request.
func RequestID(ctx context.Context) string {
	if c, ok := ctx.Value(contextKey{}).(*call); ok {
		return c.requestID
	}
	return ""
}

// WithCall returns ctx with the principal and the request id that PrincipalFrom and RequestID find.
func WithCall(ctx context.Context, p hansom.Principal, requestID string) context.Context {
	return context.WithValue(ctx, contextKey{}, &call{p, requestID})
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := hansom.NewID()
	w.Header()["X-Amzn-Requestid"] = []string{id}
	c := &call{requestID: id}
	name := serviceName(r)
	svc, known := h.services[name]
	p, err := h.auth.Authenticate(r) // before the request is copied: it may replace the body
	c.principal = p
	r = r.WithContext(context.WithValue(r.Context(), contextKey{}, c))
	if !known {
		svc = unknown{h.logger}
		if err == nil {
			err = hansom.Errorf(hansom.Unsupported, "dispatch",
				"The service %q is not offered by this server. It offers: %s.", name, strings.Join(sortedKeys(h.services), ", ")).WithCode("UnsupportedServiceException")
		}
	}
	if err != nil {
		svc.WriteError(w, r, err)
		return
	}
	svc.ServeHTTP(w, r)
}

// serviceName tells the service from the scope of the signature, else from X-Amz-Target, else from the path.
func serviceName(r *http.Request) string {
	if service, _, ok := auth.Scope(r); ok {
		return service
	}
	if target, _, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return strings.TrimPrefix(strings.ToLower(target), "amazon") // AmazonSQS
	}
	// Lambda's paths begin with the date of an API version: /2015-03-31/functions
	if p := r.URL.Path; len(p) > 12 && p[0] == '/' && p[5] == '-' && p[8] == '-' && p[11] == '/' {
		return "lambda"
	}
	for _, prefix := range []string{"/v2/", "/apikeys", "/usageplans", "/restapis"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return "apigateway"
		}
	}
	return ""
}

// ByPath is two services that share a name: the one for paths that begin with prefix, and the one for all others.
func ByPath(prefix string, below, rest Service) Service { return byPath{prefix, below, rest} }

type byPath struct {
	prefix      string
	below, rest Service
}

func (b byPath) of(r *http.Request) Service {
	if strings.HasPrefix(r.URL.Path, b.prefix) {
		return b.below
	}
	return b.rest
}

func (b byPath) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.of(r).ServeHTTP(w, r) }

func (b byPath) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	b.of(r).WriteError(w, r, err)
}
