package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is a log that tests may read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func logTo(o *output) *slog.Logger { return slog.New(slog.NewTextHandler(o, nil)) }

// makePair writes a self-signed certificate for names.
func makePair(t *testing.T, dir, name string, useRSA bool, until time.Time, names ...string) Pair {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	var public, private any
	if useRSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public, private = &key.PublicKey, key
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		public, private = &key.PublicKey, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")}
	for file, block := range map[string]*pem.Block{p.Cert: {Type: "CERTIFICATE", Bytes: der}, p.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// shake makes a handshake with a server that has s, and returns what the client is shown.
func shake(t *testing.T, s Source, client *tls.Config) (*tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server := tls.Server(b, Config(s))
		_ = server.Handshake()
		_, _ = io.Copy(io.Discard, server)
		b.Close()
	}()
	c := tls.Client(a, client)
	err := c.Handshake()
	state := c.ConnectionState()
	a.Close()
	<-done
	return &state, err
}

// shown is the common name of the certificate that a client is shown.
func shown(t *testing.T, s Source, change func(*tls.Config)) string {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	change(config)
	state, err := shake(t, s, config)
	if err != nil {
		return err.Error()
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func TestCertificateByName(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(time.Hour)
	f, err := Open([]Pair{
		makePair(t, dir, "first", false, later, "first.example"), makePair(t, dir, "wild", false, later, "*.example.com"), makePair(t, dir, "exact", false, later, "API.example.com"),
		makePair(t, dir, "rsa", true, later, "both.example"), makePair(t, dir, "ecdsa", false, later, "both.example"),
	}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	onlyECDSA := func(c *tls.Config) {
		c.ServerName, c.MaxVersion, c.CipherSuites = "both.example", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	}
	for name, want := range map[string]string{
		"first.example": "first", "a.example.com": "wild", "api.example.com": "exact", "API.EXAMPLE.COM": "exact", "a.b.example.com": "first", "example.com": "first", "other": "first", "both.example": "rsa", "": "first",
	} {
		if got := shown(t, f, func(c *tls.Config) { c.ServerName = name }); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got := shown(t, f, onlyECDSA); got != "ecdsa" {
		t.Errorf("a client with ECDSA alone is shown %s", got)
	}
	if got := shown(t, f, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }); !strings.Contains(got, "protocol version") {
		t.Errorf("TLS 1.1: %s", got)
	}
	state, err := shake(t, f, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "h2" || state.Version != tls.VersionTLS13 {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestBadFiles(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(time.Hour)
	one, two := makePair(t, dir, "one", false, later, "a"), makePair(t, dir, "two", false, later, "b")
	nameless := makePair(t, dir, "nameless", false, later)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, pairs := range map[string][]Pair{
		"no such file":                {{dir + "/none.pem", one.Key}},
		"failed to find any PEM data": {{text, one.Key}},
		"does not match":              {one, {one.Cert, two.Key}},
		"no subject alternative name": {nameless},
		"there is no certificate":     nil,
	} {
		if _, err := Open(pairs, time.Now, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Files that change are read when they have stopped changing, once; bad ones leave what was there.
func TestFilesAreReadAgain(t *testing.T) {
	var log output
	dir, later := t.TempDir(), time.Now().Add(time.Hour)
	f, err := Open([]Pair{makePair(t, dir, "a", false, later, "old.example")}, time.Now, logTo(&log))
	if err != nil {
		t.Fatal(err)
	}
	serves := func(want string) {
		t.Helper()
		if got := f.Facts()[0].Names[0]; got != want {
			t.Errorf("serves %s, want %s", got, want)
		}
	}
	replace := func(name string) { // as certbot and others do: a rename
		t.Helper()
		p := makePair(t, t.TempDir(), "a", false, later, name)
		for from, to := range map[string]string{p.Cert: "a.pem", p.Key: "a.key"} {
			if err := os.Rename(from, filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.look()
	serves("old.example")
	replace("new.example")
	f.look()
	serves("old.example") // it may still change
	f.look()
	serves("new.example")
	if n := strings.Count(log.String(), "read again"); n != 1 {
		t.Errorf("the log: %s", log.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "a.key"), []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f.look()
	}
	serves("new.example")
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("bad files were told of %d times: %s", n, log.String())
	}
	if err := os.Remove(filepath.Join(dir, "a.key")); err != nil {
		t.Fatal(err)
	}
	f.look()
	f.Reload() // somebody asks for it
	serves("new.example")
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
		t.Errorf("the log: %s", log.String())
	}
	replace("third.example")
	f.Reload()
	serves("third.example")
}

func TestRunLooks(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(time.Hour)
	f, err := Open([]Pair{makePair(t, dir, "a", false, later, "old.example")}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.every = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	makePair(t, dir, "a", false, later, "new.example")
	for end := time.Now().Add(time.Minute); f.Facts()[0].Names[0] != "new.example"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was not read again")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExpiredFiles(t *testing.T) {
	var log output
	f, err := Open([]Pair{makePair(t, t.TempDir(), "a", false, time.Now().Add(-time.Minute), "a.example")}, time.Now, logTo(&log))
	if err != nil || !strings.Contains(log.String(), "not valid at this time") {
		t.Errorf("%v, %s", err, log.String())
	}
	if fact := f.Facts()[0]; !slices.Equal(fact.Names, []string{"a.example"}) || !strings.Contains(fact.String(), "a.pem for a.example until 2") {
		t.Error(fact)
	}
}
