package auth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

var (
	testNow  = time.Date(2026, 11, 23, 19, 30, 0, 0, time.UTC)
	testRoot = hansom.Credentials{AccessKeyID: "AKIAVECTORVECTOR0001", SecretAccessKey: "vectorSecret/with+odd=chars0000000000000"}
	testKey  = bytes.Repeat([]byte{7}, masterKeySize)
)

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Root = testRoot
	cfg.Now = func() time.Time { return testNow }
	return cfg
}

func openDB(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "hansom.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func newService(t testing.TB, cfg Config) *Service {
	t.Helper()
	s, err := New(t.Context(), cfg, openDB(t), testKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	e, ok := err.(*hansom.Error)
	if !ok || e.Code != code {
		t.Fatalf("error is %#v, want code %s", err, code)
	}
}

// received turns a request for sending into the one a server would see.
func received(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	return parsed(t, wire.String())
}

// parsed reads a request as a server does.
func parsed(t testing.TB, raw string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Signatures that botocore made: header and query form, all services, odd paths and queries.
func TestBotocoreSignatures(t *testing.T) {
	s := newService(t, testConfig())
	data, err := os.ReadFile("testdata/botocore.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Method, URL, Body string
		Headers                 map[string]string
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			raw := c.Method + " " + c.URL + " HTTP/1.1\r\nHost: localhost:4566\r\nContent-Length: " + strconv.Itoa(len(c.Body)) + "\r\n"
			for k, v := range c.Headers {
				raw += k + ": " + v + "\r\n"
			}
			r := parsed(t, raw+"\r\n"+c.Body)
			p, err := s.Authenticate(r)
			if err != nil {
				t.Fatal(err)
			}
			if p.Kind != hansom.Root || p.ARN != "arn:aws:iam::000000000000:root" || p.UserID != "000000000000" || p.AccessKeyID != testRoot.AccessKeyID {
				t.Errorf("principal is %+v", p)
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != c.Body {
				t.Errorf("body is %q, %v; want %q", body, err, c.Body)
			}
		})
	}
}

type shape struct {
	Name, Service, Method, URL, Body string
	Headers                          [][2]string
	Payload                          string // "" the hash in the header, "none" no header, "UNSIGNED-PAYLOAD"
}

func shapes(t testing.TB) []shape {
	t.Helper()
	data, err := os.ReadFile("testdata/shapes.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []shape
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func (sh shape) request(t testing.TB, base string) (r *http.Request, payload string) {
	t.Helper()
	r, err := http.NewRequest(sh.Method, base+sh.URL, strings.NewReader(sh.Body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range sh.Headers {
		r.Header.Add(h[0], h[1])
	}
	sum := sha256.Sum256([]byte(sh.Body))
	payload = hex.EncodeToString(sum[:])
	switch sh.Payload {
	case "":
		r.Header.Set("X-Amz-Content-Sha256", payload)
	case "UNSIGNED-PAYLOAD":
		payload = sh.Payload
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	return r, payload
}

func (sh shape) options(o *v4.SignerOptions) {
	o.DisableURIPathEscaping = sh.Service == "s3"
}

func awsKeys(c hansom.Credentials) aws.Credentials {
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

type outcome struct {
	principal hansom.Principal
	body      string
	err       error
}

// TestSDKSignatures sends requests signed by aws-sdk-go-v2 to a real server: in the header, presigned, with an access key
// and with a session.
func TestSDKSignatures(t *testing.T) {
	s := newService(t, testConfig())
	got := make(chan outcome, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o outcome
		if o.principal, o.err = s.Authenticate(r); o.err == nil {
			var b []byte
			b, o.err = io.ReadAll(r.Body)
			o.body = string(b)
		}
		got <- o
	}))
	defer srv.Close()
	client := srv.Client()
	session := s.Issue(hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject, ARN: "arn:aws:iam::000000000000:root"}, time.Hour)
	signer := v4.NewSigner()
	for _, sh := range shapes(t) {
		for name, keys := range map[string]hansom.Credentials{"key": testRoot, "session": session} {
			t.Run(sh.Name+"/header/"+name, func(t *testing.T) {
				r, payload := sh.request(t, srv.URL)
				if err := signer.SignHTTP(t.Context(), awsKeys(keys), r, payload, sh.Service, "eu-west-3", testNow, sh.options); err != nil {
					t.Fatal(err)
				}
				check(t, client, r, got, sh.Body, keys)
			})
			t.Run(sh.Name+"/query/"+name, func(t *testing.T) {
				r, payload := sh.request(t, srv.URL)
				if sh.Service == "s3" {
					payload = unsignedPayload
				}
				r.Header.Del("X-Amz-Content-Sha256")
				q := r.URL.Query()
				q.Set("X-Amz-Expires", "300")
				r.URL.RawQuery = q.Encode()
				signed, header, err := signer.PresignHTTP(t.Context(), awsKeys(keys), r, payload, sh.Service, "eu-west-3", testNow, sh.options)
				if err != nil {
					t.Fatal(err)
				}
				u, err := url.Parse(signed)
				if err != nil {
					t.Fatal(err)
				}
				r.URL = u
				for k, v := range header {
					if k != "Host" {
						r.Header[http.CanonicalHeaderKey(k)] = v
					}
				}
				if sh.Payload == "UNSIGNED-PAYLOAD" {
					r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
				}
				check(t, client, r, got, sh.Body, keys)
			})
		}
	}
}

func check(t *testing.T, client *http.Client, r *http.Request, got chan outcome, body string, keys hansom.Credentials) {
	t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	o := <-got
	if o.err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, o.err)
	}
	if o.body != body || o.principal.AccessKeyID != keys.AccessKeyID || o.principal.Kind != hansom.Root {
		t.Errorf("got body %q of %+v", o.body, o.principal)
	}
}

// TestSignIsAWS compares our own client side with aws-sdk-go-v2's.
func TestSignIsAWS(t *testing.T) {
	s := newService(t, testConfig())
	for _, sh := range shapes(t) {
		t.Run(sh.Name, func(t *testing.T) {
			r, payload := sh.request(t, "http://localhost:4566")
			Sign(r, testRoot, "us-east-1", sh.Service, payload, testNow)
			if _, err := s.Authenticate(received(t, r)); err != nil {
				t.Errorf("header: %v", err)
			}
			r, payload = sh.request(t, "http://localhost:4566")
			r.Header = http.Header{}
			Presign(r, testRoot, "us-east-1", sh.Service, payload, time.Minute, testNow)
			got := received(t, r)
			if _, err := s.Authenticate(got); err != nil {
				t.Errorf("query: %v", err)
			} else if b, err := io.ReadAll(got.Body); err != nil || string(b) != sh.Body {
				t.Errorf("query: body %q, %v", b, err)
			}
		})
	}
}

func signed(t testing.TB, c hansom.Credentials, service string, at time.Time, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", "http://localhost:4566/2015-03-31/functions/hello/invocations?Qualifier=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Amz-Log-Type", "Tail")
	sum := sha256.Sum256([]byte(body))
	payload := hex.EncodeToString(sum[:])
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	err = v4.NewSigner().SignHTTP(context.Background(), awsKeys(c), r, payload, service, "us-east-1", at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	if err != nil {
		t.Fatal(err)
	}
	return received(t, r)
}

func TestTampering(t *testing.T) {
	s := newService(t, testConfig())
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
		}
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		code   string
	}{
		"method":       {func(r *http.Request) { r.Method = "PUT" }, "InvalidSignatureException"},
		"path":         {func(r *http.Request) { r.URL.Path = "/2015-03-31/functions/other/invocations" }, "InvalidSignatureException"},
		"query":        {func(r *http.Request) { r.URL.RawQuery = "Qualifier=2" }, "InvalidSignatureException"},
		"query added":  {func(r *http.Request) { r.URL.RawQuery += "&X=1" }, "InvalidSignatureException"},
		"host":         {func(r *http.Request) { r.Host = "elsewhere" }, "InvalidSignatureException"},
		"header":       {func(r *http.Request) { r.Header.Set("X-Amz-Log-Type", "None") }, "InvalidSignatureException"},
		"header added": {func(r *http.Request) { r.Header.Set("X-Amz-Target", "Other") }, "InvalidSignatureException"},
		"header gone":  {func(r *http.Request) { r.Header.Del("X-Amz-Log-Type") }, "InvalidSignatureException"},
		"header twice": {func(r *http.Request) { r.Header.Add("X-Amz-Log-Type", "None") }, "InvalidSignatureException"},
		"content type": {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "InvalidSignatureException"},
		"date":         {func(r *http.Request) { r.Header.Set("X-Amz-Date", "20261123T193001Z") }, "InvalidSignatureException"},
		"body":         {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"a":2}`)) }, "InvalidSignatureException"},
		"body gone":    {func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, "InvalidSignatureException"},
		"region":       {replace("us-east-1", "us-east-2"), "InvalidSignatureException"},
		"service":      {replace("/lambda/", "/sts/"), "SignatureDoesNotMatch"},
		"scope date":   {replace("/20261123/", "/20261122/"), "InvalidSignatureException"},
		"other key":    {replace("0001", "0002"), "UnrecognizedClientException"},
		"not hex": {func(r *http.Request) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:len(a)-1]+"g")
		}, "InvalidSignatureException"},
		"cut":           {func(r *http.Request) { a := r.Header.Get("Authorization"); r.Header.Set("Authorization", a[:len(a)-1]) }, "InvalidSignatureException"},
		"host unsigned": {replace("host;", ""), "InvalidSignatureException"},
		"token added":   {func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "abc") }, "UnrecognizedClientException"},
		"two headers":   {func(r *http.Request) { r.Header.Add("Authorization", "x") }, "IncompleteSignatureException"},
		"no signature":  {replace("Signature=", "Sig="), "IncompleteSignatureException"},
		"no pairs":      {func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 hello") }, "IncompleteSignatureException"},
		"scheme":        {func(r *http.Request) { r.Header.Set("Authorization", "Bearer abc") }, "IncompleteSignatureException"},
		"terminator":    {replace("aws4_request", "aws5_request"), "IncompleteSignatureException"},
		"bad date":      {func(r *http.Request) { r.Header.Set("X-Amz-Date", "20261323T193001Z") }, "IncompleteSignatureException"},
		"no date":       {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "IncompleteSignatureException"},
		"nothing":       {func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationTokenException"},
	} {
		t.Run(name, func(t *testing.T) {
			r := signed(t, testRoot, "lambda", testNow, `{"a":1}`)
			c.change(r)
			_, err := s.Authenticate(r)
			wantCode(t, err, c.code)
		})
	}
	if _, err := s.Authenticate(signed(t, testRoot, "lambda", testNow, `{"a":1}`)); err != nil {
		t.Errorf("untouched: %v", err)
	}
}

// A declared hash is checked while the body is read, and its last bytes are not handed out when it is wrong.
func TestDeclaredHash(t *testing.T) {
	s := newService(t, testConfig())
	for name, body := range map[string]string{"changed": `{"a":2}`, "longer": `{"a":1} `, "shorter": `{"a":1`} {
		for _, length := range []bool{true, false} {
			r := signed(t, testRoot, "s3", testNow, `{"a":1}`)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), -1
			if length {
				r.ContentLength = int64(len(body))
			}
			if _, err := s.Authenticate(r); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			if wantCode(t, err, "XAmzContentSHA256Mismatch"); length && len(got) != 0 {
				t.Errorf("%s: %q was handed out", name, got)
			}
		}
	}
}

func TestClock(t *testing.T) {
	s := newService(t, testConfig())
	for _, c := range []struct {
		name string
		at   time.Duration
		code string
	}{
		{"15 min old", -15 * time.Minute, ""},
		{"older", -15*time.Minute - time.Second, "InvalidSignatureException"},
		{"15 min ahead", 15 * time.Minute, ""},
		{"further ahead", 15*time.Minute + time.Second, "InvalidSignatureException"},
	} {
		_, err := s.Authenticate(signed(t, testRoot, "lambda", testNow.Add(c.at), "{}"))
		if c.code == "" && err == nil {
			continue
		}
		wantCode(t, err, c.code)
	}
	_, err := s.Authenticate(signed(t, testRoot, "sts", testNow.Add(-time.Hour), "{}"))
	wantCode(t, err, "SignatureDoesNotMatch")
	if want := "Signature expired: 20261123T183000Z is now earlier than 20261123T191500Z (20261123T193000Z - 15 min.)"; err.Error() != want {
		t.Errorf("message is %q, want %q", err, want)
	}
	_, err = s.Authenticate(signed(t, testRoot, "s3", testNow.Add(-time.Hour), "{}"))
	wantCode(t, err, "RequestTimeTooSkewed")

	for _, c := range []struct {
		name    string
		service string
		at      time.Duration
		ttl     time.Duration
		code    string
	}{
		{"good for a week", "s3", -7 * 24 * time.Hour, 7 * 24 * time.Hour, ""},
		{"longer than a week", "s3", 0, 7*24*time.Hour + time.Second, "AuthorizationQueryParametersError"},
		{"expired", "s3", -61 * time.Second, time.Minute, "AccessDenied"},
		{"expired", "lambda", -61 * time.Second, time.Minute, "InvalidSignatureException"},
		{"5 min ahead", "s3", 5 * time.Minute, time.Minute, ""},
		{"further ahead", "s3", 5*time.Minute + time.Second, time.Minute, "AccessDenied"},
		{"further ahead", "sts", 5*time.Minute + time.Second, time.Minute, "SignatureDoesNotMatch"},
	} {
		r, err := http.NewRequest("GET", "http://localhost:4566/bucket/key", nil)
		if err != nil {
			t.Fatal(err)
		}
		Presign(r, testRoot, "us-east-1", c.service, unsignedPayload, c.ttl, testNow.Add(c.at))
		_, err = s.Authenticate(received(t, r))
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		wantCode(t, err, c.code)
	}
}

func TestSizeLimit(t *testing.T) {
	cfg := testConfig()
	cfg.MaxBody = 100 << 10
	s := newService(t, cfg)
	for _, n := range []int{0, 1, pooledBody, pooledBody + 1, 100 << 10} {
		r := signed(t, testRoot, "lambda", testNow, strings.Repeat("x", n))
		if _, err := s.Authenticate(r); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if b, err := io.ReadAll(r.Body); err != nil || len(b) != n {
			t.Errorf("%d bytes: read %d, %v", n, len(b), err)
		}
		r.Body.Close()
	}
	for _, length := range []int64{100<<10 + 1, -1} {
		r := signed(t, testRoot, "lambda", testNow, strings.Repeat("x", 100<<10+1))
		r.ContentLength = length
		if _, err := s.Authenticate(r); hansom.KindOf(err) != hansom.TooLarge {
			t.Errorf("length %d: error is %v", length, err)
		}
	}
}

func TestScope(t *testing.T) {
	r := signed(t, testRoot, "iam", testNow, "")
	if service, region, ok := Scope(r); service != "iam" || region != "us-east-1" || !ok {
		t.Error(service, region, ok)
	}
	for credential, want := range map[string]string{"Credential=a/1/r/first/aws4_request, SignedHeaders=host": "first", "SignedHeaders=host,  Credential=a/1/r/late/aws4_request": "late",
		"Credential=a/1/r/first/aws4_request, Credential=a/1/r/last/aws4_request": "last"} { // the one that is verified
		r.Header.Set("Authorization", algorithm+" "+credential)
		if service, _, _ := Scope(r); service != want {
			t.Errorf("%s is for %q, want %q", credential, service, want)
		}
	}
	r = httptest.NewRequest("GET", "/", nil)
	if _, _, ok := Scope(r); ok {
		t.Error("an unsigned request has a scope")
	}
	r.URL = &url.URL{Path: "/x"}
	r.Host = "h"
	Presign(r, testRoot, "eu-west-1", "sts", "", time.Minute, testNow)
	if service, region, ok := Scope(r); service != "sts" || region != "eu-west-1" || !ok {
		t.Error(service, region, ok)
	}
}
