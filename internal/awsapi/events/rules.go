package events

import (
	"encoding/json"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

type rule struct {
	Name               string
	ARN                string `json:"Arn"`
	EventPattern       string `json:",omitempty"`
	ScheduleExpression string `json:",omitempty"`
	State              string
	Description        string `json:",omitempty"`
	RoleARN            string `json:"RoleArn,omitempty"`
	EventBusName       string
	CreatedBy          string `json:",omitempty"`
}

// shown is a rule as lists show it.
func shown(r *eventbus.Rule) rule {
	out := rule{Name: r.Name, ARN: r.ARN(), ScheduleExpression: r.Schedule, State: r.State, Description: r.Description, RoleARN: r.Role, EventBusName: r.Bus}
	if r.Pattern != nil {
		out.EventPattern = r.Pattern.String()
	}
	return out
}

func (s *Service) putRule(c *call) (any, error) {
	r, err := s.Buses.PutRule(c, c.project, eventbus.RuleInput{
		Bus: c.in.Text("EventBusName"), Name: c.in.Text("Name"), Pattern: c.in.Text("EventPattern"), Schedule: c.in.Text("ScheduleExpression"), Tags: tagsOf(c.in),
		RuleSettings: eventbus.RuleSettings{State: c.in.Text("State"), Description: c.in.Text("Description"), Role: c.in.Text("RoleArn")},
	})
	if err != nil {
		return nil, err
	}
	return struct {
		RuleARN string `json:"RuleArn"`
	}{r.ARN()}, nil
}

func (s *Service) deleteRule(c *call) (any, error) {
	return nil, s.Buses.DeleteRule(c, c.project, c.in.Text("EventBusName"), c.in.Text("Name"))
}

func (s *Service) describeRule(c *call) (any, error) {
	r, err := s.Buses.Rule(c.project, c.in.Text("EventBusName"), c.in.Text("Name"))
	if err != nil {
		return nil, err
	}
	out := shown(r)
	out.CreatedBy = r.Project
	return out, nil
}

func (s *Service) listRules(c *call) (any, error) {
	list, err := s.Buses.Rules(c.project, c.in.Text("EventBusName"), c.in.Text("NamePrefix"))
	if err != nil {
		return nil, err
	}
	return paged(c, "Rules", list, func(r *eventbus.Rule) string { return r.Name }, shown)
}

func (s *Service) enableRule(c *call) (any, error) {
	return nil, s.Buses.SetState(c, c.project, c.in.Text("EventBusName"), c.in.Text("Name"), eventbus.Enabled)
}

func (s *Service) disableRule(c *call) (any, error) {
	return nil, s.Buses.SetState(c, c.project, c.in.Text("EventBusName"), c.in.Text("Name"), eventbus.Disabled)
}

func (s *Service) listRuleNamesByTarget(c *call) (any, error) {
	names, err := s.Buses.RulesOf(c.project, c.in.Text("EventBusName"), c.in.Text("TargetArn"))
	if err != nil {
		return nil, err
	}
	same := func(name string) string { return name }
	return paged(c, "RuleNames", names, same, same)
}

// otherKinds are the parameters of targets that are not offered.
var otherKinds = []string{"KinesisParameters", "RunCommandParameters", "EcsParameters", "BatchParameters", "RedshiftDataParameters",
	"SageMakerPipelineParameters", "AppSyncParameters"}

type failures struct {
	FailedEntryCount int
	FailedEntries    []failure
}

type failure struct {
	TargetID     string `json:"TargetId"`
	ErrorCode    string
	ErrorMessage string
}

func (s *Service) putTargets(c *call) (any, error) {
	list, _ := c.in["Targets"].([]any)
	targets := make([]eventbus.Target, len(list))
	for i, x := range list {
		in, _ := x.(model.Params)
		for _, name := range otherKinds {
			if in[name] != nil {
				return nil, invalid("Parameter %s of target %s is not supported by this server.", name, in.Text("Id"))
			}
		}
		text, err := json.Marshal(in)
		if err == nil {
			err = json.Unmarshal(text, &targets[i]) // its JSON is the API's
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.Buses.PutTargets(c, c.project, c.in.Text("EventBusName"), c.in.Text("Rule"), targets); err != nil {
		return nil, err
	}
	return failures{0, []failure{}}, nil
}

func (s *Service) removeTargets(c *call) (any, error) {
	missing, err := s.Buses.RemoveTargets(c, c.project, c.in.Text("EventBusName"), c.in.Text("Rule"), c.in.Texts("Ids"))
	if err != nil {
		return nil, err
	}
	out := failures{len(missing), []failure{}}
	for _, id := range missing {
		out.FailedEntries = append(out.FailedEntries, failure{id, "ResourceNotFoundException", "Rule " + c.in.Text("Rule") + " does not have a target with the Id " + id + "."})
	}
	return out, nil
}

func (s *Service) listTargetsByRule(c *call) (any, error) {
	r, err := s.Buses.Rule(c.project, c.in.Text("EventBusName"), c.in.Text("Rule"))
	if err != nil {
		return nil, err
	}
	return paged(c, "Targets", r.Targets, func(t eventbus.Target) string { return t.ID }, func(t eventbus.Target) eventbus.Target { return t })
}
