package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// sessionShard remembers credentials of sessions in use, so that a token is opened once and not for every request.
type sessionShard struct {
	sync.RWMutex
	m map[string]*credential // by access key id
}

const shardSize = 4096

// claims are what a session token holds, sealed with the access key id as additional data.
type claims struct {
	Kind     hansom.PrincipalKind `json:"k"`
	Project  string               `json:"p"`
	ARN      string               `json:"a"`
	UserID   string               `json:"u"`
	Function string               `json:"f,omitempty"`
	Parent   string               `json:"b,omitempty"`
	Expires  int64                `json:"e"` // Unix seconds
}

// deriveKeys makes the keys of each purpose from the master key.
func (s *Service) deriveKeys(master []byte) error {
	if len(master) != masterKeySize {
		return hansom.Errorf(hansom.Invalid, "open auth", "the master key has %d bytes, it must have %d", len(master), masterKeySize)
	}
	derive := func(info string) ([]byte, error) { return hkdf.Key(sha256.New, master, nil, info, 32) }
	seal := func(info string) (cipher.AEAD, error) {
		key, err := derive(info)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithRandomNonce(block)
	}
	var err error
	if s.stored, err = seal("hansom access keys"); err == nil {
		if s.tokens, err = seal("hansom session tokens"); err == nil {
			s.sessionSecret, err = derive("hansom session secrets")
		}
	}
	if err != nil {
		return hansom.Errorf(hansom.Internal, "open auth", "derive keys: %w", err)
	}
	return nil
}

// Issue makes session credentials that act as p for ttl. Nothing is stored: the session token carries who p is, sealed with
// the master key. A session of an access key ends with that key, and any session with its project.
func (s *Service) Issue(p hansom.Principal, ttl time.Duration) hansom.Credentials {
	id := "ASIA" + randomID()
	expires := s.cfg.Now().Add(ttl).Truncate(time.Second)
	c := claims{Kind: p.Kind, Project: p.Project, ARN: p.ARN, UserID: p.UserID, Function: p.Function, Expires: expires.Unix()}
	if p.Kind == hansom.AccessKey && strings.HasPrefix(p.AccessKeyID, "AKIA") {
		c.Parent = p.AccessKeyID
	}
	plain, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	token := base64.RawURLEncoding.EncodeToString(s.tokens.Seal(nil, nil, plain, []byte(id)))
	return hansom.Credentials{AccessKeyID: id, SecretAccessKey: s.secretOf(id), SessionToken: token, Expires: expires}
}

// IssueFunction makes session credentials of a function's role, as its instances find them in their environment.
func (s *Service) IssueFunction(v *hansom.Version, ttl time.Duration) hansom.Credentials {
	p := AssumedRole(v.Project, v.Role, v.Function)
	p.Kind, p.Function = hansom.FunctionSession, hansom.FunctionARN(v.Region, v.Project, v.Function, "")
	return s.Issue(p, ttl)
}

// AssumedRole is the principal of a role session as STS reports it. The path of the role is not part of the session's ARN.
func AssumedRole(project, roleARN, session string) hansom.Principal {
	role := roleARN[strings.LastIndexByte(roleARN, '/')+1:]
	if role == "" {
		role = session
	}
	return hansom.Principal{
		Kind:    hansom.RoleSession,
		Project: project,
		ARN:     "arn:aws:sts::" + project + ":assumed-role/" + role + "/" + session,
		UserID:  uniqueID("AROA", project+"/role/"+role) + ":" + session,
	}
}

func (s *Service) secretOf(id string) string {
	return base64.StdEncoding.EncodeToString(mac(s.sessionSecret, id))[:40]
}

// session finds or opens the session of sig.
func (s *Service) session(st *state, sig *signature, now time.Time) (*credential, error) {
	shard := &s.sessions[maphash.String(s.seed, sig.accessKey)%uint64(len(s.sessions))]
	shard.RLock()
	c := shard.m[sig.accessKey]
	shard.RUnlock()
	if c == nil || c.token != sig.token {
		if c = s.open(sig.accessKey, sig.token); c == nil {
			return nil, refuse(badToken, sig.service)
		}
	}
	if !now.Before(c.expires) {
		return nil, refuse(expiredToken, sig.service)
	}
	if _, ok := st.projects[c.principal.Project]; !ok || (c.parent != "" && st.keys[c.parent] == nil) {
		return nil, refuse(badToken, sig.service)
	}
	return c, nil
}

// remember keeps a session whose signature was verified.
func (s *Service) remember(c *credential) {
	shard := &s.sessions[maphash.String(s.seed, c.principal.AccessKeyID)%uint64(len(s.sessions))]
	shard.Lock()
	defer shard.Unlock()
	if len(shard.m) >= shardSize {
		now := s.cfg.Now()
		for id, old := range shard.m {
			if !now.Before(old.expires) {
				delete(shard.m, id)
			}
		}
		if len(shard.m) >= shardSize {
			clear(shard.m)
		}
	}
	shard.m[c.principal.AccessKeyID] = c
}

// open unseals a session token; nil when it is not one that this server's master key sealed for id.
func (s *Service) open(id, token string) *credential {
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil
	}
	plain, err := s.tokens.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return nil
	}
	var c claims
	if json.Unmarshal(plain, &c) != nil {
		return nil
	}
	id = strings.Clone(id)
	return &credential{
		principal: hansom.Principal{Kind: c.Kind, Project: c.Project, ARN: c.ARN, UserID: c.UserID, AccessKeyID: id, Function: c.Function},
		secret:    s.secretOf(id),
		token:     strings.Clone(token),
		expires:   time.Unix(c.Expires, 0),
		parent:    c.Parent,
	}
}

// randomID is 16 characters as AWS's ids have: A to Z and 2 to 7.
func randomID() string {
	var b [10]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base32.StdEncoding.EncodeToString(b[:])
}

// uniqueID is the id that IAM would have given to what name stands for, the same each time.
func uniqueID(prefix, name string) string {
	sum := sha256.Sum256([]byte(name))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}
