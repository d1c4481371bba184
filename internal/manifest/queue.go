package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/hansomcloud/hansom"
)

// Keys of a queue, and of an entry of a function's queue.
var (
	queueKeys   = []string{"retries", "deadLetter", "fifo", "dedup", "visibility", "delay", "retention"}
	mappingKeys = []string{"batch", "window", "concurrency", "partial", "filter"} // and what it takes from
)

// source is what a list of mappings takes from.
type source struct {
	key     string // of an entry, with its name
	what    string // it is
	example string
	check   func(string) error
	name    func(*ResolvedMapping) *string
}

// sources by the key of their list in a function.
var sources = map[string]source{
	"queue": {"name", "the queue's key", "jobs", checkQueueKey, func(m *ResolvedMapping) *string { return &m.Name }},
	"nats":  {"subject", "the subject", "orders.>", hansom.CheckSubject, func(m *ResolvedMapping) *string { return &m.Subject }},
}

// Defaults of a queue and of a mapping: those of SQS and Lambda, but for DefaultRetries and DeadRetention.
const (
	DefaultRetries    = 3
	DefaultVisibility = 30 * time.Second
	DefaultRetention  = 4 * 24 * time.Hour
	DeadRetention     = 14 * 24 * time.Hour // of dead-letter queues
	DefaultBatch      = 10
)

const (
	maxQueueName   = 80 // as SQS's
	maxRetries     = 999
	maxVisibility  = 12 * time.Hour
	maxDelay       = 15 * time.Minute
	maxRetention   = 14 * 24 * time.Hour
	minRetention   = time.Minute
	maxBatch       = 10_000
	smallBatch     = 10 // the most without a window
	maxWindow      = 5 * time.Minute
	maxConcurrency = 1000
	maxFilters     = 10
	safetyFactor   = 6 // AWS's advice: this many times the function's timeout as visibility
)

// ResolvedQueue is a queue of an app with everything filled in.
type ResolvedQueue struct {
	FIFO         bool   `json:"fifo,omitempty"`
	ContentDedup bool   `json:"contentDedup,omitempty"` // FIFO: the body is the deduplication id of a message without one
	DeadLetter   string `json:"deadLetter,omitempty"`   // key of another queue of the app
	Retries      int    `json:"retries,omitempty"`      // after the first attempt, before a message goes to DeadLetter
	Visibility   int    `json:"visibility"`             // seconds
	Delay        int    `json:"delay,omitempty"`        // seconds
	Retention    int    `json:"retention"`              // seconds
}

// ResolvedMapping has a function called with the messages of a queue of its app, or of a subject of NATS.
type ResolvedMapping struct {
	Name        string            `json:"name,omitempty"` // key of the queue
	Subject     string            `json:"subject,omitempty"`
	Batch       int               `json:"batch"`
	Window      int               `json:"window,omitempty"`      // seconds
	Concurrency int               `json:"concurrency,omitempty"` // batches at once; 0 is no limit
	Partial     bool              `json:"partial,omitempty"`
	Filter      []json.RawMessage `json:"filter,omitempty"` // event patterns, one of which a message must match
}

// QueueName is the name of an app's queue in the SQS API.
func QueueName(app, key string, fifo bool) string {
	name := app + "-" + key
	if fifo {
		name += ".fifo"
	}
	return name
}

// QueueVariable is the environment variable that tells an app's functions the URL of a queue: HANSOM_QUEUE_JOBS_DEAD of jobs-dead.
func QueueVariable(key string) string {
	return "HANSOM_QUEUE_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

func checkQueueKey(s string) error { return checkLabel("the queue's key", s) }

func checkQueueName(app, key string, fifo bool) error {
	if name := QueueName(app, key, fifo); len(name) > maxQueueName {
		return fmt.Errorf("the queue's name would be %q, %d characters; the limit is %d", name, len(name), maxQueueName)
	}
	return nil
}

func checkRetries(n int) error {
	if n < 0 || n > maxRetries {
		return fmt.Errorf("retries %d is out of range: 0 to %d", n, maxRetries)
	}
	return nil
}

// checkSpan checks a time that is written with a unit.
func checkSpan(what string, d, least, most time.Duration) error {
	if d < least || d > most || d%time.Second != 0 {
		return fmt.Errorf("%s %s is out of range: %s to %s, in whole seconds", what, span(d), span(least), span(most))
	}
	return nil
}

// span writes a time as a manifest does: 4d, 12h, 5m, 30s.
func span(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= unit.of && d%unit.of == 0 {
			return strconv.Itoa(int(d/unit.of)) + unit.name
		}
	}
	if d%time.Second == 0 {
		return strconv.Itoa(int(d/time.Second)) + "s"
	}
	return d.String()
}

