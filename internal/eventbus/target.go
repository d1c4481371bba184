package eventbus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/eventbus/input"
)

// Defaults of a target's retry policy (EventBridge user guide, "Retrying event delivery").
const (
	defaultRetries = 185
	defaultAge     = 24 * time.Hour
)

// Target is where a rule sends events: a function, a queue, a bus or an API destination. Its JSON is EventBridge's; it is kept as that.
type Target struct {
	ID          string       `json:"Id"`
	ARN         string       `json:"Arn"`
	Role        string       `json:"RoleArn,omitempty"`
	Input       string       `json:",omitempty"` // JSON that is sent in place of the event
	InputPath   string       `json:",omitempty"`
	Transformer *Transformer `json:"InputTransformer,omitempty"`
	Queue       *Queue       `json:"SqsParameters,omitempty"`
	HTTP        *HTTP        `json:"HttpParameters,omitempty"`
	DeadLetter  *DeadLetter  `json:"DeadLetterConfig,omitempty"`
	Retry       *Retry       `json:"RetryPolicy,omitempty"`

	path        *input.Path
	transformer *input.Transformer
}

// Transformer is an InputTransformer.
type Transformer struct {
	Paths    map[string]string `json:"InputPathsMap,omitempty"`
	Template string            `json:"InputTemplate"`
}

// Queue says what messages in a FIFO queue have. The group may be a path into the event.
type Queue struct {
	Group string `json:"MessageGroupId"`
}

// HTTP is what requests to an API destination have in addition. Values that begin with $. are paths into the event.
type HTTP struct {
	Path   []string          `json:"PathParameterValues,omitempty"`
	Header map[string]string `json:"HeaderParameters,omitempty"`
	Query  map[string]string `json:"QueryStringParameters,omitempty"`
}

// DeadLetter is a queue for what could not be delivered.
type DeadLetter struct {
	ARN string `json:"Arn,omitempty"`
}

// Retry is a retry policy. What is nil is the default: 185 times, 86,400 seconds.
type Retry struct {
	Attempts *int `json:"MaximumRetryAttempts,omitempty"`
	Age      *int `json:"MaximumEventAgeInSeconds,omitempty"` // seconds
}

// parse makes what applying the target needs.
func (t *Target) parse() (err error) {
	if t.InputPath != "" {
		if t.path, err = input.ParsePath(t.InputPath); err != nil {
			return invalid("Invalid InputPath for target %s. %v", t.ID, err)
		}
	}
	if t.Transformer != nil {
		t.transformer, err = input.ParseTransformer(t.Transformer.Template, t.Transformer.Paths)
		var unknown *input.UnknownError
		switch {
		case errors.As(err, &unknown):
			return invalid("InputTemplate for target %s contains invalid placeholder %s.", t.ID, unknown.Variable)
		case err != nil:
			return invalid("Invalid InputTemplate for target %s : %v", t.ID, err)
		}
	}
	return nil
}

// check holds a target to what can be delivered. It is not looked whether there is such a function, queue, bus or destination: AWS
// does not either.
func (s *Service) checkTarget(project string, t *Target) error {
	arn, err := hansom.ParseARN(t.ARN)
	if err != nil {
		return invalid("Parameter %s is not valid. Reason: Provided Arn is not in correct format.", t.ARN)
	}
	kind, name, _ := strings.Cut(arn.Resource, "/")
	isBus := arn.Service == "events" && kind == "event-bus"
	switch {
	case arn.Service == "lambda" && strings.HasPrefix(arn.Resource, "function:"), arn.Service == "sqs", isBus, arn.Service == "events" && kind == "api-destination":
	default:
		return invalid("Parameter %s is not valid. Reason: this server delivers to Lambda functions, SQS queues, event buses and API destinations.", t.ARN)
	}
	given := 0
	for _, b := range []bool{t.Input != "", t.InputPath != "", t.Transformer != nil} {
		if b {
			given++
		}
	}
	switch {
	case arn.Account != project || arn.Region != s.cfg.Region:
		return invalid("Parameter %s is not valid. Reason: targets are of the same account and region as the rule, %s and %s.", t.ARN, project, s.cfg.Region)
	case isBus && name == "":
		return invalid("Parameter %s is not valid. Reason: Provided Arn is not in correct format.", t.ARN)
	case given > 1:
		return invalid("Only one of Input, InputPath, or InputTransformer must be provided for target %s.", t.ID)
	case given > 0 && isBus:
		return invalid("Input, InputPath and InputTransformer are not supported for target %s: an event bus gets the event.", t.ID)
	case t.Input != "" && !json.Valid([]byte(t.Input)):
		return invalid("JSON syntax error in input for target %s.", t.ID)
	case t.Queue != nil && arn.Service != "sqs":
		return invalid("Parameter(s) SqsParameters not valid for target %s: it is no queue.", t.ID)
	case strings.HasSuffix(arn.Resource, ".fifo") && arn.Service == "sqs" && (t.Queue == nil || t.Queue.Group == ""):
		return invalid("Parameter(s) SqsParameters must be specified for target: %s.", t.ID)
	case t.HTTP != nil && kind != "api-destination":
		return invalid("Parameter(s) HttpParameters not valid for target %s: it is no API destination.", t.ID)
	}
	if t.DeadLetter != nil && t.DeadLetter.ARN != "" {
		queue, err := hansom.ParseARN(t.DeadLetter.ARN)
		if err != nil || queue.Service != "sqs" || queue.Account != project || queue.Region != s.cfg.Region || strings.HasSuffix(queue.Resource, ".fifo") {
			return invalid("Parameter DeadLetterConfig.Arn of target %s is not valid. Reason: it must be the ARN of a standard queue of the same account and region.", t.ID)
		}
	}
	for _, value := range t.values() {
		if dynamic(value) {
			if _, err := input.ParsePath(value); err != nil {
				return invalid("A parameter of target %s is not valid. Reason: %v", t.ID, err)
			}
		}
	}
	return t.parse()
}

