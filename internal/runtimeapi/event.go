package runtimeapi

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// registration is the answer to /extension/register.
type registration struct {
	Name    string `json:"functionName"`
	Version string `json:"functionVersion"`
	Handler string `json:"handler"`
	Account string `json:"accountId,omitempty"`
}

type invokeEvent struct {
	EventType   string   `json:"eventType"`
	Deadline    int64    `json:"deadlineMs"`
	RequestID   string   `json:"requestId"`
	FunctionARN string   `json:"invokedFunctionArn"`
	Tracing     *tracing `json:"tracing,omitempty"`
}

type shutdownEvent struct {
	EventType string                 `json:"eventType"`
	Reason    sandbox.ShutdownReason `json:"shutdownReason"`
	Deadline  int64                  `json:"deadlineMs"`
}

func eventHeaders(extension string) []string {
	return []string{"Lambda-Extension-Identifier: " + extension, "Lambda-Extension-Event-Identifier: " + hansom.NewID()}
}

type tracing struct {
	SpanID string `json:"spanId,omitempty"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

func traced(header string) *tracing {
	if header == "" {
		return nil
	}
	return &tracing{Type: "X-Amzn-Trace-Id", Value: header}
}

// form is a version of the events' schema.
type form uint8

const (
	telemetry20220701 form = iota
	telemetry20221213
	telemetry20250129
	logs20200815
	logs20210318
	forms
)

var telemetryForms = map[string]form{"2022-07-01": telemetry20220701, "2022-12-13": telemetry20221213, "2025-01-29": telemetry20250129}

var logsForms = map[string]form{"": logs20200815, "2020-08-15": logs20200815, "2021-03-18": logs20210318}

// stream is the type of a subscription that the event belongs to, as an index of streams.
func stream(t sandbox.EventType) int {
	switch t {
	case sandbox.EventFunctionLog:
		return 1
	case sandbox.EventExtensionLog:
		return 2
	}
	return 0
}

var streams = [...]string{"platform", "function", "extension"}

type entry struct {
	Time   string `json:"time"`
	Type   string `json:"type"`
	Record any    `json:"record"`
}

// record is what platform events have in their record, of which each has a part. See "Lambda Telemetry API Event schema
// reference" and "Using the Lambda Logs API" in the Lambda developer guide.
type record struct {
	InitType   string   `json:"initializationType,omitempty"`
	Phase      string   `json:"phase,omitempty"`
	Runtime    string   `json:"runtimeVersion,omitempty"`
	RuntimeARN string   `json:"runtimeVersionArn,omitempty"`
	Function   string   `json:"functionName,omitempty"`
	Number     string   `json:"functionVersion,omitempty"`
	Instance   string   `json:"instanceId,omitempty"`
	MaxMemory  int64    `json:"instanceMaxMemory,omitempty"`
	RequestID  string   `json:"requestId,omitempty"`
	Version    string   `json:"version,omitempty"`
	Name       string   `json:"name,omitempty"`
	State      string   `json:"state,omitempty"`
	Events     []string `json:"events,omitzero"`
	Types      []string `json:"types,omitzero"`
	Status     string   `json:"status,omitempty"`
	ErrorType  string   `json:"errorType,omitempty"`
	Metrics    any      `json:"metrics,omitempty"`
	Tracing    *tracing `json:"tracing,omitempty"`
	Records    int      `json:"droppedRecords,omitempty"`
	Bytes      int      `json:"droppedBytes,omitempty"`
	Reason     string   `json:"reason,omitempty"`
}

type reportMetrics struct {
	Duration millis `json:"durationMs"`
	Billed   int64  `json:"billedDurationMs"`
	Memory   int    `json:"memorySizeMB"`
	Used     int64  `json:"maxMemoryUsedMB"`
	Init     millis `json:"initDurationMs,omitempty"`
}

type doneMetrics struct {
	Duration millis `json:"durationMs"`
	Bytes    int    `json:"producedBytes"`
}

type initMetrics struct {
	Duration millis `json:"durationMs"`
}

// millis is written with three decimals.
type millis time.Duration

func (m millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(m)/time.Microsecond) / 1000)
}

// Events of the Logs API alone. publish makes them from others.
const (
	eventEnd   sandbox.EventType = "platform.end"
	eventFault sandbox.EventType = "platform.fault"
)

// render returns what a subscriber gets for e; nil when the form does not know such an event.
func render(e *sandbox.Event, f form, cfg *sandbox.ExtensionConfig) []byte {
	if !known(e, f) {
		return nil
	}
	out := entry{Time: e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), Type: string(e.Type)}
	logs := f >= logs20200815
	r := record{RequestID: e.RequestID}
	switch e.Type {
	case sandbox.EventFunctionLog, sandbox.EventExtensionLog:
		line := []byte(e.Message)
		switch {
		case logs:
			out.Record = e.Message + "\n"
		case f != telemetry20220701 && cfg.Version.Logging.Format == "JSON" && strings.HasPrefix(e.Message, "{") && json.Valid(line):
			out.Record = json.RawMessage(line)
		default:
			out.Record = e.Message
		}
		return encode(out)
	case sandbox.EventInitStart:
		r.InitType, r.Phase, r.Runtime, r.RuntimeARN = e.InitType, e.Phase, e.Runtime, e.RuntimeARN
		r.Function, r.Number, r.Instance, r.MaxMemory = cfg.Version.Function, cfg.Version.Number, cfg.Instance, int64(cfg.Version.Memory)<<20
	case sandbox.EventInitRuntimeDone:
		r.InitType, r.Phase, r.Status, r.ErrorType = e.InitType, e.Phase, e.Status, e.ErrorType
	case sandbox.EventInitReport:
		r.InitType, r.Phase, r.Status, r.ErrorType, r.Metrics = e.InitType, e.Phase, e.Status, e.ErrorType, initMetrics{millis(e.Duration)}
	case sandbox.EventStart:
		r.Version, r.Tracing = cfg.Version.Number, traced(e.Trace)
		if logs {
			r.Tracing = nil
		}
	case sandbox.EventRuntimeDone:
		r.Status = e.Status
		if !logs {
			r.ErrorType, r.Tracing, r.Metrics = e.ErrorType, traced(e.Trace), doneMetrics{millis(e.Duration), e.Bytes}
		}
	case sandbox.EventReport:
		c := e.Report
		r.Metrics = reportMetrics{millis(c.Duration), int64(c.Billed / time.Millisecond), c.Version.Memory, (c.MemoryUsed + 1<<20 - 1) >> 20, millis(c.Init)}
		if !logs {
			r.Status, r.ErrorType, r.Tracing = e.Status, e.ErrorType, traced(e.Trace)
		}
	case eventEnd:
	case eventFault:
		out.Record = "RequestId: " + e.RequestID + " " + e.Message
	case sandbox.EventExtension:
		r.Name, r.State, r.Events, r.ErrorType = e.Name, e.State, append([]string{}, e.Names...), e.ErrorType
	case sandbox.EventSubscription:
		r.Name, r.State, r.Types = e.Name, e.State, e.Names
		if logs {
			out.Type = "platform.logsSubscription"
		}
	case sandbox.EventLogsDropped:
		r.Records, r.Bytes = e.DroppedRecords, e.DroppedBytes
		r.Reason = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
	}
	if out.Record == nil {
		out.Record = r
	}
	return encode(out)
}

// known says whether the form has such events.
func known(e *sandbox.Event, f form) bool {
	logs := f >= logs20200815
	switch e.Type {
	case sandbox.EventInitStart, sandbox.EventInitRuntimeDone, sandbox.EventInitReport:
		return !logs
	case sandbox.EventRuntimeDone:
		return f != logs20200815
	case sandbox.EventSubscription:
		return e.Logs == logs
	case eventEnd, eventFault:
		return logs
	}
	return true
}
