package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// logHandler logs text and JSON; {"env": 1} asks for its credentials.
const logHandler = `
import json, os

def handler(event, context):
    print('hello ' + event['name'])
    print(json.dumps({'level': 'ERROR', 'n': 5, 'name': event['name']}))
    if 'env' in event:
        return [os.environ[name] for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')]
    return context.log_stream_name
`

// awsCLI runs Debian's awscli, which knows no AWS_ENDPOINT_URL.
func awsCLI(t *testing.T, s *hansomtest.Server, args ...string) (string, error) {
	t.Helper()
	return run(t, environment(s), t.TempDir(), append([]string{"/usr/bin/aws", "--endpoint-url", s.API(), "logs"}, args...)...)
}

func TestLogsAWSCLI(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/bin/aws"); err != nil {
		t.Fatal("no awscli: run scripts/setup.sh")
	}
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "x", python311, source(t, python311, logHandler))
	var stream string
	mustInvoke(t, c, "x", `{"name": "Ada"}`, &stream)
	mustInvoke(t, c, "x", `{"name": "Bob"}`, &stream)
	do := func(want, not string, args ...string) string {
		t.Helper()
		out, err := awsCLI(t, s, args...)
		if err != nil || !strings.Contains(out, want) || not != "" && strings.Contains(out, not) {
			t.Fatalf("aws logs %s: %v\n%s\nwant %q and not %q", strings.Join(args, " "), err, out, want, not)
		}
		return out
	}
	const group = "/aws/lambda/x"
	out := do("hello Ada", "", "tail", group)
	for _, want := range []string{"START RequestId: ", "REPORT RequestId: ", "hello Bob", "[$LATEST]"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Index(out, "hello Ada") > strings.Index(out, "hello Bob") || strings.Count(out, "hello Ada") != 1 {
		t.Errorf("not in order or not once:\n%s", out)
	}
	do("hello Bob", "", "tail", group, "--since", "5m")
	do("", "hello", "tail", group, "--since", time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05"))
	do("hello Bob", "Ada", "tail", group, "--filter-pattern", "hello Bob")
	do(`"name": "Ada"`, "hello", "tail", group, "--filter-pattern", `{ $.level = "ERR*" && $.n > 4 }`)
	do("hello Ada", "[$LATEST]", "tail", group, "--format", "short")
	do("    \"level\": \"ERROR\"", "", "tail", group, "--format", "json", "--filter-pattern", "ERROR")
	do("hello Ada", "", "tail", group, "--log-stream-name-prefix", time.Now().UTC().Format("2006/"))

	do("hello Ada", "Bob", "filter-log-events", "--log-group-name", group, "--filter-pattern", `"hello Ada"`)
	do(group, "", "describe-log-groups", "--log-group-name-prefix", "/aws/lambda", "--query", "logGroups[].logGroupName", "--output", "text")
	if got := strings.TrimSpace(do("", "", "describe-log-streams", "--log-group-name", group, "--query", "logStreams[].logStreamName", "--output", "text")); got != stream {
		t.Errorf("the streams are %q, the function's is %q", got, stream)
	}
	do("hello Bob", "", "get-log-events", "--log-group-name", group, "--log-stream-name", stream, "--limit", "100")
	do("", "", "put-retention-policy", "--log-group-name", group, "--retention-in-days", "7")
	do("7", "", "describe-log-groups", "--query", "logGroups[0].retentionInDays", "--output", "text")
	do("", "", "create-log-group", "--log-group-name", "/mine", "--tags", "team=blue")
	do(`"team": "blue"`, "", "list-tags-log-group", "--log-group-name", "/mine")
	do("", "", "create-log-stream", "--log-group-name", "/mine", "--log-stream-name", "s")
	do("nextSequenceToken", "", "put-log-events", "--log-group-name", "/mine", "--log-stream-name", "s", "--log-events", fmt.Sprintf("timestamp=%d,message=mine", time.Now().UnixMilli()))
	do("mine", "", "tail", "/mine")
	do("", "", "delete-log-group", "--log-group-name", "/mine")
	for want, args := range map[string][]string{
		"(ResourceNotFoundException) when calling the FilterLogEvents operation: The specified log group does not exist.": {"tail", "/mine"},
		"(InvalidParameterException) when calling the FilterLogEvents operation: Invalid filter pattern":                  {"tail", group, "--filter-pattern", "{ $.a"},
		"(InvalidOperationException) when calling the StartQuery operation: The operation StartQuery is not supported":    {"start-query", "--log-group-name", group, "--start-time", "1", "--end-time", "2", "--query-string", "fields @message"},
	} {
		if out, err := awsCLI(t, s, args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("aws logs %v: %v %s", args, err, out)
		}
	}
	s.Restart(t)
	do("hello Ada", "", "tail", group)
}

// TestLogsFollow: `aws logs tail --follow` shows what is there, and then what comes, each line once.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "x", python311, source(t, python311, logHandler))
	var stream string
	mustInvoke(t, c, "x", `{"name": "first"}`, &stream)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/aws", "--endpoint-url", s.API(), "logs", "tail", "/aws/lambda/x", "--follow", "--format", "short")
	cmd.Env = append(environment(s), "PYTHONUNBUFFERED=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	lines := bufio.NewScanner(out)
	until := func(end string) {
		t.Helper()
		for lines.Scan() {
			_, line, _ := strings.Cut(lines.Text(), " ")
			if seen[line]++; strings.Contains(line, end) {
				return
			}
		}
		t.Fatalf("%q did not come; there were %v", end, seen)
	}
	until(`"name": "first"`)
	for _, name := range []string{"second", "third"} {
		mustInvoke(t, c, "x", fmt.Sprintf(`{"name": %q}`, name), &stream)
		until(fmt.Sprintf(`"name": %q`, name))
	}
	cancel()
	for lines.Scan() {
	}
	_ = cmd.Wait() // it was killed
	for line, n := range seen {
		if n != 1 {
			t.Errorf("%q came %d times", line, n)
		}
	}
	for _, name := range []string{"first", "second", "third"} {
		if seen["hello "+name] != 1 {
			t.Errorf("hello %s came %d times", name, seen["hello "+name])
		}
	}
}

func TestLogsBoto3(t *testing.T) {
	t.Parallel()
	for _, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, nil)
			out, err := run(t, environment(s), "testdata", python.path, "boto3_logs.py")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

func logsClient(t *testing.T, api string, k hansom.Credentials) *cloudwatchlogs.Client {
	return cloudwatchlogs.New(cloudwatchlogs.Options{
		Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken),
	})
}

