package payload

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// scanObject calls member with the unescaped key and the raw value of each member of a JSON object. It checks as much of the
// syntax as it needs to find their ends.
func scanObject(b []byte, member func(key, value []byte) error) error {
	return scan(b, '{', '}', member)
}

// scanArray calls element with each raw element of a JSON array.
func scanArray(b []byte, element func(value []byte) error) error {
	return scan(b, '[', ']', func(_, value []byte) error { return element(value) })
}

func scan(b []byte, opening, closing byte, item func(key, value []byte) error) error {
	b = space(b)
	if len(b) == 0 || b[0] != opening {
		return errResponse
	}
	b = space(b[1:])
	if len(b) > 0 && b[0] == closing {
		return nil
	}
	for {
		var key []byte
		if opening == '{' {
			n := stringEnd(b)
			if n == 0 {
				return errResponse
			}
			key = b[1 : n-1]
			if bytes.IndexByte(key, '\\') >= 0 {
				var s string
				if json.Unmarshal(b[:n], &s) != nil {
					return errResponse
				}
				key = []byte(s)
			}
			b = space(b[n:])
			if len(b) == 0 || b[0] != ':' {
				return errResponse
			}
			b = space(b[1:])
		}
		n := valueEnd(b)
		if n == 0 {
			return errResponse
		}
		if err := item(key, b[:n]); err != nil {
			return err
		}
		b = space(b[n:])
		if len(b) == 0 {
			return errResponse
		}
		switch b[0] {
		case closing:
			return nil
		case ',':
			b = space(b[1:])
		default:
			return errResponse
		}
	}
}

func space(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// stringEnd is the length of the JSON string at the front of b, its quotes included; 0 when there is none.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return 0
		}
		i += j + 1
		backslashes := 0
		for k := i - 2; k > 0 && b[k] == '\\'; k-- {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i
		}
	}
	return 0
}

// valueEnd is the length of the JSON value at the front of b; 0 when there is none.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); {
		switch c := b[i]; c {
		case '"':
			n := stringEnd(b[i:])
			if n == 0 {
				return 0
			}
			i += n
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth == 0 {
				return 0
			}
			depth--
			i++
		case ',', ':', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return 0
			}
			i++
			continue
		default: // a number or a literal
			start := i
			for i < len(b) && bytes.IndexByte([]byte(",:{}[]\" \n\r\t"), b[i]) < 0 {
				i++
			}
			if i == start {
				return 0
			}
		}
		if depth == 0 {
			return i
		}
	}
	return 0
}

// unquote decodes a JSON string in place where it can: the bytes of b are not valid afterwards.
func unquote(b []byte) ([]byte, error) {
	if stringEnd(b) != len(b) {
		return nil, errResponse
	}
	in := b[1 : len(b)-1]
	r := bytes.IndexByte(in, '\\')
	if r < 0 {
		return in, nil
	}
	out := in[:r]
	for i := r; i < len(in); {
		if in[i] != '\\' {
			next := bytes.IndexByte(in[i:], '\\')
			if next < 0 {
				next = len(in) - i
			}
			out = append(out, in[i:i+next]...)
			i += next
			continue
		}
		if i+1 >= len(in) {
			return nil, errResponse
		}
		switch c := in[i+1]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'u':
			u, n := escapedRune(in[i:])
			if n == 0 {
				return nil, errResponse
			}
			out = utf8.AppendRune(out, u)
			i += n
			continue
		default:
			return nil, errResponse
		}
		i += 2
	}
	return out, nil
}

// escapedRune decodes \uXXXX, or a pair of them for a rune outside the basic plane; a lone surrogate becomes U+FFFD.
func escapedRune(b []byte) (r rune, n int) {
	high, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if high < 0xd800 || high > 0xdfff {
		return high, 6
	}
	if low, ok := hex4(b[6:]); ok && high < 0xdc00 && low >= 0xdc00 && low <= 0xdfff {
		return 0x10000 + (high-0xd800)<<10 + (low - 0xdc00), 12
	}
	return utf8.RuneError, 6
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
