package server

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/hansomcloud/hansom/internal/endpoint"
	"github.com/hansomcloud/hansom/internal/upstream"
)

// openEndpoints opens what reaches servers elsewhere that are named through the API, and the API destinations among them. key is the server's.
func (s *Server) openEndpoints(ctx context.Context, key []byte, logger *slog.Logger) (err error) {
	dial := upstream.DefaultConfig()
	dial.Public = s.cfg.Upstreams == "public"
	if dial.Own, err = netip.ParseAddrPort(s.APIAddr()); err != nil {
		return err
	}
	s.upstream = upstream.New(dial)
	cfg := endpoint.DefaultConfig()
	cfg.Region, cfg.Key = s.cfg.Region, derive(key, "connections")
	if s.endpoints, err = endpoint.New(ctx, cfg, s.db, s.upstream, logger); err != nil {
		return err
	}
	s.events.SetEndpoints(s.endpoints)
	return nil
}
