package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func openAuthority(t *testing.T, dir, domain string, now func() time.Time) (*Authority, bool) {
	t.Helper()
	a, made, err := OpenAuthority(dir, domain, now)
	if err != nil {
		t.Fatal(err)
	}
	return a, made
}

func trusting(t *testing.T, a *Authority) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in " + a.File)
	}
	return pool
}

func TestAuthoritySignsItsNames(t *testing.T) {
	a, made := openAuthority(t, filepath.Join(t.TempDir(), "tls"), "Example.Test", time.Now)
	if !made {
		t.Error("it is not new")
	}
	pool := trusting(t, a)
	for name, good := range map[string]bool{
		"localhost": true, "app.localhost": true, "a.b.localhost": true, "example.test": true, "app.example.test": true, "app.team.example.test": true, "my_app.example.test": true,
		"abc.execute-api.example.test": true, "abc.lambda-url.example.test": true, "127.0.0.1": true, "::1": true, "APP.example.test": true,
		"example.com": false, "notexample.test": false, "test": false, "10.0.0.1": false, "evil.com.example.test.org": false,
	} {
		state, err := shake(t, a, &tls.Config{RootCAs: pool, ServerName: name})
		if (err == nil) != good {
			t.Errorf("%s: %v, want good %v", name, err, good)
		}
		if err == nil && name[0] == 'a' { // clients such as OpenSSL and Chromium take no wildcard for *.localhost
			found := false
			for _, n := range state.PeerCertificates[0].DNSNames {
				found = found || n == name
			}
			if !found {
				t.Errorf("%s is not named itself: %v", name, state.PeerCertificates[0].DNSNames)
			}
		}
	}
}

// Who trusts the authority trusts it with its own names alone, whatever it signs.
func TestAuthorityIsConstrained(t *testing.T) {
	a, _ := openAuthority(t, t.TempDir(), "example.test", time.Now)
	stolen := &Authority{domain: "example.com", now: a.now, random: a.random, cert: a.cert, key: a.key, leafKey: a.leafKey} // as whoever has the key would
	c, err := stolen.leaf("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: trusting(t, a), DNSName: "www.example.com"})
	if err == nil || !strings.Contains(err.Error(), "not permitted") {
		t.Errorf("it was accepted: %v", err)
	}
	if a.cert.MaxPathLen != 0 || !a.cert.MaxPathLenZero || !a.cert.PermittedDNSDomainsCritical {
		t.Errorf("%+v", a.cert)
	}
}

func TestAuthorityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	a, _ := openAuthority(t, dir, "localhost", time.Now)
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	pool := trusting(t, a)
	again, made := openAuthority(t, dir, "localhost", time.Now)
	if made {
		t.Error("it was made again")
	}
	if _, err := shake(t, again, &tls.Config{RootCAs: pool, ServerName: "x.localhost"}); err != nil {
		t.Error(err)
	}
	if _, made := openAuthority(t, dir, "other.test", time.Now); !made {
		t.Error("it is good for another domain")
	}
	if _, made := openAuthority(t, dir, "other.test", func() time.Time { return time.Now().Add(authorityLife - time.Hour) }); !made {
		t.Error("it goes on until it expires")
	}
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if _, made := openAuthority(t, dir, "other.test", time.Now); !made {
		t.Error("half of it is enough")
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenAuthority(dir, "other.test", time.Now); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("a key that others may read: %v", err)
	}
}

func TestLeavesAreRenewed(t *testing.T) {
	now := time.Now()
	a, _ := openAuthority(t, t.TempDir(), "localhost", func() time.Time { return now })
	hello := &tls.ClientHelloInfo{ServerName: "a.localhost"}
	leaf := func() *x509.Certificate {
		c, err := a.Certificate(hello)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	first := leaf()
	now = now.Add(leafLife/2 - time.Hour)
	if leaf() != first {
		t.Error("it is made anew each time")
	}
	now = now.Add(leafLife / 2)
	if c := leaf(); c == first || now.After(c.NotAfter.Add(-leafSpare)) {
		t.Errorf("at %v it is good until %v", now, c.NotAfter)
	}
}

// Clients that ask for many names fill no memory.
func TestLeavesAreBounded(t *testing.T) {
	a, _ := openAuthority(t, t.TempDir(), "localhost", time.Now)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range maxLeaves {
				for _, name := range []string{fmt.Sprintf("a%d-%d.localhost", i, n), fmt.Sprintf("a%d-%d.example.com", i, n), strings.Repeat("a", 70) + ".localhost", "a..localhost", "*.localhost"} {
					if _, err := a.Certificate(&tls.ClientHelloInfo{ServerName: name}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if len(a.leaves) > maxLeaves {
		t.Errorf("%d are kept", len(a.leaves))
	}
	for name := range a.leaves {
		if strings.Contains(name, "example") || strings.Contains(name, "*") || strings.HasPrefix(name, "aaaa") {
			t.Errorf("%s is kept", name)
		}
	}
}
