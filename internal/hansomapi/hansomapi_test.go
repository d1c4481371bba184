package hansomapi

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/layer"
	"github.com/hansomcloud/hansom/internal/manifest"
	"github.com/hansomcloud/hansom/internal/provision"
	"github.com/hansomcloud/hansom/internal/queue"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var root = hansom.Credentials{AccessKeyID: "AKIAROOTROOTROOTROOT", SecretAccessKey: "rootrootrootrootrootrootrootrootrootroot"}

// fixture is the API over real authentication and a real blob store; apps, functions and logs are scripted.
type fixture struct {
	t         *testing.T
	url       string
	auth      *auth.Service
	apps      *fakeApps
	functions *fakeFunctions
	logs      *fakeLogs
	artifacts *artifact.Store
	mappings  fakeMappings
	queues    fakeQueues
	buses     fakeBuses
	schedules fakeSchedules
	layers    fakeLayers
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, apps: &fakeApps{}, functions: &fakeFunctions{}, logs: &fakeLogs{left: make(chan struct{}, 1)}, buses: fakeBuses{left: make(chan struct{})}}
	logger := slog.New(slog.DiscardHandler)
	cfg := auth.DefaultConfig()
	cfg.Root = root
	service, err := auth.New(t.Context(), cfg, dbtest.Open(t, dbtest.SQLite(t)), make([]byte, 32), logger)
	if err != nil {
		t.Fatal(err)
	}
	f.auth = service
	blobs, err := disk.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if f.artifacts, err = artifact.New(artifact.DefaultConfig(t.TempDir()), blobs, logger); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(New(Deps{
		Auth: service, Projects: service, Keys: service, Apps: f.apps, Deployments: f.apps, Functions: f.functions, Layers: &f.layers, Artifacts: f.artifacts, Logs: f.logs,
		Info:        func(context.Context) (Info, error) { return Info{Version: "1.2.3", Driver: "fake"}, nil },
		AppURL:      func(project, app string) string { return "http://" + app + "." + project + ".localhost" },
		FunctionURL: func(id string) string { return "http://" + id + ".lambda-url.localhost/" },
		Instances:   func(project, function string) (int, int) { return 3, 1 },
		Provisioned: fakeProvisioned{}, Mappings: &f.mappings, Queues: &f.queues, Consumers: fakeConsumers{}, Buses: &f.buses, Schedules: &f.schedules, Gateway: fakeGateway{}, Region: "us-east-1",
	}, logger))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

// fakeMappings notes whose mappings are removed.
type fakeMappings struct{ removed []string }

func (m *fakeMappings) RemoveProject(_ context.Context, _ *db.Tx, project string) error {
	m.removed = append(m.removed, project)
	return nil
}

// fakeProvisioned keeps two instances of what apps call b, of which one is ready.
type fakeProvisioned struct{}

func (fakeProvisioned) Of(context.Context, string, string) ([]provision.Concurrency, error) {
	return []provision.Concurrency{{Function: "b", Qualifier: hansom.Latest, Requested: 2, Allocated: 2, Available: 1, Status: provision.InProgress}}, nil
}

type answer struct {
	status int
	body   string
}

func (f *fixture) do(creds hansom.Credentials, method, path, body string) answer {
	f.t.Helper()
	sum := sha256.Sum256([]byte(body))
	resp := f.send(f.t.Context(), creds, method, path, body, hex.EncodeToString(sum[:]))
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{resp.StatusCode, string(text)}
}

