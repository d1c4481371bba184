package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Keys of an entry of http and of its throttle.
var (
	routeKeys    = []string{"route", "authorizer", "scopes", "throttle", "key", "timeout"}
	throttleKeys = []string{"rate", "burst", "per"}
)

// Whose requests a throttle counts together.
const (
	PerRoute  = "route"
	PerClient = "client" // by address
)

const (
	minRouteTimeout = 50 * time.Millisecond // as API Gateway's
	maxRouteTimeout = 30 * time.Second
	maxScopes       = 10
	maxRate         = 1_000_000 // requests/s; and of burst
)

var scopePattern = regexp.MustCompile(`^[!-~]{1,64}$`)

// ResolvedRoute has a function called with the web requests of a method and a path. Its JSON form is the route alone when nothing else is said.
type ResolvedRoute struct {
	Route      string            `json:"route"` // "GET /messages/{id}"
	Authorizer string            `json:"authorizer,omitempty"`
	Scopes     []string          `json:"scopes,omitempty"` // of which a token must have one
	Throttle   *ResolvedThrottle `json:"throttle,omitempty"`
	Key        bool              `json:"key,omitempty"`     // an API key is needed
	Timeout    int               `json:"timeout,omitempty"` // ms that a caller waits; 0 is as long as the function may run
}

// ResolvedThrottle is how often a route may be called.
type ResolvedThrottle struct {
	Rate  float64 `json:"rate"` // requests/s
	Burst int     `json:"burst"`
	Per   string  `json:"per"` // PerRoute or PerClient
}

// plainRoute has the fields of ResolvedRoute and not its methods.
type plainRoute ResolvedRoute

func (r ResolvedRoute) plain() bool {
	return r.Authorizer == "" && len(r.Scopes) == 0 && r.Throttle == nil && !r.Key && r.Timeout == 0
}

// MarshalJSON implements json.Marshaler.
func (r ResolvedRoute) MarshalJSON() ([]byte, error) {
	if r.plain() {
		return json.Marshal(r.Route)
	}
	return json.Marshal(plainRoute(r))
}

// UnmarshalJSON implements json.Unmarshaler. It is strict.
func (r *ResolvedRoute) UnmarshalJSON(data []byte) error {
	*r = ResolvedRoute{}
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &r.Route)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode((*plainRoute)(r))
}

// check says what is wrong with what an entry of http says beside its route.
func (r *ResolvedRoute) check(authorizers map[string]ResolvedAuthorizer) error {
	a, ok := authorizers[r.Authorizer]
	switch {
	case r.Authorizer != "" && !ok:
		return unknownAuthorizer(r.Authorizer, authorizers)
	case len(r.Scopes) > 0 && a.JWT == nil:
		return errors.New("scopes are those of tokens: they need an authorizer with jwt")
	case len(r.Scopes) > maxScopes:
		return fmt.Errorf("scopes has %d entries; the limit is %d", len(r.Scopes), maxScopes)
	case r.Timeout != 0 && (r.Timeout < int(minRouteTimeout.Milliseconds()) || r.Timeout > int(maxRouteTimeout.Milliseconds())):
		return fmt.Errorf("timeout %s is out of range: 50ms to 30s", time.Duration(r.Timeout)*time.Millisecond)
	}
	for _, s := range r.Scopes {
		if !scopePattern.MatchString(s) {
			return fmt.Errorf("scope %.80q must be 1 to 64 characters of ASCII without spaces", s)
		}
	}
	if r.Throttle != nil {
		return r.Throttle.check()
	}
	return nil
}

func (t *ResolvedThrottle) check() error {
	switch {
	case !(t.Rate > 0 && t.Rate <= maxRate):
		return fmt.Errorf("rate %v is out of range: above 0, up to %d requests a second", t.Rate, maxRate)
	case t.Burst < 1 || t.Burst > maxRate:
		return fmt.Errorf("burst %d is out of range: 1 to %d", t.Burst, maxRate)
	case t.Per != PerRoute && t.Per != PerClient:
		return fmt.Errorf("per %.40q must be %s or %s", t.Per, PerRoute, PerClient)
	}
	return nil
}

