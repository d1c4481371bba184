// Package route finds the route of an HTTP API that answers a request: exact segments of the path before parameters before greedy
// ones, a method before ANY, "$default" when nothing else does.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
package route

import (
	"net/url"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Default is the key of the route that takes what no other does, and Any the method that stands for each.
const (
	Default = "$default"
	Any     = "ANY"
)

// maxDepth is the most parameters that are kept without an allocation while a path is looked at.
const maxDepth = 16

// Param is a parameter of a path. Raw is its value as it stands in the request line, Value the decoded one.
type Param struct{ Name, Value, Raw string }

// Router finds routes. It is never changed, and may be used by several goroutines.
type Router struct {
	root     node
	routes   []pattern
	fallback int // of $default; -1 without one
}

// pattern is one route.
type pattern struct {
	key    string
	method string
	names  []string
}

type node struct {
	exact  map[string]*node
	param  *node
	greedy *node
	routes map[string]int // by method
	any    int            // of ANY; -1 without one
}

// New returns a router of routes by their keys: "GET /pets/{id}", "ANY /{proxy+}", "$default". Match answers with the index of a key.
// Error: Invalid, for what is no key and for two that take the same requests.
func New(keys []string) (*Router, error) {
	r := &Router{root: node{any: -1}, fallback: -1}
	for i, key := range keys {
		method, path, err := Parse(key)
		if err != nil {
			return nil, err
		}
		p := pattern{key: key, method: method}
		if key == Default {
			if r.fallback >= 0 {
				return nil, twice(key, key)
			}
			r.fallback = i
			r.routes = append(r.routes, p)
			continue
		}
		n := &r.root
		for s := range strings.SplitSeq(path[1:], "/") {
			name, kind := segment(s)
			switch kind {
			case exact:
				if n.exact == nil {
					n.exact = map[string]*node{}
				}
				n.exact[s] = child(n.exact[s])
				n = n.exact[s]
				continue
			case greedy:
				n.greedy = child(n.greedy)
				n = n.greedy
			default:
				n.param = child(n.param)
				n = n.param
			}
			p.names = append(p.names, name)
		}
		if other := n.of(method); other >= 0 {
			return nil, twice(r.routes[other].key, key)
		}
		if method == Any {
			n.any = i
		} else {
			if n.routes == nil {
				n.routes = map[string]int{}
			}
			n.routes[method] = i
		}
		r.routes = append(r.routes, p)
	}
	return r, nil
}

func twice(a, b string) error {
	return hansom.Errorf(hansom.Invalid, "make routes", "the routes %q and %q take the same requests", a, b)
}

func child(n *node) *node {
	if n == nil {
		n = &node{any: -1}
	}
	return n
}

// of is the route of exactly a method; -1 without one.
func (n *node) of(method string) int {
	if method == Any {
		return n.any
	}
	if i, ok := n.routes[method]; ok {
		return i
	}
	return -1
}

// route is the one that answers a method; -1 without one.
func (n *node) route(method string) int {
	if i, ok := n.routes[method]; ok {
		return i
	}
	return n.any
}

type kind uint8

const (
	exact kind = iota
	param
	greedy
	wrong
)

// segment tells what a segment of a route's path is, and the name of the parameter.
func segment(s string) (name string, k kind) {
	inner, ok := strings.CutPrefix(s, "{")
	if !ok {
		if strings.ContainsAny(s, "{}") {
			return "", wrong
		}
		return "", exact
	}
	if inner, ok = strings.CutSuffix(inner, "}"); !ok {
		return "", wrong
	}
	k = param
	if rest, ok := strings.CutSuffix(inner, "+"); ok {
		inner, k = rest, greedy
	}
	if inner == "" || strings.ContainsAny(inner, "{}+") {
		return "", wrong
	}
	return inner, k
}

// Parse splits a route key into its method and its path; both are "" for "$default". Error: Invalid.
func Parse(key string) (method, path string, err error) {
	if key == Default {
		return "", "", nil
	}
	bad := func(why string) (string, string, error) {
		return "", "", hansom.Errorf(hansom.Invalid, "read route key", "%.200q is no route key: %s", key, why)
	}
	method, path, ok := strings.Cut(key, " ")
	if !ok {
		return bad(`write "METHOD /path" or "$default"`)
	}
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", Any:
	default:
		return bad("its method is one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS and ANY")
	}
	if !strings.HasPrefix(path, "/") {
		return bad("its path begins with /")
	}
	segments := strings.Split(path[1:], "/")
	seen := map[string]bool{}
	for i, s := range segments {
		name, k := segment(s)
		switch {
		case k == wrong, k == greedy && i < len(segments)-1:
			return bad("a parameter is a segment of its own, {name}, or at the end {name+}")
		case k != exact && seen[name]:
			return bad("the parameter " + name + " is there twice")
		}
		seen[name] = k != exact
	}
	return method, path, nil
}

// Key of the route with an index.
func (r *Router) Key(i int) string { return r.routes[i].key }

// Match returns the index of the route that answers, and the parameters in its path. The path is as it stands in the request line,
// without its query; segments are compared decoded, so that an encoded slash stands in a segment. A parameter matches no empty segment, and a
// slash at the end makes another path. i is -1 when there is no such route.
func (r *Router) Match(method, path string) (i int, params []Param) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return r.fallback, nil
	}
	var values [maxDepth]string
	i, raw := r.root.match(method, rest, values[:0])
	if i < 0 {
		return r.fallback, nil
	}
	return i, r.params(i, raw)
}

func (r *Router) params(i int, raw []string) []Param {
	names := r.routes[i].names
	if len(names) == 0 {
		return nil
	}
	params := make([]Param, len(names))
	for n, name := range names {
		params[n] = Param{name, unescape(raw[n]), raw[n]}
	}
	return params
}

func (n *node) match(method, path string, values []string) (int, []string) {
	segment, rest, more := strings.Cut(path, "/")
	if c := n.exact[unescape(segment)]; c != nil {
		if i, v := c.step(method, rest, more, values); i >= 0 {
			return i, v
		}
	}
	if n.param != nil && segment != "" {
		if i, v := n.param.step(method, rest, more, append(values, segment)); i >= 0 {
			return i, v
		}
	}
	if n.greedy != nil && path != "" {
		return n.greedy.route(method), append(values, path)
	}
	return -1, nil
}

// step goes on behind a segment.
func (n *node) step(method, rest string, more bool, values []string) (int, []string) {
	if more {
		return n.match(method, rest, values)
	}
	return n.route(method), values
}

func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
