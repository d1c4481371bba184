package jwt

import (
	"encoding/json"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// FuzzVerify changes tokens: none is taken whose header and claims are not those of a token that was signed.
func FuzzVerify(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	v := verifier(f, newWeb(all...), func(c *Config) { c.Now = func() time.Time { return now } })
	signed := map[string]bool{}
	for alg, id := range of {
		token := sign(f, alg, id, nil, claims(now, nil))
		head, _, _ := cutLast(token)
		signed[head] = true
		f.Add(token)
	}
	good := sign(f, jose.ES256, "p256", nil, claims(now, map[string]any{"exp": now.Unix()}))
	f.Add(good)
	for _, header := range []string{`{"alg":"none","kid":"rsa"}`, `{"alg":"HS256","kid":"rsa"}`, `{"alg":"ES256","kid":"p256","crit":["x"]}`,
		`{"alg":"ES256","kid":"p256","kid":"p256"}`, `{"alg":"ES256","kid":"p256","jwk":{"kty":"EC"}}`} {
		_, rest, _ := strings.Cut(good, ".")
		f.Add(segment(header) + "." + rest)
	}
	f.Add("..")
	f.Add("a.b.c.d.e")
	f.Fuzz(func(t *testing.T, token string) {
		if verify(v, token) != "" {
			return
		}
		if head, _, _ := cutLast(token); !signed[head] {
			t.Errorf("taken: %q", token)
		}
	})
}

func cutLast(token string) (head, tail string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return token, "", false
	}
	return token[:i], token[i+1:], true
}

// FuzzClaims reads payloads: what is taken has times that can be compared and claims that are JSON again.
func FuzzClaims(f *testing.F) {
	for _, payload := range []string{`{"exp":1}`, `{"exp":1e9,"nbf":0.5,"iat":-0,"aud":["a"],"scp":"a b","x":{"y":[null,true,1.0e-3]}}`, `{"exp":1,"exp":2}`, `{"exp":"1"}`,
		`[[[[[[`, "{\"a\":\"\xff\",\"exp\":1}", `{"exp":1,"a":"\ud800"}`} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := parseClaims(payload)
		if err != nil {
			return
		}
		if math.IsNaN(got.expires) || math.IsInf(got.expires, 0) || got.expires < 0 || math.IsNaN(got.notBefore) || math.IsNaN(got.issued) {
			t.Errorf("times %v %v %v of %q", got.expires, got.notBefore, got.issued, payload)
		}
		var again map[string]string
		if err := json.Unmarshal(got.JSON, &again); err != nil || !maps.Equal(again, got.Claims) {
			t.Errorf("%s of %q: %v", got.JSON, payload, err)
		}
	})
}

// FuzzKeys reads key sets: each key that is taken can be used for an algorithm.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(keySet(all...)))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA","kid":"x"},{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"y","x5c":["AA"]},{"kty":"EC","crv":"P-256","x":"","y":"","kid":"z"}]}`))
	f.Add([]byte(`{"keys":[null,[],{}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		k, err := parseKeys(document, 100, nil, time.Time{})
		if err != nil {
			return
		}
		for _, one := range k.list {
			if one.id == "" || !usable(one.public, one.alg) {
				t.Errorf("%+v of %q", one, document)
			}
		}
	})
}
