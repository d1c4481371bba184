package lambda

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/model"
)

// params are the members of a structure that a request carries, by name. Values are string, int64, float64, bool, []byte,
// []any, map[string]any or params; a null is left out.
type params map[string]any

func (p params) text(name string) string { s, _ := p[name].(string); return s }

func (p params) textPtr(name string) *string {
	if s, ok := p[name].(string); ok {
		return &s
	}
	return nil
}

func (p params) integer(name string) int { n, _ := p[name].(int64); return int(n) }

func (p params) integerPtr(name string) *int {
	if n, ok := p[name].(int64); ok {
		i := int(n)
		return &i
	}
	return nil
}

func (p params) boolPtr(name string) *bool {
	if b, ok := p[name].(bool); ok {
		return &b
	}
	return nil
}

func (p params) sub(name string) params { s, _ := p[name].(params); return s }

// texts returns a list of strings; nil when it was not given.
func (p params) texts(name string) []string {
	list, ok := p[name].([]any)
	if !ok {
		return nil
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i], _ = v.(string)
	}
	return out
}

// textMap returns a map of strings; nil when it was not given.
func (p params) textMap(name string) map[string]string {
	in, ok := p[name].(map[string]any)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for key, v := range in {
		out[key], _ = v.(string)
	}
	return out
}

// paramsOf makes params of what model has decoded.
func paramsOf(in model.Params) params {
	out := make(params, len(in))
	for name, x := range in {
		out[name] = own(x)
	}
	return out
}

func own(x any) any {
	switch x := x.(type) {
	case model.Params:
		return paramsOf(x)
	case []any:
		for i := range x {
			x[i] = own(x[i])
		}
	case map[string]any:
		for name := range x {
			x[name] = own(x[name])
		}
	}
	return x
}

// validator decodes requests and holds them to the constraints of the model.
type validator struct{ *model.Validator }

// newValidator prepares for the inputs of ops.
func newValidator(ops []*model.Operation) *validator {
	inputs := make([]int, len(ops))
	for i, op := range ops {
		inputs[i] = op.Input
	}
	return &validator{model.NewValidator(shapes[:], inputs)}
}

// request is where the members of an input come from.
type request struct {
	path   map[string]string
	query  url.Values
	header http.Header
	body   []byte
}

// decode returns the input of op. A value of the wrong type is a SerializationException; values that break constraints are
// reported together, in AWS's words, as a ValidationException.
func (v *validator) decode(op *model.Operation, r request) (params, error) {
	s := &shapes[op.Input]
	var body []byte
	if op.Payload == "" && slices.ContainsFunc(s.Members, func(m model.Member) bool { return m.In == model.InBody }) {
		body = r.body
	}
	in, err := v.Decode(op.Input, body)
	if err != nil {
		return nil, err
	}
	for i := range s.Members {
		m := &s.Members[i]
		var raw string
		var ok bool
		switch m.In {
		case model.InPath:
			raw, ok = r.path[m.WireName()]
		case model.InQuery:
			ok = r.query.Has(m.WireName())
			raw = r.query.Get(m.WireName())
			if ok && shapes[m.Shape].Kind == model.List {
				in[m.Name] = anySlice(r.query[m.WireName()])
				continue
			}
		case model.InHeader:
			raw = r.header.Get(m.WireName())
			ok = raw != ""
		}
		if !ok {
			continue
		}
		if in[m.Name], err = v.Scalar(m.Shape, raw); err != nil {
			return nil, err
		}
	}
	if op.Payload != "" {
		in[op.Payload] = r.body
	}
	handler := in["Handler"]
	if line, ok := handler.(string); ok && (in["Runtime"] == nil || in["Runtime"] == hansom.RuntimeHTTP) {
		in["Handler"] = strings.Join(strings.Fields(line), "_") // of the runtime http it is a command line; function looks again
	}
	if err := v.Check(op.Input, in); err != nil {
		return nil, err
	}
	if handler != nil {
		in["Handler"] = handler
	}
	return paramsOf(in), nil
}

func unreadable(message string) error { return model.Unreadable(message) }

// anySlice is a list of strings as the model decodes one.
func anySlice(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func invalid(found []string) error { return model.Invalid(found) }
