// Package route finds the route of an HTTP API that answers a request: exact segments of the path before parameters before greedy
// ones, a method before ANY, "$default" when nothing else does.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
package route

import (
	"hash/maphash"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Default is the key of the route that takes what no other does, and Any the method that stands for each.
const (
	Default = "$default"
	Any     = "ANY"
)

// maxDepth is the most parameters that are kept without an allocation while a path is looked at.
const maxDepth = 8

// Param is a parameter of a path. Raw is its value as it stands in the request line, Value the decoded one.
type Param struct{ Name, Value, Raw string }

// Router finds routes. It is never changed, and may be used by several goroutines. What it looks at stands close together: with many of them, memory is what routing
// waits for.
type Router struct {
	fallback int32 // of $default; -1 without one
	nodes    []node
	edges    []edge // a hash table for each node
	routes   []pattern
}

// pattern is one route.
type pattern struct {
	key    string
	method string
	names  []string
}

// node is a place in the tree of paths.
type node struct {
	table, mask   int32 // the exact segments that go on from here: edges[table:table+mask+1]; mask is -1 without any
	param, greedy int32 // nodes; -1 for none
	any           int32 // route of ANY; -1 for none
	methods       [methods]int16
}

type edge struct {
	segment string
	child   int32 // 0 is no edge: that of the root would be one to itself
}

const methods = 7

// method numbers the methods that routes have; -1 for others.
func method(name string) int {
	switch name {
	case "GET":
		return 0
	case "HEAD":
		return 1
	case "POST":
		return 2
	case "PUT":
		return 3
	case "PATCH":
		return 4
	case "DELETE":
		return 5
	case "OPTIONS":
		return 6
	}
	return -1
}

// maxRoutes is the most routes of a Router.
const maxRoutes = 1<<15 - 1

// New returns a router of routes by their keys: "GET /pets/{id}", "ANY /{proxy+}", "$default". Match answers with the index of a key.
// Error: Invalid, for what is no key and for two that take the same requests.
func New(keys []string) (*Router, error) {
	if len(keys) > maxRoutes {
		return nil, hansom.Errorf(hansom.Invalid, "make routes", "%d routes are more than %d", len(keys), maxRoutes)
	}
	b := builder{router: &Router{fallback: -1, routes: make([]pattern, 0, len(keys))}}
	b.node()
	all := strings.Join(keys, "\n")
	for i := range keys {
		key := all[:len(keys[i])]
		all = strings.TrimPrefix(all[len(key):], "\n")
		if err := b.add(int32(i), key); err != nil {
			return nil, err
		}
	}
	return b.finish(), nil
}

// builder makes a Router.
type builder struct {
	router *Router
	exact  []map[string]int32 // by node
}

func (b *builder) node() int32 {
	n := node{mask: -1, param: -1, greedy: -1, any: -1}
	for i := range n.methods {
		n.methods[i] = -1
	}
	b.router.nodes, b.exact = append(b.router.nodes, n), append(b.exact, nil)
	return int32(len(b.router.nodes) - 1)
}

func (b *builder) add(i int32, key string) error {
	r := b.router
	name, path, err := Parse(key)
	if err != nil {
		return err
	}
	p := pattern{key: key, method: name}
	if key == Default {
		if r.fallback >= 0 {
			return twice(key, key)
		}
		r.fallback = i
		r.routes = append(r.routes, p)
		return nil
	}
	at := int32(0)
	for s := range strings.SplitSeq(path[1:], "/") {
		param, kind := segment(s)
		if kind != exact {
			p.names = append(p.names, param)
		}
		at = b.child(at, s, kind)
	}
	n := &r.nodes[at]
	was := n.any
	if name == Any {
		n.any = i
	} else {
		was, n.methods[method(name)] = int32(n.methods[method(name)]), int16(i)
	}
	if was >= 0 {
		return twice(r.routes[was].key, key)
	}
	r.routes = append(r.routes, p)
	return nil
}

// child is the node behind a segment.
func (b *builder) child(at int32, s string, k kind) int32 {
	switch n := &b.router.nodes[at]; k {
	case param:
		if n.param < 0 {
			c := b.node()
			b.router.nodes[at].param = c
		}
		return b.router.nodes[at].param
	case greedy:
		if n.greedy < 0 {
			c := b.node()
			b.router.nodes[at].greedy = c
		}
		return b.router.nodes[at].greedy
	}
	c, ok := b.exact[at][s]
	if !ok {
		c = b.node()
		if b.exact[at] == nil {
			b.exact[at] = map[string]int32{}
		}
		b.exact[at][s] = c
	}
	return c
}

// finish makes the hash tables, which are at most half full.
func (b *builder) finish() *Router {
	r := b.router
	for i, segments := range b.exact {
		if len(segments) == 0 {
			continue
		}
		size := 1
		for size < 2*len(segments) && len(segments) > 1 {
			size *= 2
		}
		n := &r.nodes[i]
		n.table, n.mask = int32(len(r.edges)), int32(size-1)
		r.edges = append(r.edges, make([]edge, size)...)
		for _, s := range slices.Sorted(maps.Keys(segments)) {
			for at := hash(s); ; at++ {
				if e := &r.edges[n.table+int32(at)&n.mask]; e.child == 0 {
					*e = edge{s, segments[s]}
					break
				}
			}
		}
	}
	r.nodes, r.edges = slices.Clip(r.nodes), slices.Clip(r.edges)
	return r
}

// seed of the hash tables: those of a process have the same.
var seed = maphash.MakeSeed()

func hash(s string) uint32 { return uint32(maphash.String(seed, s)) }

// exact is the node behind an exact segment; -1 without one.
func (r *Router) exact(n *node, segment string) int32 {
	if n.mask < 0 {
		return -1
	}
	if n.mask == 0 {
		if e := &r.edges[n.table]; e.segment == segment {
			return e.child
		}
		return -1
	}
	for at, tried := hash(segment), int32(0); tried <= n.mask; at, tried = at+1, tried+1 {
		e := &r.edges[n.table+int32(at)&n.mask]
		if e.child == 0 {
			break
		}
		if e.segment == segment {
			return e.child
		}
	}
	return -1
}

func twice(a, b string) error {
	return hansom.Errorf(hansom.Invalid, "make routes", "the routes %q and %q take the same requests", a, b)
}

// route is the one that answers a method, by its number; -1 without one.
func (n *node) route(method int) int {
	if method >= 0 && n.methods[method] >= 0 {
		return int(n.methods[method])
	}
	return int(n.any)
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
// without its query; segments are compared decoded, so that an encoded slash stands in a segment. A parameter matches no empty segment, but
// a greedy one what is behind a slash at the end, other than that of the root. Such a slash makes another path. i is -1 when there is no such route.
func (r *Router) Match(name, path string) (i int, params []Param) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return int(r.fallback), nil
	}
	m := match{router: r, method: method(name)}
	if i = m.from(0, rest, 0); i < 0 {
		return int(r.fallback), nil
	}
	return i, r.params(i, &m)
}

