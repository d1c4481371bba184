package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// lambdaGo builds testdata/lambdago as the package of a provided.al2023 function.
func lambdaGo(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", out, "./testdata/lambdago")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, map[string]string{"bootstrap": string(program)})
}

// A function built with aws-lambda-go: results, errors and ends as Lambda reports them.
func TestLambdaGo(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "go", types.RuntimeProvidedal2023, lambdaGo(t), timeout(2), memory(256))
	arn := "arn:aws:lambda:us-east-1:000000000000:function:go"

	type echo struct {
		Text, ARN, ID, Name, Version string
		Calls, Memory                int
		Deadline                     bool
	}
	var first echo
	mustInvoke(t, c, "go", `{"action":"echo","text":"grüße"}`, &first)
	if want := (echo{Text: "grüße", ARN: arn, ID: first.ID, Name: "go", Version: "$LATEST", Calls: 1, Memory: 256, Deadline: true}); first != want || first.ID == "" {
		t.Errorf("%+v, want %+v", first, want)
	}
	for _, f := range []struct {
		action          string
		kind, text, log string
		lives           bool // the instance takes the next call
	}{
		{"error", "errorString", "it failed", "action error", true},
		{"typed", "OrderError", "order 7 is unknown", "", true},
		{"panic", "string", "it panicked", "", false},
		{"exit", "Runtime.ExitError", "Runtime exited with error: exit status 4", "action exit", false},
		{"sleep", "Sandbox.Timedout", "Task timed out after 2.00 seconds", "action sleep", false},
		{"large", "Function.ResponseSizeTooLarge", "", "", false},
		{"garbage", "", "HTTP/1.1 400 ", "", true},
		{"twice", "", `"first"`, "", false},
		{"hoard", "", "hoarded", "", true},
	} {
		a, err := invoke(t.Context(), c, "go", `{"action":"`+f.action+`"}`)
		if err != nil || a.errorType != f.kind || !strings.Contains(a.errorMessage+a.payload, f.text) || !strings.Contains(a.log, f.log) || !strings.Contains(a.log, "REPORT RequestId: ") {
			t.Errorf("%s: %v, %s\n%s\nwant %s %q", f.action, err, a.payload, a.log, f.kind, f.text)
		}
		if f.action == "panic" && !strings.Contains(a.payload, `"stackTrace":[{"path":`) {
			t.Errorf("a panic without its stack: %s", a.payload)
		}
		var next echo
		if mustInvoke(t, c, "go", `{"action":"echo"}`, &next); (next.Calls > 1) != f.lives && f.action != "large" {
			t.Errorf("after %s the instance answers its call %d", f.action, next.Calls)
		}
	}
	a, err := invoke(t.Context(), c, "go", `{"action":"bytes","text":"raw"}`)
	if err != nil || a.payload != "raw" {
		t.Errorf("an io.Reader as the answer: %v, %q", err, a.payload)
	}
	if a, err = invoke(t.Context(), c, "go", `[1]`); err != nil || a.errorType != "UnmarshalTypeError" {
		t.Errorf("an event of another type: %v, %+v", err, a)
	}
}

// streamed is what came of an InvokeWithResponseStream.
type streamed struct {
	chunks      []string
	times       []time.Time // when they came
	kind, error string
	log         string
}

func (s *streamed) text() string { return strings.Join(s.chunks, "") }

func invokeStream(t *testing.T, c *lambda.Client, name, event string) (s streamed) {
	t.Helper()
	out, err := c.InvokeWithResponseStream(t.Context(), &lambda.InvokeWithResponseStreamInput{FunctionName: &name, Payload: []byte(event), LogType: types.LogTypeTail})
	if err != nil {
		t.Fatal(event, err)
	}
	stream := out.GetStream()
	defer stream.Close()
	complete := false
	for e := range stream.Events() {
		switch e := e.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			s.chunks, s.times = append(s.chunks, string(e.Value.Payload)), append(s.times, time.Now())
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			complete = true
			s.kind, s.error, s.log = aws.ToString(e.Value.ErrorCode), aws.ToString(e.Value.ErrorDetails), aws.ToString(e.Value.LogResult)
		}
	}
	if err := stream.Err(); err != nil || !complete || s.log == "" {
		t.Errorf("%s %s: the stream ended with %v, completed: %v, log %q", name, event, err, complete, s.log)
	}
	return s
}

// madeAfter tells whether the end of text, Unix microseconds, is after at: what was received at at was sent before the rest was made.
func madeAfter(t *testing.T, text string, at time.Time) bool {
	t.Helper()
	made, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return made >= at.Truncate(time.Millisecond).UnixMicro() // JavaScript's clock has milliseconds
}

