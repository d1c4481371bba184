package runtimeapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

const maxSmallBody = 64 << 10 // bytes of what extensions send

// Limits of the buffering of a subscription.
var (
	itemLimits    = limits{1_000, 10_000, 10_000}
	byteLimits    = limits{262_144, 262_144, 1_048_576}
	timeoutLimits = limits{25, 1_000, 30_000} // milliseconds
)

type limits struct{ least, usual, most int }

// subscription is a request of PUT /telemetry or PUT /logs that is in order.
type subscription struct {
	form     form
	types    []string
	maxItems int
	maxBytes int
	timeout  time.Duration // longest that an event waits for others
	tcp      bool          // NDJSON over TCP, not JSON over HTTP
	port     int
	path     string // of HTTP
	method   string // of HTTP
}

// parseSubscription returns what is wrong with the request in Lambda's form: one or more reasons, joined by "; ".
func parseSubscription(body []byte, known map[string]form) (s subscription, problem string) {
	var in struct {
		SchemaVersion string   `json:"schemaVersion"`
		Types         []string `json:"types"`
		Buffering     struct {
			MaxItems  *int `json:"maxItems"`
			MaxBytes  *int `json:"maxBytes"`
			TimeoutMs *int `json:"timeoutMs"`
		} `json:"buffering"`
		Destination struct {
			Protocol string `json:"protocol"`
			URI      string `json:"URI"`
			Port     int    `json:"port"`
			Method   string `json:"method"`
			Encoding string `json:"encoding"`
		} `json:"destination"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return s, "the request is not valid JSON: " + err.Error()
	}
	var problems []string
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	number := func(name string, v *int, l limits) int {
		switch {
		case v == nil:
			return l.usual
		case *v < l.least || *v > l.most:
			wrong("%s must be between %d and %d", name, l.least, l.most)
		}
		return *v
	}
	f, ok := known[in.SchemaVersion]
	if !ok {
		wrong("schemaVersion %q is not supported", in.SchemaVersion)
	}
	s = subscription{form: f, types: slices.Compact(slices.Sorted(slices.Values(in.Types)))}
	s.maxItems, s.maxBytes = number("maxItems", in.Buffering.MaxItems, itemLimits), number("maxBytes", in.Buffering.MaxBytes, byteLimits)
	s.timeout = time.Duration(number("timeoutMs", in.Buffering.TimeoutMs, timeoutLimits)) * time.Millisecond

	if len(in.Types) == 0 {
		wrong("types should not be empty")
	}
	for _, t := range s.types {
		if !slices.Contains(streams[:], t) {
			wrong("type %q is not one of platform, function and extension", t)
		}
	}
	d := in.Destination
	switch s.method = strings.ToUpper(d.Method); s.method {
	case "":
		s.method = "POST"
	case "POST", "PUT":
	default:
		wrong("method must be POST or PUT")
	}
	if d.Encoding != "" && d.Encoding != "JSON" {
		wrong("encoding must be JSON")
	}
	s.port = d.Port
	switch d.Protocol {
	case "HTTP":
	case "TCP":
		s.tcp = true
	default:
		wrong("protocol must be HTTP or TCP")
	}
	if !s.tcp || d.URI != "" {
		u, err := url.Parse(d.URI)
		switch {
		case err != nil || !s.tcp && u.Scheme != "http":
			wrong("URI is not of the form http://sandbox.localdomain:PORT/PATH")
		case u.Hostname() != "sandbox.localdomain" && u.Hostname() != "sandbox":
			wrong("URI host must be sandbox.localdomain")
		case u.Port() == "":
			wrong("URI port is not provided")
		default:
			s.port, _ = strconv.Atoi(u.Port())
			s.path = u.RequestURI()
		}
	} else if s.port == 0 {
		wrong("port is not provided")
	}
	if len(problems) == 0 && (s.port < 1 || s.port > 65535 || s.port == 9001) {
		wrong("port must be between 1 and 65535 and not 9001, which is reserved")
	}
	return s, strings.Join(problems, "; ")
}

// subscribe is PUT /telemetry and PUT /logs.
func (c *conn) subscribe(h head) bool {
	body, ok, err := c.small(h)
	switch {
	case err != nil:
		return c.next(err)
	case !ok:
		return c.next(c.tooLarge())
	}
	if ok, err := c.identified(h); !ok {
		return c.next(err)
	}
	l, e := c.link, &c.link.ext
	api, invalid, versions := "Telemetry", "ValidationError", telemetryForms
	if h.route == routeLogs {
		api, invalid, versions = "Logs", "Logs.ValidationError", logsForms
	}
	if e.cfg.Dial == nil { // as Lambda's emulator answers
		return c.next(c.respond(202, failure(api+".NotSupported", api+" API is not supported")))
	}
	e.mu.Lock()
	x, closed := e.find(h.extension), e.closed
	e.mu.Unlock()
	switch {
	case x == nil:
		return c.next(c.forbid("Extension.UnknownExtensionIdentifier", "Unknown extension "+h.extension))
	case closed:
		return c.next(c.forbid(api+".SubscriptionClosed", api+" API subscription is closed"))
	}
	s, problem := parseSubscription(body, versions)
	if problem == "" {
		var fresh bool
		if fresh, problem = e.relay.subscribe(x.name, s); fresh {
			l.announce(sandbox.Event{Time: time.Now(), Type: sandbox.EventSubscription, Name: x.name, State: "Subscribed", Names: s.types, Logs: h.route == routeLogs})
		}
	}
	if problem != "" {
		return c.next(c.respond(400, failure(invalid, problem)))
	}
	return c.next(c.respond(200, `"OK"`))
}

// small reads a body; ok is false when it is too large.
func (c *conn) small(h head) (p []byte, ok bool, err error) {
	if err := c.proceed(h); err != nil {
		return nil, false, err
	}
	b := newBody(&c.source, &h)
	for ok = true; ; {
		part, err := b.next()
		if err == io.EOF {
			return p, ok, nil
		}
		if err != nil {
			return nil, false, err
		}
		if ok = ok && len(p)+len(part) <= maxSmallBody; ok {
			p = append(p, part...)
		}
	}
}

func (c *conn) forbid(errorType, message string) error {
	return c.respond(403, failure(errorType, message))
}

func (c *conn) tooLarge() error {
	return c.respond(413, failure("RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", maxSmallBody)))
}
