package mapping

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

type action uint8

const (
	remove action = iota
	overwrite
	add
)

type place uint8

const (
	inHeader place = iota
	inQuery
	inPath
	inStatus
)

// change is one entry of a mapping.
type change struct {
	action action
	place  place
	name   string
	value  Value
}

// Request changes requests. It is never changed itself; nil changes nothing.
type Request struct{ changes []change }

// Response changes the answers of one status. It is never changed itself; nil changes nothing.
type Response struct{ changes []change }

var actions = map[string]action{"remove": remove, "overwrite": overwrite, "append": add}

// reserved are the headers that mappings leave alone (developer guide, "Reserved headers"); those that end with "-" stand for all that begin so.
var reserved = []string{"access-control-", "apigw-", "authorization", "connection", "content-encoding", "content-length", "content-location", "forwarded", "keep-alive",
	"origin", "proxy-authenticate", "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade", "x-amz-", "x-amzn-", "x-forwarded-for", "x-forwarded-host",
	"x-forwarded-proto", "via"}

// Reserved tells whether a mapping may not touch a header.
func Reserved(header string) bool {
	header = strings.ToLower(header)
	return slices.ContainsFunc(reserved, func(r string) bool {
		return header == r || strings.HasSuffix(r, "-") && strings.HasPrefix(header, r)
	})
}

// ParseRequest reads RequestParameters: "append:header.x", "overwrite:querystring.x", "remove:header.x", "overwrite:path" and their values. No parameters
// make nil. Error: Invalid.
func ParseRequest(parameters map[string]string) (*Request, error) {
	changes, err := parse(parameters, false)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	return &Request{changes}, nil
}

// ParseResponse reads ResponseParameters of one status: "append:header.x", "overwrite:header.x", "remove:header.x", "overwrite:statuscode" and their values. No
// parameters make nil. Error: Invalid.
func ParseResponse(parameters map[string]string) (*Response, error) {
	changes, err := parse(parameters, true)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	return &Response{changes}, nil
}

// Validate checks the mappings of an integration: those of requests, and those of responses by their status, 200 to 599. Error: Invalid.
func Validate(request map[string]string, responses map[string]map[string]string) error {
	if _, err := ParseRequest(request); err != nil {
		return err
	}
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		if n, err := strconv.Atoi(status); err != nil || n < 200 || n > 599 || len(status) != 3 {
			return invalid("%q is no status of a response that can be mapped: they are 200 to 599", status)
		}
		if _, err := ParseResponse(responses[status]); err != nil {
			return err
		}
	}
	return nil
}

// parse reads parameters. What is removed is so first, then what is overwritten, then what is appended, each by name.
func parse(parameters map[string]string, answer bool) ([]change, error) {
	var changes []change
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		c, err := parseKey(key, answer)
		if err != nil {
			return nil, err
		}
		if c.action != remove {
			if c.value, err = parseValue(parameters[key], answer); err != nil {
				return nil, err
			}
			if err := c.check(key); err != nil {
				return nil, err
			}
		}
		changes = append(changes, c)
	}
	slices.SortStableFunc(changes, func(a, b change) int { return int(a.action) - int(b.action) })
	return changes, nil
}

func parseKey(key string, answer bool) (c change, err error) {
	verb, target, _ := strings.Cut(key, ":")
	var ok bool
	if c.action, ok = actions[verb]; !ok {
		return c, invalid("%.100q is no parameter that can be mapped: they begin with append:, overwrite: or remove:", key)
	}
	switch name, isHeader := strings.CutPrefix(target, "header."); {
	case isHeader:
		if !httpguts.ValidHeaderFieldName(name) {
			return c, invalid("%.100q: %.100q is no name of a header", key, name)
		}
		if Reserved(name) {
			return c, invalid("%q: the header %s is reserved, and no mapping changes it", key, name)
		}
		c.place, c.name = inHeader, http.CanonicalHeaderKey(name)
		return c, nil
	case target == "path" && !answer && c.action == overwrite:
		c.place = inPath
		return c, nil
	case target == "statuscode" && answer && c.action == overwrite:
		c.place = inStatus
		return c, nil
	}
	if name, ok := strings.CutPrefix(target, "querystring."); ok && !answer && name != "" {
		c.place, c.name = inQuery, name
		return c, nil
	}
	if answer {
		return c, invalid("%.100q is no parameter of a response that can be mapped: they are append|overwrite|remove:header.NAME and overwrite:statuscode", key)
	}
	return c, invalid("%.100q is no parameter of a request that can be mapped: they are append|overwrite|remove:header.NAME, append|overwrite|remove:querystring.NAME and overwrite:path", key)
}

