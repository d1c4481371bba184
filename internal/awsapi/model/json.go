package model

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// value is one JSON value inside a document that json.Valid has accepted. It is a slice of the document: a package of 50 MB in
// base64 is not copied before it is decoded.
type value []byte

// document returns body as a value without the space around it.
func document(body []byte) value { return value(bytes.Trim(body, " \t\r\n")) }

// members calls f for each member of an object, until f returns false.
func (v value) members(f func(name string, v value) bool) {
	p := skipSpace(v, 1)
	for v[p] != '}' {
		end := skipString(v, p)
		name := v[p:end].text()
		p = skipSpace(v, skipSpace(v, end)+1) // over the colon
		end = skipValue(v, p)
		if !f(name, v[p:end]) {
			return
		}
		if p = skipSpace(v, end); v[p] == ',' {
			p = skipSpace(v, p+1)
		}
	}
}

// elements calls f for each element of an array, until f returns false.
func (v value) elements(f func(v value) bool) {
	p := skipSpace(v, 1)
	for v[p] != ']' {
		end := skipValue(v, p)
		if !f(v[p:end]) {
			return
		}
		if p = skipSpace(v, end); v[p] == ',' {
			p = skipSpace(v, p+1)
		}
	}
}

// text returns what a JSON string says.
func (v value) text() string {
	s := v[1 : len(v)-1]
	if bytes.IndexByte(s, '\\') < 0 {
		if utf8.Valid(s) {
			return string(s)
		}
		return strings.ToValidUTF8(string(s), "\uFFFD")
	}
	var out string
	_ = json.Unmarshal(v, &out) // a valid string always decodes
	return out
}

func skipSpace(b []byte, p int) int {
	for b[p] == ' ' || b[p] == '\n' || b[p] == '\r' || b[p] == '\t' {
		p++
	}
	return p
}

// skipString returns the index after the string that begins at p.
func skipString(b []byte, p int) int {
	for p++; ; p++ {
		i := bytes.IndexAny(b[p:], `"\`)
		p += i
		if b[p] == '"' {
			return p + 1
		}
		p++ // over the escaped byte
	}
}

// skipValue returns the index after the value that begins at p.
func skipValue(b []byte, p int) int {
	depth := 0
	for {
		switch b[p] {
		case '"':
			p = skipString(b, p)
		case '{', '[':
			depth++
			p++
			continue
		case '}', ']':
			depth--
			p++
		case ',', ':', ' ', '\n', '\r', '\t':
			p++
			continue
		default: // a number, true, false or null
			for p < len(b) && !strings.ContainsRune(",]}: \n\r\t", rune(b[p])) {
				p++
			}
		}
		if depth == 0 {
			return p
		}
	}
}
