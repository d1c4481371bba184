package jwt

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hansomcloud/hansom"
)

// all are the ids of the keys that the issuer of the tests publishes.
var all = []string{"rsa", "p256", "p384", "p521", "ed"}

func TestGoodTokens(t *testing.T) {
	v := verifier(t, newWeb(all...), nil)
	now := time.Now()
	for alg, id := range of {
		if got := verify(v, sign(t, alg, id, nil, claims(now, nil))); got != "" {
			t.Errorf("%s: %s", alg, got)
		}
	}
	for name, changes := range map[string]map[string]any{
		"one audience of several":         {"aud": []string{"x", audience}},
		"client_id without aud":           {"aud": nil, "client_id": "other"},
		"valid since now":                 {"nbf": now.Unix()},
		"issued by a clock that is ahead": {"iat": now.Add(3 * time.Second).Unix(), "nbf": now.Add(3 * time.Second).Unix()},
		"times with a fraction":           {"exp": float64(now.UnixMilli())/1000 + 30.5},
		"no iat":                          {"iat": nil},
	} {
		if got := verify(v, sign(t, jose.RS256, "rsa", nil, claims(now, changes))); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got, err := v.Verify(context.Background(), sign(t, jose.ES256, "p256", nil, claims(now, map[string]any{"aud": "else"})), Want{Issuer: issuer}); err != nil || got.Claims["aud"] != "else" {
		t.Errorf("without an audience that is asked for: %v, %v", got, err)
	}
}

// TestHostileTokens has tokens that must not be taken, and what is said of them.
func TestHostileTokens(t *testing.T) {
	w := newWeb(all...)
	v := verifier(t, w, nil)
	now := time.Now()
	good := sign(t, jose.RS256, "rsa", nil, claims(now, nil))
	parts := strings.Split(good, ".")
	with := func(changes map[string]any) string { return sign(t, jose.RS256, "rsa", nil, claims(now, changes)) }
	headed := func(header map[jose.HeaderKey]any) string {
		return sign(t, jose.RS256, "rsa", header, claims(now, nil))
	}
	raw := func(payload string) string { return sign(t, jose.RS256, "rsa", nil, payload) }
	unsigned := func(header string) string { return segment(header) + "." + parts[1] + "." + parts[2] }
	hmac := func(secret []byte) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithHeader("kid", "rsa"))
		if err != nil {
			t.Fatal(err)
		}
		payload, _ := json.Marshal(claims(now, nil))
		jws, err := s.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, _ := jws.CompactSerialize()
		return token
	}
	public := private()["rsa"].Public().(*rsa.PublicKey)
	der, _ := x509.MarshalPKIXPublicKey(public)
	own, _ := json.Marshal(jose.JSONWebKey{Key: private()["rsa-other"].Public(), KeyID: "rsa-other"})
	body := fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":%d`, issuer, audience, now.Add(time.Hour).Unix())

	const (
		malformed   = "the token is malformed"
		algorithm   = "the token's signing algorithm is not supported"
		segments    = "the token contains an invalid number of segments"
		signature   = "the token's signature is not valid"
		unknown     = "no key of the issuer has the token's kid"
		noKid       = "the token's header has no kid"
		critical    = "the token has critical header parameters, and none is supported"
		badClaims   = "the token's claims are malformed"
		expired     = "the token has expired"
		badAudience = "the token does not have a valid audience"
		badIssuer   = "the token does not have a valid issuer"
		otherKey    = "the token's algorithm is not one that its key is for"
	)
	for _, c := range []struct{ name, token, want string }{
		{"alg none", segment(`{"alg":"none","kid":"rsa"}`) + "." + parts[1] + ".", algorithm},
		{"alg NONE", segment(`{"alg":"NONE","kid":"rsa"}`) + "." + parts[1] + ".", algorithm},
		{"alg none with a signature", unsigned(`{"alg":"none","kid":"rsa"}`), algorithm},
		{"no alg", unsigned(`{"kid":"rsa"}`), algorithm},
		{"alg that is no text", unsigned(`{"alg":["RS256"],"kid":"rsa"}`), algorithm},
		{"alg in lower case", unsigned(`{"alg":"rs256","kid":"rsa"}`), algorithm},
		{"Alg with another case", unsigned(`{"Alg":"RS256","kid":"rsa"}`), algorithm},
		{"HMAC with the public key", hmac(der), algorithm},
		{"HMAC with the modulus", hmac(public.N.Bytes()), algorithm},
		{"PSS", sign(t, jose.PS256, "rsa", nil, claims(now, nil)), algorithm},
		{"ES256 with the id of an RSA key", sign(t, jose.ES256, "p256", map[jose.HeaderKey]any{"kid": "rsa"}, claims(now, nil)), otherKey},
		{"RS256 with the id of an EC key", sign(t, jose.RS256, "rsa", map[jose.HeaderKey]any{"kid": "p256"}, claims(now, nil)), otherKey},
		{"ES256 with the id of another curve", sign(t, jose.ES256, "p256", map[jose.HeaderKey]any{"kid": "p384"}, claims(now, nil)), otherKey},
		{"EdDSA with the id of an RSA key", sign(t, jose.EdDSA, "ed", map[jose.HeaderKey]any{"kid": "rsa"}, claims(now, nil)), otherKey},
		{"RS512 for a signature of RS256", unsigned(`{"alg":"RS512","kid":"rsa"}`), signature},
		{"another's key under the same id", sign(t, jose.RS256, "rsa-other", map[jose.HeaderKey]any{"kid": "rsa"}, claims(now, nil)), signature},
		{"a key within the token", sign(t, jose.RS256, "rsa-other", map[jose.HeaderKey]any{"kid": "rsa", "jwk": json.RawMessage(own)}, claims(now, nil)), signature},
		{"a key within the token, by its own id", sign(t, jose.RS256, "rsa-other", map[jose.HeaderKey]any{"jwk": json.RawMessage(own)}, claims(now, nil)), unknown},
		{"jku", sign(t, jose.RS256, "rsa-other", map[jose.HeaderKey]any{"jku": "http://attacker.test/keys"}, claims(now, nil)), unknown},
		{"x5u", sign(t, jose.RS256, "rsa-other", map[jose.HeaderKey]any{"x5u": "http://attacker.test/keys"}, claims(now, nil)), unknown},
		{"kid that is a path", headed(map[jose.HeaderKey]any{"kid": "../../dev/null"}), unknown},
		{"kid that is a query", headed(map[jose.HeaderKey]any{"kid": "' OR 1=1 --"}), unknown},
		{"no kid", unsigned(`{"alg":"RS256"}`), noKid},
		{"empty kid", headed(map[jose.HeaderKey]any{"kid": ""}), noKid},
		{"kid that is a number", headed(map[jose.HeaderKey]any{"kid": 1}), noKid},
		{"crit that nobody knows", headed(map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}), critical},
		{"crit b64", headed(map[jose.HeaderKey]any{"crit": []string{"b64"}, "b64": true}), critical},
		{"crit that is empty", headed(map[jose.HeaderKey]any{"crit": []string{}}), critical},
		{"payload that is not encoded", unsigned(`{"alg":"RS256","kid":"rsa","b64":false}`), malformed},
		{"header with a member twice", unsigned(`{"alg":"RS256","kid":"rsa","alg":"RS256"}`), malformed},
		{"header that is an array", unsigned(`["RS256"]`), malformed},
		{"header that is null", unsigned(`null`), malformed},
		{"header with more after it", unsigned(`{"alg":"RS256","kid":"rsa"}{}`), malformed},
		{"header that is not UTF-8", unsigned("{\"alg\":\"RS256\",\"kid\":\"rsa\xff\"}"), malformed},

		{"nothing", "", segments},
		{"one segment", "abc", segments},
		{"two segments", parts[0] + "." + parts[1], segments},
		{"four segments", good + ".", segments},
		{"five segments, as encrypted ones have", good + "..", segments},
		{"JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, malformed},
		{"a line end in the signature", good[:len(good)-4] + "\n" + good[len(good)-4:], malformed},
		{"a space in front", " " + good, malformed},
		{"padding", good + "==", malformed},
		{"standard base64", parts[0] + "." + parts[1] + ".++//", malformed},
		{"a header that is cut off", parts[0][:len(parts[0])-1] + "." + parts[1] + "." + parts[2], malformed},
		{"no signature", parts[0] + "." + parts[1] + ".", signature},
		{"a short signature", good[:len(good)-8], signature},
		{"other claims", parts[0] + "." + segment(body+`,"admin":true}`) + "." + parts[2], signature},
		{"another one's signature", parts[0] + "." + parts[1] + "." + strings.Split(with(map[string]any{"sub": "else"}), ".")[2], signature},
		{"ECDSA of zeros", strings.Join(strings.Split(sign(t, jose.ES256, "p256", nil, claims(now, nil)), ".")[:2], ".") + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), signature},
		{"too large", with(map[string]any{"x": strings.Repeat("x", 16<<10)}), "the token is too large"},

		{"expired", with(map[string]any{"exp": now.Add(-time.Second).Unix()}), expired},
		{"expires now", with(map[string]any{"exp": now.Unix()}), expired},
		{"expired in 1970", with(map[string]any{"exp": 0}), expired},
		{"no exp", with(map[string]any{"exp": nil}), "the token has no exp claim"},
		{"exp that is a text", with(map[string]any{"exp": "9999999999"}), "the token's claim exp is malformed"},
		{"exp before 1970", with(map[string]any{"exp": -1}), "the token's claim exp is malformed"},
		{"exp that is no time", with(map[string]any{"exp": json.Number("1e300")}), "the token's claim exp is malformed"},
		{"exp that is no number of 64 bits", with(map[string]any{"exp": json.Number("1e999")}), "the token's claim exp is malformed"},
		{"exp that is null", raw(body[:strings.LastIndex(body, ":")+1] + "null}"), "the token's claim exp is malformed"},
		{"not yet valid", with(map[string]any{"nbf": now.Add(time.Minute).Unix()}), "the token is not valid yet"},
		{"nbf that is a text", with(map[string]any{"nbf": "0"}), "the token's claim nbf is malformed"},
		{"issued in the future", with(map[string]any{"iat": now.Add(time.Minute).Unix()}), "the token was issued in the future"},
		{"another issuer", with(map[string]any{"iss": "http://attacker.test"}), badIssuer},
		{"an issuer with a slash", with(map[string]any{"iss": issuer + "/"}), badIssuer},
		{"no issuer", with(map[string]any{"iss": nil}), badIssuer},
		{"an issuer that is an array", with(map[string]any{"iss": []string{issuer}}), "the token's claim iss is malformed"},
		{"another audience", with(map[string]any{"aud": "else"}), badAudience},
		{"other audiences", with(map[string]any{"aud": []string{"else", "notes2"}}), badAudience},
		{"no audience", with(map[string]any{"aud": nil}), badAudience},
		{"an empty array of audiences", with(map[string]any{"aud": []string{}}), badAudience},
		{"an audience that is an object", with(map[string]any{"aud": map[string]any{audience: 1}}), "the token's claim aud is malformed"},
		{"audiences that are numbers", with(map[string]any{"aud": []int{1}}), "the token's claim aud is malformed"},
		{"client_id beside another audience", with(map[string]any{"aud": "else", "client_id": audience}), badAudience},
		{"another client_id", with(map[string]any{"aud": nil, "client_id": "else"}), badAudience},
		{"client_id that is an array", with(map[string]any{"aud": nil, "client_id": []string{audience}}), "the token's claim client_id is malformed"},
		{"scope that is a number", with(map[string]any{"scope": 1}), "the token's claim scope is malformed"},

		{"a claim twice", raw(body + `,"sub":"a","sub":"b"}`), badClaims},
		{"exp twice", raw(body + `,"exp":99999999999}`), badClaims},
		{"a member twice within a claim", raw(body + `,"a":{"b":1,"b":2}}`), badClaims},
		{"claims that are an array", raw(`[1]`), badClaims},
		{"claims that are null", raw(`null`), badClaims},
		{"claims that are a token", raw(good), badClaims},
		{"no claims", raw(``), badClaims},
		{"claims with more after them", raw(body + `} {}`), badClaims},
		{"claims that are not UTF-8", raw(body + ",\"a\":\"\xff\"}"), badClaims},
		{"claims with a comma too many", raw(body + `,}`), badClaims},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // what is remembered of a token makes no difference
				_, err := v.Verify(context.Background(), c.token, want)
				if err == nil || err.Error() != c.want || hansom.KindOf(err) != hansom.Unauthenticated {
					t.Fatalf("%v, want %q", err, c.want)
				}
			}
		})
	}
	if got := verify(v, good); got != "" {
		t.Errorf("the good token: %s", got)
	}
	for url := range w.asked {
		if !strings.HasPrefix(url, issuer) {
			t.Errorf("%s was asked for", url)
		}
	}
}

