package authorize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a service with fakes around it.
type fixture struct {
	*Service
	now     time.Time
	invoke  func(ctx context.Context, inv *hansom.Invocation) (hansom.Result, error)
	calls   atomic.Int64
	signer  hansom.Principal
	refusal error // of the authenticator
	keys    map[string]struct {
		key  *api.Key
		plan *api.Plan
	}
}

func (f *fixture) Invoke(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	f.calls.Add(1)
	return f.invoke(ctx, inv)
}

func (f *fixture) Authenticate(*http.Request) (hansom.Principal, error) { return f.signer, f.refusal }

func (f *fixture) Key(value, id, stage string) (*api.Key, *api.Plan, bool) {
	k, ok := f.keys[value+" "+id+" "+stage]
	return k.key, k.plan, ok
}

func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{now: time.Now()}
	f.keys = map[string]struct {
		key  *api.Key
		plan *api.Plan
	}{}
	cfg := DefaultConfig()
	cfg.Now = func() time.Time { return f.now }
	if change != nil {
		change(&cfg)
	}
	f.Service = New(cfg, Deps{Dialer: upstream.New(upstream.DefaultConfig()), Invoker: f, Auth: f, Keys: f}, slog.New(slog.DiscardHandler))
	t.Cleanup(f.tokens.Close)
	return f
}

const (
	project = hansom.DefaultProject
	apiID   = "abcdef1234"
)

// query is a request GET /pets/1 at a route with an authorizer.
func query(a api.Authorizer, change func(*api.Route)) *Query {
	r := httptest.NewRequest(http.MethodGet, "http://abcdef1234.execute-api.localhost/pets/1?user=anna&empty=", nil)
	r.Header.Set("User-Agent", "test")
	a.ID = "auth01"
	route := api.Route{ID: "r1", Key: "GET /pets/{id}", Authorizer: a.ID, Authorization: "CUSTOM"}
	if a.Type == api.JWT {
		route.Authorization = "JWT"
	}
	if change != nil {
		change(&route)
	}
	live := &api.Live{API: &api.API{Project: project, ID: apiID}}
	stage := &api.LiveStage{Stage: api.Stage{Name: api.DefaultStage}, Snapshot: &api.Snapshot{Routes: []api.Route{route}, Authorizers: []api.Authorizer{a}}}
	q := &Query{Request: r, API: live, Stage: stage, Route: &stage.Routes[0], ID: "id", Path: "/pets/1", Source: "192.0.2.7"}
	q.Selection = func(expression string) (string, bool) {
		if name, ok := strings.CutPrefix(expression, "$request.querystring."); ok {
			values, ok := r.URL.Query()[name]
			return strings.Join(values, ","), ok
		}
		return route.Key, expression == "$context.routeKey"
	}
	q.Event = func(payload string, identity []string) ([]byte, error) {
		return json.Marshal(map[string]any{"version": payload, "identitySource": identity})
	}
	return q
}

// function is an authorizer that asks a function for the identity of a header.
func function(change func(*api.Authorizer)) api.Authorizer {
	a := api.Authorizer{Name: "f", Type: api.Request, Sources: []string{"$request.header.Authorization"}, Payload: "2.0", Simple: true,
		URI: "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:guard:live/invocations"}
	if change != nil {
		change(&a)
	}
	return a
}

// says has the function answer.
func (f *fixture) says(text string) {
	f.invoke = func(context.Context, *hansom.Invocation) (hansom.Result, error) {
		return hansom.NewResult([]byte(text), nil), nil
	}
}

