package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/payload"
	"github.com/hansomcloud/hansom/internal/gateway/route"
)

type urls map[string]*hansom.FunctionURL

func (u urls) URL(id string) (*hansom.FunctionURL, bool) { f, ok := u[id]; return f, ok }

type authFunc func(*http.Request) (hansom.Principal, error)

func (f authFunc) Authenticate(r *http.Request) (hansom.Principal, error) { return f(r) }

type invokeFunc func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error)

func (f invokeFunc) Invoke(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	var err error
	if inv.Payload, err = inv.HTTP.Event(); err != nil {
		return hansom.Result{}, err
	}
	inv.HTTP = nil
	return f(ctx, inv, sink)
}

// newTest has the URLs abc (public), signed (AWS_IAM) and stream (RESPONSE_STREAM), and the app guestbook.
func newTest(invoke invokeFunc) *Gateway {
	yes, age := true, 60
	auth := func(r *http.Request) (hansom.Principal, error) {
		switch r.Header.Get("Authorization") {
		case "good":
			return hansom.Principal{Project: hansom.DefaultProject, AccessKeyID: "AKIA", ARN: "arn:aws:iam::000000000000:root", UserID: "UID"}, nil
		case "other project":
			return hansom.Principal{Project: "111111111111"}, nil
		}
		return hansom.Principal{}, hansom.Errorf(hansom.Unauthenticated, "authenticate", "no")
	}
	g := New(DefaultConfig(), Deps{URLs: urls{
		"abc":    {ID: "abc", Project: hansom.DefaultProject, Function: "f", AuthType: hansom.URLAuthNone, InvokeMode: hansom.URLBuffered},
		"signed": {ID: "signed", Project: hansom.DefaultProject, Function: "f", AuthType: hansom.URLAuthIAM, InvokeMode: hansom.URLBuffered},
		"stream": {ID: "stream", Project: hansom.DefaultProject, Function: "f", AuthType: hansom.URLAuthNone, InvokeMode: hansom.URLStreamed},
		"cors": {ID: "cors", Project: hansom.DefaultProject, Function: "f", AuthType: hansom.URLAuthNone, InvokeMode: hansom.URLBuffered,
			CORS: &hansom.CORS{AllowOrigins: []string{"https://a.example", "http://localhost:*"}, AllowMethods: []string{"GET", "PUT"}, AllowHeaders: []string{"x-a"}, AllowCredentials: &yes, MaxAge: &age}},
	}, Auth: authFunc(auth), Invoker: invoke, Authorizer: &world{}}, slog.New(slog.DiscardHandler))
	g.SetApps([]App{testApp("guestbook", []hansom.Route{
		{Method: "GET", Path: "/messages", Function: "list"},
		{Method: "GET", Path: "/messages/latest", Function: "latest"},
		{Method: "GET", Path: "/messages/{id}", Function: "get"},
		{Method: "ANY", Path: "/messages/{id}/parts/{rest+}", Function: "parts"},
		{Method: "ANY", Path: "/{proxy+}", Function: "rest"},
		{Method: "GET", Path: "/", Function: "root"},
	})})
	g.SetAPIs(map[string]*api.Live{"abc123": testAPI()})
	return g
}

// testApp is one of the default project.
func testApp(name string, routes []hansom.Route) App {
	return App{hansom.DefaultProject, "default", name, ofRoutes(hansom.DefaultProject, name, routes)}
}

// ofRoutes is the own API of an app, made of the routes of its manifest: one stage, $default, and an integration of payload format 2.0 for each function.
func ofRoutes(project, app string, routes []hansom.Route) *api.Live {
	a := &api.API{Project: project, ID: app, Name: app}
	s := &api.Snapshot{Routes: make([]api.Route, 0, len(routes))}
	integrations := map[string]string{} // by function
	for i, r := range routes {
		id, ok := integrations[r.Function]
		if !ok {
			id = "function-" + strconv.Itoa(len(integrations))
			integrations[r.Function] = id
			s.Integrations = append(s.Integrations, api.Integration{ID: id, Type: api.AWSProxy, URI: hansom.FunctionARN(hansom.DefaultRegion, project, r.Function, ""), Payload: "2.0"})
		}
		s.Routes = append(s.Routes, api.Route{ID: "route-" + strconv.Itoa(i), Key: r.Method + " " + r.Path, Integration: id})
	}
	a.Routes, a.Integrations = s.Routes, s.Integrations
	return &api.Live{API: a, Stages: map[string]*api.LiveStage{api.DefaultStage: {Stage: api.Stage{Name: api.DefaultStage}, Snapshot: s}}}
}

