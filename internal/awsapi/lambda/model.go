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

// newer are operations that AWS's SDKs have and the model behind model_gen.go has not. None is served.
var newer = [...]operation{
	{name: "DeleteResourcePolicy", method: "DELETE", path: "/2026-07-09/resource-policy/{ResourceArn}"},
	{name: "GetResourcePolicy", method: "GET", path: "/2026-07-09/resource-policy/{ResourceArn}"},
	{name: "PutResourcePolicy", method: "PUT", path: "/2026-07-09/resource-policy/{ResourceArn}"},
}

// every yields all operations.
func every(yield func(*operation) bool) {
	for _, list := range [][]operation{operations[:], newer[:]} {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}
