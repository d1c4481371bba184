package logs

import (
	"bytes"
	"strings"
	"unicode"
)

// field is the text of one field of a space-delimited message.
type field string

// ellipsis stands for any number of fields.
const ellipsis = "..."

// parseFields reads what is between the brackets of a pattern for space-delimited messages: names of fields, each with a condition
// or none.
func parseFields(text string) (pattern, error) {
	p := &expressions{scanner: scanner{text: text}}
	var before, after []expression // the ellipsis
	list, open := &before, false
	for {
		p.space()
		if p.take(ellipsis) {
			if open {
				return nil, malformed("It has more than one ellipsis")
			}
			open, list = true, &after
		} else {
			e, err := p.field()
			if err != nil {
				return nil, err
			}
			*list = append(*list, e)
		}
		if p.space(); p.rest() == "" {
			break
		}
		if !p.take(",") {
			return nil, badTerm(p.next())
		}
	}
	return func(message []byte) bool {
		values := split(message)
		n := len(before) + len(after)
		if len(values) < n || !open && len(values) > n {
			return false
		}
		for i, e := range before {
			if !e(values[i]) {
				return false
			}
		}
		for i, e := range after {
			if !e(values[len(values)-len(after)+i]) {
				return false
			}
		}
		return true
	}, nil
}

// field reads one field; all comparisons in it are about that field.
func (p *expressions) field() (expression, error) {
	start := p.at
	p.while(func(r rune) bool { return r == '(' || unicode.IsSpace(r) })
	name := p.name()
	if name == "" {
		return nil, badTerm(p.next())
	}
	if p.space(); p.text[start] != '(' && (p.rest() == "" || p.peek() == ',') {
		return func(any) bool { return true }, nil
	}
	p.at = start
	p.selector = func() (selector, error) {
		if other := p.name(); other != name {
			return nil, malformed("The condition of the field " + name + " names another one")
		}
		return func(root any) []any { return []any{root} }, nil
	}
	return p.or()
}

func (p *expressions) name() string {
	return p.while(func(r rune) bool {
		return r == '_' || r == '-' || r == '*' || unicode.IsLetter(r) || unicode.IsDigit(r)
	})
}

// split cuts a message at spaces. What is between brackets or quotation marks is one field, without them.
func split(message []byte) []field {
	var out []field
	for rest := bytes.TrimSpace(message); len(rest) > 0; rest = bytes.TrimLeftFunc(rest, unicode.IsSpace) {
		if i := strings.IndexByte(`["`, rest[0]); i >= 0 {
			if end := bytes.IndexByte(rest[1:], `]"`[i]); end >= 0 {
				out = append(out, field(rest[1:1+end]))
				rest = rest[end+2:]
				continue
			}
		}
		end := bytes.IndexFunc(rest, unicode.IsSpace)
		if end < 0 {
			end = len(rest)
		}
		out = append(out, field(rest[:end]))
		rest = rest[end:]
	}
	return out
}
