package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// sendEvent has a function run an event that nobody waits for.
func sendEvent(t *testing.T, c *lambda.Client, name, payload string) {
	t.Helper()
	out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &name, InvocationType: types.InvocationTypeEvent, Payload: []byte(payload)})
	if err != nil || out.StatusCode != http.StatusAccepted {
		t.Fatal(out, err)
	}
}

// logLines are what a function has logged, a line of JSON each.
func logLines(t *testing.T, api string, key hansom.Credentials, name string) string {
	t.Helper()
	status, lines := manage(t, api, key, "GET", "logs?function="+name, "")
	if status != http.StatusOK {
		t.Fatal(status, lines)
	}
	return lines
}

// reserve sets the reserved concurrency of a function; with 0 its events wait.
func reserve(t *testing.T, c *lambda.Client, name string, n int32) {
	t.Helper()
	if _, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: &name, ReservedConcurrentExecutions: &n}); err != nil {
		t.Fatal(err)
	}
}

// Every event that was answered with 202 runs, though the server is killed at once. Until then nothing can run.
func TestEventsSurviveKill(t *testing.T) {
	const events = 40
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, data, runDir)
	c := client(t, p.api, rootKey)
	create(t, c, "events", python311, source(t, python311, "def handler(event, context):\n    print('event', event, 'of', context.aws_request_id)\n"))
	if _, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("events"), ReservedConcurrentExecutions: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	for n := range events {
		out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("events"), InvocationType: types.InvocationTypeEvent, Payload: fmt.Append(nil, n)})
		if err != nil || out.StatusCode != http.StatusAccepted {
			t.Fatal(out, err)
		}
	}
	p.kill()

	p = serve(t, data, runDir)
	c = client(t, p.api, rootKey)
	if _, err := c.DeleteFunctionConcurrency(t.Context(), &lambda.DeleteFunctionConcurrencyInput{FunctionName: aws.String("events")}); err != nil {
		t.Fatal(err)
	}
	var lines string
	eventually(t, "all events have run", func() bool {
		var status int
		status, lines = manage(t, p.api, rootKey, "GET", "logs?function=events", "")
		if status != http.StatusOK {
			t.Fatal(status, lines)
		}
		for n := range events {
			if !strings.Contains(lines, fmt.Sprintf("event %d of ", n)) {
				return false
			}
		}
		return true
	})
	if !strings.Contains(lines, `"source":"async"`) {
		t.Error("the log does not say what triggered the calls")
	}
	if n := strings.Count(lines, `event 0 of `); n != 1 {
		t.Errorf("the first event ran %d times\n%s", n, lines)
	}
}

// Attempts that a kill cuts off are made again soon after the restart, and do not count.
func TestKilledAttempts(t *testing.T) {
	const events = 4
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, data, runDir)
	c := client(t, p.api, rootKey)
	create(t, c, "slow", python311, source(t, python311, "import time\n\ndef handler(event, context):\n    print('event', event)\n    time.sleep(600)\n"), timeout(900))
	if _, err := c.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("slow"), MaximumRetryAttempts: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	for n := range events {
		sendEvent(t, c, "slow", fmt.Sprint(n))
	}
	for run := 1; run <= 3; run++ {
		begin := time.Now()
		eventually(t, fmt.Sprint("all attempts have begun ", run, " times"), func() bool {
			lines := logLines(t, p.api, rootKey, "slow")
			for n := range events {
				if strings.Count(lines, fmt.Sprintf(`"event %d`, n)) < run {
					return false
				}
			}
			return true
		})
		t.Logf("run %d: %s", run, time.Since(begin))
		p.kill()
		if run < 3 {
			p = serve(t, data, runDir)
		}
	}
}

