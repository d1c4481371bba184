package hansom

import "time"

// Polled is a message of a source, on its way to a function through an event source mapping.
type Polled struct {
	ID     string // what a partial failure names it by: itemIdentifier
	Group  string // of a FIFO queue; messages of a group stay in their order
	Record []byte // JSON, the element of Records that the function gets
	Handle string // names this taking of it to its source
}

// Delivery is an event for a resource of the same project: the result of an asynchronous invocation for its destination, the event
// of a rule or a schedule for its target.
type Delivery struct {
	Project    string
	ARN        string               // of a function, which may be qualified, a queue, an event bus or an API destination
	Payload    []byte               // JSON; belongs to the caller again when the delivery is accepted
	Group      string               // MessageGroupId for a FIFO queue
	Dedup      string               // MessageDeduplicationId for a FIFO queue
	Attributes map[string]Attribute // of the message in a queue
	Trace      string               // X-Amzn-Trace-Id, which counts how often functions have called each other; "" for none
	Hops       int                  // how many buses it came through
	HTTP       *HTTPParameters      // of the request to an API destination
	Event      *EventParameters     // of the event that Payload is the detail of, on a bus; nil when Payload is the event
}

// EventParameters make a detail an event.
type EventParameters struct {
	Source, DetailType string
	Resources          []string
}

// HTTPParameters of a target are added to what an API destination asks for.
type HTTPParameters struct {
	Path   []string // what replaces the * of its URL, in their order
	Header map[string]string
	Query  map[string]string
}

// Dispatch is a delivery that is tried until it goes well or its policy ends it.
type Dispatch struct {
	Delivery
	Lane       string               // names the target: failures hold back what is in its lane, and nothing else
	ID         string               // names the event; dispatches of one lane and id within five minutes are the same. "" for none
	Retries    int                  // attempts after the first
	MaxAge     time.Duration        // no attempt comes later after the first
	DeadLetter string               // ARN of the queue for what was given up; "" for none
	Quiet      bool                 // that it could not be delivered is not announced: it is an announcement itself
	About      map[string]Attribute // attributes of the message there, besides ERROR_CODE, ERROR_MESSAGE, RETRY_ATTEMPTS and EXHAUSTED_RETRY_CONDITION
}

// Attribute is a message attribute of SQS.
type Attribute struct {
	Type  string // "String" or "Number"
	Value string
}

// AsyncConfig says how events that a function was invoked with by one of its qualifiers are retried, and where they go in the end.
type AsyncConfig struct {
	Retries   int           // attempts after the first that the function ends with an error
	MaxAge    time.Duration // no attempt comes later after the acceptance
	OnSuccess string        // ARN of the destination of a record of what went well; "" for none
	OnFailure string        // of what was given up
}

// DefaultAsyncConfig is that of a function that has none (Lambda developer guide, "Error handling for asynchronous invocations").
func DefaultAsyncConfig() AsyncConfig { return AsyncConfig{Retries: 2, MaxAge: 6 * time.Hour} }

// Mapping has a function called with the messages of a queue or of a subject: an event source mapping, as an app has it.
type Mapping struct {
	Project, App string
	Source       string // ARN of the queue or the subject
	Function     string
	Batch        int           // most messages in a call
	Window       time.Duration // for more messages after the first; whole seconds
	Concurrency  int           // calls at once; 0 for no limit of its own
	Partial      bool          // the function's answer names the messages that failed
	Filters      []string      // event patterns, of which a message must match one; none lets all through
	Disabled     bool          // it was turned off beside the app
}

// Rule has a function called with the events of a bus that match a pattern, as an app has it.
type Rule struct {
	Project, App string
	Bus, Name    string
	Pattern      string
	Function     string
	Disabled     bool // it was turned off beside the app
}

// Schedule has a function called at its times, as an app has it.
type Schedule struct {
	Project, App string
	Name         string
	Expression   string // rate(), cron() or at()
	Zone         string // of the time zone database, in which cron() and at() are
	Input        string // JSON that the function gets; "" for "{}"
	Function     string
	Disabled     bool // it was turned off beside the app
}

// Announcement is an event of the platform's own, for the default bus of a project.
type Announcement struct {
	Project   string
	Type      string   // detail-type: docs/reference/events.md has the catalogue
	Resources []string // ARNs
	Detail    map[string]any
	Trace     string // of the call that it is about; "" for none
}

// Announce takes an announcement and does not wait. nil forgets it.
type Announce func(Announcement)

// Tell announces.
func (f Announce) Tell(a Announcement) {
	if f != nil {
		f(a)
	}
}
