package hansomapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// Logs answers queries for log events in the order of time. With Follow it goes on until ctx ends. Errors: Invalid.
type Logs interface {
	Query(ctx context.Context, q telemetry.LogQuery) iter.Seq2[hansom.LogEvent, error]
}

// serveLogs answers with a line of JSON for each event. What goes wrong after the first line ends the connection.
func (h *Handler) serveLogs(w http.ResponseWriter, r *http.Request) {
	p, err := h.authenticate(r)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	q, of, err := logQuery(r, p.Project)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	if q.Group, err = h.logging(r.Context(), q, of); err != nil {
		h.writeError(w, r, err)
		return
	}
	control := http.NewResponseController(w)
	if q.Follow {
		_ = control.SetWriteDeadline(time.Time{}) // a server without deadlines has none to lift
	}
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	begun := false
	begin := func() {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
		}
	}
	if q.Follow {
		begin()
		if control.Flush() != nil {
			return
		}
	}
	events := h.Logs.Query(r.Context(), q)
	if of != "" {
		events = h.ofApp(r.Context(), q, of)
	}
	for e, err := range events {
		if err != nil {
			if r.Context().Err() != nil {
				return // the client has gone
			}
			if !begun {
				h.writeError(w, r, err)
				return
			}
			h.logger.Error("log query broke off", "error", err)
			_ = errors.Join(out.Flush(), control.Flush()) // what is there is worth having
			panic(http.ErrAbortHandler)                   // so that the client does not take it for the end
		}
		begin()
		if enc.Encode(e) != nil {
			return
		}
		if q.Follow && (out.Flush() != nil || control.Flush() != nil) {
			return
		}
	}
	begin()
	_ = out.Flush() // an error means that the client has gone
}

// logging returns the log group of the function that q is about, and refuses names that nothing has or had, so that a slip of the
// pen does not look like silence. Logs of a function that was deleted can be read.
func (h *Handler) logging(ctx context.Context, q telemetry.LogQuery, of string) (group string, err error) {
	const op = "query logs"
	if of != "" {
		if _, err := h.Apps.Get(ctx, q.Project, of); err != nil {
			return "", err
		}
	}
	if q.Function == "" {
		return "", nil
	}
	t, err := h.Functions.Resolve(ctx, q.Project, q.Function, "")
	if err == nil {
		return t.Version.LogGroup(), nil
	}
	if hansom.KindOf(err) != hansom.NotFound {
		return "", err
	}
	had := false
	for _, err := range h.Logs.Query(ctx, telemetry.LogQuery{Project: q.Project, Function: q.Function, Limit: 1}) {
		if err != nil {
			return "", err
		}
		had = true
	}
	if had {
		return "", nil
	}
	if _, err := h.Apps.Get(ctx, q.Project, q.Function); err == nil {
		return "", hansom.Errorf(hansom.NotFound, op, "%s is an app, not a function; `hansom logs --app %s` has its logs", q.Function, q.Function)
	}
	return "", hansom.Errorf(hansom.NotFound, op, "there is no function %q and no log of one; `hansom ls` lists them", q.Function)
}

// logQuery reads the parameters of a log request: function, app, since, until (times or durations back), grep, requestId,
// limit and follow.
func logQuery(r *http.Request, project string) (q telemetry.LogQuery, of string, err error) {
	const op = "query logs"
	q.Project = project
	for name, values := range r.URL.Query() {
		v := values[0]
		var bad error
		switch name {
		case "function":
			q.Function = v
		case "app":
			of = v
		case "since":
			q.Since, bad = timeOf(v)
		case "until":
			q.Until, bad = timeOf(v)
		case "grep":
			q.Grep = v
		case "requestId":
			q.RequestID = v
		case "limit":
			q.Limit, bad = strconv.Atoi(v)
		case "follow":
			q.Follow, bad = strconv.ParseBool(v)
		default:
			if !strings.HasPrefix(name, "X-Amz-") { // a presigned request
				return q, "", hansom.Errorf(hansom.Invalid, op, "%.40q is not a parameter of logs; use function, app, since, until, grep, requestId, limit or follow", name)
			}
		}
		if bad != nil || q.Limit < 0 {
			return q, "", hansom.Errorf(hansom.Invalid, op, "%s=%.80s is not valid; times are RFC 3339 or a duration back such as 10m, limit is a number, follow is 1 or 0", name, v)
		}
	}
	if of != "" && q.Follow && q.Limit > 0 {
		return q, "", hansom.Errorf(hansom.Invalid, op, "limit does not go together with app and follow; use since")
	}
	return q, of, nil
}

func timeOf(s string) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// ofApp keeps the events of an app's functions; a function that is gone belongs to none. A limit counts what is kept.
func (h *Handler) ofApp(ctx context.Context, q telemetry.LogQuery, app string) iter.Seq2[hansom.LogEvent, error] {
	known := map[string]bool{}
	belongs := func(function string) bool {
		ok, seen := known[function]
		if !seen {
			t, err := h.Functions.Resolve(ctx, q.Project, function, "")
			ok = err == nil && t.Version.App == app
			known[function] = ok
		}
		return ok
	}
	limit := q.Limit
	q.Limit = 0
	return func(yield func(hansom.LogEvent, error) bool) {
		var last []hansom.LogEvent
		for e, err := range h.Logs.Query(ctx, q) {
			switch {
			case err != nil:
				yield(e, err)
				return
			case !belongs(e.Function):
			case limit == 0:
				if !yield(e, nil) {
					return
				}
			default:
				if last = append(last, e); len(last) >= 2*limit {
					last = append(last[:0], last[len(last)-limit:]...)
				}
			}
		}
		for _, e := range last[max(0, len(last)-limit):] {
			if !yield(e, nil) {
				return
			}
		}
	}
}
