package server

import (
	"context"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/bus/subject"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/queue"
)

// logins lets clients of NATS in by the access keys of their project.
type logins struct{ *auth.Service }

func (l logins) Login(ctx context.Context, id, secret, token string) (project string, until time.Time, err error) {
	p, until, err := l.Service.Login(ctx, id, secret, token)
	if err == nil && p.Kind == hansom.FunctionSession {
		err = hansom.Errorf(hansom.Unauthenticated, "log in", "the session of a function cannot log in to NATS")
	}
	return p.Project, until, err
}

// dropProjects removes what projects that are no more have on the bus.
func (s *Server) dropProjects() {
	for _, project := range s.bus.Projects() {
		if _, err := s.auth.Project(project); hansom.KindOf(err) == hansom.NotFound {
			if err := s.bus.Drop(project); err != nil {
				s.logger.Error("the streams of a project that was deleted are still there; tried again at the next start", "project", project, "error", err)
			}
		}
	}
}

// followEvery is how often a server looks for the changes of others on its database when nobody tells it of them.
const followEvery = 2 * time.Second

// follow has changes of other servers on one PostgreSQL seen here: at once with a NATS in common.
func (s *Server) follow(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	if err := s.bus.OnNotice(func() {
		select {
		case wake <- struct{}{}:
		default: // it has been told already
		}
	}); err != nil {
		return err
	}
	s.db.Subscribe(func(c db.Change) {
		if !c.Other {
			s.bus.Notify()
		}
	})
	return s.db.Follow(ctx, wake, followEvery)
}

// sources are the queues, and the subjects of NATS beside them.
type sources struct {
	*queue.Service
	subjects *subject.Source
}

func isSubject(arn string) bool {
	a, err := hansom.ParseARN(arn)
	return err == nil && a.Service == subject.Service
}

func (s sources) Queue(arn string) (fifo bool, visibility time.Duration, err error) {
	if isSubject(arn) {
		visibility, err = s.subjects.Check(arn)
		return false, visibility, err
	}
	return s.Service.Queue(arn)
}

func (s sources) Begin(ctx context.Context, arn, mapping string) error {
	return s.subjects.Begin(ctx, arn, mapping)
}

func (s sources) End(ctx context.Context, arn, mapping string) error {
	return s.subjects.End(ctx, arn, mapping)
}

func (s sources) Poll(ctx context.Context, arn, mapping string, limit int, wait time.Duration) ([]hansom.Polled, error) {
	if isSubject(arn) {
		return s.subjects.Poll(ctx, arn, mapping, limit, wait)
	}
	return s.Service.Poll(ctx, arn, limit, wait)
}

func (s sources) Done(ctx context.Context, arn string, handles []string) error {
	if isSubject(arn) {
		return s.subjects.Done(ctx, arn, handles)
	}
	return s.Service.Done(ctx, arn, handles)
}

func (s sources) Show(ctx context.Context, arn string, handles []string, after time.Duration) error {
	if isSubject(arn) {
		return s.subjects.Show(ctx, arn, handles, after)
	}
	return s.Service.Show(ctx, arn, handles, after)
}
