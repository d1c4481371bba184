package authorize

import (
	"context"
	"net/http"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/jwt"
)

// jwt takes requests with a token of an authorizer's issuer.
func (s *Service) jwt(ctx context.Context, q *Query, a *api.Authorizer) Decision {
	token := ""
	for _, source := range a.Sources {
		if token, _ = q.selected(source); token != "" {
			break
		}
	}
	if len(a.Sources) == 0 {
		token, _ = q.selected(headerSelection + "Authorization")
	}
	if token = bearer(token); token == "" {
		d := refused(http.StatusUnauthorized, "the request has no token")
		d.Header = http.Header{"Www-Authenticate": {"Bearer"}}
		return d
	}
	t, err := s.tokens.Verify(ctx, token, jwt.Want{Issuer: a.Issuer, KeySet: a.KeySet, Audience: a.Audience})
	if err != nil {
		switch hansom.KindOf(err) {
		case hansom.Unauthenticated, hansom.Unavailable:
			return challenge(http.StatusUnauthorized, q.Route.Scopes, "invalid_token", err.Error())
		case hansom.Canceled: // nobody reads the answer
			return refused(http.StatusUnauthorized, err.Error())
		}
		s.log.Error("a token could not be verified", "api", q.API.ID, "route", q.Route.Key, "error", err)
		return refused(http.StatusInternalServerError, err.Error())
	}
	if m, ok := t.Derived.Load().(*made); ok && m.route == q.Route {
		return m.decision
	}
	// Format 2.0 has what 1.0 has within another object: one text is both.
	const before, after = `{"jwt":`, `}`
	b := make([]byte, 0, len(t.JSON)+128)
	b = append(append(b, before+`{"claims":`...), t.JSON...)
	b = append(b, `,"scopes":`...)
	if want := q.Route.Scopes; len(want) == 0 {
		b = append(b, "null"...)
	} else {
		granted := 0
		if b, granted = t.AppendGranted(b, want); granted == 0 {
			return challenge(http.StatusForbidden, want, "insufficient_scope", "the token has none of the scopes")
		}
	}
	b = append(b, "}"+after...)
	v1 := b[len(before) : len(b)-len(after)]
	d := Decision{Context: b, ContextV1: v1[:len(v1):len(v1)], Value: func(name string) string {
		if name, ok := strings.CutPrefix(name, "claims."); ok {
			return t.Claims[name]
		}
		return ""
	}}
	t.Derived.Store(&made{q.Route, d})
	return d
}

// made is what a token lets through at the route that it was used at last.
type made struct {
	route    *api.Route
	decision Decision
}

// bearer is a token without its scheme (RFC 6750, 2.1), which may be left out.
func bearer(text string) string {
	const scheme = "Bearer "
	if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		text = text[len(scheme):]
	}
	return strings.Trim(text, " ")
}

var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ")

// challenge is a refusal with a WWW-Authenticate header (RFC 6750, 3) as API Gateway writes it.
func challenge(status int, scopes []string, code, description string) Decision {
	d := refused(status, code+": "+description)
	d.Header = http.Header{"Www-Authenticate": {`Bearer scope="` + quoted.Replace(strings.Join(scopes, " ")) + `" error="` + code +
		`" error_description="` + quoted.Replace(description) + `"`}}
	return d
}
