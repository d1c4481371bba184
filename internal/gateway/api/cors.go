package api

import (
	"net/url"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// methods are those that routes and integrations have.
var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "ANY"}

// checkCORS holds a CORS configuration to API Gateway's rules; nil is none.
func checkCORS(c *hansom.CORS) error {
	if c == nil {
		return nil
	}
	for _, origin := range c.AllowOrigins {
		if !corsOrigin(origin) {
			return invalid("Invalid format for origin %.200s. Origin should start with valid scheme or should be '*'", origin)
		}
	}
	for _, m := range c.AllowMethods {
		if m != "*" && (!slices.Contains(methods, m) || m == "ANY") {
			return invalid("Invalid method %.64s in the CORS configuration. Must be '*' or one of: [%s]", m, strings.Join(methods[:len(methods)-1], ", "))
		}
	}
	for _, list := range [][]string{c.AllowHeaders, c.ExposeHeaders} {
		for _, h := range list {
			if h == "" || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
				return invalid("Invalid header %.200q in the CORS configuration.", h)
			}
		}
	}
	if c.AllowCredentials != nil && *c.AllowCredentials && slices.Contains(c.AllowOrigins, "*") {
		return invalid("Invalid CORS configuration: AllowCredentials is not supported when AllowOrigins has '*'.")
	}
	if c.MaxAge != nil && (*c.MaxAge < -1 || *c.MaxAge > hansom.MaxCORSMaxAge) {
		return invalid("Invalid CORS configuration: MaxAge must be between -1 and %d.", hansom.MaxCORSMaxAge)
	}
	return nil
}

// corsOrigin takes "*", a scheme with "*", and scheme://host[:port].
func corsOrigin(origin string) bool {
	scheme, host, ok := strings.Cut(origin, "://")
	if origin == "*" || ok && host == "*" && scheme != "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin
}
