package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// The functions tell of each batch in a line, "batch " and JSON, and name messages that ask for it as failed.
const (
	batchNode = `
const sleep = ms => new Promise(done => setTimeout(done, ms))
exports.handler = async event => {
  const from = Date.now()
  const bodies = event.Records.map(r => JSON.parse(r.body))
  await sleep(Math.max(...bodies.map(b => b.sleep ?? 0)))
  console.log('batch ' + JSON.stringify({from, to: Date.now(), bodies, record: event.Records[0]}))
  return {batchItemFailures: event.Records.filter((r, i) => bodies[i].fail).map(r => ({itemIdentifier: r.messageId}))}
}`
	batchPython = `
import json, time

def handler(event, context):
    start = int(time.time() * 1000)
    bodies = [json.loads(r['body']) for r in event['Records']]
    time.sleep(max(b.get('sleep', 0) for b in bodies) / 1000)
    print('batch ' + json.dumps({'from': start, 'to': int(time.time() * 1000), 'bodies': bodies, 'record': event['Records'][0]}))
    return {'batchItemFailures': [{'itemIdentifier': r['messageId']} for r, b in zip(event['Records'], bodies) if b.get('fail')]}
`
)

// bodies are what messages of a batch have; tests number their messages.
type bodies struct {
	Bodies []struct {
		N     int
		Group string
	}
}

func (b bodies) numbers() (list []int) {
	for _, x := range b.Bodies {
		list = append(list, x.N)
	}
	return list
}

// seenBatch is a batch that a function told of.
type seenBatch struct {
	From, To int64 // milliseconds
	bodies
	Record struct {
		MessageID, Body, EventSource, EventSourceARN, AwsRegion string
		Attributes                                              map[string]string
		MessageAttributes                                       map[string]struct{ StringValue, DataType string }
	}
}

// batches are those that a function has told of so far, in their order.
func batches(t testing.TB, api string, c hansom.Credentials, function string) []seenBatch {
	t.Helper()
	return told[seenBatch](t, api, c, function)
}

// told are the batches that a function has logged.
func told[B any](t testing.TB, api string, c hansom.Credentials, function string) (list []B) {
	t.Helper()
	status, lines := manage(t, api, c, "GET", "logs?limit=10000&function="+function, "")
	if status != http.StatusOK {
		t.Fatal(status, lines)
	}
	for line := range strings.Lines(lines) {
		var event hansom.LogEvent
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err, line)
		}
		if _, text, ok := strings.Cut(event.Message, "batch "); ok {
			var b B
			if err := json.Unmarshal([]byte(text), &b); err != nil {
				t.Fatal(err, text)
			}
			list = append(list, b)
		}
	}
	return list
}

// times counts how often each message was seen.
func times[B interface{ numbers() []int }](list []B) map[int]int {
	out := map[int]int{}
	for _, b := range list {
		for _, n := range b.numbers() {
			out[n]++
		}
	}
	return out
}

func (q queues) sendAll(queue *string, entries []sqstypes.SendMessageBatchRequestEntry) {
	q.t.Helper()
	for part := range slices.Chunk(entries, 10) {
		for i := range part {
			part[i].Id = aws.String(strconv.Itoa(i))
		}
		out, err := q.SendMessageBatch(q.t.Context(), &sqs.SendMessageBatchInput{QueueUrl: queue, Entries: part})
		if err != nil || len(out.Failed) > 0 {
			q.t.Fatal(out, err)
		}
	}
}

