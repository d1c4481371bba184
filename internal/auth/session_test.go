package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

func TestSessions(t *testing.T) {
	cfg := testConfig()
	now := testNow
	cfg.Now = func() time.Time { return now }
	s := newService(t, cfg)
	v := &hansom.Version{Project: hansom.DefaultProject, Region: "us-east-1", Function: "hello", Role: "arn:aws:iam::000000000000:role/service/runner"}
	c := s.IssueFunction(v, time.Hour)
	if !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.AccessKeyID) != 20 || len(c.SecretAccessKey) != 40 || !c.Expires.Equal(testNow.Add(time.Hour)) {
		t.Errorf("credentials are %s with a secret of %d, expiring %s", c.AccessKeyID, len(c.SecretAccessKey), c.Expires)
	}
	p, err := s.Authenticate(signed(t, c, "lambda", now, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	want := hansom.Principal{Kind: hansom.FunctionSession, Project: hansom.DefaultProject, ARN: "arn:aws:sts::000000000000:assumed-role/runner/hello",
		UserID: p.UserID, AccessKeyID: c.AccessKeyID, Function: "arn:aws:lambda:us-east-1:000000000000:function:hello"}
	if p != want || !strings.HasPrefix(p.UserID, "AROA") || !strings.HasSuffix(p.UserID, ":hello") || len(p.UserID) != len("AROA")+17+len(":hello") {
		t.Errorf("principal is %+v", p)
	}
	// A second request is answered from memory; another server with the same master key knows the session too.
	if again, err := s.Authenticate(signed(t, c, "lambda", now, "{}")); err != nil || again != p {
		t.Errorf("second request: %+v, %v", again, err)
	}
	if other, err := newService(t, cfg).Authenticate(signed(t, c, "lambda", now, "{}")); err != nil || other != p {
		t.Errorf("other server: %+v, %v", other, err)
	}

	second := s.IssueFunction(v, time.Hour)
	for name, bad := range map[string]struct {
		keys hansom.Credentials
		code string
	}{
		"no token":            {hansom.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey}, "UnrecognizedClientException"},
		"token of another":    {hansom.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: second.SessionToken}, "UnrecognizedClientException"},
		"garbage token":       {hansom.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: "x"}, "UnrecognizedClientException"},
		"empty sealed token":  {hansom.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: "AAAA"}, "UnrecognizedClientException"},
		"changed token":       {hansom.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: swapFirst(c.SessionToken)}, "UnrecognizedClientException"},
		"secret of another":   {hansom.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: second.SecretAccessKey, SessionToken: c.SessionToken}, "InvalidSignatureException"},
		"token with root key": {hansom.Credentials{AccessKeyID: testRoot.AccessKeyID, SecretAccessKey: testRoot.SecretAccessKey, SessionToken: c.SessionToken}, "UnrecognizedClientException"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Authenticate(signed(t, bad.keys, "lambda", now, "{}"))
			wantCode(t, err, bad.code)
		})
	}

	now = testNow.Add(time.Hour)
	for service, code := range map[string]string{"lambda": "ExpiredTokenException", "sts": "ExpiredToken", "s3": "ExpiredToken"} {
		_, err = s.Authenticate(signed(t, c, service, now, "{}"))
		wantCode(t, err, code)
	}
	other := cfg
	otherKey := append([]byte{1}, testKey[1:]...)
	foreign, err := New(t.Context(), other, openDB(t), otherKey, s.logger)
	if err != nil {
		t.Fatal(err)
	}
	_, err = foreign.Authenticate(signed(t, s.Issue(p, time.Hour), "lambda", now, "{}"))
	wantCode(t, err, "UnrecognizedClientException")
}

func swapFirst(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// The caches are bounded however many sessions come along.
func TestSessionsAreBounded(t *testing.T) {
	s := newService(t, testConfig())
	shard := &s.sessions[0]
	for range shardSize {
		shard.m[randomID()] = &credential{expires: testNow.Add(time.Hour)}
	}
	for i := range 100 {
		c := s.Issue(hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject}, time.Hour)
		if _, err := s.Authenticate(signed(t, c, "lambda", testNow, "{}")); err != nil {
			t.Fatal(i, err)
		}
	}
	if n := len(shard.m); n > shardSize {
		t.Errorf("a shard holds %d sessions", n)
	}
	cred := s.state.Load().keys[testRoot.AccessKeyID]
	for range 50 {
		if _, err := s.Authenticate(signed(t, testRoot, "svc-"+strings.ToLower(randomID()), testNow, "{}")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(*cred.signing.Load()); n != keptKeys {
		t.Errorf("%d derived keys are kept, want %d", n, keptKeys)
	}
}

func TestErrorsPerProtocol(t *testing.T) {
	s := newService(t, testConfig())
	unknown := hansom.Credentials{AccessKeyID: "AKIANOSUCHKEY0000000", SecretAccessKey: "x"}
	wrong := hansom.Credentials{AccessKeyID: testRoot.AccessKeyID, SecretAccessKey: "x"}
	for _, c := range []struct {
		service, code, message string
		keys                   hansom.Credentials
	}{
		{"lambda", "UnrecognizedClientException", "The security token included in the request is invalid.", unknown},
		{"sts", "InvalidClientTokenId", "The security token included in the request is invalid.", unknown},
		{"iam", "InvalidClientTokenId", "The security token included in the request is invalid.", unknown},
		{"s3", "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", unknown},
		{"lambda", "InvalidSignatureException", mismatchText, wrong},
		{"sts", "SignatureDoesNotMatch", mismatchText, wrong},
		{"s3", "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.", wrong},
	} {
		_, err := s.Authenticate(signed(t, c.keys, c.service, testNow, "{}"))
		if wantCode(t, err, c.code); err.Error() != c.message {
			t.Errorf("%s: message is %q, want %q", c.service, err, c.message)
		}
	}
	r := signed(t, testRoot, "sts", testNow, "Action=GetCallerIdentity")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Del("Authorization")
	_, err := s.Authenticate(r)
	wantCode(t, err, "MissingAuthenticationToken")
}
