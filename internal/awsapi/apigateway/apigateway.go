// Package apigateway is what of the Amazon API Gateway API, version 1 (2015-07-09), HTTP APIs have a use for: API keys and usage plans. Requests are
// validated against AWS's model, which the generated table in model_gen.go holds.
package apigateway

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/usage"
)

// maxRequest bounds a request, in bytes: an import of 10,000 keys.
const maxRequest = 6 << 20

// Entries of a list in one answer.
const (
	defaultPage = 25
	maxPage     = 500
)

// Quotas counts what is used of the quotas of usage plans.
type Quotas interface {
	// Usage is what an API key used of a plan on each day from from to to, both included, and what was left of its quota then; -1 without one.
	Usage(ctx context.Context, plan *api.Plan, key string, from, to time.Time) (days [][2]int64, err error)
	// Grant lets an API key make n requests in the running period of a plan's quota, whatever it has used. Error: Invalid for a plan without one.
	Grant(ctx context.Context, plan *api.Plan, key string, n int64) error
}

// Service answers the API. It is an awsapi.Service.
type Service struct {
	region    string
	usage     *usage.Service
	quotas    Quotas
	logger    *slog.Logger
	validator *model.Validator
	now       func() time.Time
}

// call is one request.
type call struct {
	context.Context
	project string
	in      model.Params
}

// action answers an operation with what becomes the JSON body; nil means no body.
type action func(s *Service, c *call) (any, error)

var actions = map[string]action{
	"CreateApiKey": (*Service).createKey, "GetApiKey": (*Service).getKey, "GetApiKeys": (*Service).getKeys, "UpdateApiKey": (*Service).updateKey,
	"DeleteApiKey": (*Service).deleteKey, "ImportApiKeys": (*Service).importKeys,
	"CreateUsagePlan": (*Service).createPlan, "GetUsagePlan": (*Service).getPlan, "GetUsagePlans": (*Service).getPlans, "UpdateUsagePlan": (*Service).updatePlan,
	"DeleteUsagePlan": (*Service).deletePlan, "GetUsage": (*Service).getUsage, "UpdateUsage": (*Service).updateUsage,
	"CreateUsagePlanKey": (*Service).createPlanKey, "GetUsagePlanKey": (*Service).getPlanKey, "GetUsagePlanKeys": (*Service).getPlanKeys,
	"DeleteUsagePlanKey": (*Service).deletePlanKey,
	"GetTags":            (*Service).getTags, "TagResource": (*Service).tagResource, "UntagResource": (*Service).untagResource,
}

// New returns a service. ARNs are in region. Without quotas GetUsage and UpdateUsage are refused.
func New(region string, plans *usage.Service, quotas Quotas, logger *slog.Logger) *Service {
	var inputs []int
	for i := range operations {
		if operations[i].Input >= 0 {
			inputs = append(inputs, operations[i].Input)
		}
	}
	return &Service{region, plans, quotas, logger.With("component", "apigateway api"), model.NewValidator(shapes[:], inputs), time.Now}
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, vars := model.Find(operations, r)
	out, err := s.serve(r, op, vars)
	switch {
	case err != nil:
		s.WriteError(w, r, err)
	case out == nil:
		w.WriteHeader(op.Status)
	default:
		awsapi.WriteJSON(w, op.Status, out)
	}
}

func (s *Service) serve(r *http.Request, op *model.Operation, vars map[string]string) (any, error) {
	p := awsapi.PrincipalFrom(r.Context())
	switch {
	case p.Kind == hansom.FunctionSession:
		return nil, awsapi.Denied(p, "apigateway:"+r.Method, "arn:aws:apigateway:"+s.region+"::"+r.URL.Path)
	case op == nil:
		return nil, hansom.Errorf(hansom.NotFound, "route", "No operation of API Gateway is at %s %s.", r.Method, r.URL.Path)
	case actions[op.Name] == nil:
		return nil, hansom.Errorf(hansom.Unsupported, "route",
			"%s is not supported by this server: it has HTTP APIs (apigatewayv2), and of API Gateway's first version API keys and usage plans for them.", op.Name)
	}
	body, err := awsapi.ReadBody(r, op.Name, maxRequest)
	if err != nil {
		return nil, err
	}
	in, err := s.validator.Read(op, vars, r.URL.RawQuery, body)
	if err != nil {
		return nil, err
	}
	return actions[op.Name](s, &call{r.Context(), p.Project, in})
}

