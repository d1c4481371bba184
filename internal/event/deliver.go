package event

import (
	"context"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Deliver hands an event to a function, as an asynchronous invocation, or to a queue of the same project; when it returns nil the event
// is stored there. Errors: Denied for another project's; NotFound; Unsupported for other targets; TooLarge and Invalid for an event that
// the target does not take; Unavailable.
func (s *Service) Deliver(ctx context.Context, d hansom.Delivery) error {
	const op = "deliver event"
	arn, err := hansom.ParseARN(d.ARN)
	if err != nil {
		return err
	}
	name, isFunction := strings.CutPrefix(arn.Resource, "function:")
	switch {
	case arn.Service != "sqs" && !(arn.Service == "lambda" && isFunction):
		return hansom.Errorf(hansom.Unsupported, op, "%s cannot be a target: this server delivers to functions and queues of SQS", d.ARN)
	case arn.Account != d.Project:
		return hansom.Errorf(hansom.Denied, op, "%s belongs to another project than %s, which has no right to it", d.ARN, d.Project)
	case arn.Region != s.cfg.Region:
		return hansom.Errorf(hansom.NotFound, op, "%s is not in the region of this server, %s", d.ARN, s.cfg.Region)
	case arn.Service == "sqs":
		return s.Queues.Send(ctx, d)
	}
	name, qualifier, _ := strings.Cut(name, ":")
	return s.Acceptor.Accept(ctx, &hansom.Invocation{Project: d.Project, Function: name, Qualifier: qualifier, Payload: d.Payload, Trace: d.Trace, Source: "async"})
}