func (f *fixture) send(ctx context.Context, creds hansom.Credentials, method, path, body, hash string) *http.Response {
	f.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, f.url+"/_hansom/v1/"+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if creds.AccessKeyID != "" {
		auth.Sign(r, creds, "eu-west-1", "hansom", hash, time.Now())
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp
}

// must answers with the JSON of a request that succeeds.
func must[T any](f *fixture, creds hansom.Credentials, method, path, body string) T {
	f.t.Helper()
	a := f.do(creds, method, path, body)
	var out T
	if a.status != http.StatusOK {
		f.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		f.t.Fatalf("%s: %v", a.body, err)
	}
	return out
}

// refused checks status and error of a request.
func (f *fixture) refused(creds hansom.Credentials, method, path, body string, status int, code, message string) {
	f.t.Helper()
	a := f.do(creds, method, path, body)
	var out struct {
		Error struct{ Code, Message string }
	}
	if method != "HEAD" {
		if err := json.Unmarshal([]byte(a.body), &out); err != nil {
			f.t.Errorf("%s %s: %v: %s", method, path, err, a.body)
		}
	}
	if a.status != status || out.Error.Code != code || !strings.Contains(out.Error.Message, message) {
		f.t.Errorf("%s %s: %d %s, want %d %s with %q", method, path, a.status, a.body, status, code, message)
	}
}

// tenant makes a project and a key of it.
func (f *fixture) tenant(slug string) (string, hansom.Credentials) {
	f.t.Helper()
	p := must[auth.Project](f, root, "POST", "projects", `{"slug":"`+slug+`"}`)
	s := must[session](f, root, "POST", "projects/"+slug+"/sessions", "")
	k := must[key](f, hansom.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken}, "POST", "keys", `{"name":"ci"}`)
	return p.ID, hansom.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey}
}

type fakeApps struct {
	calls []string
	apps  []app.App
	err   error
}

func (f *fakeApps) Plan(_ context.Context, project string, r *manifest.Resolved) (app.Plan, error) {
	f.calls = append(f.calls, "plan "+project+" "+r.Name)
	return app.Plan{App: r.Name, Changes: []app.Change{{Kind: app.KindFunction, Name: "hello-api", Action: app.Create}}}, f.err
}

func (f *fakeApps) Apply(_ context.Context, project, actor string, r *manifest.Resolved) (app.Plan, error) {
	f.calls = append(f.calls, "apply "+project+" "+r.Name+" "+actor)
	return app.Plan{App: r.Name, Deployment: 7, Changes: []app.Change{}}, f.err
}

func (f *fakeApps) Delete(_ context.Context, project, name string) error {
	f.calls = append(f.calls, "delete "+project+" "+name)
	return f.err
}

func (f *fakeApps) List(context.Context, string) ([]app.App, error) { return f.apps, f.err }

func (f *fakeApps) Get(_ context.Context, project, name string) (app.App, error) {
	for _, a := range f.apps {
		if a.Name == name {
			return a, nil
		}
	}
	return app.App{}, hansom.Errorf(hansom.NotFound, "get app", "there is no app %q", name)
}

func (f *fakeApps) History(context.Context, string, string) ([]app.Deployment, error) {
	return []app.Deployment{{Number: 2, Actor: "me", Restored: 1, Changes: []app.Change{{Kind: "route", Name: "GET /", Action: app.Create}}},
		{Number: 1, Actor: "you"}}, f.err
}

func (f *fakeApps) Rollback(_ context.Context, project, actor, name string, to int64, dry bool) (app.Plan, error) {
	f.calls = append(f.calls, fmt.Sprint("rollback ", project, " ", name, " ", actor, " ", to, " ", dry))
	return app.Plan{App: name, Deployment: 3, Changes: []app.Change{}}, f.err
}

type fakeFunctions struct {
	list []function.Function
	urls int // calls of URLs
}

type fakeLayers struct{ list []layer.Version }

func (f *fakeLayers) List(context.Context, string, layer.Filter, layer.Page) ([]layer.Version, string, error) {
	return f.list, "", nil
}

func (f *fakeFunctions) List(_ context.Context, _ string, _ bool, page function.Page) ([]function.Function, string, error) {
	if page.Max == 1 {
		return f.list[:min(1, len(f.list))], "", nil
	}
	// Two to a page, so that pages have to be followed.
	start := 0
	if page.Marker != "" {
		start = slices.IndexFunc(f.list, func(x function.Function) bool { return x.Function == page.Marker })
	}
	end := min(start+2, len(f.list))
	next := ""
	if end < len(f.list) {
		next = f.list[end].Function
	}
	return f.list[start:end], next, nil
}

