package scheduler

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/hansomcloud/hansom/internal/awsapi/model"
	"github.com/hansomcloud/hansom/internal/schedule"
)

type (
	window struct {
		Mode                   string
		MaximumWindowInMinutes int `json:",omitempty"`
	}
	retryPolicy struct {
		MaximumEventAgeInSeconds int
		MaximumRetryAttempts     int
	}
	deadLetters struct {
		ARN string `json:"Arn,omitempty"`
	}
	sqsParameters struct {
		MessageGroupID string `json:"MessageGroupId,omitempty"`
	}
	eventBridgeParameters struct{ DetailType, Source string }
	target                struct {
		ARN                   string `json:"Arn"`
		RoleARN               string `json:"RoleArn"`
		Input                 string `json:",omitempty"`
		RetryPolicy           retryPolicy
		DeadLetterConfig      *deadLetters           `json:",omitempty"`
		SQSParameters         *sqsParameters         `json:"SqsParameters,omitempty"`
		EventBridgeParameters *eventBridgeParameters `json:",omitempty"`
	}
	fullSchedule struct {
		ActionAfterCompletion      string
		ARN                        string `json:"Arn"`
		CreationDate               *json.Number
		Description                string       `json:",omitempty"`
		EndDate                    *json.Number `json:",omitempty"`
		FlexibleTimeWindow         window
		GroupName                  string
		LastModificationDate       *json.Number
		Name                       string
		ScheduleExpression         string
		ScheduleExpressionTimezone string
		StartDate                  *json.Number `json:",omitempty"`
		State                      string
		Target                     target
	}
	targetSummary struct {
		ARN string `json:"Arn"`
	}
	scheduleSummary struct {
		ARN                  string `json:"Arn"`
		CreationDate         *json.Number
		GroupName            string
		LastModificationDate *json.Number
		Name                 string
		State                string
		Target               targetSummary
	}
	scheduleARN struct {
		ScheduleARN string `json:"ScheduleArn"`
	}
)

func stateOf(enabled bool) string {
	if enabled {
		return "ENABLED"
	}
	return "DISABLED"
}

// shown is a schedule as GetSchedule shows it.
func shown(c *schedule.Schedule) fullSchedule {
	out := fullSchedule{ActionAfterCompletion: "NONE", ARN: c.ARN(), CreationDate: seconds(c.Created), Description: c.Description, EndDate: seconds(c.End),
		FlexibleTimeWindow: window{Mode: "OFF"}, GroupName: c.Group, LastModificationDate: seconds(c.Modified), Name: c.Name,
		ScheduleExpression: c.Expression, ScheduleExpressionTimezone: c.Zone, StartDate: seconds(c.Start), State: stateOf(c.Enabled)}
	if c.Delete {
		out.ActionAfterCompletion = "DELETE"
	}
	if c.Window > 0 {
		out.FlexibleTimeWindow = window{"FLEXIBLE", int(c.Window / time.Minute)}
	}
	t := &c.Target
	out.Target = target{ARN: t.ARN, RoleARN: t.Role, Input: t.Input, RetryPolicy: retryPolicy{int(schedule.MaxAge / time.Second), schedule.MaxRetries}}
	if t.Age != nil {
		out.Target.RetryPolicy.MaximumEventAgeInSeconds = int(*t.Age / time.Second)
	}
	if t.Retries != nil {
		out.Target.RetryPolicy.MaximumRetryAttempts = *t.Retries
	}
	if t.DeadLetter != nil {
		out.Target.DeadLetterConfig = &deadLetters{*t.DeadLetter}
	}
	if t.Queue != nil {
		out.Target.SQSParameters = &sqsParameters{t.Queue.Group}
	}
	if t.Bus != nil {
		out.Target.EventBridgeParameters = &eventBridgeParameters{t.Bus.DetailType, t.Bus.Source}
	}
	return out
}

// foreign are parameters of targets that are not offered.
var foreign = []string{"EcsParameters", "KinesisParameters", "SageMakerPipelineParameters"}

