package events

import (
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/pattern"
)

type outcome struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

func (s *Service) putEvents(c *call) (any, error) {
	if err := c.absent("EndpointId"); err != nil {
		return nil, err
	}
	list, _ := c.in["Entries"].([]any)
	entries := make([]eventbus.Entry, len(list))
	for i, x := range list {
		in, _ := x.(model.Params)
		e := &entries[i]
		*e = eventbus.Entry{Bus: in.Text("EventBusName"), Source: in.Text("Source"), DetailType: in.Text("DetailType"), Detail: []byte(in.Text("Detail")),
			Resources: in.Texts("Resources"), Time: timeOf(in, "Time"), Trace: in.Text("TraceHeader")}
		if e.Trace == "" {
			e.Trace = c.trace
		}
	}
	results, err := s.Buses.Publish(c, c.project, entries)
	if err != nil {
		return nil, err
	}
	out := struct {
		FailedEntryCount int
		Entries          []outcome
	}{0, make([]outcome, len(results))}
	for i, r := range results {
		if r.Err == nil {
			out.Entries[i].EventID = r.ID
			continue
		}
		out.FailedEntryCount++
		out.Entries[i] = s.outcome(c, r.Err)
	}
	return out, nil
}

// outcome tells of an entry that was not taken over.
func (s *Service) outcome(c *call, err error) outcome {
	code := faultOf(err).Code
	switch hansom.KindOf(err) {
	case hansom.Internal, hansom.Unavailable, hansom.Timeout, hansom.Canceled:
		code = "InternalFailure"
		s.logger.Error("an event could not be taken over", "requestId", awsapi.RequestID(c), "error", err)
	}
	return outcome{ErrorCode: code, ErrorMessage: awsapi.Message(err, awsapi.RequestID(c))}
}

// manyEntries words the refusal of more entries than PutEvents takes: AWS shows what was sent.
func manyEntries(c *call) error {
	list, _ := c.in["Entries"].([]any)
	if len(list) <= eventbus.MaxEntries {
		return nil
	}
	shown := make([]string, len(list))
	for i, x := range list {
		in, _ := x.(model.Params)
		text := func(name string) string {
			switch v := in[name].(type) {
			case string:
				return v
			case float64:
				return strconv.FormatFloat(v, 'f', -1, 64)
			case []any:
				return "[" + strings.Join(in.Texts(name), ", ") + "]"
			}
			return "null"
		}
		shown[i] = "PutEventsRequestEntry(time=" + text("Time") + ", source=" + text("Source") + ", resources=" + text("Resources") + ", detailType=" + text("DetailType") +
			", detail=" + text("Detail") + ", eventBusName=" + text("EventBusName") + ", traceHeader=" + text("TraceHeader") + ", kmsKeyIdentifier=null, internalMetadata=null)"
	}
	return model.Invalid([]string{"Value '[" + strings.Join(shown, ", ") + "]' at 'entries' failed to satisfy constraint: Member must have length less than or equal to " +
		strconv.Itoa(eventbus.MaxEntries)})
}

// testEventPattern answers whether an event matches a pattern.
func (s *Service) testEventPattern(c *call) (any, error) {
	p, err := pattern.Parse(c.in.Text("EventPattern"))
	if err != nil {
		return nil, err
	}
	ok, err := p.Match([]byte(c.in.Text("Event")))
	if err != nil {
		return nil, err
	}
	return struct{ Result bool }{ok}, nil
}
