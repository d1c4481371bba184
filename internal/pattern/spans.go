package pattern

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// point is a number or an address among its like.
type point struct{ high, low uint64 }

func (p point) compare(o point) int {
	return cmp.Or(cmp.Compare(p.high, o.high), cmp.Compare(p.low, o.low))
}

func ofNumber(n int64) point { return point{low: uint64(n) ^ 1<<63} }

// ofAddress puts the addresses of IPv4 among those of IPv6.
func ofAddress(a netip.Addr) point {
	b := a.As16()
	return point{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// span is a node of a tree of ranges, ordered by where they begin, then by where they end, that knows the furthest end below it. It is balanced
// as a heap by a hash (a treap).
type span struct {
	from, to    point
	last        point // the largest to, here and below
	left, right *span
	ends        []*state
}

func (n *span) compare(from, to point) int { return cmp.Or(from.compare(n.from), to.compare(n.to)) }

func (n *span) weight() uint64 {
	a, b := bits.Mul64(n.from.low^n.from.high^0x9e3779b97f4a7c15, n.to.low^bits.RotateLeft64(n.to.high, 32)^0xbf58476d1ce4e5b9)
	return a ^ b
}

// change adds the range to the tree or takes it out, and returns the root.
func (n *span) change(from, to point, s *state, add bool) *span {
	if n == nil {
		return &span{from: from, to: to, last: to, ends: []*state{s}}
	}
	switch c := n.compare(from, to); {
	case c < 0:
		if n.left = n.left.change(from, to, s, add); n.left != nil && n.left.weight() > n.weight() {
			up := n.left
			n.left, up.right = up.right, n
			n.update()
			n = up
		}
	case c > 0:
		if n.right = n.right.change(from, to, s, add); n.right != nil && n.right.weight() > n.weight() {
			up := n.right
			n.right, up.left = up.left, n
			n.update()
			n = up
		}
	default:
		if n.ends = put(n.ends, s, add); len(n.ends) == 0 {
			return concat(n.left, n.right)
		}
	}
	n.update()
	return n
}

func (n *span) update() {
	n.last = n.to
	for _, below := range []*span{n.left, n.right} {
		if below != nil && below.last.compare(n.last) > 0 {
			n.last = below.last
		}
	}
}

// concat makes one tree of two, all of whose ranges come before those of the other.
func concat(a, b *span) *span {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.weight() > b.weight():
		a.right = concat(a.right, b)
		a.update()
		return a
	}
	b.left = concat(a, b.left)
	b.update()
	return b
}

// within reaches the states of all ranges around p.
func (w *walk) within(n *span, p point) {
	for n != nil && p.compare(n.last) <= 0 {
		w.within(n.left, p)
		if p.compare(n.from) < 0 {
			return
		}
		if p.compare(n.to) <= 0 {
			w.reach(n.ends)
		}
		n = n.right
	}
}
