package hansom

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

const (
	idSize    = 36
	hexDigits = "0123456789abcdef"
)

// NewID returns a random lower-case UUID (RFC 9562, version 4), as request ids and revision ids are. The source is
// math/rand/v2's, ChaCha8 seeded by the system: ids are names and no secrets.
func NewID() string {
	var b [idSize]byte
	return string(appendID(b[:0]))
}

// Identify gives inv a request id and a trace header ("Root=...;Parent=...;Sampled=0", AWS X-Ray) where it has none, in one
// allocation.
func (inv *Invocation) Identify() {
	var array [idSize + 80]byte
	b := array[:0]
	if inv.ID == "" {
		b = appendID(b)
	}
	n := len(b)
	if inv.Trace == "" {
		b = appendTrace(b, time.Now())
	}
	if len(b) == 0 {
		return
	}
	s := string(b)
	if inv.ID == "" {
		inv.ID = s[:n]
	}
	if inv.Trace == "" {
		inv.Trace = s[n:]
	}
}

func appendID(b []byte) []byte {
	var r [16]byte
	binary.LittleEndian.PutUint64(r[:], rand.Uint64())
	binary.LittleEndian.PutUint64(r[8:], rand.Uint64())
	r[6] = r[6]&0x0f | 0x40
	r[8] = r[8]&0x3f | 0x80
	for i, x := range r {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hexDigits[x>>4], hexDigits[x&15])
	}
	return b
}

func appendTrace(b []byte, now time.Time) []byte {
	b = append(b, "Root=1-"...)
	b = appendHex(b, uint64(now.Unix()), 8)
	b = append(b, '-')
	b = appendHex(b, rand.Uint64(), 16)
	b = appendHex(b, rand.Uint64(), 8)
	b = append(b, ";Parent="...)
	b = appendHex(b, rand.Uint64(), 16)
	return append(b, ";Sampled=0"...)
}

// appendHex appends the last digits digits of x.
func appendHex(b []byte, x uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, hexDigits[x>>(4*i)&15])
	}
	return b
}
