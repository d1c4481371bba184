package gateway

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/hansomcloud/hansom"
)

// router finds the route of a method and path: exact segments before parameters before greedy ones, a method before ANY.
type router struct{ root node }

type node struct {
	exact  map[string]*node
	param  *node
	greedy *node
	routes map[string]*route // by method
}

type route struct {
	hansom.Route
	key   string // "GET /messages/{id}"
	names []string
}

type param struct{ name, value string }

func newRouter(routes []hansom.Route) (router, error) {
	var r router
	for _, hr := range routes {
		path, ok := strings.CutPrefix(hr.Path, "/")
		if !ok {
			return r, fmt.Errorf("path %q does not begin with /", hr.Path)
		}
		rt := &route{Route: hr, key: hr.Method + " " + hr.Path}
		n := &r.root
		segments := strings.Split(path, "/")
		for i, s := range segments {
			name, isParam := strings.CutPrefix(s, "{")
			switch {
			case !isParam:
				if n.exact == nil {
					n.exact = map[string]*node{}
				}
				n = child(n.exact[s], func(c *node) { n.exact[s] = c })
				continue
			case strings.HasSuffix(s, "+}") && i == len(segments)-1:
				rt.names = append(rt.names, strings.TrimSuffix(name, "+}"))
				n = child(n.greedy, func(c *node) { n.greedy = c })
			case strings.HasSuffix(s, "}") && !strings.HasSuffix(s, "+}"):
				rt.names = append(rt.names, strings.TrimSuffix(name, "}"))
				n = child(n.param, func(c *node) { n.param = c })
			default:
				return r, fmt.Errorf("path %q: %q is neither {name} nor, at the end, {name+}", hr.Path, s)
			}
		}
		if n.routes == nil {
			n.routes = map[string]*route{}
		}
		if n.routes[hr.Method] != nil {
			return r, fmt.Errorf("route %q is there twice", rt.key)
		}
		n.routes[hr.Method] = rt
	}
	return r, nil
}

func child(n *node, set func(*node)) *node {
	if n == nil {
		n = &node{}
		set(n)
	}
	return n
}

// match takes a path as it stands in the request line. It returns nil when no route fits.
func (r *router) match(method, path string) (*route, []param) {
	path, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, nil
	}
	var values [16]string
	rt, n := r.root.match(method, path, values[:0])
	if rt == nil {
		return nil, nil
	}
	var params []param
	for i, name := range rt.names {
		params = append(params, param{name, unescape(n[i])})
	}
	return rt, params
}

func (n *node) match(method, path string, values []string) (*route, []string) {
	segment, rest, more := strings.Cut(path, "/")
	step := func(c *node, values []string) (*route, []string) {
		switch {
		case c == nil:
			return nil, nil
		case more:
			return c.match(method, rest, values)
		}
		return c.route(method), values
	}
	if rt, v := step(n.exact[unescape(segment)], values); rt != nil {
		return rt, v
	}
	if segment != "" {
		if rt, v := step(n.param, append(values, segment)); rt != nil {
			return rt, v
		}
	}
	if n.greedy != nil && path != "" {
		return n.greedy.route(method), append(values, path)
	}
	return nil, nil
}

func (n *node) route(method string) *route {
	if rt := n.routes[method]; rt != nil {
		return rt
	}
	return n.routes["ANY"]
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
