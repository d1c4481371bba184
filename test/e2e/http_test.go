package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/coder/websocket"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// web is a function with the runtime http and a public URL.
type web struct {
	*hansomtest.Server
	lambda  *lambda.Client
	browser *http.Client
	name    string
	url     string // without a slash at its end
}

// eachDriver runs f with the driver that isolates, where it works, and then with the one that does not: two in one program disturb
// each other, since threads of the first are at times in a control group of its sandboxes.
func eachDriver(t *testing.T, f func(t *testing.T, driver string)) {
	for _, driver := range []string{"linux", "process"} {
		t.Run(driver, func(t *testing.T) {
			if driver == "linux" && (goruntime.GOOS != "linux" || os.Geteuid() != 0) {
				t.Skip("functions are isolated by root on Linux")
			}
			f(t, driver)
		})
	}
}

// serveWeb deploys testdata/http/server.js with a public URL; change may change the request.
func serveWeb(t testing.TB, driver string, change ...func(*lambda.CreateFunctionInput)) *web {
	t.Helper()
	s := start(t, func(c *server.Config) {
		if driver != "" {
			c.Driver = driver
		}
	})
	w := &web{Server: s, lambda: client(t, s.API(), hansomtest.Credentials), browser: browser(t, s.EdgeAddr()), name: "web"}
	w.create(t, "web", change...)
	return w
}

func (w *web) create(t testing.TB, name string, change ...func(*lambda.CreateFunctionInput)) {
	t.Helper()
	code := pack(t, map[string]string{"server.js": testdata(t, "http/server.js")})
	node := func(in *lambda.CreateFunctionInput) { in.Handler = aws.String("node server.js") }
	create(t, w.lambda, name, hansom.RuntimeHTTP, code, append([]func(*lambda.CreateFunctionInput){node, memory(256)}, change...)...)
	out, err := w.lambda.CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone})
	if err != nil {
		t.Fatal(err)
	}
	w.name, w.url = name, strings.TrimSuffix(aws.ToString(out.FunctionUrl), "/")
}

func (w *web) do(t testing.TB, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := w.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// seen is what /echo of server.js answers.
type seen struct {
	Method, URL    string
	Headers        []string
	Calls, Hanging int
}

func (s *seen) header(name string) (values []string) {
	for i := 0; i+1 < len(s.Headers); i += 2 {
		if strings.EqualFold(s.Headers[i], name) {
			values = append(values, s.Headers[i+1])
		}
	}
	return values
}

func (w *web) echo(t testing.TB, method, path string, header ...string) (*http.Response, *seen) {
	t.Helper()
	resp, text := w.do(t, method, path, nil, header...)
	var s seen
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%s: %v: %s", resp.Status, err, text)
	}
	return resp, &s
}

// logged waits for a line of the function's log.
func (w *web) logged(t testing.TB, line string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, text := manage(t, w.API(), hansomtest.Credentials, "GET", "logs?function="+w.name, "")
		if strings.Contains(text, line) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in the log: %s", line, text)
		}
	}
}

func (w *web) instances(t testing.TB) int {
	t.Helper()
	_, text := manage(t, w.API(), hansomtest.Credentials, "GET", "functions", "")
	var list struct {
		Functions []struct {
			Name      string
			Instances int
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err, text)
	}
	for _, f := range list.Functions {
		if f.Name == w.name {
			return f.Instances
		}
	}
	t.Fatalf("no %s in %s", w.name, text)
	return 0
}

