package hansomapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cloudevent"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

// Buses are the event buses of projects.
type Buses interface {
	// Forward brings an event to those whom a bus tells: d.Payload to the bus d.ARN of d.Project. It returns nil when the event is stored for
	// all of them. One that comes again, with the same source and id, is given to nobody twice within five minutes. Errors: NotFound when there is no such bus; Unavailable.
	Forward(ctx context.Context, d hansom.Delivery) error
	// Follow tells of the events that come to a bus and match a pattern, until ctx ends or yield returns false; ready is called when it
	// begins. Errors: NotFound; Invalid for the pattern.
	Follow(ctx context.Context, project, bus, pattern string, ready func(), yield func(eventbus.Followed) bool) error
}

// retryAfter is when a request that found no room may come again, in seconds.
const retryAfter = "1"

// serveCloudEvents takes CloudEvents for a bus: all that can be wrong with any of them is told before one is given to the bus. Unlike the rest of the
// API it is for functions too, as PutEvents is.
func (h *Handler) serveCloudEvents(w http.ResponseWriter, r *http.Request) {
	err := h.putCloudEvents(r)
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if hansom.KindOf(err) == hansom.Unavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	h.writeError(w, r, err)
}

func (h *Handler) putCloudEvents(r *http.Request) error {
	const op = "put CloudEvents"
	p, err := h.Auth.Authenticate(r)
	if err == nil && p.Kind != hansom.FunctionSession {
		err = manager(p)
	}
	if err != nil {
		return err
	}
	text, err := body(r)
	if err != nil {
		return err
	}
	events, err := cloudevent.Read(r.Header, text)
	if err != nil {
		return err
	}
	now := time.Now()
	payloads := make([][]byte, len(events))
	for i := range events {
		e := &events[i]
		payloads[i], err = e.ToBus(p.Project, h.Region, now)
		if strings.HasPrefix(e.Source, "aws.") {
			err = hansom.Errorf(hansom.Denied, op, "sources that begin with aws. are for events of the platform; %.80q is not to be sent", e.Source)
		}
		if err != nil && len(events) > 1 {
			err = hansom.Errorf(hansom.KindOf(err), op, "event %d of %d: %w", i+1, len(events), err)
		}
		if err != nil {
			return err
		}
	}
	bus := hansom.ARN{Partition: "aws", Service: "events", Region: h.Region, Account: p.Project, Resource: "event-bus/" + r.PathValue("bus")}.String()
	for i, payload := range payloads {
		err := h.Buses.Forward(r.Context(), hansom.Delivery{Project: p.Project, ARN: bus, Payload: payload, Trace: r.Header.Get("X-Amzn-Trace-Id")})
		if err != nil && i > 0 {
			err = hansom.Errorf(hansom.KindOf(err), op, "%d of %d events were taken, the others not: %w; send all of them again", i, len(payloads), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
