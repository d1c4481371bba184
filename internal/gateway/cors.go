package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

// cors sets the CORS headers of an answer at a function URL or an HTTP API, and answers preflight requests itself, with a status that has no body; it
// reports whether it did. The function's own CORS headers give way to these.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
func cors(w http.ResponseWriter, r *http.Request, c *hansom.CORS, status int) bool {
	origin := r.Header.Get("Origin")
	preflight := r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != ""
	h := w.Header()
	h.Add("Vary", "Origin")
	if allowed := allowedOrigin(origin, c); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
		credentials := c.AllowCredentials != nil && *c.AllowCredentials
		if credentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if preflight {
			set(h, "Access-Control-Allow-Methods", asked(c.AllowMethods, r.Header["Access-Control-Request-Method"], credentials))
			set(h, "Access-Control-Allow-Headers", asked(c.AllowHeaders, r.Header["Access-Control-Request-Headers"], credentials))
			if c.MaxAge != nil {
				h.Set("Access-Control-Max-Age", strconv.Itoa(*c.MaxAge))
			}
		} else {
			set(h, "Access-Control-Expose-Headers", c.ExposeHeaders)
		}
	}
	if preflight {
		w.WriteHeader(status)
	}
	return preflight
}

// asked is what is allowed of a list. To requests with credentials a "*" is no wildcard (Fetch standard, 3.3.3): they get what they ask for.
func asked(allowed, requested []string, credentials bool) []string {
	if credentials && slices.Contains(allowed, "*") && len(requested) > 0 {
		return requested
	}
	return allowed
}

func set(h http.Header, name string, values []string) {
	if len(values) > 0 {
		h.Set(name, strings.Join(values, ","))
	}
}

// allowedOrigin is the value of Access-Control-Allow-Origin for an origin; "" when it is not allowed.
func allowedOrigin(origin string, c *hansom.CORS) string {
	if origin == "" {
		return ""
	}
	for _, o := range c.AllowOrigins {
		switch {
		case o == "*" && (c.AllowCredentials == nil || !*c.AllowCredentials):
			return "*"
		case o == "*", strings.EqualFold(o, origin), matchesWildcard(o, origin):
			return origin
		}
	}
	return ""
}

// matchesWildcard matches patterns such as https://*.example.com and http://localhost:*.
func matchesWildcard(pattern, origin string) bool {
	before, after, ok := strings.Cut(pattern, "*")
	return ok && len(origin) > len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
}
