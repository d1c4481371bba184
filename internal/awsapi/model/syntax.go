package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxShown is how much of a body a message repeats, in bytes.
const maxShown = 500

// SyntaxError words what is wrong with a body that is not JSON, in the manner of the parser that AWS uses; "" for one that is.
func SyntaxError(body []byte) string {
	var any json.RawMessage
	var e *json.SyntaxError
	err := json.Unmarshal(body, &any)
	if err == nil {
		return ""
	}
	offset := len(body)
	if errors.As(err, &e) {
		offset = min(int(e.Offset), len(body))
	}
	read := body[:offset]
	line := strings.Count(string(read), "\n") + 1
	column := offset - strings.LastIndexByte(string(read), '\n')
	shown := string(body[:min(len(body), maxShown)])
	if len(body) > maxShown {
		shown += fmt.Sprintf("\"[truncated %d bytes]", len(body)-maxShown)
	} else {
		shown += `"`
	}
	what := "Unexpected end-of-input"
	if offset > 0 && !strings.Contains(err.Error(), "unexpected end") {
		c := body[offset-1]
		what = fmt.Sprintf("Unexpected character ('%c' (code %d)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", c, c)
	}
	return fmt.Sprintf("Could not parse request body into json: %s\n at [Source: (byte[])\"%s; line: %d, column: %d]", what, strings.ToValidUTF8(shown, "\uFFFD"), line, column)
}
