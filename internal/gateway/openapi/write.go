package openapi

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// members are an object in the order in which it is written. Values are members, []any, string, bool and int.
type members []member

type member struct {
	name  string
	value any
}

// add appends what is not empty.
func (m *members) add(name string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
	case members:
		if len(v) == 0 {
			return
		}
	case []any:
		if len(v) == 0 {
			return
		}
	}
	*m = append(*m, member{name, value})
}

// list is a list of texts; nil for none.
func list(texts []string) []any {
	var out []any
	for _, s := range texts {
		out = append(out, s)
	}
	return out
}

func jsonText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // text and a buffer do not fail
	return strings.TrimSuffix(b.String(), "\n")
}

func appendScalar(b []byte, v any, text func(string) string) []byte {
	switch v := v.(type) {
	case string:
		return append(b, text(v)...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return append(b, "null"...)
}

// separator is what stands before the ith value.
func separator(i int, open byte) byte {
	if i == 0 {
		return open
	}
	return ','
}

func appendJSON(b []byte, v any, indent string) []byte {
	inner := indent + "  "
	switch v := v.(type) {
	case members:
		if len(v) == 0 {
			return append(b, "{}"...)
		}
		for i, m := range v {
			b = append(b, separator(i, '{'))
			b = append(append(append(b, '\n'), inner...), jsonText(m.name)...)
			b = appendJSON(append(b, ": "...), m.value, inner)
		}
		return append(append(append(b, '\n'), indent...), '}')
	case []any:
		if len(v) == 0 {
			return append(b, "[]"...)
		}
		for i, item := range v {
			b = append(b, separator(i, '['))
			b = appendJSON(append(append(b, '\n'), inner...), item, inner)
		}
		return append(append(append(b, '\n'), indent...), ']')
	}
	return appendScalar(b, v, jsonText)
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z/$][A-Za-z0-9_/.$-]*$`)
	notText   = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n)$`) // to a reader of YAML 1.1 or 1.2
)

// yamlText quotes as JSON does what would be read as something else.
func yamlText(s string) string {
	if plainText.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	return jsonText(s)
}

func appendYAML(b []byte, v any, indent string) []byte {
	switch v := v.(type) {
	case members:
		for i, m := range v {
			if i > 0 {
				b = append(b, indent...)
			}
			b = append(append(b, yamlText(m.name)...), ':')
			b = appendNested(b, m.value, indent+"  ")
		}
		return b
	case []any:
		for i, item := range v {
			if i > 0 {
				b = append(b, indent...)
			}
			b = append(b, '-', ' ')
			if isEmpty(item) || !isNested(item) {
				b = append(appendYAMLScalar(b, item), '\n')
				continue
			}
			b = appendYAML(b, item, indent+"  ")
		}
	}
	return b
}

// appendNested writes what follows a key.
func appendNested(b []byte, v any, indent string) []byte {
	if isEmpty(v) || !isNested(v) {
		return append(appendYAMLScalar(append(b, ' '), v), '\n')
	}
	return appendYAML(append(append(b, '\n'), indent...), v, indent)
}

func appendYAMLScalar(b []byte, v any) []byte {
	switch v.(type) {
	case members:
		return append(b, "{}"...)
	case []any:
		return append(b, "[]"...)
	}
	return appendScalar(b, v, yamlText)
}

func isNested(v any) bool {
	switch v.(type) {
	case members, []any:
		return true
	}
	return false
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case members:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
