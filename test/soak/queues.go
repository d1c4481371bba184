package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

const refusing = "def handler(event, context):\n    raise ValueError(event['Records'][0]['body'])\n"

const (
	batch   = 10 // messages of a call
	poisons = 5  // messages of a batch that nobody can deal with
)

// prepareQueues makes the queues that live for the whole run: plain, mapped to a function, and poisoned, whose messages become
// dead letters after two attempts.
func (m *mix) prepareQueues(ctx context.Context) (err error) {
	m.queues = map[string]string{}
	for _, q := range []struct {
		name       string
		attributes map[string]string
	}{
		{"plain", nil},
		{"mapped", nil},
		{"dead", nil},
		{"poisoned", map[string]string{"VisibilityTimeout": "1", "RedrivePolicy": `{"deadLetterTargetArn": "` + arnOf("dead") + `", "maxReceiveCount": "2"}`}},
	} {
		if m.queues[q.name], err = m.queue(ctx, q.name, q.attributes); err != nil {
			return err
		}
	}
	if err := m.server.Create(ctx, rig.Function{Name: "refuse", Runtime: types.RuntimePython311, Handler: "app.handler", Code: rig.Zip("app.py", []byte(refusing))}); err != nil {
		return err
	}
	if err := m.limit(ctx, "refuse", 1); err != nil {
		return err
	}
	for queue, function := range map[string]string{"mapped": "python", "poisoned": "refuse"} {
		if _, err := m.mapping(ctx, queue, function); err != nil {
			return err
		}
	}
	return nil
}

func arnOf(queue string) string { return "arn:aws:sqs:us-east-1:000000000000:" + queue }

// queue makes a queue and returns its URL.
func (m *mix) queue(ctx context.Context, name string, attributes map[string]string) (string, error) {
	var made struct{ QueueUrl string }
	err := m.server.SQS(ctx, "CreateQueue", map[string]any{"QueueName": name, "Attributes": attributes}, &made)
	return made.QueueUrl, err
}

func (m *mix) mapping(ctx context.Context, queue, function string) (id string, err error) {
	out, err := m.server.Client.CreateEventSourceMapping(ctx, &lambda.CreateEventSourceMappingInput{FunctionName: &function, EventSourceArn: aws.String(arnOf(queue))})
	if err != nil {
		return "", err
	}
	return *out.UUID, nil
}

// send puts n messages into a queue; those of a FIFO queue have two groups and are sent twice, which counts once.
func (m *mix) send(ctx context.Context, url, body string, n int) error {
	var entries []map[string]string
	for i := range n {
		entry := map[string]string{"Id": strconv.Itoa(i), "MessageBody": body}
		if strings.HasSuffix(url, ".fifo") {
			entry["MessageGroupId"], entry["MessageDeduplicationId"] = strconv.Itoa(i%2), strconv.Itoa(i/2)
		}
		entries = append(entries, entry)
	}
	var out struct{ Failed []json.RawMessage }
	err := m.server.SQS(ctx, "SendMessageBatch", map[string]any{"QueueUrl": url, "Entries": entries}, &out)
	if err == nil && len(out.Failed) > 0 {
		err = fmt.Errorf("not sent: %s", out.Failed)
	}
	return err
}

// take receives and deletes n messages, which come within a minute.
func (m *mix) take(ctx context.Context, url string, n int) error {
	for end := time.Now().Add(time.Minute); n > 0; {
		if time.Now().After(end) {
			return fmt.Errorf("%d messages of %s did not come", n, url)
		}
		var out struct {
			Messages []struct{ ReceiptHandle string }
		}
		if err := m.server.SQS(ctx, "ReceiveMessage", map[string]any{"QueueUrl": url, "MaxNumberOfMessages": min(n, 10), "WaitTimeSeconds": 5}, &out); err != nil {
			return err
		}
		var entries []map[string]string
		for i, message := range out.Messages {
			entries = append(entries, map[string]string{"Id": strconv.Itoa(i), "ReceiptHandle": message.ReceiptHandle})
		}
		if len(entries) == 0 {
			continue
		}
		if err := m.server.SQS(ctx, "DeleteMessageBatch", map[string]any{"QueueUrl": url, "Entries": entries}, nil); err != nil {
			return err
		}
		n -= len(entries)
	}
	return nil
}

// emptied waits until a queue has no message, not even one in flight.
func (m *mix) emptied(ctx context.Context, url string) error {
	counts := []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"}
	return until(ctx, url+" is empty", func() (bool, error) {
		var out struct{ Attributes map[string]string }
		err := m.server.SQS(ctx, "GetQueueAttributes", map[string]any{"QueueUrl": url, "AttributeNames": counts}, &out)
		empty := true
		for _, name := range counts {
			empty = empty && out.Attributes[name] == "0"
		}
		return empty, err
	})
}

// until waits at most a minute for a condition.
func until(ctx context.Context, what string, condition func() (bool, error)) error {
	for end := time.Now().Add(time.Minute); ; {
		ok, err := condition()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not after a minute: %s", what)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// body of most messages, of 1 KB.
var body = strings.Repeat("soak", 256)

func (m *mix) messages(ctx context.Context) error {
	if err := m.send(ctx, m.queues["plain"], body, batch); err != nil {
		return err
	}
	return m.take(ctx, m.queues["plain"], batch)
}

func (m *mix) mapped(ctx context.Context) error {
	if err := m.send(ctx, m.queues["mapped"], body, batch); err != nil {
		return err
	}
	return m.emptied(ctx, m.queues["mapped"])
}

// poison sends messages that the function fails for, and takes them from the dead letters.
func (m *mix) poison(ctx context.Context) error {
	if err := m.send(ctx, m.queues["poisoned"], "poison", poisons); err != nil {
		return err
	}
	return m.take(ctx, m.queues["dead"], poisons)
}

// queueLife makes a queue with a mapping, lets a function have its messages, and removes both.
func (m *mix) queueLife(ctx context.Context) error {
	n := m.serial.Add(1)
	name, attributes := fmt.Sprintf("queue-%d", n), map[string]string(nil)
	if m.fifo = !m.fifo; m.fifo {
		name, attributes = name+".fifo", map[string]string{"FifoQueue": "true"}
	}
	url, err := m.queue(ctx, name, attributes)
	if err != nil {
		return err
	}
	id, err := m.mapping(ctx, name, "python")
	if err != nil {
		return err
	}
	for range 2 {
		if err := m.send(ctx, url, body, batch); err != nil {
			return err
		}
	}
	if err := m.emptied(ctx, url); err != nil {
		return err
	}
	if _, err := m.server.Client.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: &id}); err != nil {
		return err
	}
	err = until(ctx, "the mapping of "+name+" is gone", func() (bool, error) {
		_, err := m.server.Client.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: &id})
		var missing *types.ResourceNotFoundException
		if errors.As(err, &missing) {
			return true, nil
		}
		return false, err
	})
	return errors.Join(err, m.server.SQS(ctx, "DeleteQueue", map[string]any{"QueueUrl": url}, nil))
}
