package site

import (
	"fmt"
	"regexp"
	"strings"
)

// pattern is the path of a rule in _redirects or _headers: text, with placeholders that take an element each (/:year/:slug), and one
// splat (*) that takes any rest.
type pattern struct {
	literal string         // all of it, or what comes before the splat
	splat   bool           // a splat at the end, and no placeholder
	expr    *regexp.Regexp // of a pattern that is more than that
	names   []string       // of what match returns, "splat" among them
}

var placeholder = regexp.MustCompile(`:[A-Za-z][A-Za-z0-9_]*`)

// parsePattern reads one that begins with a slash.
func parsePattern(s string) (*pattern, error) {
	if !strings.HasPrefix(s, "/") {
		return nil, fmt.Errorf("%q does not begin with /", s)
	}
	path, ok := decodePattern(s)
	if !ok {
		return nil, fmt.Errorf("%q has an escape or a character that no path of a file has", s)
	}
	p := &pattern{}
	var expr strings.Builder
	plain := true
	for i, e := range strings.Split(path, "/") {
		if i > 0 {
			expr.WriteString("/")
		}
		if strings.HasPrefix(e, ":") && placeholder.FindString(e) == e {
			p.names = append(p.names, e[1:])
			expr.WriteString("([^/]+)")
			plain = false
			continue
		}
		before, after, star := strings.Cut(e, "*")
		expr.WriteString(regexp.QuoteMeta(before))
		if star {
			p.names = append(p.names, "splat")
			expr.WriteString("(.*)" + regexp.QuoteMeta(after))
		}
		if strings.Contains(after, "*") {
			return nil, fmt.Errorf("%q has more than one *", s)
		}
	}
	seen := map[string]bool{}
	for _, name := range p.names {
		switch {
		case seen[name] && name == "splat":
			return nil, fmt.Errorf("%q has more than one *", s)
		case seen[name]:
			return nil, fmt.Errorf("%q has the placeholder :%s twice", s, name)
		}
		seen[name] = true
	}
	p.literal, _, p.splat = strings.Cut(path, "*")
	if !plain || p.splat && !strings.HasSuffix(path, "*") {
		p.splat = false
		p.expr = regexp.MustCompile("^" + expr.String() + "$") // all of it is quoted
	}
	return p, nil
}

// decodePattern is decodePath of a pattern, with its slash.
func decodePattern(s string) (string, bool) {
	path, ok := decodePath(s)
	return "/" + path, ok
}

// static says that it matches one path only.
func (p *pattern) static() bool { return !p.splat && p.expr == nil }

// match returns what the placeholders and the splat took of a path that begins with a slash.
func (p *pattern) match(path string) (values []string, ok bool) {
	switch {
	case p.expr != nil:
		m := p.expr.FindStringSubmatch(path)
		if m == nil {
			return nil, false
		}
		return m[1:], true
	case !p.splat:
		return nil, path == p.literal
	}
	rest, ok := strings.CutPrefix(path, p.literal)
	if !ok {
		return nil, false
	}
	return []string{rest}, true
}

// fill puts values in the place of the names in a text; escape is applied to each, nil for none.
func fill(text string, names, values []string, escape func(string) string) string {
	if len(names) == 0 {
		return text
	}
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		for i, n := range names {
			if n == name[1:] && i < len(values) {
				if escape != nil {
					return escape(values[i])
				}
				return values[i]
			}
		}
		return name
	})
}

// unknownName is the first placeholder of a text that is none of names; "" when there is none.
func unknownName(text string, names []string) string {
next:
	for _, name := range placeholder.FindAllString(text, -1) {
		for _, n := range names {
			if n == name[1:] {
				continue next
			}
		}
		return name
	}
	return ""
}
