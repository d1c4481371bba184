package endpoint

import (
	"context"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// States of a connection. One that is made or changed and has OAuth is Authorizing until a token was got, and Deauthorized when none was.
const (
	Authorized   = "AUTHORIZED"
	Authorizing  = "AUTHORIZING"
	Deauthorized = "DEAUTHORIZED"
	Deleting     = "DELETING"
)

// Connection is how requests are authorized.
type Connection struct {
	Project, Name, ID string
	ARN               string
	Kind              string // BasicAuth, APIKeyAuth, OAuthAuth
	State, Reason     string
	Description       string
	Created           time.Time
	Modified          time.Time
	Authorized        time.Time // zero for never

	auth Auth
}

// Auth is what requests carry, without the secrets in it.
func (c *Connection) Auth() Auth { return c.auth.shown() }

// ConnectionInput is what is written of a connection. What an update leaves empty stays.
type ConnectionInput struct {
	Name        string
	Kind        string
	Description *string
	Auth        *Auth
}

func noConnection(verb, name string) error {
	return hansom.Errorf(hansom.NotFound, verb+" connection", "Failed to %s the connection(s). Connection '%s' does not exist.", verb, name)
}

// CreateConnection makes a connection. Errors: Conflict, Invalid.
func (s *Service) CreateConnection(ctx context.Context, project string, in ConnectionInput) (*Connection, error) {
	now := s.cfg.Now().UTC().Truncate(time.Microsecond)
	c := &Connection{Project: project, Name: in.Name, ID: s.cfg.NewID(), Created: now}
	c.ARN = s.arn(project, "connection", c.Name, c.ID)
	if in.Auth == nil {
		in.Auth = &Auth{}
	}
	if err := c.change(in, now); err != nil {
		return nil, err
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		switch have, err := s.connectionsIn(ctx, tx, `WHERE project = ? AND name = ?`, project, in.Name); {
		case err != nil:
			return err
		case len(have) > 0:
			return hansom.Errorf(hansom.Conflict, "create connection", "Connection %s already exists.", in.Name)
		}
		return s.save(ctx, tx, c)
	})
	return s.written(c, err)
}

// UpdateConnection changes a connection, which is authorized again. Errors: NotFound, Invalid.
func (s *Service) UpdateConnection(ctx context.Context, project string, in ConnectionInput) (*Connection, error) {
	return s.modify(ctx, project, in.Name, "update", func(c *Connection, now time.Time) error {
		if in.Kind == "" {
			in.Kind = c.Kind
		}
		return c.change(in, now)
	})
}

// DeauthorizeConnection takes from a connection what requests carry; an update brings it back. Error: NotFound.
func (s *Service) DeauthorizeConnection(ctx context.Context, project, name string) (*Connection, error) {
	return s.modify(ctx, project, name, "deauthorize", func(c *Connection, now time.Time) error {
		c.State, c.Reason, c.Modified, c.auth = Deauthorized, "", now, Auth{}
		return nil
	})
}

func (s *Service) modify(ctx context.Context, project, name, verb string, change func(c *Connection, now time.Time) error) (c *Connection, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		have, err := s.connectionsIn(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return noConnection(verb, name)
		}
		c = have[0]
		if err := change(c, s.cfg.Now().UTC().Truncate(time.Microsecond)); err != nil {
			return err
		}
		return s.save(ctx, tx, c)
	})
	return s.written(c, err)
}

// written has a connection that was written authorized.
func (s *Service) written(c *Connection, err error) (*Connection, error) {
	if err != nil {
		return nil, err
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return c, nil
}

// change makes of a connection what in says.
func (c *Connection) change(in ConnectionInput, now time.Time) (err error) {
	if in.Description != nil {
		c.Description = *in.Description
	}
	c.Modified = now
	if in.Auth == nil && in.Kind == c.Kind {
		return nil
	}
	next := Auth{}
	if in.Auth != nil {
		next = *in.Auth
	}
	if c.auth, err = c.auth.merge(in.Kind, next); err != nil {
		return err
	}
	c.Kind, c.State, c.Reason = in.Kind, Authorizing, ""
	if c.Kind != OAuthAuth {
		c.State, c.Authorized = Authorized, now
	}
	return nil
}

// DeleteConnection removes a connection; API destinations that have it are inactive from now on. It returns what was. Error: NotFound.
func (s *Service) DeleteConnection(ctx context.Context, project, name string) (c *Connection, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		have, err := s.connectionsIn(ctx, tx, `WHERE project = ? AND name = ?`, project, name)
		if err != nil {
			return err
		}
		if len(have) == 0 {
			return noConnection("delete", name)
		}
		c = have[0]
		c.State = Deleting
		tx.Changed(domain, project+"/"+name)
		if _, err := tx.ExecContext(ctx, `DELETE FROM endpoint_connections WHERE project = ? AND name = ?`, project, name); err != nil {
			return failed("delete connection", err)
		}
		return nil
	})
	return c, err
}

// Connection finds a connection. Error: NotFound.
func (s *Service) Connection(project, name string) (*Connection, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.connections[key{project, name}]; c != nil {
		return c, nil
	}
	return nil, noConnection("describe", name)
}

// Connections lists the connections of a project whose names begin with prefix and that are in a state, "" for any, by name.
func (s *Service) Connections(project, prefix, state string) []*Connection {
	return s.list(func(c *Connection) bool {
		return c.Project == project && strings.HasPrefix(c.Name, prefix) && (state == "" || c.State == state)
	})
}
