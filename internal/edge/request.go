package edge

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

const (
	maxHead    = 8 << 10  // bytes of a request line and headers
	maxBody    = 64 << 10 // bytes
	maxHeaders = 100
)

// request is the head of a request that net/http would read in the same way. Its strings share memory with the text it was read
// from, header and values are used again for the next.
type request struct {
	method, target, host string
	url                  *url.URL
	header               http.Header
	length               int64 // of the body; -1 without a Content-Length
	close                bool  // after the answer

	values []string
}

// parse reads a head: all up to the empty line, each line with its CRLF. It returns false for everything out of the ordinary, good
// or bad: other versions, transfer encodings, upgrades, expectations, repeated or odd framing headers, any byte that two readers
// might take differently. That is left to net/http, which reads it again from the start.
func (r *request) parse(head string) bool {
	if r.header == nil {
		r.header = http.Header{}
	}
	clear(r.header)
	r.values = r.values[:0]
	r.host, r.length, r.close = "", -1, false

	line, rest, ok := strings.Cut(head, "\r\n")
	if !ok {
		return false
	}
	if r.method, line, ok = strings.Cut(line, " "); !ok || !known(r.method) {
		return false
	}
	if r.target, ok = strings.CutSuffix(line, " HTTP/1.1"); !ok || !plainTarget(r.target) {
		return false
	}
	if r.url = parseTarget(r.target); r.url == nil {
		return false
	}
	var err error
	connection := false
	for n := 0; rest != ""; n++ {
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok || n == maxHeaders {
			return false
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return false
		}
		value = strings.Trim(value, " \t")
		if !plain(value) {
			return false
		}
		switch name = textproto.CanonicalMIMEHeaderKey(name); name {
		case "Host":
			if r.host != "" || !plainHost(value) {
				return false
			}
			r.host = value
			continue
		case "Content-Length":
			if r.length >= 0 || !digits(value) {
				return false
			}
			if r.length, err = strconv.ParseInt(value, 10, 64); err != nil || r.length > maxBody {
				return false
			}
		case "Connection":
			if connection {
				return false
			}
			connection = true
			r.close = strings.EqualFold(value, "close")
			if !r.close && !strings.EqualFold(value, "keep-alive") {
				return false
			}
		case "Transfer-Encoding", "Upgrade", "Expect", "Trailer", "Te", "Pragma", "Http2-Settings":
			return false
		}
		r.values = append(r.values, value)
		if others := r.header[name]; others != nil {
			r.header[name] = append(others, value)
		} else {
			i := len(r.values)
			r.header[name] = r.values[i-1 : i : i]
		}
	}
	return r.host != ""
}

func known(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// plainTarget accepts the origin form (RFC 9112 section 3.2.1) in visible ASCII.
func plainTarget(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#' {
			return false
		}
	}
	return true
}

// parseTarget is url.ParseRequestURI for a plain target; nil is its error. A path that escapes nothing is taken as it is.
func parseTarget(s string) *url.URL {
	path, query, asks := strings.Cut(s, "?")
	for i := range len(path) {
		if !pathBytes[path[i]] {
			u, err := url.ParseRequestURI(s)
			if err != nil {
				return nil
			}
			return u
		}
	}
	return &url.URL{Path: path, RawQuery: query, ForceQuery: asks && query == ""}
}

// pathBytes are those of a path that stand for themselves: unreserved ones and sub-delims that url.URL does not escape.
var pathBytes = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@") {
		t[c] = true
	}
	return t
}()

// token is that of RFC 9110 section 5.6.2, which header names are.
func token(s string) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokens = func() (t [256]bool) {
	for c := '0'; c <= 'z'; c++ {
		t[c] = c <= '9' || c >= 'a' || c >= 'A' && c <= 'Z'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// plain accepts visible ASCII, space and tab.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\t' {
			return false
		}
	}
	return true
}

func plainHost(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return validHost(s)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 10
}
