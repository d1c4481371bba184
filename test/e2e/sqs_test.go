package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

func queueClient(t testing.TB, api string, c hansom.Credentials) *sqs.Client {
	return sqs.New(sqs.Options{
		Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// queues is a client with what tests do often; all of it must go well.
type queues struct {
	*sqs.Client
	t testing.TB
}

func (q queues) create(name string, attributes map[string]string) *string {
	q.t.Helper()
	if attributes == nil { // nothing comes again on a slow machine
		attributes = map[string]string{"VisibilityTimeout": "43200"}
	}
	out, err := q.CreateQueue(q.t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		q.t.Fatal(err)
	}
	return out.QueueUrl
}

func (q queues) send(queue *string, body string) {
	q.t.Helper()
	if _, err := q.SendMessage(q.t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageBody: &body}); err != nil {
		q.t.Fatal(err)
	}
}

func (q queues) receive(queue *string, most, wait int32) []types.Message {
	q.t.Helper()
	out, err := q.ReceiveMessage(q.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue, MaxNumberOfMessages: most, WaitTimeSeconds: wait,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}, MessageAttributeNames: []string{"All"}})
	if err != nil {
		q.t.Fatal(err)
	}
	return out.Messages
}

func (q queues) delete(queue *string, m types.Message) {
	q.t.Helper()
	if _, err := q.DeleteMessage(q.t.Context(), &sqs.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
		q.t.Error(err)
	}
}

// counts are the messages that are visible, in flight and delayed.
func (q queues) counts(queue *string) [3]string {
	q.t.Helper()
	out, err := q.GetQueueAttributes(q.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: queue, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		q.t.Fatal(err)
	}
	a := out.Attributes
	return [3]string{a["ApproximateNumberOfMessages"], a["ApproximateNumberOfMessagesNotVisible"], a["ApproximateNumberOfMessagesDelayed"]}
}

func queueARN(name string) string { return "arn:aws:sqs:us-east-1:000000000000:" + name }

func redrivePolicy(name string, most int) map[string]string {
	return map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, queueARN(name), most), "VisibilityTimeout": "0"}
}

