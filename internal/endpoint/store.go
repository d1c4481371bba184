package endpoint

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/hansomcloud/hansom/internal/db"
)

// load reads everything.
func (s *Service) load(ctx context.Context) error {
	connections, err := s.connectionsIn(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	destinations, err := s.destinationsIn(ctx, s.db.Read(), "")
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections, s.destinations = map[key]*Connection{}, map[key]*Destination{}
	tokens, paces := map[string]*token{}, map[string]*pace{}
	for _, c := range connections {
		s.connections[key{c.Project, c.Name}] = c
		if t := s.tokens[c.ID]; t != nil {
			tokens[c.ID] = t
		}
	}
	for _, d := range destinations {
		s.destinations[key{d.Project, d.Name}] = d
		if p := s.paces[d.ID]; p != nil {
			paces[d.ID] = p
		}
	}
	s.tokens, s.paces = tokens, paces
	return nil
}

// connectionsIn reads connections. One whose secrets cannot be read is not authorized.
func (s *Service) connectionsIn(ctx context.Context, q db.Querier, where string, args ...any) (list []*Connection, err error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, id, kind, state, reason, description, auth, created, modified, authorized FROM endpoint_connections `+where, args...)
	if err != nil {
		return nil, failed("read connections", err)
	}
	defer rows.Close()
	for rows.Next() {
		c := &Connection{}
		var sealed string
		var created, modified, authorized int64
		if err := rows.Scan(&c.Project, &c.Name, &c.ID, &c.Kind, &c.State, &c.Reason, &c.Description, &sealed, &created, &modified, &authorized); err != nil {
			return nil, failed("read connections", err)
		}
		c.ARN = s.arn(c.Project, "connection", c.Name, c.ID)
		c.Created, c.Modified = time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		if authorized != 0 {
			c.Authorized = time.UnixMicro(authorized).UTC()
		}
		if err := s.unseal(c, sealed); err != nil {
			s.logger.Error("the secrets of a connection cannot be read with this server's master key; update the connection", "project", c.Project, "connection", c.Name, "error", err)
			c.State, c.Reason = Deauthorized, "The secrets cannot be read with this server's master key."
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read connections", err)
	}
	return list, nil
}

// save stores a connection.
func (s *Service) save(ctx context.Context, tx *db.Tx, c *Connection) error {
	sealed, err := s.seal(c)
	if err != nil {
		return failed("store connection", err)
	}
	tx.Changed(domain, c.Project+"/"+c.Name)
	_, err = tx.ExecContext(ctx, `INSERT INTO endpoint_connections (project, name, id, kind, state, reason, description, auth, created, modified, authorized)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, name) DO UPDATE SET kind = excluded.kind, state = excluded.state, reason = excluded.reason, description = excluded.description,
			auth = excluded.auth, modified = excluded.modified, authorized = excluded.authorized`,
		c.Project, c.Name, c.ID, c.Kind, c.State, c.Reason, c.Description, sealed, c.Created.UnixMicro(), c.Modified.UnixMicro(), micros(c.Authorized))
	if err != nil {
		return failed("store connection", err)
	}
	return nil
}

// micros is a stored time; 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// seal encrypts what requests of a connection carry, for this connection alone.
func (s *Service) seal(c *Connection) (string, error) {
	text, err := json.Marshal(c.auth)
	return base64.StdEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(c.ARN))), err
}

func (s *Service) unseal(c *Connection, sealed string) error {
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return err
	}
	text, err := s.aead.Open(nil, nil, b, []byte(c.ARN))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &c.auth)
}

// destinationsIn reads API destinations.
func (s *Service) destinationsIn(ctx context.Context, q db.Querier, where string, args ...any) (list []*Destination, err error) {
	rows, err := q.QueryContext(ctx, `SELECT project, name, id, connection, url, method, rate, description, created, modified FROM endpoint_destinations `+where, args...)
	if err != nil {
		return nil, failed("read api destinations", err)
	}
	defer rows.Close()
	for rows.Next() {
		d := &Destination{}
		var created, modified int64
		if err := rows.Scan(&d.Project, &d.Name, &d.ID, &d.Connection, &d.URL, &d.Method, &d.Rate, &d.Description, &created, &modified); err != nil {
			return nil, failed("read api destinations", err)
		}
		d.ARN = s.arn(d.Project, "api-destination", d.Name, d.ID)
		d.Created, d.Modified = time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		list = append(list, d)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read api destinations", err)
	}
	return list, nil
}
