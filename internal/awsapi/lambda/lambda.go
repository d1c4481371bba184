// Package lambda is the AWS Lambda API (2015-03-31 and its later additions) on top of function and an invoker. Requests are
// validated against the constraints of AWS's model, which the generated table in model_gen.go holds.
package lambda

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/layer"
	"github.com/hansomcloud/hansom/internal/provision"
)

// Sizes of request bodies in bytes, as AWS has them: a zip of 50 MB in base64 and room for the rest; everything else.
const (
	maxCodeRequest    = 70_167_211
	maxControlRequest = 6 << 20
)

// Config of a Service.
type Config struct {
	Region      string
	DownloadKey []byte                 // signs Code.Location; at least 16 bytes, kept secret
	DownloadTTL time.Duration          // how long a Code.Location works
	FunctionURL func(id string) string // the address of a function URL
	Now         func() time.Time
}

// DefaultConfig has AWS's lifetime of Code.Location, 10 minutes. DownloadKey and FunctionURL must be set.
func DefaultConfig() Config {
	return Config{Region: hansom.DefaultRegion, DownloadTTL: 10 * time.Minute, Now: time.Now}
}

// Service answers the Lambda API. It is an awsapi.Service.
type Service struct {
	cfg       Config
	functions *function.Service
	layers    *layer.Service
	provision *provision.Service
	mappings  *event.Service
	invoker   Invoker
	artifacts *artifact.Store
	logger    *slog.Logger
	actions   map[string]action
	routes    map[string][]route // by method
	validator *validator
	buffers   buffers
}

// Invoker runs functions. Accept takes over an invocation that nobody waits for; when it returns nil, the invocation will run
// whatever happens to the server. Its errors go to the caller as they are.
type Invoker interface {
	hansom.Invoker
	Accept(ctx context.Context, inv *hansom.Invocation) error
}

// invocations are the operations that are served apart from the control plane.
var invocations = []string{opInvoke, opStream, opAsync}

// call is one request to an operation of the control plane.
type call struct {
	*http.Request
	op        *model.Operation
	principal hansom.Principal
	project   string
	function  string // bare name
	qualifier string // of the name and of the query, merged
	in        params
	status    int // of the answer
}

// action answers an operation with what becomes the JSON body; nil means no body.
type action func(s *Service, c *call) (any, error)

