package jwt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hansomcloud/hansom"
)

const (
	discovery = issuer + "/.well-known/openid-configuration"
	keysAt    = issuer + "/keys"
	noKey     = "no key of the issuer has the token's kid"
)

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
}

func asked(t *testing.T, w *web, want int) {
	t.Helper()
	if got := w.count(keysAt); got != want {
		t.Fatalf("the keys were fetched %d times, want %d", got, want)
	}
}

// long makes a token that outlasts the test.
func long(t *testing.T, id string) string {
	alg := map[string]jose.SignatureAlgorithm{"rsa": jose.RS256, "p256": jose.ES256, "ed": jose.EdDSA}[id]
	return sign(t, alg, id, nil, claims(time.Now(), map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()}))
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		v := verifier(t, w, nil)
		old, next := long(t, "rsa"), long(t, "p256")
		expect(t, "the old key", verify(v, old), "")
		w.set(keysAt, keySet("rsa", "p256"))
		expect(t, "a new key right after a fetch", verify(v, next), noKey)
		asked(t, w, 1)
		time.Sleep(v.cfg.UnknownGap)
		expect(t, "a new key", verify(v, next), "")
		asked(t, w, 2)
		expect(t, "the old key beside it", verify(v, old), "")
		asked(t, w, 2)

		w.set(keysAt, keySet("p256"))
		expect(t, "a removed key that is remembered", verify(v, old), "")
		time.Sleep(v.cfg.Refresh)
		expect(t, "the key that stays", verify(v, next), "")
		expect(t, "a removed key", verify(v, old), noKey)
		stays := &fiber{}
		if _, err := v.Verify(hansom.WithFiber(context.Background(), stays), next, want); err != nil || stays.detached {
			t.Errorf("a token of the key that stays is not remembered: %v", err)
		}

		time.Sleep(v.cfg.Refresh)
		expect(t, "another token of it", verify(v, long(t, "p256")), "")
		if _, err := v.Verify(hansom.WithFiber(context.Background(), stays), next, want); err != nil || stays.detached {
			t.Errorf("a token is forgotten when the same keys come again: %v", err)
		}

		// Another key under the same id is another key.
		w.set(keysAt, strings.ReplaceAll(keySet("ed", "rsa-other"), "rsa-other", "p256"))
		time.Sleep(v.cfg.Refresh)
		expect(t, "a token of a key whose id is another's now", verify(v, next), "the token's algorithm is not one that its key is for")
	})
}

// TestRemembered has a token that is remembered: its times, its issuer and its audience count at each moment.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		v := verifier(t, w, nil)
		token := sign(t, jose.RS256, "rsa", nil, claims(time.Now(), map[string]any{"exp": time.Now().Add(time.Minute).Unix(), "nbf": time.Now().Add(10 * time.Second).Unix()}))
		expect(t, "before nbf", verify(v, token), "the token is not valid yet")
		time.Sleep(5 * time.Second)
		expect(t, "within the skew of nbf", verify(v, token), "")
		if _, err := v.Verify(context.Background(), token, Want{Issuer: issuer, Audience: []string{"else"}}); err == nil || err.Error() != "the token does not have a valid audience" {
			t.Errorf("for another audience: %v", err)
		}
		// Another place's keys have not signed it.
		w.set("http://other.test/keys", keySet("p256"))
		if _, err := v.Verify(context.Background(), token, Want{Issuer: issuer, KeySet: "http://other.test/keys"}); err == nil || err.Error() != noKey {
			t.Errorf("with another place's keys: %v", err)
		}
		time.Sleep(55*time.Second - time.Microsecond)
		expect(t, "a microsecond before exp", verify(v, token), "")
		time.Sleep(time.Microsecond)
		expect(t, "at exp", verify(v, token), "the token has expired")
	})
}

func TestOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		w.delay = time.Second
		v := verifier(t, w, nil)
		token := long(t, "rsa")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if got := verify(v, token); got != "" {
					t.Error(got)
				}
			})
		}
		wg.Wait()
		asked(t, w, 1)
		if n := w.count(discovery); n != 1 {
			t.Errorf("discovered %d times", n)
		}
	})
}