func equalJSON(t *testing.T, what string, got []byte, want any) {
	t.Helper()
	var have any
	if err := json.Unmarshal(got, &have); err != nil {
		t.Errorf("%s: %q: %v", what, got, err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestAnswers has what Lambda authorizers answer a request GET /pets/1, and what becomes of it.
func TestAnswers(t *testing.T) {
	text, err := os.ReadFile("testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Payload  string
		Simple, Failed bool
		Answer         json.RawMessage
		Status         int
		V1, V2         any
		Values         map[string]string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			f := newFixture(t, nil)
			if c.Payload == "" {
				c.Payload = "2.0"
			}
			f.invoke = func(_ context.Context, inv *hansom.Invocation) (hansom.Result, error) {
				if inv.Project != project || inv.Function != "guard" || inv.Qualifier != "live" || string(inv.Payload) != `{"identitySource":["token"],"version":"`+c.Payload+`"}` {
					t.Errorf("called %+v with %s", inv, inv.Payload)
				}
				r := hansom.NewResult(c.Answer, nil)
				if c.Failed {
					r.FunctionError = "Unhandled"
				}
				return r, nil
			}
			q := query(function(func(a *api.Authorizer) { a.Payload, a.Simple, a.TTL = c.Payload, c.Simple, 60 }), nil)
			q.Request.Header.Set("Authorization", "token")
			for range 2 {
				d := f.Authorize(context.Background(), q)
				if d.Status != c.Status {
					t.Fatalf("status %d, want %d: %s", d.Status, c.Status, d.Value("error"))
				}
				if c.Status != 0 {
					if d.Message != map[int]string{403: "Forbidden", 500: "Internal Server Error"}[c.Status] || d.Value("error") == "" || d.Context != nil || d.Header != nil {
						t.Errorf("%+v, %q", d, d.Value("error"))
					}
					continue
				}
				equalJSON(t, "2.0", d.Context, c.V2)
				equalJSON(t, "1.0", d.ContextV1, c.V1)
				for name, want := range c.Values {
					if got := d.Value(name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
			}
			if want := map[bool]int64{true: 2, false: 1}[c.Status == 500]; f.calls.Load() != want {
				t.Errorf("%d calls, want %d: answers are kept, failures are not", f.calls.Load(), want)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	f := newFixture(t, nil)
	f.says(`{"isAuthorized":true}`)
	for _, c := range []struct {
		name    string
		sources []string
		header  map[string]string
		status  int
	}{
		{"a header", []string{"$request.header.X-User"}, map[string]string{"X-User": "anna"}, 0},
		{"a header in another case", []string{"$request.header.x-user"}, map[string]string{"X-User": "anna"}, 0},
		{"no header", []string{"$request.header.x-user"}, nil, 401},
		{"an empty header", []string{"$request.header.x-user"}, map[string]string{"X-User": ""}, 401},
		{"a header and a parameter", []string{"$request.header.x-user", "$request.querystring.user"}, map[string]string{"X-User": "anna"}, 0},
		{"one of two is not there", []string{"$request.header.x-user", "$request.querystring.other"}, map[string]string{"X-User": "anna"}, 401},
		{"an empty parameter", []string{"$request.querystring.empty"}, nil, 401},
		{"nothing is asked for", nil, nil, 0},
	} {
		before := f.calls.Load()
		q := query(function(func(a *api.Authorizer) { a.Sources = c.sources }), nil)
		for name, v := range c.header {
			q.Request.Header.Set(name, v)
		}
		d := f.Authorize(context.Background(), q)
		if called := f.calls.Load() - before; d.Status != c.status || called != map[bool]int64{true: 1, false: 0}[c.status == 0] {
			t.Errorf("%s: status %d after %d calls, want %d", c.name, d.Status, called, c.status)
		}
		if d.Status == 401 && d.Message != "Unauthorized" {
			t.Errorf("%s: %q", c.name, d.Message)
		}
	}
}

func TestAnswersAreKept(t *testing.T) {
	f := newFixture(t, nil)
	f.says(`{"isAuthorized":true}`)
	ask := func(what string, calls int64, a api.Authorizer, change func(*Query)) {
		t.Helper()
		before := f.calls.Load()
		q := query(a, nil)
		q.Request.Header.Set("Authorization", "anna")
		if change != nil {
			change(q)
		}
		if d := f.Authorize(context.Background(), q); d.Status != 0 {
			t.Fatalf("%s: status %d, %s", what, d.Status, d.Value("error"))
		}
		if got := f.calls.Load() - before; got != calls {
			t.Errorf("%s: %d calls, want %d", what, got, calls)
		}
	}
	kept := function(func(a *api.Authorizer) { a.TTL = 60 })
	ask("the first", 1, kept, nil)
	ask("the second", 0, kept, nil)
	ask("another identity", 1, kept, func(q *Query) { q.Request.Header.Set("Authorization", "anna2") })
	ask("another route", 0, kept, func(q *Query) {
		q.Route = &api.Route{Key: "POST /pets", Authorization: "CUSTOM", Authorizer: "auth01"}
		q.Path = "/pets"
	})
	perRoute := function(func(a *api.Authorizer) {
		a.TTL = 60
		a.Sources = append(slices.Clone(a.Sources), "$context.routeKey")
	})
	ask("by route", 1, perRoute, nil)
	ask("by route, again", 0, perRoute, nil)
	ask("by route, another", 1, perRoute, func(q *Query) {
		q.Selection = func(string) (string, bool) { return "POST /pets", true }
	})
	ask("another stage", 1, kept, func(q *Query) { q.Stage = &api.LiveStage{Stage: api.Stage{Name: "test"}, Snapshot: q.Stage.Snapshot} })
	ask("another API", 1, kept, func(q *Query) { q.API = &api.Live{API: &api.API{Project: project, ID: "other"}} })
	other := function(func(a *api.Authorizer) { a.TTL, a.URI = 60, "arn:aws:lambda:us-east-1:000000000000:function:guard2" })
	ask("the authorizer has another function", 1, other, nil)
	// What identities have in common is told apart.
	two := function(func(a *api.Authorizer) { a.TTL, a.Sources = 60, []string{"$request.header.a", "$request.header.b"} })
	for _, h := range [][2]string{{"x", "yz"}, {"xy", "z"}} {
		ask(fmt.Sprint("identity ", h), 1, two, func(q *Query) {
			q.Request.Header.Set("a", h[0])
			q.Request.Header.Set("b", h[1])
		})
	}
	never := function(func(a *api.Authorizer) { a.TTL = 0 })
	ask("without a TTL", 1, never, nil)
	ask("without a TTL, again", 1, never, nil)
	all := function(func(a *api.Authorizer) { a.TTL, a.Sources = 60, nil })
	ask("without an identity", 1, all, nil)
	ask("without an identity, again", 1, all, nil)

	f.Reset(apiID, "test")
	ask("after another stage was reset", 0, kept, nil)
	f.Reset(apiID, api.DefaultStage)
	ask("after the stage was reset", 1, kept, nil)
	ask("and again", 0, kept, nil)
	f.now = f.now.Add(60*time.Second - 1)
	ask("before its end", 0, kept, nil)
	f.now = f.now.Add(1)
	ask("at its end", 1, kept, nil)
}

// TestResetDuringCall resets while the function is asked: what it says is not kept.
func TestResetDuringCall(t *testing.T) {
	f := newFixture(t, nil)
	f.invoke = func(context.Context, *hansom.Invocation) (hansom.Result, error) {
		f.Reset(apiID, api.DefaultStage)
		return hansom.NewResult([]byte(`{"isAuthorized":true}`), nil), nil
	}
	for range 2 {
		q := query(function(func(a *api.Authorizer) { a.TTL = 60 }), nil)
		q.Request.Header.Set("Authorization", "anna")
		f.Authorize(context.Background(), q)
	}
	if f.calls.Load() != 2 {
		t.Errorf("%d calls", f.calls.Load())
	}
}

func TestFunctionFails(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	f.says(`{"isAuthorized":true}`)
	status := func(q *Query) int {
		q.Request.Header.Set("Authorization", "anna")
		return f.Authorize(context.Background(), q).Status
	}
	for name, change := range map[string]func(*api.Authorizer){
		"a function of another project": func(a *api.Authorizer) { a.URI = "arn:aws:lambda:us-east-1:111111111111:function:guard" },
		"no function":                   func(a *api.Authorizer) { a.URI = "https://example.com" },
	} {
		if got := status(query(function(change), nil)); got != 500 || f.calls.Load() != 0 {
			t.Errorf("%s: %d after %d calls", name, got, f.calls.Load())
		}
	}
	q := query(function(nil), nil)
	q.Event = func(string, []string) ([]byte, error) { return nil, errors.New("no event") }
	if got := status(q); got != 500 || f.calls.Load() != 0 {
		t.Errorf("no event: %d", got)
	}
	f.says(`{"isAuthorized":true,"context":{"a":"` + strings.Repeat("x", 8<<10) + `"}}`)
	if got := status(query(function(nil), nil)); got != 500 {
		t.Errorf("an answer that is too large: %d", got)
	}
	f.invoke = func(context.Context, *hansom.Invocation) (hansom.Result, error) {
		return hansom.Result{}, hansom.Errorf(hansom.Throttled, "invoke", "Rate Exceeded.")
	}
	if got := status(query(function(nil), nil)); got != 500 {
		t.Errorf("throttled: %d", got)
	}
	f.invoke = func(ctx context.Context, _ *hansom.Invocation) (hansom.Result, error) {
		<-ctx.Done()
		return hansom.Result{}, ctx.Err()
	}
	if got := status(query(function(nil), nil)); got != 500 {
		t.Errorf("a function that takes too long: %d", got)
	}
	// A client that goes away ends the wait.
	f.cfg.Timeout = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q = query(function(nil), nil)
	q.Request.Header.Set("Authorization", "anna")
	if d := f.Authorize(ctx, q); d.Status != 500 {
		t.Errorf("a client that went away: %d", d.Status)
	}
	// A route whose authorizer is not there, or is of another type.
	for name, change := range map[string]func(*api.Route){
		"another id":      func(r *api.Route) { r.Authorizer = "other" },
		"another type":    func(r *api.Route) { r.Authorization = "JWT" },
		"an unknown type": func(r *api.Route) { r.Authorization = "COGNITO" },
	} {
		if got := status(query(function(nil), change)); got != 500 {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestIAM(t *testing.T) {
	f := newFixture(t, nil)
	q := query(function(nil), func(r *api.Route) { r.Authorization = "AWS_IAM" })
	f.signer = hansom.Principal{Kind: hansom.AccessKey, Project: project, ARN: "arn:aws:iam::000000000000:user/anna", UserID: "AIDAX", AccessKeyID: "AKIAX"}
	d := f.Authorize(context.Background(), q)
	if d.Status != 0 || d.Principal == nil || d.Principal.ARN != f.signer.ARN || d.ContextV1 != nil {
		t.Fatalf("%+v", d)
	}
	equalJSON(t, "2.0", d.Context, map[string]any{"iam": map[string]any{"accessKey": "AKIAX", "accountId": project, "callerId": "AIDAX", "cognitoIdentity": nil,
		"principalOrgId": nil, "userArn": "arn:aws:iam::000000000000:user/anna", "userId": "AIDAX"}})
	f.signer.Project = "111111111111"
	if d := f.Authorize(context.Background(), q); d.Status != 403 || d.Message != "Forbidden" || d.Principal != nil {
		t.Errorf("of another project: %+v", d)
	}
	f.refusal = hansom.Errorf(hansom.Unauthenticated, "authenticate", "The signature does not match.")
	if d := f.Authorize(context.Background(), q); d.Status != 403 || d.Value("error") != "The signature does not match." {
		t.Errorf("not signed: %+v", d)
	}
}

func TestKeys(t *testing.T) {
	f := newFixture(t, nil)
	good, gone := &api.Key{Project: project, ID: "k1", Enabled: true}, &api.Key{Project: project, ID: "k2"}
	foreign := &api.Key{Project: "111111111111", ID: "k3", Enabled: true}
	gold := &api.Plan{ID: "p1"}
	for value, k := range map[string]struct {
		key  *api.Key
		plan *api.Plan
	}{"good": {good, gold}, "disabled": {gone, gold}, "planless": {good, nil}, "foreign": {foreign, gold}} {
		f.keys[value+" "+apiID+" $default"] = k
	}
	for _, c := range []struct {
		name, selection, header, value string
		status                         int
	}{
		{"a key", "", "X-Api-Key", "good", 0},
		{"no key", "", "X-Other", "good", 403},
		{"an empty key", "", "X-Api-Key", "", 403},
		{"an unknown key", "", "X-Api-Key", "goo", 403},
		{"a disabled key", "", "X-Api-Key", "disabled", 403},
		{"a key without a plan for the stage", "", "X-Api-Key", "planless", 403},
		{"a key of another project", "", "X-Api-Key", "foreign", 403},
		{"another header", "$request.header.X-Token", "X-Token", "good", 0},
		{"another header, and the usual one came", "$request.header.X-Token", "X-Api-Key", "good", 403},
		{"a parameter", "$request.querystring.user", "X", "", 403},
	} {
		q := query(function(nil), func(r *api.Route) { r.Authorization, r.KeyRequired = "NONE", true })
		q.API.KeySelection = c.selection
		q.Request.Header.Set(c.header, c.value)
		d := f.Authorize(context.Background(), q)
		if d.Status != c.status || d.Status == 0 && (d.Key != good || d.Plan != gold) || d.Status != 0 && (d.Message != "Forbidden" || d.Key != nil || d.Value("error") == "") {
			t.Errorf("%s: %+v, %s", c.name, d, d.Value("error"))
		}
	}
	// A key beside an authorizer, and one that the authorizer names.
	f.says(`{"principalId":"p","usageIdentifierKey":"good","policyDocument":{"Statement":[{"Action":"*","Effect":"Allow","Resource":"*"}]}}`)
	for _, c := range []struct {
		selection, key string
		status         int
	}{{"", "good", 0}, {"", "goo", 403}, {"$context.authorizer.usageIdentifierKey", "", 0}} {
		q := query(function(func(a *api.Authorizer) { a.Simple = false }), func(r *api.Route) { r.KeyRequired = true })
		q.API.KeySelection = c.selection
		q.Request.Header.Set("Authorization", "anna")
		q.Request.Header.Set("X-Api-Key", c.key)
		d := f.Authorize(context.Background(), q)
		if d.Status != c.status || d.Status == 0 && (d.Key != good || d.Context == nil) || d.Status != 0 && d.Context != nil {
			t.Errorf("%+v: %+v, %s", c, d, d.Value("error"))
		}
	}
}

func TestNobodyAsked(t *testing.T) {
	f := newFixture(t, nil)
	for _, authorization := range []string{"", "NONE"} {
		d := f.Authorize(context.Background(), query(function(nil), func(r *api.Route) { r.Authorization = authorization }))
		if d.Status != 0 || d.Context != nil || d.Value == nil || d.Value("claims.sub") != "" {
			t.Errorf("%q: %+v", authorization, d)
		}
	}
}

// fiber notes that it was detached.
type fiber struct{ detached bool }

func (f *fiber) Detach() { f.detached = true }

func TestFiber(t *testing.T) {
	f := newFixture(t, nil)
	f.says(`{"isAuthorized":true}`)
	for i, detached := range []bool{true, false} {
		q := query(function(func(a *api.Authorizer) { a.TTL = 60 }), nil)
		q.Request.Header.Set("Authorization", "anna")
		on := &fiber{}
		if d := f.Authorize(hansom.WithFiber(context.Background(), on), q); d.Status != 0 || on.detached != detached {
			t.Errorf("call %d: %d, detached %v", i, d.Status, on.detached)
		}
	}
	on := &fiber{}
	f.Authorize(hansom.WithFiber(context.Background(), on), query(function(nil), func(r *api.Route) { r.Authorization = "AWS_IAM" }))
	if !on.detached {
		t.Error("AWS_IAM reads keys on the fiber")
	}
}

func TestConcurrent(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Answers = 64 })
	f.says(`{"isAuthorized":true,"context":{"a":"b"}}`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				q := query(function(func(a *api.Authorizer) { a.TTL = 60 }), nil)
				q.Request.Header.Set("Authorization", fmt.Sprint(j))
				if d := f.Authorize(context.Background(), q); d.Status != 0 || string(d.Context) != `{"lambda":{"a":"b"}}` || d.Value("a") != "b" {
					t.Errorf("%+v", d)
				}
				if i == 0 && j%50 == 0 {
					f.Reset(apiID, api.DefaultStage)
				}
			}
		})
	}
	wg.Wait()
	if n := f.answers.Len(); n > 64+16 {
		t.Errorf("%d answers are kept", n)
	}
}
