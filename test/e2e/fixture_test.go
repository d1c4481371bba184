package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

const (
	role      = "arn:aws:iam::000000000000:role/e2e"
	node22    = types.RuntimeNodejs22x
	python311 = types.RuntimePython311
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		removeBinary()
		os.Exit(code)
	}))
}

// start runs a server with the driver that HANSOM_DRIVER names, else with the best one that works here. HANSOM_BLANKS=0 and
// HANSOM_ZYGOTES=false let interpreters boot; with HANSOM_BLANKS=ready each function that create makes finds a blank.
func start(t testing.TB, change func(*server.Config)) *hansomtest.Server {
	t.Helper()
	return hansomtest.Start(t, func(c *server.Config) {
		if driver := os.Getenv("HANSOM_DRIVER"); driver != "" {
			c.Driver = driver
		}
		if os.Getenv("HANSOM_BLANKS") == "0" {
			c.Blanks = 0
		}
		c.Zygotes = os.Getenv("HANSOM_ZYGOTES") != "false"
		if change != nil {
			change(c)
		}
	})
}

// isolation tells whether functions of the server run in sandboxes of their own, and whether their memory is limited.
func isolation(t testing.TB, s *hansomtest.Server) (isolated, limited bool) {
	t.Helper()
	status, body := manage(t, s.API(), hansomtest.Credentials, "GET", "info", "")
	var info struct {
		Driver string
		Checks []struct{ Status, Detail string }
	}
	if err := json.Unmarshal([]byte(body), &info); err != nil || status != http.StatusOK {
		t.Fatal(status, body, err)
	}
	isolated = info.Driver == "linux"
	limited = isolated
	for _, c := range info.Checks {
		limited = limited && (c.Status == "ok" || !strings.Contains(c.Detail, "memory"))
	}
	return isolated, limited
}

// client is an unmodified aws-sdk-go-v2, but for its retries, which would hide errors.
func client(t testing.TB, api string, c hansom.Credentials) *lambda.Client {
	return lambda.New(lambda.Options{
		Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// pack makes a zip of executable files.
func pack(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		add(t, z, name, 0o755, files[name])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func add(t testing.TB, z *zip.Writer, name string, mode fs.FileMode, content string) {
	t.Helper()
	h := &zip.FileHeader{Name: name, Method: zip.Store} // deflating takes seconds under the race detector
	h.SetMode(mode)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// source packs one source file as what the handler app.handler of the runtime is in.
func source(t testing.TB, runtime types.Runtime, text string) []byte {
	t.Helper()
	name := "app.js"
	if strings.HasPrefix(string(runtime), "python") {
		name = "app.py"
	}
	return pack(t, map[string]string{name: text})
}

// testdata reads a file of the folder of that name.
func testdata(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// request to create a function whose handler is app.handler.
func request(name string, runtime types.Runtime, code []byte, change ...func(*lambda.CreateFunctionInput)) *lambda.CreateFunctionInput {
	in := &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: runtime, Handler: aws.String("app.handler"), Role: aws.String(role),
		Timeout: aws.Int32(60), Code: &types.FunctionCode{ZipFile: code},
	}
	for _, f := range change {
		f(in)
	}
	return in
}

func timeout(seconds int32) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) { in.Timeout = &seconds }
}

func memory(megabytes int32) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) { in.MemorySize = &megabytes }
}

// create makes a function and waits until it is active.
func create(t testing.TB, c *lambda.Client, name string, runtime types.Runtime, code []byte, change ...func(*lambda.CreateFunctionInput)) {
	t.Helper()
	if _, err := c.CreateFunction(t.Context(), request(name, runtime, code, change...)); err != nil {
		t.Fatal(err)
	}
	waitActive(t, c, name)
	if os.Getenv("HANSOM_BLANKS") != "ready" {
		return
	}
	state := func(name string) string {
		_, text := get(t, http.DefaultClient, aws.ToString(c.Options().BaseEndpoint)+"/_hansom/metrics")
		_, value, _ := strings.Cut(text, "\nhansom_blanks{state=\""+name+"\"} ")
		value, _, _ = strings.Cut(value, "\n")
		return value
	}
	// A function of a runtime without them waits for nothing.
	for end := time.Now().Add(5 * time.Second); (state("booting") != "0" || state("ready") == "0") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

func waitActive(t testing.TB, c *lambda.Client, name string) {
	t.Helper()
	w := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	})
	if err := w.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 30*time.Second); err != nil {
		t.Fatal(name, err)
	}
}

func waitUpdated(t testing.TB, c *lambda.Client, name string) {
	t.Helper()
	w := lambda.NewFunctionUpdatedV2Waiter(c, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	})
	if err := w.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 30*time.Second); err != nil {
		t.Fatal(name, err)
	}
}

// answer of a function.
type answer struct {
	payload      string // JSON
	errorType    string // of a function error
	errorMessage string
	log          string // its tail
}

// invoke calls a function, name:qualifier or ARN; err is what the API refused.
func invoke(ctx context.Context, c *lambda.Client, name, event string) (answer, error) {
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(event), LogType: types.LogTypeTail})
	if err != nil {
		return answer{}, err
	}
	a := answer{payload: string(out.Payload)}
	if log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult)); err == nil {
		a.log = string(log)
	}
	if out.FunctionError != nil {
		var failure struct{ ErrorType, ErrorMessage string }
		if err := json.Unmarshal(out.Payload, &failure); err != nil {
			return a, err
		}
		a.errorType, a.errorMessage = failure.ErrorType, failure.ErrorMessage
	}
	return a, nil
}

// mustInvoke calls a function that has to succeed, and decodes its answer into result.
func mustInvoke(t testing.TB, c *lambda.Client, name, event string, result any) {
	t.Helper()
	a, err := invoke(t.Context(), c, name, event)
	if err != nil || a.errorType != "" {
		t.Fatalf("%s %s: %v, %s: %s\n%s", name, event, err, a.errorType, a.errorMessage, a.log)
	}
	if err := json.Unmarshal([]byte(a.payload), result); err != nil {
		t.Fatalf("%s %s: %v: %s", name, event, err, a.payload)
	}
}

// refusal is the status and code of an API's error; "" when err is none.
func refusal(err error) (status int, code string) {
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if errors.As(err, &api) && errors.As(err, &response) {
		return response.HTTPStatusCode(), api.ErrorCode()
	}
	return 0, ""
}

// refused checks that err is an API's error of this status and code, with text in its message.
func refused(t testing.TB, what string, err error, status int, code, text string) {
	t.Helper()
	if s, c := refusal(err); s != status || c != code || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v; want %d %s %q", what, err, status, code, text)
	}
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// signed is a request with a SigV4 signature for service.
func signed(t testing.TB, c hansom.Credentials, service, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	auth.Sign(r, c, hansom.DefaultRegion, service, digest([]byte(body)), time.Now())
	return r
}

// manage sends a request to the management API.
func manage(t testing.TB, api string, c hansom.Credentials, method, path, body string) (status int, answer string) {
	t.Helper()
	return send(t, http.DefaultClient, signed(t, c, "hansom", method, api+"/_hansom/v1/"+path, body))
}

func send(t testing.TB, c *http.Client, r *http.Request) (status int, answer string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// browser resolves every name to the edge listener, as a wildcard DNS record does.
func browser(t testing.TB, edge string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, edge)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get fetches a URL with browser.
func get(t testing.TB, c *http.Client, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, c, r)
}
