// Package accesslog writes the access logs of stages: a line for each request, made of a format with $context variables, into a log group.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
package accesslog

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// maxFormat is the most bytes of a format.
const maxFormat = 3 << 10

// style is how values are made safe where they stand.
type style uint8

const (
	plain    style = iota // CLF and CSV
	jsonText              // within a JSON document
	xmlText               // within an XML document
)

// Format is a parsed format: JSON, CLF, XML, CSV or any other text, with $context variables. It is never changed.
type Format struct {
	parts []part
	style style
}

type part struct{ text, variable string } // one of them is ""

// Parse reads a format. Error: Invalid, when it is empty, too long, or has no $context.requestId or $context.extendedRequestId.
func Parse(format string) (*Format, error) {
	const op = "read access log format"
	format = strings.TrimRight(format, " \t\r\n")
	if format == "" || len(format) > maxFormat {
		return nil, hansom.Errorf(hansom.Invalid, op, "an access log format has 1 to %d bytes", maxFormat)
	}
	f := &Format{}
	switch format[0] {
	case '{', '[':
		f.style = jsonText
	case '<':
		f.style = xmlText
	}
	named := false
	for s := format; s != ""; {
		i := strings.Index(s, "$context.")
		if i < 0 {
			f.parts = append(f.parts, part{text: line(s)})
			break
		}
		if i > 0 {
			f.parts = append(f.parts, part{text: line(s[:i])})
		}
		s = s[i+len("$context."):]
		n := 0
		for n < len(s) && (s[n] == '.' || s[n] == '_' || s[n] == '-' || s[n] >= '0' && s[n] <= '9' || s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z') {
			n++
		}
		name := strings.TrimRight(s[:n], ".-")
		named = named || name == "requestId" || name == "extendedRequestId"
		if s = s[len(name):]; name == "" {
			f.parts = append(f.parts, part{text: "$context."})
			continue
		}
		f.parts = append(f.parts, part{variable: name})
	}
	if !named {
		return nil, hansom.Errorf(hansom.Invalid, op, "an access log format must include $context.requestId or $context.extendedRequestId")
	}
	return f, nil
}

// line makes one line of a text.
func line(s string) string { return strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ").Replace(s) }

// Append appends a line. What value does not know, or knows as "", is "-". Values are escaped as the format's kind asks for, and never end the line.
func (f *Format) Append(b []byte, value func(name string) string) []byte {
	for i := range f.parts {
		p := &f.parts[i]
		if p.variable == "" {
			b = append(b, p.text...)
			continue
		}
		v := value(p.variable)
		if v == "" {
			b = append(b, '-')
			continue
		}
		// error.messageString is a quoted text of its own; within a JSON document that is what is asked for.
		if p.variable == "error.messageString" {
			b = append(f.style.escape(append(b, '"'), v), '"')
			continue
		}
		b = f.style.escape(b, v)
	}
	return b
}

func (s style) escape(b []byte, v string) []byte {
	for i := 0; i < len(v); {
		c := v[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(v[i:])
			b = utf8.AppendRune(b, r)
			i += size
			continue
		}
		i++
		switch {
		case c < ' ' || c == 0x7f:
			if s == xmlText {
				b = append(b, ' ')
				continue
			}
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case s == xmlText && c == '<':
			b = append(b, "&lt;"...)
		case s == xmlText && c == '>':
			b = append(b, "&gt;"...)
		case s == xmlText && c == '&':
			b = append(b, "&amp;"...)
		case s == xmlText && c == '"':
			b = append(b, "&quot;"...)
		case s != xmlText && (c == '"' || c == '\\'):
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}

const hex = "0123456789abcdef"

// Sink takes lines of logs without waiting; telemetry.Logs is one.
type Sink interface {
	Append(hansom.LogEvent)
}

// Log is the access log of one stage.
type Log struct {
	format         *Format
	sink           Sink
	project, group string
	api, stage     string
}

// New returns the log of a stage of an API, which goes to the log group that target, an ARN, names. Errors: Invalid for a target that is no log group,
// and for a format that Parse refuses.
func New(project, api, stage, target, format string, sink Sink) (*Log, error) {
	group, err := Group(target)
	if err != nil {
		return nil, err
	}
	f, err := Parse(format)
	if err != nil {
		return nil, err
	}
	return &Log{f, sink, project, group, api, stage}, nil
}

// Group is the name of the log group that the destination of an access log names: arn:aws:logs:REGION:ACCOUNT:log-group:NAME, with or without ":*" behind it.
// Error: Invalid.
func Group(target string) (string, error) {
	a, err := hansom.ParseARN(target)
	if err == nil && a.Service == "logs" {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(a.Resource, ":*"), "log-group:"); ok && name != "" && !strings.Contains(name, ":") {
			return name, nil
		}
	}
	return "", hansom.Errorf(hansom.Invalid, "read access log destination", "%.200q is no ARN of a log group, arn:aws:logs:REGION:ACCOUNT:log-group:NAME; access logs go nowhere else", target)
}

// Write adds the line of one request.
func (l *Log) Write(now time.Time, id string, value func(name string) string) {
	var array [1 << 10]byte
	l.sink.Append(hansom.LogEvent{Time: now, Project: l.project, Group: l.group, Version: l.stage, Instance: l.api, RequestID: id, Message: string(l.format.Append(array[:0], value))})
}

// Time formats a time as $context.requestTime has it.
func Time(t time.Time) string { return t.UTC().Format("02/Jan/2006:15:04:05 +0000") }

// Milliseconds formats a duration as the latencies have it.
func Milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
