package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Triggers have functions called: hansom.Mapping, hansom.Rule or hansom.Schedule.
type Triggers[T any] interface {
	// Deploy makes the one of an app, or brings it to what t says. Errors: Invalid; Conflict (it is not of the app).
	Deploy(ctx context.Context, tx *db.Tx, t T) error
	// Undeploy ends it; a missing one is no error.
	Undeploy(ctx context.Context, tx *db.Tx, t T) error
	// Owned returns those of an app, as q has them.
	Owned(ctx context.Context, q db.Querier, project, app string) ([]T, error)
}

// triggers are those of an app, by the names that plans show.
type triggers struct {
	mappings  map[string]hansom.Mapping
	rules     map[string]hansom.Rule
	schedules map[string]hansom.Schedule
}

// owned reads the triggers of an app.
func owned[T any](ctx context.Context, q db.Querier, of Triggers[T], project, app string, name func(*T) string) (map[string]T, error) {
	list, err := of.Owned(ctx, q, project, app)
	out := make(map[string]T, len(list))
	for _, t := range list {
		out[name(&t)] = t
	}
	return out, err
}

// triggers are those that there are, as q has them.
func (s *Service) triggers(ctx context.Context, q db.Querier, project, app string) (t triggers, err error) {
	if t.mappings, err = owned(ctx, q, s.Mappings, project, app, mappingName); err != nil {
		return t, err
	}
	if t.rules, err = owned(ctx, q, s.Rules, project, app, ruleName); err != nil {
		return t, err
	}
	t.schedules, err = owned(ctx, q, s.Schedules, project, app, scheduleName)
	return t, err
}

// wantedTriggers are those of a manifest; none of nil.
func (s *Service) wantedTriggers(project string, r *manifest.Resolved) triggers {
	t := triggers{map[string]hansom.Mapping{}, map[string]hansom.Rule{}, map[string]hansom.Schedule{}}
	if r == nil {
		return t
	}
	for _, key := range r.Keys() {
		f, name := r.Functions[key], manifest.FunctionName(r.Name, key)
		for _, x := range slices.Concat(f.Queue, f.NATS) {
			m := hansom.Mapping{
				Project: project, App: r.Name, Function: name, Source: hansom.SubjectARN(s.cfg.Region, project, x.Subject),
				Batch: x.Batch, Window: time.Duration(x.Window) * time.Second, Concurrency: x.Concurrency, Partial: x.Partial,
			}
			if x.Subject == "" {
				m.Source = s.queueARN(project, manifest.QueueName(r.Name, x.Name, r.Queues[x.Name].FIFO))
			}
			for _, f := range x.Filter {
				m.Filters = append(m.Filters, string(f))
			}
			t.mappings[mappingName(&m)] = m
		}
		for i, x := range f.On {
			rule := hansom.Rule{Project: project, App: r.Name, Bus: x.Bus, Name: manifest.RuleName(r.Name, key, i+1), Pattern: string(x.Event), Function: name}
			t.rules[ruleName(&rule)] = rule
		}
		for i, x := range f.Schedule {
			c := hansom.Schedule{Project: project, App: r.Name, Name: manifest.ScheduleName(r.Name, key, i+1), Expression: x.Expression, Zone: x.Timezone, Input: string(x.Input), Function: name}
			t.schedules[scheduleName(&c)] = c
		}
	}
	return t
}

// planTriggers compares those that there are with those that are wanted.
func (s *Service) planTriggers(have, next triggers) []Change {
	return slices.Concat(
		planOf(KindMapping, s.Mappings, have.mappings, next.mappings, mappingDifferences),
		planOf(KindRule, s.Rules, have.rules, next.rules, ruleDifferences),
		planOf(KindSchedule, s.Schedules, have.schedules, next.schedules, scheduleDifferences),
	)
}

// describe says what a plan shows of a trigger that it creates, beside its name.
func describe(t any) []string {
	if c, ok := t.(hansom.Schedule); ok {
		return []string{c.Expression}
	}
	return nil
}

func planOf[T any](kind string, of Triggers[T], have, next map[string]T, differences func(old, want *T) []string) []Change {
	var out []Change
	for name, want := range next {
		c := Change{Kind: kind, Name: name, Action: Create, Details: describe(want), apply: func(ctx context.Context, tx *db.Tx) error { return of.Deploy(ctx, tx, want) }}
		if old, ok := have[name]; ok {
			c.Action, c.Details = Unchanged, differences(&old, &want)
			if len(c.Details) > 0 {
				c.Action = Update
			}
		}
		out = append(out, c)
	}
	for name, old := range have {
		if _, ok := next[name]; !ok {
			out = append(out, Change{Kind: kind, Name: name, Action: Delete, apply: func(ctx context.Context, tx *db.Tx) error { return of.Undeploy(ctx, tx, old) }})
		}
	}
	return out
}

// mappingName is how a plan shows a mapping.
func mappingName(m *hansom.Mapping) string { return resourceOf(m.Source) + " -> " + m.Function }

func ruleName(r *hansom.Rule) string {
	if r.Bus == manifest.DefaultBus {
		return r.Name
	}
	return r.Bus + "/" + r.Name
}

func scheduleName(c *hansom.Schedule) string { return c.Name }

// changes collects what an update changes.
type changes []string

func (c *changes) diff(what string, old, want any) {
	if old != want {
		*c = append(*c, fmt.Sprintf("%s %v -> %v", what, old, want))
	}
}

// again says that something is turned on that was turned off beside the app.
func (c *changes) again(disabled bool) {
	if disabled {
		*c = append(*c, "enabled again")
	}
}

func mappingDifferences(old, want *hansom.Mapping) []string {
	var out changes
	limit := func(n int) string {
		if n == 0 {
			return "unlimited"
		}
		return strconv.Itoa(n)
	}
	out.diff("batch", old.Batch, want.Batch)
	out.diff("window", old.Window, want.Window)
	out.diff("concurrency", limit(old.Concurrency), limit(want.Concurrency))
	out.diff("partial", old.Partial, want.Partial)
	if !slices.Equal(old.Filters, want.Filters) {
		out = append(out, "filter")
	}
	out.again(old.Disabled)
	return out
}

func ruleDifferences(old, want *hansom.Rule) []string {
	var out changes
	out.diff("function", orNone(old.Function), want.Function)
	if old.Pattern != want.Pattern {
		out = append(out, "event")
	}
	out.again(old.Disabled)
	return out
}

func scheduleDifferences(old, want *hansom.Schedule) []string {
	var out changes
	out.diff("function", orNone(old.Function), want.Function)
	out.diff("expression", old.Expression, want.Expression)
	out.diff("timezone", cmp.Or(old.Zone, "UTC"), want.Zone)
	if cmp.Or(old.Input, "{}") != cmp.Or(want.Input, "{}") {
		out = append(out, "input")
	}
	out.again(old.Disabled)
	return out
}
