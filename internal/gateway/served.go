package gateway

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/accesslog"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/integrate"
	"github.com/hansomcloud/hansom/internal/gateway/mapping"
	"github.com/hansomcloud/hansom/internal/gateway/route"
	"github.com/hansomcloud/hansom/internal/gateway/throttle"
)

// served is an API as it answers. It is never changed.
type served struct {
	main        *stage // $default; nil without one
	hidden      bool   // it does not answer at its own host
	id, project string
	named       []*stage
	live        *api.Live
	app         App // whose own API it is; zero for others
	stages      map[string]*stage
}

// own tells whether it is the API of an app.
func (s *served) own() bool { return s.app.Name != "" }

// stage is a stage as it answers.
type stage struct {
	name       string
	router     route.Router
	meter      Observer // nil when nothing is counted
	targets    []target // by the router's indexes
	variables  map[string]string
	live       *api.LiveStage
	cors       *hansom.CORS
	log        *accesslog.Log           // nil without
	selections map[string]mapping.Value // what authorizers ask for, parsed
}

// target is a route with what answers there. What each request needs comes first.
type target struct {
	plain    bool // it is a function that gets payload 2.0, and nothing comes before or behind it
	payload1 bool // the function gets payload 1.0
	key      string

	project, function, qualifier string // of a function; "" of others
	limit                        time.Duration

	route       *api.Route
	integration integrate.Integration // of all but functions
	subtype     string
	serves      atomic.Bool // the function serves HTTP itself
	broken      error       // why nothing can answer

	request   *mapping.Request
	responses map[int]*mapping.Response
	plainText bool // answers must not come compressed: a mapping reads them

	authorized bool
	scope      string // of its throttle, as throttle.Key has it; "" without one
	rate       float64
	burst      int
	clients    []api.Limit
}

// SetAPIs takes over the APIs that have changed, by ID; nil is one that is gone. Requests under way are not disturbed. Routes with an integration that cannot be
// are logged, and answer 500.
func (g *Gateway) SetAPIs(changed map[string]*api.Live) {
	g.changing.Lock()
	defer g.changing.Unlock()
	now := maps.Clone(*g.apis.Load())
	for id, live := range changed {
		if live == nil {
			g.forget(now[id])
			delete(now, id)
			continue
		}
		s, err := g.compile(live, App{})
		if err != nil {
			g.log.Error("an API is not served", "api", id, "project", live.Project, "error", err)
			delete(now, id)
			continue
		}
		now[id] = s
	}
	g.apis.Store(&now)
}

// forget ends the counts of an API that is gone; nil is none.
func (g *Gateway) forget(s *served) {
	if s != nil && g.deps.Meter != nil {
		g.deps.Meter.ForgetAPI(s.project, s.id)
	}
}

func (g *Gateway) serveApp(a App) (*served, error) {
	if a.Live == nil {
		return &served{id: a.Name, project: a.Project, app: a, live: &api.Live{API: &api.API{Project: a.Project, ID: a.Name, Name: a.Name}}}, nil
	}
	return g.compile(a.Live, a)
}

func (g *Gateway) compile(live *api.Live, a App) (*served, error) {
	s := &served{id: live.ID, project: live.Project, hidden: live.EndpointOff, live: live, app: a, stages: make(map[string]*stage, len(live.Stages))}
	for name, l := range live.Stages {
		st, err := g.compileStage(s, l)
		if err != nil {
			return nil, err
		}
		if s.stages[name] = st; name != api.DefaultStage {
			s.named = append(s.named, st)
		}
	}
	s.main = s.stages[api.DefaultStage]
	return s, nil
}

