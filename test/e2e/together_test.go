package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom"
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
		if _, code := refusal(err); code == "ResourceNotFoundException" || errors.Is(err, net.ErrClosed) { // nothing was written yet, or the client lost its connection
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
	t.Parallel()
	text, err := os.ReadFile("../../internal/pool/testdata/extensions/telemetry.py")
	if err != nil {
		t.Fatal(err)
	}
	node := source(t, node22, `exports.handler = async () => { console.log('from the function') }`)
	timeout := int32(9)
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
				timeout++
				if _, err := c.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: &timeout}); err != nil {
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
			var lines string
			defer func() {
				if t.Failed() {
					t.Log(lines)
				}
			}()
			// What the extension received, and what the log has of the instance.
			wanted := slices.Concat(f.said, []string{`registered {"accountId": "000000000000", "functionName": "f"`, "event INVOKE ", f.line, "event SHUTDOWN spindown", "\nflushed"})
			for _, kind := range []string{"platform.initReport", "platform.extension", "platform.start", "platform.runtimeDone", "platform.report", "function", "extension"} {
				wanted = append(wanted, fmt.Sprintf(`"type": %q}`, kind))
			}
			missing := func(want string) bool { return !strings.Contains(lines, want) }
			defer func() {
				if t.Failed() {
					t.Logf("missing: %q", slices.DeleteFunc(wanted, func(want string) bool { return !missing(want) }))
				}
			}()
			var again time.Time
			eventually(t, "the extension is done", func() bool {
				if time.Now().After(again) { // a machine under load may not give it its turn within the two seconds of SHUTDOWN
					if _, err := invoke(t.Context(), client(t, s.API(), hansomtest.Credentials), "f", f.event); err != nil {
						t.Fatal(err)
					}
					if f.end != nil {
						f.end(t, s, c)
					}
					again = time.Now().Add(8 * time.Second)
				}
				logs := logsClient(t, s.API(), hansomtest.Credentials)
				lines = logged(t, logs, cmp.Or(aws.ToString(f.logging.LogGroup), "/aws/lambda/f"))
				return !slices.ContainsFunc(wanted, missing)
			})
		})
	}
}

