package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/hansomcloud/hansom"
)

// Login tells who has an access key with its secret, where a protocol sends both in place of a signature; token is that of a session, ""
// for none, and until is when it ends, zero for never. Errors: Unauthenticated, Unavailable.
func (s *Service) Login(ctx context.Context, id, secret, token string) (p hansom.Principal, until time.Time, err error) {
	if err := s.fresh(ctx); err != nil {
		return p, until, err
	}
	c, err := s.credential(&signature{accessKey: id, token: token}, s.cfg.Now())
	if err != nil {
		return p, until, err
	}
	got, want := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(c.secret))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return p, until, refuse(mismatch, "")
	}
	return c.principal, c.expires, nil
}

// HasKey says whether there is an access key; those of sessions are not kept.
func (s *Service) HasKey(id string) bool { return s.state.Load().keys[id] != nil }
