// Package events is the Amazon EventBridge API (2015-10-07). Requests are validated against AWS's model, which the generated table in
// model_gen.go holds.
package events

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/endpoint"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/eventbus/archive"
)

// maxRequest bounds a request, in bytes: 100 targets with templates of 8 KB in which every character is escaped, and room for the rest.
const maxRequest = 8 << 20

// maxPage is the most that a list has, in one answer.
const maxPage = 100

// Deps are what a Service stands on.
type Deps struct {
	Buses     *eventbus.Service
	Archives  *archive.Service
	Endpoints *endpoint.Service
}

// Service answers the API. It is an awsapi.Service.
type Service struct {
	Deps
	region    string
	logger    *slog.Logger
	validator *model.Validator
}

// call is one request.
type call struct {
	context.Context
	op      string
	project string
	trace   string // X-Amzn-Trace-Id
	in      model.Params
}

// action answers an operation with what becomes the JSON body; nil stands for an object without members.
type action func(s *Service, c *call) (any, error)

var actions = map[string]action{
	"PutEvents": (*Service).putEvents, "TestEventPattern": (*Service).testEventPattern,

	"CreateEventBus": (*Service).createEventBus, "UpdateEventBus": (*Service).updateEventBus, "DeleteEventBus": (*Service).deleteEventBus,
	"DescribeEventBus": (*Service).describeEventBus, "ListEventBuses": (*Service).listEventBuses,
	"PutPermission": (*Service).putPermission, "RemovePermission": (*Service).removePermission,

	"PutRule": (*Service).putRule, "DeleteRule": (*Service).deleteRule, "DescribeRule": (*Service).describeRule, "ListRules": (*Service).listRules,
	"EnableRule": (*Service).enableRule, "DisableRule": (*Service).disableRule, "ListRuleNamesByTarget": (*Service).listRuleNamesByTarget,
	"PutTargets": (*Service).putTargets, "RemoveTargets": (*Service).removeTargets, "ListTargetsByRule": (*Service).listTargetsByRule,

	"CreateArchive": (*Service).createArchive, "UpdateArchive": (*Service).updateArchive, "DeleteArchive": (*Service).deleteArchive,
	"DescribeArchive": (*Service).describeArchive, "ListArchives": (*Service).listArchives,
	"StartReplay": (*Service).startReplay, "CancelReplay": (*Service).cancelReplay, "DescribeReplay": (*Service).describeReplay, "ListReplays": (*Service).listReplays,

	"CreateConnection": (*Service).createConnection, "UpdateConnection": (*Service).updateConnection, "DeleteConnection": (*Service).deleteConnection,
	"DeauthorizeConnection": (*Service).deauthorizeConnection, "DescribeConnection": (*Service).describeConnection, "ListConnections": (*Service).listConnections,
	"CreateApiDestination": (*Service).createAPIDestination, "UpdateApiDestination": (*Service).updateAPIDestination, "DeleteApiDestination": (*Service).deleteAPIDestination,
	"DescribeApiDestination": (*Service).describeAPIDestination, "ListApiDestinations": (*Service).listAPIDestinations,

	"TagResource": (*Service).tagResource, "UntagResource": (*Service).untagResource, "ListTagsForResource": (*Service).listTagsForResource,
}

// dataPlane is what a function's session may call.
var dataPlane = map[string]bool{"PutEvents": true}

// New returns a service. ARNs are in region.
func New(region string, deps Deps, logger *slog.Logger) *Service {
	s := &Service{Deps: deps, region: region, logger: logger.With("component", "events api")}
	var inputs []int
	for op := range actions {
		inputs = append(inputs, operations[op])
	}
	s.validator = model.NewValidator(shapes[:], inputs)
	return s
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := s.serve(r)
	if err != nil {
		s.WriteError(w, r, err)
		return
	}
	if out == nil {
		out = struct{}{}
	}
	body, err := json.Marshal(out)
	if err != nil { // answers are plain fields: this is a defect
		panic(err)
	}
	write(w, http.StatusOK, body)
}

func (s *Service) serve(r *http.Request) (any, error) {
	op, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AWSEvents.")
	input, known := operations[op]
	act := actions[op]
	p := awsapi.PrincipalFrom(r.Context())
	switch {
	case !known:
		return nil, hansom.Errorf(hansom.Invalid, "route", "No operation of EventBridge is named %.100q.", op).WithCode("UnknownOperationException")
	case act == nil:
		return nil, unsupported(op, "The operation "+op)
	}
	body, err := awsapi.ReadBody(r, op, maxRequest)
	if err != nil {
		return nil, err
	}
	c := &call{Context: r.Context(), op: op, project: p.Project, trace: r.Header.Get("X-Amzn-Trace-Id")}
	if c.in, err = s.validator.Decode(input, bytes.TrimSpace(body)); err == nil {
		if err = manyEntries(c); err == nil {
			err = s.validator.Check(input, c.in)
		}
	}
	if p.Kind == hansom.FunctionSession && !dataPlane[op] {
		err = awsapi.Denied(p, "events:"+op, eventbus.ARN(s.region, p.Project, "*"))
	}
	if err != nil {
		return nil, err
	}
	return act(s, c)
}

