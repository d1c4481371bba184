package apigateway

//go:generate go run ../gen -model $APIGATEWAY_MODEL -out model_gen.go -served CreateApiKey,GetApiKey,GetApiKeys,UpdateApiKey,DeleteApiKey,ImportApiKeys,CreateUsagePlan,GetUsagePlan,GetUsagePlans,UpdateUsagePlan,DeleteUsagePlan,CreateUsagePlanKey,GetUsagePlanKey,GetUsagePlanKeys,DeleteUsagePlanKey,GetUsage,UpdateUsage,GetTags,TagResource,UntagResource

// The types of the generated table in model_gen.go.

type operation struct {
	name, method, path string
	query              string // what the query must hold for the route to match, "mode=import"
	status             int    // of a successful answer
	input              int    // index into shapes; -1 for an operation that is not offered
	payload            string // the member that is the whole body
}

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}
