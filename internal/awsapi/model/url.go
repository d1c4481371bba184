package model

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
)

// Operation is one of an API in the REST protocol.
type Operation struct {
	Name, Method, Path string
	Query              string // what the query must hold for the route to match, "mode=import"
	Status             int    // of a successful answer
	Input              int    // index of a shape; -1 for an operation that is not offered
	Payload            string // the member that is the whole body
}

// Find returns the operation that a request is for, nil without one, and what stands in its path for the variables. One with a query goes first.
func Find(operations []Operation, r *http.Request) (found *Operation, vars map[string]string) {
	path := r.URL.EscapedPath()
	for i := range operations {
		op := &operations[i]
		if op.Method != r.Method || op.Query != "" && !strings.Contains(r.URL.RawQuery, op.Query) || found != nil && op.Query == "" {
			continue
		}
		if v, ok := MatchPath(op.Path, path); ok {
			found, vars = op, v
		}
	}
	return found, vars
}

// Read decodes and validates the input of an operation. Errors: as Decode and Check.
func (v *Validator) Read(op *Operation, vars map[string]string, rawQuery string, body []byte) (in Params, err error) {
	if op.Payload != "" {
		in = Params{op.Payload: body}
	} else if in, err = v.Decode(op.Input, bytes.TrimSpace(body)); err != nil {
		return nil, err
	}
	return in, v.Complete(op.Input, in, vars, rawQuery)
}

// MatchPath matches an escaped path with that of an operation, as in "/v2/apis/{apiId}", and returns what stands for its variables, which is never
// empty.
func MatchPath(pattern, path string) (vars map[string]string, ok bool) {
	names, segments := strings.Split(strings.Trim(pattern, "/"), "/"), strings.Split(strings.Trim(path, "/"), "/")
	if len(names) != len(segments) {
		return nil, false
	}
	vars = map[string]string{}
	for i, name := range names {
		variable, is := strings.CutPrefix(name, "{")
		if !is && name != segments[i] {
			return nil, false
		}
		if is {
			value, err := url.PathUnescape(segments[i])
			if err != nil || value == "" {
				return nil, false
			}
			vars[strings.TrimSuffix(variable, "}")] = value
		}
	}
	return vars, true
}

// Complete adds to in, which Decode has made of the body, what stands in the path and in the query, and checks all. Errors: as Decode and Check.
func (v *Validator) Complete(input int, in Params, vars map[string]string, rawQuery string) error {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return Unreadable("The query of the request cannot be read: " + err.Error())
	}
	for i := range v.shapes[input].Members {
		m := &v.shapes[input].Members[i]
		name := m.WireName()
		switch {
		case m.In == InPath:
			in[m.Name] = vars[name]
		case m.In == InQuery && query.Has(name) && v.shapes[m.Shape].Kind == List:
			var list []any
			for _, x := range query[name] {
				list = append(list, x)
			}
			in[m.Name] = list
		case m.In == InQuery && query.Has(name):
			if in[m.Name], err = v.Scalar(m.Shape, query.Get(name)); err != nil {
				return err
			}
		}
	}
	return v.Check(input, in)
}
