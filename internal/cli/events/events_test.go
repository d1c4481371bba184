package events

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

// Each sample is what AWS's own types for it can hold, and nothing else; what they hold shows that the values are where AWS has them.
func TestSamples(t *testing.T) {
	type check struct {
		into any
		want func() bool
	}
	var (
		v2       events.APIGatewayV2HTTPRequest
		v1       events.APIGatewayProxyRequest
		url      events.APIGatewayV2HTTPRequest // the same format
		alb      events.ALBTargetGroupRequest
		s3       events.S3Event
		sqs      events.SQSEvent
		sns      events.SNSEvent
		schedule events.EventBridgeEvent
		bus      events.EventBridgeEvent
		dynamo   events.DynamoDBEvent
		kinesis  events.KinesisEvent
		cognito  events.CognitoEventUserPoolsPreSignup
	)
	checks := map[string]check{
		"apigw":       {&v2, func() bool { return v2.RequestContext.HTTP.Method == "GET" && v2.RawPath == "/hello" }},
		"apigw-v1":    {&v1, func() bool { return v1.HTTPMethod == "GET" && len(v1.MultiValueQueryStringParameters["tag"]) == 2 }},
		"url":         {&url, func() bool { return url.RequestContext.HTTP.Method == "POST" && url.Body != "" }},
		"alb":         {&alb, func() bool { return alb.RequestContext.ELB.TargetGroupArn != "" }},
		"s3":          {&s3, func() bool { return s3.Records[0].S3.Object.Key == "cats/tabby.jpg" }},
		"sqs":         {&sqs, func() bool { return sqs.Records[0].Body == `{"name":"Ada"}` }},
		"sns":         {&sns, func() bool { return sns.Records[0].SNS.Message == "Hello from SNS" }},
		"schedule":    {&schedule, func() bool { return schedule.DetailType == "Scheduled Event" && !schedule.Time.IsZero() }},
		"eventbridge": {&bus, func() bool { return bus.Source == "com.example.shop" }},
		"dynamodb":    {&dynamo, func() bool { return dynamo.Records[1].Change.OldImage["message"].String() == "new item" }},
		"kinesis":     {&kinesis, func() bool { return string(kinesis.Records[0].Kinesis.Data) == `{"name":"Ada"}` }},
		"cognito":     {&cognito, func() bool { return cognito.Request.UserAttributes["email"] != "" }},
	}
	files, err := os.ReadDir("samples")
	if err != nil || len(files) != len(Samples) || len(checks) != len(Samples) {
		t.Fatalf("%d files, %d checks, %d samples, %v", len(files), len(checks), len(Samples), err)
	}
	for _, name := range Names() {
		data, ok := Read(name)
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(checks[name].into); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !checks[name].want() {
			t.Errorf("%s: %+v", name, checks[name].into)
		}
	}
	if _, ok := Read("../events"); ok {
		t.Error("a name that is none was read")
	}
}

func TestSet(t *testing.T) {
	const event = `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["p",{"q":null}],"s":"text"}`
	for set, want := range map[string]string{
		"a.n=2":                     `{"a":{"b.c":1,"n":2,"s":"x"},"list":["p",{"q":null}],"s":"text"}`,
		`a.b\.c=true`:               `{"a":{"b.c":true,"n":12345678901234567890,"s":"x"},"list":["p",{"q":null}],"s":"text"}`,
		`s={"name":"Ada"}`:          `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["p",{"q":null}],"s":"{\"name\":\"Ada\"}"}`,
		"s=7":                       `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["p",{"q":null}],"s":"7"}`,
		"new.deep=[1,2]":            `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["p",{"q":null}],"new":{"deep":[1,2]},"s":"text"}`,
		"list.0=z":                  `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["z",{"q":null}],"s":"text"}`,
		"list.2=a=b":                `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["p",{"q":null},"a=b"],"s":"text"}`,
		"list.1.q.r=1 2":            `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":["p",{"q":{"r":"1 2"}}],"s":"text"}`,
		"list.3=x":                  `list.3: "3" is not an index of this list of 2; 2 adds to it`,
		"list.x=1":                  "is not an index of this list",
		"s.t=1":                     `"t" cannot be set in text`,
		"nothing":                   `"nothing" is not path=value`,
		"=x":                        `"=x" is not path=value`,
		"a=null":                    `{"a":null,"list":["p",{"q":null}],"s":"text"}`,
		"list=12345678901234567890": `{"a":{"b.c":1,"n":12345678901234567890,"s":"x"},"list":12345678901234567890,"s":"text"}`,
	} {
		got, err := Set([]byte(event), []string{set})
		if err != nil {
			got = []byte(err.Error())
		}
		if !strings.Contains(string(got), want) {
			t.Errorf("%s: %s", set, got)
		}
	}
}

// FuzzSet: whatever is set, the event stays JSON or there is an error.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"a.b=1", "list.0=x", `a\.b={}`, "...=", "list.9999999999999999999=1", "s.t=1"} {
		f.Add(`{"a":{},"list":[1],"s":""}`, s)
	}
	f.Fuzz(func(t *testing.T, event, set string) {
		if out, err := Set([]byte(event), []string{set}); err == nil && !json.Valid(out) {
			t.Errorf("%q in %q: %q", set, event, out)
		}
	})
}
