package event

import (
	"encoding/json"
	"strings"

	"github.com/hansomcloud/hansom/internal/pattern"
)

// passes says whether a record matches one of the filters. A pattern for members of the body is for bodies that are JSON, one for the
// body itself for those that are not (Lambda developer guide, "Properly filtering Amazon SQS messages").
func passes(filters []*pattern.Pattern, record []byte) bool {
	if len(filters) == 0 {
		return true
	}
	var members map[string]json.RawMessage
	var body string
	if json.Unmarshal(record, &members) != nil || json.Unmarshal(members["body"], &body) != nil {
		return false
	}
	isJSON := strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "{") && json.Valid([]byte(body))
	var opened []byte
	for _, p := range filters {
		event := record
		switch {
		case p.Under("body") && !isJSON, p.At("body") && isJSON:
			continue
		case p.Under("body"):
			if opened == nil {
				members["body"] = json.RawMessage(body)
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
