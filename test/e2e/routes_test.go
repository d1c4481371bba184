package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// TestRoutesOfApps deploys an app whose routes are those of an OpenAPI document and asks them. Then the same document goes through API Gateway's ImportApi and
// ExportApi.
func TestRoutesOfApps(t *testing.T) {
	t.Parallel()
	s := hansomtest.Start(t, nil)
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "behind "+r.URL.Path+" "+r.Header.Get("X-Id"))
	}))
	t.Cleanup(behind.Close)
	ask := func(service, method, path, body string) (int, string) {
		t.Helper()
		out, err := run(t, nil, t.TempDir(), "curl", "-sS", "-w", "\n%{http_code}", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:"+service,
			"--user", hansomtest.Credentials.AccessKeyID+":"+hansomtest.Credentials.SecretAccessKey, "-H", "Content-Type: application/json", "-d", body, s.API()+path)
		if err != nil {
			t.Fatal(out, err)
		}
		i := strings.LastIndexByte(out, '\n')
		status := 0
		if err := json.Unmarshal([]byte(out[i+1:]), &status); err != nil {
			t.Fatal(out, err)
		}
		return status, out[:i]
	}
	call := func(method, path, body string) (int, string) { return ask("hansom", method, "/_hansom/v1/"+path, body) }
	document := func(answer string) string {
		return `
openapi: 3.1.0
info: {title: Front, version: "1"}
paths:
  /health:
    get:
      x-amazon-apigateway-integration: {type: aws_proxy, integrationSubtype: Hansom-Respond, requestParameters: {Body: ` + answer + `, ContentType: text/plain}}
  /old:
    get:
      x-amazon-apigateway-integration: {type: aws_proxy, integrationSubtype: Hansom-Redirect, requestParameters: {Location: /health, StatusCode: "301"}}
  /signed:
    get:
      security: [{signed: []}]
      x-amazon-apigateway-integration: {type: aws_proxy, integrationSubtype: Hansom-Respond}
  /behind/{id}:
    x-amazon-apigateway-any-method:
      x-amazon-apigateway-integration:
        type: http_proxy
        uri: ` + behind.URL + `/there/{id}
        requestParameters: {"overwrite:header.x-id": $request.path.id}
components:
  securitySchemes:
    signed: {type: apiKey, name: Authorization, in: header, x-amazon-apigateway-authtype: awsSigv4}
`
	}
	deploy := func(name, document string, domains ...string) (int, string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"name": name, "functions": map[string]any{}, "domains": domains, "openapi": map[string]string{"file": "api.yaml", "document": document}})
		if err != nil {
			t.Fatal(err)
		}
		return call("PUT", "apps/"+name, string(body))
	}
	get := func(host, path, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.Edge()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if got := resp.Status[:3] + " " + resp.Header.Get("Location") + string(text); err != nil || got != want {
			t.Errorf("%s%s: %q, want %q (%v)", host, path, got, want, err)
		}
	}
	if status, out := deploy("front", document("fine"), "front.example.com", "*.front.example.com"); status != 200 {
		t.Fatal(out)
	}
	for _, host := range []string{"front.localhost", "localhost", "front.example.com", "front.example.com:8080", "a.front.example.com"} {
		get(host, "/health", "200 fine")
	}
	get("example.com", "/health", `404 {"message":"no app answers at example.com"}`)
	get("front.localhost", "/old", "301 /health")
	get("front.localhost", "/signed", `403 {"message":"Forbidden"}`)
	get("front.example.com", "/behind/7", "200 behind /there/7 7")

	// A change is visible at once; one that is refused changes nothing.
	if status, out := deploy("front", document("better")); status != 200 {
		t.Fatal(out)
	}
	get("front.localhost", "/health", "200 better")
	get("front.example.com", "/health", `404 {"message":"no app answers at front.example.com"}`)
	if status, out := deploy("front", strings.Replace(document("worse"), "http_proxy", "mock", 1)); status != 400 || !strings.Contains(out, "api.yaml:") || !strings.Contains(out, "mock") {
		t.Errorf("%d %s", status, out)
	}
	get("front.localhost", "/health", "200 better")
	if status, out := call("POST", "routes/explain", `{"method":"GET","app":"front","path":"/behind/7"}`); status != 200 || !strings.Contains(out, `"id":"7"`) {
		t.Errorf("%d %s", status, out)
	}

	importing := func(query, document string) (int, string) {
		body, err := json.Marshal(map[string]string{"body": document})
		if err != nil {
			t.Fatal(err)
		}
		return ask("apigateway", "PUT", "/v2/apis"+query, string(body))
	}
	status, out := importing("?failOnWarnings=true", document("imported"))
	var made struct{ APIID string }
	if err := json.Unmarshal([]byte(out), &made); status != 201 || err != nil || made.APIID == "" {
		t.Fatal(status, out, err)
	}
	status, exported := ask("apigateway", "GET", "/v2/apis/"+made.APIID+"/exports/OAS30?outputType=YAML", "")
	if status != 200 || !strings.Contains(exported, "Hansom-Redirect") || !strings.Contains(exported, "awsSigv4") {
		t.Fatal(status, exported)
	}
	status, out = importing("", exported)
	if err := json.Unmarshal([]byte(out), &made); status != 201 || err != nil {
		t.Fatal(status, out, err)
	}
	if status, again := ask("apigateway", "GET", "/v2/apis/"+made.APIID+"/exports/OAS30?outputType=YAML", ""); status != 200 || withoutServers(again) != withoutServers(exported) {
		t.Errorf("%d: the export of what was imported differs:\n%s\n%s", status, exported, again)
	}
	if status, out := importing("", strings.Replace(document("x"), "openapi: 3.1.0", "swagger: '2.0'", 1)); status != 400 || !strings.Contains(out, "Swagger 2.0 is not supported") {
		t.Errorf("%d %s", status, out)
	}
}

// withoutServers is an export without the lines that tell of the API's own host.
func withoutServers(text string) string {
	a, b, _ := strings.Cut(text, "servers:")
	_, b, _ = strings.Cut(b, "paths:")
	return a + b
}
