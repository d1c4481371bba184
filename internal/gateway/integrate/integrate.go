// Package integrate is what answers at the routes of HTTP APIs besides functions: servers elsewhere, queues and event buses, sites, redirects and fixed answers.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations.html
package integrate

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/mapping"
)

// MaxBody is the most bytes of a request's body (API Gateway's payload size).
const MaxBody = 10 << 20

const (
	op         = "make integration"
	maxTimeout = 30 * time.Second
)

// Call is one request on its way.
type Call struct {
	In          *mapping.Input
	ID          string // request id
	Path        string // in place of that of the integration's URL, escaped; "" for none
	Trace       string // X-Amzn-Trace-Id
	TraceParent string // traceparent
	Outcome     Outcome
}

// Outcome says what an integration has done, for access logs.
type Outcome struct {
	Status    int    // of its answer; 0 when there is none
	Error     string // why there is none
	RequestID string // by which the integration knows the request
}

// Integration answers requests. Serve returns an error when it has answered nothing: Invalid for a request that it cannot take, TooLarge for a body over
// MaxBody, ErrSlow, Timeout when it takes too long, Canceled when the client has gone, Unavailable when nobody answers. It waits for others: no fiber may call it that is not detached, unless
// Instant says so.
type Integration interface {
	Serve(w http.ResponseWriter, r *http.Request, c *Call) error
	Instant() bool
}

// Message is one for a queue.
type Message struct {
	Body         string
	Delay        *int64 // seconds
	Attributes   map[string]Attribute
	System       map[string]Attribute
	Group, Dedup string
	Trace        string
}

// Attribute of a message, as SQS has them.
type Attribute struct {
	Type  string `json:"DataType"`
	Text  string `json:"StringValue"`
	Bytes []byte `json:"BinaryValue"`
}

// Sent is what became of a message: its id, MD5 digests of its parts, and its number in a FIFO queue.
type Sent struct{ ID, Body, Attributes, System, Sequence string }

// Queues takes messages. Errors are those of SQS, with its codes.
type Queues interface {
	SendMessage(ctx context.Context, project, queue string, m Message) (Sent, error)
}

// Event is one for an event bus.
type Event struct {
	Bus, Source, DetailType string
	Detail                  []byte
	Resources               []string
	Time                    time.Time // zero for now
	Trace                   string
}

// Buses takes events. Errors are those of an entry of PutEvents, with its codes.
type Buses interface {
	PutEvent(ctx context.Context, project string, e Event) (id string, err error)
}

// Sites finds what serves the live site of an app; nil when it has none.
type Sites interface {
	Site(project, app string) http.Handler
}

// Deps are what integrations work with. Those that are nil are not there: their integrations are refused.
type Deps struct {
	Region    string
	Upstreams *Upstreams
	Queues    Queues
	Buses     Buses
	Sites     Sites
}

// New returns what an integration of a project does. Stage variables in its URI are replaced by what they are in the stage. Errors: Invalid, and Unsupported for what
// is not there; functions are not made here.
func New(i *api.Integration, project string, stage map[string]string, deps Deps) (Integration, error) {
	values := parameters{subtype: i.Subtype, values: map[string]mapping.Value{}}
	if i.Subtype != "" {
		for name, text := range i.Parameters {
			v, err := mapping.ParseValue(text)
			if err != nil {
				return nil, err
			}
			values.values[name] = v
		}
	}
	switch i.Subtype {
	case "":
		if i.Type == api.HTTPProxy && deps.Upstreams != nil {
			return newProxy(i, stage, deps.Upstreams)
		}
		return nil, hansom.Errorf(hansom.Unsupported, op, "integrations of type %s are not there", i.Type)
	case api.SubtypeSQS:
		if deps.Queues == nil {
			break
		}
		q := &toQueue{parameters: values, project: project, queues: deps.Queues}
		return q, values.check(deps.Region, []string{"QueueUrl", "MessageBody"}, "DelaySeconds", "MessageAttributes", "MessageDeduplicationId", "MessageGroupId", "MessageSystemAttributes", "Region")
	case api.SubtypeEvents:
		if deps.Buses == nil {
			break
		}
		b := &toBus{parameters: values, project: project, buses: deps.Buses}
		return b, values.check(deps.Region, []string{"Detail", "DetailType", "Source"}, "Time", "EventBusName", "Resources", "Region", "TraceHeader")
	case api.SubtypeSite:
		app := i.Parameters["App"]
		if deps.Sites == nil {
			break
		}
		return &site{project, app, deps.Sites}, values.check(deps.Region, []string{"App"})
	case api.SubtypeRedirect:
		status, err := statusOf(i.Parameters["StatusCode"], http.StatusFound)
		if err == nil && (status < 300 || status > 399 || status == http.StatusNotModified) {
			err = hansom.Errorf(hansom.Invalid, op, "StatusCode %d of %s is no status of a redirect", status, i.Subtype)
		}
		if err != nil {
			return nil, err
		}
		return &redirect{values.values["Location"], status}, values.check(deps.Region, []string{"Location"}, "StatusCode")
	case api.SubtypeFixed:
		status, err := statusOf(i.Parameters["StatusCode"], http.StatusOK)
		if err != nil {
			return nil, err
		}
		contentType := i.Parameters["ContentType"]
		return &respond{values.values["Body"], contentType, status}, values.check(deps.Region, nil, "Body", "ContentType", "StatusCode")
	}
	return nil, hansom.Errorf(hansom.Unsupported, op, "integrations of subtype %s are not there", i.Subtype)
}