// TestCallerGone has a caller that goes away: the fetch that it began is for the others.
func TestCallerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		w.delay = time.Second
		v := verifier(t, w, nil)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := v.Verify(ctx, long(t, "rsa"), want); hansom.KindOf(err) != hansom.Unavailable && hansom.KindOf(err) != hansom.Canceled {
			t.Errorf("the caller that went away: %v", err)
		}
		expect(t, "the next", verify(v, long(t, "rsa")), "")
		asked(t, w, 1)
	})
}

func TestUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		v := verifier(t, w, nil)
		expect(t, "the good token", verify(v, long(t, "rsa")), "")
		start := time.Now()
		for i := range 300 {
			time.Sleep(100 * time.Millisecond)
			expect(t, "a token of a key that is not there", verify(v, sign(t, jose.EdDSA, "ed", map[jose.HeaderKey]any{"kid": fmt.Sprint(i)}, claims(time.Now(), nil))), noKey)
		}
		if most := 1 + int(time.Since(start)/v.cfg.UnknownGap); w.count(keysAt) > most || w.count(keysAt) < most-1 {
			t.Errorf("the keys were fetched %d times in %s, want %d", w.count(keysAt), time.Since(start), most)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		v := verifier(t, w, nil)
		w.fail(true)
		token := long(t, "rsa")
		const failed = "OIDC discovery endpoint communication error"
		expect(t, "without keys", verify(v, token), failed)
		// Each second a token comes: the fetches are 1, 2, 4, 8, 16, 30, 30, ... seconds apart.
		for range 121 {
			time.Sleep(time.Second)
			expect(t, "without keys", verify(v, token), failed)
		}
		if n := w.count(discovery); n != 1+5+3 {
			t.Errorf("%d fetches, want 9", n)
		}
		w.fail(false)
		time.Sleep(v.cfg.MaxBackoff)
		expect(t, "when it is there again", verify(v, token), "")

		// Then it goes away: what is known of its keys goes on for a while.
		w.fail(true)
		fetched := time.Now()
		time.Sleep(v.cfg.Refresh)
		expect(t, "old keys, a token that is remembered", verify(v, token), "")
		expect(t, "old keys, another token", verify(v, long(t, "rsa")), "")
		time.Sleep(v.cfg.Keep - time.Since(fetched) - time.Second)
		expect(t, "at the end", verify(v, token), "")
		time.Sleep(time.Second)
		if got := verify(v, token); got != failed {
			t.Errorf("after it: %q", got)
		}
		w.fail(false)
		time.Sleep(v.cfg.MaxBackoff)
		expect(t, "when it is there again", verify(v, token), "")
	})
}

// TestSlowFailure has an issuer that does not answer. It holds nobody up whose keys are known.
func TestSlowFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		v := verifier(t, w, nil)
		token := long(t, "rsa")
		expect(t, "at first", verify(v, token), "")
		w.mu.Lock()
		w.delay = time.Hour
		w.mu.Unlock()
		time.Sleep(v.cfg.Refresh)
		expect(t, "the one that finds out", verify(v, token), "")
		for range 100 {
			start := time.Now()
			expect(t, "another", verify(v, token), "")
			if waited := time.Since(start); waited > 0 {
				t.Fatalf("it waited %s", waited)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestBackground has keys fetched before they are too old, so that nobody waits, until nobody asks any more.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb("rsa")
		w.delay = time.Second
		v := verifier(t, w, nil)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- v.Run(ctx) }()
		token := long(t, "rsa")
		expect(t, "the first", verify(v, token), "")
		began := time.Now()
		for time.Since(began) < time.Hour {
			time.Sleep(20 * time.Second)
			start := time.Now()
			expect(t, "another", verify(v, token), "")
			if waited := time.Since(start); waited > 0 {
				t.Fatalf("after %s it waited %s", time.Since(began), waited)
			}
		}
		if n := w.count(keysAt); n < 12 || n > 20 {
			t.Errorf("%d fetches in an hour", n)
		}
		time.Sleep(v.cfg.Idle + v.cfg.Refresh)
		n := w.count(keysAt)
		time.Sleep(time.Hour)
		asked(t, w, n)
		v.mu.RLock()
		if len(v.sources) != 0 {
			t.Errorf("%d sources are left", len(v.sources))
		}
		v.mu.RUnlock()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := verify(v, token); got != "the server is stopping" {
			t.Errorf("after the end: %q", got)
		}
	})
}

