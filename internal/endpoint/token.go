package endpoint

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

const (
	opToken   = "fetch token"
	maxToken  = 64 << 10        // bytes of an answer
	tokenRest = 5 * time.Second // a request has to last until then
	tokenGap  = time.Second     // between two requests for a token, after one that failed
	storeWait = time.Second     // after the database did not take what became of a connection
)

// token is what a connection's requests carry.
type token struct {
	mu      sync.Mutex
	of      time.Time // Modified of the connection that it was fetched for
	text    string
	expires time.Time // zero for never
	tried   time.Time
	err     error
}

// cached is the place for the token of a connection.
func (s *Service) cached(c *Connection) *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[c.ID]
	if t == nil {
		t = &token{}
		s.tokens[c.ID] = t
	}
	return t
}

// token returns the token of a connection; another one than bad, which was refused.
func (s *Service) token(ctx context.Context, c *Connection, bad string) (string, error) {
	t := s.cached(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := s.cfg.Now()
	switch {
	case !t.of.Equal(c.Modified):
	case t.err != nil && now.Sub(t.tried) < tokenGap:
		return "", t.err
	case t.err == nil && t.text != bad && (t.expires.IsZero() || now.Before(t.expires)):
		return t.text, nil
	}
	t.of, t.tried = c.Modified, now
	t.text, t.expires, t.err = s.fetch(ctx, c)
	return t.text, t.err
}

// fetch asks for a token with the client's credentials (RFC 6749, 4.4), in a form that Parameters may add to or make JSON. Error:
// Unavailable.
func (s *Service) fetch(ctx context.Context, c *Connection) (text string, expires time.Time, err error) {
	o := c.auth.OAuth
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return "", time.Time{}, hansom.Errorf(hansom.Unavailable, opToken, "%s is no URL.", o.Endpoint)
	}
	header := http.Header{"Accept": {"application/json"}, "User-Agent": {userAgent}, "Content-Type": {"application/x-www-form-urlencoded"}}
	query := u.Query()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {o.Client.ID}, "client_secret": {o.Client.Secret}}
	if o.Parameters != nil {
		o.Parameters.add(header, query)
		for _, b := range o.Parameters.Body {
			form.Set(b.Key, b.Value)
		}
	}
	var body []byte
	switch kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); {
	case o.Method == http.MethodGet:
		for name, v := range form {
			query[name] = v
		}
		header.Del("Content-Type")
	case kind == "application/json":
		members := map[string]string{}
		for name := range form {
			members[name] = form.Get(name)
		}
		body, _ = json.Marshal(members) // strings
	default:
		body = []byte(form.Encode())
	}
	if len(query) > 0 {
		u.RawQuery = query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, o.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return "", time.Time{}, hansom.Errorf(hansom.Unavailable, opToken, "No request can be made of %s %s.", o.Method, o.Endpoint)
	}
	r.Header = header
	asked := s.cfg.Now()
	answer, err := s.client.Do(r)
	if err != nil {
		return "", time.Time{}, hansom.Errorf(hansom.Unavailable, opToken, "The authorization endpoint cannot be reached: %w", plain(err))
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxToken))
	if err != nil {
		return "", time.Time{}, hansom.Errorf(hansom.Unavailable, opToken, "The authorization endpoint's answer ended early: %w", err)
	}
	var got struct {
		Token   string  `json:"access_token"`
		Expires float64 `json:"expires_in"`
		Error   string  `json:"error"`
	}
	if err := json.Unmarshal(data, &got); err != nil || answer.StatusCode/100 != 2 || got.Token == "" || strings.ContainsAny(got.Token, "\r\n") {
		what := cmp.Or(got.Error, "no access_token in the answer")
		return "", time.Time{}, hansom.Errorf(hansom.Unavailable, opToken, "The authorization endpoint answered with the HTTP status %d: %.100s.", answer.StatusCode, what)
	}
	if got.Expires > 0 {
		expires = asked.Add(max(time.Duration(min(got.Expires, 1e8)*float64(time.Second))-tokenRest, 0))
	}
	return got.Token, expires, nil
}

// authorize gets the first token of a connection, and notes whether that went well.
func (s *Service) authorize(ctx context.Context, c *Connection) {
	asking, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	_, err := s.token(asking, c, "")
	if ctx.Err() != nil {
		return
	}
	state, reason, authorized := Authorized, "", s.cfg.Now()
	if err != nil {
		state, reason, authorized = Deauthorized, fmt.Sprintf("%.500s", err.Error()), c.Authorized
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		tx.Changed(domain, c.Project+"/"+c.Name)
		_, err := tx.ExecContext(ctx, `UPDATE endpoint_connections SET state = ?, reason = ?, authorized = ?
			WHERE project = ? AND name = ? AND id = ? AND modified = ?`, state, reason, micros(authorized), c.Project, c.Name, c.ID, c.Modified.UnixMicro())
		return err
	})
	if err != nil {
		s.logger.Warn("the state of a connection could not be stored; tried again", "project", c.Project, "connection", c.Name, "error", err)
		select {
		case <-time.After(storeWait):
		case <-ctx.Done():
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
