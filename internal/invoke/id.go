package invoke

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	idSize    = 36
	traceSize = len("Root=1-65566a55-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=0")
	hexDigits = "0123456789abcdef"
)

// NewID returns a request id: a random UUID (RFC 9562, version 4). math/rand/v2's global source is ChaCha8, seeded by the
// system; ids are names and no secrets.
func NewID() string {
	var b [idSize]byte
	return string(appendID(b[:0]))
}

// identify gives inv a request id and a trace header (X-Ray, "Root=...;Parent=...;Sampled=0") where it has none, in one allocation.
func identify(inv *hansom.Invocation) {
	var array [idSize + traceSize]byte
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
