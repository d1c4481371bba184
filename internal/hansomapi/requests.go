package hansomapi

import (
	"context"
	"net/http"

	"github.com/hansomcloud/hansom/internal/telemetry"
)

// Requests tells of the requests of a project as they end, until ctx does or yield returns false.
type Requests interface {
	Follow(ctx context.Context, project string, yield func(telemetry.Request) bool)
}

// serveRequests answers with a line of JSON for each request of the project that ends from now on, until the client goes.
func (h *Handler) serveRequests(w http.ResponseWriter, r *http.Request) {
	p, err := h.authenticate(r)
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	send := stream(w)
	if send(nil) {
		h.Requests.Follow(r.Context(), p.Project, func(q telemetry.Request) bool { return send(q) })
	}
}
