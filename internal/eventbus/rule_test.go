package eventbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestBuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx := t.Context()
		s, _ := open(t, database, func(c *Config) { c.Buses = 3 })
		names := func(prefix string) (out string) {
			for _, b := range s.Buses(project, prefix) {
				out += b.Name + " "
			}
			return out
		}
		if names("") != "default " || s.Buses(project, "")[0].ARN() != "arn:aws:events:us-east-1:000000000000:event-bus/default" {
			t.Errorf("buses %s", names(""))
		}
		must[*Bus](t)(s.CreateBus(ctx, project, "orders", BusSettings{Description: "d", DeadLetter: queue}, map[string]string{"a": "b"}))
		must[*Bus](t)(s.CreateBus(ctx, project, "mail", BusSettings{}, nil))
		must[*Bus](t)(s.CreateBus(ctx, "111111111111", "others", BusSettings{}, nil))
		if got := names(""); got != "default mail orders " {
			t.Errorf("buses %s", got)
		}
		if got := names("o"); got != "orders " {
			t.Errorf("buses with o %s", got)
		}
		for _, name := range []string{"orders", "arn:aws:events:us-east-1:000000000000:event-bus/orders"} {
			b := must[*Bus](t)(s.Bus(project, name))
			if b.Description != "d" || b.DeadLetter != queue || b.Tags["a"] != "b" || !b.Created.Equal(now) {
				t.Errorf("%s: %+v", name, b)
			}
		}
		for _, name := range []string{"none", "others", "arn:aws:events:us-east-1:111111111111:event-bus/others", "arn:aws:events:eu-west-1:000000000000:event-bus/orders"} {
			_, err := s.Bus(project, name)
			refused(t, name, err, "ResourceNotFoundException", "Event bus "+name+" does not exist.")
		}
		must[*Bus](t)(s.UpdateBus(ctx, project, "", func(b *BusSettings) { b.Description = "mine" }))
		if b := must[*Bus](t)(s.Bus(project, DefaultBus)); b.Description != "mine" || b.Created.IsZero() {
			t.Errorf("the default bus: %+v", b)
		}
		_, err := s.CreateBus(ctx, project, "orders", BusSettings{}, nil)
		refused(t, "again", err, "ResourceAlreadyExistsException", "Event bus orders already exists.")
		_, err = s.CreateBus(ctx, "111111111111", "default", BusSettings{}, nil)
		refused(t, "default", err, "ResourceAlreadyExistsException", "Event bus default already exists.")
		_, err = s.CreateBus(ctx, project, "a/b", BusSettings{}, nil)
		refused(t, "slash", err, "ValidationException", "must not contain '/'")
		_, err = s.CreateBus(ctx, project, "fourth", BusSettings{}, nil)
		refused(t, "too many", err, "LimitExceededException", "at most 3 event buses")

		rule(t, s, "orders", "r", `{"source":["s"]}`)
		refused(t, "with rules", s.DeleteBus(ctx, project, "orders"), "ValidationException", "Event bus orders can't be deleted since it has rules.")
		refused(t, "default", s.DeleteBus(ctx, project, "default"), "ValidationException", "Cannot delete event bus default.")
		if err := errors.Join(s.DeleteRule(ctx, project, "orders", "r"), s.DeleteBus(ctx, project, "orders"), s.DeleteBus(ctx, project, "orders")); err != nil {
			t.Error(err)
		}
		if got := names(""); got != "default mail " {
			t.Errorf("buses %s", got)
		}
	})
}

func TestRules(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx, database := t.Context(), dbtest.Open(t, url)
		s, d := open(t, database, func(c *Config) { c.Rules = 3 })
		must[*Bus](t)(s.CreateBus(ctx, project, "orders", BusSettings{}, nil))
		in := RuleInput{Name: "r", Pattern: `{"source": ["s"]}`, RuleSettings: RuleSettings{Description: "d", Role: "arn:aws:iam::000000000000:role/r"}, Tags: map[string]string{"a": "b"}}
		if r := must[*Rule](t)(s.PutRule(ctx, project, in)); r.ARN() != "arn:aws:events:us-east-1:000000000000:rule/r" || r.State != Enabled {
			t.Errorf("%+v", r)
		}
		in.Bus = "orders"
		if r := must[*Rule](t)(s.PutRule(ctx, project, in)); r.ARN() != "arn:aws:events:us-east-1:000000000000:rule/orders/r" {
			t.Errorf("%+v", r)
		}
		if err := s.PutTargets(ctx, project, "orders", "r", []Target{{ID: "1", ARN: queue}}); err != nil {
			t.Fatal(err)
		}
		// What is not given again is gone, but for targets and tags.
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Bus: "orders", Name: "r", Pattern: `{"source":["other"]}`, RuleSettings: RuleSettings{State: Disabled}, Tags: map[string]string{"x": "y"}}))
		check := func(s *Service) {
			t.Helper()
			r := must[*Rule](t)(s.Rule(project, "orders", "r"))
			if r.Description != "" || r.Role != "" || r.State != Disabled || r.Pattern.String() != `{"source":["other"]}` || len(r.Targets) != 1 || !maps.Equal(r.Tags, map[string]string{"a": "b"}) {
				t.Errorf("%+v", r)
			}
			if r := must[*Rule](t)(s.Rule(project, "", "r")); r.Description != "d" || r.Pattern.String() != `{"source": ["s"]}` {
				t.Errorf("%+v", r)
			}
		}
		check(s)
		again, _ := open(t, database, nil) // reads it all
		check(again)

		_, err := s.Rule(project, "", "none")
		refused(t, "none", err, "ResourceNotFoundException", "Rule none does not exist on EventBus default.")
		_, err = s.Rule(project, "none", "r")
		refused(t, "no bus", err, "ResourceNotFoundException", "Event bus none does not exist.")
		for _, c := range []struct {
			in         RuleInput
			code, text string
		}{
			{RuleInput{Name: "x"}, "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified."},
			{RuleInput{Name: "x", Pattern: `{"a":[]}`}, "InvalidEventPatternException", "Event pattern is not valid. Reason: Empty arrays are not allowed"},
			{RuleInput{Name: "x", Pattern: `{"a":[1]}`, Bus: "none"}, "ResourceNotFoundException", "Event bus none does not exist."},
			{RuleInput{Name: "x", Schedule: `rate(1 minute)`, Bus: "orders"}, "ValidationException", "ScheduleExpression is supported only on the default event bus."},
			{RuleInput{Name: "x", Schedule: `cron(INVALID)`}, "ValidationException", "Parameter ScheduleExpression is not valid."},
			{RuleInput{Name: "x", Pattern: `{"a":[1]}`, Tags: map[string]string{"aws:x": ""}}, "ValidationException", "aws:"},
		} {
			_, err := s.PutRule(ctx, project, c.in)
			refused(t, fmt.Sprint(c.in), err, c.code, c.text)
		}
		rule(t, s, "", "r2", `{"a":[1]}`)
		rule(t, s, "", "r3", `{"a":[1]}`)
		_, err = s.PutRule(ctx, project, RuleInput{Name: "r4", Pattern: `{"a":[1]}`})
		refused(t, "too many", err, "LimitExceededException", "at most 3 rules")
		rule(t, s, "", "r3", `{"a":[2]}`)
		refused(t, "with targets", s.DeleteRule(ctx, project, "orders", "r"), "ValidationException", "Rule can't be deleted since it has targets.")
		refused(t, "no bus", s.DeleteRule(ctx, project, "none", "r"), "ResourceNotFoundException", "Event bus none does not exist.")
		if err := errors.Join(s.DeleteRule(ctx, project, "", "r2"), s.DeleteRule(ctx, project, "", "r2")); err != nil {
			t.Error(err)
		}
		list := must[[]*Rule](t)(s.Rules(project, "default", "r"))
		if len(list) != 2 || list[0].Name != "r" || list[1].Name != "r3" {
			t.Errorf("rules %v", list)
		}

		refused(t, "state of none", s.SetState(ctx, project, "", "none", Enabled), "ResourceNotFoundException", "Rule none does not exist on EventBus default.")
		if err := s.SetState(ctx, project, "orders", "r", Enabled); err != nil {
			t.Error(err)
		}
		in2 := entry("other", "t", `{}`)
		in2.Bus = "orders"
		must[[]Result](t)(s.Publish(ctx, project, []Entry{in2}))
		if got := lanes(d.take()); got != "orders/r/1" {
			t.Errorf("sent to %s", got)
		}
		if err := database.Write(ctx, func(tx *db.Tx) error { return s.RemoveProject(ctx, tx, project) }); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Buses(project, "")); n != 1 {
			t.Errorf("%d buses of a project that was removed", n)
		}
		if list, err := s.Rules(project, "", ""); len(list) != 0 || err != nil {
			t.Errorf("rules of a project that was removed: %v %v", list, err)
		}
	})
}