// TestLogsTenancy: projects do not see each other's groups, and a function's session may write logs and nothing else.
func TestLogsTenancy(t *testing.T) {
	s := start(t, nil)
	ctx := t.Context()
	var project struct{ ID string }
	var key struct{ AccessKeyID, SecretAccessKey string }
	for _, err := range []error{
		cli(t, s, hansomtest.Credentials, &project, "projects", "create", "blue"),
		cli(t, s, hansomtest.Credentials, &key, "keys", "create", "test", "--project", "blue"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	blue := hansom.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}
	mine, theirs := logsClient(t, s.API(), hansomtest.Credentials), logsClient(t, s.API(), blue)
	var env []string
	for _, k := range []hansom.Credentials{hansomtest.Credentials, blue} {
		c := client(t, s.API(), k)
		create(t, c, "x", python311, source(t, python311, logHandler))
		mustInvoke(t, c, "x", fmt.Sprintf(`{"name": %q, "env": 1}`, k.AccessKeyID), &env)
	}
	if _, err := mine.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/secret")}); err != nil {
		t.Fatal(err)
	}
	groups := func(c *cloudwatchlogs.Client) (names []string) {
		for p := cloudwatchlogs.NewDescribeLogGroupsPaginator(c, &cloudwatchlogs.DescribeLogGroupsInput{Limit: aws.Int32(1)}); p.HasMorePages(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range page.LogGroups {
				names = append(names, aws.ToString(g.LogGroupName))
			}
		}
		return names
	}
	if got := groups(mine); !slices.Equal(got, []string{"/aws/lambda/x", "/secret"}) {
		t.Errorf("groups of the default project: %v", got)
	}
	if got := groups(theirs); !slices.Equal(got, []string{"/aws/lambda/x"}) {
		t.Errorf("groups of the other project: %v", got)
	}
	found := 0
	for p := cloudwatchlogs.NewFilterLogEventsPaginator(theirs, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/x"), Limit: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			found++
			if strings.Contains(aws.ToString(e.Message), "hello test") {
				t.Errorf("a foreign line: %s", aws.ToString(e.Message))
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d lines", found)
	}
	_, err := theirs.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/secret")})
	refused(t, "a foreign group", err, 400, "ResourceNotFoundException", "The specified log group does not exist.")
	_, err = theirs.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupIdentifier: aws.String("arn:aws:logs:us-east-1:" + hansom.DefaultProject + ":log-group:/secret")})
	refused(t, "a foreign ARN", err, 400, "AccessDeniedException", "is not authorized to perform: logs:FilterLogEvents")

	session := logsClient(t, s.API(), hansom.Credentials{AccessKeyID: env[0], SecretAccessKey: env[1], SessionToken: env[2]})
	for _, err := range []error{
		second(session.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/own")})),
		second(session.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String("/own"), LogStreamName: aws.String("s")})),
		second(session.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("/own"), LogStreamName: aws.String("s"),
			LogEvents: []logtypes.InputLogEvent{{Timestamp: aws.Int64(time.Now().UnixMilli()), Message: aws.String("from inside")}}})),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	_, err = session.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	refused(t, "a function that reads logs", err, 400, "AccessDeniedException", "logs:DescribeLogGroups")
	if got := groups(mine); slices.Contains(got, "/own") {
		t.Errorf("a function of the other project made a group here: %v", got)
	}
	out, err := theirs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("/own"), LogStreamName: aws.String("s")})
	if err != nil || len(out.Events) != 1 || aws.ToString(out.Events[0].Message) != "from inside" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestLogsCustomGroup: functions that share a group are read together through AWS's API, and one by one through Hansom's.
func TestLogsCustomGroup(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	var stream string
	for _, name := range []string{"a", "b"} {
		create(t, c, name, python311, source(t, python311, logHandler), func(in *lambda.CreateFunctionInput) {
			in.LoggingConfig = &types.LoggingConfig{LogGroup: aws.String("/shared")}
		})
		mustInvoke(t, c, name, fmt.Sprintf(`{"name": %q}`, name), &stream)
	}
	out, err := logsClient(t, s.API(), hansomtest.Credentials).FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("/shared"), FilterPattern: aws.String("hello")})
	if err != nil || len(out.Events) != 2 || aws.ToString(out.Events[0].Message) != "hello a" || aws.ToString(out.Events[1].Message) != "hello b" {
		t.Errorf("%+v, %v", out, err)
	}
	if status, body := manage(t, s.API(), hansomtest.Credentials, "GET", "logs?function=b", ""); status != http.StatusOK || !strings.Contains(body, "hello b") || strings.Contains(body, "hello a") {
		t.Errorf("%d %s", status, body)
	}
}

func second[T any](_ T, err error) error { return err }