func TestInvokeWithResponseStream(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "go", types.RuntimeProvidedal2023, lambdaGo(t))
	create(t, c, "node", node22, source(t, node22, testdata(t, "streams.js")))
	create(t, c, "buffered", python311, source(t, python311, "def handler(event, context):\n    return {'fails': 1 / event['by']}\n"))

	for name, event := range map[string]string{"node": `{"action":"two"}`, "go": `{"action":"stream"}`} {
		r := invokeStream(t, c, name, event)
		before, made, found := strings.Cut(r.text(), "first\n")
		if !found || r.kind != "" || len(r.chunks) < 2 {
			t.Errorf("%s streams %q, %s %s", name, r.chunks, r.kind, r.error)
			continue
		}
		if i := slices.IndexFunc(r.chunks, func(c string) bool { return strings.HasSuffix(c, "first\n") }); i < 0 || !madeAfter(t, made, r.times[i]) {
			t.Errorf("%s: the first chunk came when the second was there already: %q", name, r.chunks)
		}
		prelude := `{"statusCode":201,"headers":{"X-A":"b"},"cookies":["k=v"]}` + strings.Repeat("\x00", 8)
		if name == "go" && before != prelude {
			t.Errorf("prelude %q, want %q", before, prelude)
		}
	}
	for _, f := range []struct{ name, event, text, kind, error string }{
		{"go", `{"action":"echo","text":"x"}`, `"text":"x"`, "", ""},
		{"go", `{"action":"error"}`, "", "Unhandled", `"errorType":"errorString"`},
		{"go", `{"action":"broken"}`, "first\n", "Unhandled", "it broke off"},
		{"node", `{"action":"throw"}`, "", "Unhandled", `"errorType":"TypeError"`},
		{"node", `{"action":"break"}`, "first\n", "Unhandled", `"errorMessage":"in the middle"`},
		{"node", `{"action":"exit"}`, "first\n", "Unhandled", "Runtime.ExitError"},
		{"buffered", `{"by":2}`, `{"fails": 0.5}`, "", ""},
		{"buffered", `{"by":0}`, "", "Unhandled", `"errorType": "ZeroDivisionError"`},
	} {
		r := invokeStream(t, c, f.name, f.event)
		if !strings.Contains(r.text(), f.text) || f.text == "" && r.text() != "" || r.kind != f.kind || !strings.Contains(r.error, f.error) {
			t.Errorf("%s %s: %q, %s %s; want %q, %s %s", f.name, f.event, r.chunks, r.kind, r.error, f.text, f.kind, f.error)
		}
	}

	var text string // the same function, buffered
	if mustInvoke(t, c, "node", `{"action":"body","body":"\"x\""}`, &text); text != "x" {
		t.Errorf("buffered answer %q", text)
	}
}

// A function URL in mode RESPONSE_STREAM, with AuthType AWS_IAM and requests signed by the SDK.
func TestStreamingFunctionURL(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "node", node22, source(t, node22, testdata(t, "streams.js")))
	create(t, c, "clock", python311, source(t, python311, "import time\n\ndef handler(event, context):\n    time.sleep(0.5)\n"))
	address, err := c.CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("node"),
		AuthType: types.FunctionUrlAuthTypeAwsIam, InvokeMode: types.InvokeModeResponseStream})
	if err != nil {
		t.Fatal(err)
	}
	b := browser(t, s.EdgeAddr())
	do := func(method, path, body, service string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, *address.FunctionUrl+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "identity") // compressed, all that is made fits into the buffers on the way
		if service != "" {
			err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, r, digest([]byte(body)), service, hansom.DefaultRegion, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	all := func(resp *http.Response) string {
		t.Helper()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}

	for what, service := range map[string]string{"no signature": "", "a signature for another service": "s3"} {
		if resp := do("GET", "two", "", service); resp.StatusCode != 403 || all(resp) != `{"Message":"Forbidden"}` {
			t.Errorf("with %s: %d", what, resp.StatusCode)
		}
	}

	resp := do("GET", "two?b=2&a=1", "", "lambda")
	if h := resp.Header; resp.StatusCode != 201 || h.Get("X-A") != "b" || h.Get("Set-Cookie") != "k=v" || h.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %v", resp.StatusCode, h)
	}
	in := bufio.NewReader(resp.Body)
	first, err := in.ReadString('\n')
	received := time.Now()
	rest, _ := io.ReadAll(in)
	if err != nil || first != "first\n" || !madeAfter(t, string(rest), received) {
		t.Errorf("%q at %v, then %q, %v: the first chunk came when the second was there already", first, received.UnixMicro(), rest, err)
	}

	var iam struct{ AccountID, AccessKey, UserARN string }
	if err := json.Unmarshal([]byte(all(do("GET", "who", "", "lambda"))), &iam); err != nil || iam.AccountID != "000000000000" || iam.AccessKey != "test" {
		t.Errorf("the function sees the caller %+v, %v", iam, err)
	}
	if body := all(do("POST", "body", "posted ✓", "lambda")); body != "posted ✓" {
		t.Errorf("body %q", body)
	}
	if resp := do("GET", "throw", "", "lambda"); resp.StatusCode != 502 || !strings.Contains(all(resp), "Internal Server Error") {
		t.Errorf("a failure before the first chunk: %d", resp.StatusCode)
	}
	resp = do("GET", "break", "", "lambda")
	if text, err := io.ReadAll(resp.Body); resp.StatusCode != 201 || string(text) != "first\n" || err == nil {
		t.Errorf("a failure in the middle: %d %q, %v; want the connection cut off", resp.StatusCode, text, err)
	}

	// A reader that stops for half a second holds back the function, which would be done with its 64 MB long before.
	resp = do("GET", "pour", "", "lambda")
	chunk := make([]byte, 1<<20)
	if _, err := io.ReadFull(resp.Body, chunk); err != nil {
		t.Fatal(err)
	}
	mustInvoke(t, c, "clock", "{}", new(any))
	resumed := time.Now()
	for range 63 {
		if _, err := io.ReadFull(resp.Body, chunk); err != nil {
			t.Fatal(err)
		}
	}
	if !madeAfter(t, strings.TrimSpace(string(chunk)), resumed) {
		t.Error("the last chunk was made while nobody read")
	}
	// One that goes away does not keep the function from its next call.
	resp = do("GET", "pour", "", "lambda")
	if _, err := io.ReadFull(resp.Body, chunk); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	eventually(t, "the abandoned invocation ends", func() bool { return busy(t, s.API()) == 0 })
	if body := all(do("POST", "body", "again", "lambda")); body != "again" {
		t.Errorf("body %q", body)
	}
}

