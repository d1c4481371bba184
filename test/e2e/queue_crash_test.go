package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// mortal is a server that is killed and started again, and what its clients know.
type mortal struct {
	t    *testing.T
	mu   sync.Mutex
	now  clients
	over atomic.Bool // nothing new is sent any more
}

// clients are those of the server that runs, or that ran last.
type clients struct {
	sqs       *sqs.Client
	lambda    *lambda.Client
	events    *eventbridge.Client
	scheduler *scheduler.Client
}

func (m *mortal) start(data, runDir string) *program {
	p := serve(m.t, data, runDir)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = clients{queueClient(m.t, p.api, rootKey), client(m.t, p.api, rootKey), eventsClient(m.t, p.api, rootKey), schedulerClient(m.t, p.api, rootKey)}
	return p
}

func (m *mortal) clients() clients {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// acceptable tells whether a server that is killed may answer with err, or not at all; another one is an error of the test.
func (m *mortal) acceptable(what string, err error) bool {
	status, code := refusal(err)
	if status != 0 && status < 500 {
		m.t.Errorf("%s: %d %s %v", what, status, code, err)
		return false
	}
	return true
}

// until asks again until the server has answered.
func (m *mortal) until(what string, f func(k clients) error) {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) { // a server that is being started
		err := f(m.clients())
		if err == nil || !m.acceptable(what, err) {
			return
		}
		if time.Now().After(end) {
			m.t.Errorf("%s: %v", what, err)
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

// acknowledge counts what was sent, unless err is what became of it, and returns err.
func (c *tally) acknowledge(body string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.sent[body] = true
	}
	return err
}

func (c *tally) see(body string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[body]++
	return c.seen[body]
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
// letters, invoke a function asynchronously, publish events and make schedules, and others receive. Each message and each call that was
// acknowledged is processed at least once, each group in its order, and each dead letter arrives. Each event reaches each of its targets:
// a queue, a function, an API destination that refuses it at first, and the dead-letter queue of one that is not there. Each schedule
// fires, though there may be no server at its time.
func TestMessagesSurviveKill(t *testing.T) {
	t.Parallel()
	const kills, length = 10, 30 * time.Second
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	m := &mortal{t: t}
	p := m.start(data, runDir)

	urls := map[string]*string{}
	queue := func(name string, attributes map[string]string) {
		urls[name] = queues{m.now.sqs, t}.create(name, attributes)
	}
	short := map[string]string{"VisibilityTimeout": "2"}
	queue("jobs", short)
	queue("groups.fifo", map[string]string{"FifoQueue": "true", "VisibilityTimeout": "2"})
	queue("dead", short)
	queue("poison", map[string]string{"VisibilityTimeout": "0", "RedrivePolicy": `{"maxReceiveCount":2,"deadLetterTargetArn":"` + queueARN("dead") + `"}`})
	queue("results", short)
	queue("events", short)
	queue("undelivered", short)
	queue("fired", short)
	create(t, m.now.lambda, "worker", python311, source(t, python311, "def handler(event, context):\n    return event\n"))
	if _, err := m.now.lambda.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("worker"),
		DestinationConfig: &lambdatypes.DestinationConfig{OnSuccess: &lambdatypes.OnSuccess{Destination: aws.String(queueARN("results"))}}}); err != nil {
		t.Fatal(err)
	}

	jobs, groups, poison, calls, schedules := newTally(), newTally(), newTally(), newTally(), newTally()
	events := map[string]*tally{} // by target
	for _, target := range []string{"queue", "function", "destination", "missing"} {
		events[target] = newTally()
	}
	seeEvent := func(target, text string) {
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(text), &e); err != nil || e.ID == "" {
			t.Errorf("%s is no event: %v", text, err)
		}
		events[target].see(e.ID)
	}
	tries := newTally() // of events at the destination
	destination := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return // of a server that was killed
		}
		if tries.see(string(text)) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		seeEvent("destination", string(text))
	}))
	defer destination.Close()
	bus := rules{m.now.events, t}
	connection, err := bus.CreateConnection(t.Context(), &eventbridge.CreateConnectionInput{Name: aws.String("c"), AuthorizationType: eventtypes.ConnectionAuthorizationTypeApiKey,
		AuthParameters: &eventtypes.CreateConnectionAuthRequestParameters{ApiKeyAuthParameters: &eventtypes.CreateConnectionApiKeyAuthRequestParameters{ApiKeyName: aws.String("X-Key"), ApiKeyValue: aws.String("hush")}}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := bus.CreateApiDestination(t.Context(), &eventbridge.CreateApiDestinationInput{Name: aws.String("d"), ConnectionArn: connection.ConnectionArn, InvocationEndpoint: &destination.URL, HttpMethod: eventtypes.ApiDestinationHttpMethodPost})
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]eventtypes.Target{
		"queue":       {Arn: aws.String(queueARN("events"))},
		"function":    {Arn: aws.String("arn:aws:lambda:us-east-1:000000000000:function:worker"), InputPath: aws.String("$.id")},
		"destination": {Arn: made.ApiDestinationArn},
		"missing":     {Arn: aws.String(queueARN("missing")), DeadLetterConfig: &eventtypes.DeadLetterConfig{Arn: aws.String(queueARN("undelivered"))}},
	} {
		bus.rule(name, `{"source":["shop"]}`, target)
	}

	var senders, receivers sync.WaitGroup
	send := func(what string, f func(k clients, n int) error) {
		senders.Go(func() {
			for n := 0; !m.over.Load(); n++ {
				if err := f(m.clients(), n); err != nil && m.acceptable(what, err) {
					time.Sleep(5 * time.Millisecond) // a server that is being started
				}
			}
		})
	}
	for s := range 2 {
		send("send", func(k clients, n int) error {
			body := fmt.Sprintf("%d-%d", s, n)
			_, err := k.sqs.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: urls["jobs"], MessageBody: &body})
			return jobs.acknowledge(body, err)
		})
	}
	for g := range 2 {
		send("send to a group", func(_ clients, n int) error { // the next one is not sent before this one is acknowledged
			group, body := fmt.Sprint("group", g), fmt.Sprintf("%d-%d", g, n)
			m.until("send to a group", func(k clients) error {
				_, err := k.sqs.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: urls["groups.fifo"], MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &body})
				return err
			})
			return groups.acknowledge(body, nil)
		})
	}
	send("send poison", func(k clients, n int) error {
		body := fmt.Sprint(n)
		_, err := k.sqs.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: urls["poison"], MessageBody: &body})
		return poison.acknowledge(body, err)
	})
	send("invoke", func(k clients, n int) error {
		body := strconv.Itoa(n)
		_, err := k.lambda.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("worker"), InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(body)})
		return calls.acknowledge(body, err)
	})
	send("publish", func(k clients, n int) error {
		time.Sleep(10 * time.Millisecond) // the calls of one function are to be over soon after
		entry := eventtypes.PutEventsRequestEntry{Source: aws.String("shop"), DetailType: aws.String("paid"), Detail: aws.String(fmt.Sprintf(`{"n":%d}`, n))}
		out, err := k.events.PutEvents(context.Background(), &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{entry, entry}})
		if err != nil {
			return err
		}
		for _, e := range out.Entries {
			if e.EventId == nil {
				continue
			}
			for _, c := range events {
				_ = c.acknowledge(*e.EventId, nil)
			}
		}
		return nil
	})
	send("make a schedule", func(k clients, n int) error {
		time.Sleep(10 * time.Millisecond)
		name := fmt.Sprint("s", n)
		in := &scheduler.CreateScheduleInput{Name: &name, ScheduleExpression: aws.String(at(time.Now().Add(time.Duration(1+n%3) * time.Second))),
			FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
			Target:             &schedulertypes.Target{Arn: aws.String(queueARN("fired")), RoleArn: aws.String(role), Input: &name}}
		if n%2 == 0 {
			in.ActionAfterCompletion = schedulertypes.ActionAfterCompletionDelete
		}
		_, err := k.scheduler.CreateSchedule(context.Background(), in)
		return schedules.acknowledge(name, err)
	})

	done := make(chan struct{})
	receive := func(name string, keep bool, f func(body string)) {
		receivers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				k := m.clients()
				out, err := k.sqs.ReceiveMessage(context.Background(), &sqs.ReceiveMessageInput{QueueUrl: urls[name], MaxNumberOfMessages: 10, WaitTimeSeconds: 1})
				if err != nil {
					time.Sleep(5 * time.Millisecond) // a server that is being started
					continue
				}
				for _, message := range out.Messages {
					f(*message.Body)
					if !keep {
						_, _ = k.sqs.DeleteMessage(context.Background(), &sqs.DeleteMessageInput{QueueUrl: urls[name], ReceiptHandle: message.ReceiptHandle})
					}
				}
			}
		})
	}
	for range 2 {
		receive("jobs", false, func(body string) { jobs.see(body) })
	}
	last := map[string]int{}
	receive("groups.fifo", false, func(body string) {
		groups.see(body)
		group, text, _ := strings.Cut(body, "-")
		n, err := strconv.Atoi(text)
		next, begun := last[group]
		if err != nil || begun && n > next+1 || !begun && n > 0 {
			t.Errorf("group %s: message %s after %d", group, text, next)
		}
		last[group] = max(n, next)
	})
	receive("poison", true, func(string) {})
	receive("dead", false, func(body string) { poison.see(body) })
	for range 2 {
		receive("results", false, func(body string) {
			var record struct {
				RequestContext  struct{ Condition string }
				ResponsePayload any
			}
			if err := json.Unmarshal([]byte(body), &record); err != nil || record.RequestContext.Condition != "Success" {
				t.Errorf("%v: %s", err, body)
			}
			switch v := record.ResponsePayload.(type) {
			case float64:
				calls.see(strconv.Itoa(int(v)))
			case string:
				events["function"].see(v)
			}
		})
	}
	receive("events", false, func(body string) { seeEvent("queue", body) })
	receive("undelivered", false, func(body string) { seeEvent("missing", body) })
	receive("fired", false, func(body string) { schedules.see(body) })

	for range kills {
		time.Sleep(time.Duration(random.Int64N(int64(2 * length / kills)))) // a random moment, a tenth of the time on average
		p.kill()
		p = m.start(data, runDir)
	}
	m.over.Store(true)
	senders.Wait()
	all := map[string]*tally{"jobs": jobs, "groups.fifo": groups, "poison": poison, "calls": calls, "schedules": schedules}
	for target, c := range events {
		all["events for "+target] = c
	}
	defer func() {
		for name, c := range all {
			if lost := c.missing(); len(lost) > 0 {
				t.Errorf("%d of %s are lost: %.300q", len(lost), name, lost)
			}
		}
	}()
	for name, c := range all {
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
