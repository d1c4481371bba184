package event

import (
	"bytes"
	"errors"
	"strings"

	"github.com/hansomcloud/hansom"
)

// traceKey precedes the trace header of a message in its record. In a body the quotes are escaped.
var traceKey = []byte(`"AWSTraceHeader":"`)

// traceOf is the trace header (X-Amzn-Trace-Id) that a message came with, "" when there is none.
func traceOf(record []byte) string {
	_, rest, _ := bytes.Cut(record, traceKey)
	header, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(header)
}

// chained says that a trace header has a chain of invocations, in which loops are counted.
func chained(trace string) bool { return strings.Contains(trace, "Lineage=") }

// trace is the header that a batch is invoked with: that of the first message with a chain of invocations behind it, else the first.
func trace(messages []hansom.Polled) (first string) {
	for i := range messages {
		header := traceOf(messages[i].Record)
		if chained(header) {
			return header
		}
		if first == "" {
			first = header
		}
	}
	return first
}

// isLoop says that an invocation was refused because the function invokes itself.
func isLoop(err error) bool {
	var e *hansom.Error
	return errors.As(err, &e) && e.Code == "RecursiveInvocationException"
}
