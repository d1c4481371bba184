package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	opFetch      = "fetch keys"
	maxRedirects = 3

	// API Gateway's own words.
	discoveryFailed = "OIDC discovery endpoint communication error"
	keysFailed      = "JWKS communication error"
)

// place says where the keys of an issuer are.
type place struct{ issuer, url string }

// source is the keys of one place. Those that were fetched last are in set; one fetch runs at a time.
type source struct {
	place
	set  atomic.Pointer[keys]
	used atomic.Int64 // microseconds since 1970
	down atomic.Bool  // the last fetch failed

	mu       sync.Mutex
	running  *fetch
	tried    time.Time // when the last fetch ended
	failures int       // fetches that failed since one went well
	err      error     // of the last one
}

// fetch is a fetch under way. err is there once done is closed.
type fetch struct {
	done chan struct{}
	err  error
}

// fresh returns the keys unless they are to be fetched again.
func (s *source) fresh(now time.Time, refresh time.Duration) *keys {
	if k := s.set.Load(); k != nil && now.Sub(k.at) < refresh {
		return k
	}
	return nil
}

// source returns the source of a place.
func (v *Verifier) source(p place, now time.Time) *source {
	v.mu.RLock()
	s := v.sources[p]
	v.mu.RUnlock()
	if s == nil {
		v.mu.Lock()
		if s = v.sources[p]; s == nil {
			s = &source{place: place{strings.Clone(p.issuer), strings.Clone(p.url)}}
			v.sources[s.place] = s
		}
		v.mu.Unlock()
	}
	if at := now.UnixMicro(); at-s.used.Load() > int64(time.Second/time.Microsecond) {
		s.used.Store(at)
	}
	return s
}

// current returns keys that can be used at once: fresh ones, or older ones while their issuer cannot be reached. It does not wait.
func (v *Verifier) current(s *source, now time.Time) *keys {
	if k := s.fresh(now, v.cfg.Refresh); k != nil {
		return k
	}
	if k := s.fresh(now, v.cfg.Keep); k != nil && s.down.Load() {
		_, _ = v.start(s, 0) // its error is logged
		return k
	}
	return nil
}

// keys returns what can be used of a source, fetched when it is too old or not there. Error: Unavailable.
func (v *Verifier) keys(ctx context.Context, s *source) (*keys, error) {
	if k := v.current(s, v.cfg.Now()); k != nil {
		return k, nil
	}
	err := v.refresh(ctx, s, 0)
	if k := s.fresh(v.cfg.Now(), v.cfg.Keep); k != nil {
		return k, nil
	}
	if err == nil { // fetched, and too old by now: the clock was set
		err = hansom.Errorf(hansom.Unavailable, opFetch, keysFailed)
	}
	return nil, err
}

// refresh fetches the keys of a source, or waits for the fetch that is under way. It does nothing when the last one is not gap ago, or
// failed and its back-off is not over: the error is the last one's then.
func (v *Verifier) refresh(ctx context.Context, s *source, gap time.Duration) error {
	f, err := v.start(s, gap)
	if f == nil {
		return err
	}
	detach(ctx)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return hansom.Errorf(hansom.Canceled, opFetch, "%w", context.Cause(ctx))
	}
}

// start begins a fetch unless it is too early for one.
func (v *Verifier) start(s *source, gap time.Duration) (*fetch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return s.running, nil
	}
	if since := v.cfg.Now().Sub(s.tried); !s.tried.IsZero() && since >= 0 && since < max(gap, v.backoff(s.failures)) {
		return nil, s.err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.ended {
		return nil, hansom.Errorf(hansom.Unavailable, opFetch, "the server is stopping")
	}
	f := &fetch{done: make(chan struct{})}
	s.running = f
	v.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(v.ctx, v.cfg.Timeout)
		defer cancel()
		k, err := v.fetch(ctx, s)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running, s.tried, s.err, f.err = nil, v.cfg.Now(), err, err
		s.down.Store(err != nil)
		if err != nil {
			s.failures++
			v.log.Warn("the keys of an issuer cannot be fetched; tried again", "issuer", s.issuer, "failures", s.failures, "error", errors.Unwrap(err))
		} else {
			s.failures = 0
			s.set.Store(k)
		}
		close(f.done)
	})
	return f, nil
}

