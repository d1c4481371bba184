package gateway

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// Kinds of a Host.
const (
	HostApp    = "app"
	HostAPI    = "api"
	HostDomain = "domain"
	HostURL    = "function URL"
)

// Host is a host, and there a path, at which something of a project answers.
type Host struct {
	Host   string      `json:"host"` // without its port
	Path   string      `json:"path,omitempty"`
	Kind   string      `json:"kind"`
	Name   string      `json:"name"` // of the app or the API; of a function URL the function
	API    string      `json:"api,omitempty"`
	Stage  string      `json:"stage,omitempty"`
	Routes []HostRoute `json:"routes"`
}

// HostRoute is a route with what it has, as api.Live.Describe tells of it.
type HostRoute struct {
	Key      string            `json:"key"`
	Target   string            `json:"target"` // "function", "url", ... ; "site" for what no route takes
	Value    string            `json:"value"`
	Settings map[string]string `json:"settings,omitempty"` // "authorizer", "throttle", ...
	Broken   string            `json:"broken,omitempty"`   // why it cannot answer
}

// Hosts lists what of a project answers where, but for function URLs, which the gateway does not list.
func (g *Gateway) Hosts(project string) []Host {
	var out []Host
	apps := g.apps.Load()
	for _, label := range slices.Sorted(maps.Keys(apps.hosts)) {
		if s := apps.hosts[label]; s.app.Project == project {
			out = append(out, Host{Host: g.hostOf(label), Kind: HostApp, Name: s.app.Name, Routes: g.routesOf(s, s.main)})
		}
	}
	apis := *g.apis.Load()
	for _, id := range slices.Sorted(maps.Keys(apis)) {
		s := apis[id]
		if s.live.Project != project || s.live.EndpointOff {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(s.stages)) {
			h := Host{Host: g.hostOf(id + apiSuffix), Kind: HostAPI, Name: s.live.Name, API: id, Stage: name, Routes: g.routesOf(s, s.stages[name])}
			if name != api.DefaultStage {
				h.Path = "/" + name
			}
			out = append(out, h)
		}
	}
	d := g.domains.Load()
	list := func(name string, of domain) {
		if of.project != project {
			return
		}
		for _, m := range of.mappings {
			h := Host{Host: name, Kind: HostDomain, API: m.API, Stage: cmp.Or(m.Stage, api.DefaultStage), Routes: []HostRoute{}}
			if m.Key != "" {
				h.Path = "/" + m.Key
			}
			if s := g.mapped(&of, m.API); s != nil {
				h.Name, h.Routes = s.live.Name, g.routesOf(s, s.stages[h.Stage])
			}
			out = append(out, h)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.exact)) {
		list(name, d.exact[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.wild)) {
		list("*."+name, d.wild[name])
	}
	return out
}

// hostOf is the host of a label below the base domain.
func (g *Gateway) hostOf(label string) string {
	if label == "" {
		return g.cfg.Domain
	}
	return label + "." + g.cfg.Domain
}

// routesOf are the routes of a stage, in the order of their paths, and the site behind them.
func (g *Gateway) routesOf(s *served, st *stage) []HostRoute {
	out := []HostRoute{}
	if st != nil {
		for i := range st.targets {
			out = append(out, s.hostRoute(st, &st.targets[i]))
		}
	}
	slices.SortFunc(out, func(a, b HostRoute) int { return strings.Compare(sortKey(a.Key), sortKey(b.Key)) })
	if g.siteOf(s) != nil {
		out = append(out, HostRoute{Key: "*", Target: "site", Value: s.app.Name})
	}
	return out
}

// sortKey puts the path of a route before its method, and $default at the end.
func sortKey(key string) string {
	method, path, ok := strings.Cut(key, " ")
	if !ok {
		return "~" + key
	}
	return path + " " + method
}

// siteOf is the site of an app; nil when there is none.
func (g *Gateway) siteOf(s *served) http.Handler {
	if !s.own() || g.deps.Sites == nil {
		return nil
	}
	return g.deps.Sites.Site(s.app.Project, s.app.Name)
}

func (s *served) hostRoute(st *stage, t *target) HostRoute {
	settings := s.live.Describe(st.live, t.route)
	out := HostRoute{Key: t.key, Target: settings[0][0], Value: settings[0][1]}
	for _, x := range settings[1:] {
		if x[0] == "" {
			continue
		}
		if out.Settings == nil {
			out.Settings = map[string]string{}
		}
		out.Settings[x[0]] = x[1]
	}
	if t.broken != nil {
		out.Broken = t.broken.Error()
	}
	return out
}

// Explanation says what becomes of a request, and why.
type Explanation struct {
	Method     string      `json:"method"`
	Host       string      `json:"host"` // without its port
	Path       string      `json:"path"`
	Kind       string      `json:"kind,omitempty"` // of the Host; "" when nothing of the project answers there
	Name       string      `json:"name,omitempty"`
	API        string      `json:"api,omitempty"`
	Stage      string      `json:"stage,omitempty"`
	Below      string      `json:"below,omitempty"` // the path that routes are matched against
	Candidates []Candidate `json:"candidates,omitempty"`
	Route      *HostRoute  `json:"route,omitempty"` // that was chosen
	Steps      []Step      `json:"steps"`           // in their order
	Status     int         `json:"status"`          // what the gateway itself answers; 0 when the target does
}

// Candidate is a route whose path fits.
type Candidate struct {
	Key        string            `json:"key"`
	Chosen     bool              `json:"chosen"`
	Reason     string            `json:"reason"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Step is one decision.
type Step struct {
	What string `json:"what"` // "host", "stage", "cors", "route", "throttle", "authorizer", "key", "integration"
	Text string `json:"text"`
}

func (e *Explanation) step(what, text string) { e.Steps = append(e.Steps, Step{what, text}) }

// end says that the gateway itself answers.
func (e *Explanation) end(status int, what, text string) {
	e.Status = status
	e.step(what, text+": "+strconv.Itoa(status)+" "+http.StatusText(status))
}

// Explain says what becomes of a request of a project, whose hosts alone are told of. It asks no authorizer and no integration. URL.Path is not looked
// at: RequestURI is.
func (g *Gateway) Explain(project string, r *http.Request) Explanation {
	label, host, below := g.label(r.Host)
	e := Explanation{Method: r.Method, Host: host, Path: rawPath(r), Steps: []Step{}}
	if below {
		if id, ok := strings.CutSuffix(label, urlSuffix); ok {
			g.explainURL(&e, project, id)
			return e
		}
	}
	p, ok := g.place(label, host, below, e.Path)
	id, isAPI := strings.CutSuffix(label, apiSuffix)
	switch {
	case below && isAPI:
		g.explainAPI(&e, project, id, &p, r)
	case ok && p.api != nil && p.api.live.Project != project, ok && p.api == nil && g.domains.Load().owner(host) != project, !ok && !below:
		e.end(http.StatusNotFound, "host", "nothing of the project answers at "+host)
	case !ok && g.deps.Sites != nil && g.deps.Sites.Preview(label) != nil:
		e.step("host", host+" is the host of one deployment of a site, which answers")
	case !ok:
		e.end(http.StatusNotFound, "host", "nothing of the project answers at "+host)
	case p.api == nil:
		e.Kind = HostDomain
		e.end(http.StatusNotFound, "host", host+" is a custom domain, and no mapping of it has this path")
	case g.apps.Load().hosts[label] == p.api && below:
		e.Kind, e.Name = HostApp, p.api.app.Name
		if label == "" {
			e.step("host", host+" is that of the default project's only app, "+e.Name)
		} else {
			e.step("host", host+" is the app "+e.Name)
		}
		g.explainStage(&e, &p, r)
	default:
		e.Kind, e.Name = HostDomain, p.api.live.Name
		to, path := "the API "+e.Name, "all paths"
		if p.api.own() {
			to = "the app " + p.api.app.Name
		}
		if p.mapped != "" {
			path = "/" + p.mapped
		}
		e.step("host", host+" is a custom domain, which maps "+path+" to "+to)
		g.explainStage(&e, &p, r)
	}
	return e
}

// owner is the project that a custom domain belongs to.
func (d *domains) owner(host string) string {
	if of, ok := d.exact[host]; ok {
		return of.project
	}
	_, rest, _ := strings.Cut(host, ".")
	return d.wild[rest].project
}

// mapped is what a mapping of a domain leads to; nil when it is gone.
func (g *Gateway) mapped(of *domain, id string) *served {
	s := (*g.apis.Load())[id]
	if s == nil {
		s = g.apps.Load().names[of.project+"/"+id]
	}
	if s == nil || s.live.Project != of.project {
		return nil
	}
	return s
}

func (g *Gateway) explainURL(e *Explanation, project, id string) {
	u, ok := g.deps.URLs.URL(id)
	if !ok || u.Project != project {
		e.end(http.StatusNotFound, "host", "no function URL of the project has the id "+id)
		return
	}
	e.Kind, e.Name = HostURL, u.Function
	name := u.Function
	if u.Qualifier != "" {
		name += ":" + u.Qualifier
	}
	e.step("host", e.Host+" is the URL of the function "+name)
	e.step("cors", corsText(u.CORS))
	if u.AuthType == hansom.URLAuthIAM {
		e.step("authorizer", "the request must be signed (AWS_IAM), else 403")
	} else {
		e.step("authorizer", "none: everybody may call")
	}
	e.step("integration", "function "+name)
}

func (g *Gateway) explainAPI(e *Explanation, project, id string, p *place, r *http.Request) {
	s := (*g.apis.Load())[id]
	switch {
	case s == nil || s.live.Project != project:
		e.end(http.StatusNotFound, "host", "no API of the project that is deployed has the id "+id)
		return
	case p.api == nil:
		e.end(http.StatusNotFound, "host", e.Host+" is the API "+s.live.Name+", whose own host is turned off (DisableExecuteApiEndpoint)")
		return
	}
	e.Kind, e.Name = HostAPI, s.live.Name
	e.step("host", e.Host+" is the API "+s.live.Name)
	g.explainStage(e, p, r)
}

func (g *Gateway) explainStage(e *Explanation, p *place, r *http.Request) {
	e.API = p.api.live.ID
	if p.stage == nil {
		if g.siteOf(p.api) != nil {
			e.step("integration", "site "+p.api.app.Name)
			return
		}
		e.end(http.StatusNotFound, "stage", "there is no stage of that name with a deployment, and no "+api.DefaultStage+" one")
		return
	}
	e.Stage, e.Below = p.stage.live.Name, p.path
	if !p.api.own() {
		e.step("stage", e.Stage+"; routes are matched against "+e.Below)
	}
	x := p.stage.router.Explain(r.Method, p.path)
	for _, c := range x.Candidates {
		out := Candidate{Key: c.Key, Chosen: c.Chosen, Reason: c.Reason}
		for _, v := range c.Params {
			if out.Parameters == nil {
				out.Parameters = map[string]string{}
			}
			out.Parameters[v.Name] = v.Value
		}
		e.Candidates = append(e.Candidates, out)
	}
	switch site := g.siteOf(p.api) != nil; {
	case x.Index < 0 && site:
		e.step("route", x.Reason)
		e.step("integration", "site "+p.api.app.Name)
		return
	case p.stage.cors != nil && preflight(r):
		e.step("cors", corsText(p.stage.cors))
		e.end(http.StatusNoContent, "cors", "this is a preflight request, which the gateway answers itself")
		return
	case x.Index < 0 && p.stage.cors != nil && r.Method == http.MethodOptions:
		e.step("route", x.Reason)
		e.end(http.StatusNoContent, "cors", "with CORS the gateway answers OPTIONS itself")
		return
	case x.Index < 0:
		e.end(http.StatusNotFound, "route", x.Reason)
		return
	}
	e.step("route", x.Reason)
	t := &p.stage.targets[x.Index]
	route := p.api.hostRoute(p.stage, t)
	e.Route = &route
	e.step("cors", corsText(p.stage.cors))
	e.throttles(t)
	if !g.explainAuthorizer(e, p, t, r) {
		return
	}
	if t.broken != nil {
		e.end(http.StatusInternalServerError, "integration", "it cannot answer: "+t.broken.Error())
		return
	}
	text := strings.TrimSpace(route.Target + " " + route.Value)
	if timeout := route.Settings["timeout"]; timeout != "" {
		text += ", of which a caller waits " + timeout + " at most"
	}
	e.step("integration", text)
}

func (e *Explanation) throttles(t *target) {
	none := true
	if t.scope != "" {
		none = false
		e.step("throttle", perSecond(t.rate, t.burst)+" of the "+t.scope+", for all callers together, else 429")
	}
	for _, l := range t.clients {
		none = false
		e.step("throttle", perSecond(l.Rate, l.Burst)+" for each "+l.Per+", else 429")
	}
	if none {
		e.step("throttle", "none")
	}
}

func perSecond(rate float64, burst int) string {
	return strconv.FormatFloat(rate, 'f', -1, 64) + " requests/s, " + strconv.Itoa(burst) + " at once"
}

// explainAuthorizer says who may call, and whether the request says who it is. It is false when the gateway refuses it for that.
func (g *Gateway) explainAuthorizer(e *Explanation, p *place, t *target, r *http.Request) bool {
	i := slices.IndexFunc(p.stage.live.Authorizers, func(a api.Authorizer) bool { return a.ID == t.route.Authorizer })
	switch {
	case t.route.Authorization == "AWS_IAM":
		e.step("authorizer", "the request must be signed (AWS_IAM), else 403")
	case i >= 0:
		a := &p.stage.live.Authorizers[i]
		text := a.Name + ": a token of " + a.Issuer + " for " + strings.Join(a.Audience, " or ")
		if a.Type == api.Request {
			text = a.Name + ": a Lambda authorizer is asked"
		}
		if len(t.route.Scopes) > 0 {
			text += ", with the scope " + strings.Join(t.route.Scopes, " or ")
		}
		e.step("authorizer", text)
		for _, source := range a.Sources {
			if missing(source, r) {
				e.end(http.StatusUnauthorized, "authorizer", "the request has no "+strings.NewReplacer("$request.header.", "header ", "$request.querystring.", "query parameter ").Replace(source))
				return false
			}
		}
	case t.authorized && t.route.Authorization != "" && t.route.Authorization != "NONE":
		e.end(http.StatusInternalServerError, "authorizer", "the route's authorizer is gone")
		return false
	default:
		e.step("authorizer", "none: everybody may call")
	}
	if t.route.KeyRequired {
		name := strings.TrimPrefix(cmp.Or(p.api.live.KeySelection, "$request.header.x-api-key"), "$request.header.")
		e.step("key", "an API key of a usage plan in the header "+name+", else 403")
		if r.Header.Get(name) == "" {
			e.end(http.StatusForbidden, "key", "the request has no header "+name)
			return false
		}
	}
	return true
}

// missing says that a request lacks an identity source. Those of the context and of the stage are not looked at.
func missing(source string, r *http.Request) bool {
	if name, ok := strings.CutPrefix(source, "$request.header."); ok {
		return r.Header.Get(name) == ""
	}
	if name, ok := strings.CutPrefix(source, "$request.querystring."); ok {
		return !r.URL.Query().Has(name)
	}
	return false
}

// preflight says whether a request asks what another origin may do.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

func corsText(c *hansom.CORS) string {
	if c == nil {
		return "none: the target's own headers stay"
	}
	text := "origins " + cmp.Or(strings.Join(c.AllowOrigins, ", "), "none")
	if len(c.AllowMethods) > 0 {
		text += "; methods " + strings.Join(c.AllowMethods, ", ")
	}
	if len(c.AllowHeaders) > 0 {
		text += "; headers " + strings.Join(c.AllowHeaders, ", ")
	}
	if c.AllowCredentials != nil && *c.AllowCredentials {
		text += "; with credentials"
	}
	return text
}
