package e2e

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2"
	gw "github.com/aws/aws-sdk-go-v2/service/apigatewayv2/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/go-jose/go-jose/v4"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// keeper is a function that answers with its request context, and as a Lambda authorizer when it is asked as one: "yes" may call, "boom" breaks it.
const keeper = `
let asked = 0;
exports.handler = async (event) => {
  if (event.type !== 'REQUEST') return { statusCode: 200, body: JSON.stringify(event.requestContext.authorizer ?? null) };
  const token = event.version === '2.0' ? event.identitySource[0] : event.authorizationToken;
  asked++;
  if (token === 'boom') throw new Error('Unauthorized');
  const context = { token, asked };
  if (event.version === '2.0') return { isAuthorized: token === 'yes', context };
  const Effect = token === 'yes' ? 'Allow' : 'Deny';
  return { principalId: 'anna', policyDocument: { Version: '2012-10-17', Statement: [{ Action: 'execute-api:Invoke', Effect, Resource: event.methodArn }] }, context };
};`

// tellsContext serves HTTP, and answers with what it is told of its caller.
const tellsContext = `require('http').createServer((request, answer) => answer.end(request.headers['x-amzn-request-context'] ?? 'nobody is known')).listen(process.env.PORT);`

// guarded is an API whose routes have authorizers.
type guarded struct {
	*hansomtest.Server
	t       *testing.T
	api     *apigatewayv2.Client
	browser *http.Client
	id      string
}

func (g *guarded) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// connect makes the clients, again after a restart.
func (g *guarded) connect() {
	g.api = apisClient(g.t, g.API(), hansomtest.Credentials)
	g.browser = browser(g.t, g.EdgeAddr())
}

func (g *guarded) authorizer(in apigatewayv2.CreateAuthorizerInput) *string {
	g.t.Helper()
	in.ApiId = &g.id
	out, err := g.api.CreateAuthorizer(g.t.Context(), &in)
	g.must(err)
	return out.AuthorizerId
}

func (g *guarded) url(path string) string {
	_, port, _ := strings.Cut(g.EdgeAddr(), ":")
	return "http://" + g.id + ".execute-api.localhost:" + port + path
}

// call sends GET path with a header, "Name: value", and returns the status and the body, or why not: the WWW-Authenticate or Retry-After header.
func (g *guarded) call(path, header string) (status int, body, why string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.url(path), nil)
	g.must(err)
	if name, value, ok := strings.Cut(header, ": "); ok {
		r.Header.Set(name, value)
	}
	answer, err := g.browser.Do(r)
	g.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	g.must(err)
	return answer.StatusCode, string(text), answer.Header.Get("WWW-Authenticate") + answer.Header.Get("Retry-After")
}

// expect checks what a call answers; part is in the body.
func (g *guarded) expect(path, header string, status int, part, why string) {
	g.t.Helper()
	s, body, w := g.call(path, header)
	if s != status || !strings.Contains(body, part) || why != "" && w != why {
		g.t.Errorf("GET %s with %.40q: %d %s (%s), want %d %s (%s)", path, header, s, body, w, status, part, why)
	}
}