// Records of what became of events go to other functions, and their results further on.
func TestDestinations(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	show := source(t, python311, "import json\n\ndef handler(event, context):\n    print('record', json.dumps(event))\n")
	create(t, c, "good", python311, show)
	create(t, c, "bad", python311, show)
	create(t, c, "work", python311, source(t, python311, "def handler(event, context):\n    if event.get('fail'):\n        raise ValueError('on purpose')\n    return {'done': event}\n"))
	arn := "arn:aws:lambda:us-east-1:000000000000:function:"
	if _, err := c.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("work"), MaximumRetryAttempts: aws.Int32(0),
		DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: aws.String(arn + "good")}, OnFailure: &types.OnFailure{Destination: aws.String(arn + "bad")}}}); err != nil {
		t.Fatal(err)
	}
	sendEvent(t, c, "work", `{"n":1}`)
	sendEvent(t, c, "work", `{"fail":true}`)
	type told struct {
		Version, Timestamp string
		RequestContext     struct {
			RequestID, FunctionARN, Condition string
			ApproximateInvokeCount            int
		}
		RequestPayload, ResponsePayload map[string]any
		ResponseContext                 struct {
			StatusCode                     int
			ExecutedVersion, FunctionError string
		}
	}
	record := func(name string) (r told) {
		eventually(t, name+" gets a record", func() bool { return strings.Contains(logLines(t, s.API(), hansomtest.Credentials, name), "record {") })
		for line := range strings.Lines(logLines(t, s.API(), hansomtest.Credentials, name)) {
			var e hansom.LogEvent
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if text, ok := strings.CutPrefix(e.Message, "record "); ok {
				if err := json.Unmarshal([]byte(text), &r); err != nil {
					t.Fatal(err, text)
				}
			}
		}
		return r
	}
	if r := record("good"); r.Version != "1.0" || r.RequestContext.Condition != "Success" || r.RequestContext.FunctionARN != arn+"work:$LATEST" || r.RequestContext.ApproximateInvokeCount != 1 ||
		r.RequestPayload["n"] != 1.0 || r.ResponseContext.StatusCode != 200 || r.ResponseContext.ExecutedVersion != "$LATEST" || r.ResponsePayload["done"].(map[string]any)["n"] != 1.0 {
		t.Errorf("%+v", r)
	}
	if r := record("bad"); r.RequestContext.Condition != "RetriesExhausted" || r.RequestPayload["fail"] != true || r.ResponseContext.FunctionError != "Unhandled" || r.ResponsePayload["errorMessage"] != "on purpose" {
		t.Errorf("%+v", r)
	}
}

// What a function fails goes to queues: Lambda's record of it, and the event as a dead letter.
func TestFailuresGoToQueues(t *testing.T) {
	s := start(t, nil)
	c, q := client(t, s.API(), hansomtest.Credentials), queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	records, dead := q.create("records", nil), q.create("dead", nil)
	create(t, c, "fails", python311, source(t, python311, "def handler(event, context):\n    raise ValueError('on purpose')\n"), func(in *lambda.CreateFunctionInput) {
		in.DeadLetterConfig = &types.DeadLetterConfig{TargetArn: aws.String(queueARN("dead"))}
	})
	if _, err := c.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("fails"), MaximumRetryAttempts: aws.Int32(0),
		DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(queueARN("records"))}}}); err != nil {
		t.Fatal(err)
	}
	sendEvent(t, c, "fails", `{"n":1}`)
	record, letter := q.receive(records, 1, 20), q.receive(dead, 1, 20)
	if len(record) != 1 || !strings.Contains(*record[0].Body, `"condition":"RetriesExhausted"`) || !strings.Contains(*record[0].Body, `"requestPayload":{"n":1}`) || !strings.Contains(record[0].Attributes["AWSTraceHeader"], "Lineage=") {
		t.Errorf("%+v", record)
	}
	if len(letter) != 1 || *letter[0].Body != `{"n":1}` {
		t.Fatalf("%+v", letter)
	}
	a := letter[0].MessageAttributes
	if code, message := a["ErrorCode"], a["ErrorMessage"]; aws.ToString(code.DataType) != "Number" || aws.ToString(code.StringValue) != "200" || aws.ToString(message.StringValue) != "on purpose" ||
		!strings.Contains(*record[0].Body, aws.ToString(a["RequestID"].StringValue)) {
		t.Errorf("%+v", a)
	}
}

