package pattern

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind of a token of JSON.
type kind uint8

const (
	end kind = iota
	objectStart
	objectEnd
	arrayStart
	arrayEnd
	name // of a member
	text
	number
	literal // true, false, null
)

// MaxDepth of nested objects and arrays; the parser that AWS uses has the same.
const MaxDepth = 1000

// refusal is why a text is refused. It travels as a panic inside of the package.
type refusal struct{ reason string }

// token is a part of JSON: of names and texts without quotes and escapes, of numbers and literals as they are written.
type token struct {
	kind   kind
	text   string
	opened int // where it has begun to be read: behind the quote of a text, else as end
	end    int
}

// scanner reads JSON token by token. It is as strict as AWS's parser, and words its errors like that one, because callers see them.
type scanner struct {
	src   string
	pos   int
	open  []byte // objects and arrays that the next token is in: '{' or '['
	fresh bool   // the innermost one has no member yet
	done  bool   // the outermost value has ended
	ahead token  // the value behind a name, which is read with the name
	has   bool   // ahead is set
	at    int    // where errors are, as an offset
}

// next reads a token.
func (s *scanner) next() token {
	t := s.token()
	s.at = t.opened
	if t.kind == name {
		s.ahead, s.has = s.value(), true
		s.at = s.ahead.opened
	}
	return t
}

// all takes t as read to its end, for errors that come later.
func (s *scanner) all(t token) string { s.at = t.end; return t.text }

func (s *scanner) token() token {
	if s.has {
		s.has = false
		s.enter(s.ahead)
		return s.ahead
	}
	s.space()
	if len(s.open) == 0 {
		if s.done {
			if s.pos < len(s.src) {
				s.unexpected("Expected end of text")
			}
			return token{kind: end, opened: s.pos, end: s.pos}
		}
		if s.pos == len(s.src) {
			return token{kind: end, opened: s.pos, end: s.pos}
		}
		t := s.value()
		s.enter(t)
		return t
	}
	inside := s.open[len(s.open)-1]
	c := s.peek(inside)
	if inside == '{' && c == '}' || inside == '[' && c == ']' {
		s.pos++
		s.open = s.open[:len(s.open)-1]
		s.fresh, s.done = false, len(s.open) == 0
		k := objectEnd
		if c == ']' {
			k = arrayEnd
		}
		return token{kind: k, opened: s.pos, end: s.pos}
	}
	if !s.fresh {
		if c != ',' {
			what := "Object"
			if inside == '[' {
				what = "Array"
			}
			s.unexpected("was expecting comma to separate " + what + " entries")
		}
		s.pos++
		s.space()
		c = s.peek(inside)
	}
	s.fresh = false
	if inside == '[' {
		t := s.value()
		s.enter(t)
		return t
	}
	if c != '"' {
		s.unexpected("was expecting double-quote to start field name")
	}
	t := s.quoted(name)
	s.space()
	if s.peek(inside) != ':' {
		s.unexpected("was expecting a colon to separate field name and value")
	}
	s.pos++
	s.space()
	return t
}

// enter notes that a value has been given out.
func (s *scanner) enter(t token) {
	switch t.kind {
	case objectStart, arrayStart:
		if len(s.open) == MaxDepth {
			s.fail(fmt.Sprintf("Document nesting depth (%d) exceeds the maximum allowed (%d)", MaxDepth+1, MaxDepth))
		}
		s.open = append(s.open, s.src[t.end-1])
		s.fresh = true
	default:
		s.done = len(s.open) == 0
	}
}

func (s *scanner) value() token {
	s.space()
	c := s.peek(0)
	from := s.pos
	switch {
	case c == '{', c == '[':
		s.pos++
		k := objectStart
		if c == '[' {
			k = arrayStart
		}
		return token{kind: k, opened: s.pos, end: s.pos}
	case c == '"':
		return s.quoted(text)
	case c == '-' || isDigit(c):
		s.digits()
		return token{kind: number, text: s.src[from:s.pos], opened: s.pos, end: s.pos}
	}
	for s.pos < len(s.src) && isWord(s.src[s.pos]) {
		s.pos++
	}
	switch word := s.src[from:s.pos]; word {
	case "true", "false", "null":
		return token{kind: literal, text: word, opened: s.pos, end: s.pos}
	case "":
		s.unexpected("expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')")
	default:
		s.fail(fmt.Sprintf("Unrecognized token '%s': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", word))
	}
	return token{}
}

// digits reads a number (RFC 8259, section 6).
func (s *scanner) digits() {
	run := func() {
		from := s.pos
		for s.pos < len(s.src) && isDigit(s.src[s.pos]) {
			s.pos++
		}
		if s.pos == from {
			s.unexpected("expected digit (0-9) in numeric value")
		}
	}
	s.skip("-")
	if !s.skip("0") {
		run()
	} else if s.pos < len(s.src) && isDigit(s.src[s.pos]) {
		s.fail("Invalid numeric value: Leading zeroes not allowed")
	}
	if s.skip(".") {
		run()
	}
	if s.skip("eE") {
		s.skip("+-")
		run()
	}
}

