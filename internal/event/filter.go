package event

import (
	"encoding/json"
	"strings"

	"github.com/hansomcloud/hansom/internal/pattern"
)

// passes says whether a record matches one of the filters. A pattern for members of the body is for bodies that are JSON, one for the
// body itself for those that are not (Lambda developer guide, "Properly filtering Amazon SQS messages"). The body of a message of
// NATS is its data.
func passes(filters []*pattern.Pattern, record []byte) bool {
	if len(filters) == 0 {
		return true
	}
	var members map[string]json.RawMessage
	var text string
	var data []byte
	if json.Unmarshal(record, &members) != nil {
		return false
	}
	body := "body"
	if json.Unmarshal(members[body], &text) != nil {
		if body = "data"; json.Unmarshal(members[body], &data) != nil {
			return false
		}
		text = string(data)
	}
	isJSON := strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") && json.Valid([]byte(text))
	var opened []byte
	for _, p := range filters {
		event := record
		switch {
		case p.Under(body) && !isJSON, p.At(body) && isJSON:
			continue
		case p.Under(body), p.At(body) && body == "data":
			if opened == nil { // data that is no JSON is matched as text, not as base64
				if members[body] = json.RawMessage(text); !isJSON {
					members[body], _ = json.Marshal(text) // a string: it cannot fail
				}
				var err error
				if opened, err = json.Marshal(members); err != nil {
					return false
				}
			}
			event = opened
		}
		if ok, err := p.Match(event); err == nil && ok {
			return true
		}
	}
	return false
}
