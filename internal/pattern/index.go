package pattern

import (
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// few is how many tests of a field are tried one by one. With more there are maps and trees.
const few = 8

// index leads from the values of a field to the states of the tests that they pass. It may take a value for one that passes, which
// is found out when the pattern is confirmed, but not the other way round.
type index struct {
	slot   int32
	count  int               // of states
	direct []way             // tests that are tried: those of anything-but, and all while they are few
	states map[string]*state // by key, when tests are more than a few
	absent []*state          // for when there is no value
	any    []*state          // for any value
	*tables
}

// way to a state.
type way struct {
	test *test
	to   *state
}

type tables struct {
	texts     map[string][]*state     // whole ones
	addresses map[netip.Addr][]*state // those that are written in several ways
	bare      map[string][]*state     // literals, and numbers that are too large to compare
	numbers   map[int64][]*state      // in millionths
	parts     texts                   // parts of texts
	folded    texts                   // texts and parts of them without regard to case
	ranges    *span                   // of numbers
	networks  *span
}

// state of the key, or nil.
func (x *index) state(key string) *state {
	if x.states != nil {
		return x.states[key]
	}
	for i := range x.direct {
		if x.direct[i].to.key == key {
			return x.direct[i].to
		}
	}
	return nil
}

// add has the tests lead to s.
func (x *index) add(tests []test, s *state, m *marks) {
	x.count++
	if x.tables == nil && len(x.direct)+len(tests) > few {
		x.tables, x.states = &tables{}, map[string]*state{}
		direct := x.direct
		x.direct = nil
		for _, w := range direct {
			x.states[w.to.key] = w.to
			if w.test.op != absent {
				x.change(w.test, w.to, m, true)
			}
		}
	}
	if x.states != nil {
		x.states[s.key] = s
	}
	for i := range tests {
		if tests[i].op == absent {
			x.absent = append(x.absent, s)
		}
		x.change(&tests[i], s, m, true)
	}
}

// remove ends what add began.
func (x *index) remove(tests []test, s *state, m *marks) {
	x.count--
	delete(x.states, s.key)
	for i := range tests {
		if tests[i].op == absent {
			x.absent = drop(x.absent, s)
		}
		x.change(&tests[i], s, m, false)
	}
}

// change adds or takes out what leads to s when t passes.
func (x *index) change(t *test, s *state, m *marks, add bool) {
	if x.tables == nil || t.op == isNone {
		if add {
			x.direct = append(x.direct, way{t, s})
		} else {
			x.direct = slices.DeleteFunc(x.direct, func(w way) bool { return w.to == s })
		}
		return
	}
	switch t.op {
	case isText:
		change(&x.texts, t.text, s, add)
		if t.from.IsValid() {
			change(&x.addresses, t.from, s, add)
		}
	case isLiteral:
		change(&x.bare, t.text, s, add)
	case isNumber:
		if t.exact {
			change(&x.bare, t.text, s, add)
		} else {
			change(&x.numbers, t.low, s, add)
		}
	case hasPrefix:
		x.parts.change([]string{t.text, ""}, s, m, add)
	case hasSuffix:
		x.parts.change([]string{"", t.text}, s, m, add)
	case isLike:
		x.parts.change(t.parts, s, m, add)
	case hasPrefixFold:
		x.folded.change([]string{fold(t.text), ""}, s, m, add)
	case hasSuffixFold:
		x.folded.change([]string{"", fold(t.text)}, s, m, add)
	case isFold:
		x.folded.change([]string{fold(t.text)}, s, m, add)
	case isBetween:
		x.ranges = x.ranges.change(ofNumber(t.low), ofNumber(t.high), s, add)
	case isWithin:
		x.networks = x.networks.change(ofAddress(t.from), ofAddress(t.to), s, add)
	case exists:
		x.any = put(x.any, s, add)
	}
}

func change[K comparable](m *map[K][]*state, key K, s *state, add bool) {
	if *m == nil {
		*m = map[K][]*state{}
	}
	if list := put((*m)[key], s, add); len(list) > 0 {
		(*m)[key] = list
	} else {
		delete(*m, key)
	}
}

func put(list []*state, s *state, add bool) []*state {
	if add {
		return append(list, s)
	}
	return drop(list, s)
}

// drop takes one v out of list.
func drop[T comparable](list []T, v T) []T {
	i := slices.Index(list, v)
	last := len(list) - 1
	var zero T
	list[i], list[last] = list[last], zero
	return list[:last]
}

// look goes from the event's values to the states behind x.
func (w *walk) look(x *index) {
	values := w.values[x.slot]
	if len(values) == 0 {
		return
	}
	w.reach(x.any)
	for i := range values {
		v := &values[i]
		for _, d := range x.direct {
			if w.been[d.to.mark] != w.event && d.test.holds(v) {
				w.been[d.to.mark] = w.event
				w.todo = append(w.todo, d.to)
			}
		}
		if x.tables == nil {
			continue
		}
		switch v.kind {
		case text:
			w.reach(x.texts[v.text])
			if v.address.IsValid() {
				w.reach(x.addresses[v.address])
				w.within(x.networks, ofAddress(v.address))
			}
			w.run(&x.parts, v.text)
			if x.folded.root != nil {
				w.run(&x.folded, fold(v.text))
			}
		case number:
			w.reach(x.bare[v.text])
			if v.scales {
				w.reach(x.numbers[v.scaled])
				w.within(x.ranges, ofNumber(v.scaled))
			}
		default:
			w.reach(x.bare[v.text])
		}
	}
}

// fold is the same for texts that strings.EqualFold takes for equal, and for no others.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			if 'a' <= r && r <= 'z' {
				r -= 'a' - 'A'
			}
			return r
		}
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, s)
}
