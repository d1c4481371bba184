package edge

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Proxies are the addresses of proxies that are believed what they say about the client of a request.
type Proxies []netip.Prefix

// ParseProxies reads blocks of addresses and single ones: "10.0.0.0/8", "127.0.0.1", "fd00::/8".
func ParseProxies(list []string) (Proxies, error) {
	var p Proxies
	for _, s := range list {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			addr, err := netip.ParseAddr(s)
			if err != nil || addr.Zone() != "" {
				return nil, hansom.Errorf(hansom.Invalid, "read trusted proxies", "%q is no address and no block of addresses such as 10.0.0.0/8", s)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Addr().Is4In6() || prefix != prefix.Masked() {
			return nil, hansom.Errorf(hansom.Invalid, "read trusted proxies", "%q is no block of addresses: write %s", s, prefix.Masked())
		}
		p = append(p, prefix)
	}
	return p, nil
}

func (p Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// hop is what one proxy says about the request that it got; "" for what it does not say.
type hop struct{ client, proto, host string }

// forwardedNames are the headers in which proxies say it. No handler sees them: anyone can write them.
var forwardedNames = [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto"}

// overTLS and nothing more is known of a connection to a proxy.
var overTLS = &tls.ConnectionState{}

// forward takes the client's address, the scheme and the host from what trusted proxies say: r.RemoteAddr, r.TLS (not nil: https)
// and r.Host are as they were where the request entered the first of them. The client is the rightmost address that is no trusted
// proxy. What others say is removed.
func (p Proxies) forward(r *http.Request) {
	if len(p) > 0 {
		if peer, ok := parseNode(r.RemoteAddr); ok && p.trust(peer.Addr()) {
			p.believe(r, peer)
		}
	}
	for _, name := range forwardedNames {
		delete(r.Header, name)
	}
}

func (p Proxies) believe(r *http.Request, client netip.AddrPort) {
	hops := xForwarded(r.Header)
	if hops == nil { // a proxy that knows these alone passes a Forwarded of its client on
		hops = parseForwarded(r.Header["Forwarded"])
	}
	said := hop{}
	for _, h := range slices.Backward(hops) {
		if h.proto != "" {
			said.proto = h.proto
		}
		if h.host != "" {
			said.host = h.host
		}
		addr, ok := parseNode(h.client)
		if !ok {
			break // "unknown", or a name that hides it
		}
		client, said.client = addr, h.client
		if !p.trust(addr.Addr()) {
			break
		}
	}
	if said.client != "" {
		r.RemoteAddr = client.String()
	}
	switch {
	case strings.EqualFold(said.proto, "http"):
		r.TLS = nil
	case strings.EqualFold(said.proto, "https") && r.TLS == nil:
		r.TLS = overTLS
	}
	if said.host != "" && plainHost(said.host) {
		r.Host = said.host
	}
}

// xForwarded reads the X-Forwarded headers; nil when there is none. Of lists that are not as long as that of addresses the last
// value counts, which the nearest proxy has written.
func xForwarded(h http.Header) []hop {
	clients, protos, hosts := list(h["X-Forwarded-For"]), list(h["X-Forwarded-Proto"]), list(h["X-Forwarded-Host"])
	if len(protos)+len(hosts) > 0 && len(clients) == 0 {
		clients = []string{""}
	}
	var hops []hop
	for i, c := range clients {
		said := hop{client: c}
		for _, v := range []struct {
			to   *string
			from []string
		}{{&said.proto, protos}, {&said.host, hosts}} {
			switch {
			case len(v.from) == len(clients):
				*v.to = v.from[i]
			case len(v.from) > 0:
				*v.to = v.from[len(v.from)-1]
			}
		}
		hops = append(hops, said)
	}
	return hops
}

// list splits the values of a header that is a list.
func list(values []string) []string {
	var all []string
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(part))
		}
	}
	return all
}

// parseForwarded reads Forwarded headers (RFC 7239 section 4); nil when they are malformed.
func parseForwarded(values []string) []hop {
	var hops []hop
	for _, v := range values {
		for {
			var h hop
			var ok bool
			if h, v, ok = parseHop(v); !ok {
				return nil
			}
			hops = append(hops, h)
			if v == "" {
				break
			}
			v = v[1:] // the comma
		}
	}
	return hops
}

// parseHop reads one element of a Forwarded header; rest begins with the comma behind it.
func parseHop(s string) (h hop, rest string, ok bool) {
	for {
		s = strings.TrimLeft(s, " \t")
		i := strings.IndexAny(s, "=;,")
		if i >= 0 && s[i] == '=' {
			name, value := s[:i], ""
			if !token(name) {
				return h, "", false
			}
			if value, s, ok = parseValue(s[i+1:]); !ok {
				return h, "", false
			}
			switch {
			case strings.EqualFold(name, "for"):
				h.client = value
			case strings.EqualFold(name, "proto"):
				h.proto = value
			case strings.EqualFold(name, "host"):
				h.host = value
			}
		}
		s = strings.TrimLeft(s, " \t")
		switch {
		case s == "" || s[0] == ',':
			return h, s, true
		case s[0] != ';':
			return h, "", false
		}
		s = s[1:]
	}
}

// parseValue reads a token or a quoted string (RFC 9110 sections 5.6.2 and 5.6.4).
func parseValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ";, \t")
		if end < 0 {
			end = len(s)
		}
		// A node with a colon or a bracket must be quoted, but some that write it do not.
		return s[:end], s[end:], end > 0 && !strings.Contains(s[:end], `"`)
	}
	var text strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return text.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		text.WriteByte(s[i])
	}
	return "", "", false
}

// parseNode reads an address with or without a port: "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80".
// The port is 0 without one.
func parseNode(s string) (netip.AddrPort, bool) {
	node, err := netip.ParseAddrPort(s)
	if err != nil {
		if inner, ok := strings.CutPrefix(s, "["); ok {
			if s, ok = strings.CutSuffix(inner, "]"); !ok {
				return netip.AddrPort{}, false
			}
		}
		if len(s) > 64 { // an error would carry it
			return netip.AddrPort{}, false
		}
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.AddrPort{}, false
		}
		node = netip.AddrPortFrom(addr, 0)
	}
	return netip.AddrPortFrom(node.Addr().Unmap().WithZone(""), node.Port()), true
}
