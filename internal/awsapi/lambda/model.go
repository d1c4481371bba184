package lambda

//go:generate go run ../gen -model $LAMBDA_MODEL -out model_gen.go

// The types of the generated table in model_gen.go.

type operation struct {
	name, method, path string
	query              string // what the query must hold for the route to match, "List=ALL"
	status             int    // of a successful answer
	input              int    // index into shapes
	payload            string // the member that is the whole body
}

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}