// kinds maps kinds of errors to the service's codes. An error's own Code takes precedence.
var kinds = [...]awsapi.Fault{
	hansom.Internal:        {Code: "InternalServerErrorException", Status: http.StatusInternalServerError},
	hansom.Invalid:         {Code: "BadRequestException", Status: http.StatusBadRequest},
	hansom.NotFound:        {Code: "NotFoundException", Status: http.StatusNotFound},
	hansom.Conflict:        {Code: "ConflictException", Status: http.StatusConflict},
	hansom.Precondition:    {Code: "ConflictException", Status: http.StatusConflict},
	hansom.Denied:          {Code: "AccessDeniedException", Status: http.StatusForbidden},
	hansom.Unauthenticated: {Code: "UnrecognizedClientException", Status: http.StatusForbidden},
	hansom.TooLarge:        {Code: "BadRequestException", Status: http.StatusRequestEntityTooLarge},
	hansom.Throttled:       {Code: "LimitExceededException", Status: http.StatusTooManyRequests},
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
	if errors.As(err, &e) && e.Kind != hansom.Internal {
		f.Code = cmp.Or(e.Code, f.Code)
	}
	w.Header()["X-Amzn-Errortype"] = []string{f.Code}
	awsapi.WriteJSON(w, f.Status, map[string]string{"message": awsapi.Message(err, awsapi.RequestID(r.Context()))})
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "apigateway", format, args...)
}

func unsupported(format string, args ...any) error {
	return hansom.Errorf(hansom.Unsupported, "apigateway", format, args...)
}

// page is what a list asks for: entries after an ID, and how many at the most.
func (c *call) page() (after string, limit int, err error) {
	limit = defaultPage
	if n, ok := c.in["limit"].(int64); ok {
		if n < 1 {
			return "", 0, invalid("Invalid limit: it must be between 1 and %d.", maxPage)
		}
		limit = min(int(n), maxPage)
	}
	token, err := base64.RawURLEncoding.DecodeString(c.in.Text("position"))
	if err != nil {
		return "", 0, invalid("Invalid position: pass on that of the page before.")
	}
	return string(token), limit, nil
}

// items is a page of a list.
type items struct {
	Items    []any    `json:"item"`
	Position string   `json:"position,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// paged makes a page of a list that has one entry more when there is another page.
func paged[T any](list []T, limit int, id func(T) string, show func(T) any) items {
	out := items{Items: []any{}}
	for i, x := range list {
		if i == limit {
			out.Position = base64.RawURLEncoding.EncodeToString([]byte(id(list[i-1])))
			break
		}
		out.Items = append(out.Items, show(x))
	}
	return out
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

// tagged takes the ARN of an API key or a usage plan apart.
func (s *Service) tagged(arn string) (kind, id string, err error) {
	path, ok := strings.CutPrefix(arn, "arn:aws:apigateway:"+s.region+"::/")
	kind, id, _ = strings.Cut(path, "/")
	switch {
	case ok && id != "" && !strings.Contains(id, "/") && (kind == "apikeys" || kind == "usageplans"):
		return kind, id, nil
	case ok && (kind == "apis" || kind == "domainnames"):
		return "", "", invalid("The tags of %.300s are those of apigatewayv2.", arn)
	case ok && kind != "":
		return "", "", unsupported("Resources of the kind %.64s are not supported by this server.", kind)
	}
	return "", "", invalid("Invalid resource ARN specified: %.300s", arn)
}

func (s *Service) getTags(c *call) (any, error) {
	kind, id, err := s.tagged(c.in.Text("resourceArn"))
	if err != nil {
		return nil, err
	}
	out := struct {
		Tags map[string]string `json:"tags"`
	}{}
	if kind == "apikeys" {
		k, err := s.usage.APIKey(c, c.project, id, false)
		if err != nil {
			return nil, err
		}
		out.Tags = k.Tags
	} else {
		p, err := s.usage.Plan(c, c.project, id)
		if err != nil {
			return nil, err
		}
		out.Tags = p.Tags
	}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out, nil
}

// tag adds tags to a resource and removes others.
func (s *Service) tag(c *call, add map[string]string, removed []string) error {
	kind, id, err := s.tagged(c.in.Text("resourceArn"))
	switch {
	case err != nil:
	case kind == "apikeys":
		_, err = s.usage.UpdateKey(c, c.project, id, func(k *api.Key) error { return api.ChangeTags(&k.Tags, add, removed) })
	default:
		_, err = s.usage.UpdatePlan(c, c.project, id, func(p *api.Plan) error { return api.ChangeTags(&p.Tags, add, removed) })
	}
	return err
}

func (s *Service) tagResource(c *call) (any, error) { return nil, s.tag(c, pairs(c.in, "tags"), nil) }

func (s *Service) untagResource(c *call) (any, error) {
	return nil, s.tag(c, nil, c.in.Texts("tagKeys"))
}
