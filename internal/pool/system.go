package pool

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
)

// With the log format JSON the platform's lines are the events of Lambda's Telemetry API (developer guide, "Lambda Telemetry API
// Event schema reference"), at the levels of the guide's "System log level event mapping".

const formatJSON = "JSON"

// levels from the most detail to the least: of the platform's lines DEBUG, INFO and WARN.
var levels = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}

func rank(level string) int { return slices.Index(levels, level) }

type initRecord struct {
	InitializationType string       `json:"initializationType"`
	Phase              string       `json:"phase"`
	Status             string       `json:"status,omitempty"`
	ErrorType          string       `json:"errorType,omitempty"`
	RuntimeVersion     string       `json:"runtimeVersion,omitempty"`
	RuntimeVersionArn  string       `json:"runtimeVersionArn,omitempty"`
	FunctionName       string       `json:"functionName,omitempty"`
	FunctionVersion    string       `json:"functionVersion,omitempty"`
	Metrics            *initMetrics `json:"metrics,omitempty"`
}

type initMetrics struct {
	Duration float64 `json:"durationMs"`
}

type startRecord struct {
	RequestID string `json:"requestId"`
	Version   string `json:"version"`
}

type doneRecord struct {
	RequestID string      `json:"requestId"`
	Status    string      `json:"status"`
	ErrorType string      `json:"errorType,omitempty"`
	Metrics   doneMetrics `json:"metrics"`
}

type doneMetrics struct {
	Duration float64 `json:"durationMs"`
	Produced int     `json:"producedBytes"`
}

type reportRecord struct {
	RequestID string        `json:"requestId"`
	Metrics   reportMetrics `json:"metrics"`
	Status    string        `json:"status"`
	ErrorType string        `json:"errorType,omitempty"`
}

type reportMetrics struct {
	Duration   float64 `json:"durationMs"`
	Billed     int64   `json:"billedDurationMs"`
	MemorySize int     `json:"memorySizeMB"`
	MemoryUsed int64   `json:"maxMemoryUsedMB"`
	Init       float64 `json:"initDurationMs,omitempty"`
}

// systemLine is a line of the platform in JSON; "" when the function's level leaves it out.
func systemLine(v *hansom.Version, at time.Time, level, kind string, record any) string {
	if rank(level) < rank(v.Logging.System) {
		return ""
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(struct { // strings and numbers: it cannot fail
		Time   string `json:"time"`
		Type   string `json:"type"`
		Record any    `json:"record"`
	}{at.UTC().Format("2006-01-02T15:04:05.000Z"), "platform." + kind, record})
	return strings.TrimSuffix(b.String(), "\n")
}

// millis rounds to microseconds.
func millis(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// levelOf is levels' name for what ended with status: level when all was well, WARN else.
func levelOf(status, level string) string {
	if status != "success" {
		return "WARN"
	}
	return level
}

// outcome is the status of f, which is nil when the runtime answered, and its error's type: reported when it answered with an error.
func outcome(f *failure, failed bool, reported string) (status, errorType string) {
	switch {
	case f != nil && f.status == hansom.StatusTimeout:
		return "timeout", ""
	case f != nil:
		return "error", f.errorType
	case failed:
		return "error", reported
	}
	return "success", ""
}

// logInitStart writes the first lines of an instance.
func (o *output) logInitStart(at time.Time, v *hansom.Version, rt *runtimes.Runtime, phase initPhase) {
	if v.Logging.Format != formatJSON {
		o.event(nil, at, initStartLine(v, rt))
	} else {
		o.event(nil, at, systemLine(v, at, "INFO", "initStart", initRecord{InitializationType: phase.kind, Phase: phase.name, RuntimeVersion: rt.Version(),
			RuntimeVersionArn: rt.ARN(v.Region), FunctionName: v.Function, FunctionVersion: v.Number}))
	}
	o.warn(at, v, rt.Warning)
}

// warn writes a line that Lambda does not have; "" is none.
func (o *output) warn(at time.Time, v *hansom.Version, message string) {
	switch {
	case message == "":
	case v.Logging.Format != formatJSON:
		o.event(nil, at, "WARNING "+message)
	default:
		o.event(nil, at, systemLine(v, at, "WARN", "warning", message))
	}
}

// logInitEnd writes how an init went; f is nil when it went well, of which text says nothing.
func (o *output) logInitEnd(at time.Time, v *hansom.Version, d time.Duration, phase initPhase, f *failure) {
	if v.Logging.Format != formatJSON {
		if f != nil {
			o.event(nil, at, initReportLine(d, phase.name, f))
		}
		return
	}
	status, errorType := outcome(f, false, "")
	done := initRecord{InitializationType: phase.kind, Phase: phase.name, Status: status, ErrorType: errorType}
	level := levelOf(status, "DEBUG")
	o.event(nil, at, systemLine(v, at, level, "initRuntimeDone", done))
	done.Metrics = &initMetrics{millis(d)}
	o.event(nil, at, systemLine(v, at, level, "initReport", done))
}

// lines are the first line of a call, and the one before its report where that is known already.
func lines(v *hansom.Version, at time.Time, id string) (start, end string) {
	if v.Logging.Format != formatJSON {
		return frameLines(id, v.Number)
	}
	return systemLine(v, at, "INFO", "start", startRecord{id, v.Number}), ""
}

// reportedType is the type of the error that the runtime answered with, "" where nothing names it.
func reportedType(v *hansom.Version, f *failure, status hansom.Status, payload []byte) string {
	if v.Logging.Format != formatJSON || f != nil || status != hansom.StatusError {
		return ""
	}
	return initFailure(payload).errorType
}

// logEnd writes the last lines of a call. f is nil when the runtime answered, with an error of the type reported or with none.
func (o *output) logEnd(j *journal, at time.Time, end string, c *hansom.Completion, f *failure, reported string) {
	v := c.Version
	if v.Logging.Format != formatJSON {
		o.event(j, at, end)
		o.event(j, at, reportLine(c, f))
		return
	}
	status, errorType := outcome(f, c.Status == hansom.StatusError, reported)
	produced := c.BytesOut
	if f != nil {
		produced = 0
	}
	o.event(j, at, systemLine(v, at, levelOf(status, "DEBUG"), "runtimeDone",
		doneRecord{c.ID, status, errorType, doneMetrics{millis(c.Duration), produced}}))
	o.event(j, at, systemLine(v, at, levelOf(status, "INFO"), "report", reportRecord{c.ID, reportMetrics{
		millis(c.Duration), int64(c.Billed / time.Millisecond), v.Memory, megabytes(c.MemoryUsed), millis(c.Init)}, status, errorType}))
}

// hides says whether the function's level leaves out a line of its own. As on Lambda the line's level is the "level" of a JSON
// object, INFO where there is none.
func (o *output) hides(line string) bool {
	if o.least <= 0 {
		return false
	}
	var body struct{ Level string }
	level := rank("INFO")
	if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &body) == nil {
		switch l := strings.ToUpper(body.Level); l {
		case "WARNING":
			level = rank("WARN")
		case "CRITICAL":
			level = rank("FATAL")
		default:
			if n := rank(l); n >= 0 {
				level = n
			}
		}
	}
	return level < o.least
}
