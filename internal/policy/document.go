package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// Document is a policy that was parsed, to be evaluated. See "IAM JSON policy elements reference".
type Document struct{ statements []rule }

// rule is a statement of a Document.
type rule struct {
	deny                    bool
	actions, notActions     []string // one of the two
	resources, notResources []string // one of the two
	conditions              []condition
}

// texts is one text or an array of them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*t = make(texts, 1)
		return json.Unmarshal(data, &(*t)[0])
	}
	var list []string
	err := json.Unmarshal(data, &list)
	*t = list
	return err
}

// written is a statement as it stands in a document.
type written struct {
	Sid         string
	Effect      string
	Action      texts
	NotAction   texts
	Resource    texts
	NotResource texts
	Condition   map[string]map[string]values
}

// Parse reads a policy document whose statements have an effect, actions and resources, and may have conditions; one without a principal,
// as those that belong to one are. Policy variables and what else it does not know it refuses by name. Error: Invalid.
func Parse(text []byte) (*Document, error) {
	var d struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strict(text, &d); err != nil {
		return nil, invalid("the policy document is malformed: %w", err)
	}
	if d.Version != "" && d.Version != "2012-10-17" && d.Version != "2008-10-17" {
		return nil, invalid("the policy document has the version %.20q; write 2012-10-17", d.Version)
	}
	var list []json.RawMessage
	switch raw := bytes.TrimSpace(d.Statement); {
	case len(raw) == 0:
		return nil, invalid("the policy document has no Statement")
	case raw[0] == '{':
		list = []json.RawMessage{raw}
	default:
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, invalid("Statement is neither an object nor an array of them")
		}
	}
	p := &Document{}
	for _, raw := range list {
		var w written
		if err := strict(raw, &w); err != nil {
			return nil, invalid("a statement is malformed: %w", err)
		}
		r, err := w.rule()
		if err != nil {
			return nil, err
		}
		p.statements = append(p.statements, r)
	}
	return p, nil
}

// strict decodes one object whose members are all known.
func strict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after it")
	}
	return nil
}

func (w *written) rule() (rule, error) {
	r := rule{actions: w.Action, notActions: w.NotAction, resources: w.Resource, notResources: w.NotResource}
	switch w.Effect {
	case "Allow":
	case "Deny":
		r.deny = true
	default:
		return r, invalid("a statement has the Effect %.20q; write Allow or Deny", w.Effect)
	}
	if (len(w.Action) == 0) == (len(w.NotAction) == 0) {
		return r, invalid("a statement has Action or NotAction, one of the two")
	}
	if (len(w.Resource) == 0) == (len(w.NotResource) == 0) {
		return r, invalid("a statement has Resource or NotResource, one of the two")
	}
	for _, list := range [][]string{w.Action, w.NotAction, w.Resource, w.NotResource} {
		for _, text := range list {
			if text == "" {
				return r, invalid("a statement has an empty action or resource")
			}
			if strings.Contains(text, "${") {
				return r, invalid("policy variables, as in %.100q, are not supported", text)
			}
		}
	}
	var err error
	r.conditions, err = conditions(w.Condition)
	return r, err
}

// Effect is what a policy says of a request.
type Effect int

const (
	None  Effect = iota // nothing, which denies it too
	Allow               // at least one statement allows it and none denies it
	Deny                // a statement denies it
)

// Evaluate says what the policy has for an action on a resource. The names of actions are compared without regard to case, resources with it; "*"
// stands for any text and "?" for any one character, across colons and slashes. value returns what the request has under a condition
// key, such as "aws:SourceIp", written in lower case.
func (p *Document) Evaluate(action, resource string, value func(key string) (string, bool)) Effect {
	action = strings.ToLower(action)
	effect := None
	for i := range p.statements {
		r := &p.statements[i]
		switch {
		case !r.applies(action, resource, value):
		case r.deny:
			return Deny
		default:
			effect = Allow
		}
	}
	return effect
}

func (r *rule) applies(action, resource string, value func(string) (string, bool)) bool {
	act := func(pattern string) bool { return Match(strings.ToLower(pattern), action) }
	on := func(pattern string) bool { return Match(pattern, resource) }
	if len(r.actions) > 0 && !slices.ContainsFunc(r.actions, act) || slices.ContainsFunc(r.notActions, act) {
		return false
	}
	if len(r.resources) > 0 && !slices.ContainsFunc(r.resources, on) || slices.ContainsFunc(r.notResources, on) {
		return false
	}
	for i := range r.conditions {
		if !r.conditions[i].holds(value) {
			return false
		}
	}
	return true
}

// Match tells whether a text fits a pattern in which "*" stands for any text and "?" for any one character. It takes time in proportion
// to the product of both lengths at most.
func Match(pattern, text string) bool {
	p, t := 0, 0
	star, from := -1, 0 // the last "*", and where what it stands for ends
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			t++
			for t < len(text) && text[t]&0xC0 == 0x80 { // the rest of a character
				t++
			}
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			for from++; from < len(text) && text[from]&0xC0 == 0x80; {
				from++
			}
			p, t = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "parse policy", format, args...)
}