// A request and its answer pass as they are, but for what concerns a connection alone.
func TestHTTPPassThrough(t *testing.T) {
	eachDriver(t, func(t *testing.T, driver string) {
		w := serveWeb(t, driver)
		resp, s := w.echo(t, "PATCH", "/echo?a=1&a=2&b=%20x;y&%zz", "X-Two", "1", "X-Two", "2", "Connection", "X-Hop", "X-Hop", "1", "Te", "trailers",
			"X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "https", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Amzn-Requestid", "forged")
		id := resp.Header.Values("X-Amzn-Requestid")
		if s.Method != "PATCH" || s.URL != "/echo?a=1&a=2&b=%20x;y&%zz" || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || len(id) != 1 {
			t.Errorf("%+v %v", s, resp.Header)
		}
		_, port, _ := net.SplitHostPort(w.EdgeAddr())
		for name, want := range map[string][]string{
			"Host": {strings.TrimPrefix(w.url, "http://")}, "X-Two": {"1", "2"}, "X-Hop": nil, "X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"},
			"X-Forwarded-Port": {port}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "X-Amzn-Requestid": id, "X-Request-Id": id, "Te": {"trailers"},
		} {
			if got := s.header(name); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if _, s := w.echo(t, "GET", "/echo", "X-Request-Id", "mine"); !slices.Equal(s.header("X-Request-Id"), []string{"mine"}) {
			t.Errorf("%q", s.Headers)
		}
		resp, text := w.do(t, "GET", "/a%2Fb//c/./%C3%A9?", nil)
		if resp.StatusCode != 404 || text != "not here" || resp.Header.Get("X-Path") != "/a%2Fb//c/./%C3%A9?" || resp.Header.Get("Content-Type") != "" {
			t.Errorf("%s %q %v", resp.Status, text, resp.Header)
		}
		if resp, text := w.do(t, "HEAD", "/echo", nil); resp.StatusCode != 200 || text != "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD: %s %q %v", resp.Status, text, resp.Header)
		}
		if _, text := w.do(t, "POST", "/count", io.MultiReader(strings.NewReader("chunked"), strings.NewReader(" body"))); text != "12" {
			t.Error(text)
		}
		var informational []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			informational = append(informational, fmt.Sprint(code, " ", h.Get("Link")))
			return nil
		}})
		r, _ := http.NewRequestWithContext(ctx, "GET", w.url+"/early", nil)
		resp, err := w.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !slices.Equal(informational, []string{"102 ", "103 </a.css>; rel=preload"}) || string(body) != "body" || resp.Trailer.Get("X-Sum") != "abc" || resp.Header.Get("X-Amzn-Requestid") == "" {
			t.Errorf("%q %q %v %v", informational, body, resp.Trailer, resp.Header)
		}
	})
}

// Events of the Lambda API are CloudEvents; what is no 2xx is the function's error.
func TestHTTPEvents(t *testing.T) {
	eachDriver(t, func(t *testing.T, driver string) {
		w := serveWeb(t, driver)
		var got struct {
			Event   struct{ Text string }
			Headers map[string]string
			Method  string
		}
		mustInvoke(t, w.lambda, "web", `{"text":"hé"}`, &got)
		want := map[string]string{"ce-specversion": "1.0", "ce-type": "cloud.hansom.function.invoked", "ce-source": "arn:aws:lambda:us-east-1:000000000000:function:web",
			"content-type": "application/json", "ce-id": got.Headers["x-amzn-requestid"]}
		for name, value := range want {
			if got.Headers[name] != value {
				t.Errorf("%s: %q, want %q", name, got.Headers[name], value)
			}
		}
		if at, err := time.Parse(time.RFC3339, got.Headers["ce-time"]); err != nil || time.Since(at) > time.Hour || got.Method != "POST" || got.Event.Text != "hé" || got.Headers["ce-id"] == "" {
			t.Errorf("%+v %v", got, err)
		}
		a, err := invoke(t.Context(), w.lambda, "web", `{"status":503}`)
		if err != nil || a.payload != `{"errorType":"Function.HTTPError","errorMessage":"the function answered with status 503","statusCode":503,"body":"refused"}` || !strings.Contains(a.log, "\nEND RequestId: ") {
			t.Errorf("%+v %v", a, err)
		}
		if a, err := invoke(t.Context(), w.lambda, "web", `{"binary":true}`); err != nil || a.payload != "\x00\xff\x01\xfe" {
			t.Errorf("%+v %v", a, err)
		}
		out, err := w.lambda.InvokeWithResponseStream(t.Context(), &lambda.InvokeWithResponseStreamInput{FunctionName: aws.String("web"), Payload: []byte(`{"binary":true}`)})
		if err != nil {
			t.Fatal(err)
		}
		var streamed []byte
		for e := range out.GetStream().Events() {
			if chunk, ok := e.(*types.InvokeWithResponseStreamResponseEventMemberPayloadChunk); ok {
				streamed = append(streamed, chunk.Value.Payload...)
			}
		}
		if err := out.GetStream().Close(); err != nil || string(streamed) != "\x00\xff\x01\xfe" {
			t.Errorf("%q %v", streamed, err)
		}
		if a, err := invoke(t.Context(), w.lambda, "web", `{"exit":4}`); err != nil || a.errorType != "Runtime.ExitError" || !strings.Contains(a.errorMessage, "exit status 4") {
			t.Errorf("%+v %v", a, err)
		}
		if a, err := invoke(t.Context(), w.lambda, "web", `{"text":"again"}`); err != nil || a.errorType != "" {
			t.Errorf("%+v %v", a, err)
		}
	})
}

