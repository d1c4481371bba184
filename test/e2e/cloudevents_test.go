package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// A CloudEvent for a bus reaches, by a rule, a function that serves HTTP as the event that it was; the same again does not, one with its id of another source does.
func TestCloudEvents(t *testing.T) {
	t.Parallel()
	w := serveWeb(t, "process")
	r, q := rules{eventsClient(t, w.API(), hansomtest.Credentials), t}, queues{queueClient(t, w.API(), hansomtest.Credentials), t}
	queue := q.create("results", nil)
	if _, err := w.lambda.PutFunctionEventInvokeConfig(t.Context(), &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("web"),
		DestinationConfig: &lambdatypes.DestinationConfig{OnSuccess: &lambdatypes.OnSuccess{Destination: aws.String(queueARN("results"))}}}); err != nil {
		t.Fatal(err)
	}
	r.rule("orders", `{"cloudevent":{"subject":[{"prefix":"orders/"}]}}`, types.Target{Arn: aws.String("arn:aws:lambda:us-east-1:000000000000:function:web")})
	post := func(source string) {
		t.Helper()
		request := signed(t, hansomtest.Credentials, "hansom", "POST", w.API()+"/_hansom/v1/buses/default/events", `{"text":"hé"}`)
		for name, value := range map[string]string{"specversion": "1.0", "id": "1", "source": source, "type": "order placed", "subject": "orders/7%25", "attempt": "2"} {
			request.Header.Set("ce-"+name, value)
		}
		request.Header.Set("Content-Type", "application/json")
		if status, answer := send(t, http.DefaultClient, request); status != http.StatusAccepted {
			t.Fatal(status, answer)
		}
	}
	for _, source := range []string{"shop", "shop", "other"} {
		post(source)
	}
	got := map[string]map[string]string{}
	list := q.receive(queue, 2, 20)
	if len(list) == 1 {
		list = append(list, q.receive(queue, 1, 20)...)
	}
	for _, m := range list {
		var record struct {
			ResponsePayload struct {
				Event   struct{ Text string }
				Headers map[string]string
			}
		}
		if err := json.Unmarshal([]byte(*m.Body), &record); err != nil || record.ResponsePayload.Event.Text != "hé" {
			t.Fatalf("%s: %v", *m.Body, err)
		}
		h := record.ResponsePayload.Headers
		got[h["ce-source"]] = h
	}
	if len(got) != 2 || got["other"] == nil {
		t.Fatalf("%v", got)
	}
	for name, want := range map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-type": "order placed", "ce-subject": "orders/7%25", "ce-attempt": "2",
		"ce-awsaccount": "000000000000", "ce-awsregion": "us-east-1", "content-type": "application/json"} {
		if h := got["shop"][name]; h != want {
			t.Errorf("%s: %q, want %q", name, h, want)
		}
	}
	if more := q.receive(queue, 1, 1); len(more) != 0 {
		t.Errorf("more came: %s", *more[0].Body)
	}
}

// TestCloudEventsCurl sends each content mode with curl, which signs by itself.
func TestCloudEventsCurl(t *testing.T) {
	s := hansomtest.Start(t, nil)
	r, q := rules{eventsClient(t, s.API(), hansomtest.Credentials), t}, queues{queueClient(t, s.API(), hansomtest.Credentials), t}
	queue := q.create("seen", nil)
	r.rule("all", `{"source":["/shop"]}`, types.Target{Arn: aws.String(queueARN("seen")), InputPath: aws.String("$.id")})
	post := func(want, body string, headers ...string) {
		t.Helper()
		command := []string{"curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--aws-sigv4", "aws:amz:us-east-1:hansom",
			"--user", hansomtest.Credentials.AccessKeyID + ":" + hansomtest.Credentials.SecretAccessKey, "-d", body, s.API() + "/_hansom/v1/buses/default/events"}
		for _, h := range headers {
			command = append(command, "-H", h)
		}
		if out, err := run(t, nil, t.TempDir(), command...); err != nil || out != want {
			t.Fatalf("%s %v: %s %v", body, headers, out, err)
		}
	}
	structured := func(id string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/shop","type":"paid","data":{"n":1}}`
	}
	post("202", `{"n":1}`, "ce-specversion: 1.0", "ce-id: binary", "ce-source: /shop", "ce-type: paid", "Content-Type: application/json")
	post("202", structured("structured"), "Content-Type: application/cloudevents+json")
	post("202", "["+structured("first")+","+structured("second")+"]", "Content-Type: application/cloudevents-batch+json")
	post("400", "["+structured("third")+`,{"specversion":"1.0"}]`, "Content-Type: application/cloudevents-batch+json")
	post("415", "x", "Content-Type: text/csv")
	got := map[string]bool{}
	eventually(t, "all events have come", func() bool {
		for _, m := range q.receive(queue, 10, 1) {
			got[*m.Body] = true
			q.delete(queue, m)
		}
		return len(got) >= 4
	})
	if want := map[string]bool{`"binary"`: true, `"structured"`: true, `"first"`: true, `"second"`: true}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
