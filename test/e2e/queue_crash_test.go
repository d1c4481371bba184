package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// mortal is a server that is killed and started again, and what its clients know.
type mortal struct {
	t     *testing.T
	mu    sync.Mutex
	sqs   *sqs.Client
	calls *lambda.Client
	over  atomic.Bool // nothing new is sent any more
}

func (m *mortal) start(data, runDir string) *program {
	p := serve(m.t, data, runDir)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sqs, m.calls = queueClient(m.t, p.api, rootKey), client(m.t, p.api, rootKey)
	return p
}

func (m *mortal) clients() (*sqs.Client, *lambda.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sqs, m.calls
}

// until asks again until the server has answered; what it refuses is an error of the test.
func (m *mortal) until(what string, f func(ctx context.Context, q *sqs.Client, l *lambda.Client) error) {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) { // a server that is being started
		q, l := m.clients()
		err := f(context.Background(), q, l)
		if err == nil {
			return
		}
		if status, code := refusal(err); status != 0 && status < 500 || time.Now().After(end) {
			m.t.Errorf("%s: %d %s %v", what, status, code, err)
			return
		}
	}
}

// tally counts how often each thing was seen.
type tally struct {
	mu   sync.Mutex
	sent map[string]bool
	seen map[string]int
}

func newTally() *tally { return &tally{sent: map[string]bool{}, seen: map[string]int{}} }

func (c *tally) acknowledge(body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[body] = true
}

func (c *tally) see(body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[body]++
}

func (c *tally) missing() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for body := range c.sent {
		if c.seen[body] == 0 {
			list = append(list, body)
		}
	}
	return list
}

func (c *tally) counts() (sent, seen, again int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.seen {
		again += n - 1
	}
	return len(c.sent), len(c.seen), again
}

// A server is killed ten times in 30 seconds while clients send to a queue, to a FIFO queue and to one whose messages all end as dead
// letters, and invoke a function asynchronously, and others receive. Each message and each call that was acknowledged is processed at
// least once, each group in its order, and each dead letter arrives.
func TestMessagesSurviveKill(t *testing.T) {
	const kills, length = 10, 30 * time.Second
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	m := &mortal{t: t}
	p := m.start(data, runDir)

	urls := map[string]string{}
	queue := func(name string, attributes map[string]string) {
		out, err := m.sqs.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		urls[name] = *out.QueueUrl
	}
	queue("jobs", map[string]string{"VisibilityTimeout": "2"})
	queue("groups.fifo", map[string]string{"FifoQueue": "true", "VisibilityTimeout": "2"})
	queue("dead", map[string]string{"VisibilityTimeout": "2"})
	queue("poison", map[string]string{"VisibilityTimeout": "0", "RedrivePolicy": `{"maxReceiveCount":2,"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}`})
	queue("results", map[string]string{"VisibilityTimeout": "2"})
	create(t, m.calls, "worker", python311, source(t, python311, "def handler(event, context):\n    return event\n"))
	if _, err := m.calls.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("worker"),
		DestinationConfig: &lambdatypes.DestinationConfig{OnSuccess: &lambdatypes.OnSuccess{Destination: aws.String("arn:aws:sqs:us-east-1:000000000000:results")}}}); err != nil {
		t.Fatal(err)
	}

	jobs, groups, poison, calls := newTally(), newTally(), newTally(), newTally()
	var senders, receivers sync.WaitGroup
	send := func(kind string, f func(n int)) {
		senders.Go(func() {
			for n := 0; !m.over.Load(); n++ {
				f(n)
			}
		})
	}
	for s := range 2 {
		send("jobs", func(n int) {
			body := fmt.Sprintf("%d-%d", s, n)
			q, _ := m.clients()
			if _, err := q.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: aws.String(urls["jobs"]), MessageBody: &body}); err == nil {
				jobs.acknowledge(body)
			}
		})
	}
	for g := range 2 {
		send("groups", func(n int) { // the next one is not sent before this one is acknowledged
			group, body := fmt.Sprint("group", g), fmt.Sprintf("%d-%d", g, n)
			m.until("send to a group", func(ctx context.Context, q *sqs.Client, _ *lambda.Client) error {
				_, err := q.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String(urls["groups.fifo"]), MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &body})
				return err
			})
			groups.acknowledge(body)
		})
	}
	send("poison", func(n int) {
		body := fmt.Sprint(n)
		q, _ := m.clients()
		if _, err := q.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: aws.String(urls["poison"]), MessageBody: &body}); err == nil {
			poison.acknowledge(body)
		}
	})
	send("calls", func(n int) {
		_, l := m.clients()
		body := strconv.Itoa(n)
		if _, err := l.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("worker"), InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(body)}); err == nil {
			calls.acknowledge(body)
		}
	})

	done := make(chan struct{})
	receive := func(name string, keep bool, f func(types.Message)) {
		receivers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				q, _ := m.clients()
				out, err := q.ReceiveMessage(context.Background(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(urls[name]), MaxNumberOfMessages: 10, WaitTimeSeconds: 1})
				if err != nil {
					time.Sleep(5 * time.Millisecond) // a server that is being started
					continue
				}
				for _, message := range out.Messages {
					f(message)
					if !keep {
						_, _ = q.DeleteMessage(context.Background(), &sqs.DeleteMessageInput{QueueUrl: aws.String(urls[name]), ReceiptHandle: message.ReceiptHandle})
					}
				}
			}
		})
	}
	for range 2 {
		receive("jobs", false, func(m types.Message) { jobs.see(*m.Body) })
	}
	last := map[string]int{}
	receive("groups.fifo", false, func(m types.Message) {
		groups.see(*m.Body)
		group, text, _ := strings.Cut(*m.Body, "-")
		n, err := strconv.Atoi(text)
		next, begun := last[group]
		if err != nil || begun && n > next+1 || !begun && n > 0 {
			t.Errorf("group %s: message %s after %d", group, text, next)
		}
		last[group] = max(n, next)
	})
	receive("poison", true, func(types.Message) {})
	receive("dead", false, func(m types.Message) { poison.see(*m.Body) })
	receive("results", false, func(m types.Message) {
		var record struct {
			RequestContext  struct{ Condition string }
			ResponsePayload int
		}
		if err := json.Unmarshal([]byte(*m.Body), &record); err != nil || record.RequestContext.Condition != "Success" {
			t.Errorf("%v: %s", err, *m.Body)
		}
		calls.see(strconv.Itoa(record.ResponsePayload))
	})

	for range kills {
		time.Sleep(time.Duration(random.Int64N(int64(2 * length / kills)))) // a random moment, a tenth of the time on average
		p.kill()
		p = m.start(data, runDir)
	}
	m.over.Store(true)
	senders.Wait()
	for name, c := range map[string]*tally{"jobs": jobs, "groups.fifo": groups, "poison": poison, "calls": calls} {
		eventually(t, "all of "+name+" arrives", func() bool { return len(c.missing()) == 0 })
		sent, seen, again := c.counts()
		t.Logf("%s: %d acknowledged, %d seen, %d times one again", name, sent, seen, again)
		if sent < kills {
			t.Errorf("only %d of %s were sent: the server was killed before it could do anything", sent, name)
		}
	}
	close(done)
	receivers.Wait()
}
