// Package pattern is event patterns, as EventBridge's rules and the filters of Lambda's event source mappings have them (EventBridge
// user guide, "Event pattern syntax"): which events a pattern matches, and in AWS's words why a pattern is refused.
package pattern

import (
	"maps"
	"slices"

	"github.com/hansomcloud/hansom"
)

// CodeInvalid is the code of the error for a pattern that cannot be.
const CodeInvalid = "InvalidEventPatternException"

// Pattern is a parsed event pattern. It may be used by several goroutines.
//
// It is kept as alternatives of which one has to match, each a list of fields in the order of their paths: what a Set is made of.
type Pattern struct {
	text     string
	branches []branch
	paths    paths // of all branches
}

// branch is fields that must match together, and the slots of what they are about.
type branch struct {
	fields []field
	slots  []int32
}

// field asks that one of the values at a path passes one of the tests.
type field struct {
	path  string // names of members joined by dots: arrays have no part in it
	tests []test
}

// Parse reads a pattern. Error: Invalid with CodeInvalid.
func Parse(text string) (p *Pattern, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			p, err = nil, hansom.Errorf(hansom.Invalid, "parse event pattern", "Event pattern is not valid. Reason: %s", r.reason).WithCode(CodeInvalid)
		default:
			panic(r)
		}
	}()
	s := &parser{scanner{src: text}}
	if s.next().kind != objectStart {
		s.refuse("Filter is not an object")
	}
	all := s.object(branches{{}}, "", false)
	s.next() // nothing follows, or it is refused
	p = &Pattern{text: text}
	for _, b := range all {
		var fields []field
		for _, path := range slices.Sorted(maps.Keys(b)) {
			fields = append(fields, field{path, b[path]})
		}
		p.branches = append(p.branches, p.paths.take(fields))
	}
	return p, nil
}

// String is the pattern as Parse was given it.
func (p *Pattern) String() string { return p.text }

// Under says whether the pattern asks for anything below the member called name of the event, in place of the member itself.
func (p *Pattern) Under(name string) bool {
	n := p.paths.root.step(name)
	return n != nil && len(n.next) > 0
}

// At says whether the pattern asks for the value of the member called name.
func (p *Pattern) At(name string) bool {
	n := p.paths.root.step(name)
	return n != nil && n.asked > 0
}

// Match says whether the pattern matches an event. Error: Invalid for an event that is no JSON object.
func (p *Pattern) Match(event []byte) (ok bool, err error) {
	var r reader
	if err := r.read(&p.paths, event); err != nil {
		return false, err
	}
	for i := range p.branches {
		if p.branches[i].matches(r.values) {
			return true, nil
		}
	}
	return false, nil
}
