package hansomapi

import (
	"context"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/provision"
)

type functionSummary struct {
	Name             string        `json:"name"`
	App              string        `json:"app,omitempty"`
	Runtime          string        `json:"runtime"`
	Handler          string        `json:"handler"`
	Memory           int           `json:"memory"`   // MB
	Timeout          int           `json:"timeout"`  // seconds
	CodeSize         int64         `json:"codeSize"` // bytes of the zip
	CodeSHA256       string        `json:"codeSha256"`
	State            string        `json:"state"`
	LastUpdateStatus string        `json:"lastUpdateStatus,omitempty"`
	Reason           string        `json:"reason,omitempty"` // why it failed, or a warning
	Modified         time.Time     `json:"modified"`
	Instances        int           `json:"instances"`
	Busy             int           `json:"busy"`
	Provisioned      []provisioned `json:"provisioned,omitempty"`
	URLs             []string      `json:"urls,omitempty"`
}

// Provisioned knows the provisioned concurrency of a function, or of all of the project when function is "".
type Provisioned interface {
	Of(ctx context.Context, project, function string) ([]provision.Concurrency, error)
}

// provisioned is the provisioned concurrency of a version or an alias, "$LATEST" for what an app asks for; numbers are concurrent
// executions.
type provisioned struct {
	Qualifier string `json:"qualifier"`
	Requested int    `json:"requested"`
	Allocated int    `json:"allocated"`
	Available int    `json:"available"`
	Status    string `json:"status"`
	Reason    string `json:"reason,omitempty"`
}

// listFunctions answers with all functions of the project, or of ?app=.
func (h *Handler) listFunctions(r *http.Request, p hansom.Principal) (any, error) {
	of := r.URL.Query().Get("app")
	urls, err := h.urls(r.Context(), p.Project, "")
	if err != nil {
		return nil, err
	}
	prepared, err := h.provisioned(r.Context(), p.Project, "")
	if err != nil {
		return nil, err
	}
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
			out = append(out, h.functionSummary(&list[i], urls[list[i].Function], prepared[list[i].Function]))
		}
		if next == "" {
			return map[string]any{"functions": out}, nil
		}
		page.Marker = next
	}
}

func (h *Handler) getFunction(r *http.Request, p hansom.Principal) (any, error) {
	name := r.PathValue("function")
	f, err := h.Functions.Get(r.Context(), p.Project, name, "")
	if hansom.KindOf(err) == hansom.NotFound {
		err = hansom.Errorf(hansom.NotFound, "get function", "there is no function %q; `hansom ls` lists them", name)
	}
	if err != nil {
		return nil, err
	}
	urls, err := h.urls(r.Context(), p.Project, name)
	if err != nil {
		return nil, err
	}
	prepared, err := h.provisioned(r.Context(), p.Project, name)
	return h.functionSummary(&f, urls[name], prepared[name]), err
}

// urls are the addresses of function URLs by function.
func (h *Handler) urls(ctx context.Context, project, name string) (map[string][]string, error) {
	list, err := h.Functions.URLs(ctx, project, name)
	out := map[string][]string{}
	for _, u := range list {
		out[u.Function] = append(out[u.Function], h.FunctionURL(u.ID))
	}
	return out, err
}

// provisioned is the provisioned concurrency of a function, or of all of the project, by function.
func (h *Handler) provisioned(ctx context.Context, project, name string) (map[string][]provisioned, error) {
	list, err := h.Provisioned.Of(ctx, project, name)
	out := map[string][]provisioned{}
	for _, c := range list {
		out[c.Function] = append(out[c.Function], provisioned{c.Qualifier, c.Requested, c.Allocated, c.Available, c.Status, c.Reason})
	}
	return out, err
}

func (h *Handler) functionSummary(f *function.Function, urls []string, prepared []provisioned) functionSummary {
	s := functionSummary{
		Name: f.Function, App: f.App, Runtime: f.Runtime, Handler: f.Handler, Memory: f.Memory, Timeout: int(f.Timeout / time.Second),
		CodeSize: f.CodeSize, CodeSHA256: f.CodeSHA256, State: f.State, LastUpdateStatus: f.LastUpdateStatus,
		Reason: f.LastUpdateStatusReason, Modified: f.LastModified, URLs: urls, Provisioned: prepared,
	}
	if s.Reason == "" {
		s.Reason = f.StateReason
	}
	if f.State == function.StatePending {
		s.Reason = ""
	}
	s.Instances, s.Busy = h.Instances(f.Project, f.Function)
	return s
}
