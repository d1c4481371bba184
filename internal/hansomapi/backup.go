package hansomapi

import (
	"net/http"
	"strconv"

	"github.com/hansomcloud/hansom"
)

// serveBackup streams a backup. One that fails on the way breaks the connection off, so that nobody takes it for a whole one.
func (h *Handler) serveBackup(w http.ResponseWriter, r *http.Request) {
	p, err := h.authenticate(r)
	if err == nil {
		err = rootOnly(p)
	}
	logs := true
	if text := r.URL.Query().Get("logs"); err == nil && text != "" {
		if logs, err = strconv.ParseBool(text); err != nil {
			err = hansom.Errorf(hansom.Invalid, "read request", "logs is %.20q; use true or false", text)
		}
	}
	if err != nil {
		h.writeError(w, r, err)
		return
	}
	out := &started{ResponseWriter: w}
	w.Header().Set("Content-Type", "application/gzip")
	err = h.Backup(r.Context(), out, logs)
	switch {
	case err == nil:
	case !out.yes:
		h.writeError(w, r, err)
	default:
		h.logger.Error("a backup broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

// started knows whether anything was written.
type started struct {
	http.ResponseWriter
	yes bool
}

func (s *started) Write(p []byte) (int, error) {
	s.yes = true
	return s.ResponseWriter.Write(p)
}
