package events

import (
	"maps"
	"slices"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

type arnConfig struct {
	ARN string `json:"Arn,omitempty"`
}

// deadLetter shows the ARN of a dead-letter queue.
func deadLetter(arn string) *arnConfig {
	if arn == "" {
		return nil
	}
	return &arnConfig{arn}
}

// busSettings reads what of a bus is set, into what there is.
func (c *call) busSettings(into *eventbus.BusSettings) {
	if text, ok := c.in["Description"].(string); ok {
		into.Description = text
	}
	if dead, ok := c.in["DeadLetterConfig"].(model.Params); ok {
		into.DeadLetter = dead.Text("Arn")
	}
}

// checkBus refuses what buses do not have here.
func (c *call) checkBus() error {
	if log, ok := c.in["LogConfig"].(model.Params); ok && log.Text("Level") != "OFF" && log.Text("Level") != "" {
		return unsupported(c.op, "The parameter LogConfig")
	}
	return c.absent("KmsKeyIdentifier", "EventSourceName")
}

type bus struct {
	Name             string     `json:",omitempty"`
	ARN              string     `json:"Arn,omitempty"`
	EventBusARN      string     `json:"EventBusArn,omitempty"`
	Description      string     `json:",omitempty"`
	DeadLetterConfig *arnConfig `json:",omitempty"`
	Policy           string     `json:",omitempty"`
	CreationTime     *float64   `json:",omitempty"`
	LastModifiedTime *float64   `json:",omitempty"`
}

func (s *Service) createEventBus(c *call) (any, error) {
	if err := c.checkBus(); err != nil {
		return nil, err
	}
	var settings eventbus.BusSettings
	c.busSettings(&settings)
	b, err := s.Buses.CreateBus(c, c.project, c.in.Text("Name"), settings, tagsOf(c.in))
	if err != nil {
		return nil, err
	}
	return bus{EventBusARN: b.ARN(), Description: b.Description, DeadLetterConfig: deadLetter(b.DeadLetter)}, nil
}

func (s *Service) updateEventBus(c *call) (any, error) {
	if err := c.checkBus(); err != nil {
		return nil, err
	}
	b, err := s.Buses.UpdateBus(c, c.project, c.in.Text("Name"), c.busSettings)
	if err != nil {
		return nil, err
	}
	return bus{Name: b.Name, ARN: b.ARN(), Description: b.Description, DeadLetterConfig: deadLetter(b.DeadLetter)}, nil
}

func (s *Service) deleteEventBus(c *call) (any, error) {
	return nil, s.Buses.DeleteBus(c, c.project, c.in.Text("Name"))
}

func (s *Service) describeEventBus(c *call) (any, error) {
	b, err := s.Buses.Bus(c.project, c.in.Text("Name"))
	if err != nil {
		return nil, err
	}
	out := listed(b)
	out.DeadLetterConfig = deadLetter(b.DeadLetter)
	return out, nil
}

// listed is a bus as lists show it.
func listed(b *eventbus.Bus) bus {
	return bus{Name: b.Name, ARN: b.ARN(), Description: b.Description, Policy: b.Policy, CreationTime: seconds(b.Created), LastModifiedTime: seconds(b.Modified)}
}

func (s *Service) listEventBuses(c *call) (any, error) {
	return paged(c, "EventBuses", s.Buses.Buses(c.project, c.in.Text("NamePrefix")), func(b *eventbus.Bus) string { return b.Name }, listed)
}

func (s *Service) putPermission(c *call) (any, error) {
	name := c.in.Text("EventBusName")
	if document := c.in.Text("Policy"); document != "" {
		for _, member := range []string{"Action", "Principal", "StatementId", "Condition"} {
			if c.in[member] != nil {
				return nil, invalid("Parameter %s must not be specified with Policy.", member)
			}
		}
		return nil, s.Buses.SetPolicy(c, c.project, name, document)
	}
	in := eventbus.Permission{Sid: c.in.Text("StatementId"), Action: c.in.Text("Action"), Principal: c.in.Text("Principal")}
	if in.Sid == "" || in.Action == "" || in.Principal == "" {
		return nil, invalid("Parameter(s) Action, Principal and StatementId, or Policy, must be specified.")
	}
	if in.Action != "events:PutEvents" {
		return nil, invalid("Provided value in parameter 'action' is not supported.")
	}
	if x, ok := c.in["Condition"].(model.Params); ok {
		in.Condition = &eventbus.Condition{Type: x.Text("Type"), Key: x.Text("Key"), Value: x.Text("Value")}
	}
	return nil, s.Buses.PutPermission(c, c.project, name, in)
}

func (s *Service) removePermission(c *call) (any, error) {
	name := c.in.Text("EventBusName")
	if c.in.Flag("RemoveAllPermissions") {
		return nil, s.Buses.RemovePolicy(c, c.project, name)
	}
	sid := c.in.Text("StatementId")
	if sid == "" {
		return nil, invalid("Parameter StatementId is required.")
	}
	return nil, s.Buses.RemovePermission(c, c.project, name, sid)
}

// tagsOf reads a list of tags; nil when there are none.
func tagsOf(in model.Params) map[string]string {
	list, _ := in["Tags"].([]any)
	if len(list) == 0 {
		return nil
	}
	tags := make(map[string]string, len(list))
	for _, x := range list {
		t, _ := x.(model.Params)
		tags[t.Text("Key")] = t.Text("Value")
	}
	return tags
}

type tag struct{ Key, Value string }

func (s *Service) listTagsForResource(c *call) (any, error) {
	tags, err := s.Buses.Tags(c.project, c.in.Text("ResourceARN"))
	if err != nil {
		return nil, err
	}
	list := []tag{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, tag{k, tags[k]})
	}
	return struct{ Tags []tag }{list}, nil
}

func (s *Service) tagResource(c *call) (any, error) {
	return nil, s.Buses.Tag(c, c.project, c.in.Text("ResourceARN"), tagsOf(c.in))
}

func (s *Service) untagResource(c *call) (any, error) {
	return nil, s.Buses.Untag(c, c.project, c.in.Text("ResourceARN"), c.in.Texts("TagKeys"))
}