// check says what is wrong with a queue by itself.
func (q *ResolvedQueue) check() error {
	for _, err := range []error{
		checkRetries(q.Retries),
		checkSpan("visibility", seconds(q.Visibility), 0, maxVisibility),
		checkSpan("delay", seconds(q.Delay), 0, maxDelay),
		checkSpan("retention", seconds(q.Retention), minRetention, maxRetention),
	} {
		if err != nil {
			return err
		}
	}
	switch {
	case q.ContentDedup && !q.FIFO:
		return errors.New("contentDedup is for queues with fifo: true")
	case q.Retries > 0 && q.DeadLetter == "":
		return errRetries
	}
	return nil
}

var errRetries = errors.New("retries needs deadLetter, the queue for what failed too often; without one a message is tried until its retention ends")

// checkDeadLetter looks at the dead-letter queue of one of an app's queues.
func checkDeadLetter(key string, q *ResolvedQueue, queues map[string]ResolvedQueue) error {
	target, ok := queues[q.DeadLetter]
	switch {
	case q.DeadLetter == "":
		return nil
	case q.DeadLetter == key:
		return errors.New("deadLetter names the queue itself; name another one")
	case !ok:
		return fmt.Errorf("deadLetter %q is no queue of the app", q.DeadLetter)
	case target.FIFO != q.FIFO:
		return fmt.Errorf("deadLetter %s must be fifo as the queue itself is, or neither of them", q.DeadLetter)
	}
	return nil
}

// check says what is wrong with a mapping by itself.
func (m *ResolvedMapping) check() error {
	switch {
	case m.Batch < 1 || m.Batch > maxBatch:
		return fmt.Errorf("batch %d is out of range: 1 to %d", m.Batch, maxBatch)
	case m.Concurrency < 0 || m.Concurrency > maxConcurrency:
		return fmt.Errorf("concurrency %d is out of range: 1 to %d", m.Concurrency, maxConcurrency)
	case len(m.Filter) > maxFilters:
		return fmt.Errorf("filter has %d patterns; the limit is %d", len(m.Filter), maxFilters)
	case m.Batch > smallBatch && m.Window == 0:
		return fmt.Errorf("batch above %d needs a window, such as window: 1s", smallBatch)
	}
	for _, f := range m.Filter {
		if err := checkPattern("filter", f, "{body: {kind: [order]}}"); err != nil {
			return err
		}
	}
	return checkSpan("window", seconds(m.Window), 0, maxWindow)
}

// checkMapping looks at a mapping of a function with a timeout, in seconds, together with its queue.
func checkMapping(m *ResolvedMapping, timeout int, queues map[string]ResolvedQueue) error {
	q, ok := queues[m.Name]
	switch {
	case !ok:
		if near := nearest(m.Name, slices.Sorted(maps.Keys(queues)), 3); near != "" {
			return fmt.Errorf("%q is no queue of the app; did you mean %s?", m.Name, near)
		}
		return fmt.Errorf("%q is no queue of the app; list it in queues", m.Name)
	case q.FIFO && m.Window > 0:
		return fmt.Errorf("window is not for FIFO queues, such as %s", m.Name)
	case q.FIFO && m.Batch > smallBatch:
		return fmt.Errorf("batch %d is out of range for the FIFO queue %s: 1 to %d", m.Batch, m.Name, smallBatch)
	case q.Visibility < timeout:
		return fmt.Errorf("visibility of the queue %s is %ds, less than the function's timeout of %ds: its messages would be seen twice", m.Name, q.Visibility, timeout)
	}
	return nil
}

func seconds(n int) time.Duration { return time.Duration(min(max(n, -1), 1<<30)) * time.Second }

// queueEntry is a queue of the file and what of it is written.
type queueEntry struct {
	ResolvedQueue
	retention, retries bool     // they are written
	deadLetter         ast.Node // nil when it is not
}

// queues reads the queues, and completes and checks what functions say of them.
func (p *reader) queues(m *Manifest, n ast.Node) {
	var written []entry // also those that are wrong, and have been reported
	if n != nil {
		written = p.listQueues(m, n)
	}
	timeouts := map[string]time.Duration{} // of the functions that take from a queue, the longest
	for _, f := range m.Functions {
		for _, x := range f.Queue {
			timeouts[x.Name] = max(timeouts[x.Name], f.Timeout)
		}
	}
	for key, q := range m.Queues {
		if q.Visibility < 0 {
			q.Visibility = int(min(max(DefaultVisibility, safetyFactor*timeouts[key]), maxVisibility) / time.Second)
			m.Queues[key] = q
		}
	}
	for _, c := range p.mappings {
		if _, ok := m.Queues[c.mapping.Name]; ok || !has(written, c.mapping.Name) {
			p.check(c.node, checkMapping(&c.mapping, c.timeout, m.Queues))
		}
	}
	for _, c := range p.destinations {
		if _, ok := m.Queues[c.target]; ok || !has(written, c.target) {
			p.check(c.node, checkDestination(c.what, c.key, c.target, func(name string) bool { return has(p.listed, name) }, m.Queues))
		}
	}
}