func (f *fakeFunctions) Get(_ context.Context, _, name, _ string) (function.Function, error) {
	for _, fn := range f.list {
		if fn.Function == name {
			return fn, nil
		}
	}
	return function.Function{}, hansom.Errorf(hansom.NotFound, "get", "Function not found: an ARN")
}

func (f *fakeFunctions) URLs(_ context.Context, _, name string) ([]hansom.FunctionURL, error) {
	f.urls++
	var out []hansom.FunctionURL
	for _, fn := range f.list {
		if name == "" || name == fn.Function {
			out = append(out, hansom.FunctionURL{ID: "id-of-" + fn.Function, Function: fn.Function})
		}
	}
	return out, nil
}

func (f *fakeFunctions) Resolve(_ context.Context, _, name, _ string) (hansom.Target, error) {
	for i := range f.list {
		if f.list[i].Function == name {
			return hansom.Target{Version: &f.list[i].Version}, nil
		}
	}
	return hansom.Target{}, hansom.Errorf(hansom.NotFound, "resolve", "no")
}

// fakeLogs yields events and then, when following, waits for the reader to leave.
type fakeLogs struct {
	query  telemetry.LogQuery
	events []hansom.LogEvent
	err    error
	left   chan struct{}
}

func (f *fakeLogs) Query(ctx context.Context, q telemetry.LogQuery) iter.Seq2[hansom.LogEvent, error] {
	f.query = q
	return func(yield func(hansom.LogEvent, error) bool) {
		for _, e := range f.events {
			if !yield(e, nil) {
				return
			}
		}
		if q.Follow {
			<-ctx.Done()
			f.left <- struct{}{}
			yield(hansom.LogEvent{}, ctx.Err())
			return
		}
		if f.err != nil {
			yield(hansom.LogEvent{}, f.err)
		}
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	f := newFixture(t)
	id, acme := f.tenant("acme")
	_, other := f.tenant("other")
	f.refused(hansom.Credentials{}, "GET", "info", "", 403, "MissingAuthenticationTokenException", "")
	f.refused(hansom.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}, "GET", "info", "", 403, "UnrecognizedClientException", "")
	for _, c := range []struct{ method, path, body string }{
		{"GET", "projects", ""}, {"POST", "projects", `{"slug":"mine"}`}, {"DELETE", "projects/other", ""},
		{"PATCH", "projects/acme", `{"egress":"internet"}`},
	} {
		f.refused(acme, c.method, c.path, c.body, 403, "AccessDenied", "only root keys")
	}
	f.refused(acme, "POST", "projects/other/sessions", "", 403, "AccessDenied", "belong to project "+id)

	keys := must[struct{ Keys []key }](f, acme, "GET", "keys", "")
	if len(keys.Keys) != 1 || keys.Keys[0].AccessKeyID != acme.AccessKeyID || keys.Keys[0].SecretAccessKey != "" {
		t.Errorf("keys %+v", keys)
	}
	f.refused(other, "DELETE", "keys/"+acme.AccessKeyID, "", 404, "NotFound", "no access key")
	if a := f.do(acme, "DELETE", "keys/"+acme.AccessKeyID, ""); a.status != 204 {
		t.Errorf("%+v", a)
	}
	f.refused(acme, "GET", "keys", "", 403, "UnrecognizedClientException", "")
	f.refused(root, "GET", "nothing", "", 404, "NotFound", "there is no GET /_hansom/v1/nothing")
	f.refused(root, "PATCH", "keys", "", 404, "NotFound", "there is no PATCH")
}

func TestFunctionsMayNotManage(t *testing.T) {
	for kind, allowed := range map[hansom.PrincipalKind]bool{
		hansom.Root: true, hansom.AccessKey: true, hansom.RoleSession: true, hansom.FunctionSession: false, hansom.Anonymous: false,
	} {
		h := New(Deps{
			Auth: authFunc(func(*http.Request) (hansom.Principal, error) { return hansom.Principal{Kind: kind}, nil }),
			Info: func(context.Context) (Info, error) { return Info{}, nil },
		}, slog.New(slog.DiscardHandler))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/_hansom/v1/info", nil))
		if (w.Code == http.StatusOK) != allowed {
			t.Errorf("kind %d: %d", kind, w.Code)
		}
	}
}

