package schedule

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cron"
)

// early is how long before now a StartDate may be.
const early = 5 * time.Minute

// check holds a schedule to what it can be. known is the StartDate that it had before. Error: ValidationException.
func (s *Service) check(c *Schedule, known time.Time) error {
	t, err := c.times()
	if err != nil {
		return err
	}
	if t.Kind() != cron.At {
		switch {
		case !c.Start.IsZero() && !c.End.IsZero() && !c.Start.Before(c.End):
			return invalid("The StartDate you specify must come before the EndDate.")
		case !c.Start.IsZero() && !c.Start.Equal(known) && c.Start.Before(s.cfg.Now().Add(-early)):
			return invalid("The StartDate you specify cannot be earlier than 5 minutes ago.")
		}
	}
	if err := s.checkTarget(c); err != nil {
		return err
	}
	_, err = c.deliveries(c.Target.Input, "")
	return err
}

// universal begins the ARNs of targets that are any operation of a service.
const universal = "arn:aws:scheduler:::aws-sdk:"

// unusable refuses a target that AWS has and this server has not.
func unusable(arn string) error {
	return invalid("%s cannot be a target on this server: it has functions, queues of SQS, event buses, and the universal targets lambda:invoke, sqs:sendMessage and eventbridge:putEvents.", arn)
}

func (s *Service) checkTarget(c *Schedule) error {
	t := &c.Target
	if operation, ok := strings.CutPrefix(t.ARN, universal); ok {
		_, api, _ := strings.Cut(operation, ":")
		switch {
		case universals[operation] != nil:
		case slices.ContainsFunc([]string{"get", "describe", "list"}, func(p string) bool { return strings.HasPrefix(api, p) }):
			return invalid("%s API is not supported.", api)
		default:
			return unusable(t.ARN)
		}
		if t.Input == "" {
			return invalid("You must provide an input to set this target for your schedule.")
		}
		return t.checkParameters("")
	}
	arn, err := hansom.ParseARN(t.ARN)
	if err != nil {
		return invalid("Provided Arn is not in correct format.")
	}
	_, _, isFunction := functionOf(t.ARN)
	_, isBus := strings.CutPrefix(arn.Resource, "event-bus/")
	switch {
	case arn.Service == "scheduler":
		return invalid("%s is not a supported service for a target.", arn.Service)
	case arn.Service == "lambda" && isFunction, arn.Service == "sqs", arn.Service == "events" && isBus:
	default:
		return unusable(t.ARN)
	}
	switch {
	case arn.Region != c.Region:
		return invalid("The target ARN provided does not match the current region %s.", c.Region)
	case arn.Service != "sqs" && t.Input != "" && !json.Valid([]byte(t.Input)):
		return invalid("JSON syntax error in input for the target.")
	}
	return t.checkParameters(arn.Service)
}

// checkParameters holds SqsParameters and EventBridgeParameters to the service of the target.
func (t *Target) checkParameters(service string) error {
	fifo := service == "sqs" && strings.HasSuffix(t.ARN, ".fifo")
	switch {
	case t.Queue != nil && service != "sqs":
		return invalid("Parameters SqsParameters not supported for the target.")
	case t.Bus != nil && service != "events":
		return invalid("Parameters EventBridgeParameters not supported for the target.")
	case fifo && (t.Queue == nil || t.Queue.Group == ""):
		return invalid("Parameters SqsParameters must be specified.")
	case !fifo && t.Queue != nil && t.Queue.Group != "":
		return invalid("Parameters MessageGroupId not valid for the target.")
	case service == "events" && t.Bus == nil:
		return invalid("Parameters EventBridgeParameters must be specified.")
	}
	return nil
}

// functionOf is the project and the name of the function that an ARN names.
func functionOf(text string) (project, name string, ok bool) {
	arn, err := hansom.ParseARN(text)
	if err != nil || arn.Service != "lambda" {
		return "", "", false
	}
	name, ok = strings.CutPrefix(arn.Resource, "function:")
	return arn.Account, name, ok
}

// deliveries are what a schedule sends, with the input as it is at one time. id names the time: a FIFO queue takes it once. Error:
// ValidationException, when the input of a universal target is not a request that this server carries out.
func (c *Schedule) deliveries(input, id string) ([]hansom.Delivery, error) {
	t := &c.Target
	if operation, ok := strings.CutPrefix(t.ARN, universal); ok {
		return universals[operation](c, input, id)
	}
	d := hansom.Delivery{Project: c.Project, ARN: t.ARN, Payload: []byte(input)}
	if t.Queue != nil && t.Queue.Group != "" {
		d.Group, d.Dedup = t.Queue.Group, id
	}
	if t.Bus != nil {
		d.Event = &hansom.EventParameters{Source: t.Bus.Source, DetailType: t.Bus.DetailType, Resources: []string{c.ARN()}}
	}
	return []hansom.Delivery{d}, nil
}

// universals read the requests that are the inputs of universal targets.
var universals = map[string]func(c *Schedule, input, id string) ([]hansom.Delivery, error){
	"lambda:invoke": invokeRequest, "sqs:sendMessage": sendRequest, "eventbridge:putEvents": putRequest,
}