func readRequest(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:4711"
	return r
}

func cases(t *testing.T, dir string, run func(t *testing.T, files map[string]string)) {
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, p := range paths {
		a, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, f := range a.Files {
			files[f.Name] = strings.TrimSuffix(string(f.Data), "\n")
		}
		t.Run(strings.TrimSuffix(filepath.Base(p), ".txtar"), func(t *testing.T) { run(t, files) })
	}
}

// normalise checks what of an event is another each time, and replaces it where a case does not expect it as it is.
func normalise(t *testing.T, event map[string]any, want string) {
	t.Helper()
	context := event["requestContext"].(map[string]any)
	at, epoch := "time", "timeEpoch"
	if event["version"] == "1.0" {
		at, epoch = "requestTime", "requestTimeEpoch"
		if context["extendedRequestId"] != context["requestId"] {
			t.Error("extendedRequestId is another")
		}
		context["extendedRequestId"] = "ID"
	}
	if _, err := time.Parse("02/Jan/2006:15:04:05 -0700", context[at].(string)); err != nil {
		t.Error(err)
	}
	if age := time.Since(time.UnixMilli(int64(context[epoch].(float64)))); age < 0 || age > time.Minute {
		t.Errorf("%s is %v old", epoch, age)
	}
	context["requestId"], context[at], context[epoch] = "ID", "TIME", 0.0
	for _, member := range []string{"headers", "multiValueHeaders"} {
		headers, _ := event[member].(map[string]any)
		for name, value := range headers {
			values, list := value.([]any)
			if list {
				value = values[0]
			}
			text := value.(string)
			switch strings.ToLower(name) {
			case "x-amzn-trace-id":
				if !strings.Contains(want, text) {
					value = "TRACE"
				}
			case "traceparent":
				if traceOf(text) == "" {
					t.Errorf("traceparent %q", text)
				}
				if !strings.Contains(want, text) {
					value = "TRACEPARENT"
				}
			}
			if list {
				values[0] = value
			} else {
				headers[name] = value
			}
		}
	}
}

