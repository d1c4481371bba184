package hansomapi

import (
	"bytes"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/manifest"
)

type appSummary struct {
	Name       string    `json:"name"`
	Deployment int64     `json:"deployment"`
	Created    time.Time `json:"created"`
	Updated    time.Time `json:"updated"`
	URL        string    `json:"url"`
	Functions  int       `json:"functions"`
	Routes     int       `json:"routes"`

	Site *siteSummary `json:"site,omitempty"`
}

type deployment struct {
	Number   int64        `json:"number"`
	Actor    string       `json:"actor"`
	Created  time.Time    `json:"created"`
	Restored int64        `json:"restored,omitempty"`
	Changes  []app.Change `json:"changes,omitempty"`
	Preview  string       `json:"preview,omitempty"` // address of its site
}

func (h *Handler) summary(a *app.App) appSummary {
	return appSummary{a.Name, a.Deployment, a.Created, a.Updated, h.AppURL(a.Project, a.Name), len(a.Manifest.Functions), len(a.Manifest.Routes()), h.siteOf(a)}
}

func (h *Handler) listApps(r *http.Request, p hansom.Principal) (any, error) {
	list, err := h.Apps.List(r.Context(), p.Project)
	if err != nil {
		return nil, err
	}
	out := []appSummary{}
	for i := range list {
		out = append(out, h.summary(&list[i]))
	}
	return map[string]any{"apps": out}, nil
}

func (h *Handler) getApp(r *http.Request, p hansom.Principal) (any, error) {
	a, err := h.Apps.Get(r.Context(), p.Project, r.PathValue("app"))
	if err != nil {
		return nil, err
	}
	past, err := h.Deployments.History(r.Context(), p.Project, a.Name)
	if err != nil {
		return nil, err
	}
	out := struct {
		appSummary
		Manifest    *manifest.Resolved `json:"manifest"`
		Deployments []deployment       `json:"deployments"`
	}{h.summary(&a), a.Manifest, []deployment{}}
	for _, d := range past {
		out.Deployments = append(out.Deployments, deployment{d.Number, d.Actor, d.Created, d.Restored, d.Changes, ""})
		if d.Manifest != nil && d.Manifest.Site != nil {
			out.Deployments[len(out.Deployments)-1].Preview = h.PreviewURL(p.Project, a.Name, d.Number)
		}
	}
	return out, nil
}

// putApp is the deployment door; with ?plan=1 it changes nothing.
func (h *Handler) putApp(r *http.Request, p hansom.Principal) (any, error) {
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	m, err := manifest.DecodeResolved(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if m.Name != r.PathValue("app") {
		return nil, hansom.Errorf(hansom.Invalid, "put app", "the path names the app %s, the body %s", r.PathValue("app"), m.Name)
	}
	dry, err := planOnly(r)
	if err != nil {
		return nil, err
	}
	var plan app.Plan
	if dry {
		plan, err = h.Apps.Plan(r.Context(), p.Project, m)
	} else {
		plan, err = h.Apps.Apply(r.Context(), p.Project, p.ARN, m)
	}
	return h.planned(p, plan), err
}

// rollback makes the app what it was; with ?plan=1 it changes nothing.
func (h *Handler) rollback(r *http.Request, p hansom.Principal) (any, error) {
	var in struct {
		To int64 `json:"to"`
	}
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.To < 0 {
		return nil, hansom.Errorf(hansom.Invalid, "roll back", "to is the number of a deployment, or 0 for the one before the current")
	}
	dry, err := planOnly(r)
	if err != nil {
		return nil, err
	}
	plan, err := h.Deployments.Rollback(r.Context(), p.Project, p.ARN, r.PathValue("app"), in.To, dry)
	return h.planned(p, plan), err
}

func planOnly(r *http.Request) (bool, error) {
	v := r.URL.Query().Get("plan")
	if v != "" && v != "1" {
		return false, hansom.Errorf(hansom.Invalid, "read request", "plan is 1 or left out")
	}
	return v == "1", nil
}

func (h *Handler) planned(p hansom.Principal, plan app.Plan) any {
	return struct {
		app.Plan
		URL     string `json:"url"`
		Preview string `json:"preview,omitempty"` // of the site as this deployment has it
	}{plan, h.AppURL(p.Project, plan.App), h.preview(p.Project, &plan)}
}

func (h *Handler) deleteApp(r *http.Request, p hansom.Principal) (any, error) {
	return nil, h.Apps.Delete(r.Context(), p.Project, r.PathValue("app"))
}
