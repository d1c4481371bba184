package lambda

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/hansomcloud/hansom"
)

// params are the members of a structure that a request carries, by name. Values are string, int64, float64, bool, []byte,
// []any, map[string]any or params; a null is left out.
type params map[string]any

func (p params) text(name string) string { s, _ := p[name].(string); return s }

func (p params) textPtr(name string) *string {
	if s, ok := p[name].(string); ok {
		return &s
	}
	return nil
}

func (p params) integer(name string) int { n, _ := p[name].(int64); return int(n) }

func (p params) integerPtr(name string) *int {
	if n, ok := p[name].(int64); ok {
		i := int(n)
		return &i
	}
	return nil
}

func (p params) boolPtr(name string) *bool {
	if b, ok := p[name].(bool); ok {
		return &b
	}
	return nil
}

func (p params) sub(name string) params { s, _ := p[name].(params); return s }

// texts returns a list of strings; nil when it was not given.
func (p params) texts(name string) []string {
	list, ok := p[name].([]any)
	if !ok {
		return nil
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i], _ = v.(string)
	}
	return out
}

// validator decodes requests and holds them to the constraints of the model.
type validator struct {
	patterns map[string]pattern // by the model's pattern
}

type pattern struct{ match, not *regexp.Regexp }

func (p pattern) accepts(s string) bool {
	return p.match.MatchString(s) && (p.not == nil || !p.not.MatchString(s))
}

// newValidator compiles the patterns that the inputs of ops need.
func newValidator(ops []*operation) *validator {
	v := &validator{patterns: map[string]pattern{}}
	seen := map[int]bool{}
	for _, op := range ops {
		v.compile(op.input, seen)
	}
	return v
}

func (v *validator) compile(i int, seen map[int]bool) {
	if seen[i] {
		return
	}
	seen[i] = true
	s := &shapes[i]
	if _, ok := v.patterns[s.pattern]; s.pattern != "" && !ok {
		var p pattern
		match := s.pattern
		if s.match != "" {
			match = s.match
			p.not = regexp.MustCompile(`\A(?:` + s.not + `)\z`)
		}
		p.match = regexp.MustCompile(`\A(?:` + match + `)\z`) // AWS matches the whole value
		v.patterns[s.pattern] = p
	}
	for _, m := range s.members {
		v.compile(m.shape, seen)
	}
	switch s.kind {
	case mapping:
		v.compile(s.key, seen)
		v.compile(s.elem, seen)
	case list:
		v.compile(s.elem, seen)
	}
}

// request is where the members of an input come from.
type request struct {
	path   map[string]string
	query  url.Values
	header http.Header
	body   []byte
}

// decode returns the input of op. A value of the wrong type is a SerializationException; values that break constraints are
// reported together, in AWS's words, as a ValidationException.
func (v *validator) decode(op *operation, r request) (params, error) {
	in := params{}
	s := &shapes[op.input]
	if op.payload == "" && hasBody(s) && len(document(r.body)) > 0 {
		if !json.Valid(r.body) {
			return nil, unreadable(syntaxError(r.body))
		}
		doc := document(r.body)
		if doc[0] != '{' {
			return nil, unreadable(unexpected(doc, structure))
		}
		if err := decodeMembers(in, s, doc); err != nil {
			return nil, err
		}
	}
	for i := range s.members {
		m := &s.members[i]
		var raw string
		var ok bool
		switch m.in {
		case inPath:
			raw, ok = r.path[m.wireName()]
		case inQuery:
			ok = r.query.Has(m.wireName())
			raw = r.query.Get(m.wireName())
		case inHeader:
			raw = r.header.Get(m.wireName())
			ok = raw != ""
		default:
			continue
		}
		if !ok {
			continue
		}
		x, err := parseScalar(&shapes[m.shape], raw)
		if err != nil {
			return nil, err
		}
		in[m.name] = x
	}
	var found []string
	v.check(&found, s, in, "")
	if len(found) > 0 {
		return nil, invalid(found)
	}
	return in, nil
}

func (m *member) wireName() string {
	if m.wire != "" {
		return m.wire
	}
	return m.name
}

func hasBody(s *shape) bool {
	return slices.ContainsFunc(s.members, func(m member) bool { return m.in == inBody })
}

func invalid(found []string) error {
	noun := "errors"
	if len(found) == 1 {
		noun = "error"
	}
	return hansom.Errorf(hansom.Invalid, "validate", "%d validation %s detected: %s", len(found), noun, strings.Join(found, "; ")).WithCode("ValidationException")
}

