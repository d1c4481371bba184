package network

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// addresses hands out those of a block. The first and the last stay unused: the first is what sandboxes call their gateway. One that
// was given back rests until renew.
type addresses struct {
	block netip.Prefix

	mu      sync.Mutex
	next    uint32 // offset of the first that nobody has had
	free    []uint32
	resting []uint32
}

func newAddresses(block netip.Prefix) *addresses { return &addresses{block: block, next: 1} }

func (a *addresses) size() uint32 { return 1 << (32 - a.block.Bits()) }

func (a *addresses) get() (offset uint32, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next < a.size()-1 {
		a.next++
		return a.next - 1, true
	}
	if len(a.free) == 0 {
		return 0, false
	}
	offset, a.free = a.free[0], a.free[1:]
	return offset, true
}

func (a *addresses) put(offset uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.resting = append(a.resting, offset)
}

// rested takes those that rest.
func (a *addresses) rested() []uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	rested := a.resting
	a.resting = nil
	return rested
}

// renew makes addresses free again.
func (a *addresses) renew(offsets []uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, offsets...)
}

func (a *addresses) at(offset uint32) netip.Addr { return plus(a.block.Addr(), offset) }

func plus(addr netip.Addr, offset uint32) netip.Addr {
	b := addr.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+offset)
	return netip.AddrFrom4(b)
}
