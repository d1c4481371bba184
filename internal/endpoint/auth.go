package endpoint

import (
	"net/url"
	"slices"
	"strings"
)

// Kinds of authorization.
const (
	BasicAuth  = "BASIC"
	APIKeyAuth = "API_KEY"
	OAuthAuth  = "OAUTH_CLIENT_CREDENTIALS"
)

// Auth is what requests of a connection carry. Its JSON is that of the API's AuthParameters.
type Auth struct {
	Basic      *Basic      `json:"BasicAuthParameters,omitempty"`
	APIKey     *APIKey     `json:"ApiKeyAuthParameters,omitempty"`
	OAuth      *OAuth      `json:"OAuthParameters,omitempty"`
	Invocation *Parameters `json:"InvocationHttpParameters,omitempty"`
}

// Basic is a name and a password (RFC 7617).
type Basic struct {
	Username string
	Password string `json:",omitempty"`
}

// APIKey is a header and its value.
type APIKey struct {
	Name  string `json:"ApiKeyName"`
	Value string `json:"ApiKeyValue,omitempty"`
}

// OAuth says where a token comes from (RFC 6749, 4.4).
type OAuth struct {
	Client     Client      `json:"ClientParameters"`
	Endpoint   string      `json:"AuthorizationEndpoint"`
	Method     string      `json:"HttpMethod"`
	Parameters *Parameters `json:"OAuthHttpParameters,omitempty"`
}

// Client is who a token is for.
type Client struct {
	ID     string `json:"ClientID"`
	Secret string `json:"ClientSecret,omitempty"`
}

// Parameters are added to requests.
type Parameters struct {
	Header []Parameter `json:"HeaderParameters,omitempty"`
	Query  []Parameter `json:"QueryStringParameters,omitempty"`
	Body   []Parameter `json:"BodyParameters,omitempty"`
}

// Parameter is one of them. The value of a secret one is not shown.
type Parameter struct {
	Key    string
	Value  string `json:",omitempty"`
	Secret bool   `json:"IsValueSecret"`
}

// shown is an Auth without its secrets.
func (a Auth) shown() Auth {
	if a.Basic != nil {
		a.Basic = &Basic{Username: a.Basic.Username}
	}
	if a.APIKey != nil {
		a.APIKey = &APIKey{Name: a.APIKey.Name}
	}
	if a.OAuth != nil {
		o := *a.OAuth
		o.Client.Secret = ""
		o.Parameters = o.Parameters.shown()
		a.OAuth = &o
	}
	a.Invocation = a.Invocation.shown()
	return a
}

func (p *Parameters) shown() *Parameters {
	if p == nil {
		return nil
	}
	hide := func(list []Parameter) []Parameter {
		list = slices.Clone(list)
		for i := range list {
			if list[i].Secret {
				list[i].Value = ""
			}
		}
		return list
	}
	return &Parameters{hide(p.Header), hide(p.Query), hide(p.Body)}
}

// merge is what an Auth of a kind becomes when next is given: what next leaves out stays.
func (a Auth) merge(kind string, next Auth) (Auth, error) {
	out := Auth{Invocation: a.Invocation}
	if next.Invocation != nil {
		out.Invocation = next.Invocation
	}
	set := func(to *string, values ...string) {
		for _, v := range values {
			if v != "" {
				*to = v
			}
		}
	}
	missing := func(what string) (Auth, error) {
		return Auth{}, invalid("AuthParameters are not valid: the authorization type %s needs %s.", kind, what)
	}
	if next.Basic != nil && kind != BasicAuth || next.APIKey != nil && kind != APIKeyAuth || next.OAuth != nil && kind != OAuthAuth {
		return Auth{}, invalid("AuthParameters are not valid: they have parameters of another authorization type than %s.", kind)
	}
	switch kind {
	case BasicAuth:
		out.Basic = &Basic{}
		for _, b := range []*Basic{a.Basic, next.Basic} {
			if b != nil {
				set(&out.Basic.Username, b.Username)
				set(&out.Basic.Password, b.Password)
			}
		}
		if out.Basic.Username == "" || out.Basic.Password == "" {
			return missing("BasicAuthParameters with Username and Password")
		}
	case APIKeyAuth:
		out.APIKey = &APIKey{}
		for _, k := range []*APIKey{a.APIKey, next.APIKey} {
			if k != nil {
				set(&out.APIKey.Name, k.Name)
				set(&out.APIKey.Value, k.Value)
			}
		}
		if out.APIKey.Name == "" || out.APIKey.Value == "" {
			return missing("ApiKeyAuthParameters with ApiKeyName and ApiKeyValue")
		}
	default:
		out.OAuth = &OAuth{}
		for _, o := range []*OAuth{a.OAuth, next.OAuth} {
			if o != nil {
				set(&out.OAuth.Client.ID, o.Client.ID)
				set(&out.OAuth.Client.Secret, o.Client.Secret)
				set(&out.OAuth.Endpoint, o.Endpoint)
				set(&out.OAuth.Method, o.Method)
				if o.Parameters != nil {
					out.OAuth.Parameters = o.Parameters
				}
			}
		}
		if out.OAuth.Client.ID == "" || out.OAuth.Client.Secret == "" || out.OAuth.Endpoint == "" || out.OAuth.Method == "" {
			return missing("OAuthParameters with ClientParameters, AuthorizationEndpoint and HttpMethod")
		}
	}
	return out, out.check()
}

// check refuses what cannot be sent.
func (a Auth) check() error {
	names := []string{}
	if a.APIKey != nil {
		names = append(names, a.APIKey.Name)
	}
	lists := []*Parameters{a.Invocation}
	if a.OAuth != nil {
		if err := checkURL("AuthorizationEndpoint", a.OAuth.Endpoint); err != nil {
			return err
		}
		lists = append(lists, a.OAuth.Parameters)
	}
	for _, p := range lists {
		if p == nil {
			continue
		}
		for _, h := range p.Header {
			names = append(names, h.Key)
		}
		for _, list := range [][]Parameter{p.Header, p.Query, p.Body} {
			if slices.ContainsFunc(list, func(p Parameter) bool { return p.Key == "" }) {
				return invalid("AuthParameters are not valid: a parameter has no Key.")
			}
		}
	}
	for _, name := range names {
		if err := checkHeader(name); err != nil {
			return err
		}
	}
	return nil
}

// ours are the headers that belong to the connection rather than to who sends over it.
var ours = []string{"connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
	"transfer-encoding", "upgrade"}

func checkHeader(name string) error {
	if slices.Contains(ours, strings.ToLower(name)) || !isToken(name) {
		return invalid("The header %s cannot be set.", name)
	}
	return nil
}

// isToken tells whether a name is one of a header (RFC 9110, 5.1).
func isToken(name string) bool {
	return name != "" && strings.Trim(name, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// checkURL holds an endpoint to what can be reached: http or https, a host, no credentials.
func checkURL(what, text string) error {
	host, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "http://"), "/")
	u, err := url.Parse(strings.ReplaceAll(text, "*", "x"))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.Contains(host, "*") {
		return invalid("%s %s is not valid: it must be a URL such as https://example.com/path.", what, text)
	}
	return nil
}
