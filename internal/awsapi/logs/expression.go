package logs

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// expression decides on what a message holds: a JSON value, or the string of a field.
type expression func(root any) bool

// selector finds values. A wildcard finds several; nothing is found where there is nothing.
type selector func(root any) []any

// maxDepth is how deep parentheses may be nested.
const maxDepth = 50

// expressions reads comparisons that are joined by && and ||; && binds closer.
type expressions struct {
	scanner
	selector func() (selector, error) // reads the left side of a comparison
	json     bool                     // IS and EXISTS are known
	depth    int
}

func (p *expressions) or() (expression, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, malformed("It is nested too deep")
	}
	defer func() { p.depth-- }()
	left, err := p.and()
	for err == nil {
		if p.space(); !p.take("||") {
			return left, nil
		}
		a := left
		var b expression
		if b, err = p.and(); err == nil {
			left = func(root any) bool { return a(root) || b(root) }
		}
	}
	return nil, err
}

func (p *expressions) and() (expression, error) {
	left, err := p.operand()
	for err == nil {
		if p.space(); !p.take("&&") {
			return left, nil
		}
		a := left
		var b expression
		if b, err = p.operand(); err == nil {
			left = func(root any) bool { return a(root) && b(root) }
		}
	}
	return nil, err
}

func (p *expressions) operand() (expression, error) {
	if p.space(); p.take("(") {
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take(")") {
			return nil, malformed("A parenthesis is not closed")
		}
		return e, nil
	}
	sel, err := p.selector()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.json {
		if e, ok, err := p.state(sel); ok || err != nil {
			return e, err
		}
	}
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(op) {
			test, err := p.comparison(op)
			if err != nil {
				return nil, err
			}
			return func(root any) bool { return slices.ContainsFunc(sel(root), test) }, nil
		}
	}
	return nil, malformed("A comparison has no operator")
}

// state reads IS TRUE, IS FALSE, IS NULL, NOT EXISTS and, which CloudWatch Logs does not have, IS NOT ... and EXISTS.
func (p *expressions) state(sel selector) (e expression, ok bool, err error) {
	word := func() string {
		p.space()
		return strings.ToUpper(p.while(unicode.IsLetter))
	}
	first := word()
	switch first {
	case "":
		return nil, false, nil
	case "EXISTS":
		return func(root any) bool { return len(sel(root)) > 0 }, true, nil
	case "NOT":
		if word() == "EXISTS" {
			return func(root any) bool { return len(sel(root)) == 0 }, true, nil
		}
	case "IS":
		what := word()
		not := what == "NOT"
		if not {
			what = word()
		}
		if value, known := map[string]any{"TRUE": true, "FALSE": false, "NULL": nil}[what]; known {
			return func(root any) bool {
				return slices.ContainsFunc(sel(root), func(x any) bool { return scalar(x) && (x == value) != not })
			}, true, nil
		}
	}
	return nil, false, malformed("After a property comes =, !=, <, >, <=, >=, IS TRUE, IS FALSE, IS NULL or NOT EXISTS")
}

