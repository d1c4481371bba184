package manifest

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/goccy/go-yaml/ast"

	"github.com/hansomcloud/hansom/internal/pattern"
)

// Keys of an entry of on.
var (
	onKeys = []string{"event", "bus"}
	onLate = []string{"bucket", "events", "suffix"}
)

// DefaultBus is the event bus that every project has.
const DefaultBus = "default"

var busPattern = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,256}$`)

// ResolvedEvent has a function called with the events of a bus that match a pattern.
type ResolvedEvent struct {
	Bus   string          `json:"bus"`
	Event json.RawMessage `json:"event"`
}

// RuleName is the name of the rule of a function's nth entry of on, counted from 1.
func RuleName(app, key string, n int) string { return fmt.Sprintf("%s-%s-%d", app, key, n) }

func (x *ResolvedEvent) check() error {
	if !busPattern.MatchString(x.Bus) {
		return fmt.Errorf("bus %.80q must be 1 to 256 letters, digits, dots, hyphens and underscores", x.Bus)
	}
	return checkPattern("event", x.Event, "{source: [orders]}")
}

// checkPattern looks at an event pattern in JSON.
func checkPattern(what string, text json.RawMessage, example string) error {
	if len(text) == 0 || text[0] != '{' || !json.Valid(text) {
		return fmt.Errorf("%s %.80s must be a pattern, such as %s", what, text, example)
	}
	if _, err := pattern.Parse(string(text)); err != nil {
		return fmt.Errorf("%s %.80s: %s", what, text, firstLine(err.Error()))
	}
	return nil
}

// maxTriggers is how many entries a function's on or schedule may have.
const maxTriggers = 100

func checkTriggers(what string, n int) error {
	if n > maxTriggers {
		return fmt.Errorf("%s has %d entries; the limit is %d", what, n, maxTriggers)
	}
	return nil
}

// on reads what events a function is called with.
func (p *reader) on(e entry) (list []ResolvedEvent) {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, "on is a list, such as [{event: {source: [orders]}}]")
		return nil
	}
	for _, n := range seq.Values {
		if x, ok := p.onEntry(n); ok {
			list = append(list, x)
		}
	}
	p.check(e.key, checkTriggers("on", len(list)))
	return list
}

func (p *reader) onEntry(n ast.Node) (ResolvedEvent, bool) {
	x := ResolvedEvent{Bus: DefaultBus}
	before := len(p.errs)
	entries, ok := p.mapping(n, "an entry of on", onKeys, onLate)
	if !ok {
		return x, false
	}
	for _, e := range entries {
		switch e.name {
		case "event":
			if text, ok := p.jsonOrText(e.value, "event"); ok {
				x.Event = text
			}
		case "bus":
			if s, ok := p.text(e); ok {
				x.Bus = s
			}
		}
	}
	if !has(entries, "event") && len(p.errs) == before {
		p.fail(n, "an entry of on has no event; write the pattern, such as event: {source: [orders]}")
	}
	if len(p.errs) > before {
		return x, false
	}
	return x, p.check(n, x.check())
}
