// Package jwt verifies JSON Web Tokens (RFC 7519) as the JWT authorizers of HTTP APIs do, with keys that their issuers publish (OpenID Connect
// Discovery 1.0, RFC 7517). It follows RFC 8725: the algorithm is one that the key is for, and what a token says about keys is never used
// but the id of one.
package jwt

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/recent"
	"github.com/hansomcloud/hansom/internal/upstream"
)

const opVerify = "verify token"

// Config of a Verifier.
type Config struct {
	MaxToken    int           // bytes of a token
	MaxDocument int64         // bytes of a discovery document or a key set
	MaxKeys     int           // of a key set
	Skew        time.Duration // how far ahead an issuer's clock may be, for nbf and iat; exp is exact
	Cache       int           // tokens whose signature is remembered; 0 for none

	Timeout    time.Duration // for a discovery document and a key set together
	Refresh    time.Duration // keys are fetched again when they are this old
	Keep       time.Duration // keys go on to be used for this long while their issuer cannot be reached
	UnknownGap time.Duration // at least this long between two fetches for tokens whose key is not known
	Backoff    time.Duration // after a fetch that failed; doubled after each further one
	MaxBackoff time.Duration
	Idle       time.Duration // an issuer that nobody has asked about for so long is forgotten
	Now        func() time.Time
}

// DefaultConfig fetches keys every five minutes and uses them for up to two hours, as API Gateway does.
func DefaultConfig() Config {
	return Config{MaxToken: 16 << 10, MaxDocument: 256 << 10, MaxKeys: 100, Skew: 5 * time.Second, Cache: 8192, Timeout: 5 * time.Second,
		Refresh: 5 * time.Minute, Keep: 2 * time.Hour, UnknownGap: 5 * time.Second, Backoff: time.Second, MaxBackoff: 30 * time.Second,
		Idle: time.Hour, Now: time.Now}
}

// Want is what a token has to be.
type Want struct {
	Issuer   string   // its iss; a URL below which /.well-known/openid-configuration is
	KeySet   string   // URL of the issuer's keys; "" is to be discovered
	Audience []string // one of them is its aud, or its client_id when it has no aud; nil for any
}

// Verifier verifies tokens. Its methods may be called from several goroutines.
type Verifier struct {
	cfg       Config
	log       *slog.Logger
	client    *http.Client
	transport *http.Transport
	verified  *recent.Map[signedBy, verified] // nil without

	mu      sync.RWMutex
	sources map[place]*source
	fetches sync.WaitGroup
	ended   bool
	ctx     context.Context // of fetches
	cancel  context.CancelFunc
}

// New returns a Verifier that fetches keys through dialer. Without Run keys are fetched when a token comes and they are too old.
func New(cfg Config, dialer *upstream.Dialer, logger *slog.Logger) *Verifier {
	v := &Verifier{cfg: cfg, log: logger.With("component", "jwt"), transport: dialer.Transport(), sources: map[place]*source{}}
	v.client = &http.Client{Transport: v.transport, CheckRedirect: redirect}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	if cfg.Cache > 0 {
		v.verified = recent.New[signedBy, verified](cfg.Cache)
	}
	return v
}

// Run fetches keys again before they are too old, until ctx ends. Fetches under way are then broken off.
func (v *Verifier) Run(ctx context.Context) error {
	defer v.Close()
	tick := time.NewTicker(max(v.cfg.Refresh/10, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			v.look()
		}
	}
}

// Close breaks off fetches and lets none begin. Tokens whose keys are there are still verified.
func (v *Verifier) Close() {
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	v.cancel()
	v.fetches.Wait()
	v.transport.CloseIdleConnections()
}

// Verify returns what is in a token that is good at this moment. What is remembered of a token is that a key has signed it: whether that
// key is still among its issuer's, its times, its issuer and its audience are looked at each time. It detaches the fiber of ctx unless
// the token is remembered.
//
// Errors, with a message for error_description: Unauthenticated for a token that is not good, Unavailable when there are no keys to tell.
func (v *Verifier) Verify(ctx context.Context, token string, want Want) (*Token, error) {
	if len(token) > v.cfg.MaxToken {
		return nil, refuse("the token is too large")
	}
	now := v.cfg.Now()
	s := v.source(place{want.Issuer, want.KeySet}, now)
	var id digest
	if v.verified != nil {
		id = digestOf(token)
		if keys := v.current(s, now); keys != nil {
			if e, ok := v.verified.Get(signedBy{id, s}); ok && keys.has(e.by) {
				return e.token.checked(&want, now, v.cfg.Skew)
			}
		}
	}
	h, err := parseHeader(token)
	if err != nil {
		return nil, err
	}
	detach(ctx) // a signature takes long enough to hold others up
	keys, err := v.keys(ctx, s)
	if err != nil {
		return nil, err
	}
	candidates := keys.find(h)
	if len(candidates) == 0 && !keys.knows(h.kid) {
		_ = v.refresh(ctx, s, v.cfg.UnknownGap) // when it fails the keys that there are go on
		keys = s.set.Load()
		candidates = keys.find(h)
	}
	if len(candidates) == 0 {
		if keys.knows(h.kid) {
			return nil, refuse("the token's algorithm is not one that its key is for")
		}
		return nil, refuse("no key of the issuer has the token's kid")
	}
	payload, by, err := h.signed(token, candidates)
	if err != nil {
		return nil, err
	}
	t, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	if v.verified != nil {
		v.verified.Put(signedBy{id, s}, verified{t, by})
	}
	return t.checked(&want, v.cfg.Now(), v.cfg.Skew)
}

// checked looks at everything about a token but its signature.
func (t *Token) checked(want *Want, now time.Time, skew time.Duration) (*Token, error) {
	if err := t.check(want, now, skew); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Token) check(want *Want, now time.Time, skew time.Duration) error {
	at := float64(now.UnixMicro()) / 1e6
	ahead := at + skew.Seconds()
	switch {
	case t.issuer != want.Issuer:
		return refuse("the token does not have a valid issuer")
	case len(want.Audience) > 0 && !slices.ContainsFunc(t.audience, func(a string) bool { return slices.Contains(want.Audience, a) }):
		return refuse("the token does not have a valid audience")
	case at >= t.expires:
		return refuse("the token has expired")
	case t.notBefore > ahead:
		return refuse("the token is not valid yet")
	case t.issued > ahead:
		return refuse("the token was issued in the future")
	}
	return nil
}

func refuse(format string, args ...any) error {
	return hansom.Errorf(hansom.Unauthenticated, opVerify, format, args...)
}

func detach(ctx context.Context) {
	if f := hansom.FiberOf(ctx); f != nil {
		f.Detach()
	}
}

// signedBy says of which token, and of whose keys, it is known which has signed it.
type signedBy struct {
	token digest
	from  *source
}

type verified struct {
	token *Token
	by    *key
}

// digest stands for a token.
type digest [sha256.Size]byte

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func digestOf(token string) digest {
	b := buffers.Get().(*[]byte)
	*b = append((*b)[:0], token...)
	d := digest(sha256.Sum256(*b))
	buffers.Put(b)
	return d
}
