package manifest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// ParseYAML parses one YAML document; it is nil when there is nothing in it. Duplicate keys are left to the caller to find. Nesting is
// limited: the parser's time grows with its square. The Error has no File.
func ParseYAML(data []byte, depth int) (ast.Node, *Error) {
	fault := func(t *token.Token, format string, args ...any) *Error {
		e := &Error{Line: 1, Column: 1, Message: fmt.Sprintf(format, args...)}
		if t != nil && t.Position != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
		return e
	}
	tokens := lexer.Tokenize(string(data))
	if t := tooDeep(tokens, depth); t != nil {
		return nil, fault(t, "this is nested more than %d levels deep", depth)
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fault(syntax.GetToken(), "%s", plainSyntax(syntax.GetMessage()))
		}
		return nil, fault(nil, "%s", firstLine(err.Error()))
	}
	var root ast.Node
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case root != nil:
			return nil, fault(d.Body.GetToken(), "this must be one YAML document, not several")
		default:
			root = d.Body
		}
	}
	return root, nil
}

// maxDepth of nesting in a manifest, which needs six.
const maxDepth = 32

// tooDeep finds where flow collections, or sequences begun on one line, nest more deeply than most; nil when they do not.
func tooDeep(tokens token.Tokens, most int) *token.Token {
	flow, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType:
			entries++
		}
		if max(flow, entries) > most {
			return t
		}
	}
	return nil
}

// plainSyntax says in other words what the parser says of the most common slips.
func plainSyntax(message string) string {
	switch {
	case strings.HasPrefix(message, "found character '\t'"):
		return "a tab cannot indent YAML; use spaces"
	case message == "sequence end token ']' not found":
		return "this [ is not closed; add ]"
	case message == "could not find flow mapping end token '}'":
		return "this { is not closed; add }"
	}
	return message
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