// match is a look for a route: the parameters on the way to where it is.
type match struct {
	router *Router
	method int
	values [maxDepth]string
	more   []string // behind values
}

// set notes the value of parameter number n.
func (m *match) set(n int, value string) {
	if n < maxDepth {
		m.values[n] = value
		return
	}
	m.more = append(m.more[:n-maxDepth], value)
}

func (m *match) value(n int) string {
	if n < maxDepth {
		return m.values[n]
	}
	return m.more[n-maxDepth]
}

func (r *Router) params(i int, m *match) []Param {
	names := r.routes[i].names
	if len(names) == 0 {
		return nil
	}
	params := make([]Param, len(names))
	for n, name := range names {
		raw := m.value(n)
		params[n] = Param{name, unescape(raw), raw}
	}
	return params
}

// from looks for a route from a node on, which n parameters lead to.
func (m *match) from(at int32, path string, n int) int {
	here := &m.router.nodes[at]
	segment, rest, more := strings.Cut(path, "/")
	if c := m.router.exact(here, unescape(segment)); c >= 0 {
		if i := m.step(c, rest, more, n); i >= 0 {
			return i
		}
	}
	if here.param >= 0 && segment != "" {
		m.set(n, segment)
		if i := m.step(here.param, rest, more, n+1); i >= 0 {
			return i
		}
	}
	if here.greedy >= 0 && (path != "" || at != 0) { // at 0 that is the root itself
		m.set(n, path)
		return m.router.nodes[here.greedy].route(m.method)
	}
	return -1
}

// step goes on behind a segment.
func (m *match) step(at int32, rest string, more bool, n int) int {
	if more {
		return m.from(at, rest, n)
	}
	return m.router.nodes[at].route(m.method)
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
