package payload

import (
	"strings"
	"unicode/utf8"
)

// AppendField appends ,"name":"value"; name needs no escaping.
func AppendField(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":`...)
	return AppendString(b, value)
}

// AppendJoined appends values as one string, with commas between.
func AppendJoined(b []byte, values []string) []byte {
	if len(values) == 1 {
		return AppendString(b, values[0])
	}
	return AppendString(b, strings.Join(values, ","))
}

// AppendLower appends a header name in lower case as a JSON string; header names need no escaping.
func AppendLower(b []byte, name string) []byte {
	b = append(b, '"')
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// AppendString appends s as a JSON string (RFC 8259 section 7); bytes that are no UTF-8 become U+FFFD.
func AppendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size != 1 {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, "\ufffd"...)
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