func (g *Gateway) compileStage(s *served, l *api.LiveStage) (*stage, error) {
	st := &stage{name: l.Name, variables: l.Variables, live: l, cors: l.CORS, targets: make([]target, len(l.Routes)), selections: map[string]mapping.Value{}}
	keys := make([]string, len(l.Routes))
	for i := range l.Routes {
		keys[i] = l.Routes[i].Key
	}
	router, err := route.New(keys)
	if err != nil {
		return nil, err
	}
	st.router = *router
	if g.deps.Meter != nil {
		st.meter = g.deps.Meter.Stage(s.project, s.id, l.Name)
	}
	if l.LogTarget != "" && g.deps.Logs != nil {
		if st.log, err = accesslog.New(s.live.Project, s.live.ID, l.Name, l.LogTarget, l.LogFormat, g.deps.Logs); err != nil {
			g.log.Error("a stage has no access log", "api", s.live.ID, "stage", l.Name, "error", err)
		}
	}
	integrations := make(map[string]*api.Integration, len(l.Integrations))
	for i := range l.Integrations {
		integrations[l.Integrations[i].ID] = &l.Integrations[i]
	}
	for i := range l.Routes {
		t := &st.targets[i]
		t.route, t.key = &l.Routes[i], keys[i]
		if t.broken = g.compileTarget(s, l, t, integrations[t.route.Integration]); t.broken != nil {
			g.log.Error("a route cannot answer", "api", s.live.ID, "stage", l.Name, "route", t.key, "error", t.broken)
		}
		t.throttle(s.live, l)
		t.authorized = t.route.KeyRequired || t.route.Authorization != "" && t.route.Authorization != "NONE"
		t.plain = t.function != "" && t.broken == nil && !t.payload1 && t.request == nil && len(t.responses) == 0 && !t.authorized && t.scope == "" && len(t.clients) == 0 &&
			st.cors == nil && st.log == nil
	}
	for i := range l.Authorizers {
		for _, source := range l.Authorizers[i].Sources {
			st.selections[source], _ = mapping.ParseSelection(source)
		}
	}
	selection := cmp.Or(s.live.KeySelection, "$request.header.x-api-key")
	st.selections[selection], _ = mapping.ParseSelection(selection)
	return st, nil
}

// compileTarget prepares the integration of a route. Its error says why the route cannot answer.
func (g *Gateway) compileTarget(s *served, l *api.LiveStage, t *target, i *api.Integration) (err error) {
	if i == nil {
		return hansom.Errorf(hansom.NotFound, "make route", "the route has no integration")
	}
	t.subtype = i.Subtype
	if i.Subtype == "" {
		if t.request, err = mapping.ParseRequest(i.Parameters); err != nil {
			return err
		}
	}
	for status, parameters := range i.Responses {
		n, err := strconv.Atoi(status)
		if err != nil {
			return hansom.Errorf(hansom.Invalid, "make route", "%q is no status of a response", status)
		}
		m, err := mapping.ParseResponse(parameters)
		if err != nil {
			return err
		}
		if m != nil {
			if t.responses == nil {
				t.responses = map[int]*mapping.Response{}
			}
			t.responses[n], t.plainText = m, t.plainText || m.NeedsBody()
		}
	}
	if i.Type != api.AWSProxy || i.Subtype != "" {
		t.integration, err = integrate.New(i, s.live.Project, l.Variables, g.deps.Integrate)
		return err
	}
	uri, err := expand(i.URI, l.Variables)
	if err != nil {
		return err
	}
	project, name, qualifier, ok := api.FunctionOf(uri)
	switch {
	case !ok:
		return hansom.Errorf(hansom.Invalid, "make route", "%.200q is no function's ARN", uri)
	case project != s.live.Project:
		return hansom.Errorf(hansom.Denied, "make route", "the function %s is another project's", uri)
	}
	t.project, t.function, t.qualifier, t.payload1 = project, name, qualifier, i.Payload == "1.0"
	if t.limit = time.Duration(i.Timeout) * time.Millisecond; t.limit == 0 && !s.own() {
		t.limit = 30 * time.Second
	}
	return nil
}

