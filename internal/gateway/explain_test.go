package gateway

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/openapi"
	"github.com/hansomcloud/hansom/internal/manifest"
)

const otherProject = "111111111111"

// explained has the app book, which is also at book.example.com and, below /v1, at *.shop.example.com, the API abc123, the API off, which has no host, the function
// URL abc and the API of another project.
func explained(t *testing.T) *Gateway {
	t.Helper()
	route := func(key, more string) string { return `{"route":"` + key + `"` + more + `}` }
	digest := strings.Repeat("a", 64)
	m, err := manifest.DecodeResolved(strings.NewReader(`{"name":"book","functions":{"api":{"runtime":"provided.al2023","handler":"bootstrap","codeSha256":"` + digest + `","memory":128,"timeout":3,"http":[` +
		strings.Join([]string{
			route("GET /messages/{id}", ""), route("ANY /{rest+}", ""),
			route("POST /messages", `,"authorizer":"members","scopes":["write"],"throttle":{"rate":5,"burst":10,"per":"client"},"timeout":2000`),
			route("PUT /messages/{id}", `,"authorizer":"asked","throttle":{"rate":1,"burst":2,"per":"route"},"key":true`),
			route("DELETE /messages/{id}", `,"authorizer":"signed"`),
		}, ",") + `]}},"authorizers":{"members":{"jwt":{"issuer":"https://login.example.com","audience":["book"]},"identity":["$request.querystring.token"]},
		"asked":{"function":"api","identity":["$request.header.X-Who"]},"signed":{"iam":true}},
		"cors":{"origins":["https://example.com"],"methods":["GET"],"headers":["x"],"credentials":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	live, err := openapi.Apps{Region: hansom.DefaultRegion, Domain: "localhost"}.Live(hansom.DefaultProject, m)
	if err != nil {
		t.Fatal(err)
	}
	g := New(DefaultConfig(), Deps{URLs: urls{"abc": {ID: "abc", Project: hansom.DefaultProject, Function: "f", AuthType: hansom.URLAuthIAM}}}, slog.New(slog.DiscardHandler))
	g.SetApps([]App{{Project: hansom.DefaultProject, Name: "book", Live: live}, {Project: otherProject, Slug: "acme", Name: "theirs"}})
	off, theirs := testAPI(), testAPI()
	off.API = &api.API{Project: hansom.DefaultProject, ID: "off", Name: "hidden", EndpointOff: true}
	theirs.API = &api.API{Project: otherProject, ID: "theirs", Name: "theirs"}
	g.SetAPIs(map[string]*api.Live{"abc123": testAPI(), "off": off, "theirs": theirs})
	g.SetDomains([]*api.Domain{
		{Project: hansom.DefaultProject, Name: "book.example.com", Mappings: []api.Mapping{{API: "book"}}},
		{Project: hansom.DefaultProject, Name: "*.shop.example.com", Mappings: []api.Mapping{{API: "book", Key: "v1"}, {API: "off", Stage: "prod", Key: "off"}}},
		{Project: otherProject, Name: "theirs.example.com", Mappings: []api.Mapping{{API: "theirs"}}},
	})
	return g
}

func (e *Explanation) text() string {
	var b strings.Builder
	for _, c := range e.Candidates {
		mark := " "
		if c.Chosen {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %s %v: %s\n", mark, c.Key, c.Parameters, c.Reason)
	}
	for _, s := range e.Steps {
		b.WriteString(s.What + ": " + s.Text + "\n")
	}
	fmt.Fprintf(&b, "= %d %s %s %s %s\n", e.Status, e.Kind, e.Name, e.Stage, e.Below)
	return b.String()
}

// TestExplain goes through testdata/explain.txt: requests, each with what is said of it.
func TestExplain(t *testing.T) {
	g := explained(t)
	data, err := os.ReadFile("testdata/explain.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n\n") {
		request, _, _ := strings.Cut(block, "\n")
		words := strings.Fields(request)
		r := httptest.NewRequest(words[1], words[2], nil)
		r.Host = r.URL.Host
		r.RequestURI = r.URL.RequestURI()
		for _, h := range words[3:] {
			name, value, _ := strings.Cut(h, "=")
			r.Header.Set(name, value)
		}
		e := g.Explain(hansom.DefaultProject, r)
		out.WriteString(request + "\n" + e.text() + "\n")

		// What is explained is what the gateway does, as far as it answers itself.
		w := httptest.NewRecorder()
		if e.Status != 0 && e.Status != http.StatusForbidden && e.Status != http.StatusUnauthorized && !strings.Contains(request, "theirs") {
			if g.ServeHTTP(w, r); w.Code != e.Status {
				t.Errorf("%s: %d is explained, and answered %d", request, e.Status, w.Code)
			}
		}
	}
	if got := strings.TrimSuffix(out.String(), "\n"); got != string(data) {
		t.Errorf("differs (-want +got):\n%s\n%s", cmp.Diff(string(data), got), got)
	}
}

func TestHosts(t *testing.T) {
	g := explained(t)
	var got []string
	for _, h := range g.Hosts(hansom.DefaultProject) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s%s %s %s %s %s", h.Host, h.Path, h.Kind, h.Name, h.API, h.Stage)))
		for _, r := range h.Routes {
			if h.Name == "book" && h.Kind == HostApp && h.Host != "localhost" || h.Stage == "prod" {
				line := "  " + r.Key + " " + r.Target + " " + r.Value
				for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
					line += ", " + name + " " + r.Settings[name]
				}
				if r.Broken != "" {
					line += ", broken"
				}
				got = append(got, line)
			}
		}
	}
	want, err := os.ReadFile("testdata/hosts.txt")
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got, "\n") + "\n"; text != string(want) {
		t.Errorf("differs (-want +got):\n%s\n%s", cmp.Diff(string(want), text), text)
	}
	for _, h := range g.Hosts(otherProject) {
		if !strings.Contains(h.Host, "theirs") {
			t.Errorf("%s is of another project", h.Host)
		}
	}
}