// deploy deploys server.js as an app with settings of its function.
func (w *web) deploy(t *testing.T, app, settings string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hansom.yaml": "name: " + app + "\nfunctions:\n  api: {runtime: http, code: ., handler: node server.js, memory: 256, timeout: 1m, http: [\"ANY /{proxy+}\"], " + settings + "}\n",
		"server.js":   testdata(t, "http/server.js"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli(t, w.Server, hansomtest.Credentials, nil, "deploy", dir); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(w.EdgeAddr())
	w.name, w.url = app+"-api", "http://"+app+".localhost:"+port
}

// hold has n calls under way at once, and says how many instances there are then.
func (w *web) hold(t *testing.T, n int) (instances int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var begun sync.WaitGroup
	for range n {
		begun.Go(func() {
			r, err := http.NewRequestWithContext(ctx, "GET", w.url+"/events", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := w.browser.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			context.AfterFunc(ctx, func() { resp.Body.Close() })
			if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "data: hello\n" {
				t.Errorf("%s %q %v", resp.Status, line, err)
			}
		})
	}
	begun.Wait()
	return w.instances(t)
}

// As many calls share an instance as the manifest says; more start another; all end when idle.
func TestHTTPConcurrency(t *testing.T) {
	s := start(t, func(c *server.Config) { c.Idle = 2 * time.Second })
	w := &web{Server: s, lambda: client(t, s.API(), hansomtest.Credentials), browser: browser(t, s.EdgeAddr())}
	w.deploy(t, "many", "concurrency: 200, ready: /echo")
	if n := w.hold(t, 200); n != 1 {
		t.Errorf("%d instances for 200 calls", n)
	}
	w.deploy(t, "few", "concurrency: 5")
	if n := w.hold(t, 15); n != 3 {
		t.Errorf("%d instances for 15 calls, 5 in each", n)
	}
	w.deploy(t, "default", "environment: {MODE: b}")
	if n := w.hold(t, 160); n != 2 {
		t.Errorf("%d instances for 160 calls", n)
	}
	for end := time.Now().Add(30 * time.Second); w.instances(t) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("idle instances do not end")
		}
	}
	if resp, _ := w.do(t, "GET", "/echo", nil); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

// Events reach a client at once; the process sees that a client has gone.
func TestHTTPEventStream(t *testing.T) {
	eachDriver(t, func(t *testing.T, driver string) {
		w := serveWeb(t, driver)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", w.url+"/events", nil)
		resp, err := w.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for i, want := range []string{"data: hello\n", "data: tick\n"} {
			if line, err := lines.ReadString('\n'); err != nil || line != want {
				t.Fatalf("%q, %v", line, err)
			}
			lines.ReadString('\n')
			if i == 0 {
				w.do(t, "POST", "/tick", nil)
			}
		}
		cancel()
		w.logged(t, "client gone")
		if _, s := w.echo(t, "GET", "/echo"); s.Calls != 3 {
			t.Errorf("call %d of its instance: it was replaced", s.Calls)
		}
	})
}

// WebSockets and other protocols pass both ways; the end of one side ends the other.
func TestHTTPUpgrade(t *testing.T) {
	eachDriver(t, func(t *testing.T, driver string) {
		w := serveWeb(t, driver)
		c, _, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http://", "ws://", 1)+"/socket", &websocket.DialOptions{HTTPClient: w.browser})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			text := fmt.Sprint("message ", i)
			if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != text {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		w.logged(t, "socket closed")
		w.logged(t, "REPORT RequestId")

		conn, err := net.Dial("tcp", w.EdgeAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// What follows at once must not be lost.
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ", strings.TrimPrefix(w.url, "http://"))
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
			t.Fatal(resp, err)
		}
		fmt.Fprint(conn, "late")
		got := make([]byte, len("early late"))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != "early late" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A connection that was upgraded ends at the timeout of its call, and the instance lives on.
func TestHTTPUpgradeTimeout(t *testing.T) {
	w := serveWeb(t, "", timeout(1))
	_, before := w.echo(t, "GET", "/echo")
	c, _, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http://", "ws://", 1), &websocket.DialOptions{HTTPClient: w.browser})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); err == nil {
		t.Error("a message out of nothing")
	}
	if _, after := w.echo(t, "GET", "/echo"); after.Calls != before.Calls+1 {
		t.Errorf("call %d of its instance after call %d", after.Calls, before.Calls)
	}
}

// A server that is told to end closes what has no end of its own after a grace, and what still runs after another one.
func TestHTTPEnd(t *testing.T) {
	open := func(drain, streams time.Duration) *web {
		w := &web{Server: start(t, func(c *server.Config) { c.Drain, c.DrainStreams = drain, streams })}
		w.lambda, w.browser = client(t, w.API(), hansomtest.Credentials), browser(t, w.EdgeAddr())
		w.create(t, "web", timeout(900))
		return w
	}
	t.Run("upgraded", func(t *testing.T) {
		w := open(time.Hour, time.Millisecond)
		if _, _, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http://", "ws://", 1), &websocket.DialOptions{HTTPClient: w.browser}); err != nil {
			t.Fatal(err)
		}
		w.Stop(t)
	})
	t.Run("stream", func(t *testing.T) {
		w := open(time.Second, time.Hour)
		resp, err := w.browser.Get(w.url + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		hello := make([]byte, len("data: hello\n\n"))
		if _, err := io.ReadFull(resp.Body, hello); err != nil {
			t.Fatal(err)
		}
		w.Stop(t)
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err == nil {
			t.Errorf("a stream that broke off goes on with %q and ends with %v", rest, err)
		}
	})
}

// repeated reads n bytes.
type repeated struct{ n int }

func (r *repeated) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n := min(len(p), r.n)
	r.n -= n
	return n, nil
}

// 100 MB pass each way without being kept.
func TestHTTPLargeBodies(t *testing.T) {
	const size = 100 << 20
	w := serveWeb(t, "")
	w.do(t, "GET", "/echo", nil)
	goruntime.GC()
	var before goruntime.MemStats
	goruntime.ReadMemStats(&before)
	most := make(chan uint64)
	stop := make(chan struct{})
	go func() {
		var peak uint64
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-tick.C:
				var m goruntime.MemStats
				goruntime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			case <-stop:
				tick.Stop()
				most <- peak
				return
			}
		}
	}()
	if _, text := w.do(t, "POST", "/count", &repeated{size}); text != strconv.Itoa(size) {
		t.Error(text)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/zeros?n="+strconv.Itoa(size), nil)
	resp, err := w.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err != nil || n != size {
		t.Errorf("%d bytes, %v", n, err)
	}
	close(stop)
	if more := int64(<-most) - int64(before.HeapAlloc); more > size/4*3 {
		t.Errorf("%d MB more memory while bodies of 100 MB passed", more>>20)
	}
}

// The end of a process fails the calls in it; one that takes too long fails alone; the function goes on.
func TestHTTPFailures(t *testing.T) {
	eachDriver(t, func(t *testing.T, driver string) {
		w := serveWeb(t, driver)
		w.echo(t, "GET", "/echo")
		var calls sync.WaitGroup
		for range 5 {
			calls.Go(func() {
				if resp, text := w.do(t, "GET", "/hang", nil); resp.StatusCode != 502 || text != `{"Message":"Bad Gateway"}` {
					t.Errorf("%s %s", resp.Status, text)
				}
			})
		}
		for hanging := 0; hanging < 5; time.Sleep(time.Millisecond) {
			_, s := w.echo(t, "GET", "/echo")
			hanging = s.Hanging
		}
		if resp, _ := w.do(t, "GET", "/exit", nil); resp.StatusCode != 502 {
			t.Error(resp.Status)
		}
		calls.Wait()
		w.logged(t, "Runtime exited with error: exit status 3")
		if _, s := w.echo(t, "GET", "/echo"); s.Calls != 1 {
			t.Errorf("call %d of its instance: it was not replaced", s.Calls)
		}
		if resp, _ := w.do(t, "POST", "/destroy", nil); resp.StatusCode != 502 {
			t.Error(resp.Status)
		}
		if _, s := w.echo(t, "GET", "/echo"); s.Calls != 3 {
			t.Errorf("call %d of its instance: it was replaced", s.Calls)
		}

		w.create(t, "slow", timeout(1))
		_, before := w.echo(t, "GET", "/echo")
		if resp, text := w.do(t, "GET", "/hang", nil); resp.StatusCode != 504 || text != `{"Message":"Endpoint request timed out"}` {
			t.Errorf("%s %s", resp.Status, text)
		}
		w.logged(t, "Task timed out after 1.00 seconds")
		if _, after := w.echo(t, "GET", "/echo"); before.Calls != 1 || after.Calls != 1 {
			t.Errorf("call %d, then %d: the instance was not replaced", before.Calls, after.Calls)
		}
		// A stream that is cut short is seen as such.
		r, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/events", nil)
		resp, err := w.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("a stream that timed out ended as if it were whole")
		}
		resp.Body.Close()
	})
}

// A process that does not start says why.
func TestHTTPStart(t *testing.T) {
	w := serveWeb(t, "")
	for _, c := range []struct{ name, handler, errorType, log string }{
		{"exits", `node -e "console.log('no luck');process.exit(7)"`, "Runtime.ExitError", "no luck"},
		{"missing", "no-such-program --port $PORT", "Runtime.ExitError", "no-such-program"},
		{"unnamed", "bootstrap", "Runtime.InvalidEntrypoint", "set the handler to the command line"},
	} {
		w.create(t, c.name, func(in *lambda.CreateFunctionInput) { in.Handler = &c.handler })
		if resp, _ := w.do(t, "GET", "/", nil); resp.StatusCode != 502 {
			t.Errorf("%s: %s", c.name, resp.Status)
		}
		a, err := invoke(t.Context(), w.lambda, c.name, "{}")
		if err != nil || a.errorType != c.errorType {
			t.Errorf("%s: %+v %v", c.name, a, err)
		}
		w.logged(t, c.log)
	}
	_, err := w.lambda.CreateFunction(t.Context(), request("port", hansom.RuntimeHTTP, pack(t, map[string]string{"a": ""}), func(in *lambda.CreateFunctionInput) {
		in.Environment = &types.Environment{Variables: map[string]string{"PORT": "80"}}
	}))
	refused(t, "PORT", err, 400, "InvalidParameterValueException", "remove it and listen on what it says")
	_, err = w.lambda.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("exits"), Runtime: node22, Handler: aws.String("a b")})
	refused(t, "handler", err, 400, "ValidationException", `Value 'a b' at 'handler' failed to satisfy constraint: Member must satisfy regular expression pattern: [^\s]+`)
}

// Servers in other languages, and the ways to name them.
func TestHTTPLanguages(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.Command("go", "build", "-o", bin, "./testdata/http/go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	eachDriver(t, func(t *testing.T, driver string) {
		w := serveWeb(t, driver)
		for name, c := range map[string]struct {
			files   map[string]string
			handler string
			log     string
		}{
			"python": {map[string]string{"server.py": testdata(t, "http/server.py")}, "python3 server.py", "python answers"},
			"module": {map[string]string{"server.py": testdata(t, "http/server.py")}, "python3 -m server", "python answers"},
			"script": {map[string]string{"server.py": testdata(t, "http/server.py"), "run.sh": "#!/bin/sh\necho starts\nexec python3 server.py\n"}, "run.sh", "starts"},
			"go":     {map[string]string{"bootstrap": string(program)}, "bootstrap", "go answers"},
		} {
			w.create(t, name, func(in *lambda.CreateFunctionInput) { in.Code.ZipFile, in.Handler = pack(t, c.files), &c.handler })
			if resp, text := w.do(t, "GET", "/x", nil); resp.StatusCode != 200 || text != "GET /x" {
				t.Errorf("%s: %s %q", name, resp.Status, text)
			}
			if a, err := invoke(t.Context(), w.lambda, name, `{"a":1}`); err != nil || !strings.HasPrefix(a.payload, "POST ") || !strings.HasSuffix(a.payload, `{"a":1}`) {
				t.Errorf("%s: %+v %v", name, a, err)
			}
			w.logged(t, c.log)
		}
	})
}

