// Package gateway is what the edge listener serves: function URLs, HTTP APIs and the routes and sites of apps. It finds the API, the stage and the route of
// a request, asks whether it may go on, and has an integration answer it: functions with events of payload format 1.0 and 2.0, as AWS Lambda
// function URLs and API Gateway HTTP APIs do, and what package integrate has.
// A function that serves HTTP itself gets the request as it is, and its answer goes to the client as it comes.
package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/accesslog"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/authorize"
	"github.com/hansomcloud/hansom/internal/gateway/integrate"
	"github.com/hansomcloud/hansom/internal/gateway/throttle"
)

// Config of a Gateway.
type Config struct {
	Domain string // base domain D of public hosts
	Region string // stands in ARNs
	Now    func() time.Time
}

// DefaultConfig serves hosts below localhost.
func DefaultConfig() Config {
	return Config{Domain: "localhost", Region: hansom.DefaultRegion, Now: time.Now}
}

// URLs finds function URLs in memory.
type URLs interface {
	URL(id string) (*hansom.FunctionURL, bool)
}

// Authenticator verifies a signed request; its error is answered with 403.
type Authenticator interface {
	Authenticate(r *http.Request) (hansom.Principal, error)
}

// Authorizer says whether a request at a route goes on; authorize.Service is one.
type Authorizer interface {
	Authorize(ctx context.Context, q *authorize.Query) authorize.Decision
}

// Limits hold requests to rates; throttle.Limits are such.
type Limits interface {
	Take(key throttle.Key, rate float64, burst int) (after time.Duration, ok bool)
}

// Quotas count the requests of API keys; throttle.Quotas are such.
type Quotas interface {
	Take(plan *api.Plan, key string) (after time.Duration, ok bool)
}

// Sites finds static sites.
type Sites interface {
	// Site serves the live site of an app; nil when it has none.
	Site(project, app string) http.Handler
	// Preview serves a deployment of a site at its own host, a label below D; nil when there is none.
	Preview(label string) http.Handler
}

// Meter counts what is answered; it may forget an API that is gone.
type Meter interface {
	Stage(project, api, stage string) Observer
	ForgetAPI(project, api string)
}

// Observer counts an answer, 0 for none, and what it took.
type Observer interface {
	Observe(status int, took time.Duration)
}

// Deps are what a Gateway works with. Only the first three must be there: without an Authorizer, routes that ask for one answer 500, without Limits and Quotas there
// are none, without Logs no access logs, and without
// a Meter nothing is counted.
type Deps struct {
	URLs       URLs
	Auth       Authenticator // of function URLs
	Invoker    hansom.Invoker
	Authorizer Authorizer
	Limits     Limits
	Quotas     Quotas
	Logs       accesslog.Sink
	Sites      Sites
	Meter      Meter
	Integrate  integrate.Deps
}

// App is what answers at one app's hosts: Name.D and, for a project other than the default one, Name.Slug.D. Its routes are an API with one stage, "$default";
// nil for an app without routes, which may have a site.
type App struct {
	Project, Slug, Name string
	Live                *api.Live
}

// Gateway is the edge listener's handler. It implements what follows an api.Service.
type Gateway struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	changing sync.Mutex // one change at a time; what requests read is replaced
	apps     atomic.Pointer[apps]
	apis     atomic.Pointer[map[string]*served] // by ID
	domains  atomic.Pointer[domains]
}

// apps are those that answer.
type apps struct {
	hosts map[string]*served // by host without "."+Domain; "" is the bare domain
	names map[string]*served // by project/name
}

// New returns a gateway that knows no app and no API yet.
func New(cfg Config, deps Deps, log *slog.Logger) *Gateway {
	g := &Gateway{cfg: cfg, deps: deps, log: log}
	if deps.Sites != nil {
		g.deps.Integrate.Sites = deps.Sites
	}
	g.apps.Store(&apps{})
	g.apis.Store(&map[string]*served{})
	g.domains.Store(&domains{})
	return g
}

