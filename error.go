package hansom

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error. The edge turns it into an HTTP status or a service's error code, once.
type Kind uint8

const (
	Internal        Kind = iota // a defect or a broken host; the message is not shown to callers
	Invalid                     // the request is wrong: InvalidParameterValueException, 400
	NotFound                    // ResourceNotFoundException, 404
	Conflict                    // ResourceConflictException, 409: it exists already, or is being changed
	Precondition                // PreconditionFailedException, 412: a RevisionId that is not the latest
	Denied                      // AccessDeniedException, 403
	Unauthenticated             // no or wrong credentials, 403 (401 on the edge)
	TooLarge                    // RequestTooLargeException, 413
	Throttled                   // TooManyRequestsException, 429
	Unsupported                 // a feature that is not there, refused by name
	Unavailable                 // try again: shutting down, no capacity
	Timeout
	Canceled
)

// Error is the one error type of the platform.
type Error struct {
	Kind    Kind
	Op      string // what was being done, for logs: "create function"
	Code    string // the service's error code where Kind alone does not tell, e.g. "CodeStorageExceededException"
	Message string // for the caller; says what to do next
	Reason  string // which limit a Throttled error met: TooManyRequestsException's Reason
	Err     error  // cause, for logs

	After time.Duration // it makes no sense to try again sooner
}

func (e *Error) Error() string {
	switch {
	case e.Message == "" && e.Err != nil:
		return e.Op + ": " + e.Err.Error()
	case e.Err != nil && e.Kind == Internal:
		return e.Op + ": " + e.Message
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// WithCode sets the service's error code and returns e.
func (e *Error) WithCode(code string) *Error { e.Code = code; return e }

// Errorf makes an Error. %w in the format wraps a cause, as in fmt.Errorf.
func Errorf(kind Kind, op, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Op: op, Message: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf returns the kind of the first Error in err's chain; context errors have kinds of their own, all else is Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}
