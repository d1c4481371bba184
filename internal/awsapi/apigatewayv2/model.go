package apigatewayv2

//go:generate go run ../gen -model $APIGATEWAYV2_MODEL -out model_gen.go

// The types of the generated table in model_gen.go.

type operation struct {
	name, method, path string
	query              string // unused: no operation of API Gateway v2 is told by its query
	status             int    // of a successful answer
	input              int    // index into shapes
	payload            string // unused: no input has a member that is the whole body
}

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}
