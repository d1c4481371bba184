package server

import (
	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
)

// projectEgress is what functions of a project reach that do not say; "" leaves it to the server's default.
func (s *Server) projectEgress(project string) string {
	p, err := s.auth.Project(project)
	switch {
	case err != nil: // deleted
		return ""
	case p.Egress == hansom.EgressInternet && s.offline != nil:
		return hansom.EgressPlatform
	}
	return p.Egress
}

// checkEgress says when functions of a project get less than it asks for.
func (s *Server) checkEgress(p auth.Project) {
	if p.Egress == hansom.EgressInternet && s.offline != nil {
		s.logger.Warn("the default egress of functions is platform instead of internet", "project", p.Slug)
	}
}

// projectsChanged follows changes of auth: keys are ids of projects, and of access keys. Blanks of what functions reach from now on
// are made ahead of time.
func (s *Server) projectsChanged(keys []string) {
	for _, key := range keys {
		p, err := s.auth.Project(key)
		if err != nil {
			continue
		}
		s.checkEgress(p)
		s.functions.Latest(func(v *hansom.Version) {
			if v.Project == p.ID && v.Egress == "" {
				s.pool.Expect(v)
			}
		})
	}
}
