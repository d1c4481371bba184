package gateway

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

// cors sets the CORS headers of a function URL's answer and answers preflight requests itself; it reports whether it did.
// The function's own CORS headers give way to these. https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors
func cors(w http.ResponseWriter, r *http.Request, c *hansom.CORS) bool {
	origin := r.Header.Get("Origin")
	preflight := r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != ""
	h := w.Header()
	h.Add("Vary", "Origin")
	if allowed := allowedOrigin(origin, c); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
		if c.AllowCredentials != nil && *c.AllowCredentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if preflight {
			set(h, "Access-Control-Allow-Methods", c.AllowMethods)
			set(h, "Access-Control-Allow-Headers", c.AllowHeaders)
			if c.MaxAge != nil && *c.MaxAge > 0 {
				h.Set("Access-Control-Max-Age", strconv.Itoa(*c.MaxAge))
			}
		} else {
			set(h, "Access-Control-Expose-Headers", c.ExposeHeaders)
		}
	}
	if preflight {
		w.WriteHeader(http.StatusOK)
	}
	return preflight
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
