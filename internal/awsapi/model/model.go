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
	Wire     string // name in path, query or header where it is another
	Shape    int    // index into the table
	In       Location
	Required bool
}

// WireName is the name of the member in path, query or header.
func (m *Member) WireName() string {
	if m.Wire != "" {
		return m.Wire
	}
	return m.Name
}