// expand replaces the stage variables in a URI.
func expand(uri string, variables map[string]string) (string, error) {
	if !strings.Contains(uri, "${") {
		return uri, nil
	}
	v, err := mapping.ParseValue(uri)
	if err != nil {
		return "", err
	}
	if v.NeedsRequest() {
		return "", hansom.Errorf(hansom.Invalid, "make route", "the URI %.200q has other variables than ${stageVariables.NAME}", uri)
	}
	text, _ := v.Get(&mapping.Input{Stage: variables})
	return text, nil
}

// throttle finds the limits of a route: its own settings in the stage, else those of the stage, which its routes share. One of rate and burst that is not
// given is the account's, as AWS has it.
func (t *target) throttle(live *api.Live, l *api.LiveStage) {
	const accountRate, accountBurst = 10_000, 5_000
	set := func(scope string, s api.Settings) {
		if s.Rate == nil && s.Burst == nil {
			return
		}
		t.scope, t.rate, t.burst = scope, accountRate, accountBurst
		if s.Rate != nil {
			t.rate = *s.Rate
		}
		if s.Burst != nil {
			t.burst = *s.Burst
		}
	}
	set(throttle.Stage, l.Default)
	set(throttle.Route, l.Settings[t.key])
	for _, limit := range live.Limits {
		if limit.Route == "" || limit.Route == t.key {
			t.clients = append(t.clients, limit)
		}
	}
}

// place is where a request arrived: a stage of an API, and the path below it.
type place struct {
	api    *served
	stage  *stage // nil when there is none
	host   string
	path   string // as it stands in the request line, without the stage or the path of a mapping
	mapped string // the path of the mapping of a custom domain
}

// at finds the stage of a path at the API's own host.
func (s *served) at(path string) place {
	for _, st := range s.named {
		below, ok := strings.CutPrefix(path[min(len(path), 1):], st.name)
		switch {
		case !ok || path[0] != '/':
		case below == "":
			return place{api: s, stage: st, path: "/"}
		case below[0] == '/':
			return place{api: s, stage: st, path: below}
		}
	}
	return place{api: s, stage: s.main, path: path}
}

// domains are the custom ones.
type domains struct{ exact, wild map[string]domain } // wild by what follows "*."

type domain struct {
	project  string
	mappings []api.Mapping // the longest paths first
}

// SetDomains replaces the custom domains.
func (g *Gateway) SetDomains(all []*api.Domain) {
	d := &domains{exact: map[string]domain{}, wild: map[string]domain{}}
	for _, of := range all {
		one := domain{of.Project, slices.Clone(of.Mappings)}
		slices.SortStableFunc(one.mappings, func(a, b api.Mapping) int { return len(b.Key) - len(a.Key) })
		if rest, ok := strings.CutPrefix(of.Name, "*."); ok {
			d.wild[rest] = one
		} else {
			d.exact[of.Name] = one
		}
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	g.domains.Store(d)
}

// find tells where a request for a custom domain goes: an exact name before one with "*.", the longest path of a mapping first. ok is false when no such domain is
// there; without a mapping the place has no stage.
func (d *domains) find(g *Gateway, host, path string) (p place, ok bool) {
	of, ok := d.exact[host]
	if !ok {
		_, rest, _ := strings.Cut(host, ".")
		if of, ok = d.wild[rest]; !ok {
			return place{}, false
		}
	}
	for _, m := range of.mappings {
		below := path
		if m.Key != "" {
			if below, ok = strings.CutPrefix(path, "/"+m.Key); !ok || below != "" && below[0] != '/' {
				continue
			}
			if below == "" {
				below = "/"
			}
		}
		s := (*g.apis.Load())[m.API]
		if s == nil {
			s = g.apps.Load().names[of.project+"/"+m.API]
		}
		if s != nil && s.live.Project == of.project {
			return place{api: s, stage: s.stages[cmp.Or(m.Stage, api.DefaultStage)], host: host, path: below, mapped: m.Key}, true
		}
	}
	return place{host: host, path: path}, true
}
