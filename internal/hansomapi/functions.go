package hansomapi

import (
	"context"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
)

type functionSummary struct {
	Name             string    `json:"name"`
	App              string    `json:"app,omitempty"`
	Runtime          string    `json:"runtime"`
	Handler          string    `json:"handler"`
	Memory           int       `json:"memory"`   // MB
	Timeout          int       `json:"timeout"`  // seconds
	CodeSize         int64     `json:"codeSize"` // bytes of the zip
	CodeSHA256       string    `json:"codeSha256"`
	State            string    `json:"state"`
	LastUpdateStatus string    `json:"lastUpdateStatus,omitempty"`
	Reason           string    `json:"reason,omitempty"` // why it failed, or a warning
	Modified         time.Time `json:"modified"`
	Instances        int       `json:"instances"`
	Busy             int       `json:"busy"`
	URLs             []string  `json:"urls,omitempty"`
}

// listFunctions answers with all functions of the project, or of ?app=.
func (h *Handler) listFunctions(r *http.Request, p hansom.Principal) (any, error) {
	of := r.URL.Query().Get("app")
	out := []functionSummary{}
	page := function.Page{}
	for {
		list, next, err := h.Functions.List(r.Context(), p.Project, false, page)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if of != "" && list[i].App != of {
				continue
			}
			s, err := h.functionSummary(r.Context(), p.Project, &list[i])
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
		if next == "" {
			return map[string]any{"functions": out}, nil
		}
		page.Marker = next
	}
}

func (h *Handler) functionSummary(ctx context.Context, project string, f *function.Function) (functionSummary, error) {
	urls, _, err := h.Functions.ListURLs(ctx, project, f.Function, function.Page{})
	if err != nil && hansom.KindOf(err) != hansom.NotFound { // deleted since the list was made
		return functionSummary{}, err
	}
	s := functionSummary{
		Name: f.Function, App: f.App, Runtime: f.Runtime, Handler: f.Handler, Memory: f.Memory, Timeout: int(f.Timeout / time.Second),
		CodeSize: f.CodeSize, CodeSHA256: f.CodeSHA256, State: f.State, LastUpdateStatus: f.LastUpdateStatus,
		Reason: f.LastUpdateStatusReason, Modified: f.LastModified,
	}
	if s.Reason == "" {
		s.Reason = f.StateReason
	}
	if f.State == function.StatePending {
		s.Reason = ""
	}
	s.Instances, s.Busy = h.Instances(project, f.Function)
	for _, u := range urls {
		s.URLs = append(s.URLs, h.FunctionURL(u.ID))
	}
	return s, nil
}
