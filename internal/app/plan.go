package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Action is what a plan does to a resource.
type Action string

const (
	Create    Action = "create"
	Update    Action = "update"
	Delete    Action = "delete"
	Unchanged Action = "unchanged"
)

// Kinds of resource in a plan.
const (
	KindFunction   = "function"
	KindQueue      = "queue"
	KindMapping    = "mapping"
	KindRule       = "rule"
	KindSchedule   = "schedule"
	KindAuthorizer = "authorizer"
	KindCORS       = "cors"
	KindDomain     = "domain"
	KindRoute      = "route"
	KindSite       = "site"
)

// Plan is what a manifest changes: functions, queues, mappings, rules, schedules and authorizers by name, then routes by path, the site, and domains.
type Plan struct {
	App        string   `json:"app"`
	Deployment int64    `json:"deployment,omitempty"` // the current one after Apply; 0 in a plan alone
	Changes    []Change `json:"changes"`
}

// Change of one resource.
type Change struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"` // "hello-api", "hello-jobs", "hello-jobs -> hello-api", "GET /messages"
	Action  Action   `json:"action"`
	Details []string `json:"details,omitempty"` // what an update changes; values of environment variables are left out

	key   string                                     // of the function or the queue in the manifest
	apply func(ctx context.Context, tx *db.Tx) error // does it; nil where that takes the manifest
}

// Changed says whether applying the plan would do anything.
func (p *Plan) Changed() bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Action != Unchanged })
}

// plan compares what is there with next. Functions are compared with their real state, so that a change made beside the
// app is found and put right, and so are queues and triggers; routes with those of the current deployment, nil when there is none.
func (s *Service) plan(ctx context.Context, q db.Querier, project string, current, next *manifest.Resolved) (Plan, error) {
	have, err := s.resources(ctx, q, project, next.Name)
	if err != nil {
		return Plan{}, err
	}
	queues := keysOf(have.queues)
	web, err := s.planWeb(ctx, q, project, current, next)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{App: next.Name, Changes: s.compare(project, have, current, next, web)}
	s.countFiles(ctx, project, &p, current, next)
	if err := s.checkQueues(ctx, q, project, queues, &p, next); err != nil {
		return Plan{}, err
	}
	for _, c := range p.Changes {
		if c.Kind != KindFunction || c.Action != Create {
			continue
		}
		other, err := s.Functions.Resolve(ctx, project, c.Name, "")
		switch {
		case err == nil:
			return Plan{}, conflict("function", c.Name, other.Version.App, "Lambda")
		case hansom.KindOf(err) != hansom.NotFound:
			return Plan{}, err
		}
	}
	return p, nil
}

// state is what a manifest can say of a function.
type state struct {
	hansom.Version
	provisioned int
	async       *hansom.AsyncConfig // nil is the default
}

// state is what the manifest's entry key says.
func (s *Service) state(project string, r *manifest.Resolved, key string) state {
	return state{s.version(project, r, key), r.Functions[key].Provisioned, s.async(project, r, key)}
}

// resources are what an app is made of, by name.
type resources struct {
	functions map[string]state
	queues    map[string]queueState
	triggers
}

// resources are those that there are, as q has them.
func (s *Service) resources(ctx context.Context, q db.Querier, project, app string) (resources, error) {
	out := resources{functions: map[string]state{}, queues: map[string]queueState{}}
	owned, err := s.Functions.Owned(ctx, q, project, app)
	if err != nil {
		return out, err
	}
	kept, err := s.Provisioned.Kept(ctx, q, project)
	if err != nil {
		return out, err
	}
	events, err := s.Events.Load(ctx, q, project, "")
	if err != nil {
		return out, err
	}
	for _, v := range owned {
		x := state{v, kept[v.Function], nil}
		if c, ok := events[project+"/"+v.Function][hansom.Latest]; ok {
			x.async = &c
		}
		out.functions[v.Function] = x
	}
	queues, err := s.Queues.Owned(ctx, q, project, app)
	if err != nil {
		return out, err
	}
	for name, values := range queues {
		out.queues[name] = ofAttributes(name, values)
	}
	out.triggers, err = s.triggers(ctx, q, project, app)
	return out, err
}