type authFunc func(*http.Request) (hansom.Principal, error)

func (f authFunc) Authenticate(r *http.Request) (hansom.Principal, error) { return f(r) }

func TestProjects(t *testing.T) {
	f := newFixture(t)
	f.tenant("acme")
	f.refused(root, "POST", "projects", `{"slug":"acme"}`, 409, "Conflict", "already")
	f.refused(root, "POST", "projects", `{"slug":"Not A Slug"}`, 400, "Invalid", "")
	f.refused(root, "POST", "projects", `{"name":"x"}`, 400, "Invalid", `unknown field "name"`)
	f.refused(root, "POST", "projects", `{"slug":"x"}{}`, 400, "Invalid", "after the JSON")
	f.refused(root, "POST", "projects", strings.Repeat(" ", maxBody+1), 413, "TooLarge", "")

	f.functions.list = []function.Function{{Version: hansom.Version{Function: "f"}}}
	f.refused(root, "DELETE", "projects/acme", "", 409, "Conflict", "still has functions")
	f.functions.list = nil
	f.apps.apps = []app.App{{Name: "hello", Manifest: &manifest.Resolved{}}}
	f.refused(root, "DELETE", "projects/acme", "", 409, "Conflict", "still has functions")
	f.apps.apps = nil
	f.queues.list = []*queue.Queue{{Name: "jobs"}}
	f.refused(root, "DELETE", "projects/acme", "", 409, "Conflict", "still has queues")
	f.queues.list = nil
	if a := f.do(root, "DELETE", "projects/acme", ""); a.status != 204 || len(f.mappings.removed) != 1 {
		t.Errorf("%+v", a)
	}
	f.refused(root, "DELETE", "projects/acme", "", 404, "NotFound", "")
	list := must[struct{ Projects []auth.Project }](f, root, "GET", "projects", "")
	if len(list.Projects) != 1 || list.Projects[0].ID != hansom.DefaultProject {
		t.Errorf("%+v", list)
	}
}

func TestProjectEgress(t *testing.T) {
	f := newFixture(t)
	id, _ := f.tenant("acme")
	for i, egress := range []string{"none", "platform", "internet", ""} {
		path := "projects/" + []string{"acme", id}[i%2]
		if got := must[map[string]string](f, root, "PATCH", path, `{"egress":"`+egress+`"}`); got["id"] != id || got["slug"] != "acme" || got["egress"] != egress {
			t.Errorf("set to %q: %v", egress, got)
		}
		list := must[struct{ Projects []map[string]string }](f, root, "GET", "projects", "")
		if got := list.Projects; len(got) != 2 || got[0]["egress"] != "" || got[1]["egress"] != egress {
			t.Errorf("set to %q: %v", egress, got)
		}
	}
	f.refused(root, "PATCH", "projects/acme", `{"egress":"all"}`, 400, "Invalid", `egress "all" is not none, platform or internet`)
	f.refused(root, "PATCH", "projects/acme", `{"egress":1}`, 400, "Invalid", "")
	for _, nothing := range []string{`{}`, `{"egress":null}`} {
		f.refused(root, "PATCH", "projects/acme", nothing, 400, "Invalid", "sets nothing")
	}
	f.refused(root, "PATCH", "projects/acme", `{"slug":"x"}`, 400, "Invalid", `unknown field "slug"`)
	f.refused(root, "PATCH", "projects/nope", `{"egress":"none"}`, 404, "NotFound", "there is no project")
}

const digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestApps(t *testing.T) {
	f := newFixture(t)
	id, acme := f.tenant("acme")
	body := `{"name":"hello","functions":{"api":{"runtime":"nodejs22.x","handler":"index.handler","codeSha256":"` + digestA + `","memory":128,"timeout":3}}}`
	type put struct {
		App        string
		Deployment int64
		Changes    []app.Change
		URL        string
	}
	want := put{App: "hello", Changes: []app.Change{{Kind: "function", Name: "hello-api", Action: "create"}}, URL: "http://hello." + id + ".localhost"}
	if diff := cmp.Diff(want, must[put](f, acme, "PUT", "apps/hello?plan=1", body), cmp.AllowUnexported(app.Change{})); diff != "" {
		t.Error(diff)
	}
	if got := must[put](f, acme, "PUT", "apps/hello", body); got.Deployment != 7 {
		t.Errorf("%+v", got)
	}
	f.refused(acme, "PUT", "apps/other", body, 400, "Invalid", "the path names the app other, the body hello")
	f.refused(acme, "PUT", "apps/hello?plan=2", body, 400, "Invalid", "plan is 1")
	f.refused(acme, "PUT", "apps/hello", strings.Replace(body, `"timeout":3`, `"timeout":0`, 1), 400, "Invalid", "timeout")
	if a := f.do(acme, "DELETE", "apps/hello", ""); a.status != 204 {
		t.Errorf("%+v", a)
	}
	actor := "arn:aws:iam::" + id + ":user/ci"
	if diff := cmp.Diff([]string{"plan " + id + " hello", "apply " + id + " hello " + actor, "delete " + id + " hello"}, f.apps.calls); diff != "" {
		t.Error(diff)
	}

	f.apps.apps = []app.App{{Project: id, Name: "hello", Deployment: 2, Manifest: &manifest.Resolved{Name: "hello",
		Functions: map[string]manifest.ResolvedFunction{"api": {HTTP: []manifest.ResolvedRoute{{Route: "GET /"}}}}}}}
	list := must[struct{ Apps []appSummary }](f, acme, "GET", "apps", "")
	if len(list.Apps) != 1 || list.Apps[0].Functions != 1 || list.Apps[0].Routes != 1 || list.Apps[0].URL != want.URL {
		t.Errorf("%+v", list)
	}
	one := must[struct {
		Name        string
		Deployments []deployment
	}](f, acme, "GET", "apps/hello", "")
	if one.Name != "hello" || len(one.Deployments) != 2 || one.Deployments[0].Actor != "me" ||
		one.Deployments[0].Restored != 1 || len(one.Deployments[0].Changes) != 1 {
		t.Errorf("%+v", one)
	}
	f.refused(acme, "GET", "apps/nope", "", 404, "NotFound", "there is no app")

	f.apps.err = io.ErrUnexpectedEOF // what is not an *hansom.Error must not leak
	a := f.do(acme, "DELETE", "apps/hello", "")
	if a.status != 500 || strings.Contains(a.body, "unexpected EOF") || !strings.Contains(a.body, "its log says what") {
		t.Errorf("%+v", a)
	}
}