func unreadable(message string) error {
	return hansom.Errorf(hansom.Invalid, "decode", "%s", message).WithCode("SerializationException")
}

// parseScalar reads a value from a path, a query or a header.
func parseScalar(s *shape, raw string) (any, error) {
	switch s.kind {
	case integer:
		n, err := strconv.ParseInt(raw, 10, 32)
		if err != nil {
			return nil, unreadable(raw + " can not be converted to an Integer")
		}
		return n, nil
	case boolean:
		b, err := strconv.ParseBool(raw)
		if err != nil {
			return nil, unreadable(raw + " can not be converted to a Boolean")
		}
		return b, nil
	}
	return raw, nil
}

// decodeMembers adds the members of a JSON object that the structure s knows. Others are ignored, as AWS does.
func decodeMembers(into params, s *shape, doc value) (err error) {
	doc.members(func(name string, v value) bool {
		i := slices.IndexFunc(s.members, func(m member) bool { return m.name == name && m.in == inBody })
		if i < 0 {
			return true
		}
		var x any
		if x, err = decodeValue(&shapes[s.members[i].shape], v); err != nil {
			return false
		}
		if x == nil {
			delete(into, name)
		} else {
			into[name] = x
		}
		return true
	})
	return err
}

func decodeValue(s *shape, v value) (any, error) {
	if v[0] == 'n' {
		return nil, nil
	}
	wrong := func() (any, error) { return nil, unreadable(unexpected(v, s.kind)) }
	switch s.kind {
	case structure:
		if v[0] != '{' {
			return wrong()
		}
		out := params{}
		return out, decodeMembers(out, s, v)
	case mapping:
		if v[0] != '{' {
			return wrong()
		}
		out := map[string]any{}
		var err error
		v.members(func(name string, e value) bool {
			out[name], err = decodeValue(&shapes[s.elem], e)
			return err == nil
		})
		return out, err
	case list:
		if v[0] != '[' {
			return wrong()
		}
		out := []any{}
		var err error
		v.elements(func(e value) bool {
			var x any
			x, err = decodeValue(&shapes[s.elem], e)
			out = append(out, x)
			return err == nil
		})
		return out, err
	case text:
		if v[0] != '"' {
			return wrong()
		}
		return v.text(), nil
	case octets:
		if v[0] != '"' {
			return wrong()
		}
		return decodeBlob(v)
	case boolean:
		if v[0] != 't' && v[0] != 'f' {
			return wrong()
		}
		return v[0] == 't', nil
	case integer:
		if v[0] != '-' && (v[0] < '0' || v[0] > '9') {
			return wrong()
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil || math.Abs(f) > math.MaxInt32 {
			return nil, unreadable(fmt.Sprintf("Numeric value (%s) out of range of int", v))
		}
		return int64(f), nil // AWS drops a fraction
	default: // double, timestamp
		if v[0] != '-' && (v[0] < '0' || v[0] > '9') {
			return wrong()
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return nil, unreadable(fmt.Sprintf("Numeric value (%s) out of range of double", v))
		}
		return f, nil
	}
}

// decodeBlob decodes base64 straight from the document where it has no escapes.
func decodeBlob(v value) (any, error) {
	src := []byte(v[1 : len(v)-1])
	if slices.Contains(src, '\\') {
		src = []byte(v.text())
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(src)))
	n, err := base64.StdEncoding.Decode(out, src)
	if err != nil {
		return nil, unreadable("A binary value is not valid base64: " + err.Error())
	}
	return out[:n], nil
}

// unexpected words the mismatch between a JSON value and the kind that the model asks for.
func unexpected(v value, want kind) string {
	switch v[0] {
	case '{':
		return "Start of structure or map found where not expected."
	case '[':
		return "Start of list found where not expected"
	}
	names := [...]string{structure: "a Structure", list: "a List", mapping: "a Map", text: "a String", integer: "an Integer",
		double: "a Double", boolean: "a Boolean", octets: "a Blob", timestamp: "a Timestamp"}
	token := map[byte]string{'"': "STRING_VALUE", 't': "TRUE_VALUE", 'f': "FALSE_VALUE", 'n': "NULL_VALUE"}[v[0]]
	if token == "" {
		token = "NUMBER_VALUE"
	}
	return token + " can not be converted to " + names[want]
}

