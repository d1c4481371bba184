package manifest

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/hansomcloud/hansom"
)

// Keys that exist, and those whose feature comes later and which are refused by name.
var (
	topKeys      = []string{"name", "functions", "queues", "site", "authorizers", "cors", "domains", "openapi"}
	topLater     = []string{"database", "buckets", "auth"}
	functionKeys = []string{"runtime", "code", "handler", "memory", "timeout", "environment", "http", "layers", "concurrency", "provisioned", "ready", "egress", "queue", "nats", "async", "on", "schedule"}
	functionLate = []string{"permissions"}
)

// Parse parses and validates a manifest; file is its name in errors. What it returns as error is Errors.
func Parse(file string, data []byte) (*Manifest, error) {
	return (&reader{file: file}).read(data)
}

func (p *reader) read(data []byte) (*Manifest, error) {
	m := p.manifest(data)
	if len(p.errs) > 0 {
		lines := strings.Split(string(data), "\n")
		for _, e := range p.errs {
			if e.Line <= len(lines) {
				e.Source = strings.TrimRight(lines[e.Line-1], "\r")
			}
		}
		sort.SliceStable(p.errs, func(i, j int) bool {
			a, b := p.errs[i], p.errs[j]
			return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
		})
		return nil, p.errs
	}
	return m, nil
}

// reader walks the syntax tree itself, so that every fault has its place.
type reader struct {
	file string
	dir  string // where code must be; "" does not look
	errs Errors

	mappings     []mappingCheck
	destinations []asyncCheck
	asked        []askedFunction
	listed       []entry // of functions, also those that are wrong

	authorizers        map[string]ResolvedAuthorizer
	writtenAuthorizers []entry // also those that are wrong
}

// entry of a mapping.
type entry struct {
	name  string
	key   ast.Node
	value ast.Node
}

func (p *reader) fail(n ast.Node, format string, args ...any) {
	p.failAt(n.GetToken(), format, args...)
}

