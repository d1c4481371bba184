// Package policy holds resource policies: statements of IAM policy documents, as the Lambda API writes them.
// See "Policies and permissions in IAM", the grammar of version 2012-10-17.
package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// maxDocument is AWS's limit of a resource policy, in bytes.
const maxDocument = 20 << 10

// Statement is one statement in the order of fields that the Lambda API writes. Effect is always Allow.
type Statement struct {
	Sid       string
	Effect    string
	Principal any // "*", {"Service": ...} or {"AWS": ...}
	Action    string
	Resource  string
	Condition map[string]map[string]string `json:",omitempty"`
}

// Statements of one policy, in the order in which they were added.
type Statements []Statement

// Add returns the policy with one more statement. Errors, in Lambda's words: Conflict for a Sid that is taken, Invalid with the
// code PolicyLengthExceededException for a document over 20 KB.
func (s Statements) Add(st Statement) (Statements, error) {
	const op = "add permission"
	if s.index(st.Sid) >= 0 {
		return nil, hansom.Errorf(hansom.Conflict, op, "The statement id (%s) provided already exists. "+
			"Please provide a new statement id, or remove the existing statement.", st.Sid)
	}
	s = append(slices.Clip(s), st)
	if n := len(s.Document()); n > maxDocument {
		return nil, hansom.Errorf(hansom.Invalid, op, "The final policy size (%d) is bigger than the limit (%d).", n, maxDocument).
			WithCode("PolicyLengthExceededException")
	}
	return s, nil
}

// Remove returns the policy without a statement. Error: NotFound.
func (s Statements) Remove(sid string) (Statements, error) {
	i := s.index(sid)
	if i < 0 {
		return nil, hansom.Errorf(hansom.NotFound, "remove permission", "Statement %s is not found in resource policy.", sid)
	}
	return slices.Delete(slices.Clone(s), i, i+1), nil
}

func (s Statements) index(sid string) int {
	return slices.IndexFunc(s, func(st Statement) bool { return st.Sid == sid })
}

// Document is the policy as GetPolicy answers it.
func (s Statements) Document() string {
	return encode(struct {
		Version   string
		ID        string `json:"Id"`
		Statement Statements
	}{"2012-10-17", "default", s})
}

// String is the JSON of the statements, to keep.
func (s Statements) String() string { return encode(s) }

// String is the JSON of the statement, as AddPermission answers it.
func (st Statement) String() string { return encode(st) }

// encode writes what cannot fail: strings, and maps and slices of them.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n")
}
