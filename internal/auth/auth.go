// Package auth tells who sends a request. It verifies AWS Signature Version 4 in all its forms (header, presigned query,
// chunked and trailer bodies), keeps projects and access keys, and issues session credentials that need no storage.
package auth

import (
	"context"
	"crypto/cipher"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Config of the service.
type Config struct {
	Root    hansom.Credentials // keys of the root of the default project; see LoadRoot
	Dev     bool               // accept access key "test" with secret "test" as root of the default project
	Skew    time.Duration      // how far the clock of a client may be off
	MaxBody int64              // bytes; the largest body accepted whose hash the client did not declare
	Now     func() time.Time
}

// DefaultConfig holds AWS's limits: 15 minutes of skew, and CreateFunction's largest request for MaxBody.
func DefaultConfig() Config {
	return Config{Skew: 15 * time.Minute, MaxBody: 70_167_211, Now: time.Now}
}

// Service authenticates requests from memory; the store is read when projects or keys change.
type Service struct {
	cfg     Config
	db      *db.DB
	logger  *slog.Logger
	state   atomic.Pointer[state]
	reloads reloads

	stored        cipher.AEAD // seals the secrets of access keys at rest
	tokens        cipher.AEAD // seals session tokens
	sessionSecret []byte      // key of the secrets of sessions
	seed          maphash.Seed
	sessions      [16]sessionShard
}

// state is an immutable picture of the store.
type state struct {
	projects map[string]Project     // by id
	slugs    map[string]string      // slug -> id
	keys     map[string]*credential // by access key id
	listed   map[string][]AccessKey // by project
}

// New migrates the store and reads projects and keys into memory. masterKey is 32 bytes (see LoadMasterKey). The error is
// clear when the key does not fit what the store holds.
func New(ctx context.Context, cfg Config, d *db.DB, masterKey []byte, logger *slog.Logger) (*Service, error) {
	s := &Service{cfg: cfg, db: d, logger: logger.With("component", "auth"), seed: maphash.MakeSeed()}
	if err := s.deriveKeys(masterKey); err != nil {
		return nil, err
	}
	for i := range s.sessions {
		s.sessions[i].m = map[string]*credential{}
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	d.Subscribe(s.changed)
	return s, nil
}

// Authenticate verifies the signature of r and returns who signed it. Any region is accepted in the scope.
//
// Where the hash of the body is not declared the body is read here, up to Config.MaxBody. In all other cases r.Body is replaced
// by a reader that verifies while it is read and answers the last bytes with an *hansom.Error when they are not what was
// signed: a caller acts on a body only after it has read all of it. After chunked transfer r.ContentLength is the decoded
// length and trailers are in r.Trailer.
//
// Errors are *hansom.Error of kind Unauthenticated, Invalid or TooLarge with the Code and Message that AWS uses for the
// service of the signature's scope.
func (s *Service) Authenticate(r *http.Request) (hansom.Principal, error) {
	var sig signature
	if err := sig.parse(r); err != nil {
		return hansom.Principal{}, err
	}
	now := s.cfg.Now()
	if err := sig.current(now, s.cfg.Skew); err != nil {
		return hansom.Principal{}, err
	}
	if err := s.fresh(r.Context()); err != nil {
		return hansom.Principal{}, err
	}
	cred, err := s.credential(&sig, now)
	if err != nil {
		return hansom.Principal{}, err
	}
	if err := s.verify(r, &sig, cred); err != nil {
		return hansom.Principal{}, err
	}
	return cred.principal, nil
}

// credential finds the keys that sig claims to be made with.
func (s *Service) credential(sig *signature, now time.Time) (*credential, error) {
	st := s.state.Load()
	if sig.token != "" {
		return s.session(st, sig, now)
	}
	cred := st.keys[sig.accessKey]
	if cred == nil {
		return nil, refuse(unknownKey, sig.service)
	}
	return cred, nil
}
