package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/authorize"
	"github.com/hansomcloud/hansom/internal/gateway/integrate"
	"github.com/hansomcloud/hansom/internal/gateway/throttle"
	"github.com/hansomcloud/hansom/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func function(id, payload string) api.Integration {
	return api.Integration{ID: id, Type: api.AWSProxy, URI: hansom.FunctionARN(hansom.DefaultRegion, hansom.DefaultProject, id, ""), Payload: payload, Timeout: 30000}
}

// testAPI is abc123, with the stages $default and prod.
func testAPI() *api.Live {
	mapped := function("mapped", "2.0")
	mapped.Parameters = map[string]string{"overwrite:path": "/v2/${request.path.id}", "append:querystring.name": "$request.body.name", "remove:querystring.drop": "", "overwrite:header.x-id": "$request.path.id", "overwrite:header.Host": "other.example"}
	alias := function("alias", "2.0")
	alias.URI = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:alias:${stageVariables.colour}/invocations"
	return testLive(
		[]api.Integration{function("f", "2.0"), function("old", "1.0"), mapped, alias},
		[]api.Route{
			{ID: "1", Key: "GET /pets/{id}", Integration: "f"},
			{ID: "2", Key: "ANY /old/{proxy+}", Integration: "old"},
			{ID: "3", Key: "GET /mine/{proxy+}", Integration: "f", Authorization: "CUSTOM", Authorizer: "a"},
			{ID: "4", Key: "POST /mapped/{id}", Integration: "mapped"},
			{ID: "5", Key: "$default", Integration: "old"},
			{ID: "6", Key: "GET /alias", Integration: "alias"},
			{ID: "7", Key: "GET /broken"},
		}, nil)
}

// testLive is an API abc123 of the default project with the stages $default and prod, which has the stage variable colour.
func testLive(integrations []api.Integration, routes []api.Route, change func(*api.LiveStage)) *api.Live {
	s := &api.Snapshot{Integrations: integrations, Routes: routes, Authorizers: []api.Authorizer{{ID: "a", Type: api.Request, Sources: []string{"$request.header.Authorization"}}}}
	live := &api.Live{API: &api.API{Project: hansom.DefaultProject, ID: "abc123", Name: "test"}, Stages: map[string]*api.LiveStage{
		"$default": {Stage: api.Stage{Name: "$default"}, Snapshot: s},
		"prod":     {Stage: api.Stage{Name: "prod", Variables: map[string]string{"colour": "blue"}}, Snapshot: s},
	}}
	for _, st := range live.Stages {
		if change != nil {
			change(st)
		}
	}
	return live
}

// world is a gateway with all it may work with, before the API abc123.
type world struct {
	*Gateway
	mu     sync.Mutex
	calls  []string // functions, as name:qualifier
	logs   []hansom.LogEvent
	result string
	counts map[string]int // "API stage status"

	sent   []integrate.Message
	events []integrate.Event
	err    error
}

// at counts answers of a stage.
type at struct {
	*world
	name string
}

func (w *world) Stage(_, api, stage string) Observer { return at{w, api + " " + stage} }

func (w *world) ForgetAPI(_, api string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.counts, func(name string, _ int) bool { return strings.HasPrefix(name, api+" ") })
}

func (a at) Observe(status int, _ time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[fmt.Sprint(a.name, " ", status)]++
}

func (w *world) Append(e hansom.LogEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs = append(w.logs, e)
}

func (w *world) Authorize(_ context.Context, q *authorize.Query) authorize.Decision {
	who, ok := q.Selection("$request.header.Authorization")
	if !ok {
		return authorize.Decision{Status: 401, Message: "Unauthorized", Header: http.Header{"Www-Authenticate": {"Bearer"}}, Value: func(name string) string { return map[string]string{"error": "no token"}[name] }}
	}
	d := authorize.Decision{Context: []byte(`{"lambda":{"who":"` + who + `"}}`), ContextV1: []byte(`{"who":"` + who + `"}`), Value: func(name string) string { return map[string]string{"who": who}[name] }}
	if who == "limited" {
		rate, burst := 0.001, 1
		d.Key, d.Plan = &api.Key{ID: "k"}, &api.Plan{ID: "p", Rate: &rate, Burst: &burst}
	}
	if who == "event" {
		event, err := q.Event("2.0", []string{who})
		d.Status, d.Message = 403, fmt.Sprint(string(event), err)
	}
	return d
}

func (w *world) SendMessage(_ context.Context, project, queue string, m integrate.Message) (integrate.Sent, error) {
	w.sent = append(w.sent, m)
	return integrate.Sent{ID: project + "/" + queue, Body: "md5"}, w.err
}

func (w *world) PutEvent(_ context.Context, _ string, e integrate.Event) (string, error) {
	w.events = append(w.events, e)
	return "event-1", w.err
}