// check notes what breaks the constraints of a structure. path ends in a dot unless it is "".
func (v *validator) check(found *[]string, s *shape, in params, path string) {
	for i := range s.members {
		m := &s.members[i]
		at := path + strings.ToLower(m.name[:1]) + m.name[1:]
		x, ok := in[m.name]
		if !ok {
			if m.required {
				*found = append(*found, "Value null at '"+at+"' failed to satisfy constraint: Member must not be null")
			}
			continue
		}
		v.checkValue(found, &shapes[m.shape], x, at)
	}
}

func (v *validator) checkValue(found *[]string, s *shape, x any, at string) {
	note := func(constraint string) {
		shown := "Value '" + java(x) + "' at '"
		if s.sensitive || s.kind == mapping && (shapes[s.key].sensitive || shapes[s.elem].sensitive) {
			shown = "Value at '"
		}
		*found = append(*found, shown+at+"' failed to satisfy constraint: "+constraint)
	}
	for _, c := range v.broken(s, x) {
		note(c)
	}
	switch x := x.(type) {
	case params:
		v.check(found, s, x, at+".")
	case []any:
		elem := &shapes[s.elem]
		if elem.kind == structure || elem.kind == list || elem.kind == mapping {
			for i, e := range x {
				if e != nil {
					v.checkValue(found, elem, e, fmt.Sprintf("%s.%d.member", at, i+1))
				}
			}
		} else if slices.ContainsFunc(x, func(e any) bool { return v.bad(elem, e) }) {
			note("Member must satisfy constraint: [" + all(elem) + "]")
		}
	case map[string]any:
		key, elem := &shapes[s.key], &shapes[s.elem]
		var badKey, badValue bool
		for k, e := range x {
			badKey = badKey || len(v.broken(key, k)) > 0
			badValue = badValue || v.bad(elem, e)
		}
		if badKey {
			note("Map keys must satisfy constraint: [" + all(key) + "]")
		}
		if badValue {
			note("Map value must satisfy constraint: [" + all(elem) + "]")
		}
	}
}

// bad reports whether an element breaks a constraint.
func (v *validator) bad(s *shape, x any) bool {
	if x == nil {
		return !s.nullable
	}
	return len(v.broken(s, x)) > 0
}

// broken returns the constraints of s itself that x breaks.
func (v *validator) broken(s *shape, x any) []string {
	var out []string
	size, what := 0.0, "length"
	switch x := x.(type) {
	case string:
		for _, r := range x {
			size += float64(utf16.RuneLen(r)) // AWS counts as Java does
		}
	case []byte:
		size = float64(len(x))
	case []any:
		size = float64(len(x))
	case map[string]any:
		size = float64(len(x))
	case int64:
		size, what = float64(x), "value"
	case float64:
		size, what = x, "value"
	}
	if s.hasMax && size > s.max {
		out = append(out, bound(what, "less", s.max))
	}
	if s.hasMin && size < s.min {
		out = append(out, bound(what, "greater", s.min))
	}
	if str, ok := x.(string); ok {
		if s.pattern != "" && !v.patterns[s.pattern].accepts(str) {
			out = append(out, "Member must satisfy regular expression pattern: "+s.pattern)
		}
		if s.enum != nil && !slices.Contains(s.enum, str) {
			out = append(out, "Member must satisfy enum value set: ["+strings.Join(s.enum, ", ")+"]")
		}
	}
	return out
}

func bound(what, side string, limit float64) string {
	return fmt.Sprintf("Member must have %s %s than or equal to %v", what, side, strconv.FormatFloat(limit, 'f', -1, 64))
}

// all lists every constraint of an element, as AWS does when one of them is broken.
func all(s *shape) string {
	what := "length"
	if s.kind == integer || s.kind == double {
		what = "value"
	}
	var out []string
	if s.hasMax {
		out = append(out, bound(what, "less", s.max))
	}
	if s.hasMin {
		out = append(out, bound(what, "greater", s.min))
	}
	if s.pattern != "" {
		out = append(out, "Member must satisfy regular expression pattern: "+s.pattern)
	}
	if s.enum != nil {
		out = append(out, "Member must satisfy enum value set: ["+strings.Join(s.enum, ", ")+"]")
	}
	if !s.nullable {
		out = append(out, "Member must not be null")
	}
	return strings.Join(out, ", ")
}

// java words a value as Java's toString does.
func java(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case string:
		return x
	case []any:
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = java(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(x)) {
			parts = append(parts, k+"="+java(x[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(x)
}
