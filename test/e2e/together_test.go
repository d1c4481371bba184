package e2e

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// publish makes a version of a layer and returns its ARN.
func publish(t testing.TB, c *lambda.Client, name string, files map[string]string) string {
	t.Helper()
	out, err := c.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: &name,
		Content: &types.LayerVersionContentInput{ZipFile: pack(t, files)}})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.LayerVersionArn)
}

func layers(arns ...string) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) { in.Layers = arns }
}

// logged is what a log group has.
func logged(t testing.TB, c *cloudwatchlogs.Client, group string) string {
	t.Helper()
	var messages []string
	for p := cloudwatchlogs.NewFilterLogEventsPaginator(c, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if _, code := refusal(err); code == "ResourceNotFoundException" { // nothing was written yet
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			messages = append(messages, aws.ToString(e.Message))
		}
	}
	return strings.Join(messages, "\n")
}

// An external extension in a layer goes through its life beside a managed and a custom runtime, however the instance ends, and what
// it and the platform say is in the function's log group.
func TestExtensionInLayer(t *testing.T) {
	text, err := os.ReadFile("../../internal/pool/testdata/extensions/telemetry.py")
	if err != nil {
		t.Fatal(err)
	}
	node := source(t, node22, `exports.handler = async () => { console.log('from the function') }`)
	for name, f := range map[string]struct {
		runtime     types.Runtime
		code        []byte
		event, line string
		logging     types.LoggingConfig
		idle        time.Duration
		end         func(*testing.T, *hansomtest.Server, *lambda.Client)
		said        []string // by the platform
	}{
		"idle": {node22, node, `{}`, "from the function", types.LoggingConfig{}, 300 * time.Millisecond, nil,
			[]string{"START RequestId: ", "EXTENSION\tName: agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]", "TELEMETRY\tName: agent\tState: Subscribed\t"}},
		"retired": {types.RuntimeProvidedal2023, lambdaGo(t), `{"action":"error"}`, "action error", types.LoggingConfig{}, time.Hour,
			func(t *testing.T, _ *hansomtest.Server, c *lambda.Client) {
				if _, err := c.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: aws.Int32(9)}); err != nil {
					t.Fatal(err)
				}
			}, []string{"START RequestId: ", "EXTENSION\tName: agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]"}},
		"stopped": {node22, node, `{}`, "from the function", types.LoggingConfig{LogFormat: types.LogFormatJson, LogGroup: aws.String("/own")}, time.Hour,
			func(t *testing.T, s *hansomtest.Server, _ *lambda.Client) { s.Restart(t) },
			[]string{`"type":"platform.start"`, `"type":"platform.extension","record":{"name":"agent","state":"Ready","events":["INVOKE","SHUTDOWN"]}}`,
				`"type":"platform.telemetrySubscription","record":{"name":"agent","state":"Subscribed",`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(c *server.Config) { c.Idle = f.idle })
			if isolated, _ := isolation(t, s); !isolated {
				t.Skip("without isolation an extension sees no SHUTDOWN")
			}
			c := client(t, s.API(), hansomtest.Credentials)
			create(t, c, "f", f.runtime, f.code, layers(publish(t, c, "agent", map[string]string{"extensions/agent": string(text)})), func(in *lambda.CreateFunctionInput) {
				in.LoggingConfig = &f.logging
			})
			if _, err := invoke(t.Context(), c, "f", f.event); err != nil {
				t.Fatal(err)
			}
			if f.end != nil {
				f.end(t, s, c)
			}
			logs := logsClient(t, s.API(), hansomtest.Credentials)
			var lines string
			eventually(t, "the extension is done", func() bool {
				lines = logged(t, logs, cmp.Or(aws.ToString(f.logging.LogGroup), "/aws/lambda/f"))
				return strings.HasSuffix(lines, "\nflushed")
			})
			for _, want := range slices.Concat(f.said, []string{`registered {"accountId": "000000000000", "functionName": "f"`, "event INVOKE ", f.line, "event SHUTDOWN spindown"}) {
				if strings.Count(lines, want) == 0 {
					t.Errorf("no %q", want)
				}
			}
			_, telemetry, _ := strings.Cut(lines, "event SHUTDOWN ")
			for _, kind := range []string{"platform.initReport", "platform.extension", "platform.start", "platform.runtimeDone", "platform.report", "function", "extension"} {
				if !strings.Contains(telemetry, fmt.Sprintf(`"type": %q}`, kind)) {
					t.Errorf("the extension received no %s", kind)
				}
			}
			if t.Failed() {
				t.Log(lines)
			}
		})
	}
}
