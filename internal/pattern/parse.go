package pattern

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// or joins alternatives, of which one has to match.
const or = "$or"

// maxBranches is how many alternatives a pattern may have when all its $or are multiplied.
const maxBranches = 1000

// maxRepeats is how many wildcards of one text may be followed by the same character.
const maxRepeats = 4

// tooComplex is AWS's reason for wildcards that would cost too much.
const tooComplex = "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"

// reserved are names that cannot be fields inside of $or.
var reserved = []string{"exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard", "numeric", "cidr",
	"=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case", "date-after", "date-on-or-after", "date-before",
	"date-on-or-before", "in-date-range", "ip-address-in-range", "ip-address-not-in-range"}

// parser makes branches of a pattern.
type parser struct{ scanner }

// branches are alternatives while they are made: the tests of each by the path of the field.
type branches []map[string][]test

// object reads the members of an object whose brace has been read, and adds what they ask to all of b. Their names follow prefix.
func (p *parser) object(b branches, prefix string, inOr bool) branches {
	t := p.next()
	if t.kind == objectEnd {
		p.refuse("Empty objects are not allowed")
	}
	for ; t.kind != objectEnd; t = p.next() {
		key := t.text
		if key == or {
			b = p.or(b, prefix)
			continue
		}
		if inOr && slices.Contains(reserved, key) {
			p.refuse(key + " is Ruler reserved fieldName which cannot be used inside " + or + ".")
		}
		full := prefix + key
		switch p.next().kind {
		case objectStart:
			b = p.object(b, full+".", inOr)
		case arrayStart:
			tests := p.array()
			for _, branch := range b {
				branch[full] = tests
			}
		default:
			p.refuse(`"` + key + `" must be an object or an array`)
		}
	}
	return b
}

// or multiplies b with the objects of an array.
func (p *parser) or(b branches, prefix string) branches {
	if p.next().kind != arrayStart {
		p.refuse("It must be an Array followed with " + or + ".")
	}
	var out branches
	n := 0
	for t := p.next(); t.kind != arrayEnd; t = p.next() {
		if t.kind != objectStart {
			p.refuse("Only JSON object is allowed in array of " + or + " relationship.")
		}
		n++
		var copied branches
		for _, branch := range b {
			copied = append(copied, maps.Clone(branch))
		}
		out = append(out, p.object(copied, prefix, true)...)
		if len(out) > maxBranches {
			p.refuse(fmt.Sprintf("Rule is too complex - its %s make more than %d combinations", or, maxBranches))
		}
	}
	if n < 2 {
		p.refuse("There must have at least 2 Objects in " + or + " relationship.")
	}
	return out
}

// array reads the tests of a field, of which one has to hold.
func (p *parser) array() (tests []test) {
	for t := p.next(); t.kind != arrayEnd; t = p.next() {
		switch t.kind {
		case objectStart:
			tests = append(tests, p.test())
		case text:
			s := p.all(t)
			tests = append(tests, test{op: isText, text: s, from: address(s)})
		case number:
			n, ok := scale(t.text)
			tests = append(tests, test{op: isNumber, text: t.text, low: n, exact: !ok})
		case literal:
			tests = append(tests, test{op: isLiteral, text: t.text})
		default:
			p.refuse("Match value must be String, number, true, false, or null")
		}
	}
	if len(tests) == 0 {
		p.refuse("Empty arrays are not allowed")
	}
	return tests
}

const (
	oneKey  = "Only one key allowed in match expression"
	tooMany = "Too many elements in numeric expression"
)

// test reads an object inside of a field's array.
func (p *parser) test() (out test) {
	t := p.next()
	if t.kind != name {
		p.refuse("Match expression name not found")
	}
	closing := oneKey
	switch t.text {
	case "exactly":
		out = test{op: isText, text: p.text("exact")}
	case "prefix":
		out = p.affix("prefix", hasPrefix, hasPrefixFold)
	case "suffix":
		out = p.affix("suffix", hasSuffix, hasSuffixFold)
	case "equals-ignore-case":
		out = test{op: isFold, text: p.text("equals-ignore-case")}
	case "wildcard":
		out = p.wildcard(p.text("wildcard"))
	case "cidr":
		out = p.cidr(p.text("prefix")) // AWS's word
	case "numeric":
		if p.next().kind != arrayStart {
			p.refuse("Value of numeric must be an array.")
		}
		out, closing = p.numeric(), tooMany
	case "anything-but":
		out, closing = p.anythingBut(), tooMany
	case "exists":
		v := p.next()
		if v.kind != literal || v.text == "null" {
			p.refuse("exists match pattern must be either true or false.")
		}
		if out.op = absent; v.text == "true" {
			out.op = exists
		}
	default:
		p.refuse("Unrecognized match type " + t.text)
	}
	p.close(closing)
	return out
}

