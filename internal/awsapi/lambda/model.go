package lambda

import "github.com/hansomcloud/hansom/internal/awsapi/model"

//go:generate go run ../gen -model $LAMBDA_MODEL -out model_gen.go

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}

// newer are operations that AWS's SDKs have and the model behind model_gen.go has not. None is served.
var newer = []model.Operation{
	{Name: "DeleteResourcePolicy", Method: "DELETE", Path: "/2026-07-09/resource-policy/{ResourceArn}"},
	{Name: "GetResourcePolicy", Method: "GET", Path: "/2026-07-09/resource-policy/{ResourceArn}"},
	{Name: "PutResourcePolicy", Method: "PUT", Path: "/2026-07-09/resource-policy/{ResourceArn}"},
}

// every yields all operations.
func every(yield func(*model.Operation) bool) {
	for _, list := range [][]model.Operation{operations, newer} {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}
