package api

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

const (
	project = hansom.DefaultProject
	other   = "111111111111"
	worker  = "arn:aws:lambda:us-east-1:000000000000:function:worker"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture is a service with a follower.
type fixture struct {
	*Service
	t    *testing.T
	apis map[string]*Live // as the follower was told
	told []string         // IDs of the APIs that it was told of since the last look
	doms []*Domain
}

func (f *fixture) SetAPIs(changed map[string]*Live) {
	for id, l := range changed {
		f.told = append(f.told, id)
		if l == nil {
			delete(f.apis, id)
		} else {
			f.apis[id] = l
		}
	}
}

func (f *fixture) SetDomains(all []*Domain) { f.doms = all }

func open(t *testing.T, database *db.DB) *fixture {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Now = func() time.Time { return start }
	s, err := New(t.Context(), cfg, database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Service: s, t: t, apis: map[string]*Live{}}
	s.Follow(f)
	f.told = nil
	return f
}

func must[T any](t *testing.T) func(x T, err error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// refused looks whether an error is of a kind and says something.
func refused(t *testing.T, what string, err error, kind hansom.Kind, says string) {
	t.Helper()
	if err == nil || hansom.KindOf(err) != kind || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v (kind %d), want kind %d with %q", what, err, hansom.KindOf(err), kind, says)
	}
}

func (f *fixture) quick() *API {
	f.t.Helper()
	return must[*API](f.t)(f.CreateAPI(f.t.Context(), API{Project: project, Name: "quick"}, &Quick{Target: worker}))
}

func (f *fixture) function(api string) *Integration {
	f.t.Helper()
	return must[*Integration](f.t)(f.CreateIntegration(f.t.Context(), project, api, Integration{Type: AWSProxy, URI: worker, Payload: "2.0"}))
}

func TestRouteKeys(t *testing.T) {
	text, err := os.ReadFile("testdata/routekeys.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		key, want, _ := strings.Cut(line, "\t")
		err := CheckRouteKey(key)
		if want == "ok" && err != nil || want != "ok" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %s", key, err, want)
		}
	}
}

func FuzzRouteKey(f *testing.F) {
	for _, key := range []string{"$default", "GET /", "ANY /a/{b}/{c+}", "GET /{id}.json", "GET //"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckRouteKey(key) != nil {
			return
		}
		if err := CheckRouteKey(shape(key)); key != DefaultRoute && !strings.Contains(key, "{") && err != nil {
			t.Errorf("%q is a key, and its shape is not: %v", key, err)
		}
		if key != DefaultRoute && (!strings.Contains(key, " /") || strings.Count(key, " ") != 1) {
			t.Errorf("%q is no method and path", key)
		}
	})
}

// A quick create answers at once, and so does each change of it.
func TestAutoDeploy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		f := open(t, database)
		a := f.quick()
		live := f.apis[a.ID]
		if live == nil || live.Stages[DefaultStage] == nil {
			t.Fatalf("live is %+v", live)
		}
		st := live.Stages[DefaultStage]
		if len(st.Routes) != 1 || st.Routes[0].Key != DefaultRoute || st.Integrations[0].URI != worker || st.Integrations[0].Payload != "2.0" || st.Deployment == "" {
			t.Errorf("%+v %+v", st.Stage, st.Snapshot)
		}
		if live.Routes != nil || live.Deployments != nil {
			t.Error("what is live has routes apart from its stages")
		}
		first := st.Snapshot
		r := must[*Route](t)(f.CreateRoute(t.Context(), project, a.ID, Route{Key: "GET /pets/{id}", Integration: a.Integrations[0].ID}))
		st = f.apis[a.ID].Stages[DefaultStage]
		if len(st.Routes) != 2 || st.Routes[1].ID != r.ID || len(first.Routes) != 1 {
			t.Errorf("after a change: %+v; the snapshot before has %d routes", st.Routes, len(first.Routes))
		}
		if !strings.Contains(st.Message, st.Deployment) {
			t.Errorf("message %q", st.Message)
		}
		// What changes no route changes no deployment, and what was read once is not read again.
		before := st
		must[*API](t)(f.UpdateAPI(t.Context(), project, a.ID, func(a *API) error { a.Name = "named"; return nil }, nil))
		if st = f.apis[a.ID].Stages[DefaultStage]; st.Deployment != before.Deployment || st.Snapshot != before.Snapshot || f.apis[a.ID].Name != "named" {
			t.Errorf("another deployment after a new name: %+v", st.Stage)
		}
		// CORS belongs to what is deployed.
		if err := f.SetCORS(t.Context(), project, a.ID, &hansom.CORS{AllowOrigins: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
		if st = f.apis[a.ID].Stages[DefaultStage]; st.CORS == nil {
			t.Error("CORS is not deployed")
		}
		// Old automatic deployments go, but for a few.
		for i := range 2 * keptDeployments {
			must[*Route](t)(f.UpdateRoute(t.Context(), project, a.ID, r.ID, func(r *Route) error { r.Key = fmt.Sprint("GET /", i); return nil }))
		}
		got := must[*API](t)(f.API(t.Context(), project, a.ID))
		if len(got.Deployments) != keptDeployments+1 {
			t.Errorf("%d deployments are kept", len(got.Deployments))
		}
		var rows int
		if err := database.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM gateway_snapshots`).Scan(&rows); err != nil || rows != keptDeployments+1 {
			t.Errorf("%d snapshots are kept (%v)", rows, err)
		}
		// A server that starts sees the same.
		again := open(t, database)
		if diff := cmp.Diff(f.apis, again.apis); diff != "" {
			t.Errorf("after a restart (-before +after):\n%s", diff)
		}
		if err := f.DeleteAPI(t.Context(), project, a.ID); err != nil {
			t.Fatal(err)
		}
		if len(f.apis) != 0 {
			t.Error("a deleted API is live")
		}
		if err := database.Read().QueryRowContext(t.Context(), `SELECT COUNT(*) FROM gateway_snapshots`).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d snapshots are left (%v)", rows, err)
		}
	})
}

// A stage shows what it was given until it gets another deployment.
func TestDeployments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		f := open(t, database)
		a := must[*API](t)(f.CreateAPI(t.Context(), API{Project: project, Name: "a"}, nil))
		deploy := func(stage string) (*Deployment, error) {
			return f.CreateDeployment(t.Context(), project, a.ID, stage, "")
		}
		_, err := deploy("")
		refused(t, "no routes", err, hansom.Invalid, "At least one route is required before deploying the Api.")
		i := f.function(a.ID)
		r := must[*Route](t)(f.CreateRoute(t.Context(), project, a.ID, Route{Key: "GET /a", Integration: i.ID}))
		_, err = deploy("prod")
		refused(t, "no stage", err, hansom.NotFound, "Invalid stage identifier specified")
		must[*Stage](t)(f.CreateStage(t.Context(), project, a.ID, Stage{Name: "prod", Variables: map[string]string{"x": "1"}}))
		if len(f.apis[a.ID].Stages) != 0 {
			t.Error("a stage without a deployment is live")
		}
		one := must[*Deployment](t)(deploy("prod"))
		must[*Route](t)(f.UpdateRoute(t.Context(), project, a.ID, r.ID, func(r *Route) error { r.Key = "GET /b"; return nil }))
		if st := f.apis[a.ID].Stages["prod"]; st.Routes[0].Key != "GET /a" || st.Variables["x"] != "1" {
			t.Errorf("%+v", st)
		}
		two := must[*Deployment](t)(deploy(""))
		refused(t, "in use", f.DeleteDeployment(t.Context(), project, a.ID, one.ID), hansom.Invalid, "Active stages pointing to this deployment must be moved or deleted")
		point := func(id string) error {
			_, err := f.UpdateStage(t.Context(), project, a.ID, "prod", func(st *Stage, _ map[string]Settings) error { st.Deployment = id; return nil })
			return err
		}
		refused(t, "no deployment", point("abc"), hansom.NotFound, "Invalid Deployment identifier specified")
		if err := point(two.ID); err != nil {
			t.Fatal(err)
		}
		if st := f.apis[a.ID].Stages["prod"]; st.Routes[0].Key != "GET /b" {
			t.Errorf("%+v", st.Routes)
		}
		if err := f.DeleteDeployment(t.Context(), project, a.ID, one.ID); err != nil {
			t.Error(err)
		}
		refused(t, "back", point(one.ID), hansom.NotFound, "Invalid Deployment identifier specified")
		// From now on by itself.
		must[*Stage](t)(f.UpdateStage(t.Context(), project, a.ID, "prod", func(st *Stage, _ map[string]Settings) error { st.AutoDeploy = true; return nil }))
		refused(t, "by itself", point(two.ID+"x"), hansom.Invalid, "Deployment ID cannot be set on a stage with AutoDeploy enabled.")
		must[*Route](t)(f.UpdateRoute(t.Context(), project, a.ID, r.ID, func(r *Route) error { r.Key = "GET /c"; return nil }))
		if st := f.apis[a.ID].Stages["prod"]; st.Routes[0].Key != "GET /c" {
			t.Errorf("%+v", st.Routes)
		}
		if d := must[*API](t)(f.API(t.Context(), project, a.ID)).Deployments; len(d) != 2 || !d[1].Auto {
			t.Errorf("%+v", d)
		}
		if err := f.DeleteStage(t.Context(), project, a.ID, "prod"); err != nil {
			t.Fatal(err)
		}
		if len(f.apis[a.ID].Stages) != 0 {
			t.Error("a deleted stage is live")
		}
	})
}

// What is in use is not deleted.
func TestInUse(t *testing.T) {
	f := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	a := must[*API](t)(f.CreateAPI(t.Context(), API{Project: project, Name: "a"}, nil))
	i := f.function(a.ID)
	z := must[*Authorizer](t)(f.CreateAuthorizer(t.Context(), project, a.ID, Authorizer{Name: "who", Type: JWT, Sources: []string{"$request.header.Authorization"},
		Issuer: "https://issuer.example", Audience: []string{"me"}}))
	r := must[*Route](t)(f.CreateRoute(t.Context(), project, a.ID, Route{Key: "GET /a", Integration: i.ID, Authorization: JWT, Authorizer: z.ID, Scopes: []string{"read"}}))
	must[*Stage](t)(f.CreateStage(t.Context(), project, a.ID, Stage{Name: "prod", AutoDeploy: true}))
	d := must[*Domain](t)(f.CreateDomain(t.Context(), Domain{Project: project, Name: "api.example.com", Security: "TLS_1_2"}))
	m := must[*Mapping](t)(f.CreateMapping(t.Context(), project, d.Name, Mapping{API: a.ID, Stage: "prod", Key: "v1/orders"}))
	if len(f.doms) != 1 || len(f.doms[0].Mappings) != 1 {
		t.Errorf("domains %+v", f.doms)
	}
	refused(t, "integration", f.DeleteIntegration(t.Context(), project, a.ID, i.ID), hansom.Conflict,
		"Cannot delete Integration because it is referenced by the following Routes with Ids: ["+r.ID+"]")
	refused(t, "authorizer", f.DeleteAuthorizer(t.Context(), project, a.ID, z.ID), hansom.Conflict, "Cannot delete authorizer 'who', is referenced in route: GET /a")
	refused(t, "stage", f.DeleteStage(t.Context(), project, a.ID, "prod"), hansom.Invalid, "api.example.com")
	refused(t, "API", f.DeleteAPI(t.Context(), project, a.ID), hansom.Invalid, "Deleting API "+a.ID+" failed. Please remove all API mappings for the API from your custom domain names.")
	if err := f.DeleteMapping(t.Context(), project, d.Name, m.ID); err != nil {
		t.Fatal(err)
	}
	for what, del := range map[string]func() error{
		"route": func() error { return f.DeleteRoute(t.Context(), project, a.ID, r.ID) },
		"stage": func() error { return f.DeleteStage(t.Context(), project, a.ID, "prod") },
	} {
		if err := del(); err != nil {
			t.Error(what, err)
		}
	}
	if err := f.DeleteIntegration(t.Context(), project, a.ID, i.ID); err != nil {
		t.Error(err)
	}
	if err := f.DeleteAuthorizer(t.Context(), project, a.ID, z.ID); err != nil {
		t.Error(err)
	}
	if err := f.DeleteDomain(t.Context(), project, d.Name); err != nil || len(f.doms) != 0 {
		t.Error(err, f.doms)
	}
	// What a quick create has made stays as long as its API.
	q := f.quick()
	refused(t, "managed route", f.DeleteRoute(t.Context(), project, q.ID, q.Routes[0].ID), hansom.Invalid, "quick create")
	refused(t, "managed integration", f.DeleteIntegration(t.Context(), project, q.ID, q.Integrations[0].ID), hansom.Invalid, "quick create")
	refused(t, "managed stage", f.DeleteStage(t.Context(), project, q.ID, DefaultStage), hansom.Invalid, "quick create")
	must[*API](t)(f.UpdateAPI(t.Context(), project, q.ID, func(*API) error { return nil }, &Quick{Target: "https://backend.example/{proxy}", RouteKey: "ANY /{proxy+}"}))
	if st := f.apis[q.ID].Stages[DefaultStage]; st.Routes[0].Key != "ANY /{proxy+}" || st.Integrations[0].Type != HTTPProxy || st.Integrations[0].Method != "ANY" {
		t.Errorf("%+v", st.Snapshot)
	}
	_, err := f.UpdateAPI(t.Context(), project, a.ID, func(*API) error { return nil }, &Quick{Target: worker})
	refused(t, "not quick", err, hansom.Invalid, "quick create")
}

// A change reads and tells of one API, however many there are.
func TestManyAPIs(t *testing.T) {
	f := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	const apis, routes = 100, 50
	var ids []string
	for n := range apis {
		a := API{Project: project, Name: fmt.Sprint("a", n), Stages: []Stage{{Name: DefaultStage, AutoDeploy: true}}}
		a.Integrations = []Integration{{ID: "i", Type: AWSProxy, URI: worker, Payload: "2.0", Timeout: MaxTimeout}}
		for r := range routes {
			a.Routes = append(a.Routes, Route{ID: fmt.Sprint("r", r), Key: fmt.Sprintf("GET /r%d/{id}", r), Integration: "i"})
		}
		ids = append(ids, must[*API](t)(f.insert(t.Context(), a)).ID)
	}
	if len(f.apis) != apis {
		t.Fatalf("%d are live", len(f.apis))
	}
	f.told = nil
	before := f.apis[ids[1]]
	must[*Route](t)(f.CreateRoute(t.Context(), project, ids[0], Route{Key: "GET /new", Integration: "i"}))
	if !slices.Equal(f.told, ids[:1]) || f.apis[ids[1]] != before || f.Live(ids[1]) != before {
		t.Errorf("told of %q after a change of %s", f.told, ids[0])
	}
	list := must[[]*API](t)(f.APIs(t.Context(), project, "", 30))
	rest := must[[]*API](t)(f.APIs(t.Context(), project, list[29].ID, 1000))
	if len(list) != 30 || len(rest) != apis-30 {
		t.Errorf("pages of %d and %d", len(list), len(rest))
	}
}

func TestLimits(t *testing.T) {
	f := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	a := API{Project: project, Name: "full"}
	for n := range MaxRoutes {
		id := fmt.Sprint(n)
		a.Routes = append(a.Routes, Route{ID: id, Key: "GET /" + id, Integration: id})
		a.Integrations = append(a.Integrations, Integration{ID: id, Type: AWSProxy, URI: worker, Payload: "2.0", Timeout: MaxTimeout})
	}
	for n := range MaxAuthorizers {
		a.Authorizers = append(a.Authorizers, Authorizer{ID: fmt.Sprint(n), Name: fmt.Sprint(n), Type: Request, URI: worker, Payload: "2.0"})
		a.Stages = append(a.Stages, Stage{Name: fmt.Sprint(n)})
	}
	id := must[*API](t)(f.insert(t.Context(), a)).ID
	_, err := f.CreateRoute(t.Context(), project, id, Route{Key: "GET /more"})
	refused(t, "route", err, hansom.Throttled, "Maximum number of Routes for this API has been reached.")
	_, err = f.CreateIntegration(t.Context(), project, id, Integration{Type: AWSProxy, URI: worker})
	refused(t, "integration", err, hansom.Throttled, "Maximum number of Integrations for this API has been reached.")
	_, err = f.CreateAuthorizer(t.Context(), project, id, Authorizer{Name: "more", Type: Request, URI: worker, Payload: "2.0"})
	refused(t, "authorizer", err, hansom.Throttled, "Maximum number of Authorizers for this API has been reached.")
	_, err = f.CreateStage(t.Context(), project, id, Stage{Name: "more"})
	refused(t, "stage", err, hansom.Throttled, "Maximum number of Stages for this API has been reached.")
	for n := range MaxDomains + 1 {
		_, err = f.CreateDomain(t.Context(), Domain{Project: project, Name: fmt.Sprintf("d%d.example.com", n), Security: "TLS_1_2"})
		if n < MaxDomains && err != nil {
			t.Fatal(err)
		}
	}
	refused(t, "domain", err, hansom.Throttled, "Maximum number of custom domain names for this project has been reached.")
	must[*Domain](t)(f.CreateDomain(t.Context(), Domain{Project: other, Name: "theirs.example.com", Security: "TLS_1_2"}))
}

// Projects do not see each other's, and one that is removed leaves nothing.
func TestProjects(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.DB) {
		f := open(t, database)
		a := f.quick()
		theirs := must[*API](t)(f.CreateAPI(t.Context(), API{Project: other, Name: "theirs"}, &Quick{Target: "http://backend.example"}))
		must[*Domain](t)(f.CreateDomain(t.Context(), Domain{Project: project, Name: "api.example.com", Security: "TLS_1_2"}))
		_, err := f.API(t.Context(), other, a.ID)
		refused(t, "API of another project", err, hansom.NotFound, "Invalid API identifier specified "+other+":"+a.ID)
		refused(t, "delete", f.DeleteAPI(t.Context(), other, a.ID), hansom.NotFound, "Invalid API identifier specified")
		_, err = f.CreateDomain(t.Context(), Domain{Project: other, Name: "api.example.com", Security: "TLS_1_2"})
		refused(t, "domain of another project", err, hansom.Conflict, "The domain name you provided already exists.")
		_, err = f.CreateMapping(t.Context(), project, "api.example.com", Mapping{API: theirs.ID, Stage: DefaultStage})
		refused(t, "mapping to another project", err, hansom.Invalid, "Invalid API identifier specified")
		_, err = f.CreateIntegration(t.Context(), other, theirs.ID, Integration{Type: AWSProxy, URI: worker, Payload: "2.0"})
		refused(t, "function of another project", err, hansom.Invalid, "another project's")
		if err := database.Write(t.Context(), func(tx *db.Tx) error { return f.RemoveProject(context.Background(), tx, project) }); err != nil {
			t.Fatal(err)
		}
		if len(f.apis) != 1 || f.apis[theirs.ID] == nil || len(f.doms) != 0 {
			t.Errorf("%v and %v are left", f.apis, f.doms)
		}
		var left int
		if err := database.Read().QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM gateway_apis) + (SELECT COUNT(*) FROM gateway_snapshots) + (SELECT COUNT(*) FROM gateway_domains)`).Scan(&left); err != nil || left != 2 {
			t.Errorf("%d rows are left (%v)", left, err)
		}
	})
}

