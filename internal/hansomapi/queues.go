package hansomapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/queue"
)

// Queues of a project; see package queue for the errors.
type Queues interface {
	Get(project, name string) (*queue.Queue, error)
	List(project, prefix, after string) []*queue.Queue
	Counts(q *queue.Queue) (ready, inFlight, delayed int)
	Peek(ctx context.Context, project, name string, limit int) ([]queue.Message, error)
}

// Consumers are the event source mappings; see package event for the errors.
type Consumers interface {
	List(project, source, functionARN, marker string, limit int) (list []event.Mapping, next string, err error)
}

// maxPeek is the most messages that a request shows.
const maxPeek = 100

type queueSummary struct {
	Name        string     `json:"name"`
	ARN         string     `json:"arn"`
	App         string     `json:"app,omitempty"`
	FIFO        bool       `json:"fifo"`
	Created     time.Time  `json:"created"`
	Ready       int        `json:"ready"`
	InFlight    int        `json:"inFlight"`
	Delayed     int        `json:"delayed"`
	DeadLetters string     `json:"deadLetters,omitempty"` // name of the dead-letter queue
	Receives    int        `json:"receives,omitempty"`    // before a message goes there
	Sources     []string   `json:"sources,omitempty"`     // queues whose dead letters come here
	Consumers   []consumer `json:"consumers,omitempty"`
}

type consumer struct {
	ID       string `json:"id"` // UUID of the mapping
	Function string `json:"function"`
	State    string `json:"state"`
	Problem  string `json:"problem,omitempty"`
}

type message struct {
	ID         string               `json:"id"`
	Body       string               `json:"body"`
	Sent       time.Time            `json:"sent"`
	Receives   int                  `json:"receives"`
	Group      string               `json:"group,omitempty"`
	Dedup      string               `json:"dedup,omitempty"`
	Source     string               `json:"source,omitempty"` // ARN of the queue whose dead letter it is
	Attributes map[string]attribute `json:"attributes,omitempty"`
}

type attribute struct {
	Type   string `json:"type"`
	Value  string `json:"value,omitempty"`
	Binary []byte `json:"binary,omitempty"`
}

func (h *Handler) listQueues(r *http.Request, p hansom.Principal) (any, error) {
	all, err := h.summaries(p.Project)
	if err != nil {
		return nil, err
	}
	out, app := []queueSummary{}, r.URL.Query().Get("app")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if q := all[name]; app == "" || q.App == app {
			out = append(out, *q)
		}
	}
	return map[string]any{"queues": out}, nil
}

func (h *Handler) getQueue(r *http.Request, p hansom.Principal) (any, error) {
	all, err := h.summaries(p.Project)
	if err != nil {
		return nil, err
	}
	q, ok := all[r.PathValue("queue")]
	if !ok {
		return nil, noQueue(r.PathValue("queue"))
	}
	return q, nil
}

func noQueue(name string) error {
	return hansom.Errorf(hansom.NotFound, "get queue", "there is no queue %q; `hansom queue ls` lists them", name)
}

// summaries are the queues of a project by their names.
func (h *Handler) summaries(project string) (map[string]*queueSummary, error) {
	out := map[string]*queueSummary{}
	for _, q := range h.Queues.List(project, "", "") {
		s := &queueSummary{Name: q.Name, ARN: q.ARN(), App: q.App, FIFO: q.FIFO(), Created: q.Created}
		s.Ready, s.InFlight, s.Delayed = h.Queues.Counts(q)
		var target string
		target, s.Receives = q.DeadLetters()
		s.DeadLetters = target[strings.LastIndexByte(target, ':')+1:]
		out[q.Name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if target := out[out[name].DeadLetters]; target != nil {
			target.Sources = append(target.Sources, name)
		}
	}
	for marker := ""; ; {
		list, next, err := h.Consumers.List(project, "", "", marker, 0)
		if err != nil {
			return nil, err
		}
		for i := range list {
			m := &list[i]
			function := m.Function
			if m.Qualifier != "" {
				function += ":" + m.Qualifier
			}
			if q := out[m.Source[strings.LastIndexByte(m.Source, ':')+1:]]; q != nil {
				q.Consumers = append(q.Consumers, consumer{m.ID, function, m.State, m.Problem})
			}
		}
		if marker = next; next == "" {
			return out, nil
		}
	}
}

// peekQueue shows messages without taking them.
func (h *Handler) peekQueue(r *http.Request, p hansom.Principal) (any, error) {
	limit := 10
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPeek {
			return nil, hansom.Errorf(hansom.Invalid, "peek", "limit %.40q must be a number from 1 to %d", text, maxPeek)
		}
		limit = n
	}
	name := r.PathValue("queue")
	if _, err := h.Queues.Get(p.Project, name); err != nil {
		return nil, noQueue(name)
	}
	list, err := h.Queues.Peek(r.Context(), p.Project, name, limit)
	if err != nil {
		return nil, err
	}
	out := []message{}
	for i := range list {
		m := &list[i]
		x := message{ID: m.ID, Body: m.Body, Sent: m.Sent, Receives: m.Takes, Group: m.Group, Dedup: m.Dedup, Source: m.Source}
		for name, a := range m.Attributes {
			if x.Attributes == nil {
				x.Attributes = map[string]attribute{}
			}
			x.Attributes[name] = attribute{a.Type, a.Text, a.Bytes}
		}
		out = append(out, x)
	}
	return map[string]any{"messages": out}, nil
}
