// Package egress says which addresses functions may reach, and answers when they look names up.
package egress

import (
	"net/netip"
	"slices"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/upstream"
)

// special are the blocks of version 4 that are not public.
var special = upstream.Special4()

// never are those of special that no exception can open: this host, its links with the metadata services there, and what is no
// single machine's.
var never = prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// Policy says which addresses functions with egress to the internet may reach. The zero Policy is for public addresses alone.
type Policy struct{ allow []netip.Prefix }

// NewPolicy makes a Policy with exceptions, which are blocks of version 4. Errors: Invalid, also for what can never be reached.
func NewPolicy(allow []string) (Policy, error) {
	var p Policy
	for _, text := range allow {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() {
			return p, hansom.Errorf(hansom.Invalid, "allow egress", "%q is not a block of IPv4 addresses such as 10.1.2.0/24", text)
		}
		for _, n := range never {
			if n.Overlaps(prefix) {
				return p, hansom.Errorf(hansom.Invalid, "allow egress", "%s cannot be allowed: functions never reach %s", prefix, n)
			}
		}
		p.allow = append(p.allow, prefix)
	}
	return p, nil
}

// Refuse are the blocks of addresses that functions may not reach, and Allow the exceptions.
func (p Policy) Refuse() []netip.Prefix { return slices.Clone(special) }
func (p Policy) Allow() []netip.Prefix  { return slices.Clone(p.allow) }

// Allows reports whether functions may reach addr. Those of version 6 they may not.
func (p Policy) Allows(addr netip.Addr) bool {
	if !addr.Is4() {
		return false
	}
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	return in(p.allow) || !in(special)
}