// Requests that servers and proxies might read differently reach the process once, whole, or not at all.
func TestHTTPSmuggling(t *testing.T) {
	w := serveWeb(t, "")
	host := strings.TrimPrefix(w.url, "http://")
	for _, c := range []struct {
		name, request string
		statuses      []int // of the answers on the connection, in order; the last may be missing when the connection is closed
		calls         int   // that reach the process
		body          string
	}{
		{"two requests", "POST /count HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\n\r\nabcGET /echo HTTP/1.1\r\nHost: H\r\n\r\n", []int{200, 200}, 2, "3"},
		{"length and chunks", "POST /count HTTP/1.1\r\nHost: H\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", []int{200}, 1, "2"},
		{"chunks and a request", "POST /count HTTP/1.1\r\nHost: H\r\nContent-Length: 35\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /echo HTTP/1.1\r\nHost: H\r\n\r\n", []int{200}, 1, "0"},
		{"two lengths", "POST /count HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", []int{400}, 0, ""},
		{"lengths in a list", "POST /count HTTP/1.1\r\nHost: H\r\nContent-Length: 3, 4\r\n\r\nabcd", []int{400}, 0, ""},
		{"a signed length", "POST /count HTTP/1.1\r\nHost: H\r\nContent-Length: +3\r\n\r\nabc", []int{400}, 0, ""},
		{"an unknown coding", "POST /count HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{501}, 0, ""},
		{"two codings", "POST /count HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", []int{501}, 0, ""},
		{"a space before the colon", "POST /count HTTP/1.1\r\nHost: H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", []int{400}, 0, ""},
		{"a folded header", "POST /count HTTP/1.1\r\nHost: H\r\nX: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nab", []int{200}, 1, "2"},
		{"a bad chunk", "POST /count HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", []int{400}, -1, ""},
		{"two hosts", "GET /echo HTTP/1.1\r\nHost: H\r\nHost: other\r\n\r\n", []int{400}, 0, ""},
		{"a hop named content-length", "POST /count HTTP/1.1\r\nHost: H\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc", []int{200}, 1, "3"},
		{"a line feed in the target", "GET /echo\n HTTP/1.1\r\nHost: H\r\n\r\n", []int{400}, 0, ""},
		{"an encoded line feed", "GET /echo?%0d%0aX:1 HTTP/1.1\r\nHost: H\r\n\r\n", []int{200}, 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, before := w.echo(t, "GET", "/echo")
			conn, err := net.Dial("tcp", w.EdgeAddr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprint(conn, strings.ReplaceAll(c.request, "Host: H\r\n", "Host: "+host+"\r\n"))
			in := bufio.NewReader(conn)
			for i, want := range c.statuses {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != want || err != nil || i == 0 && c.body != "" && string(body) != c.body {
					t.Errorf("answer %d: %s %q %v, want %d %q", i, resp.Status, body, err, want, c.body)
				}
			}
			conn.(*net.TCPConn).CloseWrite()
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Errorf("one more answer: %q", rest)
			}
			if _, after := w.echo(t, "GET", "/echo"); c.calls >= 0 && after.Calls != before.Calls+1+c.calls {
				t.Errorf("%d requests reached the process, want %d", after.Calls-before.Calls-1, c.calls)
			}
		})
	}
}

// curl uploads with Expect: 100-continue, reads streams, and speaks HTTP/1.0.
func TestHTTPCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	w := serveWeb(t, "")
	host := strings.TrimPrefix(w.url, "http://")
	name, port, _ := net.SplitHostPort(host)
	run := func(stdin []byte, args ...string) string {
		cmd := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--max-time", "20", "--resolve", name + ":" + port + ":127.0.0.1"}, args...)...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return string(out)
	}
	if out := run(make([]byte, 5<<20), "--data-binary", "@-", "-H", "Expect: 100-continue", w.url+"/count"); out != strconv.Itoa(5<<20) {
		t.Error(out)
	}
	if out := run(make([]byte, 5<<20), "-T", "-", w.url+"/count"); out != strconv.Itoa(5<<20) { // chunked
		t.Error(out)
	}
	if out := run(nil, "--http1.0", w.url+"/zeros?n=100000"); len(out) != 100000 {
		t.Error(len(out))
	}
	if out := run(nil, "-I", w.url+"/echo"); !strings.HasPrefix(out, "HTTP/1.1 200 OK\r\n") || !strings.Contains(out, "X-Amzn-Requestid: ") {
		t.Error(out)
	}
}
