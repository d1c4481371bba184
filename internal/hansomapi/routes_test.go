package hansomapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/gateway"
)

// fakeGateway has one app, one domain of it and one API; what it explains is the request that it was asked about.
type fakeGateway struct{}

func (fakeGateway) Hosts(project string) []gateway.Host {
	return []gateway.Host{
		{Host: "a.localhost", Kind: gateway.HostApp, Name: "a", Routes: []gateway.HostRoute{{Key: "GET /", Target: "function", Value: "a-f"}}},
		{Host: "x.execute-api.localhost", Path: "/prod", Kind: gateway.HostAPI, Name: "pets", API: "x", Stage: "prod"},
		{Host: "a.example.com", Kind: gateway.HostDomain, Name: "a", API: "a", Stage: "$default"},
		{Host: project + ".localhost", Kind: gateway.HostApp, Name: "mine"},
	}
}

func (fakeGateway) Explain(project string, r *http.Request) gateway.Explanation {
	return gateway.Explanation{Method: r.Method, Host: r.Host, Path: r.RequestURI, Name: project, Steps: []gateway.Step{{What: "header", Text: r.Header.Get("Authorization")}, {What: "query", Text: r.URL.Query().Get("a")}}}
}

func TestRoutes(t *testing.T) {
	f := newFixture(t)
	project, acme := f.tenant("acme")
	for name, app := range map[string]string{"a-b": "a", "other": ""} {
		f.functions.list = append(f.functions.list, function.Function{Version: hansom.Version{Function: name, App: app}})
	}
	slices.SortFunc(f.functions.list, func(a, b function.Function) int { return strings.Compare(a.Function, b.Function) })
	list := func(path string) (out []string) {
		t.Helper()
		for _, h := range must[struct{ Hosts []routeHost }](f, acme, "GET", path, "").Hosts {
			line := h.URL + " " + h.Kind + " " + h.Name
			for _, r := range h.Routes {
				line += " " + r.Key + " " + r.Target + " " + r.Value + " " + r.Settings["authorizer"]
			}
			out = append(out, line)
		}
		return out
	}
	if diff := cmp.Diff([]string{
		"http://a.localhost app a GET / function a-f ",
		"http://x.execute-api.localhost/prod api pets",
		"http://a.example.com domain a",
		"http://" + project + ".localhost app mine",
		"http://id-of-a-b.lambda-url.localhost function URL a-b $default function a-b ",
		"http://id-of-other.lambda-url.localhost function URL other $default function other ",
	}, list("routes")); diff != "" {
		t.Error(diff)
	}
	f.apps.apps = []app.App{{Name: "a"}}
	if diff := cmp.Diff([]string{
		"http://a.localhost app a GET / function a-f ", "http://a.example.com domain a", "http://id-of-a-b.lambda-url.localhost function URL a-b $default function a-b ",
	}, list("routes?app=a")); diff != "" {
		t.Error(diff)
	}
	f.refused(acme, "GET", "routes?app=none", "", 404, "NotFound", "no app")

	e := must[gateway.Explanation](f, acme, "POST", "routes/explain", `{"method":"POST","host":"h.example.com:80","path":"/x?a=b","headers":{"authorization":"me"}}`)
	if e.Method != "POST" || e.Host != "h.example.com:80" || e.Path != "/x?a=b" || e.Name != project || e.Steps[0].Text != "me" || e.Steps[1].Text != "b" {
		t.Errorf("%+v", e)
	}
	for body, want := range map[string]string{
		`{"method":"GET","path":"/"}`:                           "host must be a host",
		`{"method":"GET","host":"a/b","path":"/"}`:              "host must be a host",
		`{"method":"GET","host":"a","path":"x"}`:                "must be a path",
		`{"method":"GET","host":"a","path":"/%zz"}`:             "must be a path",
		`{"method":"","host":"a","path":"/"}`:                   "must be a method",
		`{"method":"G T","host":"a","path":"/"}`:                "must be a method",
		`{"method":"GET","host":"a","path":"/","unknown":true}`: "unknown",
	} {
		f.refused(acme, "POST", "routes/explain", body, 400, "Invalid", want)
	}
	f.refused(acme, "POST", "routes/explain", `{"method":"GET","app":"none","path":"/"}`, 404, "NotFound", "no app")
}
