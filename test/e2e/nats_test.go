package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2"
	gw "github.com/aws/aws-sdk-go-v2/service/apigatewayv2/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// natsHandler tells of each batch, and names messages as failed the first two times when they ask for it.
const natsHandler = `
import base64, json

def handler(event, context):
    bodies = [json.loads(base64.b64decode(r['data'])) for r in event['Records']]
    print('batch ' + json.dumps({'bodies': bodies, 'records': event['Records']}))
    if any(b.get('break') and r['deliveries'] < 2 for r, b in zip(event['Records'], bodies)):
        raise Exception('broken')
    return {'batchItemFailures': [{'itemIdentifier': r['sequence']} for r, b in zip(event['Records'], bodies) if b.get('fail') and r['deliveries'] < 3]}
`

// natsRecord is what a function gets of a message.
type natsRecord struct {
	EventSource, EventSourceARN, AWSRegion, Stream, Sequence, Subject, Timestamp string
	Deliveries                                                                   int
	Headers                                                                      map[string][]string
	Data                                                                         []byte
}

type natsBatch struct {
	bodies
	Records []natsRecord
}

func natsConnect(t testing.TB, addr string, c hansom.Credentials, opts ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	if c.AccessKeyID != "" {
		opts = append(opts, nats.UserInfo(c.AccessKeyID, c.SecretAccessKey))
	}
	if c.SessionToken != "" {
		opts = append(opts, nats.Token(c.SessionToken))
	}
	conn, err := nats.Connect("nats://"+addr, opts...)
	if err == nil {
		t.Cleanup(conn.Close)
	}
	return conn, err
}

