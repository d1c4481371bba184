// Package sqs is the API of Amazon SQS (2012-11-05) in both of its protocols: AWS JSON 1.0, and the older Query, whose requests are
// forms and whose answers are XML. Requests have the shapes of AWS's model, which the generated table in model_gen.go holds.
package sqs

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/queue"
)

// maxRequest bounds a request, in bytes: a batch of 1 MiB in which every character is escaped, and room for the rest.
const maxRequest = 8 << 20

// namespace of answers in XML.
const namespace = "http://queue.amazonaws.com/doc/2012-11-05/"

// Service answers the API. It is an awsapi.Service.
type Service struct {
	region    string
	queues    *queue.Service
	logger    *slog.Logger
	validator *model.Validator
}

// call is one request.
type call struct {
	context.Context
	op        string
	principal hansom.Principal
	base      string // of the URLs of queues: scheme and host as the caller has them
	path      string
	trace     string // X-Amzn-Trace-Id
	in        model.Params
}

// action answers an operation with a struct whose fields have names for both protocols; nil means no result.
type action func(s *Service, c *call) (any, error)

var actions = map[string]action{
	"CreateQueue": (*Service).createQueue, "DeleteQueue": (*Service).deleteQueue, "GetQueueUrl": (*Service).getQueueURL, "ListQueues": (*Service).listQueues,
	"GetQueueAttributes": (*Service).getQueueAttributes, "SetQueueAttributes": (*Service).setQueueAttributes, "PurgeQueue": (*Service).purgeQueue,
	"TagQueue": (*Service).tagQueue, "UntagQueue": (*Service).untagQueue, "ListQueueTags": (*Service).listQueueTags,
	"AddPermission": (*Service).addPermission, "RemovePermission": (*Service).removePermission, "ListDeadLetterSourceQueues": (*Service).listDeadLetterSourceQueues,
	"SendMessage": (*Service).sendMessage, "SendMessageBatch": (*Service).sendMessageBatch, "ReceiveMessage": (*Service).receiveMessage,
	"DeleteMessage": (*Service).deleteMessage, "DeleteMessageBatch": (*Service).deleteMessageBatch,
	"ChangeMessageVisibility": (*Service).changeMessageVisibility, "ChangeMessageVisibilityBatch": (*Service).changeMessageVisibilityBatch,
	"StartMessageMoveTask": (*Service).startMessageMoveTask, "CancelMessageMoveTask": (*Service).cancelMessageMoveTask, "ListMessageMoveTasks": (*Service).listMessageMoveTasks,
}

// dataPlane is what a function's session may call.
var dataPlane = map[string]bool{"SendMessage": true, "SendMessageBatch": true, "ReceiveMessage": true, "DeleteMessage": true, "DeleteMessageBatch": true,
	"ChangeMessageVisibility": true, "ChangeMessageVisibilityBatch": true, "GetQueueUrl": true, "GetQueueAttributes": true}

// New returns a service. ARNs are in region.
func New(region string, queues *queue.Service, logger *slog.Logger) *Service {
	s := &Service{region: region, queues: queues, logger: logger.With("component", "sqs api")}
	var inputs []int
	for op := range actions {
		inputs = append(inputs, operations[op])
	}
	s.validator = model.NewValidator(shapes[:], inputs)
	return s
}

// target begins X-Amz-Target, which requests in JSON have.
const target = "AmazonSQS."

func isJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("X-Amz-Target"), target) || strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json")
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c *call
	var err error
	if isJSON(r) {
		c, err = s.readJSON(r)
	} else {
		c, err = s.readForm(w, r)
	}
	var out any
	if err == nil {
		out, err = s.serve(c)
	}
	switch {
	case err != nil:
		s.WriteError(w, r, err)
	case isJSON(r):
		var body []byte
		if out != nil {
			if body, err = json.Marshal(out); err != nil { // answers are plain fields: this is a defect
				panic(err)
			}
		}
		write(w, http.StatusOK, body)
	default:
		awsapi.WriteQueryResult(w, r, c.op, namespace, out)
	}
}

func (s *Service) serve(c *call) (any, error) {
	p := c.principal
	if p.Kind == hansom.FunctionSession && !dataPlane[c.op] {
		return nil, awsapi.Denied(p, "sqs:"+strings.ToLower(c.op), queue.ARN(s.region, p.Project, "*"))
	}
	in := shapes[operations[c.op]]
	for _, m := range in.Members {
		if m.Name == "QueueUrl" && c.in.Text("QueueUrl") == "" && strings.Count(c.path, "/") == 2 {
			c.in["QueueUrl"] = c.path
		}
		if _, ok := c.in[m.Name]; m.Required && (!ok || c.in[m.Name] == "") {
			if m.Name == "Entries" {
				return nil, c.emptyBatch()
			}
			return nil, missing(m.Name)
		}
	}
	return actions[c.op](s, c)
}

// newCall returns a call of the operation op, which was named by a request.
func newCall(r *http.Request, op string) (*call, error) {
	if actions[op] == nil {
		if isJSON(r) {
			return nil, hansom.Errorf(hansom.Invalid, "route", "No operation of SQS is named %.100q.", op).WithCode("UnknownOperationException")
		}
		return nil, hansom.Errorf(hansom.Invalid, "route", "The action %.100s is not valid for this endpoint.", op).WithCode("InvalidAction")
	}
	c := &call{Context: r.Context(), op: op, principal: awsapi.PrincipalFrom(r.Context()), base: "http://" + r.Host, path: r.URL.Path,
		trace: r.Header.Get("X-Amzn-Trace-Id")}
	if r.TLS != nil {
		c.base = "https://" + r.Host
	}
	return c, nil
}

func (s *Service) readJSON(r *http.Request) (*call, error) {
	op, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	c, err := newCall(r, op)
	if err != nil {
		return nil, err
	}
	body, err := awsapi.ReadBody(r, op, maxRequest)
	if err != nil {
		return nil, err
	}
	c.in, err = s.validator.Decode(operations[op], bytes.TrimSpace(body))
	return c, err
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = []string{"application/x-amz-json-1.0"}
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// named returns project and name of the queue at a URL; its host does not matter. Errors: InvalidAddress; QueueDoesNotExist for
// another project's.
func (c *call) named(url string) (project, name string, err error) {
	path := url
	if _, rest, ok := strings.Cut(url, "://"); ok {
		_, path, _ = strings.Cut(rest, "/")
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 2 {
		return "", "", hansom.Errorf(hansom.Invalid, c.op, "The address %s is not valid for this endpoint.", url).WithCode("InvalidAddress")
	}
	project, name = parts[len(parts)-2], parts[len(parts)-1]
	if project != c.principal.Project {
		return "", "", noQueue(c.op)
	}
	return project, name, nil
}

// queue is the one that a request is about.
func (c *call) queue() (project, name string, err error) { return c.named(c.in.Text("QueueUrl")) }

func noQueue(op string) error {
	return hansom.Errorf(hansom.NotFound, op, "The specified queue does not exist.").WithCode("QueueDoesNotExist")
}

func (c *call) url(q *queue.Queue) string { return c.base + "/" + q.Project + "/" + q.Name }

// number is an integer member; nil when it was not given.
func number(in model.Params, name string) *int64 {
	if n, ok := in[name].(int64); ok {
		return &n
	}
	return nil
}

// texts is a map of strings; nil when it was not given.
func texts(in model.Params, name string) map[string]string {
	list, ok := in[name].(map[string]any)
	if !ok {
		return nil
	}
	out := make(map[string]string, len(list))
	for k, v := range list {
		out[k], _ = v.(string)
	}
	return out
}