// http reads the routes of a function.
func (p *reader) http(e entry, fn string, routes routeSet) (list []ResolvedRoute) {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, "http is a list, such as [\"GET /messages\"]")
		return nil
	}
	for _, n := range seq.Values {
		r, at, ok := p.httpEntry(n)
		if !ok {
			continue
		}
		method, pattern, err := ParseRoute(r.Route)
		if p.check(at, err) && p.check(at, routes.add(method, pattern, fn)) {
			r.Route = method + " " + pattern
			list = append(list, r)
		}
	}
	return list
}

// httpEntry reads an entry of http; at is where its route is.
func (p *reader) httpEntry(n ast.Node) (r ResolvedRoute, at ast.Node, ok bool) {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		r.Route, ok = p.text(entry{name: "http", key: n, value: n})
		return r, n, ok
	}
	before := len(p.errs)
	entries, ok := p.mapping(n, "an entry of http", routeKeys, nil)
	if !ok {
		return r, n, false
	}
	for _, e := range entries {
		switch e.name {
		case "route":
			if s, ok := p.text(e); ok {
				r.Route, at = s, e.value
			}
		case "authorizer":
			r.Authorizer, _ = p.text(e)
		case "scopes":
			r.Scopes = p.texts(e, "[read]")
		case "throttle":
			r.Throttle = p.throttle(e)
		case "key":
			r.Key = p.boolean(e)
		case "timeout":
			r.Timeout = p.millis(e)
		}
	}
	if !has(entries, "route") && !slices.Contains(p.meant(n, routeKeys), "route") {
		p.fail(n, "an entry of http has no route; write one, such as route: \"GET /messages\"")
	}
	if len(p.errs) > before {
		return r, at, false
	}
	return r, at, p.named(r.Authorizer) || p.check(n, r.check(p.authorizers))
}

// named says that an authorizer is there but wrong, which has been told.
func (p *reader) named(authorizer string) bool {
	_, good := p.authorizers[authorizer]
	return authorizer != "" && !good && has(p.writtenAuthorizers, authorizer)
}

func (p *reader) throttle(e entry) *ResolvedThrottle {
	before := len(p.errs)
	entries, ok := p.mapping(e.value, "throttle", throttleKeys, nil)
	if !ok {
		return nil
	}
	t := &ResolvedThrottle{Per: PerRoute}
	for _, e := range entries {
		switch e.name {
		case "rate":
			t.Rate = p.number(e)
		case "burst":
			t.Burst, _ = p.integer(e)
		case "per":
			t.Per, _ = p.text(e)
		}
	}
	if !has(entries, "rate") && len(p.errs) == before {
		p.fail(e.key, "throttle has no rate; write the requests a second, such as rate: 10")
	}
	if !has(entries, "burst") {
		t.Burst = int(min(max(math.Ceil(t.Rate), 1), maxRate))
	}
	if len(p.errs) == before {
		p.check(e.value, t.check())
	}
	return t
}

func (p *reader) number(e entry) float64 {
	s, ok := p.text(e)
	if !ok {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		p.fail(e.value, "%s must be a number, not %.40q", e.name, s)
	}
	return v
}

// millis reads a time with a unit, in milliseconds.
func (p *reader) millis(e entry) int {
	s, ok := p.text(e)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	switch _, number := strconv.ParseFloat(s, 64); {
	case number == nil:
		p.fail(e.value, "%s needs a unit: write %ss or %sms", e.name, s, s)
	case err != nil:
		p.fail(e.value, "%s %.40q is not a duration; write one such as 10s or 500ms", e.name, s)
	case d < minRouteTimeout || d > maxRouteTimeout || d%time.Millisecond != 0:
		p.fail(e.value, "%s %s is out of range: 50ms to 30s, in whole milliseconds", e.name, s)
	}
	return int(d.Milliseconds())
}

