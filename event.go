package hansom

// Polled is a message of a source, on its way to a function through an event source mapping.
type Polled struct {
	ID     string // what a partial failure names it by: itemIdentifier
	Group  string // of a FIFO queue; messages of a group stay in their order
	Record []byte // JSON, the element of Records that the function gets
	Handle string // names this taking of it to its source
}

// Delivery is an event for a resource of the same project: the result of an asynchronous invocation for its destination, later the
// event of a rule or a schedule for its target.
type Delivery struct {
	Project string
	ARN     string // of a function, which may be qualified, or a queue
	Payload []byte // JSON; belongs to the caller again when the delivery is accepted
	Group   string // MessageGroupId for a FIFO queue
	Dedup   string // MessageDeduplicationId for a FIFO queue
}
