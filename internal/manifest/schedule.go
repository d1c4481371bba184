package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/hansomcloud/hansom/internal/cron"
)

var scheduleKeys = []string{"expression", "timezone", "input"}

const (
	defaultZone      = "UTC"
	maxScheduleInput = 1 << 18 // bytes
)

// ResolvedSchedule has a function called at its times.
type ResolvedSchedule struct {
	Expression string          `json:"expression"`      // rate(5 minutes), cron(0 9 * * ? *) or at(2027-01-01T09:00:00)
	Timezone   string          `json:"timezone"`        // in which cron() and at() are, of the time zone database
	Input      json.RawMessage `json:"input,omitempty"` // what the function gets; {} when it is left out
}

// ScheduleName is the name of the schedule of a function's nth entry of schedule, counted from 1.
func ScheduleName(app, key string, n int) string { return fmt.Sprintf("%s-%s-%d", app, key, n) }

func (x *ResolvedSchedule) check() error {
	if _, err := cron.Parse(x.Expression); err != nil {
		return fmt.Errorf("schedule %.80q: %s", x.Expression, firstLine(err.Error()))
	}
	if _, err := time.LoadLocation(x.Timezone); err != nil || x.Timezone == "" || x.Timezone == "Local" {
		return fmt.Errorf("timezone %.80q is unknown; write one such as Europe/Berlin", x.Timezone)
	}
	if len(x.Input) > maxScheduleInput || len(x.Input) > 0 && !json.Valid(x.Input) {
		return fmt.Errorf("input must be JSON of at most %d bytes", maxScheduleInput)
	}
	return nil
}

// schedules reads when a function is called.
func (p *reader) schedules(e entry) (list []ResolvedSchedule) {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, `schedule is a list, such as ["rate(5 minutes)"]`)
		return nil
	}
	for _, n := range seq.Values {
		if x, ok := p.scheduleEntry(n); ok {
			list = append(list, x)
		}
	}
	p.check(e.key, checkTriggers("schedule", len(list)))
	return list
}

func (p *reader) scheduleEntry(n ast.Node) (ResolvedSchedule, bool) {
	x := ResolvedSchedule{Timezone: defaultZone}
	if s, ok := scalar(n); ok { // the expression alone
		x.Expression = strings.TrimSpace(s)
		return x, p.check(n, x.check())
	}
	before := len(p.errs)
	entries, ok := p.mapping(n, "an entry of schedule", scheduleKeys, nil)
	if !ok {
		return x, false
	}
	for _, e := range entries {
		switch e.name {
		case "expression":
			if s, ok := p.text(e); ok {
				x.Expression = strings.TrimSpace(s)
			}
		case "timezone":
			if s, ok := p.text(e); ok {
				x.Timezone = s
			}
		case "input":
			if text, ok := p.json(e.value, "input"); ok {
				x.Input = compact(json.RawMessage(text))
			}
		}
	}
	if !has(entries, "expression") && len(p.errs) == before {
		p.fail(n, "an entry of schedule has no expression; write one, such as expression: rate(5 minutes)")
	}
	if len(p.errs) > before {
		return x, false
	}
	return x, p.check(n, x.check())
}
