package hansomapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway"
)

// Gateway tells what answers where.
type Gateway interface {
	// Hosts of a project, without function URLs.
	Hosts(project string) []gateway.Host
	// Explain says what becomes of a request; it looks at the method, the host, RequestURI, the query and the headers.
	Explain(project string, r *http.Request) gateway.Explanation
}

// routeHost is a host with the address by which clients reach it.
type routeHost struct {
	gateway.Host
	URL string `json:"url"`
}

// address is the URL of a host: it has the scheme and the port of a function URL.
func (h *Handler) address(host, path string) string {
	u, err := url.Parse(h.FunctionURL("x"))
	if err != nil {
		return host + path
	}
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host + path
}

// listRoutes lists what answers where, all that there is or what is an app's.
func (h *Handler) listRoutes(r *http.Request, p hansom.Principal) (any, error) {
	app := r.URL.Query().Get("app")
	if app != "" {
		if _, err := h.Apps.Get(r.Context(), p.Project, app); err != nil {
			return nil, err
		}
	}
	out := []routeHost{}
	for _, host := range h.Gateway.Hosts(p.Project) {
		if app == "" || host.Kind == gateway.HostApp && host.Name == app || host.Kind == gateway.HostDomain && host.API == app {
			out = append(out, routeHost{host, h.address(host.Host, host.Path)})
		}
	}
	urls, err := h.Functions.URLs(r.Context(), p.Project, "")
	if err != nil {
		return nil, err
	}
	for _, u := range urls {
		if app != "" {
			if f, err := h.Functions.Resolve(r.Context(), p.Project, u.Function, ""); err != nil || f.Version.App != app {
				continue
			}
		}
		out = append(out, h.functionURLHost(&u))
	}
	return map[string]any{"hosts": out}, nil
}

func (h *Handler) functionURLHost(u *hansom.FunctionURL) routeHost {
	address := h.FunctionURL(u.ID)
	route := gateway.HostRoute{Key: "$default", Target: "function", Value: u.Function}
	if u.Qualifier != "" {
		route.Value += ":" + u.Qualifier
	}
	if u.AuthType == hansom.URLAuthIAM {
		route.Settings = map[string]string{"authorizer": "iam"}
	}
	host := gateway.Host{Kind: gateway.HostURL, Name: u.Function, Routes: []gateway.HostRoute{route}}
	if parsed, err := url.Parse(address); err == nil {
		host.Host = parsed.Hostname()
	}
	return routeHost{host, strings.TrimSuffix(address, "/")}
}

// maxExplained is the most headers of a request that is explained.
const maxExplained = 100

// explainRoute says what becomes of a request.
func (h *Handler) explainRoute(r *http.Request, p hansom.Principal) (any, error) {
	const op = "explain request"
	var in struct {
		Method  string            `json:"method"`
		Host    string            `json:"host"` // with a port or without
		App     string            `json:"app"`  // in its place
		Path    string            `json:"path"` // with its query
		Headers map[string]string `json:"headers"`
	}
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.App != "" {
		if _, err := h.Apps.Get(r.Context(), p.Project, in.App); err != nil {
			return nil, err
		}
		u, err := url.Parse(h.AppURL(p.Project, in.App))
		if err != nil {
			return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		in.Host = u.Host
	}
	u, err := url.ParseRequestURI(in.Path)
	switch {
	case in.Host == "" || strings.ContainsAny(in.Host, "/ "):
		return nil, hansom.Errorf(hansom.Invalid, op, "host must be a host such as hello.localhost, or app an app")
	case err != nil || !strings.HasPrefix(in.Path, "/"):
		return nil, hansom.Errorf(hansom.Invalid, op, "path %.200q must be a path such as /messages?page=2", in.Path)
	case in.Method == "" || strings.ContainsFunc(in.Method, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, hansom.Errorf(hansom.Invalid, op, "method %.40q must be a method such as GET", in.Method)
	case len(in.Headers) > maxExplained:
		return nil, hansom.Errorf(hansom.Invalid, op, "headers has %d entries; the limit is %d", len(in.Headers), maxExplained)
	}
	request := (&http.Request{Method: in.Method, Host: in.Host, URL: u, RequestURI: in.Path, Header: http.Header{}}).WithContext(r.Context())
	for name, value := range in.Headers {
		request.Header.Set(name, value)
	}
	return h.Gateway.Explain(p.Project, request), nil
}
