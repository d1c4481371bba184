package gateway

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/authorize"
	"github.com/hansomcloud/hansom/internal/gateway/integrate"
	"github.com/hansomcloud/hansom/internal/gateway/mapping"
	"github.com/hansomcloud/hansom/internal/gateway/route"
	"github.com/hansomcloud/hansom/internal/gateway/throttle"
)

// serveStage answers at a stage of an API. A route of which nothing is asked but that its function is called has a way of its own.
func (g *Gateway) serveStage(w http.ResponseWriter, r *http.Request, p *place) {
	t, params := p.route(r.Method)
	if t == nil || !t.plain {
		g.visit(w, r, p, t, params)
		return
	}
	c := t.call(p, params)
	c.uri = r.RequestURI
	if p.stage.meter != nil {
		rec := recorders.Get().(*recorder)
		rec.ResponseWriter, w = w, rec
		defer rec.count(p.stage.meter, time.Now(), r, &c)
	}
	if status, message := g.invoke(w, r, &c); status != 0 {
		refuse(w, status, message)
	}
}

// route finds the one that answers; nil for none.
func (p *place) route(method string) (*target, []route.Param) {
	if p.stage == nil {
		return nil, nil
	}
	i, params := p.stage.router.Match(method, p.path)
	if i < 0 {
		return nil, nil
	}
	return &p.stage.targets[i], params
}

// call is what a function is called with.
func (t *target) call(p *place, params []route.Param) call {
	prefix, _, _ := strings.Cut(p.host, ".")
	return call{
		project: t.project, function: t.function, qualifier: t.qualifier, source: "http", stream: true, host: p.host, prefix: prefix, apiID: p.api.id,
		account: p.api.project, stage: p.stage.name, routeKey: t.key, params: params, variables: p.stage.variables, limit: t.limit, named: !p.api.own(),
		payload1: t.payload1,
	}
}

// visit is one request at a stage that has to do with more than a function.
type visit struct {
	place
	g      *Gateway
	r      *http.Request
	w      http.ResponseWriter
	t      *target // nil when no route fits
	params []route.Param
	prefix string

	id, trace string
	start     time.Time
	record    *recorder           // &recorded; nil when nobody asks
	decision  *authorize.Decision // &decided; nil when nobody was asked
	parsed    *mapping.Input
	again     bool // it comes again, over net/http

	body    []byte // of the request, once it was read
	read    bool
	readErr error

	integration integrate.Outcome
	latency     time.Duration // of the integration
	called      bool          // the integration was
	refused     int           // status of a refusal
	message     string        // of it

	// In one piece of memory with the rest.
	recorded recorder
	query    authorize.Query
	decided  authorize.Decision
}