// states are what a manifest says; nothing of nil.
func (s *Service) states(project string, r *manifest.Resolved) resources {
	out := resources{map[string]state{}, s.queueStates(r), s.wantedTriggers(project, r)}
	if r != nil {
		for _, key := range r.Keys() {
			v := s.state(project, r, key)
			out.functions[v.Function] = v
		}
	}
	return out
}

// compare lists functions, queues and triggers by name, then web, which is in no order yet, with the site. have is what is there; it is used up.
func (s *Service) compare(project string, have resources, current, next *manifest.Resolved, web []Change) []Change {
	var out []Change
	for _, key := range next.Keys() {
		want := s.state(project, next, key)
		old, ok := have.functions[want.Function]
		delete(have.functions, want.Function)
		c := Change{Kind: KindFunction, Name: want.Function, Action: Create, Details: []string{want.Runtime}, key: key}
		if ok {
			c.Action, c.Details = Unchanged, differences(&old, &want)
			if len(c.Details) > 0 {
				c.Action = Update
			}
		}
		out = append(out, c)
	}
	for name := range have.functions {
		out = append(out, Change{Kind: KindFunction, Name: name, Action: Delete})
	}
	out = append(out, s.planQueues(have.queues, next)...)
	out = append(out, s.planTriggers(have.triggers, s.wantedTriggers(project, next))...)
	out = append(out, web...)
	out = append(out, s.planSite(project, current, next)...)
	slices.SortStableFunc(out, compareChanges)
	return out
}

// sortName puts the path of a route before its method.
func sortName(c Change) string {
	method, path, ok := strings.Cut(c.Name, " ")
	if !ok || c.Kind != KindRoute {
		return c.Name
	}
	return path + " " + method
}

func conflict(what, name, owner, api string) error {
	of := "was made through the " + api + " API"
	if owner != "" {
		of = "belongs to the app " + owner
	}
	return hansom.Errorf(hansom.Conflict, "plan app", "the %s %s is there already and %s; delete it or rename the app or the %s", what, name, of, what)
}

// differences names what a manifest changes in a function. What a manifest cannot say is not compared.
func differences(old, want *state) []string {
	var out []string
	diff := func(what, a, b string) {
		if a != b {
			out = append(out, fmt.Sprintf("%s %s -> %s", what, a, b))
		}
	}
	diff("code", short(old.CodeSHA256), short(want.CodeSHA256))
	diff("runtime", old.Runtime, want.Runtime)
	diff("handler", old.Handler, want.Handler)
	diff("memory", strconv.Itoa(old.Memory), strconv.Itoa(want.Memory))
	diff("timeout", seconds(old.Timeout), seconds(want.Timeout))
	diff("layers", layerNames(&old.Version), layerNames(&want.Version))
	diff("concurrency", strconv.Itoa(old.Slots()), strconv.Itoa(want.Slots()))
	diff("provisioned", strconv.Itoa(old.provisioned), strconv.Itoa(want.provisioned))
	diff("ready", orNone(old.Ready), orNone(want.Ready))
	diff("egress", cmp.Or(old.Egress, "default"), cmp.Or(want.Egress, "default"))
	out = append(out, asyncDifferences(old.async, want.async)...)
	diff("async deadLetter", resourceOf(old.DeadLetter), resourceOf(want.DeadLetter))
	names := map[string]bool{}
	maps.Copy(names, keysOf(old.Environment))
	maps.Copy(names, keysOf(want.Environment))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, had := old.Environment[name]
		b, has := want.Environment[name]
		switch {
		case !had:
			out = append(out, "environment +"+name)
		case !has:
			out = append(out, "environment -"+name)
		case a != b:
			out = append(out, "environment ~"+name)
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func keysOf[V any](m map[string]V) map[string]bool {
	out := make(map[string]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// layerNames are the layers in their order: name:version of those of the project itself.
func layerNames(v *hansom.Version) string {
	names := make([]string, len(v.Layers))
	for i, l := range v.Layers {
		names[i] = strings.TrimPrefix(l.ARN, hansom.LayerARN(v.Region, v.Project, "", 0))
	}
	return cmp.Or(strings.Join(names, ","), "none")
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + "s" }

// short is a digest's beginning: enough to tell two apart.
func short(digest string) string { return digest[:min(12, len(digest))] }
