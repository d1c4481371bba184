package site

import (
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// headerRule is what _headers says of the paths of a pattern.
type headerRule struct {
	from   *pattern
	set    []headerValue
	remove []string
}

type headerValue struct {
	name, value string
	filled      bool // the value has placeholders
}

// ownHeaders are those that follow from the request and the file. What a rule would say of them could only be wrong.
var ownHeaders = map[string]bool{
	"Accept-Ranges": true, "Age": true, "Allow": true, "Alt-Svc": true, "Connection": true, "Content-Encoding": true, "Content-Length": true,
	"Content-Range": true, "Date": true, "Etag": true, "Keep-Alive": true, "Last-Modified": true, "Location": true, "Server": true, "Set-Cookie": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Vary": true, "Basic-Auth": true,
}

// parseHeaders reads a _headers file. Errors: *Faults.
func parseHeaders(text string) ([]*headerRule, error) {
	f := &Faults{file: headersFile}
	var out []*headerRule
	var rule *headerRule // nil before the first, and after one that is wrong
	n, empty := 0, 0     // line, and that of a path below which no header has come
	end := func() {
		if rule != nil && empty > 0 {
			f.add(empty, "the path has no headers; write them below it, with spaces before them")
		}
	}
	skip := false
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		n++
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		length := len(line)
		line = strings.TrimSpace(line)
		switch {
		case length > maxLine:
			empty = 0
			f.add(n, "the line has %d bytes; the limit is %d", length, maxLine)
		case line == "" || strings.HasPrefix(line, "#"):
		case !indented:
			end()
			rule, skip, empty = nil, false, n
			if strings.Contains(line, "://") {
				f.add(n, "%s: rules for a host are not supported; write a path that begins with /", line)
				skip = true
				continue
			}
			p, err := parsePattern(line)
			if err != nil {
				f.add(n, "%s", err)
				skip = true
				continue
			}
			rule = &headerRule{from: p}
			if out = append(out, rule); len(out) == maxHeaderRules+1 {
				f.add(n, "there are more than %d rules", maxHeaderRules)
			}
		case skip:
		case rule == nil:
			f.add(n, "a header comes before the first path")
		default:
			empty = 0
			rule.line(f, n, line)
		}
	}
	end()
	return out, f.err()
}

// line reads a header of a rule.
func (r *headerRule) line(f *Faults, n int, line string) {
	if len(r.set)+len(r.remove) == maxHeadersOfRule {
		f.add(n, "a path has more than %d headers", maxHeadersOfRule)
		return
	}
	if name, ok := strings.CutPrefix(line, "!"); ok {
		if name = strings.TrimSpace(name); !httpguts.ValidHeaderFieldName(name) {
			f.add(n, "%q is no name of a header", name)
			return
		}
		r.remove = append(r.remove, textproto.CanonicalMIMEHeaderKey(name))
		return
	}
	name, value, ok := strings.Cut(line, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch {
	case !ok:
		f.add(n, "%q is no header; write Name: value", line)
		return
	case !httpguts.ValidHeaderFieldName(name):
		f.add(n, "%q is no name of a header", name)
		return
	case !httpguts.ValidHeaderFieldValue(value):
		f.add(n, "the value of %s has a character that no header has", name)
		return
	case ownHeaders[textproto.CanonicalMIMEHeaderKey(name)]:
		f.add(n, "%s cannot be set: the server does that, or does not support it", name)
		return
	}
	used := unknownName(value, nil) != "" && len(r.from.names) > 0
	r.set = append(r.set, headerValue{textproto.CanonicalMIMEHeaderKey(name), value, used})
}

// applyHeaders does what the rules for a path say, in their order. What several say of one header is joined; it takes the place of what
// the server would say by itself.
func applyHeaders(rules []*headerRule, h http.Header, path string) {
	set := map[string]bool{}
	for _, r := range rules {
		values, ok := r.from.match(path)
		if !ok {
			continue
		}
		for _, name := range r.remove {
			h.Del(name)
			delete(set, name)
		}
		for _, v := range r.set {
			value := v.value
			if v.filled {
				value = fill(value, r.from.names, values, headerSafe)
			}
			if set[v.name] {
				value = h.Get(v.name) + ", " + value
			}
			set[v.name] = true
			h[v.name] = []string{value}
		}
	}
}

// headerSafe is a part of a path as a header's value may have it.
func headerSafe(s string) string {
	if httpguts.ValidHeaderFieldValue(s) {
		return s
	}
	return ""
}
