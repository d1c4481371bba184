package manifest

import (
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var asyncKeys = []string{"retries", "maxAge", "onSuccess", "onFailure", deadLetter}

// deadLetter names a queue alone; the other destinations may be functions too.
const deadLetter = "deadLetter"

// Defaults and limits of events, as Lambda's.
const (
	defaultAsyncRetries = 2
	defaultMaxAge       = 6 * time.Hour
	minMaxAge           = time.Minute
)

// ResolvedAsync says how the events are treated that a function is invoked with by callers who do not wait.
type ResolvedAsync struct {
	Retries   int    `json:"retries"`             // after an attempt that the function ended with an error
	MaxAge    int    `json:"maxAge"`              // seconds
	OnSuccess string `json:"onSuccess,omitempty"` // key of the queue or the function that gets a record of what went well
	OnFailure string `json:"onFailure,omitempty"` // of what was given up

	DeadLetter string `json:"deadLetter,omitempty"` // key of the queue that gets the events which were given up
}

func (a *ResolvedAsync) check() error {
	if a.Retries < 0 || a.Retries > defaultAsyncRetries {
		return fmt.Errorf("retries %d is out of range: 0 to %d", a.Retries, defaultAsyncRetries)
	}
	return checkSpan("maxAge", seconds(a.MaxAge), minMaxAge, defaultMaxAge)
}

// checkDestination looks at a destination of the function key.
func checkDestination(what, key, target string, function func(string) bool, queues map[string]ResolvedQueue) error {
	if target == "" {
		return nil
	}
	q, isQueue := queues[target]
	isFunction := what != deadLetter && function(target)
	switch {
	case isQueue && isFunction:
		return fmt.Errorf("%s %s is a queue and a function; rename one", what, target)
	case !isQueue && what == deadLetter:
		return fmt.Errorf("%s %q is no queue of the app", what, target)
	case !isQueue && !isFunction:
		return fmt.Errorf("%s %q is no queue or function of the app", what, target)
	case isQueue && q.FIFO:
		return fmt.Errorf("%s cannot be the FIFO queue %s", what, target)
	case isFunction && target == key:
		return errors.New(what + " names the function itself; name another one, or a queue")
	}
	return nil
}

// asyncCheck is a destination that is to be looked at when all queues and functions are known.
type asyncCheck struct {
	what, key, target string
	node              ast.Node
}

func (p *reader) async(key string, e entry) *ResolvedAsync {
	a := &ResolvedAsync{Retries: defaultAsyncRetries, MaxAge: int(defaultMaxAge / time.Second)}
	entries, ok := p.mapping(e.value, "async", asyncKeys, nil)
	if !ok {
		return nil
	}
	for _, e := range entries {
		switch e.name {
		case "retries":
			if v, ok := p.integer(e); ok {
				a.Retries = v
				p.check(e.value, (&ResolvedAsync{Retries: v, MaxAge: a.MaxAge}).check())
			}
		case "maxAge":
			a.MaxAge = p.span(e, minMaxAge, defaultMaxAge)
		case "onSuccess", "onFailure", deadLetter:
			s, ok := p.text(e)
			if !ok {
				continue
			}
			switch e.name {
			case "onSuccess":
				a.OnSuccess = s
			case "onFailure":
				a.OnFailure = s
			default:
				a.DeadLetter = s
			}
			p.destinations = append(p.destinations, asyncCheck{e.name, key, s, e.value})
		}
	}
	return a
}
