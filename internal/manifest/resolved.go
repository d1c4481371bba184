package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
)

// maxResolved is the most bytes of an app's JSON form.
const maxResolved = 1 << 20

// Resolved is what the deployment door takes: a manifest whose code is built and uploaded. Its JSON form is documented in
// docs/reference/management-api.md.
type Resolved struct {
	Name      string                      `json:"name"`
	Functions map[string]ResolvedFunction `json:"functions"`        // by key
	Queues    map[string]ResolvedQueue    `json:"queues,omitempty"` // by key
	Site      *ResolvedSite               `json:"site,omitempty"`   // nil without

	Authorizers map[string]ResolvedAuthorizer `json:"authorizers,omitempty"` // by name
	CORS        *ResolvedCORS                 `json:"cors,omitempty"`
	Domains     []string                      `json:"domains,omitempty"`
	OpenAPI     *ResolvedOpenAPI              `json:"openapi,omitempty"`
}

// ResolvedFunction is one function of an app, ready to be deployed.
type ResolvedFunction struct {
	Runtime     string             `json:"runtime"` // never "go": that is built into provided.al2023
	Handler     string             `json:"handler"`
	CodeSHA256  string             `json:"codeSha256"`            // hex digest of the zip
	Memory      int                `json:"memory"`                // MB
	Timeout     int                `json:"timeout"`               // seconds
	Concurrency int                `json:"concurrency,omitempty"` // invocations at once in one instance; 0 is the runtime's default
	Provisioned int                `json:"provisioned,omitempty"` // invocations at once for which instances are kept ready
	Ready       string             `json:"ready,omitempty"`
	Egress      string             `json:"egress,omitempty"` // "" is the default of the project or the server
	Environment map[string]string  `json:"environment,omitempty"`
	HTTP        []ResolvedRoute    `json:"http,omitempty"`
	Layers      []string           `json:"layers,omitempty"`   // "name:version" or the ARN of one
	Queue       []ResolvedMapping  `json:"queue,omitempty"`    // whose messages it is called with
	NATS        []ResolvedMapping  `json:"nats,omitempty"`     // the same of subjects
	Async       *ResolvedAsync     `json:"async,omitempty"`    // nil is Lambda's default
	On          []ResolvedEvent    `json:"on,omitempty"`       // that it is called with
	Schedule    []ResolvedSchedule `json:"schedule,omitempty"` // when it is called
}

// Resolve gives the functions their code: digests maps keys to the hex SHA-256 of their zips. That of the site is in it already.
func (m *Manifest) Resolve(digests map[string]string) (*Resolved, error) {
	r := &Resolved{Name: m.Name, Functions: map[string]ResolvedFunction{}, Queues: m.Queues, Authorizers: m.Authorizers, CORS: m.CORS, Domains: m.Domains, OpenAPI: m.OpenAPI}
	for _, f := range m.Functions {
		runtime := f.Runtime
		if runtime == "go" {
			runtime = "provided.al2023"
		}
		r.Functions[f.Key] = ResolvedFunction{
			Runtime: runtime, Handler: f.Handler, CodeSHA256: digests[f.Key], Memory: f.Memory,
			Timeout: int(f.Timeout / time.Second), Concurrency: f.Concurrency, Provisioned: f.Provisioned, Ready: f.Ready, Egress: f.Egress, Environment: f.Environment, HTTP: f.HTTP,
			Layers: f.Layers, Queue: f.Queue, NATS: f.NATS, Async: f.Async, On: f.On, Schedule: f.Schedule,
		}
	}
	if m.Site != nil {
		r.Site = &m.Site.ResolvedSite
	}
	return r, r.Validate()
}