// New returns a service. invoker runs functions, artifacts holds packages. It errs when the configuration lacks something.
func New(cfg Config, functions *function.Service, layers *layer.Service, provisioned *provision.Service, mappings *event.Service, invoker Invoker, artifacts *artifact.Store, logger *slog.Logger) (*Service, error) {
	if len(cfg.DownloadKey) < 16 || cfg.FunctionURL == nil || cfg.Now == nil {
		return nil, hansom.Errorf(hansom.Invalid, "new lambda api", "the configuration lacks DownloadKey (at least 16 bytes), FunctionURL or Now")
	}
	s := &Service{cfg: cfg, functions: functions, layers: layers, provision: provisioned, mappings: mappings, invoker: invoker, artifacts: artifacts, logger: logger.With("component", "lambda"),
		actions: map[string]action{
			"CreateFunction": (*Service).createFunction, "GetFunction": (*Service).getFunction,
			"GetFunctionConfiguration": (*Service).getFunctionConfiguration, "ListFunctions": (*Service).listFunctions,
			"UpdateFunctionCode": (*Service).updateFunctionCode, "UpdateFunctionConfiguration": (*Service).updateFunctionConfiguration,
			"DeleteFunction": (*Service).deleteFunction,
			"PublishVersion": (*Service).publishVersion, "ListVersionsByFunction": (*Service).listVersions,
			"CreateAlias": (*Service).createAlias, "GetAlias": (*Service).getAlias, "ListAliases": (*Service).listAliases,
			"UpdateAlias": (*Service).updateAlias, "DeleteAlias": (*Service).deleteAlias,
			"PutFunctionConcurrency": (*Service).putConcurrency, "GetFunctionConcurrency": (*Service).getConcurrency,
			"DeleteFunctionConcurrency": (*Service).deleteConcurrency, "GetAccountSettings": (*Service).getAccountSettings,
			"PutProvisionedConcurrencyConfig": (*Service).putProvisioned, "GetProvisionedConcurrencyConfig": (*Service).getProvisioned,
			"DeleteProvisionedConcurrencyConfig": (*Service).deleteProvisioned, "ListProvisionedConcurrencyConfigs": (*Service).listProvisioned,
			"CreateFunctionUrlConfig": (*Service).createURL, "GetFunctionUrlConfig": (*Service).getURL,
			"UpdateFunctionUrlConfig": (*Service).updateURL, "DeleteFunctionUrlConfig": (*Service).deleteURL,
			"ListFunctionUrlConfigs": (*Service).listURLs,
			"AddPermission":          (*Service).addPermission, "RemovePermission": (*Service).removePermission, "GetPolicy": (*Service).getPolicy,
			"GetRuntimeManagementConfig": (*Service).getRuntimeManagement, "PutRuntimeManagementConfig": (*Service).putRuntimeManagement,
			"GetFunctionRecursionConfig": (*Service).getRecursion, "PutFunctionRecursionConfig": (*Service).putRecursion,
			"PutFunctionEventInvokeConfig": (*Service).putEventConfig, "UpdateFunctionEventInvokeConfig": (*Service).updateEventConfig,
			"GetFunctionEventInvokeConfig": (*Service).getEventConfig, "DeleteFunctionEventInvokeConfig": (*Service).deleteEventConfig,
			"ListFunctionEventInvokeConfigs": (*Service).listEventConfigs,
			"GetFunctionCodeSigningConfig":   (*Service).getFunctionCodeSigning, "DeleteFunctionCodeSigningConfig": (*Service).deleteFunctionCodeSigning,
			"ListCodeSigningConfigs": (*Service).listCodeSigning, "GetCodeSigningConfig": (*Service).noCodeSigning,
			"UpdateCodeSigningConfig": (*Service).noCodeSigning, "DeleteCodeSigningConfig": (*Service).noCodeSigning,
			"ListFunctionsByCodeSigningConfig": (*Service).noCodeSigning,
			"PublishLayerVersion":              (*Service).publishLayer, "GetLayerVersion": (*Service).getLayer, "GetLayerVersionByArn": (*Service).getLayerByARN,
			"ListLayers": (*Service).listLayers, "ListLayerVersions": (*Service).listLayerVersions, "DeleteLayerVersion": (*Service).deleteLayer,
			"AddLayerVersionPermission": (*Service).shareLayer, "RemoveLayerVersionPermission": (*Service).unshareLayer,
			"GetLayerVersionPolicy": (*Service).getLayerPolicy,
			"GetCapacityProvider":   (*Service).getCapacityProvider, "ListCapacityProviders": (*Service).listCapacityProviders,
			"CreateEventSourceMapping": (*Service).createMapping, "GetEventSourceMapping": (*Service).getMapping,
			"ListEventSourceMappings": (*Service).listMappings, "UpdateEventSourceMapping": (*Service).updateMapping,
			"DeleteEventSourceMapping": (*Service).deleteMapping,
			"TagResource":              (*Service).tag, "UntagResource": (*Service).untag, "ListTags": (*Service).listTags,
		},
		routes: newRoutes(),
	}
	var served []*model.Operation
	for i := range operations {
		op := &operations[i]
		if _, ok := s.actions[op.Name]; ok || slices.Contains(invocations, op.Name) {
			served = append(served, op)
		}
	}
	s.validator = newValidator(served)
	return s, nil
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name, ok := invokePath(r); ok {
		s.invoke(w, r, name)
		return
	}
	op, path := s.route(r)
	p := awsapi.PrincipalFrom(r.Context())
	switch {
	case op == nil:
		s.WriteError(w, r, hansom.Errorf(hansom.NotFound, "route", "No operation of the Lambda API is at %s %s.", r.Method, r.URL.Path).WithCode("UnknownOperationException"))
	case op.Name == opInvoke:
		s.invoke(w, r, path["FunctionName"])
	case op.Name == opStream:
		s.invokeStream(w, r, path["FunctionName"])
	case op.Name == opAsync:
		s.invokeAsync(w, r, path["FunctionName"])
	case p.Kind == hansom.FunctionSession:
		resource := "*"
		if n, ok := parseName(path["FunctionName"]); ok {
			resource = hansom.FunctionARN(s.cfg.Region, p.Project, n.function, n.qualifier)
		}
		s.WriteError(w, r, awsapi.Denied(p, "lambda:"+op.Name, resource))
	default:
		s.control(w, r, op, path, p)
	}
}

