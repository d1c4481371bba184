package hansomapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom/internal/eventbus"
)

// serveEvents answers with a line of JSON for each event that comes to a bus from now on, until the client goes.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	p, err := h.authenticate(r)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	send := stream(w)
	err = h.Buses.Follow(r.Context(), p.Project, r.PathValue("bus"), r.URL.Query().Get("pattern"), func() { send(nil) }, func(e eventbus.Followed) bool { return send(e) })
	if err != nil {
		h.writeError(w, r, err)
	}
}

// stream answers with lines of JSON, as long as the client takes them: the function sends one, or with nil what begins the answer.
func stream(w http.ResponseWriter) func(v any) bool {
	control := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(v any) bool {
		if v == nil {
			_ = control.SetWriteDeadline(time.Time{}) // a server without deadlines has none to lift
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
		} else if enc.Encode(v) != nil {
			return false
		}
		return control.Flush() == nil
	}
}