func natsStream(t testing.TB, conn *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func mapSubject(t testing.TB, c *lambda.Client, function, subject string, change func(*lambda.CreateEventSourceMappingInput)) {
	t.Helper()
	in := &lambda.CreateEventSourceMappingInput{FunctionName: &function, EventSourceArn: aws.String("arn:aws:nats:us-east-1:000000000000:" + subject)}
	if change != nil {
		change(in)
	}
	if _, err := c.CreateEventSourceMapping(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// Messages that a client of NATS publishes reach functions in batches, through a mapping of the Lambda API and through one of a manifest,
// each with all of them; those that failed come again.
func TestNATS(t *testing.T) {
	s := start(t, func(c *server.Config) { c.NATS = "127.0.0.1:0" })
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "orders", python311, source(t, python311, natsHandler))
	mapSubject(t, c, "orders", "orders.>", func(in *lambda.CreateEventSourceMappingInput) {
		in.BatchSize, in.MaximumBatchingWindowInSeconds = aws.Int32(20), aws.Int32(1)
		in.FunctionResponseTypes = []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}
	})
	dir := t.TempDir()
	for name, text := range map[string]string{"app.py": natsHandler, "hansom.yaml": `
name: shop
functions:
  odd:
    runtime: python3.11
    code: .
    handler: app.handler
    nats: [{subject: "orders.>", filter: {data: {odd: [true]}}}]
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "deploy", dir); err != nil {
		t.Fatal(err)
	}
	conn, err := natsConnect(t, s.NATSAddr(), hansomtest.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	js := natsStream(t, conn)
	const count = 100
	for n := range count {
		text := fmt.Sprintf(`{"n":%d,"odd":%t,"fail":%t,"break":%t}`, n, n%2 == 1, n == 7, n == 50)
		if n%10 == 0 { // without JetStream's acknowledgement; the stream has it all the same
			err = conn.Publish("orders.new", []byte(text))
		} else {
			_, err = js.PublishMsg(t.Context(), &nats.Msg{Subject: "orders.new", Header: nats.Header{"Kind": {"a", "b"}}, Data: []byte(text)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both functions have what is theirs, and what failed comes again", func() bool {
		all, odd := times(told[natsBatch](t, s.API(), hansomtest.Credentials, "orders")), times(told[natsBatch](t, s.API(), hansomtest.Credentials, "shop-odd"))
		return len(all) == count && all[7] == 3 && all[50] == 2 && len(odd) == count/2
	})
	list := told[natsBatch](t, s.API(), hansomtest.Credentials, "orders")
	if len(list) > count/2 {
		t.Errorf("%d messages came in %d batches", count, len(list))
	}
	for _, b := range list {
		for i, r := range b.Records {
			sent, err := time.Parse(time.RFC3339Nano, r.Timestamp)
			if len(b.Records) > 20 || err != nil || time.Since(sent) > time.Hour || r.EventSource != "hansom:nats" || r.EventSourceARN != "arn:aws:nats:us-east-1:000000000000:orders.>" ||
				r.AWSRegion != "us-east-1" || r.Subject != "orders.new" || !strings.HasPrefix(r.Stream, "mapping-orders-") || r.Sequence != strconv.Itoa(b.Bodies[i].N+1) ||
				b.Bodies[i].N%10 > 0 && fmt.Sprint(r.Headers) != "map[Kind:[a b]]" {
				t.Fatalf("%+v", r)
			}
		}
	}
	for n := range times(told[natsBatch](t, s.API(), hansomtest.Credentials, "shop-odd")) {
		if n%2 == 0 {
			t.Errorf("the filter let %d through", n)
		}
	}
	name := list[0].Records[0].Stream
	eventually(t, "what all mappings have had leaves the stream", func() bool {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Msgs == 0
	})
	if err := cli(t, s, hansomtest.Credentials, nil, "rm", "--yes", "shop"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the consumer of a mapping goes with it", func() bool {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Consumers == 1
	})

	// A stream of the user's own keeps its messages.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AUDIT", Subjects: []string{"audit.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "audit.login", []byte(`{"n":1000}`)); err != nil {
		t.Fatal(err)
	}
	mapSubject(t, c, "orders", "audit.login", nil)
	eventually(t, "what was in the stream before is delivered", func() bool {
		return times(told[natsBatch](t, s.API(), hansomtest.Credentials, "orders"))[1000] == 1
	})
	if stream, err := js.Stream(t.Context(), "AUDIT"); err != nil || stream.CachedInfo().State.Msgs != 1 {
		t.Error(err)
	}
	for arn, want := range map[string]string{
		"arn:aws:nats:us-east-1:000000000000:a..b":                    "empty token",
		"arn:aws:nats:us-east-1:000000000000:$SYS.REQ.SERVER.PING":    "NATS's own",
		"arn:aws:nats:us-east-1:111111111111:orders.new":              "another project",
		"arn:aws:nats:eu-west-1:000000000000:orders.new":              "region",
		"arn:aws:nats:us-east-1:000000000000:*.new":                   "several streams|refuses",
		"arn:aws:nats:us-east-1:000000000000:orders.>":                "already exists",
		"arn:aws:kafka:us-east-1:000000000000:cluster/a/b-c-d/orders": "not supported",
	} {
		_, err := c.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{FunctionName: aws.String("orders"), EventSourceArn: &arn})
		ok := false
		for _, w := range strings.Split(want, "|") {
			ok = ok || err != nil && strings.Contains(err.Error(), w)
		}
		if status, _ := refusal(err); !ok || status < 400 || status >= 500 {
			t.Errorf("%s: %v", arn, err)
		}
	}
}

// Access keys open the account of their project, and nothing else.
func TestNATSAccounts(t *testing.T) {
	s := start(t, func(c *server.Config) { c.NATS = "127.0.0.1:0" })
	own, err := natsConnect(t, s.NATSAddr(), hansomtest.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]hansom.Credentials{
		"nobody":          {},
		"a wrong secret":  {AccessKeyID: "test", SecretAccessKey: "tesu"},
		"no secret":       {AccessKeyID: "test"},
		"an unknown key":  {AccessKeyID: "AKIAAAAAAAAAAAAAAAAA", SecretAccessKey: "test"},
		"the platform":    {AccessKeyID: "_hansom.", SecretAccessKey: ""},
		"the project's":   {AccessKeyID: "_hansom.000000000000", SecretAccessKey: "test"},
		"a wrong session": {AccessKeyID: "ASIAAAAAAAAAAAAAAAAA", SecretAccessKey: "test", SessionToken: "x"},
	} {
		if _, err := natsConnect(t, s.NATSAddr(), c); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var project struct{ ID string }
	var key struct{ AccessKeyID, SecretAccessKey string }
	if err := cli(t, s, hansomtest.Credentials, &project, "projects", "create", "acme"); err != nil {
		t.Fatal(err)
	}
	if err := cli(t, s, hansomtest.Credentials, &key, "keys", "create", "test", "--project", "acme"); err != nil {
		t.Fatal(err)
	}
	acme, err := natsConnect(t, s.NATSAddr(), hansom.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}, nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}

	// What one project publishes and keeps another one does not see.
	heard := map[string]*nats.Subscription{}
	for name, c := range map[string]*nats.Conn{"own": own, "acme": acme} {
		for _, subject := range []string{"news", ">"} {
			if heard[name+subject], err = c.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	js := natsStream(t, own)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NEWS", Subjects: []string{"news"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "news", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if m, err := heard["ownnews"].NextMsg(10 * time.Second); err != nil || string(m.Data) != "x" {
		t.Error(err)
	}
	if err := acme.Publish("mine", nil); err != nil {
		t.Fatal(err)
	}
	if m, err := heard["acme>"].NextMsg(10 * time.Second); err != nil || m.Subject != "mine" {
		t.Errorf("another project heard %v %v", m, err)
	}
	for name := range natsStream(t, acme).StreamNames(t.Context()).Name() {
		t.Errorf("another project sees the stream %s", name)
	}
	for name := range js.StreamNames(t.Context()).Name() {
		if name != "NEWS" {
			t.Errorf("a client sees the platform's stream %s", name)
		}
	}
	for _, subject := range []string{"$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.111111111111.CONNZ"} {
		if m, err := own.Request(subject, nil, 300*time.Millisecond); err == nil {
			t.Errorf("%s answers %.100s", subject, m.Data)
		}
	}

	// A key that is gone, and a project.
	if err := cli(t, s, hansomtest.Credentials, nil, "keys", "rm", "--yes", key.AccessKeyID, "--project", "acme"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection of a deleted key ends", acme.IsClosed)
	if !own.IsConnected() {
		t.Error("the connections of others end too")
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "projects", "rm", "--yes", "acme"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the streams of a deleted project are removed", func() bool {
		_, err := os.Stat(filepath.Join(s.Config.Data, "bus", "jetstream", project.ID))
		return errors.Is(err, os.ErrNotExist)
	})
}

// Without --nats a mapping of a subject is refused, with what to do.
func TestNATSOff(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "orders", python311, source(t, python311, natsHandler))
	_, err := c.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{FunctionName: aws.String("orders"),
		EventSourceArn: aws.String("arn:aws:nats:us-east-1:000000000000:orders")})
	if status, code := refusal(err); status != 400 || code != "InvalidParameterValueException" || !strings.Contains(err.Error(), "--nats") {
		t.Error(status, code, err)
	}
}

// natsForwards puts what it gets on a queue, by way of an API: lines of a log may be lost with the server.
const natsForwards = `
import base64, json, urllib.request

def handler(event, context):
    bodies = [json.loads(base64.b64decode(r['data']))['n'] for r in event['Records']]
    urllib.request.urlopen(urllib.request.Request('http://API.execute-api.localhost/seen', json.dumps(bodies).encode()))
`

// A server that is killed while clients publish loses nothing that it has acknowledged.
func TestNATSSurvivesKill(t *testing.T) {
	t.Parallel()
	if os.Getenv("HANSOM_DRIVER") == "process" {
		t.Skip("without a sandbox the function does not find the API by its name")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	p := serve(t, data, runDir, "--nats", addr)
	results := queues{queueClient(t, p.api, rootKey), t}.create("results", map[string]string{"VisibilityTimeout": "600"})
	apis := apisClient(t, p.api, rootKey)
	api, err := apis.CreateApi(t.Context(), &apigatewayv2.CreateApiInput{Name: aws.String("results"), ProtocolType: gw.ProtocolTypeHttp})
	if err != nil {
		t.Fatal(err)
	}
	integration, err := apis.CreateIntegration(t.Context(), &apigatewayv2.CreateIntegrationInput{ApiId: api.ApiId, IntegrationType: gw.IntegrationTypeAwsProxy, IntegrationSubtype: aws.String("SQS-SendMessage"),
		PayloadFormatVersion: aws.String("1.0"), RequestParameters: map[string]string{"QueueUrl": *results, "MessageBody": "$request.body"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apis.CreateRoute(t.Context(), &apigatewayv2.CreateRouteInput{ApiId: api.ApiId, RouteKey: aws.String("POST /seen"), Target: aws.String("integrations/" + *integration.IntegrationId)}); err != nil {
		t.Fatal(err)
	}
	if _, err := apis.CreateStage(t.Context(), &apigatewayv2.CreateStageInput{ApiId: api.ApiId, StageName: aws.String("$default"), AutoDeploy: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	c := client(t, p.api, rootKey)
	create(t, c, "orders", python311, source(t, python311, strings.Replace(natsForwards, "API", *api.ApiId, 1)), timeout(10))
	mapSubject(t, c, "orders", "orders", func(in *lambda.CreateEventSourceMappingInput) { in.BatchSize = aws.Int32(10) })
	conn, err := natsConnect(t, addr, rootKey, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	js := natsStream(t, conn)
	missing := map[int]bool{} // of what was acknowledged
	n := 0
	for range 3 {
		for end := n + 200; n < end; n++ {
			if _, err := js.Publish(t.Context(), "orders", fmt.Appendf(nil, `{"n":%d}`, n)); err != nil {
				t.Fatal(err)
			}
			missing[n] = true
		}
		killed := make(chan struct{})
		go func() { // in the middle of more of them
			p.kill()
			close(killed)
		}()
		for alive := true; alive; n++ {
			if _, err := js.Publish(t.Context(), "orders", fmt.Appendf(nil, `{"n":%d}`, n), jetstream.WithRetryAttempts(0)); err == nil {
				missing[n] = true
			}
			select {
			case <-killed:
				alive = false
			default:
			}
		}
		p = serve(t, data, runDir, "--nats", addr)
		eventually(t, "the client connects again", conn.IsConnected)
	}
	all := len(missing)
	q := queues{queueClient(t, p.api, rootKey), t}
	for end := time.Now().Add(90 * time.Second); len(missing) > 0; { // what was in hand when the server was killed comes again after 30 s
		if time.Now().After(end) {
			t.Fatalf("%d of %d messages that were acknowledged did not reach the function", len(missing), all)
		}
		for _, m := range q.receive(results, 10, 1) {
			var seen []int
			if err := json.Unmarshal([]byte(*m.Body), &seen); err != nil {
				t.Fatal(err)
			}
			for _, n := range seen {
				delete(missing, n)
			}
		}
	}
}

// natsBeside is a NATS server beside Hansom, with its streams in dir.
func natsBeside(t testing.TB, dir string, port int) *natsserver.Server {
	t.Helper()
	n, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, MaxPayload: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	if !n.ReadyForConnections(30 * time.Second) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() {
		n.Shutdown()
		n.WaitForShutdown()
	})
	return n
}

// The message log is on a NATS server beside Hansom, and outlives it. What NATS does not take is refused.
func TestExternalNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := natsBeside(t, filepath.Join(dir, "nats"), natsserver.RANDOM_PORT)
	addr := n.Addr().(*net.TCPAddr)
	run := func(name string) (*hansomtest.Server, *sqs.Client, *string) {
		t.Helper()
		s := start(t, func(c *server.Config) { c.Data, c.NATSURL = filepath.Join(dir, name), "nats://"+addr.String() })
		c := queueClient(t, s.API(), hansomtest.Credentials)
		q, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("jobs")})
		if err != nil {
			t.Fatal(err)
		}
		return s, c, q.QueueUrl
	}
	s, c, queue := run("one")
	for _, body := range []string{"a", "b"} {
		if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop(t)
	_, other, otherQueue := run("other")
	if got, err := other.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: otherQueue}); err != nil || len(got.Messages) > 0 {
		t.Errorf("another server has %v %v", got, err)
	}
	_, c, queue = run("one")
	seen := map[string]bool{}
	receive := func() {
		got, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: queue, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got.Messages {
			seen[*m.Body] = true
		}
	}
	eventually(t, "the messages are there after a restart", func() bool { receive(); return seen["a"] && seen["b"] })

	n.Shutdown()
	n.WaitForShutdown()
	send := func(body string) error {
		_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: queue, MessageBody: &body})
		return err
	}
	if status, _ := refusal(send("refused")); status < 500 {
		t.Errorf("without NATS: %d", status)
	}
	natsBeside(t, filepath.Join(dir, "nats"), addr.Port)
	eventually(t, "messages are accepted again", func() bool { return send("c") == nil })
	eventually(t, "and received", func() bool { receive(); return seen["c"] })
	if seen["refused"] {
		t.Error("a message that was refused was stored")
	}
}

// What is changed at one of two servers on one PostgreSQL is seen at the other: at once with a NATS in common, else soon.
func TestChangesOfOtherServers(t *testing.T) {
	for name, common := range map[string]bool{"with NATS": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			dir, database := t.TempDir(), dbtest.Postgres(t)
			t.Setenv("HANSOM_MASTER_KEY", strings.Repeat("07", 32))
			url := ""
			if common {
				url = "nats://" + natsBeside(t, filepath.Join(dir, "nats"), natsserver.RANDOM_PORT).Addr().String()
			}
			run := func(name string) *hansomtest.Server {
				return start(t, func(c *server.Config) { c.Data, c.DB, c.NATSURL = filepath.Join(dir, name), database, url })
			}
			one, other := run("one"), run("other")
			at, there := queueClient(t, one.API(), hansomtest.Credentials), queueClient(t, other.API(), hansomtest.Credentials)
			slowest := time.Duration(0)
			for n := range 5 {
				queue := "jobs-" + strconv.Itoa(n)
				if _, err := at.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &queue}); err != nil {
					t.Fatal(err)
				}
				made := time.Now()
				eventually(t, "the other server has the queue", func() bool {
					_, err := there.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &queue})
					return err == nil
				})
				slowest = max(slowest, time.Since(made))
			}
			t.Logf("within %s", slowest)
			if limit := 1500 * time.Millisecond; common && slowest > limit { // without NATS it is looked for every 2 s
				t.Errorf("it took %s", slowest)
			}
			var project struct{ ID string }
			var key struct{ AccessKeyID, SecretAccessKey string }
			if err := cli(t, one, hansomtest.Credentials, &project, "projects", "create", "acme"); err != nil {
				t.Fatal(err)
			}
			if err := cli(t, one, hansomtest.Credentials, &key, "keys", "create", "test", "--project", "acme"); err != nil {
				t.Fatal(err)
			}
			theirs := queueClient(t, other.API(), hansom.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey})
			eventually(t, "a key made at one server opens the other", func() bool {
				_, err := theirs.ListQueues(t.Context(), &sqs.ListQueuesInput{})
				return err == nil
			})
			c := client(t, one.API(), hansomtest.Credentials)
			for n := range 5 { // the other server has not their packages, and leaves them alone
				create(t, c, "f"+strconv.Itoa(n), python311, source(t, python311, "def handler(event, context): return 'ok'\n"))
			}
		})
	}
}
