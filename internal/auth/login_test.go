package auth

import (
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

func TestLogin(t *testing.T) {
	cfg := testConfig()
	now := testNow
	cfg.Now = func() time.Time { return now }
	s := newService(t, cfg)
	_, key, err := s.CreateKey(t.Context(), hansom.DefaultProject, "k")
	if err != nil {
		t.Fatal(err)
	}
	p, until, err := s.Login(t.Context(), key.AccessKeyID, key.SecretAccessKey, "")
	if err != nil || p.Project != hansom.DefaultProject || !until.IsZero() || !s.HasKey(key.AccessKeyID) {
		t.Error(p, until, err)
	}
	session := s.Issue(p, time.Hour)
	if q, until, err := s.Login(t.Context(), session.AccessKeyID, session.SecretAccessKey, session.SessionToken); err != nil || q.Project != p.Project || !until.Equal(session.Expires) ||
		s.HasKey(session.AccessKeyID) {
		t.Error(q, until, err)
	}
	for name, c := range map[string][3]string{
		"another secret":  {key.AccessKeyID, key.SecretAccessKey + "x", ""},
		"no secret":       {key.AccessKeyID, "", ""},
		"an unknown key":  {"AKIAXXXXXXXXXXXXXXXX", key.SecretAccessKey, ""},
		"nothing":         {},
		"no token":        {session.AccessKeyID, session.SecretAccessKey, ""},
		"another token":   {session.AccessKeyID, session.SecretAccessKey, session.SessionToken + "x"},
		"another session": {key.AccessKeyID, key.SecretAccessKey, session.SessionToken},
		"a wrong secret":  {session.AccessKeyID, key.SecretAccessKey, session.SessionToken},
	} {
		if _, _, err := s.Login(t.Context(), c[0], c[1], c[2]); hansom.KindOf(err) != hansom.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.DeleteKey(t.Context(), hansom.DefaultProject, key.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []hansom.Credentials{key, session} {
		if _, _, err := s.Login(t.Context(), c.AccessKeyID, c.SecretAccessKey, c.SessionToken); hansom.KindOf(err) != hansom.Unauthenticated {
			t.Errorf("of a deleted key: %v", err)
		}
	}
	if now = session.Expires; s.HasKey(key.AccessKeyID) {
		t.Error("the key is still there")
	}
}
