package eventbus

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom/internal/pattern"
)

// object is the JSON of an event whose detail is compact, its members in EventBridge's order.
func (s *Service) object(project string, e *Event, in *Entry, detail []byte) []byte {
	b := make([]byte, 0, 256+in.Size()+len(s.cfg.Region)+len(project))
	b = appendText(append(b, `{"version":"0","id":`...), e.ID)
	b = appendText(append(b, `,"detail-type":`...), in.DetailType)
	b = appendText(append(b, `,"source":`...), in.Source)
	b = appendText(append(b, `,"account":`...), project)
	b = appendText(append(b, `,"time":`...), e.Time.UTC().Format(time.RFC3339))
	b = appendText(append(b, `,"region":`...), s.cfg.Region)
	b = append(b, `,"resources":[`...)
	for i, r := range in.Resources {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, r)
	}
	b = append(append(b, `],"detail":`...), detail...)
	return append(b, '}')
}

// appendText appends a JSON string, in which < and > stay as they are.
func appendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return append(b, encode(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// compact is a JSON object without white space between its tokens; ok is false when it is none, no UTF-8, or nested deeper than patterns
// and transformers read in an event.
func compact(detail []byte) (out []byte, ok bool) {
	var b bytes.Buffer
	b.Grow(len(detail))
	err := json.Compact(&b, detail)
	return b.Bytes(), err == nil && b.Bytes()[0] == '{' && utf8.Valid(b.Bytes()) && depth(b.Bytes()) < pattern.MaxDepth
}

// depth is how deep objects and arrays are nested in valid JSON.
func depth(text []byte) (most int) {
	open, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			open++
			most = max(most, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return most
}