func TestTargets(t *testing.T) {
	s, d := sqlite(t)
	ctx := t.Context()
	rule(t, s, "", "r", `{"source":["s"]}`)
	attempts, age := 3, 60
	put := func(targets ...Target) error { return s.PutTargets(ctx, project, "", "r", targets) }
	if err := put(
		Target{ID: "z", ARN: queue, Input: `{"x": 1}`}, Target{ID: "a", ARN: fifo, InputPath: "$.detail.items[0]", Queue: &Queue{Group: "$.detail.id"}},
		Target{ID: "m", ARN: function, Transformer: &Transformer{Paths: map[string]string{"id": "$.detail.id"}, Template: `"<id> of <aws.events.rule-name> at <aws.events.event.ingestion-time>"`},
			Retry: &Retry{Attempts: &attempts, Age: &age}, DeadLetter: &DeadLetter{ARN: queue}},
		Target{ID: "h", ARN: endpoint, HTTP: &HTTP{Path: []string{"x", "$.detail.id"}, Header: map[string]string{"A": "$.detail.items"}, Query: map[string]string{"q": "$.detail.none"}}},
		Target{ID: "n", ARN: function + ":live", InputPath: "$.detail.none"},
	); err != nil {
		t.Fatal(err)
	}
	in := entry("s", "t", `{"id":"o-1","items":[{"a":1}]}`)
	in.Time = now.Add(-time.Hour)
	must[[]Result](t)(s.Publish(ctx, project, []Entry{in}))
	got := d.take()
	if lanes(got) != "default/r/a default/r/h default/r/m default/r/z" {
		t.Fatalf("sent to %s", lanes(got))
	}
	if got[0].Group != "o-1" || string(got[0].Payload) != `{"a":1}` {
		t.Errorf("to the queue: %+v %s", got[0], got[0].Payload)
	}
	if want := (&hansom.HTTPParameters{Path: []string{"x", "o-1"}, Header: map[string]string{"A": `[{"a":1}]`}, Query: map[string]string{"q": ""}}); !reflect.DeepEqual(got[1].HTTP, want) {
		t.Errorf("to the destination: %+v", got[1].HTTP)
	}
	if got[2].Retries != 3 || got[2].MaxAge != time.Minute || got[2].DeadLetter != queue || string(got[2].Payload) != `"o-1 of r at 2026-11-30T12:00:00Z"` {
		t.Errorf("to the function: %+v %s", got[2], got[2].Payload)
	}
	if string(got[3].Payload) != `{"x": 1}` {
		t.Errorf("a constant: %s", got[3].Payload)
	}

	for _, c := range []struct {
		t    Target
		text string
	}{
		{Target{ARN: "queue"}, "Parameter queue is not valid. Reason: Provided Arn is not in correct format."},
		{Target{ARN: "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/x"}, "this server delivers to Lambda functions, SQS queues, event buses and API destinations"},
		{Target{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/x"}, "this server delivers to"},
		{Target{ARN: "arn:aws:states:us-east-1:000000000000:stateMachine:x"}, "this server delivers to"},
		{Target{ARN: "arn:aws:lambda:us-east-1:000000000000:layer:x"}, "this server delivers to"},
		{Target{ARN: "arn:aws:sqs:us-east-1:111111111111:q"}, "targets are of the same account and region"},
		{Target{ARN: "arn:aws:sqs:eu-west-1:000000000000:q"}, "targets are of the same account and region"},
		{Target{ARN: "arn:aws:events:us-east-1:000000000000:event-bus/"}, "Provided Arn is not in correct format"},
		{Target{ARN: queue, Input: "{}", InputPath: "$"}, "Only one of Input, InputPath, or InputTransformer must be provided for target x."},
		{Target{ARN: otherBus, Input: "{}"}, "an event bus gets the event"},
		{Target{ARN: queue, Input: "{"}, "JSON syntax error in input for target x."},
		{Target{ARN: queue, InputPath: "detail"}, "Invalid InputPath for target x."},
		{Target{ARN: queue, Transformer: &Transformer{Template: `{"a": <nokey>}`}}, "InputTemplate for target x contains invalid placeholder nokey."},
		{Target{ARN: queue, Transformer: &Transformer{Template: `text`}}, "Invalid InputTemplate for target x"},
		{Target{ARN: function, Queue: &Queue{Group: "g"}}, "it is no queue"},
		{Target{ARN: fifo}, "Parameter(s) SqsParameters must be specified for target: x."},
		{Target{ARN: queue, HTTP: &HTTP{}}, "it is no API destination"},
		{Target{ARN: queue, DeadLetter: &DeadLetter{ARN: fifo}}, "standard queue"},
		{Target{ARN: queue, DeadLetter: &DeadLetter{ARN: function}}, "standard queue"},
		{Target{ARN: fifo, Queue: &Queue{Group: "$..id"}}, "is not a path"},
	} {
		c.t.ID = "x"
		refused(t, c.t.ARN, put(c.t), "ValidationException", c.text)
	}
	refused(t, "six", put(Target{ID: "x", ARN: queue}), "LimitExceededException", "at most 5 targets")
	refused(t, "no rule", s.PutTargets(ctx, project, "", "none", []Target{{ID: "x", ARN: queue}}), "ResourceNotFoundException", "Rule none does not exist on EventBus default.")
	if err := put(Target{ID: "z", ARN: function}); err != nil {
		t.Error(err)
	}
	rule(t, s, "", "another", `{"source":["s"]}`, function)
	if names := must[[]string](t)(s.RulesOf(project, "", function)); strings.Join(names, " ") != "another r" {
		t.Errorf("rules with the function: %v", names)
	}
	if names := must[[]string](t)(s.RulesOf(project, "", queue)); names == nil || len(names) != 0 {
		t.Errorf("rules with the queue: %v", names)
	}
	if missing := must[[]string](t)(s.RemoveTargets(ctx, project, "", "r", []string{"a", "none", "m"})); strings.Join(missing, " ") != "none" {
		t.Errorf("missing %v", missing)
	}
	if r := must[*Rule](t)(s.Rule(project, "", "r")); len(r.Targets) != 3 || r.Targets[0].ID != "h" || r.Targets[2].ARN != function {
		t.Errorf("targets %+v", r.Targets)
	}
}

func TestTags(t *testing.T) {
	s, _ := sqlite(t)
	ctx := t.Context()
	must[*Bus](t)(s.CreateBus(ctx, project, "orders", BusSettings{}, nil))
	rule(t, s, "orders", "r", `{"source":["s"]}`)
	rule(t, s, "", "r", `{"source":["s"]}`)
	for _, resource := range []string{"event-bus/orders", "event-bus/default", "rule/orders/r", "rule/r"} {
		arn := ARN("us-east-1", project, resource)
		if err := errors.Join(s.Tag(ctx, project, arn, map[string]string{"a": "1", "b": "2"}), s.Tag(ctx, project, arn, map[string]string{"b": "3"}), s.Untag(ctx, project, arn, []string{"a", "none"})); err != nil {
			t.Errorf("%s: %v", resource, err)
		}
		if tags := must[map[string]string](t)(s.Tags(project, arn)); !maps.Equal(tags, map[string]string{"b": "3"}) {
			t.Errorf("%s: %v", resource, tags)
		}
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct{ arn, code, text string }{
		{ARN("us-east-1", project, "event-bus/none"), "ResourceNotFoundException", "Event bus none does not exist."},
		{ARN("us-east-1", project, "rule/none"), "ResourceNotFoundException", "Rule none does not exist on EventBus default."},
		{ARN("us-east-1", project, "rule/none/r"), "ResourceNotFoundException", "Event bus none does not exist."},
		{ARN("us-east-1", project, "archive/a"), "ValidationException", "event buses and rules have tags"},
		{ARN("us-east-1", "111111111111", "rule/r"), "ValidationException", "of this account and region"},
		{"x", "ValidationException", "is not the ARN"},
	} {
		_, err := s.Tags(project, c.arn)
		refused(t, c.arn, err, c.code, c.text)
		refused(t, c.arn, s.Tag(ctx, project, c.arn, map[string]string{"a": ""}), c.code, c.text)
		refused(t, c.arn, s.Untag(ctx, project, c.arn, []string{"a"}), c.code, c.text)
	}
	refused(t, "51", s.Tag(ctx, project, ARN("us-east-1", project, "rule/r"), many), "LimitExceededException", "at most 50 tags")
	refused(t, "long", s.Tag(ctx, project, ARN("us-east-1", project, "rule/r"), map[string]string{"a": strings.Repeat("x", 257)}), "ValidationException", "256")
}

func TestPolicies(t *testing.T) {
	s, _ := sqlite(t)
	ctx := t.Context()
	must[*Bus](t)(s.CreateBus(ctx, project, "orders", BusSettings{}, nil))
	policy := func() string { return must[*Bus](t)(s.Bus(project, "orders")).Policy }
	put := func(p Permission) error { return s.PutPermission(ctx, project, "orders", p) }
	if err := errors.Join(put(Permission{Sid: "one", Action: "events:PutEvents", Principal: "111111111111"}),
		put(Permission{Sid: "all", Action: "events:PutEvents", Principal: "*", Condition: &Condition{"StringEquals", "aws:PrincipalOrgID", "o-1"}}),
		put(Permission{Sid: "one", Action: "events:PutEvents", Principal: "222222222222"})); err != nil {
		t.Fatal(err)
	}
	arn := "arn:aws:events:us-east-1:000000000000:event-bus/orders"
	if want := `{"Version":"2012-10-17","Statement":[{"Sid":"one","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"events:PutEvents","Resource":"` + arn + `"},` +
		`{"Sid":"all","Effect":"Allow","Principal":"*","Action":"events:PutEvents","Resource":"` + arn + `","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}]}`; policy() != want {
		t.Errorf("%s\nwant %s", policy(), want)
	}
	refused(t, "no such statement", s.RemovePermission(ctx, project, "orders", "none"), "ResourceNotFoundException", "Statement with the provided id does not exist.")
	if err := errors.Join(s.RemovePermission(ctx, project, "orders", "one"), s.RemovePermission(ctx, project, "orders", "all")); err != nil || policy() != "" {
		t.Errorf("%v %s", err, policy())
	}
	refused(t, "no policy", s.RemovePermission(ctx, project, "orders", "one"), "ResourceNotFoundException", "EventBus does not have a policy.")
	document := `{"Version":"2012-10-17","Id":"p","Statement":[{"Sid":"s","Effect":"Deny","Principal":{"Service":"events.amazonaws.com"},"Action":"events:*","Resource":"*"}]}`
	if err := s.SetPolicy(ctx, project, "orders", document); err != nil || policy() != document {
		t.Errorf("%v %s", err, policy())
	}
	for _, bad := range []string{`{`, `{"Version":"2012-10-17","Statement":[1]}`, `{"Version":"2012-10-17"}`} {
		refused(t, bad, s.SetPolicy(ctx, project, "orders", bad), "ValidationException", "invalid Json")
	}
	refused(t, "long", s.SetPolicy(ctx, project, "orders", strings.Replace(document, `"p"`, `"`+strings.Repeat("p", 10<<10)+`"`, 1)), "PolicyLengthExceededException", "the limit is 10240")
	if err := s.RemovePolicy(ctx, project, "orders"); err != nil || policy() != "" {
		t.Errorf("%v %s", err, policy())
	}
	refused(t, "no bus", s.PutPermission(ctx, project, "none", Permission{}), "ResourceNotFoundException", "Event bus none does not exist.")
}

func TestDeploy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx := t.Context()
		s, d := open(t, database, nil)
		write := func(f func(tx *db.Tx) error) error { return database.Write(ctx, f) }
		rule := func(app, name, pattern string) hansom.Rule {
			return hansom.Rule{Project: project, App: app, Bus: DefaultBus, Name: name, Pattern: pattern, Function: "f"}
		}
		deploy := func(app, name, pattern string) error {
			return write(func(tx *db.Tx) error { return s.Deploy(ctx, tx, rule(app, name, pattern)) })
		}
		if err := errors.Join(deploy("shop", "paid", `{"source":["s"]}`), deploy("shop", "paid", `{"source":["t"]}`), deploy("mail", "mail", `{"source":["m"]}`)); err != nil {
			t.Fatal(err)
		}
		must[[]Result](t)(s.Publish(ctx, project, []Entry{entry("t", "x", "{}"), entry("s", "x", "{}")}))
		if got := lanes(d.take()); got != "default/paid/function" {
			t.Errorf("sent to %s", got)
		}
		owned := must[[]hansom.Rule](t)(s.Owned(ctx, database.Read(), project, "shop"))
		if diff := cmp.Diff([]hansom.Rule{rule("shop", "paid", `{"source":["t"]}`)}, owned); diff != "" {
			t.Error(diff)
		}
		if err := deploy("mail", "paid", `{"source":["m"]}`); hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), "not of the app mail") {
			t.Error(err)
		}
		// What was changed beside the app shows, and the next deployment puts it right.
		if err := errors.Join(s.PutTargets(ctx, project, "", "paid", []Target{{ID: "a", ARN: queue}}), s.SetState(ctx, project, "", "paid", Disabled)); err != nil {
			t.Fatal(err)
		}
		if owned := must[[]hansom.Rule](t)(s.Owned(ctx, database.Read(), project, "shop")); owned[0].Function != "" || !owned[0].Disabled {
			t.Errorf("changed: %+v", owned)
		}
		if err := deploy("shop", "paid", `{"source":["t"]}`); err != nil {
			t.Fatal(err)
		}
		if owned := must[[]hansom.Rule](t)(s.Owned(ctx, database.Read(), project, "shop")); owned[0].Function != "f" || owned[0].Disabled {
			t.Errorf("put right: %+v", owned)
		}
		refused(t, "a pattern", deploy("shop", "x", `{`), "InvalidEventPatternException", "Event pattern is not valid")
		failing := errors.New("the deployment fails later")
		if err := write(func(tx *db.Tx) error {
			return errors.Join(s.Undeploy(ctx, tx, rule("shop", "paid", "")), failing)
		}); !errors.Is(err, failing) {
			t.Error(err)
		}
		if err := write(func(tx *db.Tx) error {
			return errors.Join(s.Undeploy(ctx, tx, rule("mail", "mail", "")), s.Undeploy(ctx, tx, rule("mail", "none", "")))
		}); err != nil {
			t.Error(err)
		}
		if list := must[[]*Rule](t)(s.Rules(project, "", "")); len(list) != 1 || list[0].Name != "paid" {
			t.Errorf("rules %v", list)
		}
	})
}

