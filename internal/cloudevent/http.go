package cloudevent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
)

// prefix of the header fields that are attributes in binary mode, in canonical form.
const prefix = "Ce-"

// Read takes the events out of a request: one in binary or structured mode, any number in batched mode. A batch is read as a whole or not at all.
// Errors: Invalid, which says what is wrong with which event; TooLarge; Unsupported with CodeMediaType when the header says that it is something else.
func Read(h http.Header, body []byte) ([]Event, error) {
	const structured, batched = "application/cloudevents+json", "application/cloudevents-batch+json"
	unsupported := func(format string, args ...any) ([]Event, error) {
		return nil, hansom.Errorf(hansom.Unsupported, op, format, args...).WithCode(CodeMediaType)
	}
	contentType := h.Get("Content-Type")
	switch t := mediaType(contentType); {
	case t == structured, t == batched:
		if _, params, err := mime.ParseMediaType(contentType); err != nil || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
			return unsupported("the content type %.80q is not understood: events in JSON are UTF-8", contentType)
		}
		if !utf8.Valid(body) {
			return nil, invalid("the body is not UTF-8")
		}
		if t == structured {
			e, err := decode(body)
			if err != nil {
				return nil, err
			}
			return []Event{e}, nil
		}
		return batch(body)
	case strings.HasPrefix(t, "application/cloudevents"):
		return unsupported("the content type %.80q is not understood: events come as %s, as %s, or with their attributes in the header (ce-id, ce-source, ...)", contentType, structured, batched)
	case h.Get("Ce-Specversion") == "":
		return unsupported("this is no CloudEvent: send one as %s, several as %s, or its attributes in the header, of which ce-specversion: 1.0 is one", structured, batched)
	}
	e, err := binary(h, body)
	if err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

func batch(body []byte) ([]Event, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil || list == nil {
		return nil, invalid("the body must be a JSON array of CloudEvents")
	}
	events := make([]Event, len(list))
	for i, text := range list {
		var err error
		if events[i], err = decode(text); err != nil {
			return nil, hansom.Errorf(hansom.KindOf(err), op, "event %d of %d: %w", i+1, len(list), err)
		}
	}
	return events, nil
}

// decode reads an event in JSON.
func decode(text []byte) (e Event, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return e, invalid("the event must be a JSON object")
	}
	if _, ok := members["specversion"]; !ok {
		return e, invalid("the attribute specversion is missing")
	}
	for name, raw := range members {
		if name == "data" || name == "data_base64" || string(raw) == "null" {
			continue
		}
		value, ok := scalar(raw)
		if !ok {
			return e, invalid("the attribute %.40s must be a string, true, false or a whole number of 32 bits", name)
		}
		if err := e.set(name, value); err != nil {
			return e, err
		}
	}
	data, plain := members["data"]
	encoded, isBase64 := members["data_base64"]
	switch {
	case plain && isBase64:
		return e, invalid("data and data_base64 exclude each other")
	case isBase64 && string(encoded) != "null":
		var text string
		if json.Unmarshal(encoded, &text) == nil {
			e.Data, err = base64.StdEncoding.DecodeString(text)
		}
		if e.Data == nil || err != nil {
			return e, invalid("data_base64 must be a string in base64")
		}
	case plain && !isJSON(e.ContentType) && data[0] == '"':
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return e, invalid("data: %w", err)
		}
		e.Data = []byte(text)
	case plain:
		e.Data = data
	}
	return e, e.check()
}

// scalar reads the value of an attribute.
func scalar(raw json.RawMessage) (value any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, false
	}
	switch v := value.(type) {
	case string, bool:
		return v, true
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 32)
		return int32(n), err == nil
	}
	return nil, false
}

// binary reads an event whose attributes are in the header.
func binary(h http.Header, body []byte) (e Event, err error) {
	for name, values := range h {
		attribute, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		attribute = strings.ToLower(attribute)
		switch {
		case len(values) != 1:
			return e, invalid("the header has ce-%.40s %d times", attribute, len(values))
		case attribute == "datacontenttype":
			return e, invalid("ce-datacontenttype is not an attribute of its own in the header: it is the Content-Type")
		}
		if err := e.set(attribute, unescape(values[0])); err != nil {
			return e, err
		}
	}
	if t := h.Get("Content-Type"); t != "" {
		if err := e.set("datacontenttype", t); err != nil {
			return e, err
		}
	}
	if len(body) > 0 {
		e.Data = body
	}
	return e, e.check()
}

// unescape reads a header's value (HTTP Protocol Binding, section 3.1.3.2).
func unescape(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		var b strings.Builder
		for s = s[1 : len(s)-1]; s != ""; s = s[1:] {
			if s[0] == '\\' && len(s) > 1 {
				s = s[1:]
			}
			b.WriteByte(s[0])
		}
		s = b.String()
	}
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for ; s != ""; s = s[1:] {
		if s[0] == '%' && len(s) > 2 {
			if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				s = s[2:]
				continue
			}
		}
		b.WriteByte(s[0])
	}
	return b.String()
}

// escape writes a header's value.
func escape(s string) string {
	plain := func(c byte) bool { return c >= ' ' && c <= '~' && c != '"' && c != '%' }
	var b strings.Builder
	for i := range len(s) {
		// A space at either end would be lost.
		if c := s[i]; plain(c) && !(c == ' ' && (i == 0 || i == len(s)-1)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Binary writes the attributes of e into a header, for a request in binary mode whose body is e.Data.
func (e *Event) Binary(h http.Header) {
	h[prefix+"Specversion"] = []string{"1.0"}
	for _, a := range e.attributes() {
		h[http.CanonicalHeaderKey(prefix+a.name)] = []string{escape(a.text())}
	}
	if e.ContentType != "" {
		h["Content-Type"] = []string{e.ContentType}
	}
}