func mapTo(t testing.TB, c *lambda.Client, function, queue string, change func(*lambda.CreateEventSourceMappingInput)) *lambda.CreateEventSourceMappingOutput {
	t.Helper()
	in := &lambda.CreateEventSourceMappingInput{FunctionName: &function, EventSourceArn: aws.String(queueARN(queue))}
	if change != nil {
		change(in)
	}
	out, err := c.CreateEventSourceMapping(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var empty = [3]string{"0", "0", "0"}

// Messages of a queue reach the function in batches. Those that no filter lets through are dropped, those that the function names as
// failed come again until they are dead letters.
func TestMappingsOfQueues(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c, q := client(t, s.API(), hansomtest.Credentials), queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	for _, f := range []struct {
		name    string
		runtime types.Runtime
		code    string
	}{{"node", node22, batchNode}, {"python", python311, batchPython}} {
		t.Run(f.name, func(t *testing.T) {
			q := queues{q.Client, t}
			create(t, c, f.name, f.runtime, source(t, f.runtime, f.code), timeout(1))
			dead := q.create(f.name+"-dead", nil)
			attributes := redrivePolicy(f.name+"-dead", 2)
			attributes["VisibilityTimeout"] = "1"
			queue := q.create(f.name, attributes)
			var entries []sqstypes.SendMessageBatchRequestEntry
			for n := range 40 {
				body := fmt.Sprintf(`{"n": %d, "state": %q, "fail": %v}`, n, []string{"new", "old"}[n%2], n%10 == 4)
				entries = append(entries, sqstypes.SendMessageBatchRequestEntry{MessageBody: &body,
					MessageAttributes: map[string]sqstypes.MessageAttributeValue{"color": {DataType: aws.String("String"), StringValue: aws.String("red")}}})
			}
			q.sendAll(queue, entries)
			m := mapTo(t, c, f.name, f.name, func(in *lambda.CreateEventSourceMappingInput) {
				in.BatchSize, in.FunctionResponseTypes = aws.Int32(4), []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}
				in.FilterCriteria = &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"body":{"state":["new"]},"messageAttributes":{"color":{"stringValue":["red"]}}}`)}}}
			})
			eventually(t, "all is done", func() bool { return q.counts(queue) == empty && q.counts(dead)[0] == "4" })
			want := map[int]int{}
			for n := 0; n < 40; n += 2 {
				want[n] = 1
				if n%10 == 4 {
					want[n] = 2
				}
			}
			var list []seenBatch
			eventually(t, "the log is there", func() bool {
				list = batches(t, s.API(), hansomtest.Credentials, f.name)
				return len(times(list)) == len(want)
			})
			if got := times(list); !maps.Equal(got, want) {
				t.Errorf("seen %v\nwant %v", got, want)
			}
			for _, b := range list {
				if len(b.Bodies) > 4 || b.Record.EventSource != "aws:sqs" || b.Record.EventSourceARN != queueARN(f.name) || b.Record.AwsRegion != "us-east-1" ||
					b.Record.Attributes["SentTimestamp"] == "" || b.Record.Attributes["ApproximateReceiveCount"] == "" || b.Record.MessageAttributes["color"].StringValue != "red" {
					t.Errorf("%+v", b)
				}
			}
			if letters := q.receive(dead, 10, 5); len(letters) != 4 || !strings.Contains(*letters[0].Body, `"fail": true`) {
				t.Errorf("%d dead letters", len(letters))
			}

			// An invocation that fails has all its messages come again.
			if _, err := c.UpdateEventSourceMapping(t.Context(), &lambda.UpdateEventSourceMappingInput{UUID: m.UUID, FilterCriteria: &types.FilterCriteria{}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a message that the filter would leave out is a dead letter", func() bool {
				switch {
				case q.counts(queue) != empty:
					return false
				case q.counts(dead)[0] != "0":
					return true
				}
				q.send(queue, "this is no JSON") // again, if a poller still had the filter: a change takes a moment
				return false
			})
			if _, err := c.DeleteEventSourceMapping(t.Context(), &lambda.DeleteEventSourceMappingInput{UUID: m.UUID}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the mapping is gone", func() bool {
				_, err := c.GetEventSourceMapping(t.Context(), &lambda.GetEventSourceMappingInput{UUID: m.UUID})
				status, _ := refusal(err)
				return status == http.StatusNotFound
			})
			q.send(queue, `{"n": 1}`)
			if got := q.receive(queue, 1, 5); len(got) != 1 {
				t.Error("a message was taken for a mapping that is gone")
			}
		})
	}
}

// Groups of a FIFO queue run beside each other, no more than MaximumConcurrency, each in its order.
func TestMappingsInOrder(t *testing.T) {
	s := start(t, nil)
	c, q := client(t, s.API(), hansomtest.Credentials), queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	create(t, c, "order", node22, source(t, node22, batchNode), timeout(5))
	queue := q.create("order.fifo", map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
	var entries []sqstypes.SendMessageBatchRequestEntry
	for n := range 60 {
		group := "g" + strconv.Itoa(n%6)
		entries = append(entries, sqstypes.SendMessageBatchRequestEntry{MessageBody: aws.String(fmt.Sprintf(`{"n": %d, "group": %q, "sleep": 20}`, n, group)), MessageGroupId: &group})
	}
	q.sendAll(queue, entries)
	mapTo(t, c, "order", "order.fifo", func(in *lambda.CreateEventSourceMappingInput) {
		in.BatchSize, in.ScalingConfig = aws.Int32(2), &types.ScalingConfig{MaximumConcurrency: aws.Int32(3)}
	})
	eventually(t, "the queue is empty", func() bool { return q.counts(queue) == empty })
	var list []seenBatch
	eventually(t, "the log is there", func() bool {
		list = batches(t, s.API(), hansomtest.Credentials, "order")
		return len(times(list)) == 60
	})
	slices.SortStableFunc(list, func(a, b seenBatch) int { return int(a.From - b.From) })
	last := map[string]int{}
	most := 0
	for i, b := range list {
		for _, x := range b.Bodies {
			if n, ok := last[x.Group]; ok && x.N < n {
				t.Errorf("%d of %s came after %d", x.N, x.Group, n)
			}
			last[x.Group] = x.N
		}
		running := 0
		for _, other := range list[:i+1] {
			if other.To > b.From {
				running++
			}
		}
		most = max(most, running)
	}
	if most < 2 || most > 3 {
		t.Errorf("%d batches at a time, want at most 3 and more than one", most)
	}
}

// No message is lost when the server is killed amid batches, and the mapping goes on by itself.
func TestMappingsSurviveKill(t *testing.T) {
	t.Parallel()
	const messages = 100
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, data, runDir)
	c, q := client(t, p.api, rootKey), queues{queueClient(t, p.api, rootKey), t}
	create(t, c, "worker", python311, source(t, python311, batchPython), timeout(2))
	queue := q.create("work", map[string]string{"VisibilityTimeout": "2"})
	var entries []sqstypes.SendMessageBatchRequestEntry
	for n := range messages {
		entries = append(entries, sqstypes.SendMessageBatchRequestEntry{MessageBody: aws.String(fmt.Sprintf(`{"n": %d, "sleep": 200}`, n))})
	}
	q.sendAll(queue, entries)
	mapTo(t, c, "worker", "work", func(in *lambda.CreateEventSourceMappingInput) {
		in.BatchSize, in.ScalingConfig = aws.Int32(2), &types.ScalingConfig{MaximumConcurrency: aws.Int32(4)}
	})
	eventually(t, "some batches have run", func() bool { return len(batches(t, p.api, rootKey, "worker")) > 4 })
	p.kill()

	p = serve(t, data, runDir)
	q = queues{queueClient(t, p.api, rootKey), t}
	url, err := q.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("work")})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is empty", func() bool { return q.counts(url.QueueUrl) == empty })
	p.stop(t)
	p = serve(t, data, runDir)
	got := times(batches(t, p.api, rootKey, "worker"))
	// What the function wrote in the last 200 ms before the kill may not be in its log: 40 messages pass in a second.
	if missing := messages - len(got); missing > 20 {
		t.Errorf("%d messages were not seen", missing)
	}
}

// TestMappingsBoto3 runs the script with every boto3 there is.
func TestMappingsBoto3(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for _, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			if out, err := run(t, environment(s), "testdata", python.path, "boto3_mappings.py"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
