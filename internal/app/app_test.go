package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	project = "000000000000"
	actor   = "arn:aws:iam::000000000000:root"
)

// functions keeps versions in a table, so that a transaction that fails undoes what it did, as with the real store.
type functions struct {
	t          *testing.T
	db         *db.DB
	mu         sync.Mutex
	fail       map[string]error // function -> what Deploy answers
	gone       string           // digest of code that is no longer there
	layersGone bool             // whether all layers were deleted
	work       []string         // what was called
	announced  []hansom.Announcement
}

func (f *functions) announce(a hansom.Announcement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.announced = append(f.announced, a)
}

func newFunctions(t *testing.T, d *db.DB) *functions {
	f := &functions{t: t, db: d, fail: map[string]error{}}
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `CREATE TABLE fake_function (project TEXT, name TEXT, version TEXT, kept BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (project, name))`)
		if err == nil {
			_, err = tx.ExecContext(t.Context(), `CREATE TABLE fake_resource (kind TEXT, project TEXT, name TEXT, app TEXT, text TEXT, PRIMARY KEY (kind, project, name))`)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *functions) did(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.work = append(f.work, what)
}

func (f *functions) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.work
	f.work = nil
	return out
}

func (f *functions) Prepare(_ context.Context, _, sha256 string) (int64, error) {
	f.did("prepare " + sha256[:2])
	if sha256 == f.gone {
		return 0, hansom.Errorf(hansom.NotFound, "prepare", "the package %s has not been uploaded", sha256)
	}
	if strings.HasPrefix(sha256, "00") {
		return 0, hansom.Errorf(hansom.Invalid, "prepare", "the code %s was not uploaded", sha256)
	}
	return 100, nil
}