// close reads the end of an object.
func (p *parser) close(reason string) {
	if p.next().kind != objectEnd {
		p.refuse(reason)
	}
}

// text reads a text, the value of what is called name.
func (p *parser) text(name string) string {
	t := p.next()
	if t.kind != text {
		p.refuse(name + " match pattern must be a string")
	}
	return p.all(t)
}

// affix reads the value of a prefix or a suffix.
func (p *parser) affix(word string, plain, fold operator) test {
	t := p.next()
	if t.kind == objectStart {
		title := strings.ToUpper(word[:1]) + word[1:]
		if t = p.next(); t.kind != name {
			p.refuse(title + " expression name not found")
		}
		if t.text != "equals-ignore-case" {
			p.refuse("Unsupported " + word + " pattern: " + t.text)
		}
		out := test{op: fold, text: p.text("equals-ignore-case")}
		p.close(oneKey)
		return out
	}
	if t.kind != text {
		p.refuse(word + " match pattern must be a string")
	}
	return test{op: plain, text: p.all(t)}
}

// wildcard takes s apart at its wildcards; \* and \\ stand for the characters.
func (p *parser) wildcard(s string) test {
	var parts []string
	var part []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '*':
			if i+1 < len(s) && s[i+1] == '*' {
				p.refuse("Consecutive wildcard characters at pos " + strconv.Itoa(i+1)) // AWS counts the quote
			}
			parts = append(parts, string(part))
			part = nil
		case s[i] != '\\':
			part = append(part, s[i])
		case i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '\\'):
			i++
			part = append(part, s[i])
		default:
			p.refuse("Invalid escape character at pos " + strconv.Itoa(i+1))
		}
	}
	parts = append(parts, string(part))
	var follow [256]int
	for _, part := range parts[1:] {
		if part != "" {
			if follow[part[0]]++; follow[part[0]] > maxRepeats {
				panic(refusal{tooComplex})
			}
		}
	}
	return test{op: isLike, parts: parts}
}

// cidr reads a range of addresses, from the one that is given to the last with the same leading bits.
func (p *parser) cidr(s string) test {
	ip, bits, ok := strings.Cut(s, "/")
	if !ok || strings.Contains(bits, "/") {
		panic(refusal{"Malformed CIDR, one '/' required"})
	}
	n, err := strconv.Atoi(bits)
	switch {
	case err != nil:
		panic(refusal{"Malformed CIDR, mask bits must be an integer"})
	case n < 0:
		panic(refusal{"Malformed CIDR, mask bits must not be negative"})
	}
	from := address(ip)
	switch {
	case !from.IsValid():
		panic(refusal{"Nonstandard IP address: " + ip})
	case from.Is4() && n > 32:
		panic(refusal{"IPv4 mask bits must be < 33"})
	case n > from.BitLen():
		panic(refusal{"IPv6 mask bits must be < 129"})
	}
	to := from.AsSlice()
	for i := range to {
		if keep := max(0, min(8, n-8*i)); keep < 8 {
			to[i] |= 0xff >> keep
		}
	}
	last, _ := netip.AddrFromSlice(to)
	return test{op: isWithin, from: from, to: last}
}

// bound is a number that others are compared with.
func (p *parser) bound(t token, operator string) int64 {
	if t.kind != number {
		p.refuse("Value of " + operator + " must be numeric")
	}
	n, ok := scale(t.text)
	if !ok {
		p.refuse("Value must be between -5.0E9 and 5.0E9, inclusive")
	}
	return n
}

