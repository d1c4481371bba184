package server

import (
	"context"
	"log/slog"

	"github.com/hansomcloud/hansom/internal/awsapi/events"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/eventbus"
	"github.com/hansomcloud/hansom/internal/eventbus/archive"
	"github.com/hansomcloud/hansom/internal/hansomapi"
	"github.com/hansomcloud/hansom/internal/schedule"
)

// openBuses opens the event buses, their archives and the schedules. What they send goes through s.events, which sends to buses in turn.
func (s *Server) openBuses(ctx context.Context, logger *slog.Logger) (err error) {
	cfg := eventbus.DefaultConfig()
	cfg.Region = s.cfg.Region
	if s.buses, err = eventbus.New(ctx, cfg, s.db, s.events, logger); err != nil {
		return err
	}
	s.events.SetBuses(s.buses)
	archives := archive.DefaultConfig()
	archives.Region, archives.Room = s.cfg.Region, s.spare.check
	if s.archives, err = archive.New(ctx, archives, s.db, s.buses, logger); err != nil {
		return err
	}
	s.buses.SetArchiver(s.archives)
	s.queues.SetAnnounce(s.buses.Announce)
	s.async.SetAnnounce(s.buses.Announce)
	s.events.SetAnnounce(s.buses.Announce)
	schedules := schedule.DefaultConfig()
	schedules.Region = s.cfg.Region
	s.schedules, err = schedule.New(ctx, schedules, s.db, s.events, logger)
	return err
}

// eventsAPI is what the EventBridge API stands on.
func (s *Server) eventsAPI() events.Deps {
	return events.Deps{Buses: s.buses, Archives: s.archives, Endpoints: s.endpoints}
}

// ending is what ends with its project.
type ending []hansomapi.Mappings

func (e ending) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	for _, x := range e {
		if err := x.RemoveProject(ctx, tx, project); err != nil {
			return err
		}
	}
	return nil
}