func TestArtifacts(t *testing.T) {
	f := newFixture(t)
	_, acme := f.tenant("acme")
	_, other := f.tenant("other")
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	if w, err := z.Create("index.mjs"); err != nil {
		t.Fatal(err)
	} else if _, err := w.Write(bytes.Repeat([]byte("x"), 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	body := buf.String()
	sum := sha256.Sum256(buf.Bytes())
	digest := hex.EncodeToString(sum[:])

	f.refused(acme, "HEAD", "artifacts/"+digest, "", 404, "", "")
	f.refused(acme, "PUT", "artifacts/"+digestA, body, 400, "Invalid", "not the one in the path")
	f.refused(acme, "PUT", "artifacts/"+strings.ToUpper(digest), body, 400, "Invalid", "lower-case hexadecimal")
	f.refused(acme, "PUT", "artifacts/x", body, 400, "Invalid", "is not a SHA-256")
	got := must[struct {
		SHA256 string
		Size   int
	}](f, acme, "PUT", "artifacts/"+digest, body)
	if got.SHA256 != digest || got.Size != len(body) {
		t.Errorf("%+v", got)
	}
	if a := f.do(acme, "HEAD", "artifacts/"+digest, ""); a.status != 204 {
		t.Errorf("%+v", a)
	}
	f.refused(other, "HEAD", "artifacts/"+digest, "", 404, "", "")

	// A body that is not what was signed is not stored, although it has the right digest.
	resp := f.send(t.Context(), other, "PUT", "artifacts/"+digest, body, digestA)
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d for a body that was not signed", resp.StatusCode)
	}
	f.refused(other, "HEAD", "artifacts/"+digest, "", 404, "", "")

	// One that cannot be unpacked is taken away again.
	sum = sha256.Sum256([]byte("no zip"))
	digest = hex.EncodeToString(sum[:])
	f.refused(acme, "PUT", "artifacts/"+digest, "no zip", 400, "Invalid", "Could not unzip")
	f.refused(acme, "HEAD", "artifacts/"+digest, "", 404, "", "")
}

func TestFunctions(t *testing.T) {
	f := newFixture(t)
	now := time.UnixMilli(1_700_000_000_000).UTC()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		fn := function.Function{Version: hansom.Version{Function: name, App: "x", Memory: 128, Timeout: 3 * time.Second, CodeSize: 9}, State: "Active",
			StateReason: "older runtime", LastModified: now}
		if name == "c" {
			fn.App = "y"
		}
		f.functions.list = append(f.functions.list, fn)
	}
	type list struct{ Functions []functionSummary }
	all := must[list](f, root, "GET", "functions", "")
	if len(all.Functions) != 5 || f.functions.urls != 1 {
		t.Fatalf("%+v, URLs were read %d times", all, f.functions.urls)
	}
	want := functionSummary{Name: "a", App: "x", Memory: 128, Timeout: 3, CodeSize: 9, State: "Active", Reason: "older runtime", Modified: now,
		Instances: 3, Busy: 1, URLs: []string{"http://id-of-a.lambda-url.localhost/"}}
	if diff := cmp.Diff(want, all.Functions[0]); diff != "" {
		t.Error(diff)
	}
	prepared := []provisioned{{Qualifier: "$LATEST", Requested: 2, Allocated: 2, Available: 1, Status: "IN_PROGRESS"}}
	if diff := cmp.Diff(prepared, all.Functions[1].Provisioned); diff != "" {
		t.Error(diff)
	}
	if got := must[functionSummary](f, root, "GET", "functions/a", ""); !cmp.Equal(want, got) {
		t.Errorf("%+v", got)
	}
	f.refused(root, "GET", "functions/nope", "", 404, "NotFound", `there is no function "nope"`)
	if got := must[list](f, root, "GET", "functions?app=y", ""); len(got.Functions) != 1 || got.Functions[0].Name != "c" {
		t.Errorf("%+v", got)
	}
}

func TestRollback(t *testing.T) {
	f := newFixture(t)
	type plan struct {
		App, URL   string
		Deployment int64
	}
	want := plan{"hello", "http://hello.000000000000.localhost", 3}
	for _, path := range []string{"", "?plan=1"} {
		if got := must[plan](f, root, "POST", "apps/hello/rollback"+path, `{"to":1}`); got != want {
			t.Errorf("%+v", got)
		}
	}
	call := "rollback 000000000000 hello arn:aws:iam::000000000000:root 1 "
	if diff := cmp.Diff([]string{call + "false", call + "true"}, f.apps.calls); diff != "" {
		t.Error(diff)
	}
	f.refused(root, "POST", "apps/hello/rollback", `{"to":-1}`, 400, "Invalid", "number of a deployment")
	f.refused(root, "POST", "apps/hello/rollback?plan=2", `{}`, 400, "Invalid", "plan is 1 or left out")
	f.refused(root, "POST", "apps/hello/rollback", ``, 400, "Invalid", "")
	f.apps.err = hansom.Errorf(hansom.Conflict, "roll back", "its code is no longer stored")
	f.refused(root, "POST", "apps/hello/rollback", `{}`, 409, "Conflict", "no longer stored")
}

func TestInfo(t *testing.T) {
	f := newFixture(t)
	if got := must[Info](f, root, "GET", "info", ""); got.Version != "1.2.3" || got.Driver != "fake" {
		t.Errorf("%+v", got)
	}
}