// dynamic says that a parameter is a path into the event.
func dynamic(s string) bool { return strings.HasPrefix(s, "$.") }

// values are the parameters that may be paths.
func (t *Target) values() (list []string) {
	if t.Queue != nil {
		list = append(list, t.Queue.Group)
	}
	if t.HTTP != nil {
		list = append(list, t.HTTP.Path...)
		for _, m := range []map[string]string{t.HTTP.Header, t.HTTP.Query} {
			for _, v := range m {
				list = append(list, v)
			}
		}
	}
	return list
}

// PutTargets adds targets to a rule, or replaces those of the same ids. Errors: ValidationException, ResourceNotFoundException,
// LimitExceededException.
func (s *Service) PutTargets(ctx context.Context, project, bus, rule string, targets []Target) error {
	for i := range targets {
		if err := s.checkTarget(project, &targets[i]); err != nil {
			return err
		}
	}
	return s.changeRule(ctx, project, bus, rule, func(_ *db.Tx, r *Rule) error {
		for _, t := range targets {
			i, found := slices.BinarySearchFunc(r.Targets, t.ID, func(x Target, id string) int { return strings.Compare(x.ID, id) })
			if found {
				r.Targets[i] = t
			} else {
				r.Targets = slices.Insert(r.Targets, i, t)
			}
		}
		if len(r.Targets) > s.cfg.Targets {
			return fail(hansom.Invalid, "LimitExceededException", "The requested resource exceeds the maximum number allowed: a rule has at most %d targets.", s.cfg.Targets)
		}
		return nil
	})
}

// RemoveTargets takes targets from a rule and returns the ids that it does not have. Error: ResourceNotFoundException.
func (s *Service) RemoveTargets(ctx context.Context, project, bus, rule string, ids []string) (missing []string, err error) {
	err = s.changeRule(ctx, project, bus, rule, func(_ *db.Tx, r *Rule) error {
		missing = nil
		for _, id := range ids {
			n := len(r.Targets)
			if r.Targets = slices.DeleteFunc(r.Targets, func(t Target) bool { return t.ID == id }); len(r.Targets) == n {
				missing = append(missing, id)
			}
		}
		return nil
	})
	return missing, err
}

// RulesOf returns the names of the rules of a bus that have a target, in their order. Error: ResourceNotFoundException.
func (s *Service) RulesOf(project, bus, target string) ([]string, error) {
	rules, err := s.Rules(project, bus, "")
	names := []string{}
	for _, r := range rules {
		if slices.ContainsFunc(r.Targets, func(t Target) bool { return t.ARN == target }) {
			names = append(names, r.Name)
		}
	}
	return names, err
}

// payload is what the target gets of an event, nil when InputPath finds nothing.
func (t *Target) payload(r *Rule, e *Event, ingested time.Time) []byte {
	switch {
	case t.Input != "":
		return []byte(t.Input)
	case t.path != nil:
		v, _ := t.path.Find(e.JSON)
		return v
	case t.transformer != nil:
		return t.transformer.Apply(e.JSON, input.Context{RuleARN: r.ARN(), RuleName: r.Name, Ingested: ingested})
	}
	return e.JSON
}

// dispatch is an event on its way to the target. ok is false when there is nothing to send.
func (t *Target) dispatch(r *Rule, e *Event, ingested time.Time) (d hansom.Dispatch, ok bool) {
	payload := t.payload(r, e, ingested)
	if payload == nil {
		return d, false
	}
	d = hansom.Dispatch{
		Delivery: hansom.Delivery{Project: r.Project, ARN: t.ARN, Payload: payload, Trace: e.Trace, Hops: e.hops + 1},
		Lane:     "rule/" + r.Project + "/" + r.Bus + "/" + r.Name + "/" + t.ID, ID: e.key,
		Retries: defaultRetries, MaxAge: defaultAge, Quiet: e.Source == Source,
		About: map[string]hansom.Attribute{"RULE_ARN": {Type: "String", Value: r.ARN()}, "TARGET_ARN": {Type: "String", Value: t.ARN}},
	}
	if t.Retry != nil && t.Retry.Attempts != nil {
		d.Retries = *t.Retry.Attempts
	}
	if t.Retry != nil && t.Retry.Age != nil {
		d.MaxAge = time.Duration(*t.Retry.Age) * time.Second
	}
	if t.DeadLetter != nil {
		d.DeadLetter = t.DeadLetter.ARN
	}
	if t.Queue != nil {
		d.Group = fill(t.Queue.Group, e.JSON)
	}
	if t.HTTP != nil {
		d.HTTP = &hansom.HTTPParameters{Header: fillAll(t.HTTP.Header, e.JSON), Query: fillAll(t.HTTP.Query, e.JSON)}
		for _, v := range t.HTTP.Path {
			d.HTTP.Path = append(d.HTTP.Path, fill(v, e.JSON))
		}
	}
	return d, true
}

// fill is a parameter, or what of the event it is the path of: "" when there is nothing.
func fill(value string, event []byte) string {
	if !dynamic(value) {
		return value
	}
	p, err := input.ParsePath(value)
	if err != nil { // checkTarget has refused it
		return value
	}
	v, _ := p.Find(event)
	return input.Text(v)
}

func fillAll(values map[string]string, event []byte) map[string]string {
	if values == nil {
		return nil
	}
	out := make(map[string]string, len(values))
	for k, v := range values {
		out[k] = fill(v, event)
	}
	return out
}

// encode writes what always encodes, without escaping < and >.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n")
}