// listQueues reads queues and makes dead-letter queues that are named only. A visibility that is not written is -1.
func (p *reader) listQueues(m *Manifest, n ast.Node) []entry {
	entries, ok := p.mapping(n, "queues", nil, nil)
	if !ok {
		return nil
	}
	list, names := map[string]queueEntry{}, []string{}
	for _, e := range entries {
		if !p.check(e.key, checkQueueKey(e.name)) {
			continue
		}
		if q, ok := p.queue(e); ok && (m.Name == "" || p.check(e.key, checkQueueName(m.Name, e.name, q.FIFO))) {
			list[e.name], names = q, append(names, e.name)
		}
	}
	m.Queues = map[string]ResolvedQueue{}
	for _, key := range names {
		m.Queues[key] = list[key].ResolvedQueue
	}
	for _, key := range names {
		q := list[key]
		if q.DeadLetter == "" {
			continue
		}
		target, there := m.Queues[q.DeadLetter]
		if !there && !has(entries, q.DeadLetter) {
			target = ResolvedQueue{FIFO: q.FIFO, Visibility: -1}
			if m.Name != "" && !p.check(q.deadLetter, checkQueueName(m.Name, q.DeadLetter, q.FIFO)) {
				continue
			}
		}
		if !list[q.DeadLetter].retention {
			target.Retention = int(DeadRetention / time.Second)
		}
		if there || !has(entries, q.DeadLetter) {
			m.Queues[q.DeadLetter] = target
			p.check(q.deadLetter, checkDeadLetter(key, &q.ResolvedQueue, m.Queues))
		}
	}
	return entries
}

func (p *reader) queue(e entry) (queueEntry, bool) {
	q := queueEntry{ResolvedQueue: ResolvedQueue{Visibility: -1, Retention: int(DefaultRetention / time.Second)}}
	before := len(p.errs)
	if _, null := e.value.(*ast.NullNode); null {
		return q, true // "jobs:" is a queue as SQS makes one
	}
	entries, ok := p.mapping(e.value, "queues."+e.name, queueKeys, nil)
	if !ok {
		return q, false
	}
	var dedup, retries ast.Node
	for _, e := range entries {
		switch e.name {
		case "retries":
			if v, ok := p.integer(e); ok && p.check(e.value, checkRetries(v)) {
				q.Retries, q.retries, retries = v, true, e.key
			}
		case "deadLetter":
			if s, ok := p.text(e); ok && p.check(e.value, checkQueueKey(s)) {
				q.DeadLetter, q.deadLetter = s, e.value
			}
		case "fifo":
			q.FIFO = p.boolean(e)
		case "dedup":
			if s, ok := p.text(e); ok && s != "content" && s != "id" {
				p.fail(e.value, "dedup %.40q must be content or id", s)
			} else if ok {
				q.ContentDedup, dedup = s == "content", e.key
			}
		case "visibility":
			q.Visibility = p.span(e, 0, maxVisibility)
		case "delay":
			q.Delay = p.span(e, 0, maxDelay)
		case "retention":
			q.Retention, q.retention = p.span(e, minRetention, maxRetention), true
		}
	}
	switch {
	case dedup != nil && !q.FIFO:
		p.fail(dedup, "dedup is for queues with fifo: true")
	case q.retries && !has(entries, "deadLetter"):
		p.check(retries, errRetries)
	case !q.retries && q.DeadLetter != "":
		q.Retries = DefaultRetries
	}
	return q, len(p.errs) == before
}

// mappingCheck is a mapping that is to be looked at when all queues are known.
type mappingCheck struct {
	mapping ResolvedMapping
	timeout int // seconds
	node    ast.Node
}

// mappingList reads what queues or subjects a function takes from.
func (p *reader) mappingList(e entry) (list []mappingCheck) {
	from := sources[e.name]
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.fail(e.value, "%s is a list, such as [{%s: %s, batch: 10}]", e.name, from.key, from.example)
		return nil
	}
	for _, n := range seq.Values {
		m, ok := p.mappingEntry(n, e.name)
		if !ok {
			continue
		}
		if name := *from.name(&m); slices.ContainsFunc(list, func(c mappingCheck) bool { return *from.name(&c.mapping) == name }) {
			p.fail(n, "%s has %s twice", e.name, name)
			continue
		}
		list = append(list, mappingCheck{mapping: m, node: n})
	}
	return list
}