// visit answers a request: preflights, the site of an app where no route fits, throttles, the authorizer, the usage plan, and then the integration.
func (g *Gateway) visit(w http.ResponseWriter, r *http.Request, p *place, t *target, params []route.Param) {
	if p.stage == nil && (p.api == nil || !p.api.own()) {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	if t == nil && p.api.own() && g.toSite(w, r, p) {
		return
	}
	if p.stage == nil {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	inv := hansom.Invocation{Trace: trace(r)}
	inv.Identify()
	v := &visit{place: *p, g: g, r: r, w: w, t: t, params: params, id: inv.ID, trace: inv.Trace}
	v.prefix, _, _ = strings.Cut(p.host, ".")
	if t != nil && t.serves.Load() && hansom.FiberOf(r.Context()) != nil {
		panic(hansom.ErrHandOver) // now, and not when it has been counted
	}
	w.Header()["Apigw-Requestid"] = []string{v.id}
	if p.stage.log != nil || p.stage.meter != nil {
		v.start = g.cfg.Now()
		v.recorded.ResponseWriter, v.record = w, &v.recorded
		v.w = v.record
		defer v.end()
	}
	if p.stage.cors != nil && (cors(v.w, r, p.stage.cors, http.StatusNoContent)) {
		return
	}
	switch {
	case t == nil && p.stage.cors != nil && r.Method == http.MethodOptions:
		v.w.WriteHeader(http.StatusNoContent)
	case t == nil:
		v.refuse(http.StatusNotFound, "Not Found", nil)
	case !v.throttled() && v.allowed():
		v.integrate()
	}
}

// toSite has the site of an app answer, when it has one.
func (g *Gateway) toSite(w http.ResponseWriter, r *http.Request, p *place) bool {
	if g.deps.Sites == nil {
		return false
	}
	h := g.deps.Sites.Site(p.api.project, p.api.id)
	if h == nil {
		return false
	}
	h.ServeHTTP(w, p.below(r)) // which detaches when it has to wait
	return true
}

// below is a request as a site sees it: without the path of a stage or a mapping.
func (p *place) below(r *http.Request) *http.Request {
	if p.path == rawPath(r) {
		return r
	}
	out := *r
	return moved(&out, p.path)
}

// moved gives a request, which is the caller's, another path, as it stands in a request line.
func moved(r *http.Request, path string) *http.Request {
	u := *r.URL
	r.URL, r.RequestURI = &u, path
	u.RawPath = path
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path = plain
	} else {
		u.Path = path
	}
	if u.RawQuery != "" {
		r.RequestURI += "?" + u.RawQuery
	}
	return r
}

// refuse answers for the integration.
func (v *visit) refuse(status int, message string, header http.Header) {
	v.refused, v.message = status, message
	h := v.w.Header()
	for name, values := range header {
		h[name] = values
	}
	refuse(v.w, status, message)
}

// late refuses a request that is one too many for now.
func (v *visit) late(after time.Duration) {
	seconds := max(1, int64((after+time.Second-1)/time.Second))
	v.refuse(http.StatusTooManyRequests, "Too Many Requests", http.Header{"Retry-After": {strconv.FormatInt(seconds, 10)}})
}

// throttled refuses what goes over the limits of the stage, the route or the client.
func (v *visit) throttled() bool {
	t := v.t
	if v.g.deps.Limits == nil || t.scope == "" && len(t.clients) == 0 {
		return false
	}
	key := throttle.Key{Scope: t.scope, API: v.api.id, Stage: v.stage.name}
	if t.scope != "" {
		if t.scope == throttle.Route {
			key.Route = t.key
		}
		if after, ok := v.g.deps.Limits.Take(key, t.rate, t.burst); !ok {
			v.late(after)
			return true
		}
	}
	for i := range t.clients {
		ip, _, _ := origin(v.r)
		key.Scope, key.Route, key.Who = throttle.Client, t.key, throttle.Address(ip)
		if after, ok := v.g.deps.Limits.Take(key, t.clients[i].Rate, t.clients[i].Burst); !ok {
			v.late(after)
			return true
		}
	}
	return false
}

// allowed asks the authorizer of the route, and holds an API key to its plan.
func (v *visit) allowed() bool {
	if !v.t.authorized {
		return true
	}
	if v.g.deps.Authorizer == nil {
		v.refuse(http.StatusInternalServerError, "Internal Server Error", nil)
		return false
	}
	ip, _, _ := origin(v.r)
	q := &v.query
	*q = authorize.Query{Request: v.r, API: v.api.live, Stage: v.stage.live, Route: v.t.route, ID: v.id, Path: v.path, Params: v.param, Selection: v.selection, Source: ip}
	q.Event = func(format string, identity []string) ([]byte, error) {
		c := v.call()
		inv := hansom.Invocation{ID: v.id, Trace: v.trace}
		return appendAuthorizerEvent(nil, format, authorize.RouteARN(v.g.cfg.Region, q), identity, v.r, &c, &inv), nil
	}
	v.decided = v.g.deps.Authorizer.Authorize(v.r.Context(), q)
	d := &v.decided
	v.decision = d
	if d.Status != 0 {
		v.refuse(d.Status, d.Message, d.Header)
		return false
	}
	if d.Plan == nil || d.Key == nil {
		return true
	}
	if after, ok := v.planned(d.Plan, d.Key); !ok {
		v.late(after)
		return false
	}
	return true
}

// planned holds a key to the rates of its plan, which may say more of a route, and to its quota.
func (v *visit) planned(plan *api.Plan, key *api.Key) (after time.Duration, ok bool) {
	const often = 1e9 // no rate of its own
	rate, burst, of := often, int(often), ""
	set := func(r *float64, b *int) {
		if r != nil {
			rate = *r
		}
		if b != nil {
			burst = *b
		}
	}
	set(plan.Rate, plan.Burst)
	for _, s := range plan.Stages {
		if own, ok := s.Settings[v.t.key]; ok && s.API == v.api.id && s.Stage == v.stage.name {
			set(own.Rate, own.Burst)
			of = v.t.key
		}
	}
	if v.g.deps.Limits != nil && (rate != often || burst != int(often)) {
		k := throttle.Key{Scope: throttle.Plan, Route: of, Who: plan.ID + "/" + key.ID}
		if of != "" {
			k.API, k.Stage = v.api.id, v.stage.name
		}
		if after, ok := v.g.deps.Limits.Take(k, rate, burst); !ok {
			return after, false
		}
	}
	if v.g.deps.Quotas == nil {
		return 0, true
	}
	return v.g.deps.Quotas.Take(plan, key.ID)
}

func (v *visit) call() call {
	c := v.t.call(&v.place, v.params)
	c.uri, c.id, c.trace, c.decision = v.r.RequestURI, v.id, v.trace, v.decision
	return c
}

// integrate has the integration answer, with the mappings of its parameters before and behind it.
func (v *visit) integrate() {
	t := v.t
	if t.broken != nil {
		v.refuse(http.StatusInternalServerError, "Internal Server Error", nil)
		return
	}
	if t.request.NeedsBody() && !v.whole() {
		return
	}
	r, path, w := v.r, "", v.w
	if t.request != nil {
		r, path = t.request.Apply(v.input(), r)
	}
	var back *mapper
	if len(t.responses) > 0 || v.stage.cors != nil {
		back = &mapper{ResponseWriter: w, responses: t.responses, in: v.input()}
		if v.stage.cors != nil {
			back.cors = onlyCORS(w.Header())
		}
		w = back
		if t.plainText {
			if r == v.r {
				r = r.Clone(r.Context())
			}
			r.Header.Del("Accept-Encoding")
		}
	}
	began := v.g.cfg.Now()
	v.called = true
	var status int
	var message string
	if t.function != "" {
		status, message = v.function(w, r, path)
	} else {
		status, message = v.other(w, r, path)
	}
	v.latency = v.g.cfg.Now().Sub(began)
	if status != 0 {
		v.refuse(status, message, nil)
	} else if back != nil {
		back.finish()
	}
}

// function calls one.
func (v *visit) function(w http.ResponseWriter, r *http.Request, path string) (status int, message string) {
	c := v.call()
	if v.t.request != nil {
		if path == "" {
			path = rawPath(v.r)
		}
		c.uri = moved(r, path).RequestURI
		if host := mapping.Host(r); host != "" {
			r.Host = host
		}
	}
	defer func() {
		v.again = c.served && status == 0 && hansom.FiberOf(r.Context()) != nil
		v.t.serves.Store(c.served)
		v.integration.RequestID, v.integration.Error = v.id, c.failed
		if c.failed == "" {
			v.integration.Status = http.StatusOK // that of the call; the answer's own is integration.status
		}
	}()
	return v.g.invoke(w, r, &c)
}

// other has what is no function answer.
func (v *visit) other(w http.ResponseWriter, r *http.Request, path string) (int, string) {
	t := v.t
	if !t.integration.Instant() {
		detach(v.r)
	}
	if t.subtype != "" && t.subtype != api.SubtypeSite && !v.whole() {
		return 0, ""
	}
	in := v.input()
	c := integrate.Call{In: in, ID: v.id, Path: path, Trace: v.trace, TraceParent: v.traceParent()}
	if t.subtype == api.SubtypeSite {
		r = v.below(r)
	}
	err := t.integration.Serve(w, r, &c)
	v.integration = c.Outcome
	if err == nil {
		return 0, ""
	}
	if v.integration.Error == "" {
		v.integration.Error = err.Error()
	}
	v.g.log.Debug("an integration did not answer", "api", v.api.id, "route", t.key, "request", v.id, "error", err)
	switch kind := hansom.KindOf(err); {
	case err == integrate.ErrSlow:
		return http.StatusRequestTimeout, "Request Timeout"
	case kind == hansom.Invalid:
		return http.StatusBadRequest, "Bad Request"
	case kind == hansom.Unauthenticated:
		return http.StatusForbidden, "Forbidden"
	}
	return refusal(err)
}

// traceParent is the traceparent of what is sent on.
func (v *visit) traceParent() string {
	if p := v.r.Header["Traceparent"]; len(p) == 1 && traceOf(p[0]) != "" {
		return p[0]
	}
	return string(appendTraceParent(nil, v.trace))
}

// whole reads the body of the request. It answers false, and the request, when that cannot be.
func (v *visit) whole() bool {
	v.bytes()
	if v.readErr == nil {
		return true
	}
	switch hansom.KindOf(v.readErr) {
	case hansom.TooLarge:
		v.refuse(http.StatusRequestEntityTooLarge, "Request Entity Too Large", nil)
	case hansom.Unauthenticated: // it is not the body that was signed
		v.refuse(http.StatusForbidden, "Forbidden", nil)
	case hansom.Timeout: // edge.Front
		v.refuse(http.StatusRequestTimeout, "Request Timeout", nil)
	default:
		v.refuse(http.StatusBadRequest, "Bad Request", nil)
	}
	return false
}

// bytes is the body of the request, which stays there for those who read it afterwards.
func (v *visit) bytes() []byte {
	if v.read || v.r.Body == nil || v.r.Body == http.NoBody {
		return v.body
	}
	v.read = true
	if v.r.ContentLength > integrate.MaxBody {
		v.readErr = hansom.Errorf(hansom.TooLarge, "read body", "the body has %d bytes; the limit is %d", v.r.ContentLength, integrate.MaxBody)
		return nil
	}
	v.body, v.readErr = io.ReadAll(io.LimitReader(v.r.Body, integrate.MaxBody+1))
	if v.readErr == nil && len(v.body) > integrate.MaxBody {
		v.readErr = hansom.Errorf(hansom.TooLarge, "read body", "the body is over the limit of %d bytes", integrate.MaxBody)
	}
	if v.readErr != nil {
		v.body = nil
		return nil
	}
	again := *v.r
	again.Body = io.NopCloser(bytes.NewReader(v.body))
	again.ContentLength = int64(len(v.body))
	again.TransferEncoding = nil
	v.r = &again
	return v.body
}

// input is what mappings read of the request.
func (v *visit) input() *mapping.Input {
	if v.parsed == nil {
		v.parsed = &mapping.Input{Request: v.r, Path: v.path, Param: v.param, Raw: v.raw, Body: v.bytes, Context: v.context, Stage: v.stage.variables}
	}
	return v.parsed
}

func (v *visit) find(name string) *route.Param {
	for i := range v.params {
		if v.params[i].Name == name {
			return &v.params[i]
		}
	}
	return nil
}

func (v *visit) param(name string) (string, bool) {
	if p := v.find(name); p != nil {
		return p.Value, true
	}
	return "", false
}

func (v *visit) raw(name string) (string, bool) {
	if p := v.find(name); p != nil {
		return p.Raw, true
	}
	return "", false
}

// selection is what a selection expression finds.
func (v *visit) selection(expression string) (string, bool) {
	value, ok := v.stage.selections[expression]
	if !ok {
		var err error
		if value, err = mapping.ParseSelection(expression); err != nil {
			return "", false
		}
	}
	return value.Get(v.input())
}

// mapper is the client's side of an integration whose answers are mapped, or have CORS headers that give way to the API's.
type mapper struct {
	http.ResponseWriter
	responses map[int]*mapping.Response
	in        *mapping.Input
	cors      http.Header // the API's; nil when it has none

	started bool
	reads   *mapping.Response // the mapping that waits for the body
	status  int
	body    []byte
}

func isCORS(name string) bool { return strings.HasPrefix(name, "Access-Control-") }

// onlyCORS are the CORS headers of h.
func onlyCORS(h http.Header) http.Header {
	only := http.Header{}
	for name, values := range h {
		if isCORS(name) {
			only[name] = slices.Clone(values)
		}
	}
	return only
}

// maxMapped is the most bytes of an answer that a mapping reads.
const maxMapped = integrate.MaxBody

func (m *mapper) WriteHeader(status int) {
	if m.started || status < 200 {
		if !m.started {
			m.ResponseWriter.WriteHeader(status)
		}
		return
	}
	m.started = true
	if m.cors != nil {
		h := m.Header()
		for name := range h {
			if isCORS(name) {
				delete(h, name)
			}
		}
		maps.Copy(h, m.cors)
	}
	of := m.responses[status]
	if of.NeedsBody() {
		m.reads, m.status = of, status
		return
	}
	m.ResponseWriter.WriteHeader(of.Apply(m.in, m.Header(), status))
}

func (m *mapper) Write(p []byte) (int, error) {
	if !m.started {
		m.WriteHeader(http.StatusOK)
	}
	if m.reads == nil {
		return m.ResponseWriter.Write(p)
	}
	if len(m.body)+len(p) > maxMapped {
		return 0, errMapped
	}
	m.body = append(m.body, p...)
	return len(p), nil
}

var errMapped = errors.New("the answer is too large to be read by a mapping")

// FlushError is for http.ResponseController.
func (m *mapper) FlushError() error {
	if m.reads != nil {
		return nil
	}
	if !m.started {
		m.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(m.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (m *mapper) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// finish sends an answer whose body was waited for.
func (m *mapper) finish() {
	if m.reads == nil {
		return
	}
	m.in.Answer = func() []byte { return m.body }
	m.ResponseWriter.WriteHeader(m.reads.Apply(m.in, m.Header(), m.status))
	if len(m.body) > 0 {
		_, _ = m.ResponseWriter.Write(m.body)
	}
}