// TestQueuesBoto3 runs the script with every boto3 there is, the older of which speaks the Query protocol; the first time on PostgreSQL.
func TestQueuesBoto3(t *testing.T) {
	t.Parallel()
	for i, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			if out, err := run(t, environment(s), "testdata", python.path, "boto3_sqs.py"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// TestQueuesJavaScript runs the script with the @aws-sdk/client-sqs that scripts/setup.sh has installed.
func TestQueuesJavaScript(t *testing.T) {
	const modules = "/opt/hansom/clients/node_modules"
	node := "/opt/hansom/node22/bin/node"
	if _, err := os.Stat(node); err != nil {
		node = "node"
	}
	if _, err := os.Stat(modules + "/@aws-sdk/client-sqs"); err != nil {
		t.Fatal("no @aws-sdk/client-sqs: run scripts/setup.sh")
	}
	s := hansomtest.Start(t, nil)
	if out, err := run(t, append(environment(s), "AWS_REGION=us-east-1", "NODE_PATH="+modules), "testdata", node, "sqs.cjs"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestQueuesAWSCLI walks through a queue's life with Debian's awscli.
func TestQueuesAWSCLI(t *testing.T) {
	t.Parallel()
	const program = "/usr/bin/aws"
	if _, err := os.Stat(program); err != nil {
		t.Fatal("no awscli: run scripts/setup.sh")
	}
	s := hansomtest.Start(t, nil)
	do := func(want string, args ...string) string {
		t.Helper()
		out, err := run(t, environment(s), t.TempDir(), append([]string{program, "--endpoint-url", s.API(), "--output", "text", "sqs"}, args...)...)
		if (err != nil) != strings.HasPrefix(want, "(") || !strings.Contains(out, want) {
			t.Fatalf("aws sqs %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
		return strings.TrimSpace(out)
	}
	url := s.API() + "/000000000000/cli"
	do(url, "create-queue", "--queue-name", "cli", "--attributes", "DelaySeconds=0,VisibilityTimeout=45", "--tags", "team=blue")
	do(url, "get-queue-url", "--queue-name", "cli")
	do(url, "list-queues", "--queue-name-prefix", "c")
	do("blue", "list-queue-tags", "--queue-url", url)
	do("d8e8fca2dc0f896fd7cb4cb0031ba249", "send-message", "--queue-url", url, "--message-body", "test\n", "--message-attributes", `{"n":{"DataType":"Number","StringValue":"7"}}`)
	do("45", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All", "--query", "Attributes.VisibilityTimeout")
	handle := do("", "receive-message", "--queue-url", url, "--message-attribute-names", "All", "--query", "Messages[0].ReceiptHandle")
	do("", "change-message-visibility", "--queue-url", url, "--receipt-handle", handle, "--visibility-timeout", "10")
	do("", "delete-message", "--queue-url", url, "--receipt-handle", handle)
	do("(ReceiptHandleIsInvalid)", "delete-message", "--queue-url", url, "--receipt-handle", "x")
	do("InvalidParameterValue", "send-message-batch", "--queue-url", url, "--entries", `[{"Id":"a","MessageBody":"b"},{"Id":"c","MessageBody":"d","DelaySeconds":1000}]`)
	do("", "purge-queue", "--queue-url", url)
	do("(AWS.SimpleQueueService.PurgeQueueInProgress)", "purge-queue", "--queue-url", url)
	do("", "delete-queue", "--queue-url", url)
	do("(AWS.SimpleQueueService.NonExistentQueue)", "get-queue-url", "--queue-name", "cli")
}

// A message that nobody can deal with goes to the dead-letter queue, and a move task brings it back.
func TestPoisonMessage(t *testing.T) {
	s := start(t, nil)
	q := queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	dead := q.create("dead", nil)
	jobs := q.create("jobs", redrivePolicy("dead", 3))
	q.send(jobs, "poison")
	q.send(jobs, "fine")
	seen := map[string]int{}
	var id string
	for len(seen) < 2 || seen["fine"] < 1 {
		for _, m := range q.receive(jobs, 1, 1) {
			seen[*m.Body]++
			if *m.Body == "fine" {
				q.delete(jobs, m)
			} else {
				id = *m.MessageId
			}
		}
	}
	for len(q.receive(jobs, 1, 0)) > 0 {
		seen["poison"]++
	}
	if seen["poison"] != 3 {
		t.Errorf("received %v", seen)
	}
	list := q.receive(dead, 10, 5)
	if len(list) != 1 || *list[0].MessageId != id || list[0].Attributes["DeadLetterQueueSourceArn"] != queueARN("jobs") || list[0].Attributes["ApproximateReceiveCount"] != "4" {
		t.Fatalf("in the dead-letter queue: %+v", list)
	}
	if _, err := q.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: dead, ReceiptHandle: list[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.StartMessageMoveTask(t.Context(), &sqs.StartMessageMoveTaskInput{SourceArn: aws.String(queueARN("dead"))}); err != nil {
		t.Fatal(err)
	}
	if list := q.receive(jobs, 1, 20); len(list) != 1 || *list[0].Body != "poison" || list[0].Attributes["ApproximateReceiveCount"] != "1" {
		t.Errorf("moved back: %+v", list)
	}
	eventually(t, "the task ends", func() bool {
		tasks, err := q.ListMessageMoveTasks(t.Context(), &sqs.ListMessageMoveTasksInput{SourceArn: aws.String(queueARN("dead"))})
		return err == nil && *tasks.Results[0].Status == "COMPLETED" && tasks.Results[0].ApproximateNumberOfMessagesMoved == 1
	})
}

// Several consumers of a FIFO queue get each message of a group once and in order, whatever the others do.
func TestGroupOrder(t *testing.T) {
	t.Parallel()
	const groups, each, consumers = 5, 12, 4
	s := start(t, nil)
	q := queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	queue := q.create("order.fifo", map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
	var wg sync.WaitGroup
	for g := range groups {
		wg.Go(func() {
			for n := range each {
				for range 2 { // as a client that did not see the first answer
					if _, err := q.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageGroupId: aws.String(fmt.Sprint("g", g)), MessageBody: aws.String(fmt.Sprintf("g%d %02d", g, n))}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	var mu sync.Mutex
	got := map[string][]string{}
	total := 0
	for range consumers {
		wg.Go(func() {
			for {
				mu.Lock()
				ended := total == groups*each
				mu.Unlock()
				if ended || t.Failed() {
					return
				}
				for _, m := range q.receive(queue, 3, 1) {
					mu.Lock()
					got[m.Attributes["MessageGroupId"]] = append(got[m.Attributes["MessageGroupId"]], *m.Body)
					total++
					mu.Unlock()
					q.delete(queue, m)
				}
			}
		})
	}
	wg.Wait()
	for group, list := range got {
		if len(list) != each || !slices.IsSorted(list) {
			t.Errorf("group %s: %q", group, list)
		}
	}
	if counts := q.counts(queue); len(got) != groups || counts != [3]string{"0", "0", "0"} {
		t.Errorf("%d groups; left: %v", len(got), counts)
	}
}

// Sizes, counts, and a restart in the middle of everything.
func TestQueuesRestart(t *testing.T) {
	s := start(t, nil)
	q := queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	queue := q.create("q", map[string]string{"VisibilityTimeout": "600"})
	large := strings.Repeat("x", 1<<20)
	q.send(queue, large)
	var api smithy.APIError
	if _, err := q.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String(large + "y")}); !errors.As(err, &api) || api.ErrorCode() != "InvalidParameterValue" {
		t.Errorf("1 MiB and a byte: %v", err)
	}
	if _, err := q.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageBody: aws.String("late"), DelaySeconds: 900}); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		q.send(queue, fmt.Sprint(n))
	}
	taken := q.receive(queue, 1, 0)
	if len(taken) != 1 || *taken[0].Body != large {
		t.Fatal("the large message was not received first")
	}
	batch, err := q.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: queue, Entries: []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("a")}, {Id: aws.String("b"), MessageBody: aws.String("b"), DelaySeconds: 901}}})
	if err != nil || len(batch.Successful) != 1 || len(batch.Failed) != 1 || *batch.Failed[0].Id != "b" || !batch.Failed[0].SenderFault {
		t.Errorf("%+v, %v", batch, err)
	}
	want := [3]string{"6", "1", "1"}
	if got := q.counts(queue); got != want {
		t.Errorf("counts %v, want %v", got, want)
	}
	if _, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics"); !strings.Contains(text, `hansom_queue_messages{project="000000000000",queue="q",state="in_flight"} 1`) {
		t.Errorf("the metrics do not show the message in flight:\n%s", text)
	}
	s.Restart(t)
	q = queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	queue = q.create("q", map[string]string{})
	if got := q.counts(queue); got != want {
		t.Errorf("counts after the restart %v, want %v", got, want)
	}
	q.delete(queue, taken[0])
	var bodies []string
	for _, m := range q.receive(queue, 10, 0) {
		bodies = append(bodies, *m.Body)
		q.delete(queue, m)
	}
	if got := strings.Join(bodies, ""); got != "01234a" {
		t.Errorf("received %s", got)
	}
	if got := q.counts(queue); got != [3]string{"0", "0", "1"} {
		t.Errorf("counts in the end %v", got)
	}
}

// What was acknowledged when the server is killed is there afterwards; what was deleted is not.
func TestQueuesSurviveKill(t *testing.T) {
	const rounds, clients, hidden = 3, 4, 5
	runDir, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
	var mu sync.Mutex
	sent, deleted, unsure := map[string]bool{}, map[string]bool{}, map[string]bool{} // acknowledged; a deletion that was not
	for round := range rounds {
		p := serve(t, data, runDir)
		c := queueClient(t, p.api, rootKey)
		out, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("q"), Attributes: map[string]string{"VisibilityTimeout": "0"}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for n := 0; ; n++ {
					body := fmt.Sprintf("%d-%d-%d", round, i, n)
					_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: out.QueueUrl, MessageBody: &body})
					mu.Lock()
					sent[body] = err == nil
					mu.Unlock()
					if err != nil {
						return
					}
					if n%3 != 0 {
						continue
					}
					got, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: out.QueueUrl, VisibilityTimeout: hidden})
					if err != nil {
						return
					}
					for _, m := range got.Messages {
						_, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: out.QueueUrl, ReceiptHandle: m.ReceiptHandle})
						mu.Lock()
						deleted[*m.Body], unsure[*m.Body] = err == nil, err != nil
						mu.Unlock()
					}
				}
			})
		}
		eventually(t, "there are messages", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(sent) > (round+1)*200
		})
		p.kill()
		wg.Wait()
	}
	p := serve(t, data, runDir)
	c := queueClient(t, p.api, rootKey)
	url := aws.String(p.api + "/000000000000/q")
	missing := map[string]bool{}
	for body, ok := range sent {
		if ok && !deleted[body] && !unsure[body] {
			missing[body] = true
		}
	}
	t.Logf("of %d messages %d are to be there", len(sent), len(missing))
	for len(missing) > 0 {
		got, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, VisibilityTimeout: 600, WaitTimeSeconds: 2 * hidden})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Messages) == 0 {
			t.Fatalf("lost: %v", slices.Collect(maps.Keys(missing)))
		}
		for _, m := range got.Messages {
			delete(missing, *m.Body)
			if deleted[*m.Body] {
				t.Errorf("%s was deleted and is there", *m.Body)
			}
		}
	}
}

