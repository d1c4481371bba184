// Package certs has the certificates of the edge: pairs of files that are read again when they change, and an authority of
// one's own for development.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
)

// Source finds the certificate for a client's hello, as tls.Config.GetCertificate.
type Source interface {
	Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Config is that of a listener with certificates of s: TLS 1.2 and newer with Go's cipher suites, HTTP/2 and HTTP/1.1.
func Config(s Source) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Certificate, NextProtos: []string{"h2", "http/1.1"}}
}

// Pair are two PEM files: a certificate with those that lead to its authority, and its key.
type Pair struct{ Cert, Key string }

// Files are certificates from pairs of files.
type Files struct {
	pairs  []Pair
	now    func() time.Time
	logger *slog.Logger
	every  time.Duration // between looks at the files

	mu      sync.Mutex // of reading
	read    []os.FileInfo
	changed []os.FileInfo // as last seen, while they change
	held    atomic.Pointer[held]
}

var _ Source = (*Files)(nil)

// held are the certificates that are in use. It is never changed.
type held struct {
	all    []*tls.Certificate
	byName map[string][]*tls.Certificate // lower case, also "*.example.com"
}

// Open reads all pairs. Its error names the file at fault.
func Open(pairs []Pair, now func() time.Time, logger *slog.Logger) (*Files, error) {
	f := &Files{pairs: pairs, now: now, logger: logger, every: 2 * time.Second}
	if len(pairs) == 0 {
		return nil, hansom.Errorf(hansom.Invalid, "read certificates", "there is no certificate; name the files of one with --tls-cert and --tls-key")
	}
	if err := f.reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the files again. What goes wrong is logged, and the certificates stay as they are. Connections that there are
// go on with theirs.
func (f *Files) Reload() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew()
}

func (f *Files) renew() {
	if err := f.reload(); err != nil {
		f.logger.Error("the certificates were not read again; the old ones stay", "error", err)
		return
	}
	f.logger.Info("the certificates were read again")
}

// Run reads the files again whenever they have changed, until ctx ends.
func (f *Files) Run(ctx context.Context) error {
	ticks := time.NewTicker(f.every)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			f.look()
		}
	}
}

// look reads the files again when they are others than those that were read, and the same as at the last look: certificate
// and key do not change at once.
func (f *Files) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen, err := f.stat()
	switch {
	case err != nil || same(seen, f.read): // one of them is gone for a moment
		f.changed = nil
	case !same(seen, f.changed):
		f.changed = seen
	default:
		f.changed = nil
		f.renew()
		f.read = seen // if they are bad, until they change again
	}
}

func (f *Files) stat() (all []os.FileInfo, err error) {
	for _, p := range f.pairs {
		for _, name := range []string{p.Cert, p.Key} {
			info, err := os.Stat(name)
			if err != nil {
				return nil, err
			}
			all = append(all, info)
		}
	}
	return all, nil
}

func same(a, b []os.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}

// reload reads all pairs, or leaves everything as it is.
func (f *Files) reload() error {
	seen, err := f.stat()
	if err != nil {
		return hansom.Errorf(hansom.Invalid, "read certificates", "%w; see --tls-cert and --tls-key", err)
	}
	next := &held{byName: map[string][]*tls.Certificate{}}
	for _, p := range f.pairs {
		c, err := load(p)
		if err != nil {
			return err
		}
		if now := f.now(); now.After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
			f.logger.Warn("a certificate is not valid at this time", "file", p.Cert, "from", c.Leaf.NotBefore, "until", c.Leaf.NotAfter)
		}
		next.all = append(next.all, c)
		for _, name := range c.Leaf.DNSNames {
			name = strings.ToLower(name)
			next.byName[name] = append(next.byName[name], c)
		}
	}
	f.held.Store(next)
	f.read = seen
	return nil
}

func load(p Pair) (*tls.Certificate, error) {
	bad := func(err error) error {
		return hansom.Errorf(hansom.Invalid, "read certificates", "certificate %s with key %s: %w", p.Cert, p.Key, err)
	}
	c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, bad(err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return nil, bad(err)
		}
	}
	if len(c.Leaf.DNSNames)+len(c.Leaf.IPAddresses) == 0 {
		return nil, bad(errors.New("it has no subject alternative name, which clients go by"))
	}
	return &c, nil
}

// Certificate implements Source: one with the name that the client asks for, else one with a wildcard for it, and among several
// the first that the client can use. A client that names none, or one that there is no certificate for, gets the first.
func (f *Files) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	h := f.held.Load()
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	_, parent, _ := strings.Cut(name, ".")
	for _, list := range [][]*tls.Certificate{h.byName[name], h.byName["*."+parent], h.all} {
		for _, c := range list {
			if usable(hello, c) {
				return c, nil
			}
		}
	}
	return h.all[0], nil // the handshake fails with what is missing
}

// usable says whether a client has what c needs; the name is not looked at.
func usable(hello *tls.ClientHelloInfo, c *tls.Certificate) bool {
	anyName := *hello
	anyName.ServerName = ""
	return anyName.SupportsCertificate(c) == nil
}

// Fact is what there is to know of a certificate.
type Fact struct {
	File  string
	Names []string // of hosts, and addresses
	Until time.Time
}

func (f Fact) String() string {
	return fmt.Sprintf("%s for %s until %s", f.File, strings.Join(f.Names, ", "), f.Until.UTC().Format(time.DateOnly))
}

// Facts describes the certificates that are in use.
func (f *Files) Facts() (all []Fact) {
	for i, c := range f.held.Load().all {
		names := append([]string(nil), c.Leaf.DNSNames...)
		for _, ip := range c.Leaf.IPAddresses {
			names = append(names, ip.String())
		}
		all = append(all, Fact{f.pairs[i].Cert, names, c.Leaf.NotAfter})
	}
	return all
}