// texts reads a list of texts.
func (p *reader) texts(e entry, example string) []string {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, "%s is a list, such as %s", e.name, example)
		return nil
	}
	var out []string
	for _, n := range seq.Values {
		if s, ok := p.text(entry{name: e.name, key: n, value: n}); ok {
			out = append(out, s)
		}
	}
	return out
}

// methodsOf CORS.
var corsMethods = slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return m == "ANY" })

var (
	corsKeys      = []string{"origins", "methods", "headers", "expose", "credentials", "maxAge"}
	headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
	originPattern = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[^/?#@\s]+$`)
)

const (
	maxCORSAge  = 24 * time.Hour
	maxCORSList = 100
)

// ResolvedCORS says which pages of other origins may call the app's routes.
type ResolvedCORS struct {
	Origins     []string `json:"origins"`
	Methods     []string `json:"methods"`
	Headers     []string `json:"headers"`
	Expose      []string `json:"expose,omitempty"`
	Credentials bool     `json:"credentials,omitempty"`
	MaxAge      int      `json:"maxAge,omitempty"` // seconds
}

func (c *ResolvedCORS) check() error {
	for _, l := range []struct {
		what string
		list []string
	}{{"origins", c.Origins}, {"methods", c.Methods}, {"headers", c.Headers}, {"expose", c.Expose}} {
		if len(l.list) > maxCORSList {
			return fmt.Errorf("cors: %s has %d entries; the limit is %d", l.what, len(l.list), maxCORSList)
		}
		if c.Credentials && slices.Contains(l.list, "*") {
			return fmt.Errorf("cors: with credentials browsers do not take * in %s; list what is allowed", l.what)
		}
	}
	if len(c.Origins) == 0 {
		return errors.New("cors has no origins; write them, such as origins: [\"https://example.com\"], or cors: true for all")
	}
	for _, s := range c.Origins {
		if s != "*" && !originPattern.MatchString(s) {
			return fmt.Errorf("cors: origin %.200q must be * or as browsers send it, such as https://example.com", s)
		}
	}
	for _, s := range c.Methods {
		if s != "*" && !slices.Contains(corsMethods, s) {
			return fmt.Errorf("cors: method %.40q is not * or one of %s", s, strings.Join(corsMethods, ", "))
		}
	}
	for _, s := range slices.Concat(c.Headers, c.Expose) {
		if !headerPattern.MatchString(s) {
			return fmt.Errorf("cors: header %.80q is no name of a header", s)
		}
	}
	return checkSpan("maxAge", seconds(c.MaxAge), 0, maxCORSAge)
}

// cors reads who may call from other origins; true is everybody.
func (p *reader) cors(e entry) *ResolvedCORS {
	all := []string{"*"}
	c := &ResolvedCORS{Methods: all, Headers: all}
	if b, ok := e.value.(*ast.BoolNode); ok {
		c.Origins = all
		if !b.Value {
			return nil
		}
		return c
	}
	before := len(p.errs)
	entries, ok := p.mapping(e.value, "cors", corsKeys, nil)
	if !ok {
		return nil
	}
	for _, e := range entries {
		switch e.name {
		case "origins":
			c.Origins = p.texts(e, `["https://example.com"]`)
		case "methods":
			c.Methods = p.texts(e, "[GET, POST]")
		case "headers":
			c.Headers = p.texts(e, "[content-type]")
		case "expose":
			c.Expose = p.texts(e, "[x-total]")
		case "credentials":
			c.Credentials = p.boolean(e)
		case "maxAge":
			c.MaxAge = p.span(e, 0, maxCORSAge)
		}
	}
	if len(p.errs) == before {
		p.check(e.value, c.check())
	}
	return c
}