func newWorld(t testing.TB, live *api.Live) *world {
	w := &world{result: `{"statusCode":200,"headers":{"content-type":"text/plain","access-control-allow-origin":"https://function.example"},"body":"hello"}`, counts: map[string]int{}}
	limits, err := throttle.New(throttle.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	servers := integrate.NewUpstreams(context.Background(), upstream.New(upstream.DefaultConfig()), &tls.Config{})
	t.Cleanup(servers.Close)
	invoke := invokeFunc(func(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.calls = append(w.calls, inv.Function+":"+inv.Qualifier)
		return hansom.NewResult([]byte(w.result), nil), w.err
	})
	w.Gateway = New(DefaultConfig(), Deps{URLs: urls{}, Invoker: invoke, Authorizer: w, Limits: limits, Logs: w, Meter: w,
		Integrate: integrate.Deps{Region: hansom.DefaultRegion, Upstreams: servers, Queues: w, Buses: w}}, slog.New(slog.DiscardHandler))
	w.SetAPIs(map[string]*api.Live{"abc123": live})
	return w
}

const apiHost = "abc123.execute-api.localhost"

func (w *world) ask(t *testing.T, request string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	if !strings.Contains(request, "\nHost: ") {
		first, rest, _ := strings.Cut(request, "\n")
		request = first + "\nHost: " + apiHost
		if rest != "" {
			request += "\n" + rest
		}
	}
	first, rest, _ := strings.Cut(request, "\n")
	head, body, _ := strings.Cut(rest, "\n\n")
	if body != "" {
		head += fmt.Sprint("\nContent-Length: ", len(body))
	}
	r := readRequest(t, first+" HTTP/1.1\n"+head)
	if body != "" {
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	w.ServeHTTP(rec, r)
	return rec
}

func TestStages(t *testing.T) {
	w := newWorld(t, testAPI())
	for request, want := range map[string]string{
		"GET /pets/1":          "f:",
		"GET /prod/pets/1":     "f:",
		"GET /prod":            "old:",
		"GET /prod/":           "old:",
		"GET /production/x":    "old:",
		"GET /prod/alias":      "alias:blue",
		"GET /$default/pets/1": "old:",
		"PUT /old/1":           "old:",
		"GET /broken":          "500",
		"GET /mine/x":          "401",
		"GET /alias":           "alias:",
		"GET /pets/1\nHost: abc123.execute-api.localhost:8080": "f:",
		"GET /pets/1\nHost: ABC123.execute-API.localhost":      "f:",
		"GET /pets/1\nHost: other.execute-api.localhost":       "404",
	} {
		w.calls = nil
		rec := w.ask(t, request)
		if got := strings.Join(w.calls, ","); got != want && fmt.Sprint(rec.Code) != want {
			t.Errorf("%s: called %q, status %d, want %s", request, got, rec.Code, want)
		}
		if want != "404" && rec.Header().Get("Apigw-Requestid") == "" {
			t.Errorf("%s: no apigw-requestid", request)
		}
	}
	gone := *testAPI()
	off := *gone.API
	off.EndpointOff = true
	w.SetAPIs(map[string]*api.Live{"abc123": {API: &off, Stages: gone.Stages}})
	if rec := w.ask(t, "GET /pets/1"); rec.Code != 404 {
		t.Errorf("an endpoint that is off answers %d", rec.Code)
	}
	w.SetAPIs(map[string]*api.Live{"abc123": nil})
	if rec := w.ask(t, "GET /pets/1"); rec.Code != 404 || rec.Body.String() != `{"message":"Not Found"}` {
		t.Errorf("an API that is gone answers %d %s", rec.Code, rec.Body)
	}
	// An API without $default answers below its stages only.
	prod := testAPI()
	delete(prod.Stages, "$default")
	w.SetAPIs(map[string]*api.Live{"abc123": prod})
	for path, want := range map[string]int{"/pets/1": 404, "/prod/pets/1": 200} {
		if rec := w.ask(t, "GET "+path); rec.Code != want {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

func TestDomains(t *testing.T) {
	w := newWorld(t, testAPI())
	w.SetApps([]App{testApp("shop", []hansom.Route{{Method: "GET", Path: "/", Function: "shop"}, {Method: "GET", Path: "/{id}", Function: "shop-one"}})})
	w.SetDomains([]*api.Domain{
		{Project: hansom.DefaultProject, Name: "api.example.com", Mappings: []api.Mapping{{API: "abc123", Stage: "prod"}, {API: "abc123", Stage: "$default", Key: "v1/orders"}, {API: "shop", Key: "shop"}, {API: "gone", Key: "gone"}}},
		{Project: hansom.DefaultProject, Name: "*.example.com", Mappings: []api.Mapping{{API: "shop", Stage: "$default"}}},
		{Project: hansom.DefaultProject, Name: "empty.example.com"},
		{Project: "111111111111", Name: "theirs.example.com", Mappings: []api.Mapping{{API: "abc123", Stage: "prod"}}},
	})
	for request, want := range map[string]string{
		"GET /alias\nHost: api.example.com":           "alias:blue",
		"GET /v1/orders/alias\nHost: api.example.com": "alias:",
		"GET /v1/orders\nHost: api.example.com:8443":  "old:",
		"GET /v1/ordersalias\nHost: api.example.com":  "old:",
		"GET /shop\nHost: api.example.com":            "shop:",
		"GET /shop/1\nHost: API.example.com":          "shop-one:",
		"GET /gone/alias\nHost: api.example.com":      "old:",
		"GET /1\nHost: www.example.com":               "shop-one:",
		"GET /1\nHost: a.b.example.com":               "404",
		"GET /1\nHost: example.com":                   "404",
		"GET /alias\nHost: empty.example.com":         "404",
		"GET /alias\nHost: theirs.example.com":        "404",
	} {
		w.calls = nil
		rec := w.ask(t, request)
		if got := strings.Join(w.calls, ","); got != want && fmt.Sprint(rec.Code) != want {
			t.Errorf("%s: called %q, status %d, want %s", request, got, rec.Code, want)
		}
	}
}

func TestAPICORS(t *testing.T) {
	yes, age := true, 60
	cors := &hansom.CORS{AllowOrigins: []string{"https://a.example"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"x-a"}, ExposeHeaders: []string{"x-e"}, AllowCredentials: &yes, MaxAge: &age}
	w := newWorld(t, testLive([]api.Integration{function("f", "2.0"), {ID: "r", Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"Body": "fixed"}}},
		[]api.Route{{Key: "GET /a", Integration: "f"}, {Key: "GET /fixed", Integration: "r"}, {Key: "GET /mine", Integration: "f", Authorization: "CUSTOM", Authorizer: "a"}}, func(s *api.LiveStage) { s.CORS = cors }))
	rec := w.ask(t, "OPTIONS /a\nOrigin: https://a.example\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: x-a")
	h := rec.Header()
	if rec.Code != 204 || rec.Body.Len() != 0 || h.Get("Access-Control-Allow-Origin") != "https://a.example" || h.Get("Access-Control-Allow-Methods") != "PUT" ||
		h.Get("Access-Control-Allow-Headers") != "x-a" || h.Get("Access-Control-Max-Age") != "60" || h.Get("Access-Control-Allow-Credentials") != "true" || len(w.calls) > 0 {
		t.Errorf("preflight: %d %v, calls %v", rec.Code, h, w.calls)
	}
	age = 0 // not to be kept at all: without the header browsers keep it for 5 s
	if h := w.ask(t, "OPTIONS /a\nOrigin: https://a.example\nAccess-Control-Request-Method: PUT").Header(); h.Get("Access-Control-Max-Age") != "0" {
		t.Errorf("preflight with MaxAge 0: %v", h)
	}
	for request, want := range map[string]string{
		"GET /a\nOrigin: https://a.example":       "200 https://a.example x-e",
		"GET /a":                                  "200  ",
		"GET /a\nOrigin: https://evil.example":    "200  ",
		"GET /fixed\nOrigin: https://a.example":   "200 https://a.example x-e",
		"GET /mine\nOrigin: https://a.example":    "401 https://a.example x-e",
		"GET /nowhere\nOrigin: https://a.example": "404 https://a.example x-e",
		"OPTIONS /nowhere":                        "204  ",
		"OPTIONS /mine\nOrigin: https://evil.example\nAccess-Control-Request-Method: GET": "204  ",
	} {
		rec := w.ask(t, request)
		if got := fmt.Sprint(rec.Code, " ", strings.Join(rec.Header()["Access-Control-Allow-Origin"], ","), " ", rec.Header().Get("Access-Control-Expose-Headers")); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
		if !strings.Contains(rec.Header().Get("Vary"), "Origin") {
			t.Errorf("%s: Vary is %v", request, rec.Header()["Vary"])
		}
	}
}

func TestThrottles(t *testing.T) {
	slow, one, two := 0.001, 1, 2
	live := testLive([]api.Integration{function("f", "2.0")}, []api.Route{{Key: "GET /a", Integration: "f"}, {Key: "GET /b", Integration: "f"}, {Key: "GET /c", Integration: "f"},
		{Key: "GET /mine", Integration: "f", Authorization: "CUSTOM", Authorizer: "a"}}, nil)
	live.Stages["prod"].Default = api.Settings{Rate: &slow, Burst: &two}
	live.Stages["prod"].Settings = map[string]api.Settings{"GET /c": {Rate: &slow, Burst: &one}}
	live.Limits = []api.Limit{{Route: "GET /b", Per: "client", Rate: slow, Burst: 1}}
	w := newWorld(t, live)
	ask := func(request string, want int) {
		t.Helper()
		rec := w.ask(t, request)
		if rec.Code != want {
			t.Errorf("%s: %d, want %d", request, rec.Code, want)
		}
		after := rec.Header().Get("Retry-After")
		if (want == 429) != (after != "" && after != "0") || want == 429 && rec.Body.String() != `{"message":"Too Many Requests"}` {
			t.Errorf("%s: Retry-After %q, %s", request, after, rec.Body)
		}
	}
	ask("GET /prod/a", 200)
	ask("GET /prod/a", 200)
	ask("GET /prod/a", 429) // the stage's
	ask("GET /prod/c", 200)
	ask("GET /prod/c", 429) // the route's own
	ask("GET /a", 200)      // another stage
	ask("GET /b", 200)
	ask("GET /b", 429) // the client's
	ask("GET /mine\nAuthorization: limited", 200)
	ask("GET /mine\nAuthorization: limited", 429) // the key's
	ask("GET /mine\nAuthorization: free", 200)
	if n := len(w.calls); n != 7 {
		t.Errorf("%d calls", n)
	}
}

func TestAuthorized(t *testing.T) {
	w := newWorld(t, testAPI())
	rec := w.ask(t, "GET /mine/x")
	if rec.Code != 401 || rec.Header().Get("Www-Authenticate") != "Bearer" || rec.Body.String() != `{"message":"Unauthorized"}` || len(w.calls) > 0 {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if rec := w.ask(t, "GET /mine/x\nAuthorization: ada"); rec.Code != 200 || len(w.calls) != 1 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	var refused struct{ Message string }
	rec = w.ask(t, "GET /mine/x\nAuthorization: event")
	if err := json.Unmarshal(rec.Body.Bytes(), &refused); err != nil {
		t.Fatal(err)
	}
	var event map[string]any
	if err := json.Unmarshal([]byte(strings.TrimSuffix(refused.Message, "<nil>")), &event); err != nil {
		t.Fatalf("%v: %s", err, refused.Message)
	}
	for name, want := range map[string]string{"version": "2.0", "type": "REQUEST", "routeKey": "GET /mine/{proxy+}", "identitySource": "[event]", "routeArn": "arn:aws:execute-api:us-east-1:000000000000:abc123/$default/GET/mine/x", "pathParameters": "map[proxy:x]"} {
		if fmt.Sprint(event[name]) != want {
			t.Errorf("%s is %v, want %s", name, event[name], want)
		}
	}
	w.Gateway.deps.Authorizer = nil
	if rec := w.ask(t, "GET /mine/x\nAuthorization: ada"); rec.Code != 500 {
		t.Errorf("without anybody to ask: %d", rec.Code)
	}
}

func TestAccessLog(t *testing.T) {
	const format = `{"id":"$context.requestId","route":"$context.routeKey","status":"$context.status","length":"$context.responseLength","stage":"$context.stage","who":"$context.authorizer.who","error":"$context.error.message","auth":"$context.authorizer.error","integration":"$context.integrationStatus","function":"$context.integration.status","path":"$context.path","ip":"$context.identity.sourceIp","prefix":"$context.domainPrefix","type":"$context.error.responseType"}`
	live := testAPI()
	for _, s := range live.Stages {
		s.LogTarget, s.LogFormat = "arn:aws:logs:us-east-1:000000000000:log-group:/gateway/test", format
	}
	w := newWorld(t, live)
	for request, want := range map[string]string{
		"GET /prod/pets/1?x=1":            `{"route":"GET /pets/{id}","status":"200","length":"5","stage":"prod","who":"-","error":"-","auth":"-","integration":"200","function":"200","path":"/prod/pets/1","ip":"192.0.2.1","prefix":"abc123","type":"-"}`,
		"GET /mine/x":                     `{"route":"GET /mine/{proxy+}","status":"401","length":"26","stage":"$default","who":"-","error":"Unauthorized","auth":"no token","integration":"-","function":"-","path":"/mine/x","ip":"192.0.2.1","prefix":"abc123","type":"UNAUTHORIZED"}`,
		"GET /mine/x\nAuthorization: ada": `{"route":"GET /mine/{proxy+}","status":"200","length":"5","stage":"$default","who":"ada","error":"-","auth":"-","integration":"200","function":"200","path":"/mine/x","ip":"192.0.2.1","prefix":"abc123","type":"-"}`,
		"GET /broken":                     `{"route":"GET /broken","status":"500","length":"35","stage":"$default","who":"-","error":"Internal Server Error","auth":"-","integration":"-","function":"-","path":"/broken","ip":"192.0.2.1","prefix":"abc123","type":"DEFAULT_5XX"}`,
	} {
		w.logs = nil
		rec := w.ask(t, request)
		if len(w.logs) != 1 {
			t.Fatalf("%s: %d lines", request, len(w.logs))
		}
		e := w.logs[0]
		id := rec.Header().Get("Apigw-Requestid")
		want = strings.Replace(want, "{", `{"id":"`+id+`",`, 1)
		if e.Group != "/gateway/test" || e.RequestID != id || e.Message != want {
			t.Errorf("%s: %+v\n got %s\nwant %s", request, e, e.Message, want)
		}
	}
}

// server is one that proxies go to.
func server(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// listen serves the gateway over HTTP.
func (w *world) listen(t *testing.T) string { return server(t, w.ServeHTTP) }

func get(t *testing.T, method, url string, header http.Header, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = apiHost
	for name, values := range header {
		r.Header[name] = values
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// An HTTP integration with mappings both ways, over real connections.
func TestProxyIntegration(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header()["Apigw-Requestid"] = []string{"theirs"}
		w.Header().Set("X-Secret", "s")
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"got":%q,"uri":%q,"name":%q,"host":%q,"via":%q,"for":%q,"traceparent":%q,"te":%q}`, body, r.RequestURI, r.Header.Get("X-Name"), r.Host, r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-For"), r.Header.Get("Traceparent"), r.Header.Get("Accept-Encoding"))
	})
	w := newWorld(t, testLive([]api.Integration{{ID: "p", Type: api.HTTPProxy, URI: url + "/base/{proxy}?k=v", Method: "ANY",
		Parameters: map[string]string{"overwrite:header.x-name": "$request.body.name", "remove:querystring.drop": "", "overwrite:header.host": "${request.querystring.x}.example"},
		Responses:  map[string]map[string]string{"201": {"overwrite:statuscode": "202", "remove:header.x-secret": "", "overwrite:header.x-got": "$response.body.uri"}}}},
		[]api.Route{{Key: "ANY /to/{proxy+}", Integration: "p"}}, nil))
	answer, text := get(t, "POST", w.listen(t)+"/to/a%2Fb/c?drop=1&x=2", http.Header{"Accept-Encoding": {"gzip"}}, strings.NewReader(`{"name":"Ada"}`))
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if got["got"] != `{"name":"Ada"}` || got["uri"] != "/base/a%2Fb/c?k=v&x=2" || got["name"] != "Ada" || got["host"] != "2.example" || got["via"] != apiHost || got["for"] != "127.0.0.1" || traceOf(got["traceparent"]) == "" || got["te"] != "" {
		t.Errorf("the server got %v", got)
	}
	h := answer.Header
	if answer.StatusCode != 202 || h["X-Secret"] != nil || h.Get("X-Got") != "/base/a%2Fb/c?k=v&x=2" || len(h["Apigw-Requestid"]) != 1 || h.Get("Apigw-Requestid") == "theirs" {
		t.Errorf("%d %v", answer.StatusCode, h)
	}
}

func TestProxyRefusals(t *testing.T) {
	release := make(chan struct{})
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	defer close(release)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	proxy := func(id, uri string) api.Integration {
		return api.Integration{ID: id, Type: api.HTTPProxy, URI: uri, Timeout: 50}
	}
	w := newWorld(t, testLive([]api.Integration{proxy("slow", url+"/slow"), proxy("dead", "http://"+dead.Addr().String()), proxy("meta", "http://169.254.169.254/"), {ID: "at", Type: api.HTTPProxy, URI: url + "/{proxy}"}},
		[]api.Route{{Key: "GET /slow", Integration: "slow"}, {Key: "GET /dead", Integration: "dead"}, {Key: "GET /meta", Integration: "meta"}, {Key: "ANY /at/{proxy+}", Integration: "at"}}, nil))
	base := w.listen(t)
	for _, c := range []struct {
		method, path string
		body         io.Reader
		want         string
	}{
		{"GET", "/slow", nil, `504 {"message":"Endpoint request timed out"}`},
		{"GET", "/dead", nil, `503 {"message":"Service Unavailable"}`},
		{"GET", "/meta", nil, `503 {"message":"Service Unavailable"}`},
		{"GET", "/at/..%2f..%2fx", nil, `400 {"message":"Bad Request"}`},
		{"POST", "/at/x", io.LimitReader(zeros{}, integrate.MaxBody+1), `413 {"message":"Request Entity Too Large"}`},
		{"POST", "/at/x", strings.NewReader(strings.Repeat("x", 1<<20)), "200 "},
	} {
		answer, text := get(t, c.method, base+c.path, nil, c.body)
		if got := fmt.Sprint(answer.StatusCode, " ", text); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.want)
		}
	}
}

// A protocol of its own passes both ways, and its access log says 101.
func TestUpgrade(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "you said %s", line)
		rw.Flush()
	})
	live := testLive([]api.Integration{{ID: "p", Type: api.HTTPProxy, URI: url + "/ws"}}, []api.Route{{Key: "GET /ws", Integration: "p"}}, func(s *api.LiveStage) {
		s.LogTarget, s.LogFormat = "arn:aws:logs:us-east-1:000000000000:log-group:l", "$context.requestId $context.status"
	})
	w := newWorld(t, live)
	done := make(chan struct{})
	base := server(t, func(rw http.ResponseWriter, r *http.Request) {
		defer close(done)
		w.ServeHTTP(rw, r)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n", apiHost)
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != 101 || answer.Header.Get("Upgrade") != "chat" {
		t.Fatalf("%v %v", answer, err)
	}
	fmt.Fprintf(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "you said hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	conn.Close()
	<-done
	if len(w.logs) != 1 || !strings.HasSuffix(w.logs[0].Message, " 101") {
		t.Errorf("%+v", w.logs)
	}
}

// Streams pass as they come, longer than the timeout, and one that breaks off is seen as broken; a client that goes away ends the request.
func TestProxyStream(t *testing.T) {
	step, gone := make(chan struct{}), make(chan struct{})
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "one")
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
			close(gone)
			return
		}
		<-step
		fmt.Fprint(w, "two")
		if r.URL.Path == "/break" {
			panic(http.ErrAbortHandler)
		}
	})
	w := newWorld(t, testLive([]api.Integration{{ID: "p", Type: api.HTTPProxy, URI: url + "/{proxy}", Timeout: 500}}, []api.Route{{Key: "GET /{proxy+}", Integration: "p"}}, nil))
	base := w.listen(t)
	for _, path := range []string{"/all", "/break", "/wait"} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", base+path, nil)
		r.Host = apiHost
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 3)
		if _, err := io.ReadFull(answer.Body, part); err != nil || string(part) != "one" {
			t.Fatalf("%q, %v", part, err)
		}
		if path == "/wait" {
			cancel()
			<-gone
			continue
		}
		if late, _ := get(t, "GET", base+"/slow", nil, nil); late.StatusCode != 504 { // begun later, and its timeout is over
			t.Errorf("slow: %d", late.StatusCode)
		}
		step <- struct{}{}
		rest, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if broken := err != nil; broken != (path == "/break") || !broken && string(rest) != "two" {
			t.Errorf("%s: %q, %v", path, rest, err)
		}
	}
}

func TestServices(t *testing.T) {
	w := newWorld(t, testLive([]api.Integration{
		{ID: "q", Type: api.AWSProxy, Subtype: api.SubtypeSQS, Parameters: map[string]string{"QueueUrl": "http://localhost:4566/000000000000/jobs", "MessageBody": "$request.body", "MessageGroupId": "$request.path.id",
			"MessageAttributes": `{"who":{"DataType":"String","StringValue":"${request.header.x-who}"}}`}},
		{ID: "e", Type: api.AWSProxy, Subtype: api.SubtypeEvents, Parameters: map[string]string{"Source": "shop", "DetailType": "Order ${request.path.id}", "Detail": `{"who":"${request.header.x-who}","order":${request.body}}`}},
		{ID: "r", Type: api.AWSProxy, Subtype: api.SubtypeRedirect, Parameters: map[string]string{"Location": "https://new.example/${request.path.id}?q=${request.querystring.q}", "StatusCode": "308"}},
		{ID: "s", Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"StatusCode": "418", "Body": `{"id":"${request.path.id}"}`, "ContentType": "application/json"}},
	}, []api.Route{{Key: "POST /q/{id}", Integration: "q"}, {Key: "POST /e/{id}", Integration: "e"}, {Key: "GET /r/{id}", Integration: "r"}, {Key: "GET /s/{id}", Integration: "s"}}, nil))

	rec := w.ask(t, "POST /q/7\nX-Who: a\"b\n\n{\"n\":1}")
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/xml" || !strings.Contains(rec.Body.String(), "<MessageId>000000000000/jobs</MessageId>") {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if m := w.sent[0]; m.Body != `{"n":1}` || m.Group != "7" || m.Attributes["who"].Text != `a"b` || m.Trace == "" {
		t.Errorf("%+v", m)
	}
	rec = w.ask(t, "POST /e/7\nX-Who: a\"b\n\n{\"n\":1}")
	if rec.Code != 200 || rec.Body.String() != `{"Entries":[{"EventId":"event-1"}],"FailedEntryCount":0}` {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if e := w.events[0]; e.Source != "shop" || e.DetailType != "Order 7" || string(e.Detail) != `{"who":"a\"b","order":{"n":1}}` {
		t.Errorf("%+v %s", e, e.Detail)
	}
	if rec := w.ask(t, "GET /r/a%2Fb?q=x%26y"); rec.Code != 308 || rec.Header().Get("Location") != "https://new.example/a%2Fb?q=x%26y" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	if rec := w.ask(t, "GET /s/a%22b"); rec.Code != 418 || rec.Body.String() != `{"id":"a\"b"}` || rec.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.err = hansom.Errorf(hansom.NotFound, "send", "The specified queue does not exist.").WithCode("QueueDoesNotExist")
	if rec := w.ask(t, "POST /q/7\n\nx"); rec.Code != 400 || !strings.Contains(rec.Body.String(), "<Code>QueueDoesNotExist</Code>") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.ask(t, "POST /e/7\n\n{}"); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"ErrorCode":"QueueDoesNotExist"`) || !strings.Contains(rec.Body.String(), `"FailedEntryCount":1`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.err = hansom.Errorf(hansom.Unavailable, "send", "full")
	if rec := w.ask(t, "POST /q/7\n\nx"); rec.Code != 503 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// sites has one for the app guestbook.
type sites struct{}

func (sites) Site(_, app string) http.Handler {
	if app != "guestbook" {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "site ", r.URL.Path, " ", r.RequestURI) })
}

func (sites) Preview(label string) http.Handler {
	if label != "d1--guestbook" {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "preview") })
}

func TestSites(t *testing.T) {
	w := newWorld(t, testLive([]api.Integration{{ID: "s", Type: api.AWSProxy, Subtype: api.SubtypeSite, Parameters: map[string]string{"App": "guestbook"}}}, []api.Route{{Key: "$default", Integration: "s"}}, nil))
	w.deps.Sites = sites{}
	w.deps.Integrate.Sites = sites{}
	w.SetAPIs(map[string]*api.Live{"abc123": testLive([]api.Integration{{ID: "s", Type: api.AWSProxy, Subtype: api.SubtypeSite, Parameters: map[string]string{"App": "guestbook"}}}, []api.Route{{Key: "$default", Integration: "s"}}, nil)})
	w.SetApps([]App{testApp("guestbook", []hansom.Route{{Method: "POST", Path: "/sign", Function: "sign"}}), {Project: hansom.DefaultProject, Slug: "default", Name: "bare"}})
	w.SetDomains([]*api.Domain{{Project: hansom.DefaultProject, Name: "book.example", Mappings: []api.Mapping{{API: "guestbook", Key: "book"}}}})
	for request, want := range map[string]string{
		"GET /a/b.html?x=1\nHost: guestbook.localhost": "200 site /a/b.html /a/b.html?x=1",
		"GET /sign\nHost: guestbook.localhost":         "200 site /sign /sign",
		"POST /sign\nHost: guestbook.localhost":        "200 hello",
		"GET /\nHost: d1--guestbook.localhost":         "200 preview",
		"GET /\nHost: d2--guestbook.localhost":         `404 {"message":"no app answers at d2--guestbook.localhost"}`,
		"GET /\nHost: bare.localhost":                  `404 {"message":"Not Found"}`,
		"GET /prod/a%20b?x=1":                          "200 site /a b /a%20b?x=1",
		"GET /book/x\nHost: book.example":              "200 site /x /x",
	} {
		rec := w.ask(t, request)
		if got := fmt.Sprint(rec.Code, " ", rec.Body); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

// fiber is one that nobody waits on.
type fiber struct{ detached bool }

func (f *fiber) Detach() { f.detached = true }

// A function that serves HTTP itself has its requests come again over net/http, which count once.
func TestHandOver(t *testing.T) {
	slow, one := 0.001, 2
	live := testLive([]api.Integration{function("f", "2.0")}, []api.Route{{Key: "GET /a", Integration: "f"}}, func(s *api.LiveStage) {
		s.Default = api.Settings{Rate: &slow, Burst: &one}
		s.LogTarget, s.LogFormat = "arn:aws:logs:us-east-1:000000000000:log-group:l", "$context.requestId $context.status"
	})
	w := newWorld(t, live)
	w.deps.Invoker = servesHTTP{}
	ask := func(on bool) (code int, over bool) {
		r := readRequest(t, "GET /a HTTP/1.1\nHost: "+apiHost)
		if on {
			r = r.WithContext(hansom.WithFiber(r.Context(), &fiber{}))
		}
		defer func() {
			if e := recover(); e != nil {
				over = e == hansom.ErrHandOver
			}
		}()
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		return rec.Code, false
	}
	if _, over := ask(true); !over || len(w.logs) != 0 { // nobody knew: it was counted
		t.Errorf("handed over %v, %d lines", over, len(w.logs))
	}
	if code, _ := ask(false); code != 202 || len(w.logs) != 1 {
		t.Errorf("%d, %v", code, w.logs)
	}
	for range 3 {
		if _, over := ask(true); !over {
			t.Error("not handed over")
		}
	}
	if code, _ := ask(false); code != 429 || len(w.logs) != 2 {
		t.Errorf("%d, %v", code, w.logs)
	}
}

// What is answered is counted once, by its stage and its status, and forgotten with the API.
func TestMeter(t *testing.T) {
	w := newWorld(t, testLive([]api.Integration{function("f", "2.0"), {ID: "r", Type: api.AWSProxy, Subtype: api.SubtypeRedirect, Parameters: map[string]string{"Location": "/"}}},
		[]api.Route{{Key: "GET /f", Integration: "f"}, {Key: "GET /r", Integration: "r"}, {Key: "GET /auth", Integration: "f", Authorization: "JWT"}}, nil))
	for _, path := range []string{"/f", "/f", "/r", "/auth", "/none"} {
		w.ask(t, "GET "+path)
	}
	w.result = `{"statusCode":"no"}`
	w.ask(t, "GET /f")
	w.deps.Invoker = servesHTTP{}
	func() {
		defer func() { _ = recover() }()
		r := readRequest(t, "GET /f HTTP/1.1\nHost: "+apiHost)
		w.ServeHTTP(httptest.NewRecorder(), r.WithContext(hansom.WithFiber(r.Context(), &fiber{})))
	}()
	w.ask(t, "GET /f")
	id, _, _ := strings.Cut(apiHost, ".")
	want := map[string]int{id + " $default 200": 2, id + " $default 202": 1, id + " $default 302": 1, id + " $default 401": 1, id + " $default 404": 1, id + " $default 500": 1}
	if !maps.Equal(w.counts, want) {
		t.Errorf("counted %v, want %v", w.counts, want)
	}
	if w.SetAPIs(map[string]*api.Live{id: nil}); len(w.counts) > 0 {
		t.Errorf("an API that is gone has %v", w.counts)
	}
}

// servesHTTP is an invoker of a function that does.
type servesHTTP struct{}

func (servesHTTP) Invoke(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	if inv.Fiber != nil {
		return hansom.Result{}, hansom.ErrHandOver
	}
	inv.HTTP.Response.WriteHeader(202)
	return hansom.Result{Streamed: true}, nil
}

// No request fails while an API changes, and each sees the one or the other.
func TestChangeUnderLoad(t *testing.T) {
	fixed := func(text string) *api.Live {
		return testLive([]api.Integration{{ID: "r", Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"Body": text}}}, []api.Route{{Key: "GET /a", Integration: "r"}}, nil)
	}
	w := newWorld(t, fixed("0"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rec := httptest.NewRecorder()
				w.ServeHTTP(rec, readRequest(t, "GET /a HTTP/1.1\nHost: "+apiHost))
				if n, err := strconv.Atoi(rec.Body.String()); rec.Code != 200 || err != nil || n > 200 {
					t.Errorf("%d %s", rec.Code, rec.Body)
					return
				}
			}
		})
	}
	for i := range 200 {
		want := strconv.Itoa(i)
		w.SetAPIs(map[string]*api.Live{"abc123": fixed(want), "other": nil})
		w.SetApps([]App{testApp("a", nil)})
		w.SetDomains([]*api.Domain{{Project: hansom.DefaultProject, Name: "a.example"}})
		if rec := w.ask(t, "GET /a"); rec.Body.String() != want {
			t.Fatalf("a change to %s is not there: %s", want, rec.Body)
		}
	}
	close(stop)
	wg.Wait()
}

// A body that is not the one that was signed is refused by all kinds of integrations.
func TestSignedBody(t *testing.T) {
	url := server(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	live := testLive([]api.Integration{function("f", "2.0"), {ID: "p", Type: api.HTTPProxy, URI: url}, {ID: "q", Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"Body": "x"}}},
		[]api.Route{{Key: "POST /f", Integration: "f", Authorization: "AWS_IAM"}, {Key: "POST /p", Integration: "p", Authorization: "AWS_IAM"}, {Key: "POST /q", Integration: "q", Authorization: "AWS_IAM"}}, nil)
	w := newWorld(t, live)
	w.deps.Authorizer = signedFunc(func(q *authorize.Query) authorize.Decision {
		q.Request.Body = io.NopCloser(badBody{})
		return authorize.Decision{Principal: &hansom.Principal{}, Value: func(string) string { return "" }}
	})
	for _, path := range []string{"/f", "/p", "/q"} {
		if rec := w.ask(t, "POST "+path+"\n\nbody"); rec.Code != 403 || rec.Body.String() != `{"message":"Forbidden"}` {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}

// A body that comes too slowly is 408 for all kinds of integrations, and for a function that serves HTTP itself.
func TestSlowBody(t *testing.T) {
	url := server(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	live := testLive([]api.Integration{function("f", "2.0"), {ID: "p", Type: api.HTTPProxy, URI: url}, {ID: "q", Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"Body": "x"}}},
		[]api.Route{{Key: "POST /f", Integration: "f"}, {Key: "POST /p", Integration: "p"}, {Key: "POST /q", Integration: "q"}}, nil)
	w := newWorld(t, live)
	ask := func(path string, length int64) {
		t.Helper()
		r := readRequest(t, "POST "+path+" HTTP/1.1\nHost: "+apiHost)
		r.Body, r.ContentLength = io.NopCloser(slowBody{}), length
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != 408 || rec.Body.String() != `{"message":"Request Timeout"}` {
			t.Errorf("%s, Content-Length %d: %d %s", path, length, rec.Code, rec.Body)
		}
	}
	for _, path := range []string{"/f", "/p", "/q"} {
		ask(path, 10)
		ask(path, 1<<20)
		ask(path, -1)
	}
	w.deps.Invoker = readsBody{}
	ask("/f", -1)
}

// readsBody is an invoker of a function that serves HTTP and reads what it is sent.
type readsBody struct{}

func (readsBody) Invoke(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	_, inv.HTTP.BodyErr = io.ReadAll(inv.HTTP.Request.Body)
	return hansom.Result{}, nil
}

type slowBody struct{}

func (slowBody) Read([]byte) (int, error) {
	return 0, hansom.Errorf(hansom.Timeout, "read body", "the body came too slowly")
}

// A server that answers before it has the body answers the client at once, and what is left of the body is not taken for a request.
func TestEarlyAnswer(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusConflict)
	})
	base := newWorld(t, testLive([]api.Integration{{ID: "p", Type: api.HTTPProxy, URI: url}}, []api.Route{{Key: "POST /p", Integration: "p"}}, nil)).listen(t)
	for _, framing := range []string{"Content-Length: 100000\r\n\r\npart", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(conn, "POST /p HTTP/1.1\r\nHost: "+apiHost+"\r\n"+framing)
		in := bufio.NewReader(conn)
		if answer, err := http.ReadResponse(in, nil); err != nil || answer.StatusCode != http.StatusConflict || !answer.Close {
			t.Errorf("%s: %+v %v", framing, answer, err)
			continue
		}
		fmt.Fprint(conn, "POST /p HTTP/1.1\r\nHost: "+apiHost+"\r\nContent-Length: 0\r\n\r\n")
		if rest, err := io.ReadAll(in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: one more answer: %q, %v", framing, rest, err)
		}
	}
}

type signedFunc func(q *authorize.Query) authorize.Decision

func (f signedFunc) Authorize(_ context.Context, q *authorize.Query) authorize.Decision { return f(q) }

type badBody struct{}

func (badBody) Read([]byte) (int, error) {
	return 0, hansom.Errorf(hansom.Unauthenticated, "authenticate", "not the body that was signed")
}
