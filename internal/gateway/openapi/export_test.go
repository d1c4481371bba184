package openapi

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// canonical is what a document says of an API: IDs give way to what they name.
func canonical(a *api.API) map[string]any {
	integrations, authorizers := map[string]string{}, map[string]string{}
	all := []api.Integration{}
	for _, x := range a.Integrations {
		id := x.ID
		x.ID = ""
		all = append(all, x)
		integrations[id] = describe(x)
	}
	names := []api.Authorizer{}
	for _, x := range a.Authorizers {
		authorizers[x.ID] = x.Name
		x.ID = ""
		names = append(names, x)
	}
	routes := []api.Route{}
	for _, r := range a.Routes {
		r.ID, r.Integration, r.Authorizer = "", integrations[r.Integration], authorizers[r.Authorizer]
		routes = append(routes, r)
	}
	slices.SortFunc(all, func(x, y api.Integration) int { return cmp.Compare(describe(x), describe(y)) })
	slices.SortFunc(names, func(x, y api.Authorizer) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(routes, func(x, y api.Route) int { return cmp.Compare(x.Key, y.Key) })
	cors := a.CORS
	if cors != nil && len(corsMembers(cors)) == 0 {
		cors = nil
	}
	return map[string]any{
		"name": a.Name, "version": a.Version, "description": a.Description, "tags": a.Tags, "off": a.EndpointOff,
		"cors": cors, "routes": routes, "integrations": all, "authorizers": names,
	}
}

func describe(x api.Integration) string {
	return string(appendJSON(nil, integrationMembers(&x), ""))
}

// anyText is text as a client may send it, with what JSON and YAML have to escape.
func anyText(least int) *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9 ._-]{1,20}`),
		rapid.SampledFrom([]string{"true", "null", "1.0", "~", "- a", "a: b", " x ", "\"", "'", "#", "é\u2028\t\n\x01", "{}", "<b>&", "no", "0x10", "=", "\u00a0", "🚲"}),
		rapid.StringN(1, 10, -1),
	).Filter(func(s string) bool {
		return len(s) >= least && strings.ToValidUTF8(s, "") == s && !strings.Contains(s, "\ufffd")
	})
}

func anyAPI(t *rapid.T) *api.API {
	id := counter()
	a := &api.API{
		Name: anyText(1).Draw(t, "name"), Version: anyText(1).Draw(t, "version"), Description: rapid.OneOf(rapid.Just(""), anyText(1)).Draw(t, "description"),
		EndpointOff: rapid.Bool().Draw(t, "off"),
	}
	if rapid.Bool().Draw(t, "tagged") {
		a.Tags = rapid.MapOfN(anyText(1), rapid.OneOf(rapid.Just(""), anyText(1)), 1, 3).Draw(t, "tags")
	}
	if rapid.Bool().Draw(t, "cors") {
		yes, age := rapid.Bool().Draw(t, "credentials"), rapid.IntRange(-1, 86400).Draw(t, "age")
		a.CORS = &hansom.CORS{AllowOrigins: []string{"https://example.com"}, AllowMethods: []string{"*", "GET"}, AllowHeaders: []string{anyText(1).Draw(t, "header")}, AllowCredentials: &yes, MaxAge: &age}
	}
	function := rapid.SampledFrom([]string{
		"arn:aws:lambda:us-east-1:000000000000:function:f", "arn:aws:lambda:us-east-1:000000000000:function:f:live",
		"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:g/invocations",
	})
	for range rapid.IntRange(0, 4).Draw(t, "integrations") {
		x := api.Integration{ID: id(), Type: api.AWSProxy, Timeout: rapid.IntRange(50, 30000).Draw(t, "timeout"), Description: rapid.OneOf(rapid.Just(""), anyText(1)).Draw(t, "about")}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			x.URI, x.Method, x.Payload = function.Draw(t, "function"), "POST", rapid.SampledFrom([]string{"1.0", "2.0"}).Draw(t, "payload")
		case 1:
			x.Type, x.URI, x.Payload = api.HTTPProxy, "https://example.com/{proxy}?a=${stageVariables.b}", "1.0"
			x.Method = rapid.SampledFrom([]string{"", "ANY", "GET"}).Draw(t, "method")
			x.ServerName = rapid.SampledFrom([]string{"", "example.org"}).Draw(t, "server")
			x.Parameters = map[string]string{"append:header.x": anyText(1).Draw(t, "value"), "overwrite:path": "/"}
			x.Responses = map[string]map[string]string{"200": {"remove:header.y": "''"}, "404": {"overwrite:statuscode": "200"}}
		case 2:
			x.Subtype, x.Payload = api.SubtypeSQS, "1.0"
			x.Parameters = map[string]string{"QueueUrl": anyText(1).Draw(t, "queue"), "MessageBody": "$request.body"}
			x.Credentials = "arn:aws:iam::000000000000:role/r"
		case 3:
			x.Subtype, x.Payload, x.Parameters = api.SubtypeFixed, "1.0", map[string]string{"Body": anyText(1).Draw(t, "body"), "StatusCode": "204"}
		}
		a.Integrations = append(a.Integrations, x)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "authorizers") {
		x := api.Authorizer{ID: id(), Name: anyText(1).Draw(t, "authorizer") + string(rune('a'+i)), Type: api.JWT, Sources: []string{"$request.header.Authorization"}}
		if rapid.Bool().Draw(t, "jwt") {
			x.Issuer, x.Audience = "https://issuer.example.com/"+string(rune('a'+i)), []string{anyText(1).Draw(t, "audience"), "b"}
		} else {
			x.Type, x.URI, x.Payload = api.Request, function.Draw(t, "function"), rapid.SampledFrom([]string{"1.0", "2.0"}).Draw(t, "payload")
			x.Simple = x.Payload == "2.0" && rapid.Bool().Draw(t, "simple")
			x.Sources = rapid.SampledFrom([][]string{nil, {"$request.header.a"}, {"$request.querystring.b", "$context.identity.sourceIp"}}).Draw(t, "sources")
			if x.Sources != nil {
				x.TTL = rapid.IntRange(0, 3600).Draw(t, "ttl")
			}
		}
		a.Authorizers = append(a.Authorizers, x)
	}
	keys := []string{"$default", "GET /", "ANY /a/{id}", "GET /a/{id}", "POST /a", "OPTIONS /{proxy+}", "ANY /{proxy+}", "DELETE /a/ü/{b}/c", "PATCH /~x/a~1b"}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, len(keys), rapid.ID).Draw(t, "routes") {
		r := api.Route{ID: id(), Key: key, Authorization: authNone, Operation: rapid.OneOf(rapid.Just(""), anyText(1)).Draw(t, "operation"), KeyRequired: rapid.Bool().Draw(t, "key")}
		if n := len(a.Integrations); n > 0 && rapid.Bool().Draw(t, "integrated") {
			r.Integration = a.Integrations[rapid.IntRange(0, n-1).Draw(t, "integration")].ID
		}
		switch n := len(a.Authorizers); rapid.IntRange(0, 2).Draw(t, "authorization") {
		case 1:
			r.Authorization = authIAM
		case 2:
			if n == 0 {
				break
			}
			by := a.Authorizers[rapid.IntRange(0, n-1).Draw(t, "by")]
			r.Authorizer, r.Authorization = by.ID, authCustom
			if by.Type == api.JWT {
				r.Authorization = authJWT
				r.Scopes = rapid.SampledFrom([][]string{nil, {"read"}, {"a b", "c:d/e"}}).Draw(t, "scopes")
			}
		}
		a.Routes = append(a.Routes, r)
	}
	return a
}

func TestImportOfExport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := anyAPI(t)
		output := rapid.SampledFrom([]string{"JSON", "YAML"}).Draw(t, "output")
		o := ExportOptions{Specification: rapid.SampledFrom([]string{"OAS30", "OAS31"}).Draw(t, "specification"), Output: output, Endpoint: "https://abc.execute-api.localhost", Stage: "prod"}
		doc, err := Export(a, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		got, warnings, err := Import(doc, Options{ID: counter(), FailOnWarnings: true})
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if len(warnings) > 0 || len(got.Imported) > 0 {
			t.Fatalf("the import warns: %v %v\n%s", warnings, got.Imported, doc)
		}
		if diff := gocmp.Diff(canonical(a), canonical(got)); diff != "" {
			t.Fatalf("differs (-before +after):\n%s\n%s", diff, doc)
		}
	})
}

// example is an API with one of everything.
func example() *api.API {
	yes, age := true, 60
	return &api.API{
		Name: "Guestbook", Description: "Who was here?", Created: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), Tags: map[string]string{"stage": "test", "empty": ""},
		EndpointOff: true, CORS: &hansom.CORS{AllowOrigins: []string{"https://example.com"}, AllowCredentials: &yes, MaxAge: &age},
		Integrations: []api.Integration{
			{ID: "function", Type: api.AWSProxy, Method: "POST", URI: "arn:aws:lambda:us-east-1:000000000000:function:f", Payload: "2.0", Timeout: 30000},
			{ID: "proxy", Type: api.HTTPProxy, Method: "ANY", URI: "https://example.com/{id}", Payload: "1.0", Timeout: 5000, ServerName: "example.com", Responses: map[string]map[string]string{"200": {"append:header.x": "y"}}},
		},
		Authorizers: []api.Authorizer{
			{ID: "a", Name: "members", Type: api.JWT, Sources: []string{"$request.header.Authorization"}, Issuer: "https://issuer.example.com", Audience: []string{"guestbook"}},
			{ID: "b", Name: "sigv4", Type: api.Request, URI: "arn:aws:lambda:us-east-1:000000000000:function:auth", Payload: "2.0", Simple: true, TTL: 300, Sources: []string{"$request.header.X-Token"}},
		},
		Routes: []api.Route{
			{ID: "1", Key: "GET /entries", Integration: "function", Operation: "list"},
			{ID: "2", Key: "POST /entries", Integration: "function", Authorization: "JWT", Authorizer: "a", Scopes: []string{"write"}, KeyRequired: true},
			{ID: "3", Key: "ANY /entries/{id}", Integration: "proxy", Authorization: "CUSTOM", Authorizer: "b"},
			{ID: "4", Key: "$default", Integration: "function", Authorization: "AWS_IAM"},
			{ID: "5", Key: "GET /nowhere"},
		},
	}
}

func TestExport(t *testing.T) {
	for _, c := range []struct {
		file string
		s    *api.Snapshot
		o    ExportOptions
	}{
		{"api.json", nil, ExportOptions{Output: "JSON"}},
		{"api.yaml", nil, ExportOptions{Output: "YAML", Version: "1.0"}},
		{"plain.yaml", nil, ExportOptions{Output: "YAML", NoExtensions: true}},
		{"stage.yaml", &api.Snapshot{Routes: []api.Route{{ID: "1", Key: "GET /old"}}}, ExportOptions{Output: "YAML", Endpoint: "https://abc.execute-api.localhost:8080", Stage: "prod"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			c.o.Specification = "OAS30"
			got, err := Export(example(), c.s, c.o)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "export", c.file)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExportRefuses(t *testing.T) {
	for _, c := range []struct {
		o    ExportOptions
		want string
	}{
		{ExportOptions{Specification: "OAS20", Output: "JSON"}, "specification"},
		{ExportOptions{Specification: "OAS30", Output: "XML"}, "outputType"},
		{ExportOptions{Specification: "OAS30", Output: "JSON", Version: "2.0"}, "exportVersion"},
	} {
		if _, err := Export(&api.API{}, nil, c.o); hansom.KindOf(err) != hansom.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; it must be Invalid and name %s", c.o, err, c.want)
		}
	}
}