// A project neither sees nor reaches the queues of another one, and a function's session uses the queues of its project but makes none.
func TestQueueTenancy(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	a, b := newTenant(t, s, "blue"), newTenant(t, s, "green")
	blue, green := queues{queueClient(t, s.API(), a.key), t}, queues{queueClient(t, s.API(), b.key), t}
	url := blue.create("shared", nil)
	if got := green.create("shared", map[string]string{"DelaySeconds": "1"}); *got == *url {
		t.Fatalf("both have %s", *got)
	}
	var gone *types.QueueDoesNotExist
	for what, f := range map[string]func(ctx context.Context) error{
		"send": func(ctx context.Context) error {
			_, err := green.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("x")})
			return err
		},
		"receive": func(ctx context.Context) error {
			_, err := green.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url})
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := green.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url})
			return err
		},
		"ask for the URL": func(ctx context.Context) error {
			_, err := green.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("shared"), QueueOwnerAWSAccountId: &a.id})
			return err
		},
	} {
		if err := f(t.Context()); !errors.As(err, &gone) {
			t.Errorf("another project may %s: %v", what, err)
		}
	}
	list, err := blue.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil || len(list.QueueUrls) != 1 || list.QueueUrls[0] != *url {
		t.Errorf("%v, %v", list, err)
	}
	var key []string
	mustInvoke(t, a.c, "shared", `{"env":1}`, &key)
	function := queueClient(t, s.API(), hansom.Credentials{AccessKeyID: key[0], SecretAccessKey: key[1], SessionToken: key[2]})
	if _, err := function.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("from a function")}); err != nil {
		t.Error(err)
	}
	var api smithy.APIError
	if _, err := function.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("own")}); !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" {
		t.Errorf("a function makes a queue: %v", err)
	}
	if m := blue.receive(url, 1, 5); len(m) != 1 || *m[0].Body != "from a function" {
		t.Errorf("%+v", m)
	}
}

// Who waits for a message gets it at once, and the server's end does not wait for those who wait.
func TestLongPollWakesUp(t *testing.T) {
	s := start(t, nil)
	q := queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	url := q.create("q", nil)
	poll := func() chan []types.Message {
		got := make(chan []types.Message, 1)
		go func() {
			out, err := q.ReceiveMessage(context.WithoutCancel(t.Context()), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
			if err != nil {
				out = &sqs.ReceiveMessageOutput{}
			}
			got <- out.Messages
		}()
		return got
	}
	got := poll()
	q.send(url, "wake up")
	select {
	case list := <-got:
		if len(list) != 1 {
			t.Errorf("%+v", list)
		}
	case <-time.After(15 * time.Second):
		t.Error("the message did not wake who waits")
	}
	got = poll()
	s.Stop(t)
	select {
	case <-got:
	case <-time.After(15 * time.Second):
		t.Error("the server ended and somebody waits still")
	}
}
