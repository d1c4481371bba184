package site

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Limits of the files of rules.
const (
	maxRules         = 256 << 10 // bytes of a file
	maxLine          = 2000      // bytes of a line
	maxStatic        = 2000      // redirects of one path each
	maxDynamic       = 100       // redirects with placeholders, splats or query parameters
	maxHeaderRules   = 100
	maxHeadersOfRule = 50
	maxFaults        = 5 // that an error tells of
)

const (
	redirectsFile = "_redirects"
	headersFile   = "_headers"
)

// redirect is a line of _redirects.
type redirect struct {
	from   *pattern
	query  []parameter // that must be there
	names  []string    // of all values
	to     string
	status int
	force  bool // also where there is a file
	local  bool // to is a path of the site
	order  int
}

// parameter of a query: its value is compared, or taken as the placeholder name.
type parameter struct{ key, value, name string }

// redirects are those of a site. The first line that matches counts.
type redirects struct {
	static  map[string]*redirect // by path without a slash at its end
	dynamic []*redirect
	forced  bool // there is one that goes before files
}

var statusPattern = regexp.MustCompile(`^[0-9]{3}!?$`)

// Fault is what is wrong with a line of _redirects or _headers.
type Fault struct {
	Line    int // counted from 1
	Message string
}

// Faults are those of one file.
type Faults struct {
	file string
	List []Fault
}

func (f *Faults) add(line int, format string, args ...any) {
	f.List = append(f.List, Fault{line, fmt.Sprintf(format, args...)})
}

// Error has a line for each of the first faults.
func (f *Faults) Error() string {
	var lines []string
	for _, one := range f.List[:min(len(f.List), maxFaults)] {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", f.file, one.Line, one.Message))
	}
	if more := len(f.List) - maxFaults; more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more", f.file, more))
	}
	return strings.Join(lines, "\n")
}

func (f *Faults) err() error {
	if len(f.List) == 0 {
		return nil
	}
	return f
}

// HasRules tells whether the file of a site at path is _redirects or _headers.
func HasRules(path string) bool { return path == redirectsFile || path == headersFile }

// CheckRules finds what is wrong with text, the file at a path that HasRules. Errors: *Faults.
func CheckRules(path string, text []byte) (err error) {
	switch {
	case len(text) > maxRules:
		return &Faults{path, []Fault{{1, fmt.Sprintf("the file has %d bytes; the limit is %d", len(text), maxRules)}}}
	case path == headersFile:
		_, err = parseHeaders(string(text))
	default:
		_, err = parseRedirects(string(text))
	}
	return err
}

// parseRedirects reads a _redirects file. Errors: *Faults.
func parseRedirects(text string) (*redirects, error) {
	f := &Faults{file: redirectsFile}
	out := &redirects{static: map[string]*redirect{}}
	n, static := 0, 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		n++
		if len(line) > maxLine {
			f.add(n, "the line has %d bytes; the limit is %d", len(line), maxLine)
			continue
		}
		fields := strings.Fields(line)
		for i, field := range fields {
			if strings.HasPrefix(field, "#") {
				fields = fields[:i]
				break
			}
		}
		if len(fields) == 0 {
			continue
		}
		r, err := parseRedirect(fields)
		if err != nil {
			f.add(n, "%s", err)
			continue
		}
		r.order = n
		out.forced = out.forced || r.force
		if !r.from.static() || len(r.query) > 0 {
			if out.dynamic = append(out.dynamic, r); len(out.dynamic) == maxDynamic+1 {
				f.add(n, "there are more than %d rules with placeholders, splats or query parameters", maxDynamic)
			}
			continue
		}
		if static++; static == maxStatic+1 {
			f.add(n, "there are more than %d rules", maxStatic)
		}
		path := trimSlash(r.from.literal)
		if first, ok := out.static[path]; ok && first.to == r.to && first.status == r.status && first.force == r.force {
			continue // /a and /a/
		} else if ok {
			f.add(n, "%s is the path of line %d too, which is the one that counts; remove one", fields[0], first.order)
			continue
		}
		out.static[path] = r
	}
	return out, f.err()
}

