package pattern

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// operator of a test.
type operator uint8

const (
	isText operator = iota
	isNumber
	isLiteral
	hasPrefix
	hasSuffix
	hasPrefixFold // without regard to case
	hasSuffixFold
	isFold
	isLike    // with wildcards
	isBetween // numbers
	isWithin  // addresses
	isNone    // anything but the tests of a list
	exists
	absent
)

// test is what one element of a pattern's array asks of a value. It holds for a value at a time; absent alone is about the field.
type test struct {
	op                operator
	text              string   // of a number as it is written
	parts             []string // of isLike: what stands between the wildcards
	low, high         int64    // of isNumber and isBetween, in millionths
	openLow, openHigh bool     // the bound itself is left out
	exact             bool     // of isNumber: it is too large for low
	from, to          netip.Addr
	not               []test
}

// value is a text, number or literal of an event, and the elements of arrays that it is in.
type value struct {
	kind    kind
	text    string
	inside  []element
	scaled  int64 // of a number, in millionths
	scales  bool
	address netip.Addr // of a text, when it is one and a test needs it
}

// maxNumber is the largest amount that numbers are compared with; AWS compares to six digits behind the point.
const maxNumber = 5e9

// scale gives a number in millionths.
func scale(s string) (n int64, ok bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(f) > maxNumber {
		return 0, false
	}
	return int64(math.Round(f * 1e6)), true
}

// address reads an IP address in the forms that AWS takes for one.
func address(s string) netip.Addr {
	if len(s) < 2 || len(s) > 39 || strings.Trim(s, "0123456789abcdefABCDEF:.") != "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || strings.ContainsRune(s, ':') && strings.ContainsRune(s, '.') {
		return netip.Addr{}
	}
	return a
}

// holds says whether v passes.
func (t *test) holds(v *value) bool {
	switch t.op {
	case exists:
		return true
	case isLiteral:
		return v.kind == literal && v.text == t.text
	case isNumber:
		return v.kind == number && (v.text == t.text || v.scales && !t.exact && v.scaled == t.low)
	case isBetween:
		return v.kind == number && v.scales &&
			(v.scaled > t.low || v.scaled == t.low && !t.openLow) && (v.scaled < t.high || v.scaled == t.high && !t.openHigh)
	case isNone:
		for i := range t.not {
			if t.not[i].holds(v) {
				return false
			}
		}
		return true
	}
	if v.kind != text {
		return false
	}
	switch t.op {
	case isText:
		return v.text == t.text || t.from.IsValid() && v.address == t.from
	case hasPrefix:
		return strings.HasPrefix(v.text, t.text)
	case hasSuffix:
		return strings.HasSuffix(v.text, t.text)
	case hasPrefixFold:
		rest, n := v.text, utf8.RuneCountInString(t.text)
		for range n {
			_, size := utf8.DecodeRuneInString(rest)
			rest = rest[size:]
		}
		return strings.EqualFold(v.text[:len(v.text)-len(rest)], t.text)
	case hasSuffixFold:
		rest, n := v.text, utf8.RuneCountInString(t.text)
		for range n {
			_, size := utf8.DecodeLastRuneInString(rest)
			rest = rest[:len(rest)-size]
		}
		return strings.EqualFold(v.text[len(rest):], t.text)
	case isFold:
		return strings.EqualFold(v.text, t.text)
	case isLike:
		return like(v.text, t.parts)
	case isWithin:
		return v.address.IsValid() && v.address.BitLen() == t.from.BitLen() && t.from.Compare(v.address) <= 0 && v.address.Compare(t.to) <= 0
	}
	return false
}

// like says whether s is the parts in their order, with anything between them.
func like(s string, parts []string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