// The SDK's waiters, each on what it is for and, where it can fail, on that.
func TestWaiters(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	ctx, name := t.Context(), aws.String("waited-for")
	const limit = 30 * time.Second
	code := func(text string) []byte {
		return source(t, python311, "def handler(event, context): return '"+text+"'")
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(what, err)
		}
	}
	if _, err := c.CreateFunction(ctx, request(*name, python311, code("one"))); err != nil {
		t.Fatal(err)
	}
	exists := lambda.NewFunctionExistsWaiter(c, func(o *lambda.FunctionExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	})
	must("exists", exists.Wait(ctx, &lambda.GetFunctionInput{FunctionName: name}, limit))
	must("active", lambda.NewFunctionActiveWaiter(c, func(o *lambda.FunctionActiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}).
		Wait(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name}, limit))
	waitActive(t, c, *name)
	_, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: code("two")})
	must("update", err)
	must("updated", lambda.NewFunctionUpdatedWaiter(c, func(o *lambda.FunctionUpdatedWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}).
		Wait(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name}, limit))
	waitUpdated(t, c, *name)
	version, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name})
	must("publish", err)
	must("published", lambda.NewPublishedVersionActiveWaiter(c, func(o *lambda.PublishedVersionActiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}).
		Wait(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name, Qualifier: version.Version}, limit))
	var is string
	if mustInvoke(t, c, *name+":"+*version.Version, "{}", &is); is != "two" {
		t.Errorf("version %s answers %s", *version.Version, is)
	}
	if err := exists.Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("missing")}, 20*time.Millisecond); err == nil {
		t.Error("a function that is not there exists, says the waiter")
	}
}