// ticks looks for what is due and returns the lanes and times of what was sent.
func ticks(t *testing.T, s *Service, d *dispatcher) string {
	t.Helper()
	if _, err := s.ticks.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, x := range d.take() {
		out = append(out, strings.TrimPrefix(x.Lane, "rule/000000000000/default/")+" "+x.ID)
	}
	return strings.Join(out, ", ")
}

func TestSchedules(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		ctx, clock := t.Context(), now
		s, d := open(t, database, func(c *Config) { c.Now = func() time.Time { return clock } })
		expect := func(what, want string) {
			t.Helper()
			if got := ticks(t, s, d); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "tick", Schedule: "cron(0 18 * * ? *)"}))
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "tick", Schedule: "rate(5 minutes)"}))
		rule(t, s, "", "all", `{"source":["aws.events"]}`, queue)
		clock = clock.Add(time.Minute) // what follows does not begin the rate anew
		if err := errors.Join(s.PutTargets(ctx, project, "", "tick", []Target{{ID: "q", ARN: queue}, {ID: "f", ARN: function, Input: `{"custom":1}`}}),
			s.SetState(ctx, project, "", "tick", Enabled)); err != nil {
			t.Fatal(err)
		}
		clock = now.Add(5*time.Minute - 1)
		expect("early", "")
		clock = now.Add(5 * time.Minute)
		if _, err := s.ticks.Look(ctx); err != nil {
			t.Fatal(err)
		}
		got := d.take()
		if lanes(got) != "default/tick/f default/tick/q" || string(got[0].Payload) != `{"custom":1}` {
			t.Fatalf("sent %+v", got)
		}
		equalJSON(t, "a scheduled event", string(got[1].Payload), `{"version":"0","id":"event-1","detail-type":"Scheduled Event","source":"aws.events","account":"000000000000",
			"time":"2026-11-30T12:05:00Z","region":"us-east-1","resources":["arn:aws:events:us-east-1:000000000000:rule/tick"],"detail":{}}`)
		expect("once", "")
		d.fail[queue] = hansom.Errorf(hansom.Unavailable, "put", "later")
		clock = now.Add(11 * time.Minute)
		expect("late, and refused", "tick/f 2026-11-30T12:10:00Z")
		delete(d.fail, queue)
		clock = now.Add(12 * time.Minute)
		expect("again", "tick/f 2026-11-30T12:10:00Z, tick/q 2026-11-30T12:10:00Z")
		clock = now.Add(3*time.Hour + time.Minute)
		expect("after a downtime", "tick/f 2026-11-30T15:00:00Z, tick/q 2026-11-30T15:00:00Z")
		clock = now.Add(3*time.Hour + 5*time.Minute)
		expect("in step", "tick/f 2026-11-30T15:05:00Z, tick/q 2026-11-30T15:05:00Z")

		if err := s.SetState(ctx, project, "", "tick", Disabled); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Hour)
		expect("disabled", "")
		if err := s.SetState(ctx, project, "", "tick", Enabled); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(5 * time.Minute)
		expect("enabled", "tick/f 2026-11-30T16:10:00Z, tick/q 2026-11-30T16:10:00Z")
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "tick", Schedule: "cron(0 18 ? * MON *)"}))
		clock = now.Add(5 * 24 * time.Hour)
		expect("more than a day late", "")
		clock = time.Date(2026, 12, 7, 18, 0, 1, 0, time.UTC)
		expect("next week", "tick/f 2026-12-07T18:00:00Z, tick/q 2026-12-07T18:00:00Z")
		count := func() (n int) {
			if err := database.Read().QueryRowContext(ctx, `SELECT count(*) FROM tick_ticks`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "past", Schedule: "cron(0 18 * * ? 2020)"}))
		if n := count(); n != 1 {
			t.Errorf("%d ticks", n)
		}
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "tick", Pattern: `{"source":["s"]}`}))
		if n := count(); n != 0 {
			t.Errorf("%d ticks of a rule without a schedule", n)
		}
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "gone", Schedule: "rate(1 minute)"}))
		if err := s.DeleteRule(ctx, project, "", "gone"); err != nil || count() != 0 {
			t.Errorf("%d ticks after a deletion, %v", count(), err)
		}
		must[*Rule](t)(s.PutRule(ctx, project, RuleInput{Name: "last", Schedule: "rate(1 minute)"}))
		if err := database.Write(ctx, func(tx *db.Tx) error { return s.RemoveProject(ctx, tx, project) }); err != nil || count() != 0 {
			t.Errorf("%d ticks of a project that was removed, %v", count(), err)
		}
	})
}

func TestConfig(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Hops = 0
	if _, err := New(context.Background(), cfg, nil, nil, slog.New(slog.DiscardHandler)); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
}
