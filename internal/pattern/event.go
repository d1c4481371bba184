package pattern

import (
	"encoding/binary"
	"slices"

	"github.com/hansomcloud/hansom"
)

// element of an array of an event. Values that a match uses together must not be in two elements of one array.
type element struct{ array, index int32 }

// reader collects the values of events that patterns ask for. It may be used again for another event.
type reader struct {
	scanner
	values [][]value // by slot
	found  []int32   // slots that have values
	arrays int32
}

// read collects the values at the paths of p. Error: Invalid for what is no JSON object.
func (r *reader) read(p *paths, event []byte) (err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case refusal:
			err = hansom.Errorf(hansom.Invalid, "match event", "Parameter Event is not valid.")
		default:
			panic(e)
		}
	}()
	r.scanner = scanner{src: string(event), open: r.open[:0]}
	for _, slot := range r.found {
		clear(r.values[slot])
		r.values[slot] = r.values[slot][:0]
	}
	r.found, r.arrays = r.found[:0], 0
	if n := int(p.slots); n > len(r.values) {
		r.values = append(r.values, make([][]value, n-len(r.values))...)
	}
	if r.next().kind != objectStart {
		panic(refusal{})
	}
	r.object(&p.root, nil)
	r.next()
	return nil
}

// object reads members; nil leaves them out.
func (r *reader) object(at *member, in []element) {
	for t := r.next(); t.kind != objectEnd; t = r.next() {
		below := at.step(t.text)
		r.value(r.next(), below, in)
	}
}

func (r *reader) value(t token, at *member, in []element) {
	switch t.kind {
	case objectStart:
		r.object(at, in)
	case arrayStart:
		array := r.arrays
		r.arrays++
		for i := int32(0); ; i++ {
			t := r.next()
			switch t.kind {
			case arrayEnd:
				return
			case objectStart, arrayStart:
				inside := in
				if at != nil {
					inside = append(slices.Clip(in), element{array, i})
				}
				r.value(t, at, inside)
			default:
				r.value(t, at, in)
			}
		}
	default:
		if at == nil || at.asked == 0 {
			return
		}
		v := value{kind: t.kind, text: t.text, inside: in}
		switch t.kind {
		case number:
			v.scaled, v.scales = scale(t.text)
		case text:
			v.address = address(t.text)
		}
		if len(r.values[at.slot]) == 0 {
			r.found = append(r.found, at.slot)
		}
		r.values[at.slot] = append(r.values[at.slot], v)
	}
}

// matches says whether all fields find values that can be used together.
func (b *branch) matches(values [][]value) bool {
	var places [][][]element // of the values that pass, for each field that arrays constrain
	for i := range b.fields {
		found, free := b.fields[i].find(values[b.slots[i]])
		if free {
			continue
		}
		if len(found) == 0 {
			return false
		}
		places = append(places, found)
	}
	states := [][]element{nil}
	for i, found := range places {
		later := map[int32]bool{}
		for _, next := range places[i+1:] {
			for _, in := range next {
				for _, e := range in {
					later[e.array] = true
				}
			}
		}
		if states = join(states, found, later); len(states) == 0 {
			return false
		}
	}
	return true
}

// find lists where values are that pass, each place once. free says that the field is satisfied whatever other fields use.
func (f *field) find(values []value) (places [][]element, free bool) {
	var seen map[string]bool
	for i := range f.tests {
		t := &f.tests[i]
		if t.op == absent {
			if len(values) == 0 {
				return nil, true
			}
			continue
		}
		for j := range values {
			if v := &values[j]; t.holds(v) {
				if len(v.inside) == 0 {
					return nil, true
				}
				if k := key(v.inside, nil); !seen[k] {
					if seen == nil {
						seen = map[string]bool{}
					}
					seen[k] = true
					places = append(places, v.inside)
				}
			}
		}
	}
	return places, false
}

// join combines what was chosen so far with the places of one more field, and forgets arrays that no later field is in. What agrees
// on the arrays that all of them are in is looked up, so that long arrays cost no square of their length.
func join(states, places [][]element, later map[int32]bool) (out [][]element) {
	common := arrays(states[0])
	for _, list := range [][][]element{states, places} {
		for _, in := range list {
			have := arrays(in)
			for a := range common {
				if !have[a] {
					delete(common, a)
				}
			}
		}
	}
	byKey := map[string][][]element{}
	for _, s := range states {
		k := key(s, common)
		byKey[k] = append(byKey[k], s)
	}
	seen := map[string]bool{}
	for _, in := range places {
		for _, s := range byKey[key(in, common)] {
			merged, ok := merge(s, in, later)
			if !ok {
				continue
			}
			if k := key(merged, nil); !seen[k] {
				seen[k] = true
				out = append(out, merged)
			}
		}
	}
	return out
}

func arrays(in []element) map[int32]bool {
	out := map[int32]bool{}
	for _, e := range in {
		out[e.array] = true
	}
	return out
}

// merge unites two choices unless they contradict each other; what is in no array of keep is left out.
func merge(a, b []element, keep map[int32]bool) (out []element, ok bool) {
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		var e element
		switch {
		case j == len(b) || i < len(a) && a[i].array < b[j].array:
			e = a[i]
			i++
		case i == len(a) || b[j].array < a[i].array:
			e = b[j]
			j++
		case a[i].index != b[j].index:
			return nil, false
		default:
			e = a[i]
			i, j = i+1, j+1
		}
		if keep[e.array] {
			out = append(out, e)
		}
	}
	return out, true
}

// key names a choice, or the part of it that is about the arrays of only.
func key(in []element, only map[int32]bool) string {
	var b []byte
	for _, e := range in {
		if only == nil || only[e.array] {
			b = binary.AppendVarint(b, int64(e.array))
			b = binary.AppendVarint(b, int64(e.index))
		}
	}
	return string(b)
}
