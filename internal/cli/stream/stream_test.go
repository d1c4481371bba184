package stream

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

const (
	id    = "d3d47848-ca60-4bed-9ced-36f2ba554c56"
	other = "461b2f43-0d4e-4731-a871-a28ed4b3a4f6"
)

func newStream() (*Stream, *bytes.Buffer, *[]func()) {
	var out bytes.Buffer
	var late []func()
	s := New(terminal.New(&out, nil))
	s.after = func(_ time.Duration, f func()) *time.Timer {
		late = append(late, f)
		return time.AfterFunc(time.Hour, f)
	}
	return s, &out, &late
}

var at = time.Date(2026, 11, 25, 14, 27, 15, 0, time.Local)

func TestLog(t *testing.T) {
	for message, want := range map[string]string{
		"a line\n": "14:27:15  f  a line\n",
		"2026-11-25T14:27:15.545Z\t" + id + "\tINFO\tgreeting Ada":                                                                          "14:27:15  f  greeting Ada\n",
		"2026-11-25T14:27:15.545Z\t" + id + "\tERROR\tError: x\n at":                                                                        "14:27:15  f  ERROR Error: x\n              at\n",
		"2026-11-25T14:27:15.545Z " + id + " Task timed out":                                                                                "14:27:15  f  2026-11-25T14:27:15.545Z " + id + " Task timed out\n",
		"2026-11-25T14:27:15.545Z\tundefined\tERROR\tUncaught Exception \t{\"stack\":[\"Error: x\",\"    at f (/var/task/index.ts:4:9)\"]}": "14:27:15  f  ERROR Error: x\n                 at f (/var/task/index.ts:4:9)\n",
		"2026-11-25T14:27:15.545Z\t" + id + "\tERROR\tInvoke Error \t{\"errorType\":\"x\"}":                                                 "14:27:15  f  ERROR Invoke Error \t{\"errorType\":\"x\"}\n",
		"evil \x1b[2J":                                                             "14:27:15  f  evil \uFFFD[2J\n",
		"INIT_START Runtime Version: nodejs:22":                                    "",
		"START RequestId: " + id + " Version: $LATEST":                             "",
		"END RequestId: " + id:                                                     "",
		"REPORT RequestId: " + id + "\tDuration: 1 ms":                             "",
		"INIT_REPORT Init Duration: 3 ms\tPhase: init\tStatus: error":              "14:27:15  f  INIT_REPORT Init Duration: 3 ms\tPhase: init\tStatus: error\n",
		"START of something":                                                       "14:27:15  f  START of something\n",
		`{"time":"2026-11-25T14:27:15.545Z","type":"platform.report","record":{}}`: "",
		`{"time":"2026-11-25T14:27:15.545Z","level":"INFO"}`:                       "14:27:15  f  {\"time\":\"2026-11-25T14:27:15.545Z\",\"level\":\"INFO\"}\n",
	} {
		s, out, _ := newStream()
		s.Log(hansom.LogEvent{Time: at, Function: "f", RequestID: id, Message: message})
		if out.String() != want {
			t.Errorf("%q shows %q, want %q", message, out, want)
		}
	}
}

func TestRequest(t *testing.T) {
	ok := client.Request{Time: at, ID: id, Function: "f", Method: "GET", Path: "/a", Status: 200, Outcome: "ok", Duration: 3.14, Memory: 41, MemoryMax: 128}
	for name, c := range map[string]struct {
		change func(*client.Request)
		want   string
	}{
		"warm":     {func(*client.Request) {}, "14:27:15  GET    /a                        200     3.1 ms  warm  41 of 128 MB  f"},
		"cold":     {func(r *client.Request) { r.Cold, r.Init = true, 60.9 }, "14:27:15  GET    /a                        200     3.1 ms  cold, 61 ms of it to start  41 of 128 MB  f"},
		"no start": {func(r *client.Request) { r.Cold, r.Status, r.Outcome = true, 500, "error" }, "14:27:15  GET    /a                        500     3.1 ms  cold  41 of 128 MB  error  f"},
		"failed":   {func(r *client.Request) { r.Status, r.Outcome = 502, "timeout" }, "14:27:15  GET    /a                        502     3.1 ms  warm  41 of 128 MB  timeout  f"},
		"nowhere": {func(r *client.Request) {
			*r = client.Request{Time: at, Method: "GET", Path: "/b", Status: 404, Outcome: "refused"}
		}, "14:27:15  GET    /b                        404     0.0 ms"},
		"refused": {func(r *client.Request) { r.Status, r.Outcome, r.Reason = 429, "refused", "Rate Exceeded." }, "14:27:15  GET    /a                        429     3.1 ms  Rate Exceeded.  f"},
		"site": {func(r *client.Request) {
			*r = client.Request{Time: at, Method: "GET", Path: "/a", Status: 200, Outcome: "ok", Duration: 3.14}
		}, "14:27:15  GET    /a                        200     3.1 ms"},
		"invoked":  {func(r *client.Request) { r.Method, r.Path, r.Status = "", "", 0 }, "14:27:15  invoke f                          ok     3.1 ms  warm  41 of 128 MB"},
		"event":    {func(r *client.Request) { r.Method, r.Path, r.Status, r.Source = "", "", 0, "async" }, "14:27:15  async  f                          ok     3.1 ms  warm  41 of 128 MB"},
		"for long": {func(r *client.Request) { r.Duration = 12_345 }, "14:27:15  GET    /a                        200     12.3 s  warm  41 of 128 MB  f"},
	} {
		s, out, _ := newStream()
		r := ok
		c.change(&r)
		s.Log(hansom.LogEvent{Time: at, Function: "f", RequestID: id, Message: "REPORT RequestId: " + id})
		s.Request(r)
		if out.String() != c.want+"\n" {
			t.Errorf("%s:\n%q, want\n%q", name, out, c.want)
		}
	}
}

func TestRequestOnNarrowTerminal(t *testing.T) {
	s, out, _ := newStream()
	s.width = func() int { return 80 }
	s.Request(client.Request{Time: at, Function: "all-express", Method: "GET", Path: "/a", Status: 200, Outcome: "ok", Duration: 3.14, Memory: 41, MemoryMax: 128})
	if want := "14:27:15  GET    /a                200     3.1 ms  warm  41 of 128 MB  all-express\n"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
}

// A request waits for the end of its log, but not for ever; those of others do not count.
func TestOrder(t *testing.T) {
	s, out, late := newStream()
	log := func(of, message string) {
		s.Log(hansom.LogEvent{Time: at, Function: "f", RequestID: of, Message: message})
	}
	s.Request(client.Request{Time: at, ID: id, Function: "f", Outcome: "ok"})
	log(other, "REPORT RequestId: "+other)
	log(id, "its line")
	if strings.Contains(out.String(), "invoke") {
		t.Fatalf("the request was shown before its log:\n%s", out)
	}
	(*late)[0]() // the end of the log, or of patience
	if want := "14:27:15  f  its line\n14:27:15  invoke f"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got\n%s", out)
	}
	s.Request(client.Request{Time: at, ID: other, Function: "g", Outcome: "ok"})
	if !strings.Contains(out.String(), "invoke g") {
		t.Errorf("a request whose log was complete had to wait:\n%s", out)
	}
}
