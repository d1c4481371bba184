// Package stream shows what happens on a server while somebody develops: what functions log, and each request under what was logged
// for it.
package stream

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
)

// patience is how long a request waits for the end of its log, which comes on another connection.
const patience = 300 * time.Millisecond

// Stream prints log events and requests. Its methods may be called from several goroutines.
type Stream struct {
	out   *terminal.Writer
	width func() int

	mu      sync.Mutex
	logged  map[string]bool        // requests whose log is complete
	waiting map[string]*time.Timer // requests that wait for that
	after   func(d time.Duration, f func()) *time.Timer
}

// New returns a Stream that prints to out.
func New(out *terminal.Writer) *Stream {
	return &Stream{out: out, width: out.Width, logged: map[string]bool{}, waiting: map[string]*time.Timer{}, after: time.AfterFunc}
}

// Log prints what a function logged; of the platform's lines only what went wrong.
func (s *Stream) Log(e hansom.LogEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch frame(e.Message) {
	case inner:
		return
	case last:
		if len(s.logged) > 10_000 { // of requests that nobody told of
			clear(s.logged)
		}
		s.logged[e.RequestID] = true
		if t := s.waiting[e.RequestID]; t != nil {
			t.Reset(0)
		}
		return
	}
	_ = Event(s.out, clock(e.Time), e.Function, plain(e.Message)) // dev goes on without its terminal
}

// Event prints a log event; lines after the first stand below its message.
func Event(out *terminal.Writer, at, function, message string) error {
	function = terminal.Printable(function)
	prefix := out.Paint(at, terminal.Dim) + "  " + out.Paint(function, terminal.Cyan) + "  "
	below := strings.Repeat(" ", len(at)+len(function)+4)
	var text strings.Builder
	for line := range strings.Lines(strings.TrimRight(message, "\r\n\t ") + "\n") {
		text.WriteString(prefix + terminal.Printable(strings.TrimRight(line, "\r\n")) + "\n")
		prefix = below
	}
	_, err := fmt.Fprint(out, text.String())
	return err
}

// stamp is what Lambda's Node.js writes before a message: the time and the request, which are known here, and the level.
var stamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[\d:.]+Z\t(?:[0-9a-f-]{36}|undefined)\t([A-Z]+)\t`)

// plain is a message without what the stream says itself.
func plain(message string) string {
	message = strings.TrimRight(message, "\r\n\t ")
	m := stamp.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	message = unfold(message[len(m[0]):])
	if m[1] != "INFO" {
		message = m[1] + " " + message
	}
	return message
}

// unfold lays out the error that Lambda's Node.js writes as JSON when a handler fails or a module does not load.
func unfold(message string) string {
	what, object, ok := strings.Cut(message, " \t")
	if !ok || what != "Invoke Error" && what != "Uncaught Exception" && what != "Unhandled Promise Rejection" {
		return message
	}
	var failure struct{ Stack []string }
	if json.Unmarshal([]byte(object), &failure) != nil || len(failure.Stack) == 0 {
		return message
	}
	return strings.Join(failure.Stack, "\n")
}

// place of a line of the platform around a call.
type place uint8

const (
	none place = iota
	inner
	last // of the call
)

func frame(message string) place {
	kind := message
	if rest, ok := strings.CutPrefix(message, `{"time":"`); ok { // with the log format JSON
		if _, kind, ok = strings.Cut(rest, `","type":"platform.`); !ok {
			return none
		}
		kind, _, _ = strings.Cut(kind, `"`)
	} else {
		kind, _, _ = strings.Cut(message, " ")
		if rest, ok := strings.CutPrefix(message, kind+" RequestId: "); kind != "INIT_START" && (!ok || len(rest) < 36) {
			return none
		}
	}
	switch kind {
	case "INIT_START", "START", "END", "initStart", "initRuntimeDone", "initReport", "start", "runtimeDone":
		return inner
	case "REPORT", "report":
		return last
	}
	return none
}

// Request prints a request, once all that was logged for it is printed or some time has passed.
func (s *Stream) Request(r client.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ID == "" || r.Outcome == "refused" || s.logged[r.ID] {
		delete(s.logged, r.ID)
		s.print(&r)
		return
	}
	s.waiting[r.ID] = s.after(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, r.ID)
		delete(s.logged, r.ID)
		s.print(&r)
	})
}

// print writes one line: time, method and path or what was invoked, status, time taken, cold or warm, memory, function.
func (s *Stream) print(r *client.Request) {
	method, path, of := r.Method, r.Path, r.Function
	if method == "" {
		method, path, of = "invoke", r.Function, ""
		if r.Source != "" && r.Source != "api" { // "async", of an event
			method = r.Source
		}
	}
	status, colour := r.Outcome, terminal.Green
	if r.Status != 0 {
		status = strconv.Itoa(r.Status)
	}
	switch {
	case r.Status >= 500 || r.Outcome != "ok" && r.Outcome != "refused":
		colour = terminal.Red
	case r.Status >= 400 || r.Outcome == "refused":
		colour = terminal.Yellow
	}
	var parts []string
	if r.Outcome != "refused" && r.Function != "" { // else a site or another server answered
		warm := "warm"
		if r.Cold {
			warm = s.out.Paint("cold", terminal.Yellow)
			if r.Init > 0 { // it did start
				warm += fmt.Sprintf(", %.0f ms of it to start", r.Init)
			}
		}
		parts = append(parts, warm, fmt.Sprintf("%d of %d MB", r.Memory, r.MemoryMax))
	}
	if r.Status != 0 && r.Outcome != "ok" && r.Outcome != "refused" {
		parts = append(parts, r.Outcome)
	}
	if r.Reason != "" {
		parts = append(parts, terminal.Printable(r.Reason))
	}
	if of != "" {
		parts = append(parts, terminal.Printable(of))
	}
	column := 24
	if n := s.width(); n > 0 && n < 100 {
		column = 16
	}
	line := fmt.Sprintf("%s  %s %s  %s  %s  %s", s.out.Paint(clock(r.Time), terminal.Dim), s.out.Paint(fmt.Sprintf("%-6s", method), terminal.Bold),
		fmt.Sprintf("%-*s", column, terminal.Printable(path)), s.out.Paint(fmt.Sprintf("%3s", status), colour), fmt.Sprintf("%9s", took(r.Duration)),
		strings.Join(parts, "  "))
	fmt.Fprintln(s.out, strings.TrimRight(line, " "))
}

func took(ms float64) string {
	if ms >= 10_000 {
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }
