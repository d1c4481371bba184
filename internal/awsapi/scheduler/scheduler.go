// Package scheduler is the Amazon EventBridge Scheduler API (2021-06-30). Requests are validated against AWS's model, which the generated
// table in model_gen.go holds.
package scheduler

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/schedule"
)

// maxRequest bounds a request, in bytes: the input of a target is most of it.
const maxRequest = 1 << 20

// maxPage is the most that a list has, in one answer.
const maxPage = 100

// Service answers the API. It is an awsapi.Service.
type Service struct {
	region    string
	schedules *schedule.Service
	logger    *slog.Logger
	validator *model.Validator
}

// call is one request.
type call struct {
	context.Context
	op      string
	project string
	in      model.Params
}

// action answers an operation with what becomes the JSON body; nil stands for an object without members.
type action func(s *Service, c *call) (any, error)

var actions = map[string]action{
	"CreateSchedule": (*Service).createSchedule, "GetSchedule": (*Service).getSchedule, "UpdateSchedule": (*Service).updateSchedule,
	"DeleteSchedule": (*Service).deleteSchedule, "ListSchedules": (*Service).listSchedules,
	"CreateScheduleGroup": (*Service).createGroup, "GetScheduleGroup": (*Service).getGroup, "DeleteScheduleGroup": (*Service).deleteGroup,
	"ListScheduleGroups": (*Service).listGroups,
	"TagResource":        (*Service).tagResource, "UntagResource": (*Service).untagResource, "ListTagsForResource": (*Service).listTagsForResource,
}

// New returns a service. ARNs are in region.
func New(region string, schedules *schedule.Service, logger *slog.Logger) *Service {
	inputs := make([]int, len(operations))
	for i := range operations {
		inputs[i] = operations[i].Input
	}
	return &Service{region, schedules, logger.With("component", "scheduler api"), model.NewValidator(shapes[:], inputs)}
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, err := s.serve(r)
	switch {
	case err != nil:
		s.WriteError(w, r, err)
	case out == nil:
		awsapi.WriteJSON(w, http.StatusOK, struct{}{})
	default:
		awsapi.WriteJSON(w, http.StatusOK, out)
	}
}

func (s *Service) serve(r *http.Request) (any, error) {
	op, vars := model.Find(operations, r)
	p := awsapi.PrincipalFrom(r.Context())
	switch {
	case op == nil:
		return nil, hansom.Errorf(hansom.NotFound, "route", "No operation of EventBridge Scheduler is at %s %s.", r.Method, r.URL.Path).WithCode("UnknownOperationException")
	case p.Kind == hansom.FunctionSession:
		return nil, awsapi.Denied(p, "scheduler:"+op.Name, "arn:aws:scheduler:"+s.region+":"+p.Project+":*")
	}
	body, err := awsapi.ReadBody(r, op.Name, maxRequest)
	if err != nil {
		return nil, err
	}
	in, err := s.validator.Read(op, vars, r.URL.RawQuery, body)
	if err != nil {
		return nil, err
	}
	return actions[op.Name](s, &call{r.Context(), op.Name, p.Project, in})
}

// kinds maps kinds of errors to the service's codes. An error's own Code takes precedence, and the model's status of a code.
var kinds = [...]awsapi.Fault{
	hansom.Internal:        {Code: "InternalServerException", Status: http.StatusInternalServerError},
	hansom.Invalid:         {Code: "ValidationException", Status: http.StatusBadRequest},
	hansom.NotFound:        {Code: "ResourceNotFoundException", Status: http.StatusNotFound},
	hansom.Conflict:        {Code: "ConflictException", Status: http.StatusConflict},
	hansom.Precondition:    {Code: "ConflictException", Status: http.StatusConflict},
	hansom.Denied:          {Code: "AccessDeniedException", Status: http.StatusForbidden},
	hansom.Unauthenticated: {Code: "UnrecognizedClientException", Status: http.StatusForbidden},
	hansom.TooLarge:        {Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge},
	hansom.Throttled:       {Code: "ThrottlingException", Status: http.StatusTooManyRequests},
	hansom.Unsupported:     {Code: "ValidationException", Status: http.StatusBadRequest},
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
	f.Status = cmp.Or(faults[f.Code].status, f.Status)
	w.Header()["X-Amzn-Errortype"] = []string{f.Code}
	awsapi.WriteJSON(w, f.Status, map[string]string{"Message": awsapi.Message(err, awsapi.RequestID(r.Context()))})
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "scheduler", format, args...).WithCode("ValidationException")
}

// seconds is a time as the protocol has it; nil for the zero time.
func seconds(t time.Time) *json.Number {
	if t.IsZero() {
		return nil
	}
	n := json.Number(fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000))
	return &n
}

// timeOf is a member that is a time; zero when it was not given.
func timeOf(in model.Params, name string) time.Time {
	n, ok := in[name].(float64)
	if !ok {
		return time.Time{}
	}
	n = min(max(n, 1), 253402300799) // the year 9999
	return time.UnixMilli(int64(n * 1e3)).UTC()
}

// structure is a member that is a structure; nil when it was not given.
func structure(in model.Params, name string) model.Params { p, _ := in[name].(model.Params); return p }

// after is what the page before ended with.
func (c *call) after() (string, error) {
	after, err := base64.RawURLEncoding.DecodeString(c.in.Text("NextToken"))
	if err != nil {
		return "", invalid("The NextToken is not valid; pass on that of the page before.")
	}
	return string(after), nil
}

// limit is how many entries a page has.
func (c *call) limit() int {
	return cmp.Or(int(c.in.Integer("MaxResults")), maxPage)
}

// cut makes a page of a list that has one entry more than it when there is another page, with the token for that.
func cut[T any](list []T, limit int, key func(T) string) ([]T, string) {
	if len(list) <= limit {
		return list, ""
	}
	return list[:limit], base64.RawURLEncoding.EncodeToString([]byte(key(list[limit-1])))
}
