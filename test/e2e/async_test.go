package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

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
	if n := strings.Count(lines, `event 0 of `); n != 1 {
		t.Errorf("the first event ran %d times\n%s", n, lines)
	}
}
