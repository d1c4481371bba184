package mapping

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// step of a JSON path: a member, or an element when name is "".
type step struct {
	name  string
	index int
}

// parsePath reads what follows "request.body" or "response.body": "" for all of it, or members and elements, ".a.b[0]['c']".
func parsePath(whole, s string) (path []step, err error) {
	for s != "" {
		switch {
		case strings.HasPrefix(s, ".."):
			return nil, invalid("$%s: recursive descent is not supported", whole)
		case s[0] == '.':
			name := s[1:]
			if i := strings.IndexAny(name, ".["); i >= 0 {
				name = name[:i]
			}
			if name == "" {
				return nil, invalid("$%s has an empty name", whole)
			}
			path, s = append(path, step{name: name}), s[1+len(name):]
		case s[0] == '[':
			inner, rest, ok := strings.Cut(s[1:], "]")
			if strings.HasPrefix(inner, "?") {
				return nil, invalid("$%s: filter expressions are not supported", whole)
			}
			if quoted, isName := strings.CutPrefix(inner, "'"); isName {
				if quoted, ok = strings.CutSuffix(quoted, "'"); !ok || quoted == "" {
					return nil, invalid("$%s: write the name of a member as ['name']", whole)
				}
				path, s = append(path, step{name: quoted}), rest
				continue
			}
			n, err := strconv.Atoi(inner)
			if !ok || err != nil || n < 0 {
				return nil, invalid("$%s: an element is written as [0]", whole)
			}
			path, s = append(path, step{index: n}), rest
		default:
			return nil, invalid("the variable $%.100s is not known; a part of a body is written as $request.body.name", whole)
		}
	}
	return path, nil
}

// pick takes the part of a body that a path leads to: a string as its text, all else as JSON. Without a path it is the body itself.
func pick(body func() []byte, path []step) (string, bool) {
	if body == nil {
		return "", false
	}
	b := body()
	if len(path) == 0 {
		return string(b), len(b) > 0
	}
	raw := json.RawMessage(b[:min(len(b), maxBodyPath)])
	for _, s := range path {
		var ok bool
		if raw, ok = s.in(raw); !ok {
			return "", false
		}
	}
	if raw[0] == '"' {
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err == nil
	}
	if string(raw) == "null" {
		return "", false
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return "", false
	}
	return compact.String(), true
}

// in finds the value that a step leads to. A document is read as far as it is needed, so that one that was cut off is of use.
func (s step) in(raw json.RawMessage) (json.RawMessage, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	open, err := d.Token()
	if err != nil || s.name != "" && open != json.Delim('{') || s.name == "" && open != json.Delim('[') {
		return nil, false
	}
	var found json.RawMessage
	for i := 0; d.More(); i++ {
		hit := i == s.index
		if s.name != "" {
			key, err := d.Token()
			if err != nil {
				return nil, false
			}
			hit = key == s.name
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, false
		}
		if hit {
			found = v
			break
		}
	}
	return found, found != nil
}
