package scheduler

//go:generate go run ../gen -model $SCHEDULER_MODEL -out model_gen.go

// fault is an error of the model.
type fault struct {
	status  int
	sender  bool
	message string // name of the body's member that carries the message
}