// control serves an operation of the control plane.
func (s *Service) control(w http.ResponseWriter, r *http.Request, op *model.Operation, path map[string]string, p hansom.Principal) {
	act, ok := s.actions[op.Name]
	if !ok {
		s.WriteError(w, r, hansom.Errorf(hansom.Unsupported, op.Name, "The operation %s is not supported by this server.", op.Name))
		return
	}
	c, err := s.prepare(w, r, op, path, p)
	if err != nil {
		s.WriteError(w, r, err)
		return
	}
	out, err := act(s, c)
	switch {
	case err != nil:
		s.WriteError(w, r, err)
	case out == nil:
		w.WriteHeader(c.status)
	default:
		awsapi.WriteJSON(w, c.status, out)
	}
}

// prepare reads and validates a request and finds the function it is about.
func (s *Service) prepare(w http.ResponseWriter, r *http.Request, op *model.Operation, path map[string]string, p hansom.Principal) (*call, error) {
	limit := int64(maxControlRequest)
	if op.Name == "CreateFunction" || op.Name == "UpdateFunctionCode" || op.Name == "PublishLayerVersion" {
		limit = maxCodeRequest
	}
	body, err := readAll(r, op.Name, limit)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, unreadable("The query of the request cannot be read: " + err.Error())
	}
	c := &call{Request: r, op: op, principal: p, project: p.Project, status: op.Status}
	if c.in, err = s.validator.decode(op, request{path, query, r.Header, body}); err != nil {
		return nil, err
	}
	if full := c.in.text("FunctionName"); full != "" {
		n, _ := parseName(full) // the pattern has accepted it
		if c.function, c.qualifier, err = s.locate(p, op.Name, n, c.in.text("Qualifier")); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// unqualified refuses a version or alias in the name, for operations on the function as a whole.
func (c *call) unqualified() error {
	if c.qualifier != "" && c.qualifier != hansom.Latest {
		return hansom.Errorf(hansom.Invalid, c.op.Name, "%s acts on the function as a whole: leave the qualifier %s out of FunctionName.", c.op.Name, c.qualifier)
	}
	return nil
}

// readAll reads the body of a request, which may have limit bytes.
func readAll(r *http.Request, op string, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		drain(r)
		return nil, tooLarge(op, limit)
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, readError(err)
	}
	if n > limit {
		drain(r)
		return nil, tooLarge(op, limit)
	}
	return buf.Bytes(), nil
}

// maxDrain is how much of a refused body is read, in bytes, so that a client that is still sending sees the answer.
const maxDrain = 128 << 20

func drain(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, maxDrain) }

// readError tells a body that is not what was signed from a connection that broke.
func readError(err error) error {
	var e *hansom.Error
	if errors.As(err, &e) {
		return err
	}
	return hansom.Errorf(hansom.Invalid, "read body", "The body of the request ended early: %w", err).WithCode("InvalidRequestContentException")
}

// route finds the operation at a method and path.
func (s *Service) route(r *http.Request) (*model.Operation, map[string]string) {
	segments := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	for _, rt := range s.routes[r.Method] {
		if vars, ok := rt.match(segments); ok && (rt.op.Query == "" || strings.Contains(r.URL.RawQuery, rt.op.Query)) {
			return rt.op, vars
		}
	}
	return nil, nil
}

// route is the path of an operation, cut at the slashes.
type route struct {
	op       *model.Operation
	segments []string // "{Name}" stands for any segment
}

// newRoutes sorts the operations by method. Those with fixed segments or a query come before those that match more.
func newRoutes() map[string][]route {
	routes := map[string][]route{}
	for op := range every {
		routes[op.Method] = append(routes[op.Method], route{op, strings.Split(strings.Trim(op.Path, "/"), "/")})
	}
	for _, list := range routes {
		for i := range list { // stable: the ones with a query first
			for j := i; j > 0 && list[j].op.Query != "" && list[j-1].op.Query == ""; j-- {
				list[j], list[j-1] = list[j-1], list[j]
			}
		}
	}
	return routes
}

func (rt *route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(rt.segments) {
		return nil, false
	}
	for i, want := range rt.segments {
		if want[0] != '{' && want != segments[i] {
			return nil, false
		}
	}
	vars := map[string]string{}
	for i, want := range rt.segments {
		if want[0] == '{' {
			v, err := url.PathUnescape(segments[i])
			if err != nil {
				return nil, false
			}
			vars[strings.Trim(want, "{}")] = v
		}
	}
	return vars, true
}