// scheduleOf is what CreateSchedule and UpdateSchedule are told.
func (c *call) scheduleOf() (schedule.Schedule, error) {
	x := schedule.Schedule{Project: c.project, Group: cmp.Or(c.in.Text("GroupName"), schedule.DefaultGroup), Name: c.in.Text("Name"),
		Expression: c.in.Text("ScheduleExpression"), Zone: cmp.Or(c.in.Text("ScheduleExpressionTimezone"), "UTC"),
		Start: timeOf(c.in, "StartDate"), End: timeOf(c.in, "EndDate"), Enabled: c.in.Text("State") != "DISABLED"}
	x.Description, x.Delete = c.in.Text("Description"), c.in.Text("ActionAfterCompletion") == "DELETE"
	if c.in["KmsKeyArn"] != nil {
		return x, invalid("KmsKeyArn is not supported by this server. Leave it out of the request.")
	}
	w := structure(c.in, "FlexibleTimeWindow")
	_, minutes := w["MaximumWindowInMinutes"]
	switch flexible := w.Text("Mode") == "FLEXIBLE"; {
	case flexible && !minutes:
		return x, invalid("MaximumWindowInMinutes must be provided when FlexibleTimeWindowMode is set to FLEXIBLE.")
	case !flexible && minutes:
		return x, invalid("MaximumWindowInMinutes must not be provided when FlexibleTimeWindowMode is set to OFF.")
	}
	x.Window = time.Duration(w.Integer("MaximumWindowInMinutes")) * time.Minute
	in := structure(c.in, "Target")
	for _, name := range foreign {
		if in[name] != nil {
			return x, invalid("Parameters %s not supported for the target.", name)
		}
	}
	x.Target = targetOf(in)
	return x, nil
}

func targetOf(in model.Params) schedule.Target {
	t := schedule.Target{ARN: in.Text("Arn"), Role: in.Text("RoleArn"), Input: in.Text("Input")}
	policy := structure(in, "RetryPolicy")
	if n, ok := policy["MaximumRetryAttempts"].(int64); ok {
		retries := int(n)
		t.Retries = &retries
	}
	if n, ok := policy["MaximumEventAgeInSeconds"].(int64); ok {
		age := time.Duration(n) * time.Second
		t.Age = &age
	}
	if p := structure(in, "DeadLetterConfig"); p != nil {
		arn := p.Text("Arn")
		t.DeadLetter = &arn
	}
	if p := structure(in, "SqsParameters"); p != nil {
		t.Queue = &schedule.QueueParameters{Group: p.Text("MessageGroupId")}
	}
	if p := structure(in, "EventBridgeParameters"); p != nil {
		t.Bus = &schedule.BusParameters{Source: p.Text("Source"), DetailType: p.Text("DetailType")}
	}
	return t
}

func (s *Service) createSchedule(c *call) (any, error) {
	in, err := c.scheduleOf()
	if err != nil {
		return nil, err
	}
	x, err := s.schedules.Create(c, c.in.Text("ClientToken"), in)
	if err != nil {
		return nil, err
	}
	return scheduleARN{x.ARN()}, nil
}

func (s *Service) updateSchedule(c *call) (any, error) {
	in, err := c.scheduleOf()
	if err != nil {
		return nil, err
	}
	x, err := s.schedules.Update(c, c.in.Text("ClientToken"), in)
	if err != nil {
		return nil, err
	}
	return scheduleARN{x.ARN()}, nil
}

func (s *Service) getSchedule(c *call) (any, error) {
	x, err := s.schedules.Get(c, c.project, cmp.Or(c.in.Text("GroupName"), schedule.DefaultGroup), c.in.Text("Name"))
	if err != nil {
		return nil, err
	}
	return shown(x), nil
}

func (s *Service) deleteSchedule(c *call) (any, error) {
	return nil, s.schedules.Delete(c, c.in.Text("ClientToken"), c.project, cmp.Or(c.in.Text("GroupName"), schedule.DefaultGroup), c.in.Text("Name"))
}

func (s *Service) listSchedules(c *call) (any, error) {
	after, err := c.after()
	if err != nil {
		return nil, err
	}
	f := schedule.Filter{Group: c.in.Text("GroupName"), Prefix: c.in.Text("NamePrefix"), After: after, Limit: c.limit() + 1}
	if state := c.in.Text("State"); state != "" {
		enabled := state == "ENABLED"
		f.Enabled = &enabled
	}
	list, err := s.schedules.List(c, c.project, f)
	if err != nil {
		return nil, err
	}
	list, next := cut(list, c.limit(), (*schedule.Schedule).Key)
	out := struct {
		NextToken string `json:",omitempty"`
		Schedules []scheduleSummary
	}{next, make([]scheduleSummary, len(list))}
	for i, x := range list {
		out.Schedules[i] = scheduleSummary{x.ARN(), seconds(x.Created), x.Group, seconds(x.Modified), x.Name, stateOf(x.Enabled), targetSummary{x.Target.ARN}}
	}
	return out, nil
}