// Functions use the AWS SDKs of layers that the program made, on the server that runs them, and nobody configures anything.
func TestSDKInLayer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if isolated, _ := isolation(t, s); !isolated {
		t.Skip("without isolation layers are not at /opt")
	}
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "callee", python311, source(t, python311, "def handler(event, context): return event['n'] + 1\n"))
	for name, f := range map[string]struct {
		add     []string
		runtime types.Runtime
		from    string // where the function finds it
		code    string
	}{
		"boto3": {[]string{"boto3"}, python311, "/opt/python", `
import boto3, json
sts, functions = boto3.client('sts'), boto3.client('lambda')
def handler(event, context):
    answer = functions.invoke(FunctionName='callee', Payload=json.dumps({'n': event['n']}))
    return [boto3.__file__.split('/boto3/')[0], sts.get_caller_identity()['Arn'], json.load(answer['Payload'])]
`},
		"aws-sdk": {[]string{"aws-sdk", "client-sts", "client-lambda"}, node22, "/opt/nodejs", `
const { STS } = require('@aws-sdk/client-sts'), { Lambda } = require('@aws-sdk/client-lambda');
const sts = new STS(), functions = new Lambda();
exports.handler = async (event) => {
  const answer = await functions.invoke({ FunctionName: 'callee', Payload: JSON.stringify({ n: event.n }) });
  return [require.resolve('@aws-sdk/client-sts').split('/node_modules/')[0], (await sts.getCallerIdentity()).Arn, JSON.parse(answer.Payload.transformToString())];
}`},
	} {
		t.Run(name, func(t *testing.T) {
			var layer struct{ ARN string }
			if name == "aws-sdk" && exec.Command("npm", "ping").Run() != nil {
				t.Skip("there is no npm, or its registry does not answer")
			}
			if err := cli(t, s, hansomtest.Credentials, &layer, append([]string{"layers", "add"}, f.add...)...); err != nil {
				t.Fatal(err)
			}
			create(t, c, name, f.runtime, source(t, f.runtime, f.code), layers(layer.ARN), memory(256))
			var got []any
			mustInvoke(t, c, name, `{"n": 41}`, &got)
			if want := []any{f.from, "arn:aws:sts::000000000000:assumed-role/e2e/" + name, 42.0}; !reflect.DeepEqual(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// Managed runtimes take libraries from where a layer has them for their language, and start through a wrapper of the layer.
func TestLanguagesInLayer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if isolated, _ := isolation(t, s); !isolated {
		t.Skip("without isolation layers are not at /opt")
	}
	c := client(t, s.API(), hansomtest.Credentials)
	wrap := publish(t, c, "wrap", map[string]string{"wrap": "#!/bin/bash\nexport WRAPPED=$(command -v tool)\nexec \"$@\"\n", "bin/tool": "#!/bin/sh\n"})
	app, library := javaClasses(t)
	for _, f := range []struct {
		family        string
		runtime       types.Runtime
		files, layer  map[string]string
		handler, want string
	}{
		{"nodejs", node22, map[string]string{"app.js": "exports.handler = async () => [process.env.WRAPPED, require('lib').value, require('newer').value]"},
			map[string]string{"nodejs/node_modules/lib/index.js": "exports.value = 1", "nodejs/node22/node_modules/newer/index.js": "exports.value = 2"}, "app.handler", `["/opt/bin/tool",1,2]`},
		{"python", python311, map[string]string{"app.py": "import os, lib, newer\ndef handler(event, context): return [os.environ['WRAPPED'], lib.value, newer.value]\n"},
			map[string]string{"python/lib.py": "value = 1", "python/lib/python3.11/site-packages/newer.py": "value = 2"}, "app.handler", `["/opt/bin/tool", 1, 2]`},
		{"ruby", types.RuntimeRuby33, map[string]string{"app.rb": "require 'lib'\nrequire 'gemmed'\ndef handler(event:, context:) = [ENV['WRAPPED'], LIB, GEMMED]\n"}, map[string]string{
			"ruby/lib/lib.rb": "LIB = 1", "ruby/gems/3.3.0/gems/gemmed-1.0.0/lib/gemmed.rb": "GEMMED = 2",
			"ruby/gems/3.3.0/specifications/gemmed-1.0.0.gemspec": "Gem::Specification.new { |s| s.name, s.version, s.summary, s.authors = 'gemmed', '1.0.0', 's', ['a'] }\n",
		}, "app.handler", `["/opt/bin/tool",1,2]`},
		{"java", types.RuntimeJava17, app, map[string]string{"java/lib/lib.jar": library}, "app.App::run", `["/opt/bin/tool",1]`},
	} {
		t.Run(f.family, func(t *testing.T) {
			hosted(t, s, f.family)
			if f.files == nil {
				t.Skip("compiling the function needs a JDK: run scripts/setup.sh")
			}
			create(t, c, f.family, f.runtime, pack(t, f.files), layers(publish(t, c, f.family, f.layer), wrap), memory(256), variables(map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}),
				func(in *lambda.CreateFunctionInput) { in.Handler = &f.handler })
			if a, err := invoke(t.Context(), c, f.family, "{}"); err != nil || a.payload != f.want {
				t.Errorf("%v %s, want %s\n%s", err, a.payload, f.want, a.log)
			}
		})
	}
}

// javaClasses are the files of a function and the jar of a library that it needs; nothing without a JDK.
func javaClasses(t *testing.T) (app map[string]string, library string) {
	t.Helper()
	if _, err := exec.LookPath("javac"); err != nil {
		return nil, ""
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"App.java": `package app;
public class App {
    public java.util.List<Object> run(Object event) { return java.util.List.of(System.getenv("WRAPPED"), lib.Lib.value()); }
}`,
		"Lib.java": "package lib;\npublic class Lib { public static int value() { return 1; } }",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(t, os.Environ(), dir, "javac", "--release", "11", "-d", ".", "App.java", "Lib.java"); err != nil {
		t.Fatal(err, out)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return map[string]string{"app/App.class": read("app/App.class")}, string(pack(t, map[string]string{"lib/Lib.class": read("lib/Lib.class")}))
}

// A program that serves HTTP with a library of a layer answers at an alias with weights: calls, streams, events and web requests reach
// both versions, and what these print is in the group that the function names.
func TestHTTPBehindAlias(t *testing.T) {
	s := start(t, nil)
	c, logs := client(t, s.API(), hansomtest.Credentials), logsClient(t, s.API(), hansomtest.Credentials)
	ctx, name := t.Context(), aws.String("web")
	code := func(version string) []byte {
		return pack(t, map[string]string{"run.sh": "#!/bin/sh\nexec node server.js\n", "server.js": `
const lib = require('lib');
require('http').createServer((req, res) => {
  let body = '';
  req.on('data', (d) => body += d);
  req.on('end', () => {
    console.log(['served', req.headers['x-amzn-requestid'], req.method, req.url, req.headers['ce-source'], body].join(' '));
    res.write('` + version + ` ');
    setImmediate(() => res.end(lib.name));
  });
}).listen(process.env.PORT);`})
	}
	create(t, c, *name, hansom.RuntimeHTTP, code("one"), layers(publish(t, c, "lib", map[string]string{
		"nodejs/node_modules/lib/index.js": "exports.name = 'from the layer'", "extensions/idle": "#!/bin/sh\nexec sleep 1000\n"})), func(in *lambda.CreateFunctionInput) {
		in.Handler, in.Publish, in.Timeout = aws.String("run.sh"), true, aws.Int32(60) // an event that timed out would come again after a minute
		in.LoggingConfig = &types.LoggingConfig{LogGroup: aws.String("/web"), LogFormat: types.LogFormatJson}
	})
	if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: code("two"), Publish: true}); err != nil {
		t.Fatal(err)
	}
	waitUpdated(t, c, *name)
	if _, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: name, Name: aws.String("live"), FunctionVersion: aws.String("1"),
		RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.5}}}); err != nil {
		t.Fatal(err)
	}
	url, err := c.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: name, Qualifier: aws.String("live"), AuthType: types.FunctionUrlAuthTypeNone})
	if err != nil {
		t.Fatal(err)
	}
	web := browser(t, s.EdgeAddr())
	for what, call := range map[string]func() string{
		"call": func() string {
			a, err := invoke(ctx, c, "web:live", `"called"`)
			if err != nil {
				t.Fatal(err)
			}
			return a.payload
		},
		"stream": func() string { r := invokeStream(t, c, "web:live", `"streamed"`); return r.text() },
		"web request": func() string {
			_, body := get(t, web, aws.ToString(url.FunctionUrl)+"path")
			return body
		},
	} {
		seen := map[string]bool{}
		for range 40 {
			seen[call()] = true
		}
		if !reflect.DeepEqual(seen, map[string]bool{"one from the layer": true, "two from the layer": true}) {
			t.Errorf("40 times the same %s: %v", what, seen)
		}
	}
	var events []string // their request ids
	want := []string{`POST / arn:aws:lambda:us-east-1:000000000000:function:web:live "called"`, `POST / arn:aws:lambda:us-east-1:000000000000:function:web:live "streamed"`, "GET /path",
		`"platform.warning","record":"the extensions in /opt/extensions are not started`}
	for n := range 20 {
		out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Qualifier: aws.String("live"), InvocationType: types.InvocationTypeEvent, Payload: fmt.Append(nil, n)})
		if err != nil || out.StatusCode != http.StatusAccepted {
			t.Fatal(out, err)
		}
		id, _ := middleware.GetRequestIDMetadata(out.ResultMetadata)
		events = append(events, id)
		want = append(want, fmt.Sprintf("served %s POST / arn:aws:lambda:us-east-1:000000000000:function:web:live %d", id, n))
	}
	var lines string
	defer func() {
		if len(want) > 0 {
			t.Logf("%q is not in\n%s", want, lines)
		}
	}()
	eventually(t, "all that was asked is in the group", func() bool {
		lines = logged(t, logs, "/web")
		want = slices.DeleteFunc(want, func(w string) bool { return strings.Contains(lines, w) })
		return len(want) == 0
	})
	for _, version := range []string{"1", "2"} {
		if !slices.ContainsFunc(events, func(id string) bool {
			return strings.Contains(lines, fmt.Sprintf(`"platform.start","record":{"requestId":%q,"version":%q}`, id, version))
		}) {
			t.Errorf("none of %d events reached version %s", len(events), version)
		}
	}
	if got := logged(t, logs, "/aws/lambda/web"); got != "" {
		t.Errorf("lines in a group that the function did not name: %s", got)
	}
}
