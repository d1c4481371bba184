package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// UnsignedPayload is the payload hash of a request whose body is not part of the signature.
const UnsignedPayload = unsignedPayload

// Sign signs a request for sending: it sets Authorization, X-Amz-Date, X-Amz-Content-Sha256 and, for session credentials,
// X-Amz-Security-Token. payloadHash is the hexadecimal SHA-256 of the body, "" for an empty body, or UnsignedPayload.
func Sign(r *http.Request, c hansom.Credentials, region, service, payloadHash string, now time.Time) {
	if payloadHash == "" {
		payloadHash = emptyHash
	}
	r.Header.Del("Authorization")
	g := newSignature(r, c, region, service, now)
	r.Header.Set("X-Amz-Date", g.stamp)
	r.Header.Set("X-Amz-Content-Sha256", payloadHash)
	if c.SessionToken != "" {
		r.Header.Set("X-Amz-Security-Token", c.SessionToken)
	}
	names := []string{"host"}
	for name := range r.Header {
		if name = strings.ToLower(name); name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	g.signedHeaders = strings.Join(names, ";")
	r.Header.Set("Authorization", algorithm+" Credential="+c.AccessKeyID+"/"+g.scope()+
		", SignedHeaders="+g.signedHeaders+", Signature="+g.sign(r, c, payloadHash))
}

// Presign puts a signature into the query of r.URL that is good for ttl, at most 7 days. Only the host is signed beside method, path
// and query.
func Presign(r *http.Request, c hansom.Credentials, region, service, payloadHash string, ttl time.Duration, now time.Time) {
	if payloadHash == "" {
		payloadHash = emptyHash
	}
	g := newSignature(r, c, region, service, now)
	g.presigned, g.signedHeaders = true, "host"
	q := r.URL.Query()
	q.Set("X-Amz-Algorithm", algorithm)
	q.Set("X-Amz-Credential", c.AccessKeyID+"/"+g.scope())
	q.Set("X-Amz-Date", g.stamp)
	q.Set("X-Amz-Expires", strconv.Itoa(int(ttl/time.Second)))
	q.Set("X-Amz-SignedHeaders", g.signedHeaders)
	implied := emptyHash
	if service == "s3" {
		implied = unsignedPayload
	}
	if payloadHash != implied {
		q.Set("X-Amz-Content-Sha256", payloadHash)
	}
	if c.SessionToken != "" {
		q.Set("X-Amz-Security-Token", c.SessionToken)
	}
	q.Del("X-Amz-Signature")
	r.URL.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	r.URL.RawQuery += "&X-Amz-Signature=" + g.sign(r, c, payloadHash)
}

func newSignature(r *http.Request, c hansom.Credentials, region, service string, now time.Time) *signature {
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	stamp := now.UTC().Format(timeLayout)
	return &signature{accessKey: c.AccessKeyID, date: stamp[:8], region: region, service: service, stamp: stamp}
}

// sign computes the signature in hexadecimal.
func (g *signature) sign(r *http.Request, c hansom.Credentials, payloadHash string) string {
	sum := sha256.Sum256(appendCanonical(nil, r, g, pathEncoded, payloadHash))
	text := appendStringToSign(nil, g.stamp, g.date, g.region, g.service)
	text = hex.AppendEncode(text, sum[:])
	return hex.EncodeToString(mac(deriveKey(c.SecretAccessKey, g.date, g.region, g.service), string(text)))
}
