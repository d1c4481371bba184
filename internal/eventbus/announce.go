package eventbus

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hansomcloud/hansom"
)

// Source of the platform's own events.
const Source = "hansom"

const (
	announceQueue = 1000             // announcements that wait to be published
	announceTime  = 10 * time.Second // to publish one
)

// Announce publishes an event of the platform's own on the default bus of its project, soon after: what a crash catches before that, or
// what comes faster than it is published, is lost.
func (s *Service) Announce(a hansom.Announcement) {
	select {
	case s.announced <- a:
	default:
		s.logger.Warn("an event of the platform was dropped: there are more than can be published", "project", a.Project, "type", a.Type)
	}
}

// announce publishes what is announced until ctx ends, and what was announced before.
func (s *Service) announce(ctx context.Context) {
	for {
		select {
		case a := <-s.announced:
			s.publishOwn(a)
			continue
		case <-ctx.Done():
		}
		select {
		case a := <-s.announced:
			s.publishOwn(a)
		default:
			return
		}
	}
}

func (s *Service) publishOwn(a hansom.Announcement) {
	ctx, cancel := context.WithTimeout(context.Background(), announceTime)
	defer cancel()
	detail, err := json.Marshal(a.Detail)
	var results []Result
	if err == nil {
		results, err = s.Publish(ctx, a.Project, []Entry{{Source: Source, DetailType: a.Type, Detail: detail, Resources: a.Resources, Trace: a.Trace, Platform: true}})
	}
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		s.logger.Warn("an event of the platform was lost", "project", a.Project, "type", a.Type, "error", err)
	}
}
