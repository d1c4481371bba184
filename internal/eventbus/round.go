package eventbus

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// round brings some events to their targets. Each target gets its events in their order, one after the other; targets do not wait for each other.
type round struct {
	s       *Service
	project string
	now     time.Time
	only    []string // ARNs of the rules that take part; nil for all
	results []Result // of the events, by their numbers

	mu       sync.Mutex // guards results while it runs
	lanes    map[string][]job
	archived map[string][]archived // by bus
}

// job is an event for a target.
type job struct {
	event int // its number
	hansom.Dispatch
}

type archived struct {
	event int
	Event
}

func (s *Service) newRound(project string, now time.Time, results []Result) *round {
	return &round{s: s, project: project, now: now, results: results, lanes: map[string][]job{}}
}

// add finds the targets of event number i. There are none on a bus that is not there.
func (r *round) add(i int, bus string, e *Event) {
	if !r.s.exists(r.project, bus) {
		return
	}
	if a := r.s.archiver; a != nil && !e.Replayed && a.Keeps(r.project, bus) {
		if r.archived == nil {
			r.archived = map[string][]archived{}
		}
		r.archived[bus] = append(r.archived[bus], archived{i, *e})
	}
	rules, err := r.s.view.match(r.project, bus, e.JSON)
	if err != nil {
		r.fail(i, err)
		return
	}
	r.s.tally.add(r.project, bus, len(rules) > 0)
	r.s.followers.tell(r.project, bus, e, rules)
	for _, rule := range rules {
		if r.only == nil || slices.Contains(r.only, rule.ARN()) {
			r.send(i, rule, e)
		}
	}
}

func (s *Service) exists(project, bus string) bool {
	return bus == DefaultBus || s.view.bus(project, bus) != nil
}

// send has event number i go to the targets of a rule.
func (r *round) send(i int, rule *Rule, e *Event) {
	for j := range rule.Targets {
		if d, ok := rule.Targets[j].dispatch(rule, e, r.now); ok {
			r.lanes[d.Lane] = append(r.lanes[d.Lane], job{i, d})
		}
	}
}

func (r *round) fail(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.results[i].Err == nil {
		r.results[i].Err = err
	}
}

// run waits until all is taken over or has failed.
func (r *round) run(ctx context.Context) {
	var work []func()
	for bus, list := range r.archived {
		work = append(work, func() { r.keep(ctx, bus, list) })
	}
	for _, jobs := range r.lanes {
		work = append(work, func() {
			for i := range jobs {
				if err := r.s.dispatcher.Dispatch(ctx, jobs[i].Dispatch); err != nil {
					r.fail(jobs[i].event, err)
				}
			}
		})
	}
	if len(work) == 1 {
		work[0]()
		return
	}
	var wg sync.WaitGroup
	for _, f := range work {
		wg.Go(f)
	}
	wg.Wait()
}

func (r *round) keep(ctx context.Context, bus string, list []archived) {
	events := make([]Event, len(list))
	for i := range list {
		events[i] = list[i].Event
	}
	if err := r.s.archiver.Keep(ctx, r.project, bus, events); err != nil {
		for i := range list {
			r.fail(list[i].event, err)
		}
	}
}
