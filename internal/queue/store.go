package queue

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom/internal/db"
)

// view is all queues in memory. What is in it is replaced as a whole.
type view struct {
	mu       sync.RWMutex
	projects map[string]map[string]*Queue
}

func (v *view) find(project, name string) *Queue {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.projects[project][name]
}

// list calls f with the queues of a project, in no order.
func (v *view) list(project string, f func(*Queue)) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, q := range v.projects[project] {
		f(q)
	}
}

func (v *view) put(project, name string, q *Queue) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if q == nil {
		delete(v.projects[project], name)
		return
	}
	if v.projects[project] == nil {
		v.projects[project] = map[string]*Queue{}
	}
	v.projects[project][name] = q
}

// refresh reads the queues that a change names.
func (s *Service) refresh(ctx context.Context, c db.Change) error {
	for _, key := range c.Keys {
		project, name, _ := strings.Cut(key, "/")
		list, err := s.read(ctx, s.db.Read(), `WHERE project = ? AND name = ?`, project, name)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			list = []*Queue{nil}
		}
		s.view.put(project, name, list[0])
	}
	return nil
}

// load reads everything.
func (s *Service) load(ctx context.Context) error {
	list, err := s.read(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	projects := map[string]map[string]*Queue{}
	for _, q := range list {
		if projects[q.Project] == nil {
			projects[q.Project] = map[string]*Queue{}
		}
		projects[q.Project][q.Name] = q
	}
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	s.view.projects = projects
	return nil
}

// read reads queues; rest is what follows FROM.
func (s *Service) read(ctx context.Context, q db.Querier, rest string, args ...any) ([]*Queue, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, id, app, attributes, tags, created, modified FROM queues `+rest, args...)
	if err != nil {
		return nil, failed("read queues", err)
	}
	defer rows.Close()
	var list []*Queue
	for rows.Next() {
		x := &Queue{Region: s.cfg.Region}
		var attributes, tags string
		var created, modified int64
		if err := rows.Scan(&x.Project, &x.Name, &x.id, &x.App, &attributes, &tags, &created, &modified); err != nil {
			return nil, failed("read queues", err)
		}
		if err := errors.Join(json.Unmarshal([]byte(attributes), &x.values), json.Unmarshal([]byte(tags), &x.Tags)); err != nil {
			return nil, failed("read queues", err)
		}
		x.Created, x.Modified = time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		x.log, x.settings = logName(x.Project, x.Name, x.id), parse(x.values)
		list = append(list, x)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read queues", err)
	}
	return list, nil
}

// one reads a queue as tx has it. Error: QueueDoesNotExist.
func (s *Service) one(ctx context.Context, tx *db.Tx, project, name string) (*Queue, error) {
	list, err := s.read(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
	if err == nil && len(list) == 0 {
		err = notFound()
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// save writes a queue, new or not, and notes the change.
func save(ctx context.Context, tx *db.Tx, q *Queue) error {
	attributes, err := json.Marshal(q.values)
	if err != nil {
		return failed("write queue", err)
	}
	tags, err := json.Marshal(q.Tags)
	if err != nil {
		return failed("write queue", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO queues (project, name, id, app, attributes, tags, created, modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET attributes = excluded.attributes, tags = excluded.tags, modified = excluded.modified`,
		q.Project, q.Name, q.id, q.App, string(attributes), string(tags), q.Created.UnixMicro(), q.Modified.UnixMicro())
	if err != nil {
		return failed("write queue", err)
	}
	tx.Changed(domain, q.Project+"/"+q.Name)
	return nil
}