// scalar tells values from objects and lists, which cannot be compared.
func scalar(x any) bool {
	switch x.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// comparison reads the right side of a comparison.
func (p *expressions) comparison(op string) (func(any) bool, error) {
	p.space()
	var test func(string) bool
	switch p.peek() {
	case '"':
		s, err := p.quoted()
		if err != nil {
			return nil, err
		}
		test = wildcard(s)
	case '%':
		re, err := p.regex()
		if err != nil {
			return nil, err
		}
		if p.regexes > maxRegexes {
			return nil, malformed("It has more than " + strconv.Itoa(maxRegexes) + " regular expressions")
		}
		test = re.MatchString
	default:
		word := p.while(func(r rune) bool {
			return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_.*+-/:", r)
		})
		if word == "" {
			return nil, badTerm(p.next())
		}
		if n, err := strconv.ParseFloat(word, 64); err == nil && !unicode.IsLetter(rune(strings.TrimLeft(word, "+-")[0])) {
			return numeric(op, n), nil
		}
		test = wildcard(word)
	}
	if op != "=" && op != "!=" {
		return nil, malformed("The operator " + op + " needs a number")
	}
	return func(x any) bool {
		s, ok := plain(x)
		return ok && test(s) == (op == "=")
	}, nil
}

// plain words a string, a number, true or false as a message has it.
func plain(x any) (string, bool) {
	switch x := x.(type) {
	case string:
		return x, true
	case field:
		return string(x), true
	case json.Number:
		return x.String(), true
	case bool:
		return strconv.FormatBool(x), true
	}
	return "", false
}

// numeric compares with a number. Fields of a message are strings; in JSON, a string is no number.
func numeric(op string, n float64) func(any) bool {
	return func(x any) bool {
		var text string
		switch x := x.(type) {
		case json.Number:
			text = x.String()
		case field:
			text = string(x)
		default:
			return op == "!=" && x != nil && scalar(x)
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return op == "!="
		}
		switch op {
		case "=":
			return v == n
		case "!=":
			return v != n
		case "<":
			return v < n
		case "<=":
			return v <= n
		case ">":
			return v > n
		}
		return v >= n
	}
}

// parseJSONPattern reads what is between the braces.
func parseJSONPattern(text string) (pattern, error) {
	p := &expressions{scanner: scanner{text: text}, json: true}
	p.selector = p.property
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest() != "" {
		return nil, badTerm(p.next())
	}
	return func(message []byte) bool {
		message = bytes.TrimSpace(message)
		if len(message) == 0 || message[0] != '{' && message[0] != '[' {
			return false
		}
		dec := json.NewDecoder(bytes.NewReader(message))
		dec.UseNumber()
		var root any
		if dec.Decode(&root) != nil {
			return false
		}
		_, err := dec.Token()
		return err == io.EOF && e(root)
	}, nil
}

// property reads $.a.b[0].['c.d'], with at most one wildcard: $.a[*] or $.a.*
func (p *expressions) property() (selector, error) {
	if !p.take("$") {
		return nil, badTerm(p.next())
	}
	var steps []selector
	wildcards := 0
	for {
		var step selector
		dot := p.take(".")
		switch {
		case p.take("['"):
			end := strings.Index(p.rest(), "']")
			if end < 0 {
				return nil, malformed("A property that starts with [' must end with ']")
			}
			step = member(p.rest()[:end])
			p.at += end + 2
		case p.take("[*]"), dot && p.take("*"):
			wildcards++
			step = children
		case p.take("["):
			n, err := strconv.Atoi(p.while(func(r rune) bool { return r >= '0' && r <= '9' }))
			if err != nil || !p.take("]") {
				return nil, malformed("An index is a number between brackets")
			}
			step = element(n)
		case dot:
			name := p.while(func(r rune) bool { return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) })
			if name == "" {
				return nil, badTerm(p.next())
			}
			step = member(name)
		}
		if step == nil {
			break
		}
		steps = append(steps, step)
	}
	switch {
	case len(steps) == 0:
		return nil, malformed("A property is $.name")
	case wildcards > 1:
		return nil, malformed("A property has more than one wildcard")
	}
	return func(root any) []any {
		found := []any{root}
		for _, step := range steps {
			var next []any
			for _, x := range found {
				next = append(next, step(x)...)
			}
			found = next
		}
		return found
	}, nil
}

func member(name string) selector {
	return func(x any) []any {
		object, _ := x.(map[string]any)
		if v, ok := object[name]; ok {
			return []any{v}
		}
		return nil
	}
}

func element(i int) selector {
	return func(x any) []any {
		if list, _ := x.([]any); i < len(list) {
			return list[i : i+1]
		}
		return nil
	}
}

func children(x any) []any {
	switch x := x.(type) {
	case []any:
		return x
	case map[string]any:
		var out []any
		for _, v := range x {
			out = append(out, v)
		}
		return out
	}
	return nil
}
