package archive

import (
	"context"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/pattern"
)

// Archive is an archive at one moment. It must not be changed.
type Archive struct {
	Project, Region, Name string
	Bus                   string // name of the bus whose events it keeps
	Description           string
	Pattern               *pattern.Pattern // nil for all events
	Retention             int              // days, counted from the time of an event; 0 for ever
	Events, Bytes         int64
	Created               time.Time

	id string
}

// Input is what can be set of an archive; nil leaves what there is.
type Input struct {
	Description, Pattern *string
	Retention            *int
}

func (a *Archive) apply(in Input) (err error) {
	if in.Description != nil {
		a.Description = *in.Description
	}
	if in.Retention != nil {
		a.Retention = *in.Retention
	}
	if in.Pattern != nil {
		a.Pattern = nil
		if *in.Pattern != "" {
			a.Pattern, err = pattern.Parse(*in.Pattern)
		}
	}
	return err
}

// Create makes an archive of a bus, which is named or given by its ARN. Errors: ResourceAlreadyExistsException, ResourceNotFoundException,
// InvalidEventPatternException.
func (s *Service) Create(ctx context.Context, project, name, bus string, in Input) (*Archive, error) {
	b, err := s.buses.Bus(project, bus)
	if err != nil {
		return nil, err
	}
	a := &Archive{Project: project, Region: s.cfg.Region, Name: name, Bus: b.Name, Created: s.cfg.Now().UTC(), id: s.newID()}
	if err := a.apply(in); err != nil {
		return nil, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		list, err := s.read(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return fail(hansom.Conflict, "ResourceAlreadyExistsException", "Archive %s already exists.", name)
		}
		return save(ctx, tx, a)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Update changes an archive: events that it has stay. Errors: ResourceNotFoundException, InvalidEventPatternException.
func (s *Service) Update(ctx context.Context, project, name string, in Input) (a *Archive, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if a, err = s.one(ctx, tx, project, name); err != nil {
			return err
		}
		if err := a.apply(in); err != nil {
			return err
		}
		return save(ctx, tx, a)
	})
	return a, err
}

// Delete ends an archive and, soon after, its events. Error: ResourceNotFoundException.
func (s *Service) Delete(ctx context.Context, project, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		a, err := s.one(ctx, tx, project, name)
		if err != nil {
			return err
		}
		return s.remove(ctx, tx, a)
	})
}

func (s *Service) remove(ctx context.Context, tx *db.Tx, a *Archive) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM archives WHERE id = ?`, a.id); err != nil {
		return failed("delete archive", err)
	}
	tx.Changed(domain, a.Project+"/"+a.Name)
	return drop(ctx, tx, a.id)
}

// drop has the sweep delete the events of an archive.
func drop(ctx context.Context, tx *db.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO deleted_archives (id) VALUES (?) ON CONFLICT DO NOTHING`, id); err != nil {
		return failed("delete archive", err)
	}
	return nil
}

// Get returns an archive. Error: ResourceNotFoundException.
func (s *Service) Get(ctx context.Context, project, name string) (*Archive, error) {
	return s.one(ctx, s.db.Read(), project, name)
}

// List returns the archives of a project whose names begin with prefix, in the order of their names; with a bus, by name or ARN, only
// those of it. Error: ResourceNotFoundException for the bus.
func (s *Service) List(ctx context.Context, project, prefix, bus string) ([]*Archive, error) {
	if bus != "" {
		b, err := s.buses.Bus(project, bus)
		if err != nil {
			return nil, err
		}
		bus = b.Name
	}
	list, err := s.read(ctx, s.db.Read(), `WHERE project = ? ORDER BY name`, project)
	var out []*Archive
	for _, a := range list {
		if strings.HasPrefix(a.Name, prefix) && (bus == "" || a.Bus == bus) {
			out = append(out, a)
		}
	}
	return out, err
}

// RemoveProject removes the archives and replays of a project within the caller's transaction.
func (s *Service) RemoveProject(ctx context.Context, tx *db.Tx, project string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM replays WHERE project = ?`, project); err != nil {
		return failed("remove project", err)
	}
	list, err := s.read(ctx, tx, `WHERE project = ?`, project)
	for _, a := range list {
		if err == nil {
			err = s.remove(ctx, tx, a)
		}
	}
	return err
}

// one reads an archive. Error: ResourceNotFoundException.
func (s *Service) one(ctx context.Context, q db.Querier, project, name string) (*Archive, error) {
	list, err := s.read(ctx, q, `WHERE project = ? AND name = ?`, project, name)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fail(hansom.NotFound, "ResourceNotFoundException", "Archive %s does not exist.", name)
	}
	return list[0], nil
}

// read reads archives; rest is what follows FROM.
func (s *Service) read(ctx context.Context, q db.Querier, rest string, args ...any) ([]*Archive, error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, id, bus, description, pattern, retention, events, bytes, created FROM archives `+rest, args...)
	if err != nil {
		return nil, failed("read archives", err)
	}
	defer rows.Close()
	var list []*Archive
	for rows.Next() {
		a := &Archive{Region: s.cfg.Region}
		var text string
		var created int64
		if err := rows.Scan(&a.Project, &a.Name, &a.id, &a.Bus, &a.Description, &text, &a.Retention, &a.Events, &a.Bytes, &created); err != nil {
			return nil, failed("read archives", err)
		}
		if text != "" {
			if a.Pattern, err = pattern.Parse(text); err != nil {
				return nil, failed("read archives", err)
			}
		}
		a.Created = time.UnixMicro(created).UTC()
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read archives", err)
	}
	return list, nil
}

// save writes an archive, new or not, but for how much it holds.
func save(ctx context.Context, tx *db.Tx, a *Archive) error {
	text := ""
	if a.Pattern != nil {
		text = a.Pattern.String()
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO archives (project, name, id, bus, description, pattern, retention, events, bytes, created) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?)
		ON CONFLICT (project, name) DO UPDATE SET description = excluded.description, pattern = excluded.pattern, retention = excluded.retention`,
		a.Project, a.Name, a.id, a.Bus, a.Description, text, a.Retention, a.Created.UnixMicro())
	if err != nil {
		return failed("write archive", err)
	}
	tx.Changed(domain, a.Project+"/"+a.Name)
	return nil
}
