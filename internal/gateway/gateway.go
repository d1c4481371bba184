// Package gateway is what the edge listener serves: function URLs and the HTTP routes of apps. It turns a request into an
// event of payload format 2.0 and a function's result into a response, as AWS Lambda function URLs and API Gateway HTTP APIs do.
// A function that serves HTTP itself gets the request as it is, and its answer goes to the client as it comes.
package gateway

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hansomcloud/hansom"
)

// Config of a Gateway.
type Config struct {
	Domain string // base domain D of public hosts
}

// DefaultConfig serves hosts below localhost.
func DefaultConfig() Config { return Config{Domain: "localhost"} }

// URLs finds function URLs in memory.
type URLs interface {
	URL(id string) (*hansom.FunctionURL, bool)
}

// Authenticator verifies a signed request; its error is answered with 403.
type Authenticator interface {
	Authenticate(r *http.Request) (hansom.Principal, error)
}

// App is what answers at one app's hosts: Name.D and, for a project other than the default one, Name.Slug.D.
type App struct {
	Project, Slug, Name string
	Routes              []hansom.Route
}

// Gateway is the edge listener's handler.
type Gateway struct {
	cfg    Config
	urls   URLs
	auth   Authenticator
	invoke hansom.Invoker
	log    *slog.Logger
	apps   atomic.Pointer[map[string]*app] // by host without "."+Domain; "" is the bare domain
}

type app struct {
	App
	router router
}

// New returns a gateway that knows no app yet.
func New(cfg Config, urls URLs, auth Authenticator, invoker hansom.Invoker, log *slog.Logger) *Gateway {
	g := &Gateway{cfg: cfg, urls: urls, auth: auth, invoke: invoker, log: log}
	g.SetApps(nil)
	return g
}

// SetApps replaces the apps that answer; requests under way are not disturbed. An app with a route that does not parse is
// left out and logged: the manifest refuses such routes.
func (g *Gateway) SetApps(apps []App) {
	hosts := map[string]*app{}
	var bare []*app
	for _, a := range apps {
		r, err := newRouter(a.Routes)
		if err != nil {
			g.log.Error("app is not served", "app", a.Name, "project", a.Project, "error", err)
			continue
		}
		served := &app{a, r}
		if a.Project == hansom.DefaultProject {
			hosts[a.Name] = served
			bare = append(bare, served)
		} else {
			hosts[a.Name+"."+a.Slug] = served
		}
	}
	if len(bare) == 1 {
		hosts[""] = bare[0]
	}
	g.apps.Store(&hosts)
}

