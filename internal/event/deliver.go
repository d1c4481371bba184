package event

import (
	"context"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Buses are the event buses.
type Buses interface {
	// Forward puts an event on the bus of its ARN. Its errors go to who delivers.
	Forward(ctx context.Context, d hansom.Delivery) error
}

// Endpoints are the API destinations.
type Endpoints interface {
	// Send sends an event to the API destination of its ARN. Its errors go to who delivers; when ctx ends, what is under way may end first.
	Send(ctx context.Context, d hansom.Delivery) error
}

// SetBuses says what the event buses are, before Run; without them they are no targets.
func (s *Service) SetBuses(b Buses) { s.buses = b }

// SetAnnounce says who is told of deliveries that were given up (Delivery Failed), before Run.
func (s *Service) SetAnnounce(f hansom.Announce) { s.announce = f }

// SetEndpoints says what the API destinations are, before Run; without them they are no targets.
func (s *Service) SetEndpoints(e Endpoints) { s.endpoints = e }

// isEndpoint tells whether an ARN is that of an API destination.
func isEndpoint(arn string) bool {
	a, err := hansom.ParseARN(arn)
	return err == nil && a.Service == "events" && strings.HasPrefix(a.Resource, "api-destination/")
}

// Deliver hands an event to a function, as an asynchronous invocation, to a queue, an event bus or an API destination of the same project;
// when it returns nil the event is stored there, or the API destination has answered. Errors: Denied for another project's; NotFound;
// Unsupported for other targets; TooLarge and Invalid for an event that the target does not take; others mean that it may go well later.
func (s *Service) Deliver(ctx context.Context, d hansom.Delivery) error {
	const op = "deliver event"
	arn, err := hansom.ParseARN(d.ARN)
	if err != nil {
		return err
	}
	var deliver func() error
	kind, name, _ := strings.Cut(arn.Resource, "/")
	function, isFunction := strings.CutPrefix(arn.Resource, "function:")
	switch {
	case arn.Service == "sqs":
		deliver = func() error { return s.Queues.Send(ctx, d) }
	case arn.Service == "lambda" && isFunction:
		deliver = func() error {
			name, qualifier, _ := strings.Cut(function, ":")
			return s.Acceptor.Accept(ctx, &hansom.Invocation{Project: d.Project, Function: name, Qualifier: qualifier, Payload: d.Payload, Trace: d.Trace, Source: "async"})
		}
	case arn.Service == "events" && kind == "event-bus" && name != "" && s.buses != nil:
		deliver = func() error { return s.buses.Forward(ctx, d) }
	case arn.Service == "events" && kind == "api-destination" && s.endpoints != nil:
		deliver = func() error { return s.endpoints.Send(ctx, d) }
	default:
		return hansom.Errorf(hansom.Unsupported, op, "%s cannot be a target: this server delivers to functions, queues of SQS, event buses and API destinations", d.ARN)
	}
	switch {
	case arn.Account != d.Project:
		return hansom.Errorf(hansom.Denied, op, "%s belongs to another project than %s, which has no right to it", d.ARN, d.Project)
	case arn.Region != s.cfg.Region:
		return hansom.Errorf(hansom.NotFound, op, "%s is not in the region of this server, %s", d.ARN, s.cfg.Region)
	}
	return deliver()
}
