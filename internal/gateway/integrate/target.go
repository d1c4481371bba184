package integrate

import (
	"net/url"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/mapping"
)

// target is a URL with parameters of the route's path in it.
type target struct {
	scheme, host string
	user         *url.Userinfo
	path, query  []piece
}

// piece is a text, or a parameter's place.
type piece struct{ text, name string } // one of them is ""

// parseTarget reads the URI of an HTTP integration: http or https, with {name} or {name+} in its path and its query, and ${stageVariables.name} anywhere.
func parseTarget(uri string, stage map[string]string) (*target, error) {
	bad := func(why string) error {
		return hansom.Errorf(hansom.Invalid, op, "the URI %.200q of an HTTP integration %s", uri, why)
	}
	v, err := mapping.ParseValue(uri)
	if err != nil {
		return nil, bad("has a variable that is not known: ${stageVariables.NAME} is the only one")
	}
	text, _ := v.Get(&mapping.Input{Stage: stage})
	if v.NeedsRequest() {
		return nil, bad("has a variable that is not known: ${stageVariables.NAME} is the only one")
	}
	text, fragment, _ := strings.Cut(text, "#")
	scheme, rest, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" || fragment != "" {
		return nil, bad("is no URL: write http://HOST/PATH or https://HOST/PATH")
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	u, err := url.Parse(scheme + "://" + rest[:end])
	if err != nil || u.Host == "" || strings.ContainsAny(rest[:end], "{}") {
		return nil, bad("has no valid host")
	}
	path, query, _ := strings.Cut(rest[end:], "?")
	t := &target{scheme: scheme, host: u.Host, user: u.User}
	if t.path, ok = pieces(path); !ok {
		return nil, bad("has a { without its }")
	}
	if t.query, ok = pieces(query); !ok {
		return nil, bad("has a { without its }")
	}
	return t, nil
}

func pieces(s string) (list []piece, ok bool) {
	for s != "" {
		before, rest, found := strings.Cut(s, "{")
		if strings.Contains(before, "}") {
			return nil, false
		}
		if before != "" {
			list = append(list, piece{text: before})
		}
		if !found {
			break
		}
		name, after, ended := strings.Cut(rest, "}")
		if name = strings.TrimSuffix(name, "+"); !ended || name == "" || strings.Contains(name, "{") {
			return nil, false
		}
		list, s = append(list, piece{name: name}), after
	}
	return list, true
}

// url is where a request goes. path, escaped, takes the place of the target's own when it is not ""; query is the request's. Error: Invalid, for a path that leads out
// of where it begins.
func (t *target) url(c *Call, query string) (*url.URL, error) {
	var b strings.Builder
	for _, p := range t.path {
		if p.name == "" {
			b.WriteString(clean(p.text))
			continue
		}
		if raw, ok := c.In.Raw(p.name); ok {
			if climbs(raw) {
				return nil, errClimbs
			}
			b.WriteString(clean(raw))
		}
	}
	path := b.String()
	if c.Path != "" {
		if path = clean(c.Path); climbs(c.Path) {
			return nil, errClimbs
		}
	}
	if path == "" {
		path = "/"
	}
	b.Reset()
	for _, p := range t.query {
		if p.name == "" {
			b.WriteString(p.text)
		} else if s, ok := c.In.Param(p.name); ok {
			b.WriteString(url.QueryEscape(s))
		}
	}
	if b.Len() > 0 && query != "" {
		b.WriteByte('&')
	}
	b.WriteString(query)
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	return &url.URL{Scheme: t.scheme, Host: t.host, User: t.user, Path: plain, RawPath: path, RawQuery: b.String()}, nil
}

var errClimbs = hansom.Errorf(hansom.Invalid, "make upstream request", "the path has . or .. as a segment")

// climbs tells whether a path has a segment . or .., with slashes of any kind, encoded or not.
func climbs(raw string) bool {
	plain, err := url.PathUnescape(raw)
	if err != nil {
		plain = raw
	}
	for s := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

// clean encodes what may not stand in a path, and leaves what is encoded.
func clean(s string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		ok := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0 ||
			c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])
		switch {
		case ok && b != nil:
			b = append(b, c)
		case !ok:
			if b == nil {
				b = append(b, s[:i]...)
			}
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
