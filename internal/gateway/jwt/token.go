package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // knows names by their case, and refuses an object that has one twice
)

// algorithms are those that tokens may be signed with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// header is what counts of a token's JOSE header (RFC 7515, 4.1).
type header struct {
	alg jose.SignatureAlgorithm
	kid string
}

// parseHeader reads the header of a token in the compact serialization. It does not trust any of it.
func parseHeader(token string) (header, error) {
	const malformed = "the token is malformed"
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			dots++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default: // the decoder skips line ends
			return header{}, refuse(malformed)
		}
	}
	if dots != 2 {
		return header{}, refuse("the token contains an invalid number of segments")
	}
	part, _, _ := strings.Cut(token, ".")
	members, err := object(part)
	if err != nil {
		return header{}, refuse(malformed)
	}
	alg, ok := members["alg"].(string)
	if !ok || !slices.Contains(algorithms, jose.SignatureAlgorithm(alg)) {
		return header{}, refuse("the token's signing algorithm is not supported")
	}
	if _, ok := members["crit"]; ok { // RFC 7515, 4.1.11: none is understood
		return header{}, refuse("the token has critical header parameters, and none is supported")
	}
	if b64, ok := members["b64"]; ok && b64 != true { // RFC 7797, 7
		return header{}, refuse(malformed)
	}
	kid, ok := members["kid"].(string)
	if !ok || kid == "" {
		return header{}, refuse("the token's header has no kid")
	}
	return header{jose.SignatureAlgorithm(alg), kid}, nil
}

// object decodes a segment that is a JSON object.
func object(segment string) (map[string]any, error) {
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return nil, err
	}
	return decode(data)
}

// decode decodes a JSON object, with numbers as they were written.
func decode(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, refuse("the text is not UTF-8")
	}
	var members map[string]any
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.SetNumberType(json.UnmarshalJSONNumber)
	if err := d.Decode(&members); err != nil {
		return nil, err
	}
	if err := d.Decode(new(any)); members == nil || err != io.EOF {
		return nil, refuse("the text is not one object")
	}
	return members, nil
}

// fits tells whether a key is for an algorithm (RFC 7518, 3.1; RFC 8037, 3.1).
func fits(public any, alg jose.SignatureAlgorithm) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return alg == jose.RS256 || alg == jose.RS384 || alg == jose.RS512
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && k.Curve == elliptic.P256() || alg == jose.ES384 && k.Curve == elliptic.P384() || alg == jose.ES512 && k.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// signed returns the payload of a token that one of the keys has signed, and that key.
func (h header) signed(token string, keys []*key) ([]byte, *key, error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{h.alg})
	if err != nil {
		return nil, nil, refuse("the token is malformed")
	}
	for _, k := range keys {
		if payload, err := jws.Verify(k.public); err == nil {
			return payload, k, nil
		}
	}
	return nil, nil, refuse("the token's signature is not valid")
}

// Token is what is in a verified token. It is shared: nothing of it may be changed.
type Token struct {
	// Claims as API Gateway passes them on: each a text. The elements of an array are joined with spaces, between brackets.
	Claims map[string]string
	JSON   []byte   // the object of Claims
	Scopes []string // of scope, else of scp

	issuer                     string
	audience                   []string // of aud, else client_id
	expires, notBefore, issued float64  // seconds since 1970; notBefore and issued are -Inf when they are not there

	// Derived is for what a caller of Verify has made of the token, so that it need not again.
	Derived atomic.Value
}

// parseClaims reads the payload of a token, and checks the form of the claims that are registered.
func parseClaims(payload []byte) (*Token, error) {
	members, err := decode(payload)
	if err != nil {
		return nil, refuse("the token's claims are malformed")
	}
	bad := func(name string) error { return refuse("the token's claim %s is malformed", name) }
	t := &Token{Claims: make(map[string]string, len(members)), notBefore: math.Inf(-1), issued: math.Inf(-1)}
	if _, ok := members["exp"]; !ok {
		return nil, refuse("the token has no exp claim")
	}
	for _, at := range [...]struct {
		name string
		to   *float64
	}{{"exp", &t.expires}, {"nbf", &t.notBefore}, {"iat", &t.issued}} {
		v, ok := members[at.name]
		if !ok {
			continue
		}
		if *at.to, ok = seconds(v); !ok {
			return nil, bad(at.name)
		}
	}
	if v, ok := members["iss"]; ok {
		if t.issuer, ok = v.(string); !ok {
			return nil, bad("iss")
		}
	}
	if v, ok := members["aud"]; ok {
		if t.audience, ok = words(v, ""); !ok {
			return nil, bad("aud")
		}
	} else if v, ok := members["client_id"]; ok {
		client, ok := v.(string)
		if !ok {
			return nil, bad("client_id")
		}
		t.audience = []string{client}
	}
	for _, name := range []string{"scope", "scp"} {
		if v, ok := members[name]; ok {
			if t.Scopes, ok = words(v, " "); !ok {
				return nil, bad(name)
			}
			break
		}
	}
	t.JSON = append(make([]byte, 0, len(payload)*5/4+64), '{')
	names := slices.AppendSeq(make([]string, 0, len(members)), maps.Keys(members))
	slices.Sort(names)
	for i, name := range names {
		value := text(members[name])
		t.Claims[name] = value
		if i > 0 {
			t.JSON = append(t.JSON, ',')
		}
		t.JSON = appendText(append(appendText(t.JSON, name), ':'), value)
	}
	t.JSON = append(t.JSON, '}')
	return t, nil
}

// AppendGranted appends, as a JSON array, those of some scopes that the token has, in their order. n is how many there are.
func (t *Token) AppendGranted(b []byte, scopes []string) (_ []byte, n int) {
	b = append(b, '[')
	for _, scope := range scopes {
		if !slices.Contains(t.Scopes, scope) {
			continue
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = appendText(b, scope)
		n++
	}
	return append(b, ']'), n
}

// appendText appends a text of UTF-8 as a JSON string.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// seconds reads a NumericDate (RFC 7519, 2) from 1970 on.
func seconds(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil && f >= 0 && f < 1<<53
}

// words reads a text or an array of texts; with a separator a text is several.
func words(v any, separator string) ([]string, bool) {
	switch v := v.(type) {
	case string:
		if separator == "" {
			return []string{v}, true
		}
		return strings.Fields(v), true
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			list[i] = s
		}
		return list, true
	}
	return nil, false
}

// text writes a claim as API Gateway passes it on.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	case nil:
		return "null"
	case []any:
		var b strings.Builder
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(text(e))
		}
		b.WriteByte(']')
		return b.String()
	}
	b, _ := json.Marshal(v) // it was decoded from JSON
	return string(b)
}
