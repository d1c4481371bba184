package apigateway

//go:generate go run ../gen -model $APIGATEWAY_MODEL -out model_gen.go -served CreateApiKey,GetApiKey,GetApiKeys,UpdateApiKey,DeleteApiKey,ImportApiKeys,CreateUsagePlan,GetUsagePlan,GetUsagePlans,UpdateUsagePlan,DeleteUsagePlan,CreateUsagePlanKey,GetUsagePlanKey,GetUsagePlanKeys,DeleteUsagePlanKey,GetUsage,UpdateUsage,GetTags,TagResource,UntagResource

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}
