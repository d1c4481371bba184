// Package mapping changes requests on their way to an integration and answers on their way back, as the parameter mapping of HTTP APIs
// does, and evaluates its expressions: "$request.header.x", "${request.path.id}/${stageVariables.v}".
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-parameter-mapping.html
package mapping

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// maxBodyPath is how much of a body a JSON path looks at, in bytes.
const maxBodyPath = 100 << 10

// Input is what expressions read.
type Input struct {
	Request *http.Request                    // header and query
	Path    string                           // of the request, without its stage, as it stands in the request line
	Param   func(name string) (string, bool) // parameters of the path, decoded
	Raw     func(name string) (string, bool) // the same as they stand in the request line
	Body    func() []byte                    // of the request; nil when there is none
	Context func(name string) (string, bool) // $context variables
	Stage   map[string]string                // stage variables
	Header  http.Header                      // of the answer; nil before there is one
	Answer  func() []byte                    // its body

	query url.Values
}

// Value is a parsed expression: a text with variables in it.
type Value struct{ parts []part }

type part struct {
	kind variable
	text string // static text, or the name of the variable
	path []step // of a body
}

type variable uint8

const (
	static variable = iota
	requestHeader
	requestQuery
	requestParam
	requestPath
	requestBody
	contextVariable
	stageVariable
	answerHeader
	answerBody
)

const opParse = "read mapping"

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, opParse, format, args...)
}

// ParseValue reads an expression of a request: a text with any number of variables in it, "$request.header.x" or "${request.header.x}". A dollar sign within a
// text that begins no variable stands for itself. Error: Invalid.
func ParseValue(s string) (Value, error) { return parseValue(s, false) }

// ParseSelection reads a selection expression, which is one variable: "$request.header.x". Error: Invalid.
func ParseSelection(s string) (Value, error) {
	p, err := parseVariable(strings.TrimPrefix(s, "$"), false)
	return Value{[]part{p}}, err
}

func parseValue(whole string, answer bool) (v Value, err error) {
	text := ""
	for s := whole; s != ""; {
		before, rest, ok := strings.Cut(s, "$")
		if text += before; !ok {
			break
		}
		first := len(v.parts) == 0 && text == ""
		name, braced := strings.CutPrefix(rest, "{")
		if braced {
			if name, s, ok = strings.Cut(name, "}"); !ok {
				return v, invalid("the expression %q has a ${ without its }", whole)
			}
			name = strings.TrimPrefix(name, "$")
		} else {
			n := nameEnd(rest)
			if name = rest[:n]; !first || n < len(rest) {
				name = strings.TrimRight(name, ".-") // they end a sentence, not a name
			}
			s = rest[len(name):]
		}
		p, err := parseVariable(name, answer)
		switch {
		case err == nil:
		case braced || first:
			return v, err
		default:
			text, s = text+"$", rest
			continue
		}
		if text != "" {
			v.parts = append(v.parts, part{text: text})
		}
		v.parts, text = append(v.parts, p), ""
	}
	if text != "" {
		v.parts = append(v.parts, part{text: text})
	}
	return v, nil
}

// nameEnd is where the name of a variable without braces ends.
func nameEnd(s string) int {
	n, also := 0, "-.["
	if strings.HasPrefix(s, "context.") {
		also = "."
	} else if strings.HasPrefix(s, "stageVariables.") {
		n, also = len("stageVariables."), ""
	}
	for ; n < len(s); n++ {
		switch c := s[n]; {
		case c == '_', c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= utf8.RuneSelf:
		case strings.IndexByte(also, c) < 0:
			return n
		case c == '[':
			end := strings.IndexByte(s[n:], ']')
			if end < 0 {
				return len(s)
			}
			n += end
		}
	}
	return n
}

// parseVariable reads a variable without its dollar sign.
func parseVariable(s string, answer bool) (p part, err error) {
	for _, form := range []struct {
		prefix string
		kind   variable
		of     string // "request" or "response", where the variable is to be had alone; "" for everywhere
	}{
		{"request.header.", requestHeader, "request"},
		{"request.querystring.", requestQuery, "request"},
		{"request.path.", requestParam, "request"},
		{"request.body", requestBody, "request"},
		{"response.header.", answerHeader, "response"},
		{"response.body", answerBody, "response"},
		{"context.", contextVariable, ""},
		{"stageVariables.", stageVariable, ""},
	} {
		name, ok := strings.CutPrefix(s, form.prefix)
		if !ok {
			continue
		}
		if answer && form.of == "request" || !answer && form.of == "response" {
			return p, invalid("the variable $%s is not to be had in the mapping of a %s", s, map[bool]string{true: "response", false: "request"}[answer])
		}
		p = part{kind: form.kind, text: name}
		if form.kind == requestBody || form.kind == answerBody {
			p.path, err = parsePath(s, name)
			return p, err
		}
		if name == "" {
			return p, invalid("the variable $%s has no name", s)
		}
		if form.kind == contextVariable && strings.ContainsFunc(name, func(c rune) bool {
			return c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
		}) {
			return p, invalid("the variable $%s: names of $context have letters, digits, periods and underscores", s)
		}
		return p, nil
	}
	if s == "request.path" && !answer {
		return part{kind: requestPath}, nil
	}
	return p, invalid("the variable $%.100s is not known; there are $request.header.NAME, $request.querystring.NAME, $request.path, $request.path.NAME, $request.body, $response.header.NAME, $response.body, $context.NAME and $stageVariables.NAME", s)
}

