package authorize

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// issuer serves keys on loopback and makes tokens.
type issuer struct {
	*httptest.Server
	signer jose.Signer
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{}
	if i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "one")); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "one"}}})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t testing.TB, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": i.URL, "aud": "notes", "sub": "anna", "exp": time.Now().Add(time.Hour).Unix(), "scope": "read write", "groups": []string{"a", "b"}}
	for name, v := range changes {
		claims[name] = v
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := i.signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestJWT(t *testing.T) {
	i := newIssuer(t)
	f := newFixture(t, nil)
	good := i.token(t, nil)
	expired := i.token(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	for _, c := range []struct {
		name, header string
		scopes       []string
		status       int
		challenge    string
	}{
		{"a token", good, nil, 0, ""},
		{"a token with its scheme", "Bearer " + good, nil, 0, ""},
		{"a scheme in lower case", "bearer  " + good, nil, 0, ""},
		{"one of the scopes", "Bearer " + good, []string{"admin", "write"}, 0, ""},
		{"no token", "", nil, 401, "Bearer"},
		{"no token after the scheme", "Bearer ", nil, 401, "Bearer"},
		{"another scheme", "Basic YTpi", []string{"read"}, 401, `Bearer scope="read" error="invalid_token" error_description="the token is malformed"`},
		{"an expired token", "Bearer " + expired, nil, 401, `Bearer scope="" error="invalid_token" error_description="the token has expired"`},
		{"an expired token where scopes are asked for", "Bearer " + expired, []string{"read", `a"b`}, 401, `Bearer scope="read a\"b" error="invalid_token" error_description="the token has expired"`},
		{"another audience", i.token(t, map[string]any{"aud": "else"}), nil, 401, `Bearer scope="" error="invalid_token" error_description="the token does not have a valid audience"`},
		{"none of the scopes", "Bearer " + good, []string{"admin", "rea"}, 403, `Bearer scope="admin rea" error="insufficient_scope" error_description="the token has none of the scopes"`},
	} {
		q := query(api.Authorizer{Type: api.JWT, Sources: []string{"$request.header.Authorization"}, Issuer: i.URL, Audience: []string{"notes"}}, func(r *api.Route) { r.Scopes = c.scopes })
		if c.header != "" {
			q.Request.Header.Set("Authorization", c.header)
		}
		d := f.Authorize(context.Background(), q)
		if d.Status != c.status || d.Header.Get("WWW-Authenticate") != c.challenge || d.Message != map[int]string{0: "", 401: "Unauthorized", 403: "Forbidden"}[c.status] {
			t.Errorf("%s: %d %q %q", c.name, d.Status, d.Message, d.Header)
		}
		if c.status != 0 && d.Value("error") == "" {
			t.Errorf("%s: no reason", c.name)
		}
	}
}

func TestJWTContext(t *testing.T) {
	i := newIssuer(t)
	f := newFixture(t, nil)
	q := query(api.Authorizer{Type: api.JWT, Sources: []string{"$request.querystring.token"}, Issuer: i.URL}, func(r *api.Route) { r.Scopes = []string{"write", "admin", "read"} })
	q.Selection = func(expression string) (string, bool) {
		return i.token(t, map[string]any{"exp": 4102444800}), expression == "$request.querystring.token"
	}
	d := f.Authorize(context.Background(), q)
	claims := map[string]any{"iss": i.URL, "aud": "notes", "sub": "anna", "exp": "4102444800", "scope": "read write", "groups": "[a b]"}
	equalJSON(t, "2.0", d.Context, map[string]any{"jwt": map[string]any{"claims": claims, "scopes": []any{"write", "read"}}})
	equalJSON(t, "1.0", d.ContextV1, map[string]any{"claims": claims, "scopes": []any{"write", "read"}})
	q.Route.Scopes = []string{"rea", "read"}
	equalJSON(t, "one of two", f.Authorize(context.Background(), q).ContextV1, map[string]any{"claims": claims, "scopes": []any{"read"}})
	for name, want := range map[string]string{"claims.sub": "anna", "claims.groups": "[a b]", "claims.other": "", "sub": "", "claims": "", "error": ""} {
		if got := d.Value(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	q.Route.Scopes = nil
	d = f.Authorize(context.Background(), q)
	equalJSON(t, "without scopes", d.ContextV1, map[string]any{"claims": claims, "scopes": nil})
	if got := append(d.ContextV1, 'x'); string(got[:1]) != "{" || d.Context[len(d.Context)-1] != '}' {
		t.Error("what is appended to one context changes the other")
	}
}

func TestJWTIssuerGone(t *testing.T) {
	i := newIssuer(t)
	token := i.token(t, nil)
	url := i.URL
	i.Close()
	f := newFixture(t, nil)
	q := query(api.Authorizer{Type: api.JWT, Sources: []string{"$request.header.Authorization"}, Issuer: url}, nil)
	q.Request.Header.Set("Authorization", token)
	d := f.Authorize(context.Background(), q)
	if want := `Bearer scope="" error="invalid_token" error_description="OIDC discovery endpoint communication error"`; d.Status != 401 || d.Header.Get("WWW-Authenticate") != want {
		t.Errorf("%d %q", d.Status, d.Header)
	}
}

func TestAllocations(t *testing.T) {
	q, f := remembered(t)
	if n := testing.AllocsPerRun(200, func() { f.Authorize(context.Background(), q) }); n > 4 {
		t.Errorf("%v allocations for a token that is remembered", n)
	}
}

// remembered is a request with a token that was verified before.
func remembered(t testing.TB) (*Query, *fixture) {
	i := newIssuer(t)
	f := newFixture(t, nil)
	q := query(api.Authorizer{Type: api.JWT, Sources: []string{"$request.header.Authorization"}, Issuer: i.URL, Audience: []string{"notes"}}, nil)
	q.Request.Header.Set("Authorization", "Bearer "+i.token(t, nil))
	if d := f.Authorize(context.Background(), q); d.Status != 0 {
		t.Fatalf("%+v", d)
	}
	return q, f
}

func BenchmarkAuthorize(b *testing.B) {
	q, f := remembered(b)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			f.Authorize(context.Background(), q)
		}
	})
}
