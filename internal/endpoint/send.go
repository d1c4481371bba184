package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	opSend     = "send to api destination"
	maxAnswer  = 64 << 10 // bytes that are read of an answer, so that its connection can be used again
	userAgent  = "Amazon/EventBridge/ApiDestinations"
	cannotSend = "Unable to invoke ApiDestination endpoint: "
)

// Send sends an event to the API destination of its ARN, and returns when that has answered. It waits for its turn among the requests to
// the destination, until ctx ends; a request that has begun ends by itself. Errors: NotFound; Denied when its connection is deauthorized or its
// address may not be reached; Invalid for an event that cannot be sent, and for answers after which another attempt makes no sense
// (1xx, 3xx, 4xx); Throttled (429), Unavailable (409, 5xx, 401 and 407 with OAuth, or nobody answers) and Timeout for others, with After as Retry-After says.
func (s *Service) Send(ctx context.Context, d hansom.Delivery) error {
	k, id, ok := resource(d.ARN, "api-destination")
	s.mu.Lock()
	to := s.destinations[k]
	if !ok || k.project != d.Project || to == nil || to.ID != id {
		s.mu.Unlock()
		return hansom.Errorf(hansom.NotFound, opSend, "The API destination %s does not exist.", d.ARN)
	}
	turns := s.paces[id]
	if turns == nil {
		turns = &pace{}
		s.paces[id] = turns
	}
	s.mu.Unlock()
	c := s.connection(to.Connection)
	switch {
	case c == nil:
		return hansom.Errorf(hansom.NotFound, opSend, "%sthe connection %s does not exist.", cannotSend, to.Connection)
	case c.State == Authorizing:
		return hansom.Errorf(hansom.Unavailable, opSend, "%sthe connection %s is being authorized.", cannotSend, c.Name)
	case c.State != Authorized:
		return hansom.Errorf(hansom.Denied, opSend, "%sthe connection %s is not authorized.", cannotSend, c.Name)
	}
	build, err := c.request(to, d)
	if err != nil {
		return err
	}
	if err := turns.wait(ctx, s.cfg.Now(), to.Rate); err != nil {
		return hansom.Errorf(hansom.Canceled, opSend, "%w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	token := ""
	for again := false; ; again = true {
		r, err := build(ctx)
		if err != nil {
			return err
		}
		if c.Kind == OAuthAuth {
			if token, err = s.token(ctx, c, token); err != nil { // another one than what was refused
				return err
			}
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := s.client.Do(r)
		if err != nil {
			return s.refusal(err)
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
		_ = answer.Body.Close()
		if again || answer.StatusCode != http.StatusUnauthorized || c.Kind != OAuthAuth {
			return verdict(c, answer, s.cfg.Now())
		}
	}
}

// verdict is what an answer means.
func verdict(c *Connection, r *http.Response, now time.Time) error {
	kind := hansom.Invalid
	switch n := r.StatusCode; {
	case n >= 200 && n < 300:
		return nil
	case n == http.StatusTooManyRequests:
		kind = hansom.Throttled
	case n == http.StatusConflict, n >= 500, c.Kind == OAuthAuth && (n == http.StatusUnauthorized || n == http.StatusProxyAuthRequired):
		kind = hansom.Unavailable
	}
	err := hansom.Errorf(kind, opSend, "%sAPI destination endpoint returned the HTTP status %d.", cannotSend, r.StatusCode)
	err.After = retryAfter(r.Header.Get("Retry-After"), now)
	return err
}

// retryAfter reads a Retry-After header (RFC 9110, 10.2.3); 0 when it says nothing.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(n, 0), 86400)) * time.Second
	}
	if t, err := http.ParseTime(text); err == nil {
		return min(max(t.Sub(now), 0), 24*time.Hour)
	}
	return 0
}

// refusal is the error of a request that had no answer.
func (s *Service) refusal(err error) error {
	var e *hansom.Error
	if errors.As(err, &e) && e.Kind == hansom.Denied {
		return hansom.Errorf(hansom.Denied, opSend, "%s%s", cannotSend, e.Message)
	}
	if n := net.Error(nil); errors.As(err, &n) && n.Timeout() {
		return hansom.Errorf(hansom.Timeout, opSend, "%sTimeout calling endpoint for API Destination: no answer within %s.", cannotSend, s.cfg.Timeout)
	}
	s.logger.Debug("an API destination cannot be reached", "error", plain(err))
	return hansom.Errorf(hansom.Unavailable, opSend, "%sAPI destination endpoint cannot be reached.", cannotSend)
}

// plain is an error of a client without the URL in it, which may have secrets in its query.
func plain(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// request returns what makes a request to a destination, from it, the target's parameters and the connection's, the later of which
// replace the earlier ones.
func (c *Connection) request(to *Destination, d hansom.Delivery) (func(ctx context.Context) (*http.Request, error), error) {
	target := d.HTTP
	if target == nil {
		target = &hansom.HTTPParameters{}
	}
	u, err := url.Parse(fill(to.URL, target.Path))
	if err != nil {
		return nil, hansom.Errorf(hansom.Invalid, opSend, "%sthe path parameters do not make a URL of %s.", cannotSend, to.URL)
	}
	header := http.Header{"User-Agent": {userAgent}, "Content-Type": {"application/json; charset=utf-8"}}
	query := url.Values{}
	for name, v := range target.Header {
		if err := checkHeader(name); err != nil {
			return nil, err
		}
		if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return nil, hansom.Errorf(hansom.Invalid, opSend, "%sthe value of the header %s has control characters.", cannotSend, name)
		}
		header.Set(name, v)
	}
	for name, v := range target.Query {
		query.Set(name, v)
	}
	body := d.Payload
	if p := c.auth.Invocation; p != nil {
		p.add(header, query)
		if body, err = p.extend(body); err != nil {
			return nil, err
		}
	}
	switch c.Kind {
	case BasicAuth:
		r := http.Request{Header: header}
		r.SetBasicAuth(c.auth.Basic.Username, c.auth.Basic.Password)
	case APIKeyAuth:
		header.Set(c.auth.APIKey.Name, c.auth.APIKey.Value)
	}
	if len(query) > 0 {
		all := u.Query()
		maps.Copy(all, query)
		u.RawQuery = all.Encode()
	}
	if to.Method == http.MethodGet || to.Method == http.MethodHead || to.Method == http.MethodOptions {
		body = nil
		header.Del("Content-Type")
	}
	return func(ctx context.Context) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, to.Method, u.String(), bytes.NewReader(body))
		if err != nil {
			return nil, hansom.Errorf(hansom.Invalid, opSend, "%sno request can be made of %s %s.", cannotSend, to.Method, to.URL)
		}
		r.Header = header.Clone()
		return r, nil
	}, nil
}

// add sets the headers and the query of parameters.
func (p *Parameters) add(header http.Header, query url.Values) {
	for _, h := range p.Header {
		header.Set(h.Key, h.Value)
	}
	for _, q := range p.Query {
		query.Set(q.Key, q.Value)
	}
}

// extend adds the body parameters to a JSON object.
func (p *Parameters) extend(body []byte) ([]byte, error) {
	if len(p.Body) == 0 {
		return body, nil
	}
	var have map[string]json.RawMessage
	if err := json.Unmarshal(body, &have); err != nil || have == nil {
		return nil, hansom.Errorf(hansom.Invalid, opSend, "%sthe connection has body parameters, and the event is no JSON object.", cannotSend)
	}
	for _, b := range p.Body {
		have[b.Key], _ = json.Marshal(b.Value) // a string
	}
	return json.Marshal(have)
}

// fill replaces the * of a URL by values, in their order. Those that have no value stay.
func fill(text string, values []string) string {
	var b strings.Builder
	escape := url.PathEscape
	for _, c := range text {
		switch {
		case c == '?':
			escape = url.QueryEscape
		case c == '*' && len(values) > 0:
			b.WriteString(escape(values[0]))
			values = values[1:]
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
