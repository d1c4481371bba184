// Package apigatewayv2 is the Amazon API Gateway API, version 2 (2018-11-29), for HTTP APIs. Requests are validated against AWS's model, which the
// generated table in model_gen.go holds.
package apigatewayv2

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// maxRequest bounds a request, in bytes: an OpenAPI document in JSON, with room for what is escaped in it.
const maxRequest = 2*api.MaxDefinition + 1<<10

// Entries of a list in one answer.
const (
	defaultPage = 25
	maxPage     = 500
)

// Config of a Service.
type Config struct {
	Region   string
	Domain   string                  // that custom domains point to
	Endpoint func(id string) string  // ApiEndpoint of an API
	Reset    func(api, stage string) // forgets what authorizers have answered for a stage; nil where nothing is kept
}

// Service answers the API. It is an awsapi.Service.
type Service struct {
	cfg       Config
	apis      *api.Service
	logger    *slog.Logger
	validator *model.Validator
}

// call is one request.
type call struct {
	context.Context
	op      *model.Operation
	project string
	in      model.Params
}

// raw is an answer that is not JSON of ours.
type raw struct {
	contentType string
	body        []byte
}

// action answers an operation with what becomes the JSON body; nil stands for an object without members.
type action func(s *Service, c *call) (any, error)

var actions = map[string]action{
	"CreateApi": (*Service).createAPI, "GetApi": (*Service).getAPI, "GetApis": (*Service).getAPIs, "UpdateApi": (*Service).updateAPI, "DeleteApi": (*Service).deleteAPI,
	"DeleteCorsConfiguration": (*Service).deleteCORS, "ImportApi": (*Service).importAPI, "ReimportApi": (*Service).reimportAPI, "ExportApi": (*Service).exportAPI,
	"CreateRoute": (*Service).createRoute, "GetRoute": (*Service).getRoute, "GetRoutes": (*Service).getRoutes, "UpdateRoute": (*Service).updateRoute,
	"DeleteRoute": (*Service).deleteRoute, "DeleteRouteRequestParameter": (*Service).deleteRouteParameter,
	"CreateIntegration": (*Service).createIntegration, "GetIntegration": (*Service).getIntegration, "GetIntegrations": (*Service).getIntegrations,
	"UpdateIntegration": (*Service).updateIntegration, "DeleteIntegration": (*Service).deleteIntegration,
	"CreateAuthorizer": (*Service).createAuthorizer, "GetAuthorizer": (*Service).getAuthorizer, "GetAuthorizers": (*Service).getAuthorizers,
	"UpdateAuthorizer": (*Service).updateAuthorizer, "DeleteAuthorizer": (*Service).deleteAuthorizer, "ResetAuthorizersCache": (*Service).resetAuthorizers,
	"CreateStage": (*Service).createStage, "GetStage": (*Service).getStage, "GetStages": (*Service).getStages, "UpdateStage": (*Service).updateStage,
	"DeleteStage": (*Service).deleteStage, "DeleteAccessLogSettings": (*Service).deleteLog, "DeleteRouteSettings": (*Service).deleteRouteSettings,
	"CreateDeployment": (*Service).createDeployment, "GetDeployment": (*Service).getDeployment, "GetDeployments": (*Service).getDeployments,
	"UpdateDeployment": (*Service).updateDeployment, "DeleteDeployment": (*Service).deleteDeployment,
	"CreateDomainName": (*Service).createDomain, "GetDomainName": (*Service).getDomain, "GetDomainNames": (*Service).getDomains,
	"UpdateDomainName": (*Service).updateDomain, "DeleteDomainName": (*Service).deleteDomain,
	"CreateApiMapping": (*Service).createMapping, "GetApiMapping": (*Service).getMapping, "GetApiMappings": (*Service).getMappings,
	"UpdateApiMapping": (*Service).updateMapping, "DeleteApiMapping": (*Service).deleteMapping,
	"GetTags": (*Service).getTags, "TagResource": (*Service).tagResource, "UntagResource": (*Service).untagResource,
}

// absent are the operations without an action, by a part of their names, or of the path where the model is older than they are.
var absent = []struct{ part, why string }{
	{"VpcLink", "VPC links are not supported by this server"},
	{"IntegrationResponse", "integration responses are for WebSocket APIs, which are not supported by this server; use ResponseParameters of the integration"},
	{"RouteResponse", "route responses are for WebSocket APIs, which are not supported by this server"},
	{"Model", "models are for WebSocket APIs, which are not supported by this server"},
	{"/portal", "portals are not supported by this server"},
	{"/routingrules", "routing rules are not supported by this server; use API mappings"},
}