// A function that invokes itself with an AWS SDK is stopped after 16 times; one whose loops are allowed goes on.
func TestLoopsStop(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if isolated, _ := isolation(t, s); !isolated {
		t.Skip("without isolation layers are not at /opt")
	}
	c := client(t, s.API(), hansomtest.Credentials)
	for name, f := range map[string]struct {
		add     []string
		runtime types.Runtime
		code    string
	}{
		"boto3": {[]string{"boto3"}, python311, `
import boto3, json
client = boto3.client('lambda')
def handler(event, context):
    print('round', event['n'], 'ends')
    if event['n'] < 20:
        client.invoke(FunctionName=context.function_name, InvocationType='Event', Payload=json.dumps({'n': event['n'] + 1}))
`},
		"aws-sdk": {[]string{"aws-sdk", "client-lambda"}, node22, `
const { Lambda } = require('@aws-sdk/client-lambda');
const client = new Lambda();
exports.handler = async (event, context) => {
  console.log('round', event.n, 'ends');
  if (event.n < 20) await client.invoke({ FunctionName: context.functionName, InvocationType: 'Event', Payload: JSON.stringify({ n: event.n + 1 }) });
}`},
	} {
		t.Run(name, func(t *testing.T) {
			var layer struct{ ARN string }
			if name == "aws-sdk" && exec.Command("npm", "ping").Run() != nil {
				t.Skip("there is no npm, or its registry does not answer")
			}
			if err := cli(t, s, hansomtest.Credentials, &layer, append([]string{"layers", "add"}, f.add...)...); err != nil {
				t.Fatal(err)
			}
			rounds := func(name string, n int) bool {
				return strings.Contains(logLines(t, s.API(), hansomtest.Credentials, name), fmt.Sprintf("round %d ends", n))
			}
			stops, goes := name+"-stops", name+"-goes"
			for _, name := range []string{stops, goes} {
				create(t, c, name, f.runtime, source(t, f.runtime, f.code), layers(layer.ARN), timeout(30), memory(256))
			}
			if _, err := c.PutFunctionRecursionConfig(t.Context(), &lambda.PutFunctionRecursionConfigInput{FunctionName: &goes, RecursiveLoop: types.RecursiveLoopAllow}); err != nil {
				t.Fatal(err)
			}
			sendEvent(t, c, stops, `{"n":1}`)
			eventually(t, "what may not loop has begun", func() bool { return rounds(stops, 16) })
			sendEvent(t, c, goes, `{"n":1}`)
			eventually(t, "what may loop does", func() bool { return rounds(goes, 20) })
			if rounds(stops, 17) {
				t.Error("the loop was not stopped")
			}
		})
	}
}

// What was accepted is in a backup, and runs where that is restored.
func TestEventsAreBackedUp(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "events", python311, source(t, python311, "def handler(event, context):\n    print('event', event)\n"))
	reserve(t, c, "events", 0)
	sendEvent(t, c, "events", "1")
	file, data := filepath.Join(t.TempDir(), "backup.tar.gz"), filepath.Join(t.TempDir(), "restored")
	if _, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics"); !strings.Contains(text, `hansom_events{function="events",project="000000000000",state="taken"} 1`) {
		t.Error("the metrics do not tell of the event")
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "backup", file); err != nil {
		t.Fatal(err)
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "restore", file, "--data", data); err != nil {
		t.Fatal(err)
	}
	again := start(t, func(c *server.Config) { c.Data = data })
	reserve(t, client(t, again.API(), hansomtest.Credentials), "events", 1)
	eventually(t, "the event has run", func() bool {
		return strings.Contains(logLines(t, again.API(), hansomtest.Credentials, "events"), "event 1")
	})
}

// Events that a version before the message log has accepted run after the upgrade.
func TestEventsOfOlderVersion(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "events", python311, source(t, python311, "def handler(event, context):\n    print('event', event, context.aws_request_id)\n"))
	s.Stop(t)
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(s.Config.Data, "hansom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UnixMicro()
	err = d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO invoke_events (id, project, name, qualifier, trace, payload, failures, accepted, due) VALUES ('older', '000000000000', 'events', '', 'Root=1', '7', 0, ?, ?)`, at, at)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	s.Restart(t)
	eventually(t, "the event has run", func() bool {
		return strings.Contains(logLines(t, s.API(), hansomtest.Credentials, "events"), "event 7 older")
	})
}

// The events of a function that is deleted do not run in one that is made with its name.
func TestEventsOfDeletedFunction(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	code := source(t, python311, "def handler(event, context):\n    print('event', event, 'ends')\n")
	create(t, c, "events", python311, code)
	reserve(t, c, "events", 0)
	sendEvent(t, c, "events", "1")
	if _, err := c.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("events")}); err != nil {
		t.Fatal(err)
	}
	create(t, c, "events", python311, code)
	reserve(t, c, "events", 1) // one after the other, in their order
	sendEvent(t, c, "events", "2")
	eventually(t, "the event of the new function has run", func() bool {
		return strings.Contains(logLines(t, s.API(), hansomtest.Credentials, "events"), "event 2 ends")
	})
	if strings.Contains(logLines(t, s.API(), hansomtest.Credentials, "events"), "event 1 ends") {
		t.Error("the event of the deleted function has run")
	}
}
