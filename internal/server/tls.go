package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom/internal/edge"
	"github.com/hansomcloud/hansom/internal/edge/certs"
	"github.com/hansomcloud/hansom/internal/gateway/compress"
	"github.com/hansomcloud/hansom/internal/hansomapi"
)

// soon is when a certificate that expires is to be worried about.
const soon = 14 * 24 * time.Hour

// hsts is what the setting may be but off (RFC 6797 section 6.1).
var hsts = regexp.MustCompile(`(?i)^max-age=[0-9]{1,10}(; ?(includeSubDomains|preload))*$`)

// secured says that there is a listener with TLS.
func (c *Config) secured() bool { return c.HTTPS || len(c.TLSCert) > 0 }

// checkTLS is Validate's part about the edge.
func (c *Config) checkTLS() error {
	switch {
	case len(c.TLSCert) != len(c.TLSKey):
		return fmt.Errorf("tls-cert names %d files and tls-key %d; each certificate has one key, in the same order", len(c.TLSCert), len(c.TLSKey))
	case c.HTTPS && len(c.TLSCert) > 0:
		return errors.New("with https certificates are made; leave out tls-cert and tls-key, or https")
	case c.EdgeTLS != "" && !c.secured():
		return errors.New("edge-tls is set, but there is no certificate; name one with tls-cert and tls-key")
	case c.HSTS != "off" && !hsts.MatchString(c.HSTS):
		return fmt.Errorf("hsts is %q; use off, or a header such as max-age=31536000; includeSubDomains", c.HSTS)
	}
	_, err := edge.ParseProxies(c.TrustedProxies)
	return err
}

// listenAddresses are those of the plain and of the TLS listener; "" for none.
func (c *Config) listenAddresses() (plain, secure string) {
	plain = c.Edge
	if !c.secured() {
		return plain, ""
	}
	secure = c.EdgeTLS
	switch {
	case secure != "":
	case c.Dev:
		secure = "127.0.0.1:8443"
	default:
		secure = ":443"
	}
	if !c.edgeGiven && !c.Dev {
		plain = ":80"
	}
	return plain, secure
}

// openEdge opens the listeners of the edge and the certificates.
func (s *Server) openEdge(logger *slog.Logger) (err error) {
	logger = logger.With("component", "edge")
	plain, secure := s.cfg.listenAddresses()
	if s.edgeListener, err = listen("edge", plain); err != nil {
		return err
	}
	switch {
	case s.cfg.HTTPS:
		s.authority, s.newAuthority, err = certs.OpenAuthority(filepath.Join(s.cfg.Data, "tls"), s.cfg.Domain, time.Now)
	case secure != "":
		var pairs []certs.Pair
		for i, cert := range s.cfg.TLSCert {
			pairs = append(pairs, certs.Pair{Cert: cert, Key: s.cfg.TLSKey[i]})
		}
		s.certificates, err = certs.Open(pairs, time.Now, logger)
	}
	if err == nil && s.authority != nil {
		err = s.authority.Publish(s.trustDir())
	}
	if err != nil || secure == "" {
		return err
	}
	s.edgeTLSListener, err = listen("edge-tls", secure)
	return err
}

// trustDir holds what functions need to trust our own authority.
func (s *Server) trustDir() string { return filepath.Join(s.cfg.Data, "tls", "trust") }

// innerEdgeTLS is innerEdge over TLS, where the public has that too, and the folder with what functions need to trust it; "" when
// they do so anyway.
func (s *Server) innerEdgeTLS() (serve func(net.Listener), trust string) {
	if s.driver.Name() != "linux" || s.edgeTLSListener == nil {
		return nil, ""
	}
	if s.authority != nil {
		trust = s.trustDir()
	}
	return func(l net.Listener) { _ = s.innerTLS.ServeTLS(l, "", "") }, trust
}

// serveEdge makes what serves web to the public, and to functions.
func (s *Server) serveEdge(web http.Handler, logger *slog.Logger) error {
	inner := s.requests.Handler(web) // compression is no use there
	if s.cfg.Compress {
		web = compress.Handler(web)
	}
	front := &edge.Front{Next: s.requests.Handler(web)}
	var err error
	if front.Proxies, err = edge.ParseProxies(s.cfg.TrustedProxies); err != nil {
		return err
	}
	if s.edgeTLSListener != nil {
		front.Redirect = s.cfg.HTTPSRedirect
		front.HTTPSPort, _ = strconv.Atoi(port(s.EdgeTLSAddr()))
		if s.cfg.HSTS != "off" {
			front.HSTS = s.cfg.HSTS
		}
		s.edgeTLS = httpServer(front, logger)
		edge.Secure(s.edgeTLS, certs.Config(s.source()))
	}
	s.edge = edge.New(httpServer(front, logger), s.loops, logger.With("component", "edge"))
	s.inner = httpServer(&edge.Front{Next: inner}, logger) // functions are no proxies
	if s.edgeTLS != nil {
		s.innerTLS = httpServer(&edge.Front{Next: inner}, logger)
		edge.Secure(s.innerTLS, certs.Config(s.source()))
	}
	return nil
}

func (s *Server) source() certs.Source {
	if s.authority != nil {
		return s.authority
	}
	return s.certificates
}

// EdgeTLSAddr is the bound address of the edge listener with TLS, host:port; "" for none.
func (s *Server) EdgeTLSAddr() string {
	if s.edgeTLSListener == nil {
		return ""
	}
	return s.edgeTLSListener.Addr().String()
}

// Authority is the file of the certificate authority that clients have to trust, and whether it is a new one; "" for none.
func (s *Server) Authority() (file string, made bool) {
	if s.authority == nil {
		return "", false
	}
	return s.authority.File, s.newAuthority
}

// Reload reads the certificates again. What goes wrong is logged, and the old ones stay.
func (s *Server) Reload() {
	if s.certificates != nil {
		s.certificates.Reload()
	}
}

// shutdownTLS is edge.Server.Shutdown for the listener with TLS, begun at once; the function that it returns waits for its end.
func (s *Server) shutdownTLS(ctx context.Context) func() error {
	if s.edgeTLS == nil {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() { done <- s.edgeTLS.Shutdown(ctx) }()
	return func() error { return <-done }
}

// host is a public host with the bound edge port: name.D:port, or D:port when name is "".
func (s *Server) host(name string) string {
	if s.edgeTLSListener != nil {
		return s.hostAt("https", name, s.EdgeTLSAddr(), "443")
	}
	return s.plainHost(name)
}

func (s *Server) plainHost(name string) string { return s.hostAt("http", name, s.EdgeAddr(), "80") }

func (s *Server) hostAt(scheme, name, bound, usual string) string {
	host := s.cfg.Domain
	if name != "" {
		host = name + "." + host
	}
	if p := port(bound); p != usual {
		host = net.JoinHostPort(host, p)
	}
	return scheme + "://" + host
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr) // of a listener
	return p
}

// certificateCheck tells until when certificates are good.
func (s *Server) certificateCheck() []hansomapi.Check {
	if s.certificates == nil {
		return nil
	}
	var checks []hansomapi.Check
	for _, f := range s.certificates.Facts() {
		c := hansomapi.Check{Name: "certificate", Status: "ok", Detail: f.String()}
		if left := time.Until(f.Until); left < soon {
			c.Status, c.Fix = "warning", "put a newer one in its place: it is read without a restart"
			if left < 0 {
				c.Status = "error"
			}
		}
		checks = append(checks, c)
	}
	return checks
}