// New returns a service. Without a Reset in cfg ResetAuthorizersCache has nothing to do.
func New(cfg Config, apis *api.Service, logger *slog.Logger) *Service {
	inputs := make([]int, len(operations))
	for i := range operations {
		inputs[i] = operations[i].Input
	}
	return &Service{cfg, apis, logger.With("component", "apigatewayv2 api"), model.NewValidator(shapes[:], inputs)}
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, vars := model.Find(operations, r)
	out, err := s.serve(r, op, vars)
	if err != nil {
		s.WriteError(w, r, err)
		return
	}
	if doc, ok := out.(raw); ok {
		w.Header()["Content-Type"] = []string{doc.contentType}
		w.WriteHeader(op.Status)
		w.Write(doc.body)
		return
	}
	switch {
	case op.Status == http.StatusNoContent:
		w.WriteHeader(op.Status)
	case out == nil:
		awsapi.WriteJSON(w, op.Status, struct{}{})
	default:
		awsapi.WriteJSON(w, op.Status, out)
	}
}

func (s *Service) serve(r *http.Request, op *model.Operation, vars map[string]string) (any, error) {
	p := awsapi.PrincipalFrom(r.Context())
	name := r.Method + " " + r.URL.Path
	if op != nil {
		name = op.Name
	}
	if p.Kind == hansom.FunctionSession {
		return nil, awsapi.Denied(p, "apigateway:"+r.Method, "arn:aws:apigateway:"+s.cfg.Region+"::"+strings.TrimPrefix(r.URL.Path, "/v2"))
	}
	act := action(nil)
	if op != nil {
		act = actions[op.Name]
	}
	if act == nil {
		for _, a := range absent {
			if strings.Contains(name, a.part) {
				return nil, hansom.Errorf(hansom.Unsupported, "route", "%s is not supported: %s.", name, a.why)
			}
		}
		return nil, hansom.Errorf(hansom.NotFound, "route", "No operation of API Gateway v2 is at %s.", name)
	}
	in, err := s.read(r, op, vars)
	if err != nil {
		return nil, err
	}
	return act(s, &call{r.Context(), op, p.Project, in})
}

// read decodes and validates the input of an operation.
func (s *Service) read(r *http.Request, op *model.Operation, vars map[string]string) (model.Params, error) {
	body, err := awsapi.ReadBody(r, op.Name, maxRequest)
	if err != nil {
		return nil, err
	}
	if err := newer(body); err != nil {
		return nil, err
	}
	return s.validator.Read(op, vars, r.URL.RawQuery, body)
}

// newer refuses values of members that the model is too old for, unless they are what holds here in any case.
func newer(body []byte) error {
	type members struct{ IPAddressType, RoutingMode *string }
	var in struct {
		members
		DomainNameConfigurations []members
	}
	if !bytes.Contains(body, []byte("ipAddressType")) && !bytes.Contains(body, []byte("routingMode")) || json.Unmarshal(body, &in) != nil {
		return nil
	}
	for _, m := range append(in.DomainNameConfigurations, in.members) {
		if m.IPAddressType != nil && *m.IPAddressType != "ipv4" {
			return unsupported("IpAddressType %.64q is not supported by this server. It listens where it is told to; leave IpAddressType out, or set it to ipv4.", *m.IPAddressType)
		}
		if m.RoutingMode != nil && *m.RoutingMode != "API_MAPPING_ONLY" {
			return unsupported("RoutingMode %.64q is not supported by this server. Only API_MAPPING_ONLY is.", *m.RoutingMode)
		}
	}
	return nil
}

// kinds maps kinds of errors to the service's codes.
var kinds = [...]awsapi.Fault{
	hansom.Internal:        {Code: "InternalServerException", Status: http.StatusInternalServerError},
	hansom.Invalid:         {Code: "BadRequestException", Status: http.StatusBadRequest},
	hansom.NotFound:        {Code: "NotFoundException", Status: http.StatusNotFound},
	hansom.Conflict:        {Code: "ConflictException", Status: http.StatusConflict},
	hansom.Precondition:    {Code: "ConflictException", Status: http.StatusConflict},
	hansom.Denied:          {Code: "AccessDeniedException", Status: http.StatusForbidden},
	hansom.Unauthenticated: {Code: "UnrecognizedClientException", Status: http.StatusForbidden},
	hansom.TooLarge:        {Code: "BadRequestException", Status: http.StatusRequestEntityTooLarge},
	hansom.Throttled:       {Code: "TooManyRequestsException", Status: http.StatusTooManyRequests},
	hansom.Unsupported:     {Code: "BadRequestException", Status: http.StatusBadRequest},
	hansom.Unavailable:     {Code: "ServiceUnavailableException", Status: http.StatusServiceUnavailable},
	hansom.Timeout:         {Code: "ServiceUnavailableException", Status: http.StatusServiceUnavailable},
	hansom.Canceled:        {Code: "RequestCanceledException", Status: awsapi.StatusClientClosed},
}

