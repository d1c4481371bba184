// Package network connects sandboxes of the linux driver with the internet: a veth pair and an address for each, and packet
// filter rules in a table of the server's own that let through what goes to public addresses and what answers it, and refuse all else.
//
// A server makes nothing on the host before the first sandbox needs it. What it makes carries the server's id: the interfaces
// "h<id><number>", the nftables table "hansom-<id>", and a blackhole route over the block of addresses that it has taken.
package network

import "net/netip"

// Config of a Network.
type Config struct {
	// Range is what the addresses of sandboxes are from: each server on a host takes a block of it that nobody has, /18 or, of a
	// smaller range, a sixteenth.
	Range netip.Prefix
	// Refuse are the destinations that no packet reaches. The host's own addresses and those of Range never are reached.
	Refuse []netip.Prefix
	// Allow are exceptions to Refuse.
	Allow []netip.Prefix
}

// DefaultRange lies in the shared address space of RFC 6598, which is for networks between a host and the internet.
var DefaultRange = netip.MustParsePrefix("100.64.0.0/10")

// blockBits is the length of a server's block's prefix.
func (c *Config) blockBits() int { return max(18, min(c.Range.Bits()+4, 28)) }

// Limits of one sandbox, so that none fills the host's table of connections.
const (
	MaxConnections = 1024 // open at once
	ConnectionRate = 200  // new ones in a second
	connectionTide = 1000 // new ones at once
)
