package logs

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"

	"github.com/hansomcloud/hansom"
)

// pattern is a filter pattern of CloudWatch Logs: it decides on messages.
type pattern func(message []byte) bool

// maxRegexes is how many regular expressions a JSON or space-delimited pattern may have.
const maxRegexes = 2

// parsePattern reads a filter pattern: terms, { a JSON expression } or [a list of fields]. It is nil for one that selects
// everything. Errors: Invalid.
func parsePattern(text string) (pattern, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, nil
	case text[0] == '{':
		if len(text) < 2 || text[len(text)-1] != '}' {
			return nil, malformed("If a filter pattern starts with '{' it must end with '}'")
		}
		return parseJSONPattern(text[1 : len(text)-1])
	case text[0] == '[':
		if len(text) < 2 || text[len(text)-1] != ']' {
			return nil, malformed("If a filter pattern starts with '[' it must end with ']'")
		}
		return parseFields(text[1 : len(text)-1])
	}
	return parseTerms(text)
}

func malformed(why string) error {
	return hansom.Errorf(hansom.Invalid, "parse filter pattern", "Invalid filter pattern: %s", why)
}

func badTerm(term string) error { return malformed("Invalid character(s) in term '" + term + "'") }

// parseTerms reads a pattern for unstructured messages. Terms that begin with a question mark count only among themselves: beside
// others they are ignored.
func parseTerms(text string) (pattern, error) {
	var all, none, any []pattern
	s := scanner{text: text}
	for s.space(); s.rest() != ""; s.space() {
		list := &all
		switch s.peek() {
		case '-':
			list = &none
			s.at++
		case '?':
			list = &any
			s.at++
		}
		term, err := s.term()
		if err != nil {
			return nil, err
		}
		if s.rest() != "" && !unicode.IsSpace(rune(s.peek())) {
			return nil, badTerm(s.rest()[:1])
		}
		*list = append(*list, term)
	}
	if len(all)+len(none) == 0 {
		return func(message []byte) bool {
			for _, term := range any {
				if term(message) {
					return true
				}
			}
			return false
		}, nil
	}
	return func(message []byte) bool {
		for _, term := range all {
			if !term(message) {
				return false
			}
		}
		for _, term := range none {
			if term(message) {
				return false
			}
		}
		return true
	}, nil
}

// scanner reads the parts that all patterns are made of.
type scanner struct {
	text    string
	at      int
	regexes int
}

func (s *scanner) rest() string { return s.text[s.at:] }

// peek returns the next byte; 0 at the end.
func (s *scanner) peek() byte {
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) space() {
	for s.at < len(s.text) && unicode.IsSpace(rune(s.text[s.at])) {
		s.at++
	}
}

// take skips token if it comes next.
func (s *scanner) take(token string) bool {
	ok := strings.HasPrefix(s.rest(), token)
	if ok {
		s.at += len(token)
	}
	return ok
}

// term reads a word, a phrase in quotation marks or a regular expression, which a message contains.
func (s *scanner) term() (pattern, error) {
	switch s.peek() {
	case '"':
		phrase, err := s.quoted()
		if strings.TrimSpace(phrase) == "" { // " " is documented to match everything
			phrase = ""
		}
		return func(message []byte) bool { return bytes.Contains(message, []byte(phrase)) }, err
	case '%':
		re, err := s.regex()
		if err != nil {
			return nil, err
		}
		return re.Match, nil
	}
	word := s.while(func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) })
	if word == "" {
		return nil, badTerm(s.next())
	}
	return func(message []byte) bool { return bytes.Contains(message, []byte(word)) }, nil
}

// next returns the next character.
func (s *scanner) next() string {
	for _, r := range s.rest() {
		return string(r)
	}
	return ""
}

func (s *scanner) while(f func(rune) bool) string {
	rest := s.rest()
	end := strings.IndexFunc(rest, func(r rune) bool { return !f(r) })
	if end < 0 {
		end = len(rest)
	}
	s.at += end
	return rest[:end]
}

// quoted reads a string in quotation marks; a backslash escapes the next character.
func (s *scanner) quoted() (string, error) {
	var out strings.Builder
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return out.String(), nil
		case c == '\\' && s.at+1 < len(s.text):
			s.at++
			out.WriteByte(s.text[s.at])
		default:
			out.WriteByte(c)
		}
	}
	return "", malformed(`A string that starts with '"' must end with '"'`)
}

// regex reads %expression%. What CloudWatch Logs does not support, it refuses: groups, other symbols and other alphabets.
func (s *scanner) regex() (*regexp.Regexp, error) {
	s.at++
	end := strings.IndexByte(s.rest(), '%')
	if end <= 0 {
		return nil, malformed("A regular expression that starts with '%' must end with '%'")
	}
	text := s.rest()[:end]
	s.at += end + 1
	s.regexes++
	for _, r := range text {
		if r >= unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(`:_#=@/;,-^$?[]{}|\*+.`, r) {
			return nil, badTerm(string(r))
		}
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, malformed("The regular expression %" + text + "% is not valid")
	}
	return re, nil
}

// wildcard returns a test for values that equal text, in which an asterisk stands for anything.
func wildcard(text string) func(value string) bool {
	parts := strings.Split(text, "*")
	if len(parts) == 1 {
		return func(value string) bool { return value == text }
	}
	first, middle, last := parts[0], parts[1:len(parts)-1], parts[len(parts)-1]
	return func(value string) bool {
		if len(value) < len(first)+len(last) || !strings.HasPrefix(value, first) || !strings.HasSuffix(value, last) {
			return false
		}
		value = value[len(first) : len(value)-len(last)]
		for _, part := range middle {
			i := strings.Index(value, part)
			if i < 0 {
				return false
			}
			value = value[i+len(part):]
		}
		return true
	}
}
