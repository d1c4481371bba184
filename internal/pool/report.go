package pool

import (
	"encoding/json"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Error types that Lambda gives what the runtime could not report itself.
const (
	typeTimeout     = "Sandbox.Timedout"
	typeExit        = "Runtime.ExitError"
	typeOutOfMemory = "Runtime.OutOfMemory"
	typeEntrypoint  = "Runtime.InvalidEntrypoint"
	typeUnknown     = "Runtime.Unknown"
)

// failure is an invocation, or a boot, that ended without an answer of the function.
type failure struct {
	status    hansom.Status
	errorType string
	reason    string // for people, without the request id
	payload   []byte // the runtime's own error JSON, of a failed init; nil otherwise
	note      string // one more line for the log

	// Of a boot.
	output    *output
	init      time.Duration
	memory    int64          // bytes
	extension *sandbox.Event // of one that could not be launched
}

func timedOut(after time.Duration) *failure {
	return &failure{status: hansom.StatusTimeout, errorType: typeTimeout, reason: fmt.Sprintf("Task timed out after %.2f seconds", after.Seconds())}
}

// exitFailure words a tree's end as Lambda does. The zero Exit is one that gave no reason.
func exitFailure(e sandbox.Exit) *failure {
	f := &failure{status: hansom.StatusCrash, errorType: typeExit}
	switch {
	case e.Extension != "" && !e.OOM:
		f.errorType, f.reason = typeExtensionCrash, exitReason(e)
	case e.OOM:
		f.status, f.errorType, f.reason = hansom.StatusOutOfMemory, typeOutOfMemory, "Runtime exited with error: signal: killed"
	case e.Signal != 0:
		f.reason = "Runtime exited with error: signal: " + syscall.Signal(e.Signal).String()
	case e.Code != 0:
		f.reason = "Runtime exited with error: exit status " + strconv.Itoa(e.Code)
	default:
		f.reason = "Runtime exited without providing a reason"
	}
	return f
}

// initFailure is what the runtime itself reported of a failed init.
func initFailure(payload []byte) *failure {
	var body struct {
		ErrorType string `json:"errorType"`
	}
	if err := json.Unmarshal(payload, &body); err != nil {
		return &failure{status: hansom.StatusError, errorType: typeUnknown, reason: "The runtime reported an error that is not JSON"}
	}
	if body.ErrorType == "" {
		body.ErrorType = typeUnknown
	}
	return &failure{status: hansom.StatusError, errorType: body.ErrorType, payload: payload}
}

// answer is the payload that the caller gets.
func (f *failure) answer(id string) []byte {
	if f.payload != nil {
		return f.payload
	}
	b, _ := json.Marshal(struct { // two strings: it cannot fail
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}{f.errorType, "RequestId: " + id + " Error: " + f.reason})
	return b
}

// again is the same failure as another call has to answer for it, which did not pay for the boot.
func (f *failure) again() *failure {
	if f == nil {
		return nil
	}
	g := *f
	g.init = 0
	return &g
}

// log writes what Lambda writes between START and END.
func (f *failure) log(out *output, j *journal, v *hansom.Version, at time.Time) {
	if v.Logging.Format == formatJSON {
		for _, text := range []string{f.note, f.reason} {
			if text != "" { // there is no reason when the runtime has logged it
				out.event(j, at, systemLine(v, at, "WARN", "fault", "RequestId: "+j.id+" Error: "+text))
			}
		}
		return
	}
	if f.note != "" {
		out.event(j, at, "RequestId: "+j.id+" Error: "+f.note)
	}
	switch {
	case f.payload != nil: // the runtime has logged it
	case f.status == hansom.StatusTimeout:
		out.event(j, at, at.UTC().Format("2006-01-02T15:04:05.000Z")+" "+j.id+" "+f.reason)
	default:
		out.event(j, at, "RequestId: "+j.id+" Error: "+f.reason)
		out.event(j, at, f.errorType)
	}
}

// frameLines are the START and END lines of a call, in one allocation.
func frameLines(id, version string) (start, end string) {
	var array [192]byte
	b := append(array[:0], "START RequestId: "...)
	b = append(b, id...)
	b = append(b, " Version: "...)
	b = append(b, version...)
	n := len(b)
	b = append(b, "END RequestId: "...)
	b = append(b, id...)
	s := string(b)
	return s[:n], s[n:]
}

// reportLine is Lambda's REPORT line; f is nil when the runtime answered.
func reportLine(c *hansom.Completion, f *failure) string {
	var array [256]byte
	b := append(array[:0], "REPORT RequestId: "...)
	b = append(b, c.ID...)
	b = append(b, "\tDuration: "...)
	b = appendMillis(b, c.Duration)
	b = append(b, " ms\tBilled Duration: "...)
	b = strconv.AppendInt(b, int64(c.Billed/time.Millisecond), 10)
	b = append(b, " ms\tMemory Size: "...)
	b = strconv.AppendInt(b, int64(c.Version.Memory), 10)
	b = append(b, " MB\tMax Memory Used: "...)
	b = strconv.AppendInt(b, megabytes(c.MemoryUsed), 10)
	b = append(b, " MB\t"...)
	if c.Init > 0 {
		b = append(b, "Init Duration: "...)
		b = appendMillis(b, c.Init)
		b = append(b, " ms\t"...)
	}
	if f != nil {
		b = append(b, f.statusFields()...)
	}
	return string(b)
}

// statusFields end REPORT and INIT_REPORT lines of what did not end well.
func (f *failure) statusFields() string {
	if f.status == hansom.StatusTimeout {
		return "Status: timeout"
	}
	return "Status: error\tError Type: " + f.errorType
}

func initReportLine(d time.Duration, phase string, f *failure) string {
	b := append([]byte(nil), "INIT_REPORT Init Duration: "...)
	b = appendMillis(b, d)
	return string(b) + " ms\tPhase: " + phase + "\t" + f.statusFields()
}

// megabytes rounds up.
func megabytes(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d)/float64(time.Millisecond), 'f', 2, 64)
}

// billed is d in whole milliseconds, rounded up; at least one.
func billed(d time.Duration) time.Duration {
	return max((d + time.Millisecond - 1).Truncate(time.Millisecond), time.Millisecond)
}

func initStartLine(v *hansom.Version, rt *runtimes.Runtime) string {
	return "INIT_START Runtime Version: " + rt.Version() + "\tRuntime Version ARN: " + rt.ARN(v.Region)
}
