// Package logs is the part of the Amazon CloudWatch Logs API (2014-03-28) that reads what functions log, manages log groups, and
// takes events from programs. Requests are validated against AWS's model, which the generated table in model_gen.go holds.
package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// maxRequest bounds a request, in bytes: a batch of 1 MB in which every character is escaped, and room for the rest.
const maxRequest = 8 << 20

// Service answers the API. It is an awsapi.Service.
type Service struct {
	region    string
	logs      *telemetry.Logs
	now       func() time.Time
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

// action answers an operation with what becomes the JSON body; nil means no body.
type action func(s *Service, c *call) (any, error)

var actions = map[string]action{
	"CreateLogGroup": (*Service).createLogGroup, "DeleteLogGroup": (*Service).deleteLogGroup, "DescribeLogGroups": (*Service).describeLogGroups,
	"PutRetentionPolicy": (*Service).putRetentionPolicy, "DeleteRetentionPolicy": (*Service).deleteRetentionPolicy,
	"ListTagsForResource": (*Service).listTags, "TagResource": (*Service).tag, "UntagResource": (*Service).untag,
	"ListTagsLogGroup": (*Service).listTags, "TagLogGroup": (*Service).tag, "UntagLogGroup": (*Service).untag,
	"CreateLogStream": (*Service).createLogStream, "DeleteLogStream": (*Service).deleteLogStream, "DescribeLogStreams": (*Service).describeLogStreams,
	"GetLogEvents": (*Service).getLogEvents, "FilterLogEvents": (*Service).filterLogEvents, "PutLogEvents": (*Service).putLogEvents,
}

// dataPlane is what a function's session may call.
var dataPlane = map[string]bool{"CreateLogGroup": true, "CreateLogStream": true, "PutLogEvents": true}

// New returns a service. Log groups have ARNs in region.
func New(region string, logs *telemetry.Logs, logger *slog.Logger) *Service {
	s := &Service{region: region, logs: logs, now: time.Now, logger: logger.With("component", "logs api")}
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
	var body []byte
	if out != nil {
		if body, err = json.Marshal(out); err != nil { // answers are plain fields: this is a defect
			panic(err)
		}
	}
	write(w, http.StatusOK, body)
}

func (s *Service) serve(r *http.Request) (any, error) {
	op, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "Logs_20140328.")
	input, known := operations[op]
	act := actions[op]
	p := awsapi.PrincipalFrom(r.Context())
	switch {
	case !known:
		return nil, hansom.Errorf(hansom.Invalid, "route", "No operation of the CloudWatch Logs API is named %.100q.", op).WithCode("UnknownOperationException")
	case act == nil:
		return nil, unsupported(op, "The operation "+op)
	}
	body, err := awsapi.ReadBody(r, op, maxRequest)
	if err != nil {
		return nil, err
	}
	c := &call{Context: r.Context(), op: op, project: p.Project}
	if c.in, err = s.validator.Decode(input, bytes.TrimSpace(body)); err == nil {
		err = s.validator.Check(input, c.in)
	}
	if p.Kind == hansom.FunctionSession && !dataPlane[op] {
		err = awsapi.Denied(p, "logs:"+op, s.groupARN(p.Project, c.in.Text("logGroupName"))+":log-stream:"+c.in.Text("logStreamName"))
	}
	if err != nil {
		return nil, err
	}
	return act(s, c)
}

// kinds maps kinds of errors to the service's codes. An error's own Code takes precedence, but for that of the validator.
var kinds = [...]awsapi.Fault{
	hansom.Internal:        {Code: "InternalFailure", Status: http.StatusInternalServerError},
	hansom.Invalid:         {Code: "InvalidParameterException", Status: http.StatusBadRequest},
	hansom.NotFound:        {Code: "ResourceNotFoundException", Status: http.StatusBadRequest},
	hansom.Conflict:        {Code: "ResourceAlreadyExistsException", Status: http.StatusBadRequest},
	hansom.Precondition:    {Code: "OperationAbortedException", Status: http.StatusBadRequest},
	hansom.Denied:          {Code: "AccessDeniedException", Status: http.StatusBadRequest},
	hansom.Unauthenticated: {Code: "UnrecognizedClientException", Status: http.StatusBadRequest},
	hansom.TooLarge:        {Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge},
	hansom.Throttled:       {Code: "ThrottlingException", Status: http.StatusBadRequest},
	hansom.Unsupported:     {Code: "InvalidOperationException", Status: http.StatusBadRequest},
	hansom.Unavailable:     {Code: "ServiceUnavailableException", Status: http.StatusServiceUnavailable},
	hansom.Timeout:         {Code: "ServiceUnavailableException", Status: http.StatusServiceUnavailable},
	hansom.Canceled:        {Code: "RequestCanceledException", Status: awsapi.StatusClientClosed},
}

// WriteError answers with err as the service does: its code in __type.
func (s *Service) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	awsapi.Log(s.logger, r, err)
	f := kinds[hansom.KindOf(err)]
	var e *hansom.Error
	if errors.As(err, &e) && e.Kind != hansom.Internal && e.Code != "" && e.Code != "ValidationException" {
		f.Code = e.Code
	}
	body, _ := json.Marshal(map[string]string{"__type": f.Code, "message": awsapi.Message(err, awsapi.RequestID(r.Context()))})
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

func (c *call) invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, c.op, format, args...)
}

func (s *Service) groupARN(project, group string) string {
	return hansom.ARN{Partition: "aws", Service: "logs", Region: s.region, Account: project, Resource: "log-group:" + group}.String()
}

// named reads the group that an ARN, with or without its :*, or a name stands for.
func (s *Service) named(c *call, identifier string) (string, error) {
	if !strings.HasPrefix(identifier, "arn:") {
		return identifier, nil
	}
	arn, err := hansom.ParseARN(identifier)
	group, ok := strings.CutPrefix(arn.Resource, "log-group:")
	switch {
	case err != nil || !ok || arn.Service != "logs":
		return "", c.invalid("%s is not the ARN of a log group", identifier)
	case arn.Account != c.project:
		return "", awsapi.Denied(awsapi.PrincipalFrom(c), "logs:"+c.op, identifier)
	case arn.Region != s.region:
		return "", hansom.Errorf(hansom.NotFound, c.op, "The specified log group does not exist.")
	}
	return strings.TrimSuffix(group, ":*"), nil
}

// group is the one that a request is about: its logGroupName, logGroupIdentifier or resourceArn.
func (s *Service) group(c *call) (string, error) {
	name, identifier := c.in.Text("logGroupName"), c.in.Text("logGroupIdentifier")
	switch {
	case c.in.Text("resourceArn") != "":
		return s.named(c, c.in.Text("resourceArn"))
	case name != "" && identifier != "":
		return "", c.invalid("Only one of logGroupName and logGroupIdentifier may be given.")
	case name == "" && identifier == "":
		return "", c.invalid("One of logGroupName and logGroupIdentifier must be given.")
	case name != "":
		return name, nil
	}
	return s.named(c, identifier)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