// backoff is how long to wait after so many failures.
func (v *Verifier) backoff(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(v.cfg.Backoff<<min(failures-1, 16), v.cfg.MaxBackoff)
}

// look begins fetches of keys that will soon be too old, and forgets what nobody has asked about for long.
func (v *Verifier) look() {
	now := v.cfg.Now()
	v.mu.Lock()
	maps.DeleteFunc(v.sources, func(_ place, s *source) bool { return now.Sub(time.UnixMicro(s.used.Load())) > v.cfg.Idle })
	list := slices.Collect(maps.Values(v.sources))
	v.mu.Unlock()
	for _, s := range list {
		if s.fresh(now, v.cfg.Refresh*8/10) == nil {
			_, _ = v.start(s, 0) // its error is logged, and told to those who need the keys
		}
	}
}

// fetch reads the keys of a source. Error: Unavailable, in API Gateway's words, with the cause wrapped.
func (v *Verifier) fetch(ctx context.Context, s *source) (*keys, error) {
	at := v.cfg.Now()
	from := s.url
	if from == "" {
		document, err := v.get(ctx, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration")
		if err == nil {
			from, err = discovered(s.issuer, document)
		}
		if err != nil {
			return nil, unavailable(discoveryFailed, err)
		}
	}
	document, err := v.get(ctx, from)
	if err != nil {
		return nil, unavailable(keysFailed, err)
	}
	k, err := parseKeys(document, v.cfg.MaxKeys, s.set.Load(), at)
	if err != nil {
		return nil, unavailable(keysFailed, err)
	}
	return k, nil
}

func unavailable(message string, cause error) error {
	return &hansom.Error{Kind: hansom.Unavailable, Op: opFetch, Message: message, Err: cause}
}

// discovered reads a discovery document (OpenID Connect Discovery 1.0, 3): the place of the keys. The document has to be the issuer's own.
func discovered(issuer string, document []byte) (string, error) {
	var d struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return "", hansom.Errorf(hansom.Unavailable, opFetch, "the discovery document is no JSON: %w", err)
	}
	if d.Issuer != issuer {
		return "", hansom.Errorf(hansom.Unavailable, opFetch, "the discovery document is of the issuer %.200q; the authorizer's is %q", d.Issuer, issuer)
	}
	u, err := url.Parse(d.Keys)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", hansom.Errorf(hansom.Unavailable, opFetch, "the jwks_uri %.200q is no http or https URL", d.Keys)
	}
	if u.Scheme == "http" && strings.HasPrefix(issuer, "https:") {
		return "", hansom.Errorf(hansom.Unavailable, opFetch, "the jwks_uri %.200q has http, and the issuer https", d.Keys)
	}
	return d.Keys, nil
}

// get reads a document.
func (v *Verifier) get(ctx context.Context, from string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "hansom")
	answer, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, hansom.Errorf(hansom.Unavailable, opFetch, "%s answered with the HTTP status %d", from, answer.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(answer.Body, v.cfg.MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if int64(len(document)) > v.cfg.MaxDocument {
		return nil, hansom.Errorf(hansom.Unavailable, opFetch, "the document at %s has more than %d bytes", from, v.cfg.MaxDocument)
	}
	return document, nil
}

// redirect follows a few redirects, none from https to http.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return hansom.Errorf(hansom.Unavailable, opFetch, "more than %d redirects", maxRedirects)
	}
	if r.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https" {
		return hansom.Errorf(hansom.Unavailable, opFetch, "a redirect from https to %s", r.URL.Scheme)
	}
	return nil
}