func TestEvents(t *testing.T) {
	cases(t, "events", func(t *testing.T, files map[string]string) {
		var got map[string]any
		g := newTest(func(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
			if err := json.Unmarshal(inv.Payload, &got); err != nil {
				t.Errorf("event is no JSON: %v\n%s", err, inv.Payload)
			}
			return hansom.NewResult([]byte("null"), nil), nil
		})
		head, body, _ := strings.Cut(files["request"], "\n\n")
		r := readRequest(t, head)
		if body != "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body+"\n")), int64(len(body)+1)
			if want := r.Header.Get("Content-Length"); want == fmt.Sprint(len(body)) {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			}
		}
		g.ServeHTTP(httptest.NewRecorder(), r)
		if got == nil {
			t.Fatal("the function was not invoked")
		}
		normalise(t, got, files["event"])
		var want map[string]any
		if err := json.Unmarshal([]byte(files["event"]), &want); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func TestResults(t *testing.T) { testResults(t, "results", "abc.lambda-url.localhost", "/") }

// With payload format 1.0.
func TestResults1(t *testing.T) { testResults(t, "results1", "abc123.execute-api.localhost", "/old/x") }

func testResults(t *testing.T, dir, host, path string) {
	cases(t, dir, func(t *testing.T, files map[string]string) {
		g := newTest(func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
			return hansom.NewResult([]byte(files["result"]), nil), nil
		})
		s := httptest.NewServer(g)
		defer s.Close()
		r, _ := http.NewRequest("GET", s.URL+path, nil)
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		var head []string
		for name, values := range answer.Header {
			switch name {
			case "Date", "Content-Length", "X-Amzn-Requestid", "Apigw-Requestid":
				continue
			}
			for _, v := range values {
				head = append(head, strings.ToLower(name)+": "+v)
			}
		}
		sort.Strings(head)
		if d := cmp.Diff(files["head"], strings.Join(append([]string{fmt.Sprint(answer.StatusCode)}, head...), "\n")); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(files["body"], string(body)); d != "" {
			t.Error(d)
		}
	})
}

func TestRoutes(t *testing.T) {
	var called string
	g := newTest(func(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
		called = inv.Function
		return hansom.NewResult([]byte("null"), nil), nil
	})
	for request, want := range map[string]string{
		"GET /messages":                "list",
		"GET /messages/latest":         "latest",
		"GET /messages/7":              "get",
		"DELETE /messages/7":           "rest",
		"GET /messages/":               "rest",
		"GET /messages/7/parts/a/b/c":  "parts",
		"GET /":                        "root",
		"POST /":                       "",
		"GET /x/y?q=/messages":         "rest",
		"GET /messages/%6catest":       "latest",
		"POST /messages/7/parts/x%2Fy": "parts",
	} {
		called = ""
		w := httptest.NewRecorder()
		g.ServeHTTP(w, readRequest(t, request+" HTTP/1.1\nHost: guestbook.localhost:8080"))
		if called != want || (want == "") != (w.Code == 404) {
			t.Errorf("%s: called %q with status %d, want %q", request, called, w.Code, want)
		}
	}
	for host, want := range map[string]int{
		"guestbook.localhost": 200, "GUESTBOOK.localhost:1": 200, "localhost": 200, "127.0.0.1:8080": 200, "[::1]:80": 200,
		"other.localhost": 404, "guestbook.example": 404, "guestbook.default.localhost": 404, "nope.lambda-url.localhost": 404, "": 404,
	} {
		w := httptest.NewRecorder()
		r := readRequest(t, "GET /messages HTTP/1.1\nHost: x")
		r.Host = host
		g.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %q: status %d, want %d", host, w.Code, want)
		}
	}
	team := testApp("a", []hansom.Route{{Method: "GET", Path: "/", Function: "f"}})
	team.Project, team.Slug = "1", "team"
	team.Live = ofRoutes("1", "a", []hansom.Route{{Method: "GET", Path: "/", Function: "f"}})
	g.SetApps([]App{testApp("a", nil), testApp("b", nil), team})
	for host, want := range map[string]int{"localhost": 404, "a.team.localhost": 200, "a.localhost": 404} {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, readRequest(t, "GET / HTTP/1.1\nHost: "+host))
		if w.Code != want {
			t.Errorf("host %q: status %d, want %d", host, w.Code, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	var fail error
	var result hansom.Result
	g := newTest(func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) { return result, fail })
	ask := func(host, header string) (int, string) {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, readRequest(t, "GET /messages HTTP/1.1\nHost: "+host+header))
		return w.Code, w.Body.String()
	}
	for kind, want := range map[hansom.Kind]int{hansom.Throttled: 429, hansom.TooLarge: 413, hansom.NotFound: 404, hansom.Conflict: 503, hansom.Unavailable: 503, hansom.Internal: 500, hansom.Denied: 403, hansom.Timeout: 504} {
		fail = hansom.Errorf(kind, "test", "secret detail")
		code, body := ask("abc.lambda-url.localhost", "")
		if code != want || strings.Contains(body, "secret") {
			t.Errorf("kind %d: %d %s, want %d", kind, code, body, want)
		}
	}
	fail = hansom.Errorf(hansom.NotFound, "test", "secret detail")
	if code, body := ask("guestbook.localhost", ""); code != 500 || body != `{"message":"Internal Server Error"}` {
		t.Errorf("a route whose function is gone: %d %s", code, body)
	}
	fail = nil
	result = hansom.NewResult([]byte(`{"errorType":"Error","errorMessage":"secret detail"}`), nil)
	result.FunctionError = "Unhandled"
	for host, want := range map[string]string{"abc.lambda-url.localhost": "502 Internal Server Error", "guestbook.localhost": `500 {"message":"Internal Server Error"}`} {
		if code, body := ask(host, ""); fmt.Sprint(code, " ", body) != want {
			t.Errorf("%s: %d %s, want %s", host, code, body, want)
		}
	}
	result = hansom.NewResult([]byte("1"), nil)
	for header, want := range map[string]int{"": 403, "\nAuthorization: good": 200, "\nAuthorization: other project": 403} {
		if code, body := ask("signed.lambda-url.localhost", header); code != want {
			t.Errorf("%q: %d %s, want %d", header, code, body, want)
		}
	}
	r := readRequest(t, "POST / HTTP/1.1\nHost: abc.lambda-url.localhost")
	r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, hansom.MaxSyncPayload+1)), -1
	w := httptest.NewRecorder()
	if g.ServeHTTP(w, r); w.Code != 413 {
		t.Errorf("a body of 6 MB and a byte: %d", w.Code)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCORS(t *testing.T) {
	calls := 0
	g := newTest(func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		calls++
		return hansom.NewResult([]byte(`{"statusCode":200,"headers":{"Access-Control-Allow-Origin":"*"}}`), nil), nil
	})
	for _, c := range []struct{ method, origin, allow, methods string }{
		{"OPTIONS", "https://a.example", "https://a.example", "GET,PUT"},
		{"OPTIONS", "https://evil.example", "", ""},
		{"GET", "http://localhost:3000", "http://localhost:3000", ""},
	} {
		calls = 0
		w := httptest.NewRecorder()
		g.ServeHTTP(w, readRequest(t, c.method+" / HTTP/1.1\nHost: cors.lambda-url.localhost\nAccess-Control-Request-Method: PUT\nOrigin: "+c.origin))
		h := w.Header()
		if h.Get("Access-Control-Allow-Origin") != c.allow || h.Get("Access-Control-Allow-Methods") != c.methods || (calls == 0) != (c.method == "OPTIONS") {
			t.Errorf("%s from %s: %v, %d calls", c.method, c.origin, h, calls)
		}
	}
}