func (p *reader) failAt(t *token.Token, format string, args ...any) {
	line, column := 1, 1
	if t != nil && t.Position != nil {
		line, column = t.Position.Line, t.Position.Column
	}
	p.errs = append(p.errs, &Error{File: p.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}

// check reports err at n and says whether there was none.
func (p *reader) check(n ast.Node, err error) bool {
	if err != nil {
		p.fail(n, "%s", err)
	}
	return err == nil
}

func (p *reader) manifest(data []byte) *Manifest {
	if len(data) > maxSize {
		p.failAt(nil, "the manifest has %d bytes; the limit is %d", len(data), maxSize)
		return nil
	}
	root, fault := ParseYAML(data, maxDepth)
	switch {
	case fault != nil:
		p.errs = append(p.errs, &Error{File: p.file, Line: fault.Line, Column: fault.Column, Message: fault.Message})
		return nil
	case root == nil:
		p.failAt(nil, "the manifest is empty; it needs name and functions")
		return nil
	}
	m := &Manifest{}
	entries, ok := p.mapping(root, "the manifest", topKeys, topLater)
	if !ok {
		return nil
	}
	var functions, queues, site ast.Node
	for _, e := range entries {
		switch e.name {
		case "name":
			if s, ok := p.text(e); ok && p.check(e.value, checkName(s)) {
				m.Name = s
			}
		case "functions":
			functions = e.value
		case "queues":
			queues = e.value
		case "site":
			site = e.value
		case "authorizers":
			p.listAuthorizers(m, e)
		case "cors":
			m.CORS = p.cors(e)
		case "domains":
			m.Domains = p.domains(e)
		case "openapi":
			m.OpenAPI = p.openAPI(e)
		}
	}
	if len(p.errs) > 0 && functions == nil {
		return nil // an unknown key is most likely the missing one
	}
	if !has(entries, "name") {
		p.failAt(nil, "name is missing: the app needs one, such as name: guestbook")
	}
	switch {
	case functions != nil:
		p.functions(m, functions)
	case site == nil && !has(entries, "openapi"): // whose routes may need none
		p.failAt(nil, "functions is missing: an app needs at least one")
		return nil
	}
	p.queues(m, queues)
	if site != nil {
		p.site(m, site)
	}
	p.checkAsked()
	return m
}

func (p *reader) functions(m *Manifest, n ast.Node) {
	entries, ok := p.mapping(n, "functions", nil, nil)
	if !ok {
		return
	}
	p.listed = entries
	if len(entries) == 0 {
		p.fail(n, "functions is empty: an app needs at least one")
	}
	routes := routeSet{}
	for _, e := range entries {
		if !p.check(e.key, checkKey(e.name)) || m.Name != "" && !p.check(e.key, checkFunctionName(m.Name, e.name)) {
			continue
		}
		if f, ok := p.function(e, routes); ok {
			m.Functions = append(m.Functions, f)
		}
	}
}

func (p *reader) function(fn entry, routes routeSet) (Function, bool) {
	f := Function{Key: fn.name, Memory: DefaultMemory, Timeout: DefaultTimeout}
	before := len(p.errs)
	entries, ok := p.mapping(fn.value, "functions."+fn.name, functionKeys, functionLate)
	if !ok {
		return f, false
	}
	var handler, concurrency, ready, environment ast.Node
	var mappings []mappingCheck
	for _, e := range entries {
		switch e.name {
		case "runtime":
			if s, ok := p.text(e); ok && p.check(e.value, checkRuntime(s)) {
				f.Runtime = s
			}
		case "code":
			if s, ok := p.text(e); ok && p.check(e.value, checkCode(s)) && p.check(e.value, p.there(s)) {
				f.Code = path.Clean(s)
			}
		case "handler":
			if s, ok := p.text(e); ok {
				f.Handler, handler = s, e.value
			}
		case "memory":
			if v, ok := p.integer(e); ok && p.check(e.value, checkMemory(v)) {
				f.Memory = v
			}
		case "timeout":
			p.timeout(e, &f)
		case "environment":
			f.Environment, environment = p.environment(e), e.value
		case "http":
			f.HTTP = p.http(e, fn.name, routes)
		case "layers":
			f.Layers = p.layers(e)
		case "concurrency":
			if v, ok := p.integer(e); ok && v < 1 { // 0 is for what is not written
				p.fail(e.value, "concurrency %d is out of range: 1 to %d", v, hansom.MaxSlots)
			} else if ok {
				f.Concurrency, concurrency = v, e.value
			}
		case "egress":
			if s, ok := p.text(e); ok && p.check(e.value, checkEgress(s)) {
				f.Egress = s
			}
		case "provisioned":
			if v, ok := p.integer(e); ok && p.check(e.value, checkProvisioned(v)) {
				f.Provisioned = v
			}
		case "ready":
			if s, ok := p.text(e); ok {
				f.Ready, ready = s, e.value
			}
		case "queue", "nats":
			mappings = append(mappings, p.mappingList(e)...)
		case "async":
			f.Async = p.async(fn.name, e)
		case "on":
			f.On = p.on(e)
		case "schedule":
			f.Schedule = p.schedules(e)
		}
	}
	for _, c := range mappings {
		if c.mapping.Subject != "" {
			f.NATS = append(f.NATS, c.mapping)
			continue
		}
		c.timeout = int(f.Timeout / time.Second)
		f.Queue, p.mappings = append(f.Queue, c.mapping), append(p.mappings, c)
	}
	meant := p.meant(fn.value, functionKeys)
	for _, name := range []string{"runtime", "code"} {
		if !has(entries, name) && !slices.Contains(meant, name) {
			p.fail(fn.key, "functions.%s has no %s", fn.name, name)
		}
	}
	if f.Runtime != "" {
		switch {
		case handler != nil:
			p.check(handler, checkHandler(f.Runtime, f.Handler))
		case needsHandler(f.Runtime):
			if !has(entries, "handler") && !slices.Contains(meant, "handler") {
				p.fail(fn.key, "functions.%s has no handler; %s needs one, such as handler: %s", fn.name, f.Runtime, exampleHandler(f.Runtime))
			}
		default:
			f.Handler = "bootstrap"
		}
		if concurrency != nil && p.check(concurrency, checkConcurrency(f.Runtime, f.Concurrency)) && f.Concurrency == 1 && f.Runtime != hansom.RuntimeHTTP {
			f.Concurrency = 0 // 1 is the default there
		}
		if ready != nil {
			p.check(ready, checkReady(f.Runtime, f.Ready))
		}
		if environment != nil {
			p.check(environment, checkPort(f.Runtime, f.Environment))
		}
	}
	return f, len(p.errs) == before
}

// there says whether the code is.
func (p *reader) there(code string) error {
	if p.dir != "" && !exists(filepath.Join(p.dir, filepath.FromSlash(code))) {
		return fmt.Errorf("there is no %.200s beside the manifest; set code to a folder, file or zip", code)
	}
	return nil
}

func (p *reader) timeout(e entry, f *Function) {
	s, ok := p.text(e)
	if !ok {
		return
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		p.fail(e.value, "timeout needs a unit: write %ss or %sm", s, s)
		return
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		p.fail(e.value, "timeout %q is not a duration; write one such as 10s or 2m", s)
		return
	}
	if p.check(e.value, checkTimeout(d)) {
		f.Timeout = d
	}
}

func (p *reader) environment(e entry) map[string]string {
	entries, ok := p.mapping(e.value, "environment", nil, nil)
	if !ok {
		return nil
	}
	env := map[string]string{}
	for _, v := range entries {
		if !p.check(v.key, CheckVariable(v.name)) {
			continue
		}
		if _, null := v.value.(*ast.NullNode); null {
			p.fail(v.key, "%s has no value; write \"\" for an empty one", v.name)
			continue
		}
		if s, ok := p.text(v); ok {
			env[v.name] = s
		}
	}
	p.check(e.key, checkEnvironment(env))
	return env
}

func (p *reader) layers(e entry) []string {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, "layers is a list, such as [boto3:1]")
		return nil
	}
	var out []string
	for _, n := range seq.Values {
		s, ok := pair(n)
		if !ok {
			s, ok = p.text(entry{name: "layers", key: n, value: n})
		}
		if ok && p.check(n, checkLayer(s)) {
			out = append(out, s)
		}
	}
	if len(out) == len(seq.Values) {
		p.check(e.key, checkLayers(out))
	}
	return out
}

