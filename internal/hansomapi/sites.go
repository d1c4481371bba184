package hansomapi

import (
	"context"
	"io"
	"net/http"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/app"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/site"
)

// Sites are the uploads of static files. Errors: Invalid, TooLarge, NotFound when the list of files is not there.
type Sites interface {
	// PutUpload stores a list of files and tells which of them are missing.
	PutUpload(ctx context.Context, project, sha256 string, list []byte) (site.Upload, error)
	// PutFile stores one of them.
	PutFile(ctx context.Context, project, upload, sha256 string, r io.Reader) error
	// PutFiles stores those of a tar archive.
	PutFiles(ctx context.Context, project, upload string, r io.Reader) (n int, err error)
}

type siteSummary struct {
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Preview string `json:"preview"` // address of the current deployment
}

func (h *Handler) siteOf(a *app.App) *siteSummary {
	s := a.Manifest.Site
	if s == nil {
		return nil
	}
	return &siteSummary{s.Files, s.Bytes, h.PreviewURL(a.Project, a.Name, a.Deployment)}
}

// preview is the address of what a plan made; "" when it has no site or changed nothing.
func (h *Handler) preview(project string, plan *app.Plan) string {
	for _, c := range plan.Changes {
		if c.Kind == app.KindSite && c.Action != app.Delete && plan.Deployment > 0 {
			return h.PreviewURL(project, plan.App, plan.Deployment)
		}
	}
	return ""
}

// putSite takes a list of files and answers with those that are to be uploaded.
func (h *Handler) putSite(r *http.Request, p hansom.Principal) (any, error) {
	digest, err := digestOf(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(artifact.Verify(r.Body, digest, artifact.MaxList))
	if err != nil {
		return nil, err
	}
	return h.Sites.PutUpload(r.Context(), p.Project, digest, text)
}

// putSiteFile takes one file of a list.
func (h *Handler) putSiteFile(r *http.Request, p hansom.Principal) (any, error) {
	digest, err := digestOf(r)
	if err != nil {
		return nil, err
	}
	return nil, h.Sites.PutFile(r.Context(), p.Project, digest, r.PathValue("file"), r.Body)
}

// putSiteFiles takes files of a list in a tar archive, each under its digest.
func (h *Handler) putSiteFiles(r *http.Request, p hansom.Principal) (any, error) {
	digest, err := digestOf(r)
	if err != nil {
		return nil, err
	}
	n, err := h.Sites.PutFiles(r.Context(), p.Project, digest, r.Body)
	if err == nil { // the signature counts at the end of the body, which is behind that of the archive
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return nil, err
	}
	return map[string]int{"files": n}, nil
}