// check holds static values to what their place takes.
func (c *change) check(key string) error {
	text, ok := c.value.Static()
	if !ok {
		return nil
	}
	switch c.place {
	case inHeader:
		if !httpguts.ValidHeaderFieldValue(text) {
			return invalid("%q: %.100q is no value of a header", key, text)
		}
	case inStatus:
		if !status(text) {
			return invalid("%q: %.100q is no status: they are 200 to 599", key, text)
		}
	case inPath:
		if !strings.HasPrefix(text, "/") {
			return invalid("%q: the path %.100q does not begin with /", key, text)
		}
	}
	return nil
}

func status(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 200 && n <= 599
}

// NeedsBody tells whether a mapping reads the body of what it changes.
func (m *Request) NeedsBody() bool { return m != nil && needs(m.changes, requestBody) }

// NeedsBody tells whether a mapping reads the body of what it changes.
func (m *Response) NeedsBody() bool { return m != nil && needs(m.changes, answerBody) }

func needs(changes []change, kind variable) bool {
	return slices.ContainsFunc(changes, func(c change) bool {
		return slices.ContainsFunc(c.value.parts, func(p part) bool { return p.kind == kind })
	})
}

// NeedsBody tells whether v reads the body of a request.
func (v Value) NeedsBody() bool {
	return slices.ContainsFunc(v.parts, func(p part) bool { return p.kind == requestBody })
}

// Apply returns r as the mapping has it, with the path, escaped, that it is to be sent to; "" when the mapping does not say. What in has of the request is read before
// anything is changed. r itself stays as it is. A Host stands in the header, where it is in no other request, for Host to take.
func (m *Request) Apply(in *Input, r *http.Request) (out *http.Request, path string) {
	if m == nil {
		return r, ""
	}
	out = new(http.Request)
	*out = *r
	out.Header = r.Header.Clone()
	u := *r.URL
	out.URL = &u
	query := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(pair string) bool { return pair == "" })
	changed := false
	for i := range m.changes {
		c := &m.changes[i]
		switch c.place {
		case inHeader:
			c.header(in, out.Header)
		case inQuery:
			changed = true
			text, ok := c.get(in)
			if c.action != add {
				query = slices.DeleteFunc(query, func(pair string) bool {
					name, _, _ := strings.Cut(pair, "=")
					return unescape(name) == c.name
				})
			}
			if ok {
				query = append(query, url.QueryEscape(c.name)+"="+url.QueryEscape(text))
			}
		case inPath:
			path = c.value.Escaped(in, escapePath)
			if !strings.HasPrefix(path, "/") {
				path = "/" + path
			}
		}
	}
	if changed {
		u.RawQuery = strings.Join(query, "&")
		out.URL = &u
	}
	return out, path
}

// Host takes the Host that a mapping has set out of the header of a request; "" for none.
func Host(r *http.Request) string {
	values := r.Header["Host"]
	delete(r.Header, "Host")
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// escapePath escapes a value that becomes part of a path: slashes stay.
func escapePath(s string) string { return (&url.URL{Path: s}).EscapedPath() }

// Apply changes the header of an answer and returns its status. A status that is none stays as it was.
func (m *Response) Apply(in *Input, header http.Header, code int) int {
	if m == nil {
		return code
	}
	in.Header = header.Clone()
	for i := range m.changes {
		c := &m.changes[i]
		switch c.place {
		case inHeader:
			c.header(in, header)
		case inStatus:
			if text, _ := c.value.Get(in); status(text) {
				code, _ = strconv.Atoi(text)
			}
		}
	}
	return code
}

// get is the value of a change; ok is false for what is removed, and for a variable that found nothing.
func (c *change) get(in *Input) (string, bool) {
	if c.action == remove {
		return "", false
	}
	return c.value.Get(in)
}

// header makes the change in a header. Bytes that could end a header early become spaces.
func (c *change) header(in *Input, h http.Header) {
	text, ok := c.get(in)
	if c.action != add {
		h.Del(c.name)
	}
	if !ok {
		return
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	h[c.name] = append(h[c.name], text)
}