// SetApps replaces the apps that answer; requests under way are not disturbed. Those whose Live is the same as before are kept as they are.
// An app with routes that do not parse is left out and logged: the manifest refuses such routes.
func (g *Gateway) SetApps(list []App) {
	g.changing.Lock()
	defer g.changing.Unlock()
	before := g.apps.Load()
	now := &apps{hosts: map[string]*served{}, names: map[string]*served{}}
	var bare []*served
	for _, a := range list {
		name := a.Project + "/" + a.Name
		s := before.names[name]
		if s == nil || s.app != a {
			var err error
			if s, err = g.serveApp(a); err != nil {
				g.log.Error("app is not served", "app", a.Name, "project", a.Project, "error", err)
				continue
			}
		}
		now.names[name] = s
		if a.Project == hansom.DefaultProject {
			now.hosts[a.Name] = s
			bare = append(bare, s)
		} else {
			now.hosts[a.Name+"."+a.Slug] = s
		}
	}
	if len(bare) == 1 {
		now.hosts[""] = bare[0]
	}
	for name, s := range before.names {
		if now.names[name] == nil {
			g.forget(s)
		}
	}
	g.apps.Store(now)
}

// label is the host of a request without its port and the base domain. An IP address stands for the bare domain.
func (g *Gateway) label(host string) (label, name string, ok bool) {
	name, _ = splitPort(host)
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == g.cfg.Domain || isIP(name) {
		return "", name, true
	}
	if n := len(name) - len(g.cfg.Domain) - 1; n > 0 && name[n] == '.' && name[n+1:] == g.cfg.Domain {
		return name[:n], name, true
	}
	return "", name, false
}

// splitPort cuts the port off a host; "" when it has none.
func splitPort(host string) (name, port string) {
	if strings.IndexByte(host, ':') < 0 { // the error of SplitHostPort costs an allocation
		return host, ""
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		return h, p
	}
	return host, ""
}

func isIP(name string) bool {
	if name == "" {
		return false
	}
	last := name[len(name)-1]
	return (last == ']' || last >= '0' && last <= '9' || strings.IndexByte(name, ':') >= 0) && net.ParseIP(strings.Trim(name, "[]")) != nil
}

const (
	urlSuffix = ".lambda-url"
	apiSuffix = ".execute-api"
)

// ServeHTTP answers at a function URL, at the host of an API or an app, at a custom domain, at the preview of a site, and with 404 elsewhere.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	label, host, below := g.label(r.Host)
	if below {
		if id, ok := strings.CutSuffix(label, urlSuffix); ok {
			g.serveURL(w, r, id, host)
			return
		}
	}
	p, ok := g.place(label, host, below, rawPath(r))
	if ok {
		g.serveStage(w, r, &p)
		return
	}
	if below && g.deps.Sites != nil {
		if h := g.deps.Sites.Preview(label); h != nil {
			h.ServeHTTP(w, r)
			return
		}
	}
	refuse(w, http.StatusNotFound, "no app answers at "+host)
}

// place finds what answers at a host, of which label is what stands below D: an API, below /STAGE/ that stage, else $default; an app; a custom domain. ok is false when
// nothing does.
func (g *Gateway) place(label, host string, below bool, path string) (p place, ok bool) {
	if below {
		if id, ok := strings.CutSuffix(label, apiSuffix); ok {
			if s := (*g.apis.Load())[id]; s != nil && !s.hidden {
				p = s.at(path)
			}
			p.host = host
			return p, true
		}
		if a := g.apps.Load().hosts[label]; a != nil {
			return place{api: a, stage: a.main, host: host, path: path}, true
		}
	}
	return g.domains.Load().find(g, host, path)
}

// rawPath is the path of a request as it stands in the request line.
func rawPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// detach gives a request a goroutine for itself: it is going to wait.
func detach(r *http.Request) {
	if f := hansom.FiberOf(r.Context()); f != nil {
		f.Detach()
	}
}

func (g *Gateway) serveURL(w http.ResponseWriter, r *http.Request, id, host string) {
	u, ok := g.deps.URLs.URL(id)
	if !ok {
		refuse(w, http.StatusNotFound, "no function URL answers at "+host)
		return
	}
	if u.CORS != nil && cors(w, r, u.CORS, http.StatusOK) {
		return
	}
	c := &call{
		project: u.Project, function: u.Function, qualifier: u.Qualifier, source: "url", stream: u.InvokeMode == hansom.URLStreamed,
		host: host, prefix: id, apiID: id, account: "anonymous", stage: api.DefaultStage, routeKey: api.DefaultRoute, uri: r.RequestURI,
	}
	if u.AuthType == hansom.URLAuthIAM {
		detach(r) // keys are read from the database
		p, err := g.deps.Auth.Authenticate(r)
		if err != nil || p.Project != u.Project {
			refuseURL(w, http.StatusForbidden, "Forbidden")
			return
		}
		c.principal, c.account = &p, p.Project
	}
	if status, message := g.invoke(w, r, c); status == http.StatusBadGateway && message == failedMessage {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(message))
	} else if status != 0 {
		refuseURL(w, status, message)
	}
}