// Two servers on one PostgreSQL see each other's changes.
func TestTwoServers(t *testing.T) {
	url := dbtest.Postgres(t)
	one, two := open(t, dbtest.Open(t, url)), open(t, dbtest.Open(t, url))
	a := one.quick()
	b := two.quick() // sees a first
	if two.apis[a.ID] == nil || two.apis[b.ID] == nil || one.apis[b.ID] != nil {
		t.Errorf("one has %v, two has %v", one.apis, two.apis)
	}
}

func TestDomains(t *testing.T) {
	f := open(t, dbtest.Open(t, dbtest.SQLite(t)))
	for name, ok := range map[string]bool{"example.com": true, "*.example.com": true, "a-b.example.co.uk": true, "api.localhost.example": true,
		"example": false, "": false, "Example.com": false, "exa_mple.com": false, "a..b": false, "*.*.com": false, "a.*.com": false, "localhost": false, "api.localhost": false, "*.localhost": false,
		"x.execute-api.localhost": false, "-a.example.com": false, strings.Repeat("a", 64) + ".com": false, "a.com:80": false} {
		if _, err := f.CreateDomain(t.Context(), Domain{Project: project, Name: name, Security: "TLS_1_2"}); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	a := f.quick()
	for key, ok := range map[string]bool{"": true, "v1": true, "v1/orders": true, "a.b-c_d!e": true, "/v1": false, "v1/": false, "a//b": false, "a b": false, "é": false} {
		if _, err := f.CreateMapping(t.Context(), project, "example.com", Mapping{API: a.ID, Stage: DefaultStage, Key: key}); (err == nil) != ok {
			t.Errorf("mapping %q: %v", key, err)
		}
	}
	_, err := f.CreateMapping(t.Context(), project, "example.com", Mapping{API: a.ID, Stage: DefaultStage, Key: "v1"})
	refused(t, "key twice", err, hansom.Conflict, "ApiMapping key already exists for this domain name")
	_, err = f.CreateMapping(t.Context(), project, "example.com", Mapping{API: a.ID, Stage: "none", Key: "x"})
	refused(t, "no stage", err, hansom.Invalid, "Invalid stage identifier specified")
}

// Documents go through what is configured, and what they hold is held to the same rules.
func TestImport(t *testing.T) {
	database := dbtest.Open(t, dbtest.SQLite(t))
	cfg := DefaultConfig()
	cfg.Import = func(doc []byte, o ImportOptions) (*API, []string, error) {
		i := o.ID()
		a := &API{Name: "imported", Routes: []Route{{ID: o.ID(), Key: string(doc), Integration: i}}, Integrations: []Integration{{ID: i, Type: AWSProxy, URI: worker, Payload: "2.0"}}}
		return a, []string{"something"}, nil
	}
	cfg.Export = func(a *API, s *Snapshot, o ExportOptions) ([]byte, error) {
		return []byte(a.Name + " " + s.Routes[0].Key), nil
	}
	s, err := New(t.Context(), cfg, database, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a := must[*API](t)(s.Import(t.Context(), []byte("GET /a"), ImportOptions{Project: project}))
	if len(a.Routes) != 1 || len(a.Stages) != 0 || a.Warnings[0] != "something" {
		t.Errorf("%+v", a)
	}
	must[*Stage](t)(s.CreateStage(t.Context(), project, a.ID, Stage{Name: "prod"}))
	must[*Deployment](t)(s.CreateDeployment(t.Context(), project, a.ID, "prod", ""))
	b := must[*API](t)(s.Reimport(t.Context(), a.ID, []byte("GET /b"), ImportOptions{Project: project}))
	if b.ID != a.ID || b.Routes[0].Key != "GET /b" || len(b.Stages) != 1 || s.Live(a.ID).Stages["prod"].Routes[0].Key != "GET /a" {
		t.Errorf("%+v", b)
	}
	for stage, want := range map[string]string{"": "imported GET /b", "prod": "imported GET /a"} {
		if doc, err := s.Export(t.Context(), project, a.ID, ExportOptions{Stage: stage}); string(doc) != want || err != nil {
			t.Errorf("export of %q: %s %v", stage, doc, err)
		}
	}
	_, err = s.Import(t.Context(), []byte("GET /a"), ImportOptions{Project: project, FailOnWarnings: true})
	refused(t, "warnings", err, hansom.Invalid, "Warnings found during import:\n\tsomething")
	_, err = s.Import(t.Context(), []byte("nonsense"), ImportOptions{Project: project})
	refused(t, "bad route", err, hansom.Invalid, "not formatted properly")
	_, err = s.Import(t.Context(), []byte("GET /a"), ImportOptions{Project: project, Basepath: "x"})
	refused(t, "bad basepath", err, hansom.Invalid, "Invalid basepath specified.")
}