func parseRedirect(fields []string) (*redirect, error) {
	r := &redirect{status: http.StatusMovedPermanently}
	if strings.Contains(fields[0], "://") {
		return nil, fmt.Errorf("%s: rules for another host are not supported; write a path that begins with /", fields[0])
	}
	var err error
	if r.from, err = parsePattern(fields[0]); err != nil {
		return nil, err
	}
	r.names = append(r.names, r.from.names...)
	fields = fields[1:]
	for len(fields) > 0 && !strings.HasPrefix(fields[0], "/") && !strings.Contains(fields[0], "://") && strings.Contains(fields[0], "=") {
		key, value, _ := strings.Cut(fields[0], "=")
		p := parameter{key: key, value: value}
		if placeholder.FindString(value) == value && value != "" {
			p.name, p.value = value[1:], ""
			for _, name := range r.names {
				if name == p.name {
					return nil, fmt.Errorf("the placeholder :%s is there twice", name)
				}
			}
			r.names = append(r.names, p.name)
		}
		r.query = append(r.query, p)
		fields = fields[1:]
	}
	if len(fields) == 0 || statusPattern.MatchString(fields[0]) {
		return nil, errors.New("a rule needs a path or an address to go to: /from /to 301")
	}
	r.to, fields = fields[0], fields[1:]
	if err := r.checkTarget(); err != nil {
		return nil, err
	}
	if len(fields) > 0 && statusPattern.MatchString(fields[0]) {
		code, force := strings.CutSuffix(fields[0], "!")
		r.status, _ = strconv.Atoi(code) // three digits
		r.force, fields = force, fields[1:]
	}
	switch r.status {
	case 301, 302, 303, 307, 308:
	case 200, 404, 410:
		if !r.local {
			return nil, fmt.Errorf("status %d with an address of another server, a proxy, is not supported; use an API with an HTTP integration", r.status)
		}
	default:
		return nil, fmt.Errorf("status %d is not one of 200, 301, 302, 303, 307, 308, 404 and 410", r.status)
	}
	if len(fields) == 0 {
		return r, nil
	}
	if key, _, ok := strings.Cut(fields[0], "="); ok {
		return nil, fmt.Errorf("the condition %s= is not supported", key)
	}
	return nil, fmt.Errorf("%q is neither a status such as 301 nor a comment", fields[0])
}

func (r *redirect) checkTarget() error {
	if name := unknownName(r.to, r.names); name != "" && !strings.Contains(r.to, "://"+name) {
		return fmt.Errorf("%s takes %s, which the path does not have", r.to, name)
	}
	u, err := url.Parse(r.to)
	switch {
	case err != nil:
		return fmt.Errorf("%s is no path or address", r.to)
	case strings.HasPrefix(r.to, "/") && !strings.HasPrefix(r.to, "//"):
		r.local = true
		if path, _, _ := strings.Cut(r.to, "?"); strings.Contains(path, "*") {
			return fmt.Errorf("%s: write :splat for what the * took", r.to)
		}
		if _, ok := decodePath(u.EscapedPath()); !ok {
			return fmt.Errorf("%s has an escape or a character that no path of a file has", r.to)
		}
		return nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && !strings.Contains(u.Host, ":splat"):
		return nil
	}
	return fmt.Errorf("%s must be a path that begins with / or an address that begins with http:// or https://", r.to)
}

// find returns the first rule for a path, which begins with a slash; only those that go before files when forced.
func (rs *redirects) find(path string, query func() url.Values, forced bool) (*redirect, []string) {
	if rs == nil || forced && !rs.forced {
		return nil, nil
	}
	path = trimSlash(path)
	static := rs.static[path]
	if static != nil && forced && !static.force {
		static = nil
	}
	for _, r := range rs.dynamic {
		if static != nil && static.order < r.order {
			break
		}
		if forced && !r.force {
			continue
		}
		if values, ok := r.match(path, query); ok {
			return r, values
		}
	}
	return static, nil
}

func (r *redirect) match(path string, query func() url.Values) ([]string, bool) {
	values, ok := r.from.match(path)
	if !ok && r.from.splat { // /news/* is also for /news
		values, ok = r.from.match(path + "/")
	}
	if !ok && r.from.static() {
		ok = path == trimSlash(r.from.literal)
	}
	if !ok {
		return nil, false
	}
	for _, p := range r.query {
		have, ok := query()[p.key]
		switch {
		case !ok:
			return nil, false
		case p.name != "":
			values = append(values, have[0])
		case have[0] != p.value:
			return nil, false
		}
	}
	return values, true
}

// location is the address that a rule sends to. The query of the request goes on when the rule names none.
func (r *redirect) location(values []string, rawQuery string) string {
	to := fill(r.to, r.names, values, func(v string) string { return (&url.URL{Path: v}).EscapedPath() })
	if r.local && strings.HasPrefix(to, "//") { // what a splat took must not name another server
		to = "/" + strings.TrimLeft(to, "/")
	}
	return withQuery(to, rawQuery)
}

func withQuery(to, rawQuery string) string {
	if rawQuery == "" || strings.Contains(to, "?") {
		return to
	}
	before, fragment, ok := strings.Cut(to, "#")
	if ok {
		return before + "?" + rawQuery + "#" + fragment
	}
	return to + "?" + rawQuery
}

// path is the file that a rule of status 200, 404 or 410 shows, as a request would name it, without its first slash.
func (r *redirect) path(values []string) string {
	to, _, _ := strings.Cut(r.to, "?")
	to, _, _ = strings.Cut(to, "#")
	if decoded, ok := decodePath(to); ok {
		to = decoded
	}
	return strings.TrimLeft(fill(to, r.names, values, nil), "/")
}

// trimSlash takes the slash off the end of a path that is more than one.
func trimSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}
