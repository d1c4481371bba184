package pattern

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Set finds which of many patterns match an event. The zero value is ready; several goroutines may use it, and matching goes on beside changes.
//
// All patterns are one automaton. A state stands for what some fields of an event have passed, and has for each further field an index from
// values to the states behind it; a pattern is a path through states whose end says that it may match, which the pattern itself then confirms
// (it knows which elements of arrays may be used together). The fields of a pattern are asked in the order of how much they rule out: values first, then
// what texts begin, end or are like, ranges, and negations (anything-but, exists, no test at all) last. So an event costs what its own values reach,
// not what there is: of patterns that cannot match, only those whose fields before the one that fails all pass are met. A test of
// anything-but is tried for each event that gets as far, because most events pass it: patterns that consist of negations are tried one by one.
type Set struct {
	mu    sync.RWMutex
	paths paths
	root  state
	rules map[string]*rule
	marks marks
	walks sync.Pool // of *walk
}

// rule is a pattern of a Set. It does not change.
type rule struct {
	id       string
	mark     int32
	branches []branch
}

// state of the automaton.
type state struct {
	key    string // tells it from others behind the same index: the tests that lead to it, as test.append writes them
	mark   int32
	uses   int      // paths of branches through it
	fields []*index // in the order of their slots
	absent []*index // those of fields that have a test for absence
	ends   []goal
}

// goal is a branch of a rule whose path ends at a state.
type goal struct {
	rule   *rule
	branch int
}

// marks are numbers for what a walk notes that it has been there.
type marks struct {
	next int32
	free []int32
}

func (m *marks) take() int32 {
	if n := len(m.free); n > 0 {
		mark := m.free[n-1]
		m.free = m.free[:n-1]
		return mark
	}
	m.next++
	return m.next
}

func (m *marks) give(mark int32) { m.free = append(m.free, mark) }

// maxSplit is up to how many paths a pattern may take through the automaton so that each test is a step of its own, which patterns share whatever else
// they list. Beyond it the tests of a field lead to one state together, which only patterns with the same list share.
const maxSplit = 64

// Add has p reported as id. It replaces what was added as id before.
func (s *Set) Add(id string, p *Pattern) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(id)
	r := &rule{id: id, mark: s.marks.take()}
	for i := range p.branches {
		r.branches = append(r.branches, s.paths.take(p.branches[i].fields))
	}
	if s.rules == nil {
		s.rules = map[string]*rule{}
	}
	s.rules[id] = r
	s.change(r, true)
}

// Remove takes out what was added as id.
func (s *Set) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(id)
}

func (s *Set) remove(id string) {
	r := s.rules[id]
	if r == nil {
		return
	}
	delete(s.rules, id)
	s.change(r, false)
	for i := range r.branches {
		s.paths.give(&r.branches[i])
	}
	s.marks.give(r.mark)
}

// change adds the paths of a rule or takes them out.
func (s *Set) change(r *rule, add bool) {
	for i := range r.branches {
		b := &r.branches[i]
		order := make([]int, len(b.fields))
		for j := range order {
			order[j] = j
		}
		slices.SortStableFunc(order, func(i, j int) int {
			x, y := b.fields[i].tests, b.fields[j].tests
			return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(len(x), len(y)))
		})
		s.path(&s.root, goal{r, i}, order, max(1, maxSplit/len(r.branches)), add)
	}
}

// path adds or takes out what is below a state for the fields of order, split into so many paths at the most.
func (s *Set) path(at *state, e goal, order []int, split int, add bool) {
	if len(order) == 0 {
		if add {
			at.ends = append(at.ends, e)
		} else {
			at.ends = drop(at.ends, e)
		}
		return
	}
	b := &e.rule.branches[e.branch]
	tests := b.fields[order[0]].tests
	x, found := at.index(b.slots[order[0]])
	if !found {
		x = &index{slot: b.slots[order[0]]}
		i, _ := at.place(x.slot)
		at.fields = slices.Insert(at.fields, i, x)
	}
	step := func(tests []test, split int) {
		var key []byte
		for i := range tests {
			key = tests[i].append(key)
		}
		next := x.state(string(key))
		if next == nil {
			next = &state{key: string(key), mark: s.marks.take()}
			x.add(tests, next, &s.marks)
		}
		if add {
			next.uses++
		} else {
			next.uses--
		}
		s.path(next, e, order[1:], split, add)
		if next.uses == 0 {
			x.remove(tests, next, &s.marks)
			s.marks.give(next.mark)
		}
	}
	if n := len(tests); n <= split {
		for i := range tests {
			step(tests[i:i+1], split/n)
		}
	} else {
		step(tests, split)
	}
	if had := slices.Contains(at.absent, x); had != (len(x.absent) > 0) {
		if had {
			at.absent = drop(at.absent, x)
		} else {
			at.absent = append(at.absent, x)
		}
	}
	if x.count == 0 {
		i, _ := at.place(x.slot)
		at.fields = slices.Delete(at.fields, i, i+1)
	}
}