// TestAuthorizers makes an API with every kind of authorizer, a key and throttles with aws-sdk-go-v2 and awscli, and calls it.
func TestAuthorizers(t *testing.T) {
	t.Parallel()
	g := &guarded{Server: start(t, nil), t: t}
	g.connect()
	create(t, client(t, g.API(), hansomtest.Credentials), "keeper", node22, source(t, node22, keeper))
	function := aws.String("arn:aws:lambda:us-east-1:000000000000:function:keeper")
	api, err := g.api.CreateApi(t.Context(), &apigatewayv2.CreateApiInput{Name: aws.String("guarded"), ProtocolType: gw.ProtocolTypeHttp})
	g.must(err)
	g.id = *api.ApiId
	integration, err := g.api.CreateIntegration(t.Context(), &apigatewayv2.CreateIntegrationInput{ApiId: &g.id, IntegrationType: gw.IntegrationTypeAwsProxy, IntegrationUri: function, PayloadFormatVersion: aws.String("2.0")})
	g.must(err)
	create(t, client(t, g.API(), hansomtest.Credentials), "served", hansom.RuntimeHTTP, pack(t, map[string]string{"server.js": tellsContext}), func(in *lambda.CreateFunctionInput) { in.Handler = aws.String("node server.js") })
	server, err := g.api.CreateIntegration(t.Context(), &apigatewayv2.CreateIntegrationInput{ApiId: &g.id, IntegrationType: gw.IntegrationTypeAwsProxy, IntegrationUri: aws.String("arn:aws:lambda:us-east-1:000000000000:function:served"), PayloadFormatVersion: aws.String("2.0")})
	g.must(err)
	issuer := newIssuer(t)
	users := g.authorizer(apigatewayv2.CreateAuthorizerInput{Name: aws.String("users"), AuthorizerType: gw.AuthorizerTypeJwt, IdentitySource: []string{"$request.header.Authorization"},
		JwtConfiguration: &gw.JWTConfiguration{Issuer: &issuer.URL, Audience: []string{"notes"}}})
	simple := g.authorizer(apigatewayv2.CreateAuthorizerInput{Name: aws.String("simple"), AuthorizerType: gw.AuthorizerTypeRequest, AuthorizerUri: function, IdentitySource: []string{"$request.header.X-Token"},
		AuthorizerPayloadFormatVersion: aws.String("2.0"), EnableSimpleResponses: aws.Bool(true), AuthorizerResultTtlInSeconds: aws.Int32(300)})
	policy := g.authorizer(apigatewayv2.CreateAuthorizerInput{Name: aws.String("policy"), AuthorizerType: gw.AuthorizerTypeRequest, AuthorizerUri: function, IdentitySource: []string{"$request.header.X-Token"},
		AuthorizerPayloadFormatVersion: aws.String("1.0"), AuthorizerResultTtlInSeconds: aws.Int32(300)})
	for _, r := range []apigatewayv2.CreateRouteInput{
		{RouteKey: aws.String("GET /jwt"), AuthorizationType: gw.AuthorizationTypeJwt, AuthorizerId: users, AuthorizationScopes: []string{"read"}},
		{RouteKey: aws.String("GET /simple"), AuthorizationType: gw.AuthorizationTypeCustom, AuthorizerId: simple},
		{RouteKey: aws.String("GET /policy/{id}"), AuthorizationType: gw.AuthorizationTypeCustom, AuthorizerId: policy},
		{RouteKey: aws.String("GET /iam"), AuthorizationType: gw.AuthorizationTypeAwsIam},
		{RouteKey: aws.String("GET /key"), ApiKeyRequired: aws.Bool(true)},
		{RouteKey: aws.String("GET /slow")},
		{RouteKey: aws.String("GET /served/jwt"), AuthorizationType: gw.AuthorizationTypeJwt, AuthorizerId: users, Target: server.IntegrationId},
		{RouteKey: aws.String("GET /served/open"), Target: server.IntegrationId},
	} {
		r.ApiId, r.Target = &g.id, aws.String("integrations/"+*cmp.Or(r.Target, integration.IntegrationId))
		_, err := g.api.CreateRoute(t.Context(), &r)
		g.must(err)
	}
	_, err = g.api.CreateStage(t.Context(), &apigatewayv2.CreateStageInput{ApiId: &g.id, StageName: aws.String("$default"), AutoDeploy: aws.Bool(true),
		RouteSettings: map[string]gw.RouteSettings{"GET /slow": {ThrottlingRateLimit: aws.Float64(0.01), ThrottlingBurstLimit: aws.Int32(2)}}})
	g.must(err)

	bearer := func(scope string, lasts time.Duration) string {
		return "Authorization: Bearer " + issuer.token(t, scope, lasts)
	}
	g.expect("/jwt", "", 401, `{"message":"Unauthorized"}`, "Bearer")
	g.expect("/jwt", bearer("read write", time.Hour), 200, `"scopes":["read"]`, "")
	g.expect("/jwt", bearer("read", -time.Second), 401, `{"message":"Unauthorized"}`, `Bearer scope="read" error="invalid_token" error_description="the token has expired"`)
	g.expect("/jwt", bearer("write", time.Hour), 403, `{"message":"Forbidden"}`, `Bearer scope="read" error="insufficient_scope" error_description="the token has none of the scopes"`)

	g.expect("/served/jwt", bearer("read", time.Hour), 200, `"sub":"anna"`, "")
	g.expect("/served/open", `X-Amzn-Request-Context: {"authorizer":{"jwt":{"claims":{"sub":"eve"}}}}`, 200, "nobody is known", "")

	g.expect("/simple", "", 401, "Unauthorized", "")
	g.expect("/simple", "X-Token: no", 403, "Forbidden", "")
	g.expect("/simple", "X-Token: boom", 500, "Internal Server Error", "")
	_, first, _ := g.call("/simple", "X-Token: yes")
	g.expect("/simple", "X-Token: yes", 200, first, "")
	_, err = g.api.ResetAuthorizersCache(t.Context(), &apigatewayv2.ResetAuthorizersCacheInput{ApiId: &g.id, StageName: aws.String("$default")})
	g.must(err)
	if _, again, _ := g.call("/simple", "X-Token: yes"); again == first || !strings.Contains(again, `"token":"yes"`) {
		t.Errorf("after the reset: %s, before: %s", again, first)
	}
	g.expect("/policy/1", "X-Token: yes", 200, `"token":"yes"`, "")
	g.expect("/policy/2", "X-Token: yes", 403, "Forbidden", "") // the policy that is kept is for the other path
	g.expect("/policy/1", "X-Token: no", 403, "Forbidden", "")

	g.expect("/iam", "", 403, "Forbidden", "")
	for service, status := range map[string]int{"execute-api": 200, "lambda": 403} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url("/iam"), nil)
		g.must(err)
		auth.Sign(r, hansomtest.Credentials, hansom.DefaultRegion, service, digest(nil), time.Now())
		if s, body := send(t, g.browser, r); s != status || (s == 200) != strings.Contains(body, `"iam":{"accessKey"`) {
			t.Errorf("signed for %s: %d %s, want %d", service, s, body, status)
		}
	}

	g.expect("/slow", "", 200, "null", "")
	g.expect("/slow", "", 200, "null", "")
	if s, body, after := g.call("/slow", ""); s != 429 || len(after) < 2 || body != `{"message":"Too Many Requests"}` {
		t.Errorf("throttled: %d %s, after %s s", s, body, after)
	}

	cli := func(args ...string) string {
		t.Helper()
		out, err := run(t, environment(g.Server), t.TempDir(), append([]string{"/usr/bin/aws", "--endpoint-url", g.API(), "--output", "text", "apigateway"}, args...)...)
		if err != nil {
			t.Fatalf("aws apigateway %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(out)
	}
	key := cli("create-api-key", "--name", "phone", "--enabled", "--query", "id")
	value := cli("get-api-key", "--api-key", key, "--include-value", "--query", "value")
	g.expect("/key", "x-api-key: "+value, 403, "Forbidden", "") // it has no plan
	plan := cli("create-usage-plan", "--name", "basic", "--api-stages", "apiId="+g.id+",stage=$default", "--quota", "limit=3,period=MONTH", "--query", "id")
	cli("create-usage-plan-key", "--usage-plan-id", plan, "--key-id", key, "--key-type", "API_KEY")
	g.expect("/key", "", 403, "Forbidden", "")
	g.expect("/key", "x-api-key: "+value, 200, "null", "")
	g.expect("/key", "x-api-key: "+value, 200, "null", "")
	g.Restart(t)
	g.connect()
	g.expect("/key", "x-api-key: "+value, 200, "null", "")
	if s, body, after := g.call("/key", "x-api-key: "+value); s != 429 || after == "" {
		t.Errorf("with the quota used up, two thirds of it before a restart: %d %s", s, body)
	}
	g.expect("/jwt", bearer("read", time.Hour), 200, `"sub":"anna"`, "")
}

// tokens is an issuer on loopback.
type tokens struct {
	*httptest.Server
	signer jose.Signer
}

func newIssuer(t *testing.T) *tokens {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &tokens{}
	if i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "one")); err != nil {
		t.Fatal(err)
	}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var document any = map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
		if r.URL.Path == "/keys" {
			document = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "one", Use: "sig"}}}
		}
		_ = json.NewEncoder(w).Encode(document)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *tokens) token(t *testing.T, scope string, lasts time.Duration) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": i.URL, "aud": "notes", "sub": "anna", "scope": scope, "exp": time.Now().Add(lasts).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := i.signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
