package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour // Apple's clients take 825 days at most
	leafSpare     = leafLife / 3        // one that expires sooner is made anew
	clockSpare    = time.Hour           // clocks differ
	maxLeaves     = 256                 // that are kept
)

// Authority is a certificate authority of a server's own: of use for development alone, and good for nothing but names below its
// domain, localhost and loopback, so that who trusts it trusts it with nothing else. Its leaves are made when clients ask for
// their names: clients do not take wildcards as wide as *.localhost, and they stand for one label only.
type Authority struct {
	File string // the authority's certificate, in PEM, which clients are to trust

	domain string
	now    func() time.Time
	random io.Reader
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey

	mu      sync.Mutex
	leafKey *ecdsa.PrivateKey
	leaves  map[string]*tls.Certificate // by the name that was asked for; "" for none of ours
}

var _ Source = (*Authority)(nil)

// OpenAuthority finds the authority for a domain in dir, or makes it. Made says that clients have to be told to trust it: there was
// none, or another domain's, or it had expired.
func OpenAuthority(dir, domain string, now func() time.Time) (a *Authority, made bool, err error) {
	a = &Authority{File: filepath.Join(dir, "ca.pem"), domain: strings.ToLower(domain), now: now, random: rand.Reader, leaves: map[string]*tls.Certificate{}}
	defer func() {
		if err != nil {
			err = hansom.Errorf(hansom.Internal, "open certificate authority", "the certificate authority in %s: %w", dir, err)
		}
	}()
	keyFile := filepath.Join(dir, "ca.key")
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	found, err := a.read(keyFile)
	if err != nil {
		return nil, false, err
	}
	if !found {
		if err = a.make(keyFile); err != nil {
			return nil, false, err
		}
	}
	if a.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), a.random); err != nil {
		return nil, false, err
	}
	return a, !found, nil
}

// read reads the files; false when there is nothing that can be used.
func (a *Authority) read(keyFile string) (bool, error) {
	info, err := os.Stat(keyFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode().Perm()&0o077 != 0:
		return false, errors.New("others may read ca.key, and could pretend to be any of its names; remove it, and stop trusting ca.pem")
	}
	pair, err := tls.LoadX509KeyPair(a.File, keyFile)
	if err != nil {
		return false, nil // one half is missing or broken: a new one takes its place
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if err != nil || !ok || !cert.IsCA || !slices.Equal(cert.PermittedDNSDomains, a.domains()) || cert.NotAfter.Before(a.now().Add(leafLife)) {
		return false, nil
	}
	a.cert, a.key = cert, key
	return true, nil
}

// make makes an authority and writes its files.
func (a *Authority) make(keyFile string) (err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), a.random); err != nil {
		return err
	}
	host, _ := os.Hostname()
	name := "Hansom development CA " + host
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Hansom development"}, CommonName: strings.TrimSpace(name[:min(len(name), 64)])},
		NotBefore:             a.now().Add(-clockSpare),
		NotAfter:              a.now().Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         a.domains(),
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
	der, err := a.sign(template, template, &a.key.PublicKey)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	if err := write(keyFile, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return write(a.File, "CERTIFICATE", der, 0o644)
}

// systemBundles are where systems keep the authorities that they trust, in one file.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
}

// Publish writes into dir, which others may read, ca.pem, the authority's certificate, and all.pem, which has the authorities that
// this system trusts beside it.
func (a *Authority) Publish(dir string) error {
	failed := func(err error) error {
		return hansom.Errorf(hansom.Internal, "publish certificate authority", "%w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failed(err)
	}
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	all := slices.Clone(own)
	for _, name := range systemBundles {
		if text, err := os.ReadFile(name); err == nil {
			all = append(all, text...)
			break
		}
	}
	for name, text := range map[string][]byte{"ca.pem": own, "all.pem": all} {
		if err := replace(filepath.Join(dir, name), text, 0o644); err != nil {
			return failed(err)
		}
	}
	return nil
}

// domains are those that the authority is good for, each with all names below it.
func (a *Authority) domains() []string {
	if a.domain == "localhost" {
		return []string{"localhost"}
	}
	return []string{a.domain, "localhost"}
}

func (a *Authority) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey) (der []byte, err error) {
	if template.SerialNumber, err = rand.Int(a.random, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	return x509.CreateCertificate(a.random, template, parent, public, a.key)
}

// Certificate implements Source.
func (a *Authority) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if !a.covers(name) {
		name = ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[name]; c != nil && a.now().Before(c.Leaf.NotAfter.Add(-leafSpare)) {
		return c, nil
	}
	c, err := a.leaf(name)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, "make certificate", "%w", err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves)
	}
	a.leaves[name] = c
	return c, nil
}

// covers says whether the authority may sign a name.
func (a *Authority) covers(name string) bool {
	if len(name) > 253 {
		return false
	}
	for _, d := range a.domains() {
		if below, ok := strings.CutSuffix(name, "."+d); ok && below != "" || name == d {
			return labels(name)
		}
	}
	return false
}

// labels says whether name is made of what names of hosts are made of, and underscores.
func labels(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// leaf makes a certificate for the hosts that a server always has, and for name.
func (a *Authority) leaf(name string) (*tls.Certificate, error) {
	var all []string
	for _, d := range a.domains() {
		all = append(all, d, "*."+d)
	}
	all = append(all, "*.execute-api."+a.domain, "*.lambda-url."+a.domain)
	if name != "" && !slices.Contains(all, name) {
		all = append(all, name)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"Hansom development"}},
		NotBefore:   a.now().Add(-clockSpare),
		NotAfter:    a.now().Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    all,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},

		BasicConstraintsValid: true,
	}
	der, err := a.sign(template, a.cert, &a.leafKey.PublicKey)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey, Leaf: parsed}, nil
}

// write writes a PEM file.
func write(name, kind string, der []byte, mode os.FileMode) error {
	return replace(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// replace writes a file in one go: whoever reads it sees all or nothing.
func replace(name string, text []byte, mode os.FileMode) error {
	temp := name + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(temp, text, mode); err != nil {
		return err
	}
	return os.Rename(temp, name)
}
