package server

import (
	"log/slog"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/site"
)

// openSites opens what serves the static files of apps.
func (s *Server) openSites(logger *slog.Logger) {
	s.sites = site.New(site.DefaultConfig(), s.artifacts, logger)
}

// publishSites tells which sites are live.
func (s *Server) publishSites() {
	var apps []site.App
	for _, p := range s.auth.Projects() {
		slug := p.Slug
		if p.ID == hansom.DefaultProject {
			slug = ""
		}
		for _, name := range s.apps.Apps(p.ID) {
			live, latest := s.apps.LiveSite(p.ID, name)
			apps = append(apps, site.App{Project: p.ID, Slug: slug, Name: name, Latest: latest, Site: live})
		}
	}
	s.sites.SetApps(apps)
}

// previewURL is the public address of a deployment of an app's site.
func (s *Server) previewURL(project, name string, number int64) string {
	return strings.Replace(s.appURL(project, name), "//"+name+".", "//"+site.PreviewLabel(name, number)+".", 1)
}
