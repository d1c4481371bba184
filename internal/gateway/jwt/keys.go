package jwt

import (
	"crypto/rsa"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hansomcloud/hansom"
)

// minRSA is the least size of an RSA key in bits (RFC 7518, 3.3).
const minRSA = 2048

// key is a public key of an issuer. A key that was there before is the same value in the next set.
type key struct {
	id     string
	alg    string // the only algorithm that it is for; "" for each that fits
	public any
	print  string // of all of the above
}

// keys is what an issuer had published at a moment. It is never changed.
type keys struct {
	list []*key
	at   time.Time
}

// find lists the keys that can have signed a token.
func (k *keys) find(h header) (list []*key) {
	for _, c := range k.list {
		if c.id == h.kid && fits(c.public, h.alg) && (c.alg == "" || c.alg == string(h.alg)) {
			list = append(list, c)
		}
	}
	return list
}

// knows tells whether there is a key with an id.
func (k *keys) knows(kid string) bool {
	return slices.ContainsFunc(k.list, func(c *key) bool { return c.id == kid })
}

// has tells whether a key is in the set.
func (k *keys) has(one *key) bool { return slices.Contains(k.list, one) }

// parseKeys reads a JWK Set (RFC 7517, 5): those keys of it that can verify tokens. Keys of before stay the values that they are. A private
// or symmetric key is not one: it is left out.
func parseKeys(document []byte, most int, before *keys, at time.Time) (*keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || set.Keys == nil {
		return nil, hansom.Errorf(hansom.Unavailable, opFetch, "the document is no key set")
	}
	if len(set.Keys) > most {
		return nil, hansom.Errorf(hansom.Unavailable, opFetch, "the key set has %d keys; the limit is %d", len(set.Keys), most)
	}
	k := &keys{at: at}
	for _, raw := range set.Keys {
		var j jose.JSONWebKey
		if err := j.UnmarshalJSON(raw); err != nil { // of a kind that is not known, or malformed: those are left out (RFC 7517, 5)
			continue
		}
		alg := j.Algorithm
		if alg == "Ed25519" { // RFC 9864's name of what tokens of before call EdDSA
			alg = string(jose.EdDSA)
		}
		if j.KeyID == "" || j.Use != "" && j.Use != "sig" || !usable(j.Key, alg) {
			continue
		}
		// The JSON of the key alone: certificates beside it may change.
		print, err := (&jose.JSONWebKey{Key: j.Key, KeyID: j.KeyID, Algorithm: alg}).MarshalJSON()
		if err != nil {
			continue
		}
		one := &key{id: j.KeyID, alg: alg, public: j.Key, print: string(print)}
		if before != nil {
			if i := slices.IndexFunc(before.list, func(c *key) bool { return c.print == one.print }); i >= 0 {
				one = before.list[i]
			}
		}
		k.list = append(k.list, one)
	}
	return k, nil
}

// usable tells whether a key is a public one that tokens may be signed with; alg is the only algorithm that it is for, or "".
func usable(public any, alg string) bool {
	if k, ok := public.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return false
	}
	return slices.ContainsFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return fits(public, a) && (alg == "" || alg == string(a)) })
}
