package pattern

import (
	"cmp"
	"slices"
)

// texts is an automaton for what texts begin and end with and are like: a tree of bytes, and behind a wildcard a step that stays.
type texts struct{ root *step }

// step is how far texts have passed.
type step struct {
	next []edge // by byte
	star *step  // where a wildcard leads
	mark int32  // of what a wildcard leads to: it stays for whatever follows
	ends []*state
}

type edge struct {
	b  byte
	to *step
}

// change adds a text of parts with wildcards between them, or takes it out.
func (a *texts) change(parts []string, s *state, m *marks, add bool) {
	if a.root == nil {
		a.root = &step{}
	}
	if a.root.change(parts[0], parts[1:], s, m, add) {
		a.root = nil
	}
}

// change goes on with the rest of a part and the further parts. It says whether nothing is left here.
func (n *step) change(part string, parts []string, s *state, m *marks, add bool) (empty bool) {
	switch {
	case part != "":
		i, found := n.find(part[0])
		if !found {
			n.next = slices.Insert(n.next, i, edge{part[0], &step{}})
		}
		if n.next[i].to.change(part[1:], parts, s, m, add) {
			n.next = slices.Delete(n.next, i, i+1)
		}
	case len(parts) > 0:
		if n.star == nil {
			n.star = &step{mark: m.take()}
		}
		if n.star.change(parts[0], parts[1:], s, m, add) {
			m.give(n.star.mark)
			n.star = nil
		}
	default:
		n.ends = put(n.ends, s, add)
	}
	return len(n.next) == 0 && n.star == nil && len(n.ends) == 0
}

func (n *step) find(b byte) (int, bool) {
	if len(n.next) == 1 {
		c := n.next[0].b
		if c < b {
			return 1, false
		}
		return 0, c == b
	}
	return slices.BinarySearchFunc(n.next, b, func(e edge, b byte) int { return cmp.Compare(e.b, b) })
}

// run reaches what a text passes.
func (w *walk) run(a *texts, s string) {
	if a.root == nil {
		return
	}
	w.epoch++
	w.loops, w.next = w.loops[:0], w.next[:0]
	w.enter(a.root)
	for i := 0; i < len(s) && len(w.next)+len(w.loops) > 0; i++ {
		w.active, w.next = w.next, w.active[:0]
		stay := len(w.loops) // what is entered now is for the bytes after this one
		for _, n := range w.active {
			w.follow(n, s[i])
		}
		for _, n := range w.loops[:stay] {
			w.follow(n, s[i])
		}
	}
	for _, n := range w.next {
		w.reach(n.ends)
	}
}

func (w *walk) follow(n *step, b byte) {
	if i, found := n.find(b); found {
		w.enter(n.next[i].to)
	}
}

// enter goes on at n, and behind the wildcard that n has: with whatever follows.
func (w *walk) enter(n *step) {
	w.next = append(w.next, n)
	if star := n.star; star != nil && w.been[star.mark] != w.epoch {
		w.been[star.mark] = w.epoch
		w.reach(star.ends)
		if len(star.next) > 0 {
			w.loops = append(w.loops, star)
		}
	}
}
