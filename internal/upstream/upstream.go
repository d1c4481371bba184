// Package upstream opens connections to servers elsewhere that are named through an API: API destinations, token endpoints, issuers,
// HTTP integrations. What an address is decides, not what it is called: each is looked at after its name was resolved, right before it is
// connected to, so that neither names nor redirects lead where nobody may go.
package upstream

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
)

// special are the blocks of version 4 that are not public: those that IANA's registry of special-purpose addresses does not call
// globally reachable, multicast and the reserved ones.
var special = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3")

// public6 is what of version 6 is in use on the internet, and special6 is what in it is not public: translations, tunnels and documentation.
var (
	public6  = netip.MustParsePrefix("2000::/3")
	special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)

// never is what no server of others is at: this host as nobody's address, its links with the metadata services of clouds there, the
// metadata services elsewhere, multicast and the reserved ones.
var never = prefixes("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
	"::/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128")

// nat64 holds addresses of version 4 in their last four bytes (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

func in(list []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Special4 are the blocks of version 4 that are not public.
func Special4() []netip.Prefix { return slices.Clone(special) }

// Config of a Dialer.
type Config struct {
	Public  bool           // only public addresses: none that are private, of loopback or otherwise special
	Own     netip.AddrPort // a listener of this server that nobody reaches; zero for none
	Timeout time.Duration  // for a connection
}

// DefaultConfig lets private and loopback addresses through, and waits 5 s.
func DefaultConfig() Config { return Config{Timeout: 5 * time.Second} }

// Dialer opens connections.
type Dialer struct {
	cfg    Config
	dialer net.Dialer
}

// New returns a Dialer.
func New(cfg Config) *Dialer {
	d := &Dialer{cfg: cfg}
	d.dialer = net.Dialer{Timeout: cfg.Timeout, ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
		return d.check(address)
	}}
	return d
}

// DialContext connects to addr, host:port, over TCP. Names below localhost are loopback (RFC 6761, 6.3), which not every resolver knows.
// Error: Denied, wrapped, for an address that may not be reached.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".localhost") {
		addr = net.JoinHostPort("localhost", port)
	}
	return d.dialer.DialContext(ctx, network, addr)
}

// Transport returns a transport over the dialer, which knows no proxy. Whoever makes it closes its idle connections in the end.
func (d *Dialer) Transport() *http.Transport {
	return &http.Transport{DialContext: d.DialContext, ForceAttemptHTTP2: true, MaxIdleConns: 256, MaxIdleConnsPerHost: 64,
		IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: d.cfg.Timeout, MaxResponseHeaderBytes: 64 << 10}
}

// check refuses an address, ip:port, that may not be reached.
func (d *Dialer) check(address string) error {
	const op = "dial upstream"
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return hansom.Errorf(hansom.Denied, op, "%s is no address of a server", address)
	}
	addr := to.Addr().Unmap().WithZone("")
	if nat64.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case in(never, addr):
		return hansom.Errorf(hansom.Denied, op, "%s cannot be reached: link-local addresses and metadata services never are", addr)
	case d.own(addr, to.Port()):
		return hansom.Errorf(hansom.Denied, op, "%s cannot be reached: it is this server's own api listener", address)
	case d.cfg.Public && !public(addr):
		return hansom.Errorf(hansom.Denied, op, "%s cannot be reached: it is not public, and this server is set to upstreams public", addr)
	}
	return nil
}

func public(addr netip.Addr) bool {
	if addr.Is4() {
		return !in(special, addr)
	}
	return public6.Contains(addr) && !in(special6, addr)
}

// own tells whether something is the server's own listener.
func (d *Dialer) own(addr netip.Addr, port uint16) bool {
	own := d.cfg.Own
	if !own.IsValid() || port != own.Port() {
		return false
	}
	if addr == own.Addr().Unmap() || addr.IsLoopback() {
		return true
	}
	if !own.Addr().IsUnspecified() {
		return false
	}
	local, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(local, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == addr
	})
}
