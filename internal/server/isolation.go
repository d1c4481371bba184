package server

import (
	"os"
	"strings"

	"github.com/hansomcloud/hansom/internal/hansomapi"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// describe notes what keeps functions in, for the doctor, the log and the line that serve prints.
func (s *Server) describe(facts []sandbox.Fact) {
	var given, missing []string
	for _, f := range facts {
		c := hansomapi.Check{Name: "isolation: " + f.Name, Status: "ok", Detail: f.Detail}
		if f.Missing {
			c.Status, c.Fix = "warning", isolationFix
			missing = append(missing, f.Name)
		} else {
			given = append(given, f.Name)
		}
		s.checks = append(s.checks, c)
	}
	user := "as root"
	if os.Geteuid() != 0 {
		user = "without root"
	}
	s.isolation = "linux, " + user + ": " + strings.Join(given, ", ")
	if len(missing) > 0 {
		s.isolation += "; missing: " + strings.Join(missing, ", ") + " (see hansom doctor)"
		s.logger.Warn("isolation is incomplete: hansom doctor says what is missing", "missing", strings.Join(missing, ", "))
	}
}

// Isolation says in one line what keeps functions in.
func (s *Server) Isolation() string { return s.isolation }
