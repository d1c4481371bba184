package route

import "strings"

// Candidate is a route whose path fits a request.
type Candidate struct {
	Key    string
	Index  int
	Params []Param
	Chosen bool
	Reason string // why it was chosen, or why not
}

// Explanation says how the route of a request was found.
type Explanation struct {
	Method, Path string
	Index        int         // of the chosen route; -1 when there is none
	Candidates   []Candidate // in the order in which they are asked
	Reason       string      // of the decision, in a sentence
}

// Explain does what Match does, and says why.
func (r *Router) Explain(method, path string) Explanation {
	e := Explanation{Method: method, Path: path, Index: -1}
	if rest, ok := strings.CutPrefix(path, "/"); ok {
		m := &match{router: r}
		m.visit(0, rest, 0, func(n *node) {
			for _, i := range n.methods {
				if i >= 0 {
					e.add(r, int(i), m)
				}
			}
			if n.any >= 0 {
				e.add(r, int(n.any), m)
			}
		})
	}
	if r.fallback >= 0 {
		e.add(r, int(r.fallback), nil)
	}
	for i := range e.Candidates {
		c := &e.Candidates[i]
		m := r.routes[c.Index].method
		switch {
		case m != "" && m != Any && m != method:
			c.Reason = "its method is " + m
		case e.Index >= 0:
			c.Reason = "less specific than " + r.routes[e.Index].key
			if _, p, _ := strings.Cut(r.routes[e.Index].key, " "); m == Any && strings.HasSuffix(c.Key, " "+p) {
				c.Reason = "a route for the method goes before ANY"
			}
		default:
			e.Index, c.Chosen, c.Reason = c.Index, true, r.why(c.Index)
		}
	}
	switch {
	case e.Index >= 0:
		e.Reason = r.routes[e.Index].key + " answers: " + r.why(e.Index)
	case len(e.Candidates) > 0:
		e.Reason = "no route answers: those that fit the path have other methods"
	default:
		e.Reason = "no route answers: none fits the path"
	}
	return e
}

func (e *Explanation) add(r *Router, i int, m *match) {
	e.Candidates = append(e.Candidates, Candidate{Key: r.routes[i].key, Index: i, Params: r.params(i, m)})
}

// why says what made a route the chosen one.
func (r *Router) why(i int) string {
	p := &r.routes[i]
	switch {
	case p.key == Default:
		return "it takes what no other route does"
	case strings.HasSuffix(p.key, "+}"):
		return "nothing more specific than its greedy parameter fits"
	case len(p.names) > 0:
		return "its path fits with parameters, and no route fits more exactly"
	case p.method == Any:
		return "its path is the request's, and no route has the method"
	}
	return "its method and its path are the request's"
}

// visit calls found for each node where the path ends, in the order in which from asks them.
func (m *match) visit(at int32, path string, n int, found func(*node)) {
	here := &m.router.nodes[at]
	segment, rest, more := strings.Cut(path, "/")
	step := func(at int32, n int) {
		switch {
		case at < 0:
		case more:
			m.visit(at, rest, n, found)
		default:
			found(&m.router.nodes[at])
		}
	}
	step(m.router.exact(here, unescape(segment)), n)
	if segment != "" {
		m.set(n, segment)
		step(here.param, n+1)
	}
	if here.greedy >= 0 && (path != "" || at != 0) {
		m.set(n, path)
		found(&m.router.nodes[here.greedy])
	}
}
