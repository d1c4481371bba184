package queue

import (
	"context"
	"maps"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Deploy makes a queue of an app, or changes the attributes given of the one there is, within the caller's transaction, which may make the
// dead-letter queue later. Errors: Conflict when the queue belongs to something else; InvalidParameterValueException,
// InvalidAttributeName, InvalidAttributeValue.
func (s *Service) Deploy(ctx context.Context, tx *db.Tx, project, app, name string, attributes map[string]string) error {
	fifo := strings.HasSuffix(name, ".fifo")
	if err := checkName(name, fifo); err != nil {
		return err
	}
	list, err := s.read(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
	if err != nil {
		return err
	}
	now := s.cfg.Now().UTC()
	q := &Queue{Project: project, Region: s.cfg.Region, Name: name, App: app, Created: now, id: s.newID()}
	if len(list) > 0 {
		q = list[0]
	}
	if q.App != app {
		return hansom.Errorf(hansom.Conflict, "deploy queue", "there is a queue %s already, which is not of the app %s; delete it, or rename the app or the queue", name, app)
	}
	if q.values, err = merge(q.values, attributes, fifo); err != nil {
		return err
	}
	q.Modified, q.settings = now, parse(q.values)
	q.log = logName(project, name, q.id)
	return save(ctx, tx, q)
}

// Undeploy deletes a queue within the caller's transaction; one that is not there is no error. Its messages go with it, in Run.
func (s *Service) Undeploy(ctx context.Context, tx *db.Tx, project, name string) error {
	return remove(ctx, tx, project, name)
}

// Owned returns the attributes of the queues of an app by their names, as q has them: those that can be set, and what they are when
// they were not.
func (s *Service) Owned(ctx context.Context, q db.Querier, project, app string) (map[string]map[string]string, error) {
	list, err := s.read(ctx, q, `WHERE project = ? AND app = ?`, project, app)
	out := map[string]map[string]string{}
	for _, x := range list {
		out[x.Name] = x.attributes()
	}
	return out, err
}

// Owner is the app of a queue, "" when it was made through the SQS API. Error: QueueDoesNotExist.
func (s *Service) Owner(ctx context.Context, q db.Querier, project, name string) (string, error) {
	list, err := s.read(ctx, q, `WHERE project = ? AND name = ?`, project, name)
	switch {
	case err != nil:
		return "", err
	case len(list) == 0:
		return "", notFound()
	}
	return list[0].App, nil
}

// Messages is how many messages a queue has, in whatever state; 0 when it is not there.
func (s *Service) Messages(project, name string) int {
	q := s.view.find(project, name)
	if q == nil {
		return 0
	}
	n := s.backlog.Counts(q.log)
	return n.Ready + n.InFlight + n.Delayed
}

// Counts are the messages of a queue by their state.
func (s *Service) Counts(q *Queue) (ready, inFlight, delayed int) {
	n := s.backlog.Counts(q.log)
	return n.Ready, n.InFlight, n.Delayed
}

// DeadLetters is the ARN of the queue's dead-letter queue, and how often a message is received before it goes there; "" when it has none.
func (q *Queue) DeadLetters() (arn string, receives int) {
	if q.redrive == nil {
		return "", 0
	}
	return q.redrive.Target, q.redrive.Max
}

// Peek returns the first messages of a queue, at most limit, in whatever state and without taking them: they have no handles. Errors:
// QueueDoesNotExist; Unavailable.
func (s *Service) Peek(ctx context.Context, project, name string, limit int) ([]Message, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return nil, err
	}
	list, err := s.backlog.Peek(ctx, q.log, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Message, len(list))
	for i := range list {
		if out[i], _, err = message(q, &list[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// attributes are those that can be set.
func (q *Queue) attributes() map[string]string {
	all := map[string]string{"SqsManagedSseEnabled": "true"}
	for name, n := range numbers {
		all[name] = itoa(n.normal)
	}
	if q.fifo {
		for name, values := range words {
			all[name] = values[0]
		}
	}
	maps.Copy(all, q.values)
	return all
}
