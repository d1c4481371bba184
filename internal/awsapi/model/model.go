// Package model holds requests to the constraints of AWS's service models: required, length, pattern, range and enum, in AWS's
// own wording of errors. The tables of shapes are generated from the models by internal/awsapi/gen.
package model

// Kind is the type of a shape.
type Kind uint8

// The kinds. Integers have 32 bits, longs 64. A timestamp is in seconds.
const (
	Structure Kind = iota
	List
	Mapping
	Text
	Integer
	Long
	Double
	Boolean
	Octets
	Timestamp
)

// Location says which part of a request carries a member.
type Location uint8

// The locations.
const (
	InBody Location = iota
	InPath
	InQuery
	InHeader
)

// Shape is a type of the model with its constraints. Bounds are lengths of strings, lists and maps, and values of numbers.
type Shape struct {
	Kind           Kind
	HasMin, HasMax bool
	Min, Max       float64
	Pattern        string   // as AWS words it
	Match, Not     string   // what it means, where Go's regexp cannot express it
	Enum           []string // nil: any value
	Sensitive      bool     // values are not repeated in messages
	Nullable       bool     // an element may be null
	Members        []Member // of a structure
	Key, Elem      int      // of a map and a list: indexes into the table
}

// Member of a structure.
type Member struct {
	Name     string
	Wire     string // name on the wire where it is another
	Shape    int    // index into the table
	In       Location
	Required bool
}

// WireName is the name of the member on the wire.
func (m *Member) WireName() string {
	if m.Wire != "" {
		return m.Wire
	}
	return m.Name
}

// Params are the members of a structure that a request carries, by name. Values are string, int64, float64, bool, []byte,
// []any, map[string]any or Params; a null is left out.
type Params map[string]any

// Text is a string member; "" when it was not given.
func (p Params) Text(name string) string { s, _ := p[name].(string); return s }

// Integer is a number member; 0 when it was not given.
func (p Params) Integer(name string) int64 { n, _ := p[name].(int64); return n }

// Flag is a boolean member; false when it was not given.
func (p Params) Flag(name string) bool { b, _ := p[name].(bool); return b }

// Texts is a list of strings; nil when it was not given.
func (p Params) Texts(name string) []string {
	var out []string
	list, _ := p[name].([]any)
	for _, x := range list {
		s, _ := x.(string)
		out = append(out, s)
	}
	return out
}