// numeric reads [operator, number] or [operator, number, operator, number].
func (p *parser) numeric() test {
	const most = maxNumber * 1e6
	t := p.next()
	if t.kind != text {
		p.refuse("Invalid member in numeric match: " + t.shown())
	}
	operator := p.all(t)
	out := test{op: isBetween, low: -most, high: most}
	switch operator {
	case "=":
		v := p.next()
		n := p.bound(v, "equals")
		out = test{op: isNumber, text: v.text, low: n}
	case "<", "<=":
		out.high, out.openHigh = p.bound(p.next(), operator), operator == "<"
	case ">", ">=":
		out.low, out.openLow = p.bound(p.next(), operator), operator == ">"
		if t = p.next(); t.kind == arrayEnd {
			return out
		}
		if t.kind != text {
			p.refuse("Bad value in numeric range: " + t.shown())
		}
		operator = p.all(t)
		if operator != "<" && operator != "<=" {
			p.refuse("Bad numeric range operator: " + operator)
		}
		out.high, out.openHigh = p.bound(p.next(), operator), operator == "<"
		if p.next().kind != arrayEnd {
			p.refuse("Too many terms in numeric range expression")
		}
		if out.low >= out.high {
			p.refuse("Bottom must be less than top")
		}
		return out
	default:
		p.refuse("Unrecognized numeric range operator: " + operator)
	}
	if p.next().kind != arrayEnd {
		p.refuse(tooMany)
	}
	return out
}

// shown is how an error repeats a token.
func (t token) shown() string {
	switch t.kind {
	case objectStart:
		return "{"
	case objectEnd:
		return "}"
	case arrayStart:
		return "["
	case arrayEnd:
		return "]"
	}
	return t.text
}

// anythingBut reads a value, a list of them, or an object with one of four tests of one value or a list.
func (p *parser) anythingBut() test {
	out := test{op: isNone}
	t := p.next()
	of := ""
	if t.kind == objectStart {
		if t = p.next(); t.kind != name {
			p.refuse("Anything-But expression name not found")
		}
		of = t.text
		if !slices.Contains([]string{"equals-ignore-case", "prefix", "suffix", "wildcard"}, of) {
			p.refuse("Unsupported anything-but pattern: " + of)
		}
		t = p.next()
	}
	switch t.kind {
	case text, number:
		out.not = append(out.not, p.but(of, t))
	case arrayStart:
		func() {
			defer p.twice()
			for t = p.next(); t.kind != arrayEnd; t = p.next() {
				out.not = append(out.not, p.but(of, t))
			}
		}()
		other := func(t test) bool { return t.op != out.not[0].op }
		if of == "" && (len(out.not) == 0 || slices.ContainsFunc(out.not, other)) {
			p.refuse("Inside anything but list, either all values are number or string, mixed type is not supported")
		}
	default:
		p.refuse("Value of anything-but must be an array or single string/number value.")
	}
	if of != "" {
		p.close(tooMany)
	}
	return out
}

// twice adds the place once more to a refusal inside of a list, as AWS's parser does.
func (p *parser) twice() {
	if r := recover(); r != nil {
		if known, ok := r.(refusal); ok && strings.Contains(known.reason, "\n") {
			r = refusal{known.reason + p.where()}
		}
		panic(r)
	}
}

// but is one value that anything-but excludes.
func (p *parser) but(of string, t token) test {
	if of == "" {
		switch t.kind {
		case text:
			return test{op: isText, text: p.all(t)}
		case number:
			n, ok := scale(t.text)
			if !ok {
				p.refuse("Value must be between -5.0E9 and 5.0E9, inclusive")
			}
			return test{op: isNumber, text: t.text, low: n}
		}
		p.refuse("Inside anything but list, start|null|boolean is not supported.")
	}
	if t.kind != text {
		switch of {
		case "equals-ignore-case":
			p.refuse("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
		case "wildcard":
			p.refuse("wildcard match pattern must be a string")
		}
		p.refuse("prefix/suffix match pattern must be a string")
	}
	s := p.all(t)
	switch of {
	case "equals-ignore-case":
		return test{op: isFold, text: s}
	case "wildcard":
		return p.wildcard(s)
	}
	if s == "" {
		p.refuse("Null prefix/suffix not allowed")
	}
	if of == "prefix" {
		return test{op: hasPrefix, text: s}
	}
	return test{op: hasSuffix, text: s}
}
