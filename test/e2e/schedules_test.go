package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

func schedulerClient(t testing.TB, api string, c hansom.Credentials) *scheduler.Client {
	return scheduler.New(scheduler.Options{
		Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// at is the expression of a time, to the second.
func at(when time.Time) string { return when.UTC().Format("at(2006-01-02T15:04:05)") }

// scheduled makes a schedule that sends input to a target.
func scheduled(t testing.TB, c *scheduler.Client, name, expression, target, input string, change ...func(*scheduler.CreateScheduleInput)) {
	t.Helper()
	in := &scheduler.CreateScheduleInput{Name: &name, ScheduleExpression: &expression, FlexibleTimeWindow: &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff},
		Target: &types.Target{Arn: &target, RoleArn: aws.String(role), Input: &input}}
	for _, f := range change {
		f(in)
	}
	if _, err := c.CreateSchedule(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// A schedule calls a function at its time, and goes then when it is told to.
func TestScheduleCallsFunction(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	lambda, c := client(t, s.API(), hansomtest.Credentials), schedulerClient(t, s.API(), hansomtest.Credentials)
	create(t, lambda, "clock", python311, source(t, python311, "def handler(event, context):\n    print('called', event['at'], event['by'])\n"))
	when := time.Now().Add(2 * time.Second).Truncate(time.Second)
	const arn = "arn:aws:lambda:us-east-1:000000000000:function:clock"
	scheduled(t, c, "once", at(when), arn, `{"at": "<aws.scheduler.scheduled-time>", "by": "<aws.scheduler.schedule-arn>"}`, func(in *scheduler.CreateScheduleInput) {
		in.ActionAfterCompletion = types.ActionAfterCompletionDelete
	})
	got, err := c.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String("once")})
	if err != nil || *got.ScheduleExpression != at(when) || *got.Target.Arn != arn || *got.Target.RetryPolicy.MaximumRetryAttempts != 185 {
		t.Fatalf("%+v, %v", got, err)
	}
	want := "called " + when.UTC().Format(time.RFC3339) + " arn:aws:scheduler:us-east-1:000000000000:schedule/default/once"
	eventually(t, "the function is called", func() bool {
		called := strings.Contains(logLines(t, s.API(), hansomtest.Credentials, "clock"), want)
		if called && time.Now().Before(when) {
			t.Error("it was called before its time")
		}
		return called
	})
	eventually(t, "the schedule is gone", func() bool {
		_, err := c.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String("once")})
		status, _ := refusal(err)
		return status == 404
	})
}

// Queues and buses are targets too; what cannot be delivered goes to the dead-letter queue.
func TestScheduleTargets(t *testing.T) {
	s := start(t, nil)
	q, c := queues{queueClient(t, s.API(), hansomtest.Credentials), t}, schedulerClient(t, s.API(), hansomtest.Credentials)
	plain, ordered, dead := q.create("plain", nil), q.create("ordered.fifo", map[string]string{"FifoQueue": "true"}), q.create("dead", nil)
	now := at(time.Now())
	scheduled(t, c, "plain", now, queueARN("plain"), "a text")
	scheduled(t, c, "ordered", now, queueARN("ordered.fifo"), "in order", func(in *scheduler.CreateScheduleInput) {
		in.Target.SqsParameters = &types.SqsParameters{MessageGroupId: aws.String("g")}
	})
	scheduled(t, c, "universal", now, "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", `{"QueueUrl": "`+*plain+`", "MessageBody": "by request"}`)
	scheduled(t, c, "missing", now, queueARN("missing"), "nowhere to go", func(in *scheduler.CreateScheduleInput) {
		in.Target.DeadLetterConfig = &types.DeadLetterConfig{Arn: aws.String(queueARN("dead"))}
	})
	var bodies []string
	for _, queue := range []*string{plain, plain, ordered, dead} {
		list := q.receive(queue, 1, 20)
		if len(list) != 1 {
			t.Fatalf("no message in %s", *queue)
		}
		bodies = append(bodies, *list[0].Body)
		if queue == dead {
			a := list[0].MessageAttributes
			for name, want := range map[string]string{"ERROR_CODE": "NO_RESOURCE", "SCHEDULE_ARN": "arn:aws:scheduler:us-east-1:000000000000:schedule/default/missing",
				"TARGET_ARN": queueARN("missing"), "RETRY_ATTEMPTS": "0", "IS_PAYLOAD_TRUNCATED": "false"} {
				if got := aws.ToString(a[name].StringValue); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		}
	}
	slices.Sort(bodies)
	if want := []string{"a text", "by request", "in order", "nowhere to go"}; !slices.Equal(bodies, want) {
		t.Errorf("got %q, want %q", bodies, want)
	}
}

// What came due while no server ran is made up for, once.
func TestScheduleMissed(t *testing.T) {
	t.Parallel()
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, data, runDir)
	q, c := queues{queueClient(t, p.api, rootKey), t}, schedulerClient(t, p.api, rootKey)
	q.create("missed", nil)
	due := time.Now().Add(2 * time.Second)
	scheduled(t, c, "once", at(due), queueARN("missed"), "once")
	scheduled(t, c, "rate", "rate(1 hour)", queueARN("missed"), "rate", func(in *scheduler.CreateScheduleInput) { in.StartDate = &due })
	p.kill()
	if time.Now().After(due) {
		t.Fatal("the schedules were not made in time")
	}
	eventually(t, "both are due", func() bool { return time.Now().After(due) })
	p = serve(t, data, runDir)
	q = queues{queueClient(t, p.api, rootKey), t}
	queue := aws.String(p.api + "/000000000000/missed")
	seen := map[string]int{}
	take := func() {
		for _, m := range q.receive(queue, 10, 1) {
			seen[*m.Body]++
			q.delete(queue, m)
		}
	}
	eventually(t, "both have fired", func() bool {
		take()
		return seen["once"] > 0 && seen["rate"] > 0
	})
	take()
	if seen["once"] != 1 || seen["rate"] != 1 {
		t.Errorf("fired %v, want each once", seen)
	}
}

