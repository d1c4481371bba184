package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer   = "http://issuer.test"
	audience = "notes"
)

// private are keys, made once: they take long.
var private = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	m := map[string]crypto.Signer{}
	for _, id := range []string{"rsa", "rsa-other"} {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		m[id] = must(k, err)
	}
	for id, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		m[id] = must(k, err)
	}
	_, k, err := ed25519.GenerateKey(rand.Reader)
	m["ed"] = must(k, err)
	return m
})

// of says which key tokens of an algorithm are signed with.
var of = map[jose.SignatureAlgorithm]string{jose.RS256: "rsa", jose.RS384: "rsa", jose.RS512: "rsa", jose.ES256: "p256", jose.ES384: "p384", jose.ES512: "p521", jose.EdDSA: "ed"}

// claims are those of a good token at a time, with changes: nil takes one away.
func claims(now time.Time, changes map[string]any) map[string]any {
	c := map[string]any{"iss": issuer, "aud": audience, "sub": "user-1", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "scope": "notes.read notes.write"}
	for name, v := range changes {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a token. kid is the key's own unless header says otherwise.
func sign(t testing.TB, alg jose.SignatureAlgorithm, id string, header map[jose.HeaderKey]any, payload any) string {
	t.Helper()
	text, ok := payload.(string)
	if !ok {
		b, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	extra := map[jose.HeaderKey]any{"kid": id}
	for name, v := range header {
		extra[name] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: private()[id]}, &jose.SignerOptions{ExtraHeaders: extra})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// segment is a text as it stands in a token.
func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// keySet is the document of some keys' public halves.
func keySet(ids ...string) string {
	var set jose.JSONWebKeySet
	for _, id := range ids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: private()[id].Public(), KeyID: id, Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// web is a fake of the internet: documents by their URL. What is not there is answered with 404.
type web struct {
	mu        sync.Mutex
	documents map[string]string
	asked     map[string]int
	delay     time.Duration
	broken    bool
}

func newWeb(ids ...string) *web {
	w := &web{asked: map[string]int{}}
	w.documents = map[string]string{
		issuer + "/.well-known/openid-configuration": `{"issuer":"` + issuer + `","jwks_uri":"` + issuer + `/keys"}`,
		issuer + "/keys": keySet(ids...),
	}
	return w
}

func (w *web) set(url, document string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.documents[url] = document
}

// fail has all requests fail, or none.
func (w *web) fail(broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = broken
}

// count is how often a URL was asked for.
func (w *web) count(url string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[url]
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	url := r.URL.String()
	w.asked[url]++
	document, ok := w.documents[url]
	broken, delay := w.broken, w.delay
	w.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if broken {
		return nil, io.ErrUnexpectedEOF
	}
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(document)), Request: r}
	if !ok {
		answer.StatusCode = http.StatusNotFound
	}
	if to, moved := strings.CutPrefix(document, "moved to "); moved {
		answer.StatusCode = http.StatusFound
		answer.Header.Set("Location", to)
	}
	return answer, nil
}

// verifier returns one that sees w.
func verifier(t testing.TB, w *web, change func(*Config)) *Verifier {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	v := New(cfg, upstream.New(upstream.DefaultConfig()), slog.New(slog.DiscardHandler))
	v.client.Transport = w
	t.Cleanup(v.Close)
	return v
}

var want = Want{Issuer: issuer, Audience: []string{"other", audience}}

// verify says what Verify answers: "" for a good token.
func verify(v *Verifier, token string) string {
	if _, err := v.Verify(context.Background(), token, want); err != nil {
		return err.Error()
	}
	return ""
}
