package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// TestPlatformEvents: what the platform does comes to the default bus, each kind of the catalogue in docs/reference/events.md.
func TestPlatformEvents(t *testing.T) {
	s := start(t, nil)
	c, r, q := client(t, s.API(), hansomtest.Credentials), rules{eventsClient(t, s.API(), hansomtest.Credentials), t}, queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	seen := q.create("seen", nil)
	r.rule("own", `{"source":["hansom"]}`, types.Target{Arn: aws.String(queueARN("seen"))})
	details := map[string]map[string]any{}
	expect := func(kind string) map[string]any {
		t.Helper()
		eventually(t, kind+" is announced", func() bool {
			for _, m := range q.receive(seen, 10, 1) {
				var e struct {
					Type   string `json:"detail-type"`
					Detail map[string]any
				}
				if err := json.Unmarshal([]byte(*m.Body), &e); err != nil {
					t.Fatal(err)
				}
				details[e.Type] = e.Detail
				q.delete(seen, m)
			}
			return details[kind] != nil
		})
		return details[kind]
	}

	dir := t.TempDir()
	manifest := "name: shop\nfunctions:\n  fails: {runtime: python3.11, code: ., handler: app.handler, async: {retries: 0}}\n"
	for name, text := range map[string]string{"hansom.yaml": manifest, "app.py": "def handler(event, context):\n    raise ValueError('no')\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "deploy", dir); err != nil {
		t.Fatal(err)
	}
	if d := expect("App Deployed"); d["app"] != "shop" || d["deployment"] != 1.0 {
		t.Error(d)
	}
	name := aws.String("shop-fails")
	if _, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: name, InvocationType: lambdatypes.InvocationTypeEvent}); err != nil {
		t.Fatal(err)
	}
	if d := expect("Invocation Failed"); d["function"] != "shop-fails" || d["condition"] != "RetriesExhausted" {
		t.Error(d)
	}
	if _, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: name, ReservedConcurrentExecutions: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: name}); err == nil {
		t.Error("a function without concurrency was invoked")
	}
	if d := expect("Function Throttled"); d["function"] != "shop-fails" {
		t.Error(d)
	}
	q.create("dead", nil)
	jobs := q.create("jobs", map[string]string{"VisibilityTimeout": "0", "RedrivePolicy": `{"deadLetterTargetArn":"` + queueARN("dead") + `","maxReceiveCount":"1"}`})
	q.send(jobs, "x")
	q.receive(jobs, 1, 5)
	q.receive(jobs, 1, 0)
	if d := expect("Message Dead-Lettered"); d["queue"] != "jobs" || d["deadLetterQueue"] != "dead" {
		t.Error(d)
	}
	r.rule("lost", `{"source":["shop"]}`, types.Target{Arn: aws.String(queueARN("none"))})
	r.put("shop", `{}`)
	if d := expect("Delivery Failed"); d["target"] != queueARN("none") {
		t.Error(d)
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "rm", "shop", "--yes"); err != nil {
		t.Fatal(err)
	}
	if d := expect("App Removed"); d["app"] != "shop" {
		t.Error(d)
	}
}