// TestSchedulesBoto3 runs the script with every boto3 there is, the first time on PostgreSQL.
func TestSchedulesBoto3(t *testing.T) {
	t.Parallel()
	for i, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			if out, err := run(t, environment(s), "testdata", python.path, "boto3_scheduler.py"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// Two servers on one PostgreSQL and one NATS fire each schedule once, also when one of them is killed before.
func TestSchedulesOfTwoServers(t *testing.T) {
	const schedules = 20
	t.Setenv("HANSOM_DB", dbtest.PostgresDatabase(t))
	t.Setenv("HANSOM_MASTER_KEY", strings.Repeat("0a", 32))
	t.Setenv("HANSOM_NATS_URL", "nats://"+natsBeside(t, t.TempDir(), natsserver.RANDOM_PORT).Addr().String())
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("kill=", kill), func(t *testing.T) {
			name := fmt.Sprint("fired-", kill)
			first := serve(t, filepath.Join(t.TempDir(), "data"), t.TempDir())
			mine := queues{queueClient(t, first.api, rootKey), t}
			urls := []*string{mine.create(name, nil)}
			second := serve(t, filepath.Join(t.TempDir(), "data"), t.TempDir()) // it reads the queue when it starts
			both := []queues{mine, {queueClient(t, second.api, rootKey), t}}
			urls = append(urls, aws.String(strings.Replace(*urls[0], first.api, second.api, 1)))
			clients := []*scheduler.Client{schedulerClient(t, first.api, rootKey), schedulerClient(t, second.api, rootKey)}
			due := time.Now().Add(4 * time.Second)
			for n := range schedules {
				scheduled(t, clients[n%2], fmt.Sprint(name, n), at(due), queueARN(name), fmt.Sprint(n), func(in *scheduler.CreateScheduleInput) {
					in.ActionAfterCompletion = types.ActionAfterCompletionDelete
				})
			}
			if kill {
				second.kill()
				both = both[:1]
			}
			if time.Now().After(due) {
				t.Fatal("the schedules were not made in time")
			}
			seen := map[string]int{}
			take := func() {
				for i, q := range both {
					for _, m := range q.receive(urls[i], 10, 0) {
						seen[*m.Body]++
						q.delete(urls[i], m)
					}
				}
			}
			eventually(t, "all schedules have fired", func() bool {
				take()
				return len(seen) == schedules
			})
			eventually(t, "none is left", func() bool {
				list, err := clients[0].ListSchedules(t.Context(), &scheduler.ListSchedulesInput{})
				if err != nil {
					t.Fatal(err)
				}
				return len(list.Schedules) == 0
			})
			take()
			for body, n := range seen {
				if n != 1 {
					t.Errorf("schedule %s has fired %d times", body, n)
				}
			}
		})
	}
}