// readRequest reads a request of which all members must be known.
func readRequest(input string, request any) error {
	d := json.NewDecoder(strings.NewReader(input))
	d.DisallowUnknownFields()
	err := d.Decode(request)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return invalid("JSON syntax error in input for the target.")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return invalid("The member %s of the input is not supported by this server as a universal target.", name)
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return invalid("The member %q of the input has a value of the wrong type.", wrong.Field)
	}
	return invalid("JSON syntax error in input for the target.")
}

func invokeRequest(c *Schedule, input, _ string) ([]hansom.Delivery, error) {
	var r struct {
		FunctionName, Qualifier, InvocationType string
		Payload                                 json.RawMessage
	}
	if err := readRequest(input, &r); err != nil {
		return nil, err
	}
	project, name, ok := functionOf(r.FunctionName)
	if parts := strings.Split(r.FunctionName, ":"); !ok && len(parts) >= 3 && parts[1] == "function" { // account:function:name
		project, name = parts[0], strings.Join(parts[2:], ":")
	} else if !ok {
		project, name = c.Project, r.FunctionName
	}
	name, qualifier, _ := strings.Cut(name, ":")
	if qualifier == "" {
		qualifier = r.Qualifier
	}
	switch {
	case name == "":
		return nil, invalid("The input for the target lacks FunctionName.")
	case r.InvocationType != "" && r.InvocationType != "Event" && r.InvocationType != "RequestResponse":
		return nil, invalid("The InvocationType %s of the input is not supported by this server as a universal target.", r.InvocationType)
	}
	payload := []byte(r.Payload)
	if text := ""; json.Unmarshal(payload, &text) == nil { // a blob, which is given as text
		payload = []byte(text)
	}
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		return nil, invalid("The Payload of the input is no JSON.")
	}
	return []hansom.Delivery{{Project: c.Project, ARN: hansom.FunctionARN(c.Region, project, name, qualifier), Payload: payload}}, nil
}

func sendRequest(c *Schedule, input, id string) ([]hansom.Delivery, error) {
	var r struct {
		QueueURL                               string `json:"QueueUrl"`
		MessageBody                            string
		MessageGroupID, MessageDeduplicationID string
		MessageAttributes                      map[string]struct{ DataType, StringValue string }
	}
	if err := readRequest(input, &r); err != nil {
		return nil, err
	}
	parts := strings.Split(strings.TrimSuffix(r.QueueURL, "/"), "/")
	if len(parts) < 2 || r.MessageBody == "" {
		return nil, invalid("The input for the target lacks QueueUrl or MessageBody.")
	}
	d := hansom.Delivery{Project: c.Project, Payload: []byte(r.MessageBody), Group: r.MessageGroupID, Dedup: r.MessageDeduplicationID,
		ARN: "arn:aws:sqs:" + c.Region + ":" + parts[len(parts)-2] + ":" + parts[len(parts)-1]}
	if d.Group != "" && d.Dedup == "" && strings.HasSuffix(d.ARN, ".fifo") { // a standard queue takes a group, and no deduplication id
		d.Dedup = id
	}
	for name, a := range r.MessageAttributes {
		if d.Attributes == nil {
			d.Attributes = map[string]hansom.Attribute{}
		}
		d.Attributes[name] = hansom.Attribute{Type: a.DataType, Value: a.StringValue}
	}
	return []hansom.Delivery{d}, nil
}

// maxEntries is how many events PutEvents takes.
const maxEntries = 10

func putRequest(c *Schedule, input, _ string) ([]hansom.Delivery, error) {
	var r struct {
		Entries []struct {
			Source, DetailType, Detail, EventBusName string
			Resources                                []string
		}
	}
	if err := readRequest(input, &r); err != nil {
		return nil, err
	}
	if len(r.Entries) == 0 || len(r.Entries) > maxEntries {
		return nil, invalid("The input for the target must have 1 to %d Entries.", maxEntries)
	}
	var list []hansom.Delivery
	for _, e := range r.Entries {
		var detail map[string]json.RawMessage
		switch {
		case e.Source == "" || e.DetailType == "":
			return nil, invalid("An entry of the input for the target lacks Source or DetailType.")
		case strings.HasPrefix(e.Source, "aws."):
			return nil, invalid("The Source of an entry of the input for the target cannot begin with aws.")
		case json.Unmarshal([]byte(e.Detail), &detail) != nil:
			return nil, invalid("The Detail of an entry of the input for the target is no JSON object.")
		}
		bus := e.EventBusName
		if bus == "" {
			bus = "default"
		}
		if !strings.HasPrefix(bus, "arn:") {
			bus = "arn:aws:events:" + c.Region + ":" + c.Project + ":event-bus/" + bus
		}
		list = append(list, hansom.Delivery{Project: c.Project, ARN: bus, Payload: []byte(e.Detail),
			Event: &hansom.EventParameters{Source: e.Source, DetailType: e.DetailType, Resources: e.Resources}})
	}
	return list, nil
}