// kinds maps kinds of errors to the service's codes. An error's own Code takes precedence.
var kinds = [...]awsapi.Fault{
	hansom.Internal:        {Code: "InternalException", Status: http.StatusInternalServerError},
	hansom.Invalid:         {Code: "ValidationException", Status: http.StatusBadRequest},
	hansom.NotFound:        {Code: "ResourceNotFoundException", Status: http.StatusBadRequest},
	hansom.Conflict:        {Code: "ResourceAlreadyExistsException", Status: http.StatusBadRequest},
	hansom.Precondition:    {Code: "ConcurrentModificationException", Status: http.StatusBadRequest},
	hansom.Denied:          {Code: "AccessDeniedException", Status: http.StatusBadRequest},
	hansom.Unauthenticated: {Code: "UnrecognizedClientException", Status: http.StatusBadRequest},
	hansom.TooLarge:        {Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge},
	hansom.Throttled:       {Code: "ThrottlingException", Status: http.StatusBadRequest},
	hansom.Unsupported:     {Code: "OperationDisabledException", Status: http.StatusBadRequest},
	hansom.Unavailable:     {Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable},
	hansom.Timeout:         {Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable},
	hansom.Canceled:        {Code: "RequestCanceledException", Status: awsapi.StatusClientClosed},
}

// faultOf names an error.
func faultOf(err error) awsapi.Fault {
	f := kinds[hansom.KindOf(err)]
	var e *hansom.Error
	if errors.As(err, &e) && e.Kind != hansom.Internal && e.Code != "" {
		f.Code = e.Code
	}
	return f
}

// WriteError answers with err as the service does: its code in __type.
func (s *Service) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	awsapi.Log(s.logger, r, err)
	f := faultOf(err)
	body, _ := json.Marshal(map[string]string{"__type": f.Code, "message": awsapi.Message(err, awsapi.RequestID(r.Context()))}) // strings always encode
	write(w, f.Status, body)
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = []string{"application/x-amz-json-1.1"}
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// unsupported refuses a feature by name.
func unsupported(op, what string) error {
	return hansom.Errorf(hansom.Unsupported, op, "%s is not supported by this server.", what)
}

// absent refuses members that stand for what is not offered.
func (c *call) absent(names ...string) error {
	for _, name := range names {
		if c.in[name] != nil {
			return unsupported(c.op, "The parameter "+name)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "events", format, args...).WithCode("ValidationException")
}

// seconds is a time as the protocol has it; nil for the zero time.
func seconds(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	n := math.Round(float64(t.UnixMicro())/1e3) / 1e3
	return &n
}

// timeOf is a member that is a time; zero when it was not given.
func timeOf(in model.Params, name string) time.Time {
	n, ok := in[name].(float64)
	if !ok {
		return time.Time{}
	}
	n = min(max(n, 0), 253402300799) // the year 9999
	return time.UnixMicro(int64(n * 1e6)).UTC()
}

// page cuts a list that is in the order of its names: what comes after NextToken, as much as Limit asks for.
func page[T any](c *call, list []T, name func(T) string) (part []T, next *string, err error) {
	if token := c.in.Text("NextToken"); token != "" {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, nil, invalid("Parameter NextToken is not valid.")
		}
		for len(list) > 0 && name(list[0]) <= string(after) {
			list = list[1:]
		}
	}
	limit := maxPage
	if n := c.in.Integer("Limit"); n > 0 {
		limit = int(n)
	}
	if len(list) <= limit {
		return list, nil, nil
	}
	token := base64.RawURLEncoding.EncodeToString([]byte(name(list[limit-1])))
	return list[:limit], &token, nil
}

// paged makes the answer of a list of one kind, whose member is called what.
func paged[T, U any](c *call, what string, list []T, name func(T) string, show func(T) U) (any, error) {
	part, next, err := page(c, list, name)
	if err != nil {
		return nil, err
	}
	shown := make([]U, len(part))
	for i := range part {
		shown[i] = show(part[i])
	}
	out := map[string]any{what: shown}
	if next != nil {
		out["NextToken"] = *next
	}
	return out, nil
}
