package function

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/function/paging"
)

// newURLID makes 32 lower-case letters and digits of 130 random bits and more.
func newURLID() string { return strings.ToLower(rand.Text() + rand.Text())[:32] }

// CreateURL gives a function, or an alias of it, an address of its own. Errors: NotFound, Conflict, Invalid.
func (s *Service) CreateURL(ctx context.Context, project, name, qualifier string, in URLInput) (hansom.FunctionURL, error) {
	now := s.timestamp()
	u := hansom.FunctionURL{ID: newURLID(), Project: project, Region: s.cfg.Region, Function: name, Qualifier: qualifier, AuthType: in.AuthType,
		InvokeMode: in.InvokeMode, CORS: in.CORS, Created: now, Modified: now}
	if u.InvokeMode == "" {
		u.InvokeMode = hansom.URLBuffered
	}
	if err := checkURL(&u); err != nil {
		return hansom.FunctionURL{}, err
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.urlTarget(ctx, tx, project, name, qualifier); err != nil {
			return err
		}
		if _, ok, err := s.url(ctx, tx, project, name, qualifier); err != nil {
			return err
		} else if ok {
			return hansom.Errorf(hansom.Conflict, "create function url",
				"Failed to create function url config for [functionArn = %s]. Error message:  FunctionUrlConfig exists for this Lambda function", u.ARN())
		}
		return s.saveURL(ctx, tx, &u)
	})
	if err != nil {
		return hansom.FunctionURL{}, err
	}
	return u, nil
}

// GetURL reads the URL of a function, or of an alias. Errors: NotFound.
func (s *Service) GetURL(ctx context.Context, project, name, qualifier string) (hansom.FunctionURL, error) {
	u, ok, err := s.url(ctx, s.db.Read(), project, name, qualifier)
	if err == nil && !ok {
		err = noResource()
	}
	return u, err
}

// UpdateURL changes a URL; its address stays. Errors: NotFound, Invalid.
func (s *Service) UpdateURL(ctx context.Context, project, name, qualifier string, in UpdateURLInput) (hansom.FunctionURL, error) {
	var u hansom.FunctionURL
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.urlTarget(ctx, tx, project, name, qualifier); err != nil {
			return err
		}
		var ok bool
		var err error
		if u, ok, err = s.url(ctx, tx, project, name, qualifier); err != nil {
			return err
		} else if !ok {
			return noResource()
		}
		if in.AuthType != "" {
			u.AuthType = in.AuthType
		}
		if in.InvokeMode != "" {
			u.InvokeMode = in.InvokeMode
		}
		if in.CORS != nil {
			u.CORS = in.CORS
		}
		if err := checkURL(&u); err != nil {
			return err
		}
		u.Modified = s.timestamp()
		return s.saveURL(ctx, tx, &u)
	})
	if err != nil {
		return hansom.FunctionURL{}, err
	}
	return u, nil
}

// DeleteURL takes the address away. Errors: NotFound.
func (s *Service) DeleteURL(ctx context.Context, project, name, qualifier string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		u, ok, err := s.url(ctx, tx, project, name, qualifier)
		if err != nil {
			return err
		}
		if !ok {
			return noResource()
		}
		note(tx, project, name)
		return exec(ctx, tx, "delete function url", []any{u.ID}, `DELETE FROM function_urls WHERE id = ?`)
	})
}

// ListURLs lists the URLs of a function and its aliases, the function's own first. Errors: NotFound, Invalid.
func (s *Service) ListURLs(ctx context.Context, project, name string, page Page) (list []hansom.FunctionURL, next string, err error) {
	var after string
	limit, err := page.Open(&after)
	if err != nil {
		return nil, "", err
	}
	if err := s.urlTarget(ctx, s.db.Read(), project, name, ""); err != nil {
		return nil, "", err
	}
	from := `>` // the function's own URL has the qualifier ""
	if page.Marker == "" {
		from = `>=`
	}
	list, err = s.urls(ctx, s.db.Read(), `WHERE project = ? AND name = ? AND qualifier `+from+` ? ORDER BY qualifier LIMIT ?`, project, name, after, limit+1)
	if err == nil && len(list) > limit {
		list = list[:limit]
		next = paging.Marker(list[limit-1].Qualifier)
	}
	return list, next, err
}

// URLs lists the URLs of a function and its aliases, or of all functions of the project when name is "", by function and
// qualifier, without pages.
func (s *Service) URLs(ctx context.Context, project, name string) ([]hansom.FunctionURL, error) {
	return s.urls(ctx, s.db.Read(), `WHERE project = ? AND ? IN ('', name) ORDER BY name, qualifier`, project, name)
}

