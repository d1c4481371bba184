package queue

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Create makes a queue, or returns the one that has this name and these attributes. Errors: InvalidParameterValueException,
// InvalidAttributeName, InvalidAttributeValue; QueueNameExists when it has other attributes.
func (s *Service) Create(ctx context.Context, project, name string, attributes, tags map[string]string) (*Queue, error) {
	fifo := attributes["FifoQueue"] == "true"
	if err := checkName(name, fifo); err != nil {
		return nil, err
	}
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	var q *Queue
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		values, err := merge(nil, attributes, fifo)
		if err != nil {
			return err
		}
		list, err := s.read(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			q = list[0]
			return differ(q, attributes, values)
		}
		now := s.cfg.Now().UTC()
		q = &Queue{Project: project, Region: s.cfg.Region, Name: name, Tags: tags, Created: now, Modified: now, id: s.newID(), values: values, settings: parse(values)}
		q.log = logName(project, name, q.id)
		if err := s.checkTarget(q); err != nil {
			return err
		}
		return save(ctx, tx, q)
	})
	if err != nil {
		return nil, err
	}
	return q, nil
}

// differ says what of the attributes given the queue has another value of; values are all of them in the form in which they are kept.
func differ(q *Queue, given, values map[string]string) error {
	normal := func(values map[string]string, name string) string {
		if v, ok := values[name]; ok {
			return v
		}
		if n, ok := numbers[name]; ok {
			return itoa(n.normal)
		}
		if w, ok := words[name]; ok {
			return w[0]
		}
		if name == "SqsManagedSseEnabled" {
			return "true"
		}
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if normal(q.values, name) != normal(values, name) {
			return fail(hansom.Conflict, "QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", name)
		}
	}
	return nil
}

// checkTarget looks at the dead-letter queue that a queue is to have.
func (s *Service) checkTarget(q *Queue) error {
	if q.redrive == nil {
		return nil
	}
	const name = "RedrivePolicy"
	value := q.values[name]
	arn, err := hansom.ParseARN(q.redrive.Target)
	if err != nil {
		return badPolicy(name, value, "Invalid value for deadLetterTargetArn.")
	}
	if arn.Account != q.Project || arn.Region != q.Region {
		return badPolicy(name, value, "Dead letter target owner should be same as the source.")
	}
	target := s.view.find(arn.Account, arn.Resource)
	switch {
	case target == nil && arn.Resource == q.Name: // itself, while it is made
	case target == nil:
		return badPolicy(name, value, "Dead letter target does not exist.")
	case target.fifo != q.fifo:
		return badPolicy(name, value, "Dead-letter queue must be same type of queue as the source.")
	case !target.allows(q.ARN()):
		return badPolicy(name, value, "The RedriveAllowPolicy of the dead letter target does not allow this queue.")
	}
	return nil
}

// allows says that the queue may be the dead-letter queue of another one.
func (q *Queue) allows(source string) bool {
	if q.allow == nil || q.allow.Permission == "allowAll" {
		return true
	}
	return q.allow.Permission == "byQueue" && slices.Contains(q.allow.Sources, source)
}

// Get returns a queue, from memory. Error: QueueDoesNotExist.
func (s *Service) Get(project, name string) (*Queue, error) {
	if q := s.view.find(project, name); q != nil {
		return q, nil
	}
	return nil, notFound()
}

// List returns the queues of a project whose names begin with prefix and come after another name, in the order of their names.
func (s *Service) List(project, prefix, after string) []*Queue {
	return s.filter(project, func(q *Queue) bool { return strings.HasPrefix(q.Name, prefix) && q.Name > after })
}

// DeadLetterSources returns the queues that have this one for their dead-letter queue, after another name. Error: QueueDoesNotExist.
func (s *Service) DeadLetterSources(project, name, after string) ([]*Queue, error) {
	q, err := s.Get(project, name)
	if err != nil {
		return nil, err
	}
	arn := q.ARN()
	return s.filter(project, func(x *Queue) bool { return x.redrive != nil && x.redrive.Target == arn && x.Name > after }), nil
}

func (s *Service) filter(project string, keep func(*Queue) bool) (list []*Queue) {
	s.view.list(project, func(q *Queue) {
		if keep(q) {
			list = append(list, q)
		}
	})
	slices.SortFunc(list, func(a, b *Queue) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Delete ends a queue and its messages. Error: QueueDoesNotExist.
func (s *Service) Delete(ctx context.Context, project, name string) error {
	var q *Queue
	err := s.db.Write(db.Essential(ctx), func(tx *db.Tx) (err error) {
		if q, err = s.one(ctx, tx, project, name); err != nil {
			return err
		}
		return remove(ctx, tx, project, name)
	})
	if err != nil {
		return err
	}
	if err := s.backlog.Drop(context.WithoutCancel(ctx), q.log); err != nil {
		s.logger.Warn("the messages of a deleted queue are still there; Run tries again", "queue", q.ARN(), "error", err)
	}
	return nil
}

func remove(ctx context.Context, tx *db.Tx, project, name string) error {
	tx.Changed(domain, project+"/"+name)
	for _, query := range []string{`DELETE FROM queue_moves WHERE project = ? AND source = ?`, `DELETE FROM queues WHERE project = ? AND name = ?`} {
		if _, err := tx.ExecContext(ctx, query, project, name); err != nil {
			return failed("delete queue", err)
		}
	}
	return nil
}

// SetAttributes changes attributes. Errors: QueueDoesNotExist, InvalidAttributeName, InvalidAttributeValue, InvalidParameterValueException.
func (s *Service) SetAttributes(ctx context.Context, project, name string, attributes map[string]string) error {
	return s.change(ctx, project, name, func(q *Queue) (err error) {
		if q.values, err = merge(q.values, attributes, q.fifo); err != nil {
			return err
		}
		q.settings, q.Modified = parse(q.values), s.cfg.Now().UTC()
		if _, ok := attributes["RedrivePolicy"]; ok {
			return s.checkTarget(q)
		}
		return nil
	})
}

// Tag adds tags to a queue, or gives those that it has another value. Errors: QueueDoesNotExist, InvalidParameterValueException.
func (s *Service) Tag(ctx context.Context, project, name string, tags map[string]string) error {
	return s.change(ctx, project, name, func(q *Queue) error {
		if q.Tags == nil {
			q.Tags = map[string]string{}
		}
		maps.Copy(q.Tags, tags)
		return checkTags(q.Tags)
	})
}

// Untag takes tags from a queue. Error: QueueDoesNotExist.
func (s *Service) Untag(ctx context.Context, project, name string, keys []string) error {
	return s.change(ctx, project, name, func(q *Queue) error {
		for _, k := range keys {
			delete(q.Tags, k)
		}
		return nil
	})
}

func (s *Service) change(ctx context.Context, project, name string, f func(*Queue) error) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		q, err := s.one(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if err := f(q); err != nil {
			return err
		}
		return save(ctx, tx, q)
	})
}

func checkTags(tags map[string]string) error {
	for k, v := range tags {
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128:
			return invalid("Tag keys must be between 1 and 128 characters in length.")
		case utf8.RuneCountInString(v) > 256:
			return invalid("Tag values must be between 0 and 256 characters in length.")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return invalid("Tag keys cannot begin with aws:, which is reserved.")
		}
	}
	if len(tags) > MaxTags {
		return invalid("Too many tags added: a queue may have %d.", MaxTags)
	}
	return nil
}