// Static tells whether a value is the same whatever the request is, and which.
func (v Value) Static() (string, bool) {
	switch {
	case len(v.parts) == 0:
		return "", true
	case len(v.parts) == 1 && v.parts[0].kind == static:
		return v.parts[0].text, true
	}
	return "", false
}

// Get evaluates v. What a variable does not find is ""; ok is false when v has variables and none of them found something.
func (v Value) Get(in *Input) (text string, ok bool) {
	if len(v.parts) == 1 {
		p := &v.parts[0]
		if p.kind == static {
			return p.text, true
		}
		return p.get(in)
	}
	var b strings.Builder
	ok = true
	found := false
	for i := range v.parts {
		p := &v.parts[i]
		if p.kind == static {
			b.WriteString(p.text)
			continue
		}
		ok = false
		if s, here := p.get(in); here {
			b.WriteString(s)
			found = true
		}
	}
	return b.String(), ok || found
}

// Escaped evaluates v with each variable escaped, but for what comes from the path of the request, which is so already.
func (v Value) Escaped(in *Input, escape func(string) string) string {
	var b strings.Builder
	for i := range v.parts {
		p := &v.parts[i]
		s, ok := p.get(in)
		switch {
		case p.kind == static, p.kind == requestPath:
		case p.kind == requestParam && in.Raw != nil:
			s, ok = in.Raw(p.text)
		default:
			s = escape(s)
		}
		if ok {
			b.WriteString(s)
		}
	}
	return b.String()
}

func (p *part) get(in *Input) (string, bool) {
	switch p.kind {
	case requestHeader:
		if strings.EqualFold(p.text, "Host") {
			return in.Request.Host, in.Request.Host != ""
		}
		return header(in.Request.Header, p.text)
	case requestQuery:
		if in.query == nil {
			in.query = Query(in.Request.URL.RawQuery)
		}
		values, ok := in.query[p.text]
		return strings.Join(values, ","), ok
	case requestParam:
		if in.Param == nil {
			return "", false
		}
		return in.Param(p.text)
	case requestPath:
		return in.Path, true
	case requestBody:
		return pick(in.Body, p.path)
	case contextVariable:
		if in.Context == nil {
			return "", false
		}
		return in.Context(p.text)
	case stageVariable:
		s, ok := in.Stage[p.text]
		return s, ok
	case answerHeader:
		return header(in.Header, p.text)
	case answerBody:
		return pick(in.Answer, p.path)
	}
	return p.text, true
}

func header(h http.Header, name string) (string, bool) {
	values := h.Values(name)
	if len(values) == 1 {
		return values[0], true
	}
	return strings.Join(values, ","), len(values) > 0
}

// Query reads a query as the gateway does: pairs between "&", in their order; what is not encoded well stays as it is.
func Query(raw string) url.Values {
	values := url.Values{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			name = unescape(name)
			values[name] = append(values[name], unescape(value))
		}
	}
	return values
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// JSON evaluates v as a JSON document with variables in it: within a string a value is escaped, elsewhere it is a document itself or becomes a string. A
// lone variable is what it finds.
func (v Value) JSON(in *Input) string {
	if len(v.parts) == 1 {
		s, _ := v.parts[0].get(in)
		return s
	}
	var b []byte
	quoted := false
	for i := range v.parts {
		p := &v.parts[i]
		s, _ := p.get(in)
		if p.kind == static {
			for n := 0; n < len(s); n++ {
				if quoted && s[n] == '\\' {
					n++
				} else if s[n] == '"' {
					quoted = !quoted
				}
			}
			b = append(b, s...)
			continue
		}
		text, err := json.Marshal(s)
		switch {
		case err != nil:
		case quoted:
			b = append(b, text[1:len(text)-1]...)
		case json.Valid([]byte(s)):
			b = append(b, s...)
		default:
			b = append(b, text...)
		}
	}
	return string(b)
}

// NeedsRequest tells whether v reads anything but stage variables.
func (v Value) NeedsRequest() bool {
	return slices.ContainsFunc(v.parts, func(p part) bool { return p.kind != static && p.kind != stageVariable })
}