func (f *functions) Deploy(ctx context.Context, tx *db.Tx, v hansom.Version) (bool, error) {
	f.did("deploy " + v.Function)
	if err := f.fail[v.Function]; err != nil {
		return false, err
	}
	for i := range v.Layers {
		switch {
		case v.Layers[i].SHA256 != "":
		case f.layersGone:
			return false, hansom.Errorf(hansom.Invalid, "deploy", "the layer does not exist")
		default:
			v.Layers[i].SHA256, v.Layers[i].Size = "dd", 1
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO fake_function (project, name, version) VALUES (?, ?, ?) ON CONFLICT (project, name) DO UPDATE SET version = excluded.version`,
		v.Project, v.Function, string(text))
	return true, err
}

func (f *functions) Undeploy(ctx context.Context, tx *db.Tx, project, name string) error {
	f.did("undeploy " + name)
	_, err := tx.ExecContext(ctx, `DELETE FROM fake_function WHERE project = ? AND name = ?`, project, name)
	return err
}

func (f *functions) all(ctx context.Context, q db.Querier, project string) (map[string]hansom.Version, error) {
	rows, err := q.QueryContext(ctx, `SELECT name, version FROM fake_function WHERE project = ?`, project)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]hansom.Version{}
	for rows.Next() {
		var name, text string
		var v hansom.Version
		if err := errors.Join(rows.Scan(&name, &text), json.Unmarshal([]byte(text), &v)); err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, rows.Err()
}

func (f *functions) Keep(ctx context.Context, tx *db.Tx, project, name string, n int) error {
	if n > 10 {
		return hansom.Errorf(hansom.Invalid, "keep", "there are only 10")
	}
	_, err := tx.ExecContext(ctx, `UPDATE fake_function SET kept = ? WHERE project = ? AND name = ?`, n, project, name)
	return err
}

func (f *functions) Kept(ctx context.Context, q db.Querier, project string) (map[string]int, error) {
	rows, err := q.QueryContext(ctx, `SELECT name, kept FROM fake_function WHERE project = ?`, project)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		out[name] = n
	}
	return out, rows.Err()
}

func (f *functions) Owned(ctx context.Context, q db.Querier, project, app string) ([]hansom.Version, error) {
	all, err := f.all(ctx, q, project)
	var out []hansom.Version
	for _, v := range all {
		if v.App == app {
			out = append(out, v)
		}
	}
	return out, err
}

func (f *functions) Resolve(ctx context.Context, project, name, _ string) (hansom.Target, error) {
	all, err := f.all(ctx, f.db.Read(), project)
	v, ok := all[name]
	if err == nil && !ok {
		err = hansom.Errorf(hansom.NotFound, "resolve", "Function not found: %s", name)
	}
	return hansom.Target{Version: &v}, err
}

func (f *functions) names(project string) []string {
	f.t.Helper()
	all, err := f.all(f.t.Context(), f.db.Read(), project)
	if err != nil {
		f.t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(all))
}

// put stores a function that no app deployed.
func (f *functions) put(v hansom.Version) {
	f.t.Helper()
	err := f.db.Write(f.t.Context(), func(tx *db.Tx) error {
		_, err := f.Deploy(f.t.Context(), tx, v)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.done()
}

func newService(t *testing.T, d *db.DB, f *functions, change func(*Config)) *Service {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	s, err := New(t.Context(), cfg, d, Deps{f, f, &eventConfigs{f}, &queues{f}, f.mappings(), f.rules(), f.schedules(), sites{f}, web{}, f.announce}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// code is a digest that begins with two hex digits.
func code(s string) string { return s + strings.Repeat("a", 62) }

func function(digest string, routes ...string) manifest.ResolvedFunction {
	return manifest.ResolvedFunction{Runtime: "nodejs22.x", Handler: "index.handler", CodeSHA256: code(digest), Memory: 128, Timeout: 3, HTTP: routesOf(routes...)}
}

func routesOf(routes ...string) []manifest.ResolvedRoute {
	var out []manifest.ResolvedRoute
	for _, r := range routes {
		out = append(out, manifest.ResolvedRoute{Route: r})
	}
	return out
}

func hello() *manifest.Resolved {
	return &manifest.Resolved{Name: "hello", Functions: map[string]manifest.ResolvedFunction{
		"api":  function("11", "GET /messages/{id}", "POST /messages"),
		"work": function("22"),
	}}
}

func apply(t *testing.T, s *Service, r *manifest.Resolved) Plan {
	t.Helper()
	p, err := s.Apply(t.Context(), project, actor, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// text of a plan, a line for each change.
func text(p Plan) []string {
	var out []string
	for _, c := range p.Changes {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", c.Action, c.Kind, c.Name, strings.Join(c.Details, "; "))))
	}
	return out
}

func TestApply(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)

		created := []string{
			"create function hello-api nodejs22.x", "create function hello-work nodejs22.x",
			"create route POST /messages hello-api", "create route GET /messages/{id} hello-api",
		}
		plan, err := s.Plan(t.Context(), project, hello())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(created, text(plan)); diff != "" {
			t.Errorf("plan:\n%s", diff)
		}
		if names, done := f.names(project), f.done(); len(names)+len(done) != 0 {
			t.Errorf("a plan alone did %v and left %v", done, names)
		}

		plan = apply(t, s, hello())
		if diff := cmp.Diff(created, text(plan)); diff != "" || plan.Deployment != 1 {
			t.Errorf("deployment %d:\n%s", plan.Deployment, diff)
		}
		if diff := cmp.Diff([]string{"hello-api", "hello-work"}, f.names(project)); diff != "" {
			t.Error(diff)
		}
		f.done()

		before, err := d.Revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plan = apply(t, s, hello())
		after, err := d.Revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done := f.done(); plan.Changed() || plan.Deployment != 1 || len(done) != 0 || before != after {
			t.Errorf("the same again: %v, did %v, revision %d -> %d", text(plan), done, before, after)
		}

		next := hello()
		delete(next.Functions, "work")
		api := next.Functions["api"]
		api.CodeSHA256, api.Memory, api.Environment, api.HTTP = code("33"), 256, map[string]string{"SECRET": "xyz"}, routesOf("GET /messages/{id}", "GET /")
		next.Functions["api"] = api
		next.Functions["new"] = function("44", "POST /messages")
		plan = apply(t, s, next)
		want := []string{
			"update function hello-api code 11aaaaaaaaaa -> 33aaaaaaaaaa; memory 128 -> 256; environment +SECRET",
			"create function hello-new nodejs22.x",
			"delete function hello-work",
			"create route GET / hello-api",
			"update route POST /messages function hello-api -> hello-new",
			"unchanged route GET /messages/{id}",
		}
		if diff := cmp.Diff(want, text(plan)); diff != "" || plan.Deployment != 2 {
			t.Errorf("deployment %d:\n%s", plan.Deployment, diff)
		}
		if diff := cmp.Diff([]string{"prepare 33", "prepare 44", "deploy hello-api", "deploy hello-new", "undeploy hello-work"}, f.done()); diff != "" {
			t.Error(diff)
		}
		all, err := f.all(t.Context(), d.Read(), project)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hansom.Version{
			Project: project, Region: "us-east-1", Function: "hello-api", Number: "$LATEST", Runtime: "nodejs22.x", Handler: "index.handler",
			Role: "arn:aws:iam::000000000000:role/hello", CodeSHA256: code("33"), Memory: 256, Timeout: 3 * time.Second,
			Environment: map[string]string{"SECRET": "xyz"}, App: "hello",
		}, all["hello-api"]); diff != "" {
			t.Error(diff)
		}
	})
}

// Provisioned concurrency of a function is planned, applied and rolled back beside the function.
func TestProvisioned(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		kept := func() int {
			t.Helper()
			all, err := f.Kept(t.Context(), d.Read(), project)
			if err != nil {
				t.Fatal(err)
			}
			return all["hello-api"]
		}
		with := func(n int) *manifest.Resolved {
			r := hello()
			api := r.Functions["api"]
			api.Provisioned = n
			r.Functions["api"] = api
			return r
		}
		apply(t, s, with(2))
		if n := kept(); n != 2 {
			t.Errorf("%d are kept", n)
		}
		plan := apply(t, s, with(3))
		if got := text(plan)[0]; got != "update function hello-api provisioned 2 -> 3" || kept() != 3 {
			t.Errorf("%q, %d are kept", got, kept())
		}
		if _, err := s.Apply(t.Context(), project, actor, with(11)); hansom.KindOf(err) != hansom.Invalid || kept() != 3 {
			t.Errorf("error %v, %d are kept", err, kept())
		}
		if _, err := s.Rollback(t.Context(), project, actor, "hello", 0, false); err != nil || kept() != 2 {
			t.Errorf("error %v, %d are kept", err, kept())
		}
		apply(t, s, hello())
		if n := kept(); n != 0 {
			t.Errorf("%d are kept", n)
		}
	})
}

func TestApplyIsAllOrNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		apply(t, s, hello())
		next := hello()
		delete(next.Functions, "work")
		next.Functions["good"] = function("33", "GET /good")
		next.Functions["zbad"] = function("44")
		f.fail["hello-zbad"] = hansom.Errorf(hansom.Invalid, "deploy", "no such runtime here")
		if _, err := s.Apply(t.Context(), project, actor, next); hansom.KindOf(err) != hansom.Invalid || err.Error() != "functions.zbad: no such runtime here" {
			t.Fatalf("error %v", err)
		}
		missing := hello()
		missing.Functions["zz"] = function("00")
		if _, err := s.Apply(t.Context(), project, actor, missing); err == nil || !strings.Contains(err.Error(), "not uploaded") {
			t.Fatalf("error %v", err)
		}
		if diff := cmp.Diff([]string{"hello-api", "hello-work"}, f.names(project)); diff != "" {
			t.Error(diff)
		}
		a, err := s.Get(t.Context(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(hello(), a.Manifest); diff != "" || a.Deployment != 1 {
			t.Errorf("deployment %d:\n%s", a.Deployment, diff)
		}
		if m, _ := s.Manifest(project, "hello"); len(m.Routes()) != 2 {
			t.Errorf("m.Routes() %v", m.Routes())
		}
	})
}

func TestForeignFunctionsAreRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		f.put(hansom.Version{Project: project, Function: "hello-api"})
		_, err := s.Apply(t.Context(), project, actor, hello())
		if hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), "hello-api is there already and was made through the Lambda API") {
			t.Errorf("error %v", err)
		}
		f.put(hansom.Version{Project: project, Function: "hello-api", App: "other"})
		_, err = s.Plan(t.Context(), project, hello())
		if hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), "belongs to the app other") {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff([]string{"hello-api"}, f.names(project)); diff != "" {
			t.Error(diff)
		}
	})
}

// A change made beside the app is found and put right.
func TestDrift(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		apply(t, s, hello())
		all, err := f.all(t.Context(), d.Read(), project)
		if err != nil {
			t.Fatal(err)
		}
		v := all["hello-work"]
		v.Timeout, v.Environment = time.Minute, map[string]string{"LEFT": "1"}
		f.put(v)
		want := []string{
			"unchanged function hello-api", "update function hello-work timeout 60s -> 3s; environment -LEFT",
			"unchanged route POST /messages", "unchanged route GET /messages/{id}",
		}
		if diff := cmp.Diff(want, text(apply(t, s, hello()))); diff != "" {
			t.Error(diff)
		}
		if p := apply(t, s, hello()); p.Changed() {
			t.Errorf("still changed: %v", text(p))
		}
	})
}

func TestProjectsAreApart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const other = "111111111111"
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		apply(t, s, hello())
		small := &manifest.Resolved{Name: "hello", Functions: map[string]manifest.ResolvedFunction{"api": function("77", "GET /other")}}
		if _, err := s.Apply(t.Context(), other, actor, small); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "222222222222", "hello"); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("error %v", err)
		}
		if err := s.Delete(t.Context(), other, "hello"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"hello-api", "hello-work"}, f.names(project)); diff != "" {
			t.Error(diff)
		}
		if err := s.Delete(t.Context(), other, "hello"); hansom.KindOf(err) != hansom.NotFound {
			t.Errorf("error %v", err)
		}
		if apps, err := s.List(t.Context(), project); err != nil || len(apps) != 1 {
			t.Errorf("%v, %v", apps, err)
		}
	})
}

func TestHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		now := time.UnixMicro(1_000_000)
		f := newFunctions(t, d)
		s := newService(t, d, f, func(c *Config) { c.History, c.Now = 3, func() time.Time { return now } })
		for i := range 5 {
			r := hello()
			fn := r.Functions["api"]
			fn.Memory = 128 + i
			r.Functions["api"] = fn
			now = now.Add(time.Second)
			apply(t, s, r)
		}
		got, err := s.History(t.Context(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		memory := func(change string) []Change {
			return []Change{{Kind: KindFunction, Name: "hello-api", Action: Update, Details: []string{"memory " + change}}}
		}
		want := []Deployment{{Number: 5, Actor: actor, Changes: memory("131 -> 132")}, {Number: 4, Actor: actor, Changes: memory("130 -> 131")}, {Number: 3, Actor: actor}}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Deployment{}, "Created", "Manifest"), cmpopts.IgnoreUnexported(Change{})); diff != "" {
			t.Error(diff)
		}
		if m := got[2].Manifest.Functions["api"].Memory; m != 130 {
			t.Errorf("deployment 3 has %d MB", m)
		}
		a, err := s.Get(t.Context(), project, "hello")
		if err != nil || !a.Created.Equal(time.UnixMicro(2_000_000)) || !a.Updated.Equal(now) {
			t.Errorf("created %v, updated %v, %v", a.Created, a.Updated, err)
		}
	})
}

func TestRollback(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, func(c *Config) { c.History = 3 })
		refused := func(kind hansom.Kind, message string, to int64) {
			t.Helper()
			for _, dry := range []bool{true, false} {
				if _, err := s.Rollback(t.Context(), project, actor, "hello", to, dry); hansom.KindOf(err) != kind || !strings.Contains(err.Error(), message) {
					t.Errorf("to %d, dry %v: %v, want %q", to, dry, err, message)
				}
			}
		}
		refused(hansom.NotFound, `there is no app "hello"`, 0)
		first := hello()
		apply(t, s, first)
		refused(hansom.Conflict, "hello has one deployment only", 0)
		second := hello()
		delete(second.Functions, "work")
		second.Functions["api"] = function("33", "GET /other")
		apply(t, s, second)
		refused(hansom.NotFound, "hello has no deployment 7; `hansom history hello` lists", 7)
		f.gone = code("22")
		refused(hansom.Conflict, "deployment 1 of hello cannot be restored: its code is no longer stored", 1)
		f.gone = ""

		back := []string{
			"update function hello-api code 33aaaaaaaaaa -> 11aaaaaaaaaa", "create function hello-work nodejs22.x",
			"create route POST /messages hello-api", "create route GET /messages/{id} hello-api", "delete route GET /other",
		}
		plan, err := s.Rollback(t.Context(), project, actor, "hello", 0, true)
		if diff := cmp.Diff(back, text(plan)); err != nil || diff != "" || plan.Deployment != 0 {
			t.Errorf("plan: %v, deployment %d\n%s", err, plan.Deployment, diff)
		}
		if names := f.names(project); !slices.Equal(names, []string{"hello-api"}) {
			t.Errorf("a plan changed something: %v", names)
		}
		// All or nothing: one function that cannot be deployed leaves everything as it was.
		f.fail["hello-work"] = hansom.Errorf(hansom.Unavailable, "deploy", "no")
		if _, err := s.Rollback(t.Context(), project, actor, "hello", 1, false); hansom.KindOf(err) != hansom.Unavailable {
			t.Errorf("error %v", err)
		}
		if a, err := s.Get(t.Context(), project, "hello"); err != nil || a.Deployment != 2 || len(f.names(project)) != 1 {
			t.Errorf("deployment %d, functions %v, %v", a.Deployment, f.names(project), err)
		}
		clear(f.fail)
		plan, err = s.Rollback(t.Context(), project, "somebody", "hello", 1, false)
		if diff := cmp.Diff(back, text(plan)); err != nil || diff != "" || plan.Deployment != 3 {
			t.Errorf("%v, deployment %d\n%s", err, plan.Deployment, diff)
		}
		a, err := s.Get(t.Context(), project, "hello")
		if diff := cmp.Diff(first, a.Manifest); err != nil || diff != "" {
			t.Error(err, diff)
		}
		list, err := s.History(t.Context(), project, "hello")
		if err != nil || len(list) != 3 || list[0].Restored != 1 || list[0].Actor != "somebody" || len(list[0].Changes) != 5 || len(list[2].Changes) != 4 {
			t.Errorf("%+v, %v", list, err)
		}
		if _, err := s.Rollback(t.Context(), project, actor, "hello", 0, false); err != nil { // forth again
			t.Error(err)
		}
		refused(hansom.NotFound, "hello has no deployment 1", 1) // beyond the history
	})
}

// Two services on one database: what one applies is there for one that starts later.
func TestRestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		if _, ok := s.Manifest(project, "hello"); ok {
			t.Error("routes of an app that is not there")
		}
		apply(t, s, hello())
		for _, s := range []*Service{s, newService(t, d, f, nil)} {
			m, ok := s.Manifest(project, "hello")
			want := []hansom.Route{
				{App: "hello", Method: "GET", Path: "/messages/{id}", Function: "hello-api"},
				{App: "hello", Method: "POST", Path: "/messages", Function: "hello-api"},
			}
			if diff := cmp.Diff(want, m.Routes()); diff != "" || !ok {
				t.Error(ok, diff)
			}
			if diff := cmp.Diff([]string{"hello"}, s.Apps(project)); diff != "" {
				t.Error(diff)
			}
		}
		if err := s.Delete(t.Context(), project, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Manifest(project, "hello"); ok || len(s.Apps(project)) != 0 {
			t.Error("a deleted app has routes")
		}
	})
}

// Applies of one app at the same time leave one of their states, whole.
func TestApplyAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f := newFunctions(t, d)
		s := newService(t, d, f, nil)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				r := &manifest.Resolved{Name: "hello", Functions: map[string]manifest.ResolvedFunction{fmt.Sprintf("f%d", i): function("11", "GET /")}}
				if _, err := s.Apply(t.Context(), project, actor, r); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		a, err := s.Get(t.Context(), project, "hello")
		if err != nil {
			t.Fatal(err)
		}
		if names := f.names(project); a.Deployment != 8 || len(names) != 1 || names[0] != "hello-"+a.Manifest.Keys()[0] {
			t.Errorf("deployment %d has %v, functions %v", a.Deployment, a.Manifest.Keys(), names)
		}
	})
}
