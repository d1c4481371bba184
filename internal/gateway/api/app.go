package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// usualTimeout of an integration, in ms, is not worth telling.
const usualTimeout = 30_000

// OfManifest makes the own API of an app, which has its name as ID and answers at its hosts: the routes of its functions, and those of doc, which
// is what the app's OpenAPI document says; nil is none. Errors: Invalid, when both have the same.
func OfManifest(project, region string, r *manifest.Resolved, doc *API) (*Live, error) {
	a := &API{Project: project, ID: r.Name, Name: r.Name, Authorizers: AuthorizersOf(project, region, r), CORS: corsOf(r.CORS)}
	stage := Stage{Name: DefaultStage, AutoDeploy: true}
	l := &Live{API: a}
	if doc != nil {
		if err := a.join(doc); err != nil {
			return nil, err
		}
	}
	integrations := map[string]bool{}
	for _, key := range r.Keys() {
		for _, x := range r.Functions[key].HTTP {
			method, path, err := manifest.ParseRoute(x.Route)
			if err != nil {
				return nil, hansom.Errorf(hansom.Invalid, "make routes", "%w", err)
			}
			i := functionOf(project, region, r.Name, key, x.Timeout)
			if !integrations[i.ID] {
				integrations[i.ID] = true
				a.Integrations = append(a.Integrations, i)
			}
			route := Route{ID: method + " " + path, Key: method + " " + path, Integration: i.ID, Authorization: authorizationOf(r, x.Authorizer), Scopes: x.Scopes, KeyRequired: x.Key}
			if route.Authorization != "" && route.Authorization != "AWS_IAM" {
				route.Authorizer = x.Authorizer
			}
			if slices.ContainsFunc(a.Routes, func(o Route) bool { return sameRequests(o.Key, route.Key) }) {
				return nil, hansom.Errorf(hansom.Invalid, "make routes", "http %q of functions.%s matches the same requests as an operation of %s", route.Key, key, r.OpenAPI.File)
			}
			a.Routes = append(a.Routes, route)
			l.throttle(&stage, route.Key, x.Throttle)
		}
	}
	slices.SortFunc(a.Routes, func(x, y Route) int { return strings.Compare(x.ID, y.ID) })
	slices.SortFunc(a.Integrations, func(x, y Integration) int { return strings.Compare(x.ID, y.ID) })
	slices.SortFunc(a.Authorizers, func(x, y Authorizer) int { return strings.Compare(x.ID, y.ID) })
	a.Stages = []Stage{stage}
	l.Stages = map[string]*LiveStage{stage.Name: {stage, &Snapshot{a.Routes, a.Integrations, a.Authorizers, a.CORS}}}
	return l, nil
}

// sameRequests says that two route keys of one kind match the same requests: they differ in the names of parameters alone.
func sameRequests(a, b string) bool { return withoutNames(a) == withoutNames(b) }

func withoutNames(key string) string {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			segments[i] = "{}"
			if strings.HasSuffix(s, "+}") {
				segments[i] = "{+}"
			}
		}
	}
	return strings.Join(segments, "/")
}

// join takes over what an OpenAPI document has.
func (a *API) join(doc *API) error {
	a.Description, a.Version = doc.Description, doc.Version
	a.Routes, a.Integrations = slices.Clone(doc.Routes), slices.Clone(doc.Integrations)
	for _, x := range doc.Authorizers {
		if !slices.ContainsFunc(a.Authorizers, func(o Authorizer) bool { return o.ID == x.ID }) { // those of the manifest may be named
			a.Authorizers = append(a.Authorizers, x)
		}
	}
	switch {
	case doc.CORS != nil && a.CORS != nil:
		return hansom.Errorf(hansom.Invalid, "make routes", "cors and the OpenAPI document's x-amazon-apigateway-cors do not go together; remove one")
	case doc.CORS != nil:
		a.CORS = doc.CORS
	}
	if doc.EndpointOff {
		return hansom.Errorf(hansom.Invalid, "make routes", "the OpenAPI document's disableExecuteApiEndpoint is for APIs; an app answers at its own host")
	}
	for i, r := range a.Routes {
		for _, o := range a.Routes[:i] {
			if sameRequests(r.Key, o.Key) {
				return hansom.Errorf(hansom.Invalid, "make routes", "the OpenAPI document's operations %s and %s match the same requests", o.Key, r.Key)
			}
		}
	}
	return nil
}

// functionOf is the integration of one of an app's functions for callers that wait so long, in ms; 0 is as long as the function may run.
func functionOf(project, region, app, key string, timeout int) Integration {
	id := key
	if timeout != 0 {
		id += "@" + strconv.Itoa(timeout)
	}
	return Integration{
		ID: id, Type: AWSProxy, Method: "POST", Payload: "2.0", Timeout: timeout,
		URI: hansom.FunctionARN(region, project, manifest.FunctionName(app, key), ""),
	}
}

func authorizationOf(r *manifest.Resolved, authorizer string) string {
	a, ok := r.Authorizers[authorizer]
	switch {
	case !ok:
		return ""
	case a.JWT != nil:
		return "JWT"
	case a.IAM:
		return "AWS_IAM"
	}
	return "CUSTOM"
}