// TestDocuments has issuers that answer what cannot be used.
func TestDocuments(t *testing.T) {
	const secure = "https://issuer.test"
	for _, c := range []struct {
		name, issuer string
		documents    map[string]string
		want, cause  string
	}{
		{"nothing there", issuer, map[string]string{discovery: ""}, discoveryFailed, "no JSON"},
		{"a document of another issuer", issuer, map[string]string{discovery: `{"issuer":"http://issuer.test/","jwks_uri":"http://issuer.test/keys"}`}, discoveryFailed, "is of the issuer"},
		{"no jwks_uri", issuer, map[string]string{discovery: `{"issuer":"http://issuer.test"}`}, discoveryFailed, "is no http"},
		{"a jwks_uri that is a file", issuer, map[string]string{discovery: `{"issuer":"http://issuer.test","jwks_uri":"file:///etc/passwd"}`}, discoveryFailed, "is no http"},
		{"a jwks_uri without https", secure, map[string]string{secure + "/.well-known/openid-configuration": `{"issuer":"https://issuer.test","jwks_uri":"http://issuer.test/keys"}`}, discoveryFailed, "has http, and the issuer https"},
		{"a document that is too large", issuer, map[string]string{discovery: `{"issuer":"http://issuer.test","x":"` + strings.Repeat("x", 256<<10) + `"}`}, discoveryFailed, "more than 262144 bytes"},
		{"keys that are not there", issuer, map[string]string{discovery: `{"issuer":"http://issuer.test","jwks_uri":"http://issuer.test/nothing"}`}, keysFailed, "HTTP status 404"},
		{"keys that are no key set", issuer, map[string]string{keysAt: `[]`}, keysFailed, "is no key set"},
		{"keys that are too large", issuer, map[string]string{keysAt: `{"keys":[],"x":"` + strings.Repeat("x", 256<<10) + `"}`}, keysFailed, "more than 262144 bytes"},
		{"a redirect to itself", issuer, map[string]string{keysAt: "moved to " + keysAt}, keysFailed, "redirects"},
		{"a redirect from https to http", secure, map[string]string{secure + "/.well-known/openid-configuration": "moved to " + discovery}, discoveryFailed, "a redirect from https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeb("rsa")
			for url, document := range c.documents {
				w.set(url, document)
			}
			v := verifier(t, w, nil)
			_, err := v.Verify(context.Background(), long(t, "rsa"), Want{Issuer: c.issuer})
			if err == nil || err.Error() != c.want || hansom.KindOf(err) != hansom.Unavailable || !strings.Contains(errors.Unwrap(err).Error(), c.cause) {
				t.Errorf("%v (%v), want %q (%q)", err, errors.Unwrap(err), c.want, c.cause)
			}
		})
	}
	w := newWeb("rsa")
	w.set(keysAt, "moved to http://cdn.test/keys")
	w.set("http://cdn.test/keys", keySet("rsa"))
	expect(t, "one redirect", verify(verifier(t, w, nil), long(t, "rsa")), "")
}

// fiber notes that it was detached.
type fiber struct{ detached bool }

func (f *fiber) Detach() { f.detached = true }

func TestFiber(t *testing.T) {
	v := verifier(t, newWeb("rsa"), nil)
	token := long(t, "rsa")
	for i, detached := range []bool{true, false, false} {
		f := &fiber{}
		if _, err := v.Verify(hansom.WithFiber(context.Background(), f), token, want); err != nil || f.detached != detached {
			t.Errorf("request %d: %v, detached %v", i, err, f.detached)
		}
	}
}