// TestStream sees each part arrive before the next is written, and a broken answer as broken.
func TestStream(t *testing.T) {
	step := make(chan struct{})
	g := newTest(func(_ context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
		sink.Start(200, http.Header{"Content-Type": {payload.PreludeType}})
		for _, part := range []string{`{"statusCode":202,"headers":{"Content-Type":"text/x"},`, `"cookies":["a=b"]}` + "\x00\x00\x00\x00", "\x00\x00\x00\x00one"} {
			_, _ = sink.Write([]byte(part))
		}
		sink.Flush()
		<-step
		_, _ = sink.Write([]byte("two"))
		result := hansom.Result{Streamed: true}
		if strings.Contains(string(inv.Payload), "break") {
			result.FunctionError = "Unhandled"
		}
		return result, nil
	})
	s := httptest.NewServer(g)
	defer s.Close()
	for _, path := range []string{"/", "/break"} {
		r, _ := http.NewRequest("GET", s.URL+path, nil)
		r.Host = "stream.lambda-url.localhost"
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != 202 || answer.Header.Get("Content-Type") != "text/x" || answer.Header.Get("Set-Cookie") != "a=b" {
			t.Fatalf("%d %v", answer.StatusCode, answer.Header)
		}
		part := make([]byte, 3)
		if _, err := io.ReadFull(answer.Body, part); err != nil || string(part) != "one" {
			t.Fatalf("%q, %v", part, err)
		}
		step <- struct{}{}
		rest, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if broken := err != nil; broken != (path == "/break") || !broken && string(rest) != "two" {
			t.Errorf("%s: %q, %v", path, rest, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	result := []byte(`{"hello":"world"}`)
	g := newTest(func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		return hansom.NewResult(result, nil), nil
	})
	r := readRequest(t, "GET /hello?a=b HTTP/1.1\nHost: abc.lambda-url.localhost\nUser-Agent: x\nAccept: */*")
	w := httptest.NewRecorder()
	n := testing.AllocsPerRun(200, func() {
		w.Body.Reset()
		clear(w.Header())
		g.ServeHTTP(w, r)
	})
	if n > 14 {
		t.Errorf("%v allocations for a warm request, want at most 14", n)
	}
}

// Whatever comes, an event is JSON, of both payload formats, and an authorizer's too.
func FuzzEvents(f *testing.F) {
	f.Add("/a/b%2Fc?x=1&x=%zz&&=", "X-A", "b\"\\\n", "a=1; b", "text/plain", "body\xff")
	f.Add("/?", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "", "application/json", "{}")
	f.Add("//", "X-Amzn-Trace-Id", "Root=1-x;Parent=\"", ";", "", "")
	f.Fuzz(func(t *testing.T, uri, name, value, cookie, contentType, body string) {
		r := &http.Request{Method: "POST", RequestURI: uri, Host: "h:1", RemoteAddr: value, Proto: "HTTP/1.1", ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Cookie": {cookie, value}, "Content-Type": {contentType}}}
		if len(name) > 0 && len(name) < 50 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") == "" {
			r.Header[http.CanonicalHeaderKey(name)] = []string{value, cookie}
		}
		c := &call{source: "http", uri: uri, routeKey: "POST /{" + name, params: []route.Param{{Name: name, Value: value}}, variables: map[string]string{name: value}, stage: value}
		inv := &hansom.Invocation{ID: value, Trace: trace(r)}
		for _, payload1 := range []bool{false, true} {
			event := appendEvent
			if payload1 {
				event = appendEvent1
			}
			r.Body = io.NopCloser(strings.NewReader(body))
			if b, err := event(nil, r, c, inv); err != nil || !json.Valid(b) {
				t.Errorf("%v: %s", err, b)
			}
		}
		for _, format := range []string{"1.0", "2.0"} {
			if b := appendAuthorizerEvent(nil, format, value, []string{value, name}, r, c, inv); !json.Valid(b) {
				t.Errorf("%s", b)
			}
		}
	})
}