// WriteError answers with err as the service does: its code in a header, its message in the body.
func (s *Service) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	awsapi.Log(s.logger, r, err)
	f := kinds[hansom.KindOf(err)]
	var e *hansom.Error
	if errors.As(err, &e) && e.Kind == hansom.Unauthenticated {
		f.Code = cmp.Or(e.Code, f.Code)
	}
	w.Header()["X-Amzn-Errortype"] = []string{f.Code}
	awsapi.WriteJSON(w, f.Status, map[string]string{"message": awsapi.Message(err, awsapi.RequestID(r.Context()))})
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "apigatewayv2", format, args...)
}

func unsupported(format string, args ...any) error {
	return hansom.Errorf(hansom.Unsupported, "apigatewayv2", format, args...)
}

// refuse refuses members that have no meaning here, where they say something.
func refuse(in model.Params, why string, names ...string) error {
	for _, name := range names {
		switch v := in[name].(type) {
		case nil:
			continue
		case bool:
			if !v {
				continue
			}
		case string:
			if v == "" {
				continue
			}
		case map[string]any:
			if len(v) == 0 {
				continue
			}
		}
		return unsupported("%s is not supported %s. Leave it out of the request.", name, why)
	}
	return nil
}

// forWebSockets is why HTTP APIs do not have a member.
const forWebSockets = "for HTTP APIs: it is for WebSocket APIs"

// structure is a member that is a structure; nil when it was not given.
func structure(in model.Params, name string) model.Params { p, _ := in[name].(model.Params); return p }

// text sets what a member says, where it was given; so do the next ones.
func text(to *string, in model.Params, name string) {
	if v, ok := in[name].(string); ok {
		*to = v
	}
}

func flag(to *bool, in model.Params, name string) {
	if v, ok := in[name].(bool); ok {
		*to = v
	}
}

func number(to *int, in model.Params, name string) {
	if v, ok := in[name].(int64); ok {
		*to = int(v)
	}
}

func texts(to *[]string, in model.Params, name string) {
	if _, ok := in[name].([]any); ok {
		*to = in.Texts(name)
	}
}

// pairs is a member that is a map of strings; nil when it was not given.
func pairs(in model.Params, name string) map[string]string {
	m, ok := in[name].(map[string]any)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for key, v := range m {
		out[key], _ = v.(string)
	}
	return out
}

// merge adds what a map says to another; an empty value takes an entry out.
func merge(to *map[string]string, from map[string]string) {
	for key, v := range from {
		if v == "" {
			delete(*to, key)
			continue
		}
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[key] = v
	}
}

// page is what a list asks for: entries after a key, and how many at the most.
func (c *call) page() (after string, limit int, err error) {
	limit = defaultPage
	if n := c.in.Text("MaxResults"); n != "" {
		if limit, err = strconv.Atoi(n); err != nil || limit < 1 {
			return "", 0, invalid("Invalid value for MaxResults: %.64q. Must be between 1 and %d.", n, maxPage)
		}
		limit = min(limit, maxPage)
	}
	token, err := base64.RawURLEncoding.DecodeString(c.in.Text("NextToken"))
	if err != nil {
		return "", 0, invalid("Invalid value for NextToken: pass on that of the page before.")
	}
	return string(token), limit, nil
}

// items is a page of a list.
type items struct {
	Items     []any  `json:"items"`
	NextToken string `json:"nextToken,omitempty"`
}

// paged makes a page of a list that begins after the page before and has one entry more when there is another page.
func paged[T any](list []T, limit int, key func(T) string, show func(T) any) items {
	out := items{Items: []any{}}
	for i, x := range list {
		if i == limit {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(key(list[i-1])))
			break
		}
		out.Items = append(out.Items, show(x))
	}
	return out
}

// listed answers with a page of parts of an API or a domain, by their keys.
func listed[T any](c *call, list []T, key func(T) string, show func(T) any) (any, error) {
	after, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b T) int { return strings.Compare(key(a), key(b)) })
	first := slices.IndexFunc(list, func(x T) bool { return key(x) > after })
	if first < 0 {
		first = len(list)
	}
	return paged(list[first:], limit, key, show), nil
}