// DecodeResolved reads the JSON form, strictly, and validates it. Errors are Invalid.
func DecodeResolved(r io.Reader) (*Resolved, error) {
	const op = "decode app"
	dec := json.NewDecoder(io.LimitReader(r, maxResolved))
	dec.DisallowUnknownFields()
	var out Resolved
	if err := dec.Decode(&out); err != nil {
		return nil, hansom.Errorf(hansom.Invalid, op, "the app is not valid JSON of at most %d bytes: %w", maxResolved, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, hansom.Errorf(hansom.Invalid, op, "the app is followed by something else")
	}
	for _, f := range out.Functions {
		for _, m := range slices.Concat(f.Queue, f.NATS) { // the filters are shared
			for i, text := range m.Filter {
				m.Filter[i] = compact(text)
			}
		}
		for i := range f.On {
			f.On[i].Event = compact(f.On[i].Event)
		}
		for i := range f.Schedule {
			f.Schedule[i].Input = compact(f.Schedule[i].Input)
		}
	}
	return &out, out.Validate()
}

// Validate checks everything that Parse checks, for a door that does not trust its callers. Errors are Invalid.
func (r *Resolved) Validate() error {
	if err := r.validate(); err != nil {
		return hansom.Errorf(hansom.Invalid, "validate app", "%w", err)
	}
	return nil
}

func (r *Resolved) validate() error {
	if err := checkName(r.Name); err != nil {
		return err
	}
	if len(r.Functions) == 0 && r.Site == nil && r.OpenAPI == nil {
		return errors.New("functions is empty: an app needs at least one")
	}
	if r.Site != nil {
		if err := r.Site.validate(); err != nil {
			return err
		}
	}
	routes := routeSet{}
	for _, key := range r.Keys() {
		if err := errors.Join(checkKey(key), checkFunctionName(r.Name, key)); err != nil {
			return err
		}
		f := r.Functions[key]
		if err := f.validate(key, routes); err != nil {
			return fmt.Errorf("functions.%s: %w", key, err)
		}
	}
	if err := r.validateHTTP(); err != nil {
		return err
	}
	return r.validateQueues()
}

func (r *Resolved) validateHTTP() error {
	if err := checkAuthorizers(len(r.Authorizers)); err != nil {
		return err
	}
	function := func(key string) bool { _, ok := r.Functions[key]; return ok }
	for _, name := range slices.Sorted(maps.Keys(r.Authorizers)) {
		a := r.Authorizers[name]
		if err := cmp.Or(checkAuthorizerName(name), a.check(function)); err != nil {
			return fmt.Errorf("authorizers.%s: %w", name, err)
		}
	}
	for _, key := range r.Keys() {
		for _, x := range r.Functions[key].HTTP {
			if err := x.check(r.Authorizers); err != nil {
				return fmt.Errorf("functions.%s: http %q: %w", key, x.Route, err)
			}
		}
	}
	if r.CORS != nil {
		if err := r.CORS.check(); err != nil {
			return err
		}
	}
	if r.OpenAPI != nil {
		if err := r.OpenAPI.check(); err != nil {
			return err
		}
	}
	return checkDomains(r.Domains)
}

func (r *Resolved) validateQueues() error {
	for _, key := range r.QueueKeys() {
		q := r.Queues[key]
		if err := errors.Join(checkQueueKey(key), checkQueueName(r.Name, key, q.FIFO)); err != nil {
			return err
		}
		if err := cmp.Or(q.check(), checkDeadLetter(key, &q, r.Queues)); err != nil {
			return fmt.Errorf("queues.%s: %w", key, err)
		}
	}
	for _, key := range r.Keys() {
		f, seen := r.Functions[key], map[string]bool{}
		for i := range f.Queue {
			m := &f.Queue[i]
			if err := cmp.Or(m.check(), checkMapping(m, f.Timeout, r.Queues)); err != nil {
				return fmt.Errorf("functions.%s: queue %s: %w", key, m.Name, err)
			}
			if seen[m.Name] {
				return fmt.Errorf("functions.%s: queue has %s twice", key, m.Name)
			}
			seen[m.Name] = true
		}
		for i := range f.NATS {
			m := &f.NATS[i]
			if err := cmp.Or(hansom.CheckSubject(m.Subject), m.check()); err != nil {
				return fmt.Errorf("functions.%s: nats %s: %w", key, m.Subject, err)
			}
			if seen[" "+m.Subject] { // no queue has a space in its key
				return fmt.Errorf("functions.%s: nats has %s twice", key, m.Subject)
			}
			seen[" "+m.Subject] = true
		}
		if a := f.Async; a != nil {
			function := func(name string) bool { _, ok := r.Functions[name]; return ok }
			if err := cmp.Or(a.check(), checkDestination("onSuccess", key, a.OnSuccess, function, r.Queues), checkDestination("onFailure", key, a.OnFailure, function, r.Queues),
				checkDestination(deadLetter, key, a.DeadLetter, function, r.Queues)); err != nil {
				return fmt.Errorf("functions.%s: async: %w", key, err)
			}
		}
	}
	return nil
}

func (f *ResolvedFunction) validate(key string, routes routeSet) error {
	if f.Runtime == "go" {
		return errors.New("runtime go must be built into provided.al2023 first")
	}
	if !digestPattern.MatchString(f.CodeSHA256) {
		return fmt.Errorf("codeSha256 %q must be 64 hexadecimal digits, lower case", f.CodeSHA256)
	}
	for _, err := range []error{
		checkRuntime(f.Runtime), checkHandler(f.Runtime, f.Handler), checkMemory(f.Memory),
		checkTimeout(time.Duration(min(max(f.Timeout, 0), 1<<20)) * time.Second), checkEnvironment(f.Environment),
		checkLayers(f.Layers),
		checkConcurrency(f.Runtime, f.Concurrency), checkProvisioned(f.Provisioned), checkReady(f.Runtime, f.Ready), checkTriggers("on", len(f.On)), checkTriggers("schedule", len(f.Schedule)), checkEgress(f.Egress), checkPort(f.Runtime, f.Environment),
	} {
		if err != nil {
			return err
		}
	}
	for name := range f.Environment {
		if err := CheckVariable(name); err != nil {
			return err
		}
	}
	for i := range f.On {
		if err := f.On[i].check(); err != nil {
			return fmt.Errorf("on: %w", err)
		}
	}
	for i := range f.Schedule {
		if err := f.Schedule[i].check(); err != nil {
			return err
		}
	}
	for _, x := range f.HTTP {
		method, pattern, err := ParseRoute(x.Route)
		if err == nil {
			err = routes.add(method, pattern, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Keys of the functions, sorted.
func (r *Resolved) Keys() []string { return slices.Sorted(maps.Keys(r.Functions)) }

// QueueKeys are the keys of the queues, sorted.
func (r *Resolved) QueueKeys() []string { return slices.Sorted(maps.Keys(r.Queues)) }

// Routes of the app, by function key and in the order of each function's list.
func (r *Resolved) Routes() []hansom.Route {
	var out []hansom.Route
	for _, key := range r.Keys() {
		for _, x := range r.Functions[key].HTTP {
			if method, pattern, err := ParseRoute(x.Route); err == nil {
				out = append(out, hansom.Route{App: r.Name, Method: method, Path: pattern, Function: FunctionName(r.Name, key)})
			}
		}
	}
	return out
}
