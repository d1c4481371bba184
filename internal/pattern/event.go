package pattern

import (
	"encoding/binary"
	"slices"

	"github.com/hansomcloud/hansom"
)

// element of an array of an event. Values that a match uses together must not be in two elements of one array.
type element struct{ array, index int32 }

// reader collects the values of an event that a pattern asks for.
type reader struct {
	scanner
	prefixes map[string]bool
	out      map[string][]value
	arrays   int32
}

// values of the event at the paths of the pattern.
func (p *Pattern) values(event []byte) (out map[string][]value, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			out, err = nil, hansom.Errorf(hansom.Invalid, "match event", "Parameter Event is not valid.")
		default:
			panic(r)
		}
	}()
	r := &reader{scanner: scanner{src: string(event)}, prefixes: p.prefixes, out: map[string][]value{}}
	if r.next().kind != objectStart {
		panic(refusal{})
	}
	r.object("", nil, false)
	r.next()
	return r.out, nil
}

// object reads members; skip leaves them out.
func (r *reader) object(path string, in []element, skip bool) {
	for t := r.next(); t.kind != objectEnd; t = r.next() {
		full := t.text
		if path != "" && !skip {
			full = path + "." + t.text
		}
		_, wanted := r.prefixes[full]
		r.value(r.next(), full, in, skip || !wanted)
	}
}

func (r *reader) value(t token, path string, in []element, skip bool) {
	switch t.kind {
	case objectStart:
		r.object(path, in, skip)
	case arrayStart:
		array := r.arrays
		r.arrays++
		for i := int32(0); ; i++ {
			t := r.next()
			switch t.kind {
			case arrayEnd:
				return
			case objectStart, arrayStart:
				if skip {
					r.value(t, path, nil, true)
				} else {
					r.value(t, path, append(slices.Clip(in), element{array, i}), false)
				}
			default:
				r.value(t, path, in, skip)
			}
		}
	default:
		if skip || !r.prefixes[path] {
			return
		}
		v := value{kind: t.kind, text: t.text, inside: in}
		switch t.kind {
		case number:
			v.scaled, v.scales = scale(t.text)
		case text:
			v.address = address(t.text)
		}
		r.out[path] = append(r.out[path], v)
	}
}

// matches says whether all fields find values that can be used together.
func matches(fields []field, values map[string][]value) bool {
	var places [][][]element // of the values that pass, for each field that arrays constrain
	for i := range fields {
		found, free := fields[i].find(values[fields[i].path])
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
	seen := map[string]bool{}
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