var stageVariable = regexp.MustCompile(`\$\{stageVariables\.[^}]*\}`)

// Check refuses an integration that no stage could carry out: its mappings, and the parameters and the URI of what is no function. What a stage variable leads to is
// not known here. Errors: Invalid, Unsupported.
func Check(i *api.Integration, project string, deps Deps) error {
	if i.Subtype == "" {
		if err := mapping.Validate(i.Parameters, i.Responses); err != nil {
			return err
		}
	} else if err := mapping.Validate(nil, i.Responses); err != nil {
		return err
	}
	if i.Type == api.AWSProxy && i.Subtype == "" {
		return nil
	}
	known := *i
	known.URI = stageVariable.ReplaceAllString(i.URI, "x")
	if i.Type == api.HTTPProxy && strings.HasPrefix(i.URI, "${stageVariables.") {
		known.URI = "http://x/"
	}
	_, err := New(&known, project, nil, deps)
	return err
}

func statusOf(text string, otherwise int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 200 || n > 599 {
		return 0, hansom.Errorf(hansom.Invalid, op, "StatusCode %.20q is no status: they are 200 to 599", text)
	}
	return n, nil
}

// parameters of a subtype.
type parameters struct {
	subtype string
	values  map[string]mapping.Value
}

// check refuses what the subtype does not know, what it lacks, and other regions than the server's.
func (p parameters) check(region string, required []string, optional ...string) error {
	known := map[string]bool{}
	for _, name := range required {
		known[name] = true
		if _, ok := p.values[name]; !ok {
			return hansom.Errorf(hansom.Invalid, op, "%s needs the parameter %s", p.subtype, name)
		}
	}
	for _, name := range optional {
		known[name] = true
	}
	for name := range p.values {
		if !known[name] {
			return hansom.Errorf(hansom.Invalid, op, "%s does not know the parameter %.100s", p.subtype, name)
		}
	}
	if v, ok := p.values["Region"]; ok {
		if text, static := v.Static(); !static || text != region {
			return hansom.Errorf(hansom.Unsupported, op, "%s reaches the region %s alone; leave Region out", p.subtype, region)
		}
	}
	return nil
}

// text is a parameter's value in a request; "" when it has none.
func (p parameters) text(c *Call, name string) string {
	s, _ := p.values[name].Get(c.In)
	return s
}

// site serves that of an app.
type site struct {
	project, app string
	sites        Sites
}

func (*site) Instant() bool { return false }

func (s *site) Serve(w http.ResponseWriter, r *http.Request, _ *Call) error {
	h := s.sites.Site(s.project, s.app)
	if h == nil {
		return hansom.Errorf(hansom.NotFound, "serve site", "the app %s has no site", s.app)
	}
	h.ServeHTTP(w, r)
	return nil
}

// redirect sends clients elsewhere.
type redirect struct {
	location mapping.Value
	status   int
}

func (*redirect) Instant() bool { return true }

func (d *redirect) Serve(w http.ResponseWriter, _ *http.Request, c *Call) error {
	h := w.Header()
	h["Location"] = []string{strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, d.location.Escaped(c.In, url.QueryEscape))}
	h["Content-Length"] = []string{"0"}
	w.WriteHeader(d.status)
	return nil
}

// respond answers always the same, but for variables in the body.
type respond struct {
	body        mapping.Value
	contentType string
	status      int
}

func (*respond) Instant() bool { return true }

func (f *respond) Serve(w http.ResponseWriter, _ *http.Request, c *Call) error {
	text := f.body.JSON(c.In)
	if static, ok := f.body.Static(); ok {
		text = static
	}
	h := w.Header()
	switch {
	case f.contentType != "":
		h["Content-Type"] = []string{f.contentType}
	case text != "":
		h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	}
	return answer(w, f.status, text)
}

// answer writes a whole answer.
func answer(w http.ResponseWriter, status int, text string) error {
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(text))}
	} else {
		text = ""
	}
	w.WriteHeader(status)
	if text != "" {
		_, _ = w.Write([]byte(text))
	}
	return nil
}
