package hansomapi

import (
	"context"
	"net/http"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/layer"
)

func (h *Handler) info(r *http.Request, _ hansom.Principal) (any, error) {
	return h.Info(r.Context())
}

func (h *Handler) listProjects(_ *http.Request, p hansom.Principal) (any, error) {
	if err := rootOnly(p); err != nil {
		return nil, err
	}
	return map[string]any{"projects": h.Projects.Projects()}, nil
}

func (h *Handler) createProject(r *http.Request, p hansom.Principal) (any, error) {
	if err := rootOnly(p); err != nil {
		return nil, err
	}
	var in struct {
		Slug string `json:"slug"`
	}
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return h.Projects.CreateProject(r.Context(), in.Slug)
}

// setProject changes what a project says for all its functions.
func (h *Handler) setProject(r *http.Request, p hansom.Principal) (any, error) {
	if err := rootOnly(p); err != nil {
		return nil, err
	}
	var in struct {
		Egress *string `json:"egress"`
	}
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.Egress == nil {
		return nil, hansom.Errorf(hansom.Invalid, "set project", "the body sets nothing: egress is none, platform or internet, or \"\" for the server's default")
	}
	return h.Projects.SetEgress(r.Context(), r.PathValue("project"), *in.Egress)
}

// deleteProject removes a project that has nothing left.
func (h *Handler) deleteProject(r *http.Request, p hansom.Principal) (any, error) {
	if err := rootOnly(p); err != nil {
		return nil, err
	}
	project, err := h.Projects.Project(r.PathValue("project"))
	if err != nil {
		return nil, err
	}
	return nil, h.Projects.DeleteProject(r.Context(), project.ID, func(ctx context.Context, tx *db.Tx) error {
		functions, _, err := h.Functions.List(ctx, project.ID, false, function.Page{Max: 1})
		if err != nil {
			return err
		}
		apps, err := h.Apps.List(ctx, project.ID)
		if err != nil {
			return err
		}
		layers, _, err := h.Layers.List(ctx, project.ID, layer.Filter{}, layer.Page{Max: 1})
		if err != nil {
			return err
		}
		if len(layers) > 0 {
			return hansom.Errorf(hansom.Conflict, "delete project", "the project %s still has layers; remove them first (`hansom layers ls --project %s`)", project.Slug, project.Slug)
		}
		if len(functions) > 0 || len(apps) > 0 {
			return hansom.Errorf(hansom.Conflict, "delete project", "the project %s still has functions; remove its apps and functions first (`hansom ls --project %s`)", project.Slug, project.Slug)
		}
		if len(h.Queues.List(project.ID, "", "")) > 0 {
			return hansom.Errorf(hansom.Conflict, "delete project", "the project %s still has queues; remove them first (`hansom queue ls --project %s`)", project.Slug, project.Slug)
		}
		return h.Mappings.RemoveProject(ctx, tx, project.ID)
	})
}

type session struct {
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	SessionToken    string    `json:"sessionToken"`
	Expires         time.Time `json:"expires"`
	Project         string    `json:"project"`
}

// createSession lets root act in a project: the credentials are those of a role session there.
func (h *Handler) createSession(r *http.Request, p hansom.Principal) (any, error) {
	if p.Kind != hansom.Root {
		return nil, hansom.Errorf(hansom.Denied, "create session", "these credentials belong to project %s; only root keys act in others", p.Project)
	}
	project, err := h.Projects.Project(r.PathValue("project"))
	if err != nil {
		return nil, err
	}
	role := auth.AssumedRole(project.ID, "arn:aws:iam::"+project.ID+":role/hansom-root", "root")
	c := h.Projects.Issue(role, SessionTTL)
	return session{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expires, project.ID}, nil
}

type key struct {
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey,omitempty"`
	Name            string    `json:"name"`
	Created         time.Time `json:"created"`
}

func (h *Handler) listKeys(_ *http.Request, p hansom.Principal) (any, error) {
	list, err := h.Keys.Keys(p.Project)
	if err != nil {
		return nil, err
	}
	out := []key{}
	for _, k := range list {
		out = append(out, key{AccessKeyID: k.ID, Name: k.Name, Created: k.Created})
	}
	return map[string]any{"keys": out}, nil
}

func (h *Handler) createKey(r *http.Request, p hansom.Principal) (any, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	k, c, err := h.Keys.CreateKey(r.Context(), p.Project, in.Name)
	return key{c.AccessKeyID, c.SecretAccessKey, k.Name, k.Created}, err
}

func (h *Handler) deleteKey(r *http.Request, p hansom.Principal) (any, error) {
	return nil, h.Keys.DeleteKey(r.Context(), p.Project, r.PathValue("id"))
}