// urlTarget checks that the function, and its alias, are there, with the message AWS has for URLs.
func (s *Service) urlTarget(ctx context.Context, q db.Querier, project, name, qualifier string) error {
	_, ok, err := s.record(ctx, q, project, name, 0)
	if err == nil && ok && qualifier != "" {
		_, ok, err = s.alias(ctx, q, project, name, qualifier)
	}
	if err == nil && !ok {
		err = hansom.Errorf(hansom.NotFound, "find function", "Function does not exist")
	}
	return err
}

func checkURL(u *hansom.FunctionURL) error {
	const op = "check function url"
	switch {
	case u.AuthType != hansom.URLAuthNone && u.AuthType != hansom.URLAuthIAM:
		return hansom.Errorf(hansom.Invalid, op, "the AuthType %q is neither NONE nor AWS_IAM", u.AuthType)
	case u.InvokeMode != hansom.URLBuffered && u.InvokeMode != hansom.URLStreamed:
		return hansom.Errorf(hansom.Invalid, op, "the InvokeMode %q is neither BUFFERED nor RESPONSE_STREAM", u.InvokeMode)
	}
	c := u.CORS
	if c == nil {
		return nil
	}
	if c.AllowCredentials == nil && c.MaxAge == nil && len(c.AllowHeaders)+len(c.AllowMethods)+len(c.AllowOrigins)+len(c.ExposeHeaders) == 0 {
		u.CORS = nil
		return nil
	}
	for _, method := range c.AllowMethods {
		if !slices.Contains([]string{"*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method) {
			return hansom.Errorf(hansom.Invalid, op, `AllowMethods has %q; name HTTP methods in upper case, or "*"`, method)
		}
	}
	for _, origin := range c.AllowOrigins {
		if !validOrigin(origin) {
			return hansom.Errorf(hansom.Invalid, op, `AllowOrigins has %q; an origin is scheme://host[:port] without a path, or "*"`, origin)
		}
	}
	for _, header := range slices.Concat(c.AllowHeaders, c.ExposeHeaders) {
		if header == "" || strings.ContainsFunc(header, notInToken) {
			return hansom.Errorf(hansom.Invalid, op, `%q is not the name of a header, nor "*"`, header)
		}
	}
	if c.MaxAge != nil && (*c.MaxAge < 0 || *c.MaxAge > hansom.MaxCORSMaxAge) {
		return hansom.Errorf(hansom.Invalid, op, "MaxAge is %d; it must be between 0 and %d seconds", *c.MaxAge, hansom.MaxCORSMaxAge)
	}
	return nil
}

// validOrigin follows RFC 6454, section 6.2.
func validOrigin(origin string) bool {
	if origin == "*" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin
}

// notInToken follows RFC 9110, section 5.6.2.
func notInToken(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

func (s *Service) saveURL(ctx context.Context, tx *db.Tx, u *hansom.FunctionURL) error {
	cors, err := json.Marshal(u.CORS)
	if err != nil {
		return failed("write function url", err)
	}
	note(tx, u.Project, u.Function)
	return exec(ctx, tx, "write function url",
		[]any{u.ID, u.Project, u.Function, u.Qualifier, u.AuthType, u.InvokeMode, string(cors), u.Created.UnixMicro(), u.Modified.UnixMicro()},
		`INSERT INTO function_urls (id, project, name, qualifier, auth_type, invoke_mode, cors, created, modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET auth_type = excluded.auth_type, invoke_mode = excluded.invoke_mode, cors = excluded.cors,
			modified = excluded.modified`)
}

func (s *Service) url(ctx context.Context, q db.Querier, project, name, qualifier string) (u hansom.FunctionURL, ok bool, err error) {
	list, err := s.urls(ctx, q, `WHERE project = ? AND name = ? AND qualifier = ?`, project, name, qualifier)
	if err != nil || len(list) == 0 {
		return hansom.FunctionURL{}, false, err
	}
	return list[0], true, nil
}

func (s *Service) urls(ctx context.Context, q db.Querier, rest string, args ...any) ([]hansom.FunctionURL, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, project, name, qualifier, auth_type, invoke_mode, cors, created, modified FROM function_urls `+rest, args...)
	if err != nil {
		return nil, failed("read function urls", err)
	}
	defer rows.Close()
	var list []hansom.FunctionURL
	for rows.Next() {
		u := hansom.FunctionURL{Region: s.cfg.Region}
		var cors string
		var created, modified int64
		if err := rows.Scan(&u.ID, &u.Project, &u.Function, &u.Qualifier, &u.AuthType, &u.InvokeMode, &cors, &created, &modified); err != nil {
			return nil, failed("read function urls", err)
		}
		if err := json.Unmarshal([]byte(cors), &u.CORS); err != nil {
			return nil, failed("read function urls", err)
		}
		u.Created, u.Modified = time.UnixMicro(created).UTC(), time.UnixMicro(modified).UTC()
		list = append(list, u)
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read function urls", err)
	}
	return list, nil
}