// label is the host of a request without its port and the base domain. An IP address stands for the bare domain.
func (g *Gateway) label(host string) (label, name string, ok bool) {
	name, _ = splitPort(host)
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == g.cfg.Domain || isIP(name) {
		return "", name, true
	}
	label, ok = strings.CutSuffix(name, "."+g.cfg.Domain)
	return label, name, ok
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

// ServeHTTP answers at a function URL's or an app's host and with 404 at any other.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	label, host, ok := g.label(r.Host)
	if !ok {
		refuse(w, http.StatusNotFound, "no app answers at "+host)
		return
	}
	if id, ok := strings.CutSuffix(label, ".lambda-url"); ok {
		g.serveURL(w, r, id, host)
		return
	}
	a := (*g.apps.Load())[label]
	if a == nil {
		refuse(w, http.StatusNotFound, "no app answers at "+host)
		return
	}
	rawPath, _, _ := strings.Cut(r.RequestURI, "?")
	route, params := a.router.match(r.Method, rawPath)
	if route == nil {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	prefix, _, _ := strings.Cut(host, ".")
	g.serve(w, r, &call{
		project: a.Project, function: route.Function, source: "http", stream: true,
		host: host, prefix: prefix, apiID: a.Name, account: a.Project, routeKey: route.key, params: params,
	})
}

func (g *Gateway) serveURL(w http.ResponseWriter, r *http.Request, id, host string) {
	u, ok := g.urls.URL(id)
	if !ok {
		refuse(w, http.StatusNotFound, "no function URL answers at "+host)
		return
	}
	if u.CORS != nil && cors(w, r, u.CORS) {
		return
	}
	c := &call{
		project: u.Project, function: u.Function, qualifier: u.Qualifier, source: "url", stream: u.InvokeMode == hansom.URLStreamed,
		host: host, prefix: id, apiID: id, account: "anonymous", routeKey: "$default",
	}
	if u.AuthType == hansom.URLAuthIAM {
		if f := hansom.FiberOf(r.Context()); f != nil {
			f.Detach() // keys are read from the database
		}
		p, err := g.auth.Authenticate(r)
		if err != nil || p.Project != u.Project {
			refuseURL(w, http.StatusForbidden, "Forbidden")
			return
		}
		c.principal, c.account = &p, p.Project
	}
	g.serve(w, r, c)
}

// call is one request on its way to a function.
type call struct {
	project, function, qualifier, source string
	stream                               bool // a streamed answer is passed on as it comes
	host, prefix, apiID, account         string
	routeKey                             string
	params                               []param
	principal                            *hansom.Principal // who signed, for AWS_IAM
}

const keptBuffer = 1 << 20 // larger buffers are left to the garbage collector

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// exchange is the hansom.Exchange of one request. It keeps the memory of the event.
type exchange struct {
	hansom.Exchange
	call  call
	inv   *hansom.Invocation
	event []byte
	err   error // of Event
}

var exchanges = sync.Pool{New: func() any {
	x := &exchange{}
	x.Event = x.makeEvent
	return x
}}

func (x *exchange) makeEvent() ([]byte, error) {
	x.event, x.err = appendEvent(x.event[:0], x.Request, &x.call, x.inv)
	return x.event, x.err
}

func (x *exchange) put() {
	x.Request, x.Response, x.call, x.inv, x.err = nil, nil, call{}, nil, nil
	if cap(x.event) <= keptBuffer {
		exchanges.Put(x)
	}
}

// refusal answers a request of which no event could be made.
func (x *exchange) refusal() (int, string) {
	switch {
	case hansom.KindOf(x.err) == hansom.TooLarge:
		return http.StatusRequestEntityTooLarge, "Request Entity Too Large"
	case x.call.principal != nil && hansom.KindOf(x.err) != hansom.Internal:
		return http.StatusForbidden, "Forbidden" // the body is not the one that was signed
	}
	return http.StatusBadRequest, "Bad Request"
}

// served completes the answer of a function that serves HTTP, which has answered itself unless something went wrong. An answer
// that broke off ends the connection.
func served(w http.ResponseWriter, c *call, result *hansom.Result, fail func(http.ResponseWriter, int, string)) {
	switch failed := result.FunctionError != ""; {
	case failed && result.Streamed:
		panic(http.ErrAbortHandler)
	case result.Streamed:
	case failed && result.Completion.Status == hansom.StatusTimeout:
		fail(w, http.StatusGatewayTimeout, "Endpoint request timed out")
	case failed:
		fail(w, http.StatusBadGateway, "Bad Gateway")
	case c.principal != nil: // the client's body ended before the answer: it is not the one that was signed, or broke off
		fail(w, http.StatusForbidden, "Forbidden")
	default:
		fail(w, http.StatusBadRequest, "Bad Request")
	}
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, c *call) {
	fail := refuse
	if c.source == "url" {
		fail = refuseURL
	}
	inv := hansom.Invocation{Project: c.project, Function: c.function, Qualifier: c.qualifier, Source: c.source, Fiber: hansom.FiberOf(r.Context())}
	if t := r.Header.Get("X-Amzn-Trace-Id"); strings.Contains(t, "Root=") {
		inv.Trace = t
	}
	inv.Identify()
	w.Header()["X-Amzn-Requestid"] = []string{inv.ID}

	x := exchanges.Get().(*exchange)
	defer x.put()
	x.Request, x.Response, x.call, x.inv = r, w, *c, &inv
	inv.HTTP = &x.Exchange
	var sink hansom.Sink
	var streamed *stream
	if c.stream {
		streamed = &stream{w: w}
		sink = streamed
	}
	result, err := g.invoke.Invoke(r.Context(), &inv, sink)
	if err == hansom.ErrHandOver {
		panic(err)
	}
	if err != nil {
		status, message := refusal(err)
		if err == x.err {
			status, message = x.refusal()
		}
		if status == http.StatusInternalServerError {
			g.log.Error("invocation failed", "function", c.function, "request", inv.ID, "error", err)
		}
		fail(w, status, message)
		return
	}
	defer result.Release()
	if inv.HTTP != nil {
		served(w, c, &result, fail)
		return
	}
	switch {
	case result.Streamed && streamed != nil:
		if !streamed.end(result.FunctionError != "") {
			functionFailed(w, c)
		}
	case result.FunctionError != "":
		functionFailed(w, c)
	case !writeResult(w, result.Payload):
		functionFailed(w, c)
	}
}

// refusal maps an invoker's error to a status and a message.
func refusal(err error) (int, string) {
	switch hansom.KindOf(err) {
	case hansom.NotFound:
		return http.StatusNotFound, "Not Found"
	case hansom.Throttled:
		return http.StatusTooManyRequests, "Rate Exceeded."
	case hansom.TooLarge:
		return http.StatusRequestEntityTooLarge, "Request Entity Too Large"
	case hansom.Denied:
		return http.StatusForbidden, "Forbidden"
	case hansom.Conflict, hansom.Unavailable, hansom.Canceled:
		return http.StatusServiceUnavailable, "Service Unavailable"
	case hansom.Timeout:
		return http.StatusGatewayTimeout, "Endpoint request timed out"
	}
	return http.StatusInternalServerError, "Internal Server Error"
}

// functionFailed answers for a function that failed or answered what is no response: 502 at a function URL, 500 at a route.
func functionFailed(w http.ResponseWriter, c *call) {
	if c.source == "url" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "Internal Server Error")
		return
	}
	refuse(w, http.StatusInternalServerError, "Internal Server Error")
}

// refuse answers as an HTTP API does, refuseURL as a function URL.
func refuse(w http.ResponseWriter, status int, message string) { answer(w, status, "message", message) }
func refuseURL(w http.ResponseWriter, status int, message string) {
	answer(w, status, "Message", message)
}

func answer(w http.ResponseWriter, status int, key, message string) {
	body := append([]byte(`{"`), key...)
	body = appendString(append(body, `":`...), message)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '}'))
}
