package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

func eventsClient(t testing.TB, api string, c hansom.Credentials) *eventbridge.Client {
	return eventbridge.New(eventbridge.Options{
		Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// rules is a client with what tests do often; all of it must go well.
type rules struct {
	*eventbridge.Client
	t testing.TB
}

func (r rules) rule(name, pattern string, targets ...types.Target) {
	r.t.Helper()
	if _, err := r.PutRule(r.t.Context(), &eventbridge.PutRuleInput{Name: &name, EventPattern: &pattern}); err != nil {
		r.t.Fatal(err)
	}
	for i := range targets {
		targets[i].Id = aws.String(fmt.Sprint(i))
	}
	if _, err := r.PutTargets(r.t.Context(), &eventbridge.PutTargetsInput{Rule: &name, Targets: targets}); err != nil {
		r.t.Fatal(err)
	}
}

// put publishes an event and returns its id.
func (r rules) put(source, detail string) string {
	r.t.Helper()
	out, err := r.PutEvents(r.t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{Source: &source, DetailType: aws.String("t"), Detail: &detail}}})
	if err != nil || out.FailedEntryCount > 0 {
		r.t.Fatal(out, err)
	}
	return *out.Entries[0].EventId
}

// TestEventsBoto3 runs the script with every boto3 there is, the first time on PostgreSQL.
func TestEventsBoto3(t *testing.T) {
	t.Parallel()
	for i, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			if out, err := run(t, environment(s), "testdata", python.path, "boto3_events.py"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// TestEventsAWSCLI walks through the lives of a rule and of schedules with Debian's awscli.
func TestEventsAWSCLI(t *testing.T) {
	t.Parallel()
	const program = "/usr/bin/aws"
	if _, err := os.Stat(program); err != nil {
		t.Fatal("no awscli: run scripts/setup.sh")
	}
	s := hansomtest.Start(t, nil)
	q := queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	queue := q.create("cli", nil)
	do := func(want string, args ...string) string {
		t.Helper()
		out, err := run(t, environment(s), t.TempDir(), append([]string{program, "--endpoint-url", s.API(), "--output", "text"}, args...)...)
		if (err != nil) != strings.HasPrefix(want, "(") || !strings.Contains(out, want) {
			t.Fatalf("aws %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
		return strings.TrimSpace(out)
	}
	do("event-bus/cli", "events", "create-event-bus", "--name", "cli")
	do("rule/cli/paid", "events", "put-rule", "--name", "paid", "--event-bus-name", "cli", "--event-pattern", `{"source":["shop"]}`, "--tags", "Key=team,Value=blue")
	do("0", "events", "put-targets", "--rule", "paid", "--event-bus-name", "cli", "--targets", "Id=q,Arn="+queueARN("cli")+",InputPath=$.detail")
	do("ENABLED", "events", "describe-rule", "--name", "paid", "--event-bus-name", "cli", "--query", "State")
	do("blue", "events", "list-tags-for-resource", "--resource-arn", "arn:aws:events:us-east-1:000000000000:rule/cli/paid")
	do("0", "events", "put-events", "--entries", `[{"Source":"shop","DetailType":"t","Detail":"{\"n\": 1}","EventBusName":"cli"}]`)
	if list := q.receive(queue, 1, 10); len(list) != 1 || *list[0].Body != `{"n":1}` {
		t.Errorf("received %+v", list)
	}
	do("(ValidationException)", "events", "delete-event-bus", "--name", "cli")
	do("(ResourceNotFoundException)", "events", "describe-rule", "--name", "none")
	do("", "events", "remove-targets", "--rule", "paid", "--event-bus-name", "cli", "--ids", "q")
	do("", "events", "delete-rule", "--name", "paid", "--event-bus-name", "cli")
	do("", "events", "delete-event-bus", "--name", "cli")
	do("default", "events", "list-event-buses", "--query", "EventBuses[].Name")

	target := "Arn=" + queueARN("cli") + `,RoleArn=arn:aws:iam::000000000000:role/x,Input='{"n": 2}'`
	do("schedule-group/night", "scheduler", "create-schedule-group", "--name", "night", "--tags", "Key=team,Value=blue")
	do("schedule/night/once", "scheduler", "create-schedule", "--name", "once", "--group-name", "night", "--schedule-expression", "at("+time.Now().UTC().Add(-time.Second).Format("2006-01-02T15:04:05")+")",
		"--flexible-time-window", "Mode=OFF", "--target", target)
	if list := q.receive(queue, 1, 20); len(list) != 1 || *list[0].Body != `{"n": 2}` {
		t.Errorf("received %+v", list)
	}
	do("schedule/night/daily", "scheduler", "create-schedule", "--name", "daily", "--group-name", "night", "--schedule-expression", "cron(0 3 * * ? *)", "--schedule-expression-timezone", "Europe/Berlin",
		"--flexible-time-window", "Mode=FLEXIBLE,MaximumWindowInMinutes=15", "--target", target)
	do("Europe/Berlin", "scheduler", "get-schedule", "--name", "daily", "--group-name", "night", "--query", "ScheduleExpressionTimezone")
	do("daily", "scheduler", "list-schedules", "--group-name", "night", "--query", "Schedules[].Name")
	do("blue", "scheduler", "list-tags-for-resource", "--resource-arn", "arn:aws:scheduler:us-east-1:000000000000:schedule-group/night")
	do("(ConflictException)", "scheduler", "create-schedule-group", "--name", "night")
	do("", "scheduler", "delete-schedule", "--name", "daily", "--group-name", "night")
	do("(ResourceNotFoundException)", "scheduler", "get-schedule", "--name", "daily", "--group-name", "night")
	do("", "scheduler", "delete-schedule-group", "--name", "night")
}

// An event calls a function, whose own event, published with the session that it has, goes to a queue and to a bus.
func TestEventsBetweenFunctions(t *testing.T) {
	s := start(t, nil)
	c, r, q := client(t, s.API(), hansomtest.Credentials), rules{eventsClient(t, s.API(), hansomtest.Credentials), t}, queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	create(t, c, "ship", python311, source(t, python311, `
import boto3, json, os

def handler(event, context):
    events = boto3.client('events', endpoint_url=os.environ['AWS_ENDPOINT_URL']) # Debian's boto3 does not look there itself
    print('order', event['detail']['id'])
    try:
        events.put_rule(Name='mine', EventPattern='{"a":[1]}')
    except Exception as e:
        refused = e.response['Error']['Code']
    out = events.put_events(Entries=[{'Source': 'shipping', 'DetailType': 'shipped', 'Detail': json.dumps({'order': event['detail']['id'], 'refused': refused})}])
    assert out['FailedEntryCount'] == 0, out
`))
	queue := q.create("shipped", nil)
	if _, err := r.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("audit")}); err != nil {
		t.Fatal(err)
	}
	r.rule("paid", `{"source":["shop"],"detail":{"state":["paid"]}}`, types.Target{Arn: aws.String("arn:aws:lambda:us-east-1:000000000000:function:ship")})
	r.rule("shipped", `{"source":["shipping"]}`, types.Target{Arn: aws.String(queueARN("shipped")), InputPath: aws.String("$.detail")})
	r.put("shop", `{"id":"o-0","state":"open"}`)
	r.put("shop", `{"id":"o-1","state":"paid"}`)
	list := q.receive(queue, 10, 20)
	if len(list) != 1 || *list[0].Body != `{"order":"o-1","refused":"AccessDeniedException"}` {
		t.Fatalf("received %+v\n%s", list, logLines(t, s.API(), hansomtest.Credentials, "ship"))
	}
	if lines := logLines(t, s.API(), hansomtest.Credentials, "ship"); strings.Contains(lines, "order o-0") {
		t.Error("an event that does not match has called the function")
	}
}

// What PutEvents took over reaches its targets and archives, though the server is killed at once.
func TestPublishedEventsSurviveKill(t *testing.T) {
	const n = 40
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, data, runDir)
	r, q := rules{eventsClient(t, p.api, rootKey), t}, queues{queueClient(t, p.api, rootKey), t}
	q.create("q", nil)
	bus := "arn:aws:events:us-east-1:000000000000:event-bus/default"
	if _, err := r.CreateArchive(t.Context(), &eventbridge.CreateArchiveInput{ArchiveName: aws.String("all"), EventSourceArn: &bus}); err != nil {
		t.Fatal(err)
	}
	r.rule("all", `{"source":["shop"]}`, types.Target{Arn: aws.String(queueARN("q"))})
	want := map[string]bool{}
	for i := range n {
		want[r.put("shop", fmt.Sprintf(`{"n":%d}`, i))] = true
	}
	p.kill()

	p = serve(t, data, runDir)
	r, q = rules{eventsClient(t, p.api, rootKey), t}, queues{queueClient(t, p.api, rootKey), t}
	queue := aws.String(p.api + "/000000000000/q")
	for len(want) > 0 {
		list := q.receive(queue, 10, 5)
		if len(list) == 0 {
			t.Fatalf("%d events are lost", len(want))
		}
		for _, m := range list {
			var e struct{ ID string }
			if err := json.Unmarshal([]byte(*m.Body), &e); err != nil {
				t.Fatal(err)
			}
			delete(want, e.ID)
			q.delete(queue, m)
		}
	}
	if a, err := r.DescribeArchive(t.Context(), &eventbridge.DescribeArchiveInput{ArchiveName: aws.String("all")}); err != nil || a.EventCount != n {
		t.Errorf("archived %+v %v", a, err)
	}
	if rule, err := r.DescribeRule(t.Context(), &eventbridge.DescribeRuleInput{Name: aws.String("all")}); err != nil || *rule.EventPattern != `{"source":["shop"]}` {
		t.Errorf("%+v %v", rule, err)
	}
}

// A rule for everything, whose target is not there, does not live on what the platform tells of its failures.
func TestFailuresEnd(t *testing.T) {
	s := hansomtest.Start(t, nil)
	r := rules{eventsClient(t, s.API(), hansomtest.Credentials), t}
	r.rule("all", `{"account":["000000000000"]}`, types.Target{Arn: aws.String(queueARN("none"))})
	published := func() (n int) {
		_, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics")
		_, text, _ = strings.Cut(text, `hansom_bus_events_total{bus="default",project="000000000000",state="published"} `)
		_, _ = fmt.Sscan(text, &n)
		return n
	}
	const n = 10
	for range n {
		r.put("shop", `{}`)
	}
	eventually(t, "the failures are told of", func() bool { return published() >= 2*n })
	for range n { // each of them has had time to fail when the next is answered
		r.put("shop", `{}`)
	}
	eventually(t, "those too", func() bool { return published() >= 4*n })
	if got := published(); got != 4*n {
		t.Errorf("%d events were published, want %d", got, 4*n)
	}
}

// A backup has buses, rules, archives and their events.
func TestBusesAreBackedUp(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := rules{eventsClient(t, s.API(), hansomtest.Credentials), t}
	bus := "arn:aws:events:us-east-1:000000000000:event-bus/default"
	if _, err := r.CreateArchive(t.Context(), &eventbridge.CreateArchiveInput{ArchiveName: aws.String("all"), EventSourceArn: &bus, EventPattern: aws.String(`{"source":["shop"]}`)}); err != nil {
		t.Fatal(err)
	}
	r.rule("all", `{"source":["shop"]}`, types.Target{Arn: aws.String(queueARN("q"))})
	r.put("shop", `{}`)
	file, data := filepath.Join(t.TempDir(), "backup.tar.gz"), filepath.Join(t.TempDir(), "restored")
	if err := cli(t, s, hansomtest.Credentials, nil, "backup", file); err != nil {
		t.Fatal(err)
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "restore", file, "--data", data); err != nil {
		t.Fatal(err)
	}
	again := start(t, func(c *server.Config) { c.Data = data })
	r, q := rules{eventsClient(t, again.API(), hansomtest.Credentials), t}, queues{queueClient(t, again.API(), hansomtest.Credentials), t}
	queue := q.create("q", nil)
	if a, err := r.DescribeArchive(t.Context(), &eventbridge.DescribeArchiveInput{ArchiveName: aws.String("all")}); err != nil || a.EventCount != 1 {
		t.Errorf("archived %+v %v", a, err)
	}
	id := r.put("shop", `{}`)
	if list := q.receive(queue, 10, 10); len(list) != 1 || !strings.Contains(*list[0].Body, id) {
		t.Errorf("received %+v", list)
	}
}
