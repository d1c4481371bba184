package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// credential is a pair of keys that requests may be signed with.
type credential struct {
	principal hansom.Principal
	secret    string
	token     string    // session token; "" for an access key
	expires   time.Time // of a session
	parent    string    // access key that the session was made with
	signing   atomic.Pointer[[]*signingKey]
}

// signingKey is a derived key. Deriving takes four HMACs, so those in use are kept with their credential.
type signingKey struct {
	date, region, service string
	key                   []byte
	macs                  sync.Pool // of hash.Hash: HMACs of key, keyed already
}

// keptKeys bounds the derived keys of a credential: today's and yesterday's for a few services and regions.
const keptKeys = 12

// signingKey returns the key for a scope; kept tells whether it comes from the cache.
func (c *credential) signingKey(g *signature) (k *signingKey, kept bool) {
	if list := c.signing.Load(); list != nil {
		for _, k := range *list {
			if k.date == g.date && k.service == g.service && k.region == g.region {
				return k, true
			}
		}
	}
	k = &signingKey{
		date: strings.Clone(g.date), region: strings.Clone(g.region), service: strings.Clone(g.service),
		key: deriveKey(c.secret, g.date, g.region, g.service),
	}
	k.macs.New = func() any { return hmac.New(sha256.New, k.key) }
	return k, false
}

// keep caches k after a request has shown that it is in use, the newest first.
func (c *credential) keep(k *signingKey) {
	for {
		old := c.signing.Load()
		list := []*signingKey{k}
		if old != nil {
			list = append(list, (*old)[:min(len(*old), keptKeys-1)]...)
		}
		if c.signing.CompareAndSwap(old, &list) {
			return
		}
	}
}

func (k *signingKey) sum(dst *[32]byte, message []byte) {
	h := k.macs.Get().(hash.Hash)
	h.Reset()
	h.Write(message)
	h.Sum(dst[:0])
	k.macs.Put(h)
}

// deriveKey makes the signing key (Signature Version 4, "calculate the signature").
func deriveKey(secret, date, region, service string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range [...]string{date, region, service, terminator} {
		key = mac(key, part)
	}
	return key
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// scratch is what one verification needs.
type scratch struct {
	buf []byte
	sum [32]byte
	hex [64]byte
}

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, 0, 2048)} }}

// verify checks the signature and prepares r.Body.
func (s *Service) verify(r *http.Request, g *signature, c *credential) error {
	if name := unsigned(r, g); name != "" {
		return refuse(unsignedHeader, g.service)
	}
	payload, err := s.payload(r, g)
	if err != nil {
		return err
	}
	k, kept := c.signingKey(g)
	w := scratches.Get().(*scratch)
	ok := w.matches(r, g, k, pathEncoded, payload)
	if !ok {
		for _, form := range forms(r, g.service) {
			if w.matches(r, g, k, form, payload) {
				ok = true
				break
			}
		}
	}
	scratches.Put(w)
	if !ok {
		return refuse(mismatch, g.service)
	}
	if !kept {
		c.keep(k)
		if c.token != "" {
			s.remember(c)
		}
	}
	return s.guardBody(r, g, k, payload)
}

// matches computes the signature of r and compares it in constant time.
func (w *scratch) matches(r *http.Request, g *signature, k *signingKey, form pathForm, payload string) bool {
	w.buf = appendCanonical(w.buf[:0], r, g, form, payload)
	w.sum = sha256.Sum256(w.buf)
	w.buf = appendStringToSign(w.buf[:0], g.stamp, g.date, g.region, g.service)
	hex.Encode(w.hex[:], w.sum[:])
	w.buf = append(w.buf, w.hex[:]...)
	k.sum(&w.sum, w.buf)
	return hmac.Equal(w.sum[:], g.mac[:])
}

// appendStringToSign appends all but the hash of the canonical request.
func appendStringToSign(dst []byte, stamp, date, region, service string) []byte {
	dst = append(dst, algorithm+"\n"...)
	dst = append(dst, stamp...)
	dst = append(dst, '\n')
	return append(appendScope(dst, date, region, service), '\n')
}

func appendScope(dst []byte, date, region, service string) []byte {
	dst = append(dst, date...)
	dst = append(dst, '/')
	dst = append(dst, region...)
	dst = append(dst, '/')
	dst = append(dst, service...)
	return append(dst, "/"+terminator...)
}
