// Package cloudevent is CloudEvents 1.0 over HTTP (HTTP Protocol Binding and JSON Event Format, version 1.0.2), and what such an event is
// on an event bus, as an event of EventBridge. docs/reference/cloudevents.md has the mapping.
package cloudevent

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

const (
	// MaxSize of an event as it is on a bus, in bytes.
	MaxSize = 256 << 10
	// MaxAttributes is how large the attributes of an event are together, names and values, in bytes: they become the header of a request.
	MaxAttributes = 8 << 10
	// MaxType of an event, in characters; it is EventBridge's of a detail type.
	MaxType = 128
)

// CodeMediaType is the code of the error for a request that is no CloudEvent by its header.
const CodeMediaType = "UnsupportedMediaType"

// Event is an event of CloudEvents 1.0. Required are ID, Source and Type; what is optional and empty is not there.
type Event struct {
	ID, Source, Type string
	Subject          string
	Time             string // RFC 3339, as its producer wrote it
	DataSchema       string
	ContentType      string         // datacontenttype
	Extensions       map[string]any // string, bool or int32, by names of a-z and 0-9
	Data             []byte         // what the content type says; nil for none
}

const op = "read CloudEvent"

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, op, format, args...)
}

// isJSON says whether data of a content type is JSON; that of none is when it can be.
func isJSON(contentType string) bool {
	t := mediaType(contentType)
	return t == "" || t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json")
}

// isText says whether data of a content type is written as text in JSON.
func isText(contentType string) bool {
	t := mediaType(contentType)
	return strings.HasPrefix(t, "text/") || t == "application/xml" || strings.HasSuffix(t, "+xml")
}

func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// set gives an attribute its value: a string, or for extensions a bool or an int32 too.
func (e *Event) set(name string, value any) error {
	text, isString := value.(string)
	known := map[string]*string{"id": &e.ID, "source": &e.Source, "type": &e.Type, "subject": &e.Subject, "time": &e.Time, "dataschema": &e.DataSchema,
		"datacontenttype": &e.ContentType}[name]
	switch {
	case isString && !utf8.ValidString(text):
		return invalid("%s is not UTF-8", name)
	case isString && strings.ContainsFunc(text, unicode.IsControl):
		return invalid("%s has a control character, which attributes of CloudEvents must not have", name)
	case name == "specversion":
		if text != "1.0" {
			return invalid("specversion is %.20q; version 1.0 of CloudEvents is understood", fmt.Sprint(value))
		}
	case known != nil && !isString:
		return invalid("%s must be a string", name)
	case known != nil:
		if text == "" {
			return invalid("%s must not be empty", name)
		}
		*known = text
	case name == "" || name == "data" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return invalid("%.40q cannot be the name of an attribute: it has letters a to z in lower case and digits, and is not data", name)
	default:
		if e.Extensions == nil {
			e.Extensions = map[string]any{}
		}
		e.Extensions[name] = value
	}
	return nil
}

// check says what is wrong with an event that somebody sent, whose attributes have been set.
func (e *Event) check() error {
	for _, required := range [][2]string{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if required[1] == "" {
			return invalid("the attribute %s is missing", required[0])
		}
	}
	if n := utf8.RuneCountInString(e.Type); n > MaxType {
		return invalid("type has %d characters; at most %d are possible", n, MaxType)
	}
	for _, reference := range [][2]string{{"source", e.Source}, {"dataschema", e.DataSchema}} {
		if _, err := url.Parse(reference[1]); err != nil {
			return invalid("%s must be a URI: %w", reference[0], err)
		}
	}
	if _, err := time.Parse(time.RFC3339, e.Time); err != nil && e.Time != "" {
		return invalid("time must be as in 2026-11-30T12:00:00Z (RFC 3339), not %.40q", e.Time)
	}
	if e.size() > MaxAttributes {
		return hansom.Errorf(hansom.TooLarge, op, "the attributes of a CloudEvent, without its data, have at most %d bytes", MaxAttributes)
	}
	if e.Data == nil || json.Valid(e.Data) && utf8.Valid(e.Data) {
		return nil
	}
	if e.ContentType == "" {
		e.ContentType = "application/octet-stream"
	} else if isJSON(e.ContentType) {
		return invalid("the content type says that the data is JSON, and it is not")
	}
	return nil
}

// size counts the names and values of attributes.
func (e *Event) size() (n int) {
	for _, a := range e.attributes() {
		n += len(a.name) + len(a.text())
	}
	return n
}

// attribute is one that is there.
type attribute struct {
	name  string
	value any // string, bool, int32
}

// text is the attribute's canonical string (CloudEvents 1.0, "Type System").
func (a attribute) text() string { return fmt.Sprint(a.value) }

// attributes lists what is there but for the content type, extensions in the order of their names.
func (e *Event) attributes() []attribute {
	out := []attribute{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}, {"subject", e.Subject}, {"time", e.Time}, {"dataschema", e.DataSchema}}
	out = slices.DeleteFunc(out, func(a attribute) bool { return a.value == "" })
	known := len(out)
	for name, value := range e.Extensions {
		out = append(out, attribute{name, value})
	}
	slices.SortFunc(out[known:], func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	return out
}