func (p *reader) mappingEntry(n ast.Node, list string) (ResolvedMapping, bool) {
	m, from := ResolvedMapping{Batch: DefaultBatch}, sources[list]
	name, keys := from.name(&m), append([]string{from.key}, mappingKeys...)
	if s, ok := scalar(n); ok { // its name alone
		*name = s
		return m, p.check(n, from.check(s))
	}
	before := len(p.errs)
	entries, ok := p.mapping(n, "an entry of "+list, keys, nil)
	if !ok {
		return m, false
	}
	for _, e := range entries {
		switch e.name {
		case from.key:
			if s, ok := p.text(e); ok && p.check(e.value, from.check(s)) {
				*name = s
			}
		case "batch":
			if v, ok := p.integer(e); ok {
				m.Batch = v
			}
		case "window":
			m.Window = p.span(e, 0, maxWindow)
		case "concurrency":
			if v, ok := p.integer(e); ok && v < 1 { // 0 is for what is not written
				p.fail(e.value, "concurrency %d is out of range: 1 to %d", v, maxConcurrency)
			} else {
				m.Concurrency = v
			}
		case "partial":
			m.Partial = p.boolean(e)
		case "filter":
			m.Filter = p.filter(e)
		}
	}
	if !has(entries, from.key) && !slices.Contains(p.meant(n, keys), from.key) {
		p.fail(n, "an entry of %s has no %s; write %s, such as %s: %s", list, from.key, from.what, from.key, from.example)
	}
	if len(p.errs) > before {
		return m, false
	}
	return m, p.check(n, m.check())
}

// filter reads one event pattern, or a list of them.
func (p *reader) filter(e entry) (list []json.RawMessage) {
	nodes := []ast.Node{e.value}
	if seq, ok := e.value.(*ast.SequenceNode); ok {
		nodes = seq.Values
	}
	for _, n := range nodes {
		text, ok := p.jsonOrText(n, "filter")
		if !ok {
			return nil
		}
		list = append(list, text)
	}
	return list
}

// compact takes the spaces out, so that the same pattern is the same text; what is no JSON is left as it is.
func compact(text json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, text) != nil {
		return text
	}
	return out.Bytes()
}

// jsonOrText is a value of YAML as JSON, or the JSON that a text has, as the APIs take it.
func (p *reader) jsonOrText(n ast.Node, what string) (json.RawMessage, bool) {
	text, ok := scalar(n)
	if !ok {
		text, ok = p.json(n, what)
	}
	return compact(json.RawMessage(text)), ok
}

// json writes a value of YAML as JSON, its members in their order.
func (p *reader) json(n ast.Node, what string) (string, bool) {
	quote := func(v any) (string, bool) {
		b, err := json.Marshal(v)
		return string(b), p.check(n, err)
	}
	var parts []string
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		entries, ok := p.mapping(n, what, nil, nil)
		if !ok {
			return "", false
		}
		for _, e := range entries {
			name, _ := quote(e.name)
			value, ok := p.json(e.value, what)
			if !ok {
				return "", false
			}
			parts = append(parts, name+":"+value)
		}
		return "{" + strings.Join(parts, ",") + "}", true
	case *ast.SequenceNode:
		for _, v := range n.Values {
			value, ok := p.json(v, what)
			if !ok {
				return "", false
			}
			parts = append(parts, value)
		}
		return "[" + strings.Join(parts, ",") + "]", true
	case *ast.NullNode:
		return "null", true
	case *ast.BoolNode:
		return quote(n.Value)
	case *ast.IntegerNode, *ast.FloatNode:
		if text := n.GetToken().Value; json.Valid([]byte(text)) {
			return text, true
		}
	case *ast.StringNode:
		return quote(n.Value)
	case *ast.LiteralNode:
		return quote(n.Value.Value)
	}
	p.fail(n, "this cannot stand in %s; write text, whole or decimal numbers, true, false or null", what)
	return "", false
}

func (p *reader) boolean(e entry) bool {
	if b, ok := e.value.(*ast.BoolNode); ok {
		return b.Value
	}
	p.fail(e.value, "%s must be true or false", e.name)
	return false
}

// span reads a time with a unit, of which d is allowed too, in seconds.
func (p *reader) span(e entry, least, most time.Duration) int {
	s, ok := p.text(e)
	if !ok {
		return int(least / time.Second)
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		p.fail(e.value, "%s needs a unit: write %ss or %sm", e.name, s, s)
		return int(least / time.Second)
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(max(n, -1), 1000)) * 24 * time.Hour
	}
	if err != nil {
		p.fail(e.value, "%s %q is not a duration; write one such as 30s, 5m or 4d", e.name, s)
		return int(least / time.Second)
	}
	p.check(e.value, checkSpan(e.name, d, least, most))
	return int(d / time.Second)
}
