package app

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// web is the gateway: a route is its function and what its entry says. The document of openapi is a route, or it is refused.
type web struct{}

func (web) Routes(_ string, r *manifest.Resolved) (map[string][][2]string, error) {
	out := map[string][][2]string{}
	for _, key := range r.Keys() {
		for _, x := range r.Functions[key].HTTP {
			settings := [][2]string{{"function", manifest.FunctionName(r.Name, key)}}
			if x.Authorizer != "" {
				settings = append(settings, [2]string{"authorizer", x.Authorizer})
			}
			out[x.Route] = settings
		}
	}
	if r.OpenAPI != nil {
		url, rest, _ := strings.Cut(r.OpenAPI.Document, " ")
		if url == "bad" {
			return nil, hansom.Errorf(hansom.Invalid, "read document", "it is bad")
		}
		out["GET /old"] = [][2]string{{"url", url}, {"", rest}}
	}
	return out, nil
}

func (web) Owner(host string) string {
	if host == "taken.example.com" {
		return "an API has it"
	}
	return ""
}

// lines are what a plan changes.
func lines(p Plan) string {
	var out []string
	for _, c := range p.Changes {
		if c.Action != Unchanged && c.Kind != KindFunction {
			out = append(out, strings.Join(append([]string{string(c.Action), c.Kind, c.Name}, c.Details...), " | "))
		}
	}
	return strings.Join(out, "\n")
}

func TestPlanOfWeb(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d, newFunctions(t, d), nil)
		first := hello()
		first.Functions["api"].HTTP[1].Authorizer = "members"
		first.Authorizers = map[string]manifest.ResolvedAuthorizer{"members": {JWT: &manifest.ResolvedJWT{Issuer: "https://issuer.example.com", Audience: []string{"a"}}}}
		first.CORS = &manifest.ResolvedCORS{Origins: []string{"*"}}
		first.Domains = []string{"example.com"}
		first.OpenAPI = &manifest.ResolvedOpenAPI{File: "api.yaml", Document: "https://example.org one"}
		plan := apply(t, s, first)
		if diff := cmp.Diff(`create | authorizer | members | jwt of https://issuer.example.com
create | cors | cors | *
create | route | POST /messages | hello-api | authorizer members
create | route | GET /messages/{id} | hello-api
create | route | GET /old | https://example.org
create | domain | example.com`, lines(plan)); diff != "" {
			t.Error(diff)
		}
		if again := apply(t, s, first); again.Changed() {
			t.Errorf("the same again: %s", lines(again))
		}

		next := hello()
		next.Functions["work"] = function("22", "GET /old")
		next.Functions["api"].HTTP[0].Authorizer = "signed"
		next.Authorizers = map[string]manifest.ResolvedAuthorizer{"signed": {IAM: true}, "members": {JWT: &manifest.ResolvedJWT{Issuer: "https://issuer.example.com", Audience: []string{"b"}}, TTL: 1}}
		next.CORS = &manifest.ResolvedCORS{Origins: []string{"*"}, MaxAge: 60}
		next.Domains = []string{"www.example.com"}
		if _, err := s.Plan(t.Context(), project, next); err == nil {
			t.Fatal("ttl goes with a function")
		}
		members := next.Authorizers["members"]
		members.TTL = 0
		next.Authorizers["members"] = members
		if diff := cmp.Diff(`update | authorizer | members | jwt
create | authorizer | signed | iam
update | cors | cors | maxAge
update | route | POST /messages | authorizer members -> none
update | route | GET /messages/{id} | authorizer none -> signed
update | route | GET /old | url https://example.org -> function hello-work
delete | domain | example.com
create | domain | www.example.com`, lines(apply(t, s, next))); diff != "" {
			t.Error(diff)
		}

		// Only what no word tells differs.
		next.OpenAPI = &manifest.ResolvedOpenAPI{File: "api.yaml", Document: "https://example.org one"}
		next.Functions["work"] = function("22")
		apply(t, s, next)
		changed := *next
		changed.OpenAPI = &manifest.ResolvedOpenAPI{File: "api.yaml", Document: "https://example.org two"}
		if got := lines(apply(t, s, &changed)); got != "update | route | GET /old | integration" {
			t.Error(got)
		}
		bad := *next
		bad.OpenAPI = &manifest.ResolvedOpenAPI{File: "api.yaml", Document: "bad"}
		if _, err := s.Plan(t.Context(), project, &bad); hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("a bad document: %v", err)
		}
		history, err := s.History(t.Context(), project, "hello")
		if err != nil || len(history) != 4 || lines(Plan{Changes: history[0].Changes}) != "update | route | GET /old | integration" {
			t.Errorf("%+v, %v", history, err)
		}
	})
}

func TestDomainsOfOthers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newService(t, d, newFunctions(t, d), nil)
		with := func(name string, domains ...string) *manifest.Resolved {
			r := hello()
			r.Name, r.Domains = name, domains
			return r
		}
		apply(t, s, with("one", "one.example.com"))
		for project, c := range map[string]struct{ domain, want string }{
			"000000000000": {"one.example.com", "the app one has it"},
			"111111111111": {"one.example.com", "an app of another project has it"},
			"222222222222": {"taken.example.com", "an API has it"},
		} {
			if _, err := s.Apply(t.Context(), project, actor, with("two", c.domain)); hansom.KindOf(err) != hansom.Conflict || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s for %s: %v", c.domain, project, err)
			}
		}
		if got := lines(apply(t, s, with("one", "one.example.com", "other.example.com"))); got != "create | domain | other.example.com" {
			t.Errorf("its own domain: %s", got)
		}
		apply(t, s, with("one"))
		apply(t, s, with("two", "one.example.com")) // it is free again
	})
}
