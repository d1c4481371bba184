package client

import (
	"context"
	"net/url"
)

// Host is a host, and there a path, at which something answers.
type Host struct {
	URL    string      `json:"url"`
	Host   string      `json:"host"` // without its port
	Path   string      `json:"path,omitempty"`
	Kind   string      `json:"kind"` // "app", "api", "domain" or "function URL"
	Name   string      `json:"name"`
	API    string      `json:"api,omitempty"`
	Stage  string      `json:"stage,omitempty"`
	Routes []HostRoute `json:"routes"`
}

// HostRoute is a route and what answers there.
type HostRoute struct {
	Key      string            `json:"key"`
	Target   string            `json:"target"` // "function", "url", "site", ...
	Value    string            `json:"value"`
	Settings map[string]string `json:"settings,omitempty"` // "authorizer", "throttle", ...
	Broken   string            `json:"broken,omitempty"`   // why it cannot answer
}

// WebRequest is one that Explain tells of. Host or App says where it goes.
type WebRequest struct {
	Method  string            `json:"method"`
	Host    string            `json:"host,omitempty"`
	App     string            `json:"app,omitempty"`
	Path    string            `json:"path"` // with its query
	Headers map[string]string `json:"headers,omitempty"`
}

// Explanation says what becomes of a request.
type Explanation struct {
	Method     string      `json:"method"`
	Host       string      `json:"host"`
	Path       string      `json:"path"`
	Kind       string      `json:"kind,omitempty"`
	Name       string      `json:"name,omitempty"`
	API        string      `json:"api,omitempty"`
	Stage      string      `json:"stage,omitempty"`
	Below      string      `json:"below,omitempty"`
	Candidates []Candidate `json:"candidates,omitempty"`
	Route      *HostRoute  `json:"route,omitempty"`
	Steps      []Step      `json:"steps"`
	Status     int         `json:"status"` // what the gateway itself answers; 0 when the target does
}

// Candidate is a route whose path fits.
type Candidate struct {
	Key        string            `json:"key"`
	Chosen     bool              `json:"chosen"`
	Reason     string            `json:"reason"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Step is one decision.
type Step struct {
	What string `json:"what"`
	Text string `json:"text"`
}

const routesPath = "/_hansom/v1/routes"

// Hosts lists what answers where, of an app; of all when app is "".
func (cl *Client) Hosts(ctx context.Context, app string) ([]Host, error) {
	var out struct{ Hosts []Host }
	path := routesPath
	if app != "" {
		path += "?app=" + url.QueryEscape(app)
	}
	err := cl.Call(ctx, "GET", path, nil, &out)
	return out.Hosts, err
}

// Explain says what becomes of a request.
func (cl *Client) Explain(ctx context.Context, r WebRequest) (Explanation, error) {
	var out Explanation
	err := cl.Call(ctx, "POST", routesPath+"/explain", r, &out)
	return out, err
}