// The SDK's paginators: all there is, once, in pages of the size asked for, also while the list gets shorter.
func TestPaginators(t *testing.T) {
	t.Parallel()
	const n = 7
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	ctx := t.Context()
	code := func(i int) []byte {
		return source(t, python311, fmt.Sprintf("def handler(event, context): return %d", i))
	}
	for i := range n {
		create(t, c, fmt.Sprintf("f%d", i), python311, code(i))
	}
	f := aws.String("f0")
	want := map[string][]string{"functions": {"f0", "f1", "f2", "f3", "f4", "f5", "f6"}, "versions": {"$LATEST"}}
	for i := range n {
		if i > 0 {
			if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: f, ZipFile: code(n + i)}); err != nil {
				t.Fatal(err)
			}
			waitUpdated(t, c, *f)
		}
		v, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: f})
		if err != nil {
			t.Fatal(err)
		}
		want["versions"] = append(want["versions"], *v.Version)
		alias := fmt.Sprintf("a%d", i)
		if _, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: f, Name: &alias, FunctionVersion: v.Version}); err != nil {
			t.Fatal(err)
		}
		want["aliases"] = append(want["aliases"], alias)
		u, err := c.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: f, Qualifier: &alias, AuthType: types.FunctionUrlAuthTypeNone})
		if err != nil {
			t.Fatal(err)
		}
		want["urls"] = append(want["urls"], *u.FunctionUrl)
	}
	for what, pages := range map[string]func(size int32) (more func() bool, next func(ctx context.Context) ([]string, error)){
		"functions": func(size int32) (func() bool, func(ctx context.Context) ([]string, error)) {
			p := lambda.NewListFunctionsPaginator(c, &lambda.ListFunctionsInput{MaxItems: &size})
			return p.HasMorePages, func(ctx context.Context) (names []string, err error) {
				page, err := p.NextPage(ctx)
				if err == nil {
					for _, f := range page.Functions {
						names = append(names, *f.FunctionName)
					}
				}
				return names, err
			}
		},
		"versions": func(size int32) (func() bool, func(ctx context.Context) ([]string, error)) {
			p := lambda.NewListVersionsByFunctionPaginator(c, &lambda.ListVersionsByFunctionInput{FunctionName: f, MaxItems: &size})
			return p.HasMorePages, func(ctx context.Context) (names []string, err error) {
				page, err := p.NextPage(ctx)
				if err == nil {
					for _, v := range page.Versions {
						names = append(names, *v.Version)
					}
				}
				return names, err
			}
		},
		"aliases": func(size int32) (func() bool, func(ctx context.Context) ([]string, error)) {
			p := lambda.NewListAliasesPaginator(c, &lambda.ListAliasesInput{FunctionName: f, MaxItems: &size})
			return p.HasMorePages, func(ctx context.Context) (names []string, err error) {
				page, err := p.NextPage(ctx)
				if err == nil {
					for _, a := range page.Aliases {
						names = append(names, *a.Name)
					}
				}
				return names, err
			}
		},
		"urls": func(size int32) (func() bool, func(ctx context.Context) ([]string, error)) {
			p := lambda.NewListFunctionUrlConfigsPaginator(c, &lambda.ListFunctionUrlConfigsInput{FunctionName: f, MaxItems: &size})
			return p.HasMorePages, func(ctx context.Context) (names []string, err error) {
				page, err := p.NextPage(ctx)
				if err == nil {
					for _, u := range page.FunctionUrlConfigs {
						names = append(names, *u.FunctionUrl)
					}
				}
				return names, err
			}
		},
	} {
		for _, size := range []int32{1, 3, n, 50} {
			more, next := pages(size)
			var got []string
			for more() {
				page, err := next(ctx)
				if err != nil {
					t.Fatal(what, size, err)
				}
				if len(page) > int(size) {
					t.Errorf("%s: a page of %d, asked for %d", what, len(page), size)
				}
				got = append(got, page...)
			}
			if !slices.Equal(got, want[what]) {
				t.Errorf("%s in pages of %d: %v, want %v", what, size, got, want[what])
			}
		}
	}

	p := lambda.NewListFunctionsPaginator(c, &lambda.ListFunctionsInput{MaxItems: aws.Int32(3)})
	var got []string
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Functions {
			got = append(got, *f.FunctionName)
		}
		if page.NextMarker != nil && len(got) == 3 { // the one the marker may stand on, and one of the next page
			for _, name := range []string{"f2", "f4"} {
				if _, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if want := []string{"f0", "f1", "f2", "f3", "f5", "f6"}; !slices.Equal(got, want) {
		t.Errorf("functions, two of which were deleted meanwhile: %v, want %v", got, want)
	}
	for _, marker := range []string{"x", "f1", "=====", strings.Repeat("A", 5000)} {
		_, err := c.ListFunctions(ctx, &lambda.ListFunctionsInput{Marker: &marker})
		refused(t, fmt.Sprintf("marker %.20q", marker), err, 400, "InvalidParameterValueException", "")
	}
	for _, items := range []int32{0, -1, 10001} {
		_, err := c.ListFunctions(ctx, &lambda.ListFunctionsInput{MaxItems: &items})
		refused(t, fmt.Sprintf("%d items", items), err, 400, "ValidationException", "")
	}
}

// Nothing of a server goes on when it has stopped.
func TestStopLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "node", node22, source(t, node22, "exports.handler = async () => 'x'"))
	mustInvoke(t, c, "node", "{}", new(string))
	s.Restart(t)
	c = client(t, s.API(), hansomtest.Credentials)
	mustInvoke(t, c, "node", "{}", new(string))
	s.Stop(t)
	c.Options().HTTPClient.(*http.Client).CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

func TestRelativeRunDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	s := start(t, func(c *server.Config) { c.RunDir = "run" })
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "node", node22, source(t, node22, "exports.handler = async () => 'x'"))
	mustInvoke(t, c, "node", "{}", new(string))
}
