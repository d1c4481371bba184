package endpoint

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// DefaultRate is the most requests a second to an API destination that does not say.
const DefaultRate = 300

// Destination is an API destination: an HTTP endpoint that events are sent to.
type Destination struct {
	Project, Name, ID string
	ARN               string
	Connection        string // ARN
	URL               string // in which each * is replaced
	Method            string
	Rate              int // requests a second, at most
	Description       string
	Created, Modified time.Time
}

// DestinationInput is what is written of an API destination. What an update leaves empty stays.
type DestinationInput struct {
	Name        string
	Connection  string // ARN
	URL         string
	Method      string
	Rate        int
	Description *string
}

func noDestination(verb, name string) error {
	return hansom.Errorf(hansom.NotFound, verb+" api destination", "Failed to %s the api-destination(s). An api-destination '%s' does not exist.", verb, name)
}

// Active tells whether a destination can be sent to: its connection is authorized.
func (s *Service) Active(d *Destination) bool {
	c := s.connection(d.Connection)
	return c != nil && c.State == Authorized
}

// CreateDestination makes an API destination. Errors: Conflict, Invalid, NotFound for its connection.
func (s *Service) CreateDestination(ctx context.Context, project string, in DestinationInput) (*Destination, error) {
	d := &Destination{Project: project, Name: in.Name, ID: s.cfg.NewID(), Rate: DefaultRate, Created: s.cfg.Now().UTC().Truncate(time.Microsecond)}
	d.ARN = s.arn(project, "api-destination", d.Name, d.ID)
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		switch have, err := s.destinationsIn(ctx, tx, `WHERE project = ? AND name = ?`, project, in.Name); {
		case err != nil:
			return err
		case len(have) > 0:
			return hansom.Errorf(hansom.Conflict, "create api destination", "An api-destination '%s' already exists.", in.Name)
		}
		return s.put(ctx, tx, d, in)
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// UpdateDestination changes an API destination. Errors: NotFound, Invalid.
func (s *Service) UpdateDestination(ctx context.Context, project string, in DestinationInput) (d *Destination, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		have, err := s.destinationsIn(ctx, tx, `WHERE project = ? AND name = ?`, project, in.Name)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return noDestination("update", in.Name)
		}
		d = have[0]
		return s.put(ctx, tx, d, in)
	})
	return d, err
}

// put makes of a destination what in says, and stores it.
func (s *Service) put(ctx context.Context, tx *db.Tx, d *Destination, in DestinationInput) error {
	for to, v := range map[*string]string{&d.Connection: in.Connection, &d.URL: in.URL, &d.Method: in.Method} {
		if v != "" {
			*to = v
		}
	}
	if in.Rate > 0 {
		d.Rate = in.Rate
	}
	if in.Description != nil {
		d.Description = *in.Description
	}
	d.Modified = s.cfg.Now().UTC().Truncate(time.Microsecond)
	if err := checkURL("InvocationEndpoint", d.URL); err != nil {
		return err
	}
	if in.Connection != "" {
		k, id, ok := resource(in.Connection, "connection")
		have, err := s.connectionsIn(ctx, tx, `WHERE project = ? AND name = ?`, d.Project, k.name)
		if err != nil {
			return err
		}
		if !ok || k.project != d.Project || len(have) == 0 || have[0].ID != id {
			return hansom.Errorf(hansom.NotFound, "check api destination", "Connection '%s' does not exist.", in.Connection)
		}
	}
	tx.Changed(domain, d.Project+"/"+d.Name)
	_, err := tx.ExecContext(ctx, `INSERT INTO endpoint_destinations (project, name, id, connection, url, method, rate, description, created, modified)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET connection = excluded.connection, url = excluded.url, method = excluded.method, rate = excluded.rate,
			description = excluded.description, modified = excluded.modified`,
		d.Project, d.Name, d.ID, d.Connection, d.URL, d.Method, d.Rate, d.Description, d.Created.UnixMicro(), d.Modified.UnixMicro())
	if err != nil {
		return failed("store api destination", err)
	}
	return nil
}

// DeleteDestination removes an API destination. Error: NotFound.
func (s *Service) DeleteDestination(ctx context.Context, project, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		tx.Changed(domain, project+"/"+name)
		r, err := tx.ExecContext(ctx, `DELETE FROM endpoint_destinations WHERE project = ? AND name = ?`, project, name)
		if err != nil {
			return failed("delete api destination", err)
		}
		if n, err := r.RowsAffected(); err == nil && n == 0 {
			return noDestination("delete", name)
		}
		return nil
	})
}

// Destination finds an API destination. Error: NotFound.
func (s *Service) Destination(project, name string) (*Destination, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if d := s.destinations[key{project, name}]; d != nil {
		return d, nil
	}
	return nil, noDestination("describe", name)
}

// Destinations lists the API destinations of a project whose names begin with prefix and that have a connection, "" for any, by name.
func (s *Service) Destinations(project, prefix, connection string) (list []*Destination) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.destinations {
		if d.Project == project && strings.HasPrefix(d.Name, prefix) && (connection == "" || d.Connection == connection) {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b *Destination) int { return strings.Compare(a.Name, b.Name) })
	return list
}
