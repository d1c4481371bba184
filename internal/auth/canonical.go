package auth

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// pathForm is a way to write the path of a canonical request. Clients differ for paths with "//", "." or "..".
type pathForm uint8

const (
	pathEncoded    pathForm = iota // as AWS: S3 encodes the decoded path once; all others encode what was sent once more
	pathNormalised                 // others: with dot segments and double slashes removed first (botocore, JavaScript)
	pathAsSent                     // S3: exactly what was sent
)

// forms lists the path forms to try when the usual one does not match.
func forms(r *http.Request, service string) []pathForm {
	if service == "s3" {
		return []pathForm{pathAsSent}
	}
	if p := r.URL.Path; strings.Contains(p, "//") || strings.Contains(p, "/.") {
		return []pathForm{pathNormalised}
	}
	return nil
}

// appendCanonical appends the canonical request (Signature Version 4, "create a canonical request").
func appendCanonical(dst []byte, r *http.Request, g *signature, form pathForm, payload string) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, '\n')
	dst = appendPath(dst, r, g.service, form)
	dst = append(dst, '\n')
	dst = appendQuery(dst, r.URL.RawQuery, g.presigned)
	dst = append(dst, '\n')
	for list := g.signedHeaders; list != ""; {
		var name string
		name, list, _ = strings.Cut(list, ";")
		dst = append(dst, name...)
		dst = append(dst, ':')
		dst = appendHeader(dst, r, name)
		dst = append(dst, '\n')
	}
	dst = append(dst, '\n')
	dst = append(dst, g.signedHeaders...)
	dst = append(dst, '\n')
	return append(dst, payload...)
}

func appendPath(dst []byte, r *http.Request, service string, form pathForm) []byte {
	path := r.URL.EscapedPath()
	switch {
	case form == pathAsSent:
		return append(dst, path...)
	case form == pathNormalised:
		path = normalise(path)
	case service == "s3":
		path = r.URL.Path
	}
	if path == "" {
		return append(dst, '/')
	}
	return appendEscaped(dst, path, true)
}

// normalise removes empty, "." and ".." segments and keeps a final slash.
func normalise(path string) string {
	var kept []string
	for _, part := range strings.Split(path, "/") {
		switch part {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, part)
		}
	}
	out := "/" + strings.Join(kept, "/")
	if strings.HasSuffix(path, "/") && out != "/" {
		out += "/"
	}
	return out
}

// appendQuery appends the canonical query: each name and value decoded and encoded again, then sorted.
func appendQuery(dst []byte, raw string, presigned bool) []byte {
	if raw == "" {
		return dst
	}
	type pair struct{ from, equals, to int } // name is [from:equals], value [equals+1:to]
	var space [16]pair
	pairs, start := space[:0], len(dst)
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if presigned && name == "X-Amz-Signature" {
			continue
		}
		p := pair{from: len(dst)}
		dst = appendRecoded(dst, name)
		p.equals = len(dst)
		dst = append(dst, '=')
		dst = appendRecoded(dst, value)
		p.to = len(dst)
		pairs = append(pairs, p)
	}
	if len(pairs) == 0 {
		return dst
	}
	text := dst
	order := func(a, b pair) int {
		if c := bytes.Compare(text[a.from:a.equals], text[b.from:b.equals]); c != 0 {
			return c
		}
		return bytes.Compare(text[a.equals:a.to], text[b.equals:b.to])
	}
	if !slices.IsSortedFunc(pairs, order) {
		slices.SortFunc(pairs, order)
	}
	// The sorted query is built behind the unsorted one and moved over it.
	sorted := len(dst)
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, dst[p.from:p.to]...)
	}
	n := copy(dst[start:], dst[sorted:])
	return dst[:start+n]
}

// appendRecoded decodes a part of a query ("+" is a space) and encodes it as Signature Version 4 does. A "%" that begins no
// escape stands for itself.
func appendRecoded(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s):
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		dst = appendByte(dst, c, false)
	}
	return dst
}

func appendEscaped(dst []byte, s string, slash bool) []byte {
	for i := 0; i < len(s); i++ {
		dst = appendByte(dst, s[i], slash)
	}
	return dst
}

// appendByte appends c as it is when RFC 3986 leaves it unreserved (or slash is set and it is one), else as %XX.
func appendByte(dst []byte, c byte, slash bool) []byte {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/' && slash:
		return append(dst, c)
	}
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendHeader appends the values of a header, trimmed, with runs of spaces made one, joined by commas.
func appendHeader(dst []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return appendTrimmed(dst, r.Host)
	case "content-length":
		if len(r.Header["Content-Length"]) == 0 && r.ContentLength >= 0 {
			return strconv.AppendInt(dst, r.ContentLength, 10)
		}
	case "transfer-encoding":
		return append(dst, strings.Join(r.TransferEncoding, ",")...)
	}
	for i, v := range values(r.Header, name) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTrimmed(dst, v)
	}
	return dst
}

func appendTrimmed(dst []byte, v string) []byte {
	v = strings.TrimSpace(v)
	if !strings.Contains(v, "  ") {
		return append(dst, v...)
	}
	for i := 0; i < len(v); i++ {
		if v[i] != ' ' || v[i-1] != ' ' {
			dst = append(dst, v[i])
		}
	}
	return dst
}

// values looks up a header by its lower-case name without allocating the canonical one.
func values(h http.Header, name string) []string {
	var buf [64]byte
	if len(name) > len(buf) {
		return h[textproto.CanonicalMIMEHeaderKey(name)]
	}
	upper := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i], upper = c, c == '-'
	}
	return h[string(buf[:len(name)])]
}

// unsigned returns the first header of AWS's that the signature does not cover: whoever could add one could change what the
// request means (S3: "headers present in the request which were not signed").
func unsigned(r *http.Request, g *signature) string {
	for name := range r.Header {
		if len(name) < 6 || !strings.EqualFold(name[:6], "x-amz-") {
			continue
		}
		if g.presigned && name == "X-Amz-Content-Sha256" {
			continue // says no more than the body does, and is checked against it
		}
		if !listsFold(g.signedHeaders, name) {
			return name
		}
	}
	return ""
}

func listsFold(list, name string) bool {
	for list != "" {
		var part string
		if part, list, _ = strings.Cut(list, ";"); len(part) == len(name) && strings.EqualFold(part, name) {
			return true
		}
	}
	return false
}