func TestClaims(t *testing.T) {
	got, err := parseClaims([]byte(`{"exp":1700000000,"iat":1.5,"email_verified":true,"cognito:groups":["admin","a b"],"n":null,
		"address":{"city":"Zürich","zip":8000},"big":12345678901234567890,"name":"a \"<b>","control":"\u0000\u001f\n\\\ud83d\ude00\ud800","scp":["x","y"],"empty":[],"deep":[[1,[true]]]}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"exp": "1700000000", "iat": "1.5", "email_verified": "true", "cognito:groups": "[admin a b]", "n": "null",
		"address": `{"city":"Zürich","zip":8000}`, "big": "12345678901234567890", "name": `a "<b>`, "control": "\x00\x1f\n\\😀\ufffd", "empty": "[]", "deep": "[[1 [true]]]"} {
		if got.Claims[name] != text {
			t.Errorf("%s is %q, want %q", name, got.Claims[name], text)
		}
	}
	var again map[string]string
	if err := json.Unmarshal(got.JSON, &again); err != nil || !maps.Equal(again, got.Claims) {
		t.Errorf("%s: %v", got.JSON, err)
	}
	for payload, scopes := range map[string][]string{
		`{"exp":1}`:                               nil,
		`{"exp":1,"scope":" a  b "}`:              {"a", "b"},
		`{"exp":1,"scope":["a b","c"]}`:           {"a b", "c"},
		`{"exp":1,"scp":"a b"}`:                   {"a", "b"},
		`{"exp":1,"scope":"a","scp":["b","c"]}`:   {"a"},
		`{"exp":1,"scope":"","scp":["b","c"]}`:    nil,
		`{"exp":1,"scp":["notes.read","openid"]}`: {"notes.read", "openid"},
	} {
		if got, err := parseClaims([]byte(payload)); err != nil || !slices.Equal(got.Scopes, scopes) {
			t.Errorf("%s: %v, %v", payload, got, err)
		}
	}
}

// TestKeySets has documents of issuers, and the ids of the keys that are taken.
func TestKeySets(t *testing.T) {
	rsaKey := func(member string) string {
		return strings.Replace(strings.TrimSuffix(strings.TrimPrefix(keySet("rsa"), `{"keys":[`), `]}`), `{"use":"sig",`, `{`+member, 1)
	}
	hidden, err := json.Marshal(jose.JSONWebKey{Key: private()["rsa"], KeyID: "private"})
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	short, err := json.Marshal(jose.JSONWebKey{Key: weak.Public(), KeyID: "short"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, document string
		want           []string
	}{
		{"all kinds", keySet(all...), all},
		{"none", `{"keys":[]}`, nil},
		{"a key for another use", `{"keys":[` + rsaKey(`"use":"enc",`) + `]}`, nil},
		{"a key without a use", `{"keys":[` + rsaKey(``) + `]}`, []string{"rsa"}},
		{"a key of an algorithm that is not taken", `{"keys":[` + rsaKey(`"alg":"RSA-OAEP",`) + `]}`, nil},
		{"private, symmetric, unknown and short keys", `{"keys":[` + string(hidden) + `,{"kty":"oct","kid":"o","k":"AAAA"},{"kty":"new","kid":"n"},` + string(short) + `,` + rsaKey(``) + `]}`, []string{"rsa"}},
		{"malformed keys", `{"keys":[1,null,{"kty":"RSA","kid":"x","n":"!","e":"AQAB"},{"kty":"EC","crv":"P-256","kid":"y","x":"AA","y":"AA"},` + rsaKey(``) + `]}`, []string{"rsa"}},
	} {
		k, err := parseKeys([]byte(c.document), 10, nil, time.Time{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var ids []string
		for _, one := range k.list {
			ids = append(ids, one.id)
		}
		if !slices.Equal(ids, c.want) {
			t.Errorf("%s: %v, want %v", c.name, ids, c.want)
		}
	}
	for name, document := range map[string]string{"no JSON": "<html>", "no keys": "{}", "null": "null", "too many": keySet(slices.Repeat([]string{"ed"}, 11)...)} {
		if k, err := parseKeys([]byte(document), 10, nil, time.Time{}); err == nil {
			t.Errorf("%s: %v", name, k)
		}
	}
}

// TestKeyAlgorithm has a key that is for one algorithm only.
func TestKeyAlgorithm(t *testing.T) {
	w := newWeb()
	w.set(issuer+"/keys", strings.Replace(keySet("rsa"), `{"use"`, `{"alg":"RS512","use"`, 1))
	v := verifier(t, w, nil)
	if got := verify(v, sign(t, jose.RS512, "rsa", nil, claims(time.Now(), nil))); got != "" {
		t.Errorf("RS512: %s", got)
	}
	if got := verify(v, sign(t, jose.RS256, "rsa", nil, claims(time.Now(), nil))); got != "the token's algorithm is not one that its key is for" {
		t.Errorf("RS256: %q", got)
	}
}

// TestOverHTTP gets keys from a server on loopback: once each for the discovery document and the key set.
func TestOverHTTP(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	asked := map[string]int{}
	serve := func(path, document string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			asked[path]++
			fmt.Fprint(w, document)
		})
	}
	serve("/pool/.well-known/openid-configuration", fmt.Sprintf(`{"issuer":"%[1]s/pool/","jwks_uri":"%[1]s/pool/keys"}`, server.URL))
	serve("/pool/keys", keySet("rsa"))
	v := verifier(t, newWeb(), nil)
	v.client.Transport = v.transport
	w := Want{Issuer: server.URL + "/pool/"}
	for range 3 {
		if _, err := v.Verify(context.Background(), sign(t, jose.RS256, "rsa", nil, claims(time.Now(), map[string]any{"iss": w.Issuer})), w); err != nil {
			t.Fatal(err)
		}
	}
	if asked["/pool/keys"] != 1 || asked["/pool/.well-known/openid-configuration"] != 1 {
		t.Errorf("asked %v", asked)
	}
	direct := Want{Issuer: "urn:example", KeySet: server.URL + "/pool/keys"}
	if _, err := v.Verify(context.Background(), sign(t, jose.RS256, "rsa", nil, claims(time.Now(), map[string]any{"iss": "urn:example"})), direct); err != nil {
		t.Errorf("with a key set: %v", err)
	}
}
