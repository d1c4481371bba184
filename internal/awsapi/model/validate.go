package model

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/hansomcloud/hansom"
)

// Validator decodes requests and holds them to the constraints of a table of shapes.
type Validator struct {
	shapes   []Shape
	patterns map[string]pattern // by the model's pattern
}

type pattern struct{ match, not *regexp.Regexp }

func (p pattern) accepts(s string) bool {
	return p.match.MatchString(s) && (p.not == nil || !p.not.MatchString(s))
}

// NewValidator compiles the patterns that the structures at inputs need.
func NewValidator(shapes []Shape, inputs []int) *Validator {
	v := &Validator{shapes: shapes, patterns: map[string]pattern{}}
	seen := map[int]bool{}
	for _, i := range inputs {
		v.compile(i, seen)
	}
	return v
}

func (v *Validator) compile(i int, seen map[int]bool) {
	if seen[i] {
		return
	}
	seen[i] = true
	s := &v.shapes[i]
	if _, ok := v.patterns[s.Pattern]; s.Pattern != "" && !ok {
		var p pattern
		match := s.Pattern
		if s.Match != "" {
			match = s.Match
			p.not = regexp.MustCompile(`\A(?:` + s.Not + `)\z`)
		}
		p.match = regexp.MustCompile(`\A(?:` + match + `)\z`) // AWS matches the whole value
		v.patterns[s.Pattern] = p
	}
	for _, m := range s.Members {
		v.compile(m.Shape, seen)
	}
	switch s.Kind {
	case Mapping:
		v.compile(s.Key, seen)
		v.compile(s.Elem, seen)
	case List:
		v.compile(s.Elem, seen)
	}
}

// Decode returns the members that body, a JSON object or nothing, has of the structure at input. Errors: a body that is not JSON,
// or a value of the wrong type, is Invalid with code SerializationException.
func (v *Validator) Decode(input int, body []byte) (Params, error) {
	in := Params{}
	doc := document(body)
	if len(doc) == 0 {
		return in, nil
	}
	if !json.Valid(body) {
		return nil, Unreadable(SyntaxError(body))
	}
	if doc[0] != '{' {
		return nil, Unreadable(unexpected(doc, Structure))
	}
	return in, v.decodeMembers(in, &v.shapes[input], doc)
}

// Check holds in to the constraints of the structure at input. What breaks them is reported together, in AWS's words, as one
// error: Invalid with code ValidationException.
func (v *Validator) Check(input int, in Params) error {
	var found []string
	v.check(&found, &v.shapes[input], in, "")
	if len(found) == 0 {
		return nil
	}
	return Invalid(found)
}

// Invalid is the error of a request that breaks the constraints found, each in AWS's words.
func Invalid(found []string) error {
	noun := "errors"
	if len(found) == 1 {
		noun = "error"
	}
	return hansom.Errorf(hansom.Invalid, "validate", "%d validation %s detected: %s", len(found), noun, strings.Join(found, "; ")).WithCode("ValidationException")
}

// Unreadable is the error of a request that cannot be decoded.
func Unreadable(message string) error {
	return hansom.Errorf(hansom.Invalid, "decode", "%s", message).WithCode("SerializationException")
}

// Scalar reads a value of the shape from a path, a query or a header. Errors: as Decode.
func (v *Validator) Scalar(shape int, raw string) (any, error) {
	switch v.shapes[shape].Kind {
	case Integer:
		n, err := strconv.ParseInt(raw, 10, 32)
		if err != nil {
			return nil, Unreadable(raw + " can not be converted to an Integer")
		}
		return n, nil
	case Long:
		n, err := strconv.ParseInt(raw, 10, 64)
		if err != nil {
			return nil, Unreadable(raw + " can not be converted to a Long")
		}
		return n, nil
	case Boolean:
		b, err := strconv.ParseBool(raw)
		if err != nil {
			return nil, Unreadable(raw + " can not be converted to a Boolean")
		}
		return b, nil
	}
	return raw, nil
}