// place is where the index of a slot is in fields, or would be.
func (s *state) place(slot int32) (int, bool) {
	return slices.BinarySearchFunc(s.fields, slot, func(x *index, slot int32) int { return cmp.Compare(x.slot, slot) })
}

func (s *state) index(slot int32) (*index, bool) {
	i, found := s.place(slot)
	if !found {
		return nil, false
	}
	return s.fields[i], true
}

// rank orders fields by how few values pass.
func rank(tests []test) (n int) {
	for i := range tests {
		t := &tests[i]
		of := 0
		switch t.op {
		case isFold:
			of = 1
		case hasPrefix, hasSuffix, hasPrefixFold, hasSuffixFold, isLike:
			of = 2
			if t.text == "" && strings.Join(t.parts, "") == "" {
				of = 5
			}
		case isWithin:
			of = 3
		case isBetween:
			of = 4
		case exists:
			of = 5
		case isNone, absent:
			of = 6
		}
		n = max(n, of)
	}
	return n
}

// append writes a test so that tests that are written alike pass alike.
func (t *test) append(b []byte) []byte {
	b = append(b, byte(t.op))
	switch t.op {
	case isBetween:
		b = binary.BigEndian.AppendUint64(b, uint64(t.low))
		b = binary.BigEndian.AppendUint64(b, uint64(t.high))
		b = append(b, strconv.FormatBool(t.openLow)[0], strconv.FormatBool(t.openHigh)[0])
	case isWithin:
		b = append(b, t.from.String()...)
		b = append(b, '-')
		b = append(b, t.to.String()...)
	case isLike:
		b = binary.AppendUvarint(b, uint64(len(t.parts)))
		for _, part := range t.parts {
			b = binary.AppendUvarint(b, uint64(len(part)))
			b = append(b, part...)
		}
	case isNone:
		b = binary.AppendUvarint(b, uint64(len(t.not)))
		for i := range t.not {
			b = t.not[i].append(b)
		}
	default:
		b = append(b, strconv.FormatBool(t.from.IsValid())[0])
		b = binary.AppendUvarint(b, uint64(len(t.text)))
		b = append(b, t.text...)
	}
	return b
}

// walk is one event's way through the automaton.
type walk struct {
	reader
	epoch  uint64   // of the latest event, or text of it
	event  uint64   // the epoch of the event
	been   []uint64 // by mark: the epoch in which it was reached last
	todo   []*state
	ends   []goal
	active []*step // of a text
	next   []*step
	loops  []*step
}

// Match lists what matches an event, in no order. Error: Invalid for an event that is no JSON object.
func (s *Set) Match(event []byte) (ids []string, err error) {
	w, _ := s.walks.Get().(*walk)
	if w == nil {
		w = &walk{}
	}
	defer s.walks.Put(w)
	if err := s.walk(w, event); err != nil {
		return nil, err
	}
	for _, e := range w.ends {
		if w.been[e.rule.mark] != w.event && e.rule.branches[e.branch].matches(w.values) {
			w.been[e.rule.mark] = w.event
			ids = append(ids, e.rule.id)
		}
	}
	clear(w.ends)
	return ids, nil
}

// walk collects what an event may match.
func (s *Set) walk(w *walk, event []byte) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w.ends = w.ends[:0]
	if err := w.read(&s.paths, event); err != nil {
		return err
	}
	if n := int(s.marks.next) + 1; n > len(w.been) {
		w.been = append(w.been, make([]uint64, n-len(w.been))...)
	}
	w.epoch++
	w.event = w.epoch
	w.todo = append(w.todo[:0], &s.root)
	for len(w.todo) > 0 {
		at := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.ends = append(w.ends, at.ends...)
		if len(at.fields) <= len(w.found) {
			for _, x := range at.fields {
				w.look(x)
			}
		} else {
			for _, slot := range w.found {
				if x, found := at.index(slot); found {
					w.look(x)
				}
			}
		}
		for _, x := range at.absent {
			if len(w.values[x.slot]) == 0 {
				w.reach(x.absent)
			}
		}
	}
	return nil
}

// reach notes that states are to be looked at, each once.
func (w *walk) reach(states []*state) {
	for _, s := range states {
		if w.been[s.mark] != w.event {
			w.been[s.mark] = w.event
			w.todo = append(w.todo, s)
		}
	}
}
