// Package input makes what a target gets of an event: a part of it, or a text with parts of it filled in (EventBridge user guide,
// "Amazon EventBridge input transformation").
package input

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Path is a JSON path of the kind that EventBridge has: $.detail.items[0].name, $.detail.items[*].id.
type Path struct{ steps []step }

// step goes to a member of an object, an element of an array, or all that either has.
type step struct {
	name  string
	index int // of an element, when name is ""
	all   bool
}

// ParsePath reads a path: $, then names after dots (letters, digits, _, - and /), ['names'] in brackets, [indices], and * for a name or
// an index. Error: Invalid.
func ParsePath(text string) (*Path, error) {
	bad := hansom.Errorf(hansom.Invalid, "parse path", "%q is not a path: it begins with $, and goes on with .name, ['name'], [0] or [*]", text)
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, bad
	}
	p := &Path{}
	for rest != "" {
		var st step
		switch rest[0] {
		case '.':
			n := 1
			for n < len(rest) && rest[n] != '.' && rest[n] != '[' {
				if !plain(rest[n]) && rest[1:n+1] != "*" {
					return nil, bad
				}
				n++
			}
			if st.name, rest = rest[1:n], rest[n:]; st.name == "" {
				return nil, bad
			}
			if st.name == "*" {
				st = step{all: true}
			} else if strings.HasPrefix(st.name, "*") {
				return nil, bad
			}
		case '[':
			inside, after, ok := strings.Cut(rest[1:], "]")
			if len(inside) > 1 && (inside[0] == '\'' || inside[0] == '"') {
				// The name may hold a bracket.
				inside, after, ok = strings.Cut(rest[2:], rest[1:2]+"]")
				if st.name = inside; inside == "" {
					return nil, bad
				}
			} else if inside == "*" {
				st.all = true
			} else if n, err := strconv.ParseUint(inside, 10, 31); err != nil {
				return nil, bad
			} else {
				st.index = int(n)
			}
			if !ok {
				return nil, bad
			}
			rest = after
		default:
			return nil, bad
		}
		p.steps = append(p.steps, st)
	}
	return p, nil
}

func plain(c byte) bool {
	return c == '_' || c == '-' || c == '/' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// Find returns the value at the path, JSON as it is written in event, which must be valid. A path with a * has the array of what it
// finds. ok is false when there is nothing.
func (p *Path) Find(event []byte) (value []byte, ok bool) {
	found := [][]byte{event}
	many := false
	for _, st := range p.steps {
		var next [][]byte
		for _, v := range found {
			next = st.apply(next, v)
		}
		found, many = next, many || st.all
	}
	switch {
	case len(found) == 0:
		return nil, false
	case many:
		return append(append([]byte{'['}, bytes.Join(found, []byte{','})...), ']'), true
	}
	return found[0], true
}

// apply appends what the step leads to from v.
func (st *step) apply(out [][]byte, v []byte) [][]byte {
	v = bytes.TrimSpace(v)
	if len(v) == 0 {
		return out
	}
	dec := json.NewDecoder(bytes.NewReader(v))
	switch {
	case v[0] == '{' && (st.all || st.name != ""):
		_, _ = dec.Token()
		var last []byte // of members with one name the last counts
		for dec.More() {
			name, err := dec.Token()
			var member json.RawMessage
			if err != nil || dec.Decode(&member) != nil {
				return out
			}
			switch {
			case st.all:
				out = append(out, member)
			case name == st.name:
				last = member
			}
		}
		if last != nil {
			out = append(out, last)
		}
	case v[0] == '[' && (st.all || st.name == ""):
		_, _ = dec.Token()
		for i := 0; dec.More(); i++ {
			var element json.RawMessage
			if dec.Decode(&element) != nil {
				return out
			}
			if st.all || i == st.index {
				out = append(out, element)
			}
		}
	}
	return out
}

// Text is a found value as text: a string without its quotes, all else as it is written.
func Text(value []byte) string {
	var s string
	if json.Unmarshal(value, &s) == nil && bytes.TrimSpace(value)[0] == '"' {
		return s
	}
	return string(value)
}
