package server

import (
	"log/slog"

	"github.com/hansomcloud/hansom/internal/blank"
	"github.com/hansomcloud/hansom/internal/pool"
)

// poolDeps are what the pool works with: with blanks, where the driver can make them.
func (s *Server) poolDeps(logger *slog.Logger) pool.Deps {
	deps := pool.Deps{Runtimes: s.runtimes, Code: s.functions, Credentials: s.auth, Logs: s.logs, Recorder: s.metrics, Link: s.link,
		Egress: s.projectEgress, Platform: s.servePlatform, Edge: s.innerEdge(), Names: s.resolver(logger).Serve}
	deps.EdgeTLS, deps.Trust = s.innerEdgeTLS()
	if d, ok := s.driver.(blank.Driver); ok && s.cfg.Blanks != 0 {
		config := blank.DefaultConfig()
		config.Most = s.cfg.Blanks
		s.blanks = blank.New(config, d, logger)
		s.driver, deps.Blanks = s.blanks, s.blanks
	}
	deps.Driver = s.driver
	return deps
}

// observeBlanks registers what metrics tell of blanks.
func (s *Server) observeBlanks() {
	s.metrics.Gauge("hansom_blanks", "Interpreters that are booted, or being booted, ahead of time.", []string{"state"}, func(emit func(float64, ...string)) {
		st := s.blanks.Stats()
		emit(float64(st.Booting), "booting")
		emit(float64(st.Ready), "ready")
	})
	s.metrics.Gauge("hansom_blank_memory_bytes", "Memory of the booted interpreters that wait for a function.", nil, func(emit func(float64, ...string)) {
		emit(float64(s.blanks.Stats().Memory))
	})
	s.metrics.Counter("hansom_blanks_booted_total", "Interpreters that were booted ahead of time.", nil, func(emit func(float64, ...string)) {
		emit(float64(s.blanks.Stats().Booted))
	})
	s.metrics.Counter("hansom_blank_starts_total", "Starts of instances that a blank would do for, by whether there was one.", []string{"blank"}, func(emit func(float64, ...string)) {
		st := s.blanks.Stats()
		emit(float64(st.Used), "used")
		emit(float64(st.Missed), "missed")
	})
}
