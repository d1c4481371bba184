// Package paging cuts lists into pages.
package paging

import (
	"encoding/base64"
	"encoding/json"

	"github.com/hansomcloud/hansom"
)

// Page asks for part of a list. Marker is what the page before returned as next, "" for the first page.
type Page struct {
	Marker string
	Max    int // 0 means the most there can be in a page; more is cut down to it
}

// Most is the most entries a page holds, as AWS has it.
const Most = 50

var encoding = base64.RawURLEncoding

// Open decodes the marker of a page into after, and returns the most entries it may have. Errors: Invalid.
func (p Page) Open(after any) (limit int, err error) {
	limit = p.Max
	if limit <= 0 || limit > Most {
		limit = Most
	}
	if p.Marker == "" {
		return limit, nil
	}
	text, err := encoding.DecodeString(p.Marker)
	if err == nil {
		err = json.Unmarshal(text, after)
	}
	if err != nil {
		return 0, hansom.Errorf(hansom.Invalid, "list", "The marker is not valid; pass on the NextMarker of the page before.")
	}
	return limit, nil
}

// Marker is that of a page which ends with after.
func Marker(after any) string {
	text, err := json.Marshal(after)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return encoding.EncodeToString(text)
}