// pair is the text of name:version where YAML, or its parser between braces, sees a mapping.
func pair(n ast.Node) (string, bool) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) == 1 {
		n = m.Values[0]
	}
	v, ok := n.(*ast.MappingValueNode)
	if !ok {
		return "", false
	}
	name, isName := scalar(v.Key)
	version, isVersion := scalar(v.Value)
	return name + ":" + version, isName && isVersion
}

// meant are the known keys that unknown ones of a mapping most likely are: they have been reported, and are not missing.
func (p *reader) meant(n ast.Node, known []string) []string {
	var out []string
	if m, ok := n.(*ast.MappingNode); ok {
		for _, v := range m.Values {
			if name, ok := scalar(v.Key); ok && !slices.Contains(known, name) {
				out = append(out, Nearest(name, known))
			}
		}
	}
	return out
}

// mapping returns the entries of a mapping. With known keys, others are refused: by name when they come later, else with
// the nearest known one.
func (p *reader) mapping(n ast.Node, what string, known, later []string) ([]entry, bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		p.fail(n, "anchors, aliases and tags are not supported; write the value out")
		return nil, false
	default:
		p.fail(n, "%s must be a mapping (key: value)", what)
		return nil, false
	}
	var out []entry
	for _, v := range values {
		name, ok := scalar(v.Key)
		switch {
		case v.Key.IsMergeKey():
			p.fail(v.Key, "merge keys are not supported; write the keys out")
		case !ok:
			p.fail(v.Key, "a key of %s must be plain text", what)
		case has(out, name):
			first := slices.IndexFunc(out, func(e entry) bool { return e.name == name })
			p.fail(v.Key, "%s is there twice; the first is in line %d", name, out[first].key.GetToken().Position.Line)
		case slices.Contains(later, name):
			p.fail(v.Key, "%s is not supported yet", name)
		case known != nil && !slices.Contains(known, name):
			p.fail(v.Key, "%s", Unknown(name, known))
		default:
			out = append(out, entry{name, v.Key, v.Value})
		}
	}
	return out, true
}

// text returns a scalar as it is written: 1.0 stays "1.0".
func (p *reader) text(e entry) (string, bool) {
	switch e.value.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		p.fail(e.value, "anchors, aliases and tags are not supported; write the value out")
		return "", false
	case *ast.NullNode:
		p.fail(e.key, "%s has no value", e.name)
		return "", false
	}
	s, ok := scalar(e.value)
	if !ok {
		p.fail(e.value, "%s must be plain text", e.name)
	}
	return s, ok
}

func (p *reader) integer(e entry) (int, bool) {
	s, ok := p.text(e)
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(s)
	if err != nil {
		if digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]; digits != "" && s[len(digits)] != '.' {
			p.fail(e.value, "%s must be a whole number, not %q; write %s", e.name, s, digits)
		} else {
			p.fail(e.value, "%s must be a whole number, not %q", e.name, s)
		}
	}
	return v, err == nil
}

func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func has(entries []entry, name string) bool {
	for _, e := range entries {
		if e.name == name {
			return true
		}
	}
	return false
}
