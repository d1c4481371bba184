package site

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// requestPath is the path that a request asks for, decoded and without its first slash. ok is false for what names no file in one way only: an
// escape that is none, an encoded slash, a backslash, a control character, "." and "..", bytes that are not UTF-8.
func requestPath(r *http.Request) (path string, ok bool) {
	raw := r.RequestURI
	if !strings.HasPrefix(raw, "/") { // the absolute form
		raw = r.URL.EscapedPath()
	}
	raw, _, _ = strings.Cut(raw, "?")
	return decodePath(raw)
}

func decodePath(raw string) (path string, ok bool) {
	if !strings.HasPrefix(raw, "/") {
		return "", false
	}
	path = raw[1:]
	if strings.IndexByte(path, '%') >= 0 {
		if path, ok = unescape(path); !ok {
			return "", false
		}
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f || c == '\\':
			return "", false
		case c == '.' && (i == 0 || path[i-1] == '/') && dots(path[i:]):
			return "", false
		}
	}
	return path, utf8.ValidString(path)
}

// dots tells whether an element begins here that is "." or "..".
func dots(s string) bool {
	s = strings.TrimPrefix(s[1:], ".")
	return s == "" || s[0] == '/'
}

// unescape decodes a path. An encoded slash would be an element's end for some and not for others.
func unescape(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			high, ok1 := digit(s[i+1])
			low, ok2 := digit(s[i+2])
			c = high<<4 | low
			if !ok1 || !ok2 || c == '/' {
				return "", false
			}
			i += 2
		}
		b = append(b, c)
	}
	return string(b), true
}

func digit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// hidden tells whether a path has an element that begins with a dot, other than .well-known at the top.
func hidden(path string) bool {
	path = strings.TrimPrefix(path, ".well-known/")
	return strings.HasPrefix(path, ".") || strings.Contains(path, "/.")
}