// decodeMembers adds the members of a JSON object that the structure s knows. Others are ignored, as AWS does.
func (v *Validator) decodeMembers(into Params, s *Shape, doc value) (err error) {
	doc.members(func(name string, e value) bool {
		i := slices.IndexFunc(s.Members, func(m Member) bool { return m.WireName() == name && m.In == InBody })
		if i < 0 {
			return true
		}
		m := &s.Members[i]
		var x any
		if x, err = v.decodeValue(&v.shapes[m.Shape], e); err != nil {
			return false
		}
		if x == nil {
			delete(into, m.Name)
		} else {
			into[m.Name] = x
		}
		return true
	})
	return err
}

func (v *Validator) decodeValue(s *Shape, doc value) (any, error) {
	if doc[0] == 'n' {
		return nil, nil
	}
	wrong := func() (any, error) { return nil, Unreadable(unexpected(doc, s.Kind)) }
	switch s.Kind {
	case Structure:
		if doc[0] != '{' {
			return wrong()
		}
		out := Params{}
		return out, v.decodeMembers(out, s, doc)
	case Mapping:
		if doc[0] != '{' {
			return wrong()
		}
		out := map[string]any{}
		var err error
		doc.members(func(name string, e value) bool {
			out[name], err = v.decodeValue(&v.shapes[s.Elem], e)
			return err == nil
		})
		return out, err
	case List:
		if doc[0] != '[' {
			return wrong()
		}
		out := []any{}
		var err error
		doc.elements(func(e value) bool {
			var x any
			x, err = v.decodeValue(&v.shapes[s.Elem], e)
			out = append(out, x)
			return err == nil
		})
		return out, err
	case Text:
		if doc[0] != '"' {
			return wrong()
		}
		return doc.text(), nil
	case Octets:
		if doc[0] != '"' {
			return wrong()
		}
		return decodeBlob(doc)
	case Boolean:
		if doc[0] != 't' && doc[0] != 'f' {
			return wrong()
		}
		return doc[0] == 't', nil
	case Integer:
		if doc[0] != '-' && (doc[0] < '0' || doc[0] > '9') {
			return wrong()
		}
		f, err := strconv.ParseFloat(string(doc), 64)
		if err != nil || math.Abs(f) > math.MaxInt32 {
			return nil, Unreadable(fmt.Sprintf("Numeric value (%s) out of range of int", doc))
		}
		return int64(f), nil // AWS drops a fraction
	case Long:
		if doc[0] != '-' && (doc[0] < '0' || doc[0] > '9') {
			return wrong()
		}
		n, err := strconv.ParseInt(string(doc), 10, 64)
		if f, bad := strconv.ParseFloat(string(doc), 64); err != nil && bad == nil && math.Abs(f) < 1<<63 {
			n, err = int64(f), nil
		}
		if err != nil {
			return nil, Unreadable(fmt.Sprintf("Numeric value (%s) out of range of long", doc))
		}
		return n, nil
	default: // double, timestamp
		if doc[0] != '-' && (doc[0] < '0' || doc[0] > '9') {
			return wrong()
		}
		f, err := strconv.ParseFloat(string(doc), 64)
		if err != nil {
			return nil, Unreadable(fmt.Sprintf("Numeric value (%s) out of range of double", doc))
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
		return nil, Unreadable("A binary value is not valid base64: " + err.Error())
	}
	return out[:n], nil
}

// unexpected words the mismatch between a JSON value and the kind that the model asks for.
func unexpected(v value, want Kind) string {
	switch v[0] {
	case '{':
		return "Start of structure or map found where not expected."
	case '[':
		return "Start of list found where not expected"
	}
	names := [...]string{Structure: "a Structure", List: "a List", Mapping: "a Map", Text: "a String", Integer: "an Integer",
		Long: "a Long", Double: "a Double", Boolean: "a Boolean", Octets: "a Blob", Timestamp: "a Timestamp"}
	token := map[byte]string{'"': "STRING_VALUE", 't': "TRUE_VALUE", 'f': "FALSE_VALUE", 'n': "NULL_VALUE"}[v[0]]
	if token == "" {
		token = "NUMBER_VALUE"
	}
	return token + " can not be converted to " + names[want]
}

// check notes what breaks the constraints of a structure. path ends in a dot unless it is "".
func (v *Validator) check(found *[]string, s *Shape, in Params, path string) {
	for i := range s.Members {
		m := &s.Members[i]
		at := path + strings.ToLower(m.Name[:1]) + m.Name[1:]
		x, ok := in[m.Name]
		if !ok {
			if m.Required {
				*found = append(*found, "Value null at '"+at+"' failed to satisfy constraint: Member must not be null")
			}
			continue
		}
		v.checkValue(found, &v.shapes[m.Shape], x, at)
	}
}

func (v *Validator) checkValue(found *[]string, s *Shape, x any, at string) {
	note := func(constraint string) {
		shown := "Value '" + java(x) + "' at '"
		if s.Sensitive || s.Kind == Mapping && (v.shapes[s.Key].Sensitive || v.shapes[s.Elem].Sensitive) {
			shown = "Value at '"
		}
		*found = append(*found, shown+at+"' failed to satisfy constraint: "+constraint)
	}
	for _, c := range v.broken(s, x) {
		note(c)
	}
	switch x := x.(type) {
	case Params:
		v.check(found, s, x, at+".")
	case []any:
		elem := &v.shapes[s.Elem]
		if elem.Kind == Structure || elem.Kind == List || elem.Kind == Mapping {
			for i, e := range x {
				if e != nil {
					v.checkValue(found, elem, e, fmt.Sprintf("%s.%d.member", at, i+1))
				}
			}
		} else if slices.ContainsFunc(x, func(e any) bool { return v.bad(elem, e) }) {
			note("Member must satisfy constraint: [" + all(elem) + "]")
		}
	case map[string]any:
		key, elem := &v.shapes[s.Key], &v.shapes[s.Elem]
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
func (v *Validator) bad(s *Shape, x any) bool {
	if x == nil {
		return !s.Nullable
	}
	return len(v.broken(s, x)) > 0
}

// broken returns the constraints of s itself that x breaks.
func (v *Validator) broken(s *Shape, x any) []string {
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
	if s.HasMax && size > s.Max {
		out = append(out, bound(what, "less", s.Max))
	}
	if s.HasMin && size < s.Min {
		out = append(out, bound(what, "greater", s.Min))
	}
	if str, ok := x.(string); ok {
		if s.Pattern != "" && !v.patterns[s.Pattern].accepts(str) {
			out = append(out, "Member must satisfy regular expression pattern: "+s.Pattern)
		}
		if s.Enum != nil && !slices.Contains(s.Enum, str) {
			out = append(out, "Member must satisfy enum value set: ["+strings.Join(s.Enum, ", ")+"]")
		}
	}
	return out
}

func bound(what, side string, limit float64) string {
	return fmt.Sprintf("Member must have %s %s than or equal to %v", what, side, strconv.FormatFloat(limit, 'f', -1, 64))
}

// all lists every constraint of an element, as AWS does when one of them is broken.
func all(s *Shape) string {
	what := "length"
	if s.Kind == Integer || s.Kind == Double {
		what = "value"
	}
	var out []string
	if s.HasMax {
		out = append(out, bound(what, "less", s.Max))
	}
	if s.HasMin {
		out = append(out, bound(what, "greater", s.Min))
	}
	if s.Pattern != "" {
		out = append(out, "Member must satisfy regular expression pattern: "+s.Pattern)
	}
	if s.Enum != nil {
		out = append(out, "Member must satisfy enum value set: ["+strings.Join(s.Enum, ", ")+"]")
	}
	if !s.Nullable {
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
