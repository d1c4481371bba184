package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// TestDestinationsBoto3 runs the script with every boto3 there is, the first time on PostgreSQL.
func TestDestinationsBoto3(t *testing.T) {
	t.Parallel()
	for i, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			if out, err := run(t, environment(s), "testdata", python.path, "boto3_destinations.py"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// TestDeliveriesSurviveKill kills a server that has events for an API destination which is down: all of them arrive after the restart.
func TestDeliveriesSurviveKill(t *testing.T) {
	var up atomic.Bool
	var mu sync.Mutex
	arrived, refused := map[string]bool{}, 0
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if !up.Load() || r.Header.Get("X-Key") != "hush" {
			refused++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		arrived[string(text)] = true
	}))
	defer to.Close()
	dir := t.TempDir()
	data, runDir := filepath.Join(dir, "data"), filepath.Join(dir, "run")
	p := serve(t, data, runDir)
	c := rules{eventsClient(t, p.api, rootKey), t}
	connection, err := c.CreateConnection(t.Context(), &eventbridge.CreateConnectionInput{Name: aws.String("c"), AuthorizationType: types.ConnectionAuthorizationTypeApiKey,
		AuthParameters: &types.CreateConnectionAuthRequestParameters{ApiKeyAuthParameters: &types.CreateConnectionApiKeyAuthRequestParameters{ApiKeyName: aws.String("X-Key"), ApiKeyValue: aws.String("hush")}}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateApiDestination(t.Context(), &eventbridge.CreateApiDestinationInput{Name: aws.String("d"), ConnectionArn: connection.ConnectionArn, InvocationEndpoint: &to.URL, HttpMethod: types.ApiDestinationHttpMethodPost})
	if err != nil {
		t.Fatal(err)
	}
	c.rule("r", `{"source": ["shop"]}`, types.Target{Arn: made.ApiDestinationArn, InputPath: aws.String("$.detail.n")})
	const n = 50
	for i := range n {
		c.put("shop", fmt.Sprintf(`{"n": %d}`, i))
	}
	eventually(t, "attempts", func() bool { mu.Lock(); defer mu.Unlock(); return refused > 0 })
	p.kill()
	up.Store(true)
	p = serve(t, data, runDir)
	eventually(t, "all events after the restart", func() bool { mu.Lock(); defer mu.Unlock(); return len(arrived) == n })
	if _, text := get(t, http.DefaultClient, p.api+"/_hansom/metrics"); !strings.Contains(text, `hansom_deliveries{state="taken"}`) {
		t.Error(text)
	}
}

// TestBusAsDestination sends the results of asynchronous invocations to an event bus, whose rule brings them to a queue.
func TestBusAsDestination(t *testing.T) {
	s := start(t, nil)
	c, q, functions := rules{eventsClient(t, s.API(), hansomtest.Credentials), t}, queues{queueClient(t, s.API(), hansomtest.Credentials), t}, client(t, s.API(), hansomtest.Credentials)
	url := q.create("results", nil)
	c.rule("results", `{"source": ["lambda"], "detail-type": [{"prefix": "Lambda Function Invocation Result"}]}`, types.Target{Arn: aws.String("arn:aws:sqs:us-east-1:000000000000:results")})
	if _, err := functions.CreateFunction(t.Context(), request("f", lambdatypes.RuntimePython311, source(t, lambdatypes.RuntimePython311, "def handler(event, context):\n    return 1 / event\n"))); err != nil {
		t.Fatal(err)
	}
	bus := aws.String("arn:aws:events:us-east-1:000000000000:event-bus/default")
	if _, err := functions.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("f"), MaximumRetryAttempts: aws.Int32(0),
		DestinationConfig: &lambdatypes.DestinationConfig{OnSuccess: &lambdatypes.OnSuccess{Destination: bus}, OnFailure: &lambdatypes.OnFailure{Destination: bus}}}); err != nil {
		t.Fatal(err)
	}
	for payload, want := range map[string]string{"1": `"detail-type":"Lambda Function Invocation Result - Success"`, "0": `"detail-type":"Lambda Function Invocation Result - Failure"`} {
		if _, err := functions.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("f"), InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		var body string
		eventually(t, "a result", func() bool {
			for _, m := range q.receive(url, 1, 1) {
				body = *m.Body
				q.delete(url, m)
			}
			return body != ""
		})
		for _, text := range []string{want, `"source":"lambda"`, `"resources":["` + *bus + `","arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"]`, `"requestPayload":` + payload} {
			if !strings.Contains(body, text) {
				t.Errorf("no %s in %s", text, body)
			}
		}
	}
}