// AuthorizersOf are those of a manifest that have something to ask: a key set or a function.
func AuthorizersOf(project, region string, r *manifest.Resolved) []Authorizer {
	var out []Authorizer
	for _, name := range slices.Sorted(maps.Keys(r.Authorizers)) {
		x := Authorizer{ID: name, Name: name, Sources: r.Authorizers[name].Identity}
		switch m := r.Authorizers[name]; {
		case m.JWT != nil:
			x.Type, x.Issuer, x.Audience, x.KeySet = JWT, m.JWT.Issuer, m.JWT.Audience, m.JWT.Keys
		case m.Function != "":
			x.Type, x.Payload, x.Simple, x.TTL = Request, "2.0", !m.Policy, m.TTL
			x.URI = hansom.FunctionARN(region, project, manifest.FunctionName(r.Name, m.Function), "")
		default:
			continue
		}
		out = append(out, x)
	}
	return out
}

func corsOf(c *manifest.ResolvedCORS) *hansom.CORS {
	if c == nil {
		return nil
	}
	out := &hansom.CORS{AllowOrigins: c.Origins, AllowMethods: c.Methods, AllowHeaders: c.Headers, ExposeHeaders: c.Expose}
	if c.Credentials {
		out.AllowCredentials = &c.Credentials
	}
	if c.MaxAge > 0 {
		out.MaxAge = &c.MaxAge
	}
	return out
}

// throttle sets how often a route may be called.
func (l *Live) throttle(stage *Stage, key string, t *manifest.ResolvedThrottle) {
	switch {
	case t == nil:
	case t.Per == manifest.PerClient:
		l.Limits = append(l.Limits, Limit{Route: key, Per: t.Per, Rate: t.Rate, Burst: t.Burst})
	default:
		if stage.Settings == nil {
			stage.Settings = map[string]Settings{}
		}
		stage.Settings[key] = Settings{Rate: &t.Rate, Burst: &t.Burst}
	}
}

// Target says in a word and a value what an integration leads to: "function", "url", "queue", "bus", "site", "redirect" or "answer".
func (i *Integration) Target() (word, value string) {
	switch {
	case i.Type == HTTPProxy:
		return "url", i.URI
	case i.Subtype == SubtypeSQS:
		url := i.Parameters["QueueUrl"]
		return "queue", url[strings.LastIndexByte(url, '/')+1:]
	case i.Subtype == SubtypeEvents:
		return "bus", cmp.Or(i.Parameters["EventBusName"], "default")
	case i.Subtype == SubtypeSite:
		return "site", i.Parameters["App"]
	case i.Subtype == SubtypeRedirect:
		return "redirect", i.Parameters["Location"]
	case i.Subtype == SubtypeFixed:
		return "answer", cmp.Or(i.Parameters["StatusCode"], "200")
	}
	if _, name, qualifier, ok := FunctionOf(i.URI); ok {
		if qualifier != "" {
			name += ":" + qualifier
		}
		return "function", name
	}
	return "function", i.URI
}

// Describe tells what a route of a stage has: words and values, the first of which say what answers. The one with an empty word stands for
// all of it.
func (l *Live) Describe(stage *LiveStage, r *Route) [][2]string {
	i := slices.IndexFunc(stage.Integrations, func(i Integration) bool { return i.ID == r.Integration })
	out := [][2]string{{"nothing", ""}}
	add := func(word, value string) { out = append(out, [2]string{word, value}) }
	var all struct {
		Integration *Integration
		Authorizer  *Authorizer
	}
	if i >= 0 {
		all.Integration = &stage.Integrations[i]
		out[0][0], out[0][1] = all.Integration.Target()
	}
	if a := slices.IndexFunc(stage.Authorizers, func(a Authorizer) bool { return a.ID == r.Authorizer }); a >= 0 {
		all.Authorizer = &stage.Authorizers[a]
		add("authorizer", all.Authorizer.Name)
	} else if r.Authorization == "AWS_IAM" {
		add("authorizer", "iam")
	}
	if len(r.Scopes) > 0 {
		add("scopes", strings.Join(r.Scopes, ","))
	}
	if s, ok := stage.Settings[r.Key]; ok && s.Rate != nil {
		add("throttle", rate(*s.Rate, s.Burst))
	}
	for _, limit := range l.Limits {
		if limit.Route == r.Key || limit.Route == "" {
			add("throttle per "+limit.Per, rate(limit.Rate, &limit.Burst))
		}
	}
	if r.KeyRequired {
		add("key", "required")
	}
	if i >= 0 && all.Integration.Timeout != 0 && all.Integration.Timeout != usualTimeout {
		add("timeout", (time.Duration(all.Integration.Timeout) * time.Millisecond).String())
	}
	if text, err := json.Marshal(all); err == nil {
		add("", string(text))
	}
	return out
}

func rate(perSecond float64, burst *int) string {
	s := strconv.FormatFloat(perSecond, 'f', -1, 64) + "/s"
	if burst != nil {
		s += fmt.Sprintf(" burst %d", *burst)
	}
	return s
}
