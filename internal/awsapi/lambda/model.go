package lambda

//go:generate go run ./gen -model $LAMBDA_MODEL -out model_gen.go

// The types of the generated table in model_gen.go.

type kind uint8

const (
	structure kind = iota
	list
	mapping
	text
	integer
	double
	boolean
	octets
	timestamp
)

// location says which part of a request carries a member.
type location uint8

const (
	inBody location = iota
	inPath
	inQuery
	inHeader
)

type operation struct {
	name, method, path string
	query              string // what the query must hold for the route to match, "List=ALL"
	status             int    // of a successful answer
	input              int    // index into shapes
	payload            string // the member that is the whole body
}

// shape is a type of the model with its constraints. Bounds are lengths of strings, lists and maps, and values of numbers.
type shape struct {
	kind           kind
	hasMin, hasMax bool
	min, max       float64
	pattern        string   // as AWS words it
	match, not     string   // what it means, where Go's regexp cannot express it
	enum           []string // nil: any value
	sensitive      bool     // values are not repeated in messages
	nullable       bool     // an element may be null
	members        []member // of a structure
	key, elem      int      // of a map and a list
}

type member struct {
	name     string
	wire     string // name in path, query or header where it is another
	shape    int
	in       location
	required bool
}

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}
