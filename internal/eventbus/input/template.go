package input

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// Names that every template may use.
const (
	ruleARN   = "aws.events.rule-arn"
	ruleName  = "aws.events.rule-name"
	ingestion = "aws.events.event.ingestion-time"
	noDetail  = "aws.events.event"
	wholeJSON = "aws.events.event.json"
)

// Transformer is an InputTransformer: a template, and the paths of what is filled in.
type Transformer struct {
	parts []part
	paths map[string]*Path
}

// part of a template: a text, then a variable. The variable of the last one is "".
type part struct {
	text, variable string
	inString       bool // the variable stands between quotes
}

// Context is what a template can tell beside the event.
type Context struct {
	RuleARN, RuleName string
	Ingested          time.Time // when the event was published
}

var placeholder = regexp.MustCompile(`<([A-Za-z0-9_.-]+)>`)

// Names of the variables that a path may be given, as the model has them.
var variableName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// ParseTransformer reads a template and its paths. A template is JSON values, one or several with white space between them, in which <name>
// stands for a value, or within a string for a part of it. Errors: Invalid; one that is about a <name> without a path is an *UnknownError.
func ParseTransformer(template string, paths map[string]string) (*Transformer, error) {
	t := &Transformer{paths: map[string]*Path{}}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if !variableName.MatchString(name) || strings.HasPrefix(name, "AWS") {
			return nil, invalid("the name %q of InputPathsMap must consist of letters, digits, _ and -, and must not begin with AWS", name)
		}
		p, err := ParsePath(paths[name])
		if err != nil {
			return nil, err
		}
		t.paths[name] = p
	}
	var sample bytes.Buffer // the template with something for each variable
	quoted, at := false, 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(template, -1) {
		p := part{text: template[at:m[0]], variable: template[m[2]:m[3]]}
		if !predefined(p.variable) && t.paths[p.variable] == nil {
			return nil, &UnknownError{p.variable}
		}
		quoted = quotes(p.text, quoted)
		p.inString = quoted
		t.parts = append(t.parts, p)
		sample.WriteString(p.text)
		if !quoted {
			sample.WriteString("null")
		}
		at = m[1]
	}
	t.parts = append(t.parts, part{text: template[at:]})
	sample.WriteString(template[at:])
	dec := json.NewDecoder(&sample)
	for n := 0; ; n++ {
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			if n > 0 && err.Error() == "EOF" {
				return t, nil
			}
			return nil, invalid("it is neither JSON nor a text between double quotes: %v", err)
		}
	}
}

// UnknownError tells of a variable that has no path.
type UnknownError struct{ Variable string }

func (e *UnknownError) Error() string {
	return "the template has <" + e.Variable + ">, which InputPathsMap does not have"
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "parse input transformer", format, args...)
}

func predefined(name string) bool {
	return name == ruleARN || name == ruleName || name == ingestion || name == noDetail || name == wholeJSON
}

// quotes says whether the end of s is within a string; in says so of its beginning.
func quotes(s string, in bool) bool {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && in:
			i++
		case s[i] == '"':
			in = !in
		}
	}
	return in
}

// Apply fills the template in. What an event does not have is "" within a string, and the string "" elsewhere.
func (t *Transformer) Apply(event []byte, c Context) []byte {
	values := map[string][]byte{}
	var out []byte
	for i := range t.parts {
		p := &t.parts[i]
		out = append(out, p.text...)
		if p.variable == "" {
			break
		}
		v, ok := values[p.variable]
		if !ok {
			v = t.value(p.variable, event, c)
			values[p.variable] = v
		}
		switch {
		case !p.inString && v == nil:
			out = append(out, `""`...)
		case !p.inString:
			out = append(out, v...)
		case len(v) > 0 && v[0] == '"':
			out = append(out, v[1:len(v)-1]...)
		default:
			out = bare(out, v)
		}
	}
	return out
}

// bare appends JSON without its quotes, so that it can be within a string.
func bare(out, v []byte) []byte {
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] == '\\':
			out = append(out, v[i], v[i+1])
			i++
		case v[i] != '"':
			out = append(out, v[i])
		}
	}
	return out
}

// value is the JSON of a variable, nil when the event has nothing there.
func (t *Transformer) value(name string, event []byte, c Context) []byte {
	switch name {
	case ruleARN:
		return text(c.RuleARN)
	case ruleName:
		return text(c.RuleName)
	case ingestion:
		return text(c.Ingested.UTC().Format(time.RFC3339))
	case wholeJSON:
		return event
	case noDetail:
		return withoutDetail(event)
	}
	v, _ := t.paths[name].Find(event)
	return v
}

// withoutDetail is the event but for its detail, with all else in its order.
func withoutDetail(event []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(event))
	_, _ = dec.Token()
	out := []byte{'{'}
	for dec.More() {
		name, err := dec.Token()
		var v json.RawMessage
		if err != nil || dec.Decode(&v) != nil {
			return nil
		}
		if name == "detail" {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, text(name.(string))...), ':'), v...)
	}
	return append(out, '}')
}

func text(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