// skip passes one character of any.
func (s *scanner) skip(any string) bool {
	if s.pos < len(s.src) && strings.IndexByte(any, s.src[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) quoted(k kind) token {
	s.pos++
	opened := s.pos
	for i := s.pos; i < len(s.src); i++ {
		switch c := s.src[i]; {
		case c == '"':
			s.pos = i + 1
			return token{kind: k, text: s.src[opened:i], opened: opened, end: s.pos}
		case c == '\\':
			return s.escaped(k, opened, i)
		case c < ' ':
			s.pos = i + 1
			s.fail(fmt.Sprintf("Illegal unquoted character ((CTRL-CHAR, code %d)): has to be escaped using backslash to be included in string value", c))
		}
	}
	s.pos = len(s.src)
	s.fail("Unexpected end-of-input: was expecting closing quote for a string value")
	return token{}
}

// escaped reads a text on from its first backslash.
func (s *scanner) escaped(k kind, opened, i int) token {
	b := []byte(s.src[opened:i])
	for s.pos = i; s.pos < len(s.src); {
		c := s.src[s.pos]
		s.pos++
		switch {
		case c == '"':
			return token{kind: k, text: string(b), opened: opened, end: s.pos}
		case c < ' ':
			s.fail(fmt.Sprintf("Illegal unquoted character ((CTRL-CHAR, code %d)): has to be escaped using backslash to be included in string value", c))
		case c != '\\':
			b = append(b, c)
		case s.skip("u"):
			r := s.hex()
			if utf16.IsSurrogate(r) && strings.HasPrefix(s.src[s.pos:], `\u`) {
				from := s.pos
				s.pos += 2
				if pair := utf16.DecodeRune(r, s.hex()); pair != utf8.RuneError {
					r = pair
				} else {
					s.pos = from
				}
			}
			b = utf8.AppendRune(b, r)
		case s.pos < len(s.src):
			i := strings.IndexByte(`"\/bfnrt`, s.src[s.pos])
			if i < 0 {
				s.unexpected("Unrecognized character escape")
			}
			b = append(b, "\"\\/\b\f\n\r\t"[i])
			s.pos++
		}
	}
	s.fail("Unexpected end-of-input: was expecting closing quote for a string value")
	return token{}
}

func (s *scanner) hex() rune {
	if s.pos+4 <= len(s.src) {
		if n, err := strconv.ParseUint(s.src[s.pos:s.pos+4], 16, 32); err == nil {
			s.pos += 4
			return rune(n)
		}
	}
	s.fail("Unexpected character: expected a hex-digit for character escape sequence")
	return 0
}

func (s *scanner) space() {
	for ; s.pos < len(s.src); s.pos++ {
		if c := s.src[s.pos]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return
		}
	}
}

// peek is the character to be read next, inside of an object, an array or, for 0, any value.
func (s *scanner) peek(inside byte) byte {
	if s.pos == len(s.src) {
		reason := "Unexpected end-of-input"
		switch inside {
		case '{':
			reason += ": expected close marker for Object"
		case '[':
			reason += ": expected close marker for Array"
		}
		s.fail(reason)
	}
	return s.src[s.pos]
}

func (s *scanner) unexpected(expecting string) {
	if s.pos >= len(s.src) {
		s.fail("Unexpected end-of-input")
	}
	r, n := utf8.DecodeRuneInString(s.src[s.pos:])
	s.pos += n - 1 // AWS's parser has not passed the character
	s.fail(fmt.Sprintf("Unexpected character ('%c' (code %d)): %s", r, r, expecting))
}

func (s *scanner) fail(reason string) { s.at = s.pos; s.refuse(reason) }

// refuse ends with a reason, and says where.
func (s *scanner) refuse(reason string) { panic(refusal{reason + s.where()}) }

// maxSource is how much of a text an error repeats, in bytes.
const maxSource = 500

// where is the place of an error as AWS's parser words it: lines and columns begin at 1, columns count UTF-16 units.
func (s *scanner) where() string {
	before := s.src[:s.at]
	line := 1 + strings.Count(before, "\n")
	column := 1
	for _, r := range before[strings.LastIndexByte(before, '\n')+1:] {
		column += max(1, utf16.RuneLen(r))
	}
	source, cut := s.src, ""
	if len(source) > maxSource {
		n := maxSource
		for n > maxSource-utf8.UTFMax && !utf8.RuneStart(source[n]) {
			n--
		}
		source, cut = source[:n], fmt.Sprintf("[truncated %d chars]", len(source)-n)
	}
	return fmt.Sprintf("\n at [Source: (String)\"%s\"%s; line: %d, column: %d]", source, cut, line, column)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '$' || c >= utf8.RuneSelf
}
