package openapi

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// Authorization of routes.
const (
	authNone   = "NONE"
	authIAM    = "AWS_IAM"
	authJWT    = "JWT"
	authCustom = "CUSTOM"
)

// scheme is a security scheme as routes use it. One that is broken has been told of.
type scheme struct {
	authorization string // "" when it is an API key, or nothing that an API can check
	authorizer    string // ID
	key, broken   bool
	kind          string // type of the scheme, for faults
}

const (
	discovery   = "/.well-known/openid-configuration"
	defaultTTL  = 300 // s
	maxTTL      = 3600
	bearer      = "$request.header.Authorization"
	sigv4       = "awsSigv4"
	apiKeyName  = "x-api-key"
	maxIdentity = 10 // identity sources
)

var (
	sourcePattern = regexp.MustCompile(`^\$(request\.(header|querystring)\.[^\s,]+|context\.[A-Za-z0-9_.]+|stageVariables\.[A-Za-z0-9_]+)$`)
	authorizerKey = []string{
		"type", "identitySource", "jwtConfiguration", "authorizerUri", "authorizerCredentials", "authorizerPayloadFormatVersion",
		"authorizerResultTtlInSeconds", "enableSimpleResponses",
	}
)

func (im *importer) securitySchemes(n *node) {
	for _, f := range n.each() {
		im.schemes[f.name] = im.scheme(f.name, f.node)
	}
}

func (im *importer) scheme(name string, n *node) *scheme {
	where := "components.securitySchemes." + name
	n = im.object(im.follow(n), where)
	if n == nil {
		return &scheme{broken: true}
	}
	s := &scheme{kind: im.text(n.get("type"), where+".type")}
	authType := im.text(n.get(extAuthType), where+"."+extAuthType)
	known := slices.IndexFunc(im.o.Authorizers, func(a api.Authorizer) bool { return a.Name == name })
	switch ext := im.object(n.get(extAuthorizer), where+"."+extAuthorizer); {
	case ext != nil:
		im.authorizer(s, name, n, ext, where+"."+extAuthorizer)
	case n.get(extAuthorizer) != nil:
		s.broken = true
	case strings.EqualFold(authType, sigv4):
		s.authorization = authIAM
	case known >= 0:
		a := im.o.Authorizers[known]
		im.add(s, a)
	case s.kind == "apiKey" && n.get("in") != nil && n.get("in").text == "header" && n.get("name") != nil && strings.EqualFold(n.get("name").text, apiKeyName):
		s.key = true
	}
	return s
}

func (im *importer) add(s *scheme, a api.Authorizer) {
	s.authorizer, s.authorization = a.ID, authCustom
	if a.Type == api.JWT {
		s.authorization = authJWT
	}
	im.api.Authorizers = append(im.api.Authorizers, a)
}

// authorizer reads x-amazon-apigateway-authorizer.
func (im *importer) authorizer(s *scheme, name string, n, ext *node, where string) {
	before := len(im.faults)
	a := api.Authorizer{Name: name, Sources: im.sources(ext.get("identitySource"), where+".identitySource")}
	switch kind := im.text(ext.get("type"), where+".type"); strings.ToLower(kind) {
	case "jwt":
		a.Type = api.JWT
		im.jwt(&a, n, ext, where)
	case "request":
		a.Type = api.Request
		im.request(&a, ext, where)
	case "":
		im.fail(ext, "Unable to create Authorizer '%s': attribute %s.type is missing: it is jwt or request", name, where)
	default:
		im.fail(ext.get("type"), "Unable to create Authorizer '%s': the type %s is not supported: HTTP APIs have jwt and request", name, quote(kind))
	}
	for _, f := range ext.fields {
		if !slices.Contains(authorizerKey, f.name) {
			im.unsupported(f.node, "%s.%s is not supported for HTTP APIs", where, f.name)
		}
	}
	if s.broken = len(im.faults) > before; !s.broken {
		a.ID = im.o.ID()
		im.add(s, a)
	}
}

func (im *importer) jwt(a *api.Authorizer, n, ext *node, where string) {
	c := im.object(ext.get("jwtConfiguration"), where+".jwtConfiguration")
	a.Issuer = im.value(c.get("issuer"), where+".jwtConfiguration.issuer", false)
	a.Audience = im.texts(c.get("audience"), where+".jwtConfiguration.audience")
	at := cmp.Or(c.get("issuer"), n.get("openIdConnectUrl"), ext)
	if a.Issuer == "" {
		whole := im.value(n.get("openIdConnectUrl"), "openIdConnectUrl", false)
		issuer, ok := strings.CutSuffix(whole, discovery)
		if whole != "" && !ok {
			im.fail(at, "Unable to create Authorizer '%s': openIdConnectUrl %s must end with %s", a.Name, quote(whole), discovery)
			return
		}
		a.Issuer = issuer
	}
	switch u, err := url.Parse(a.Issuer); {
	case a.Issuer == "":
		im.fail(at, "Unable to create Authorizer '%s': the issuer is missing: write jwtConfiguration.issuer or openIdConnectUrl", a.Name)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		im.fail(at, "Unable to create Authorizer '%s': the issuer %s must be a URL", a.Name, quote(a.Issuer))
	}
	if len(a.Audience) == 0 {
		im.fail(cmp.Or(c.get("audience"), c, ext), "Unable to create Authorizer '%s': jwtConfiguration.audience must name at least one audience", a.Name)
	}
	if len(a.Sources) == 0 {
		a.Sources = []string{bearer}
	}
	if len(a.Sources) > 1 {
		im.fail(ext.get("identitySource"), "Unable to create Authorizer '%s': identitySource of a JWT authorizer is one expression", a.Name)
	}
}

func (im *importer) request(a *api.Authorizer, ext *node, where string) {
	uri := ext.get("authorizerUri")
	a.URI = im.value(uri, where+".authorizerUri", true)
	if _, _, _, ok := api.FunctionOf(a.URI); !ok {
		im.fail(cmp.Or(uri, ext), "Unable to create Authorizer '%s': authorizerUri %s must be the ARN of a function, or arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations", a.Name, quote(a.URI))
	}
	a.Credentials = im.value(ext.get("authorizerCredentials"), where+".authorizerCredentials", false)
	payload := ext.get("authorizerPayloadFormatVersion")
	if payload == nil && im.o.Payload == "" {
		im.fail(ext, "Unable to create Authorizer '%s': AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer", a.Name)
	}
	a.Payload = im.payload(payload, where+".authorizerPayloadFormatVersion")
	if simple := ext.get("enableSimpleResponses"); simple != nil {
		a.Simple = im.boolean(simple, where+".enableSimpleResponses")
		if a.Simple && a.Payload == "1.0" {
			im.fail(simple, "Unable to create Authorizer '%s': enableSimpleResponses needs authorizerPayloadFormatVersion 2.0", a.Name)
		}
	}
	if ttl := ext.get("authorizerResultTtlInSeconds"); ttl != nil {
		v, err := strconv.Atoi(ttl.text)
		if err != nil || v < 0 || v > maxTTL {
			im.fail(ttl, "Unable to create Authorizer '%s': authorizerResultTtlInSeconds %s is out of range: 0 to %d", a.Name, quote(ttl.text), maxTTL)
		}
		if v > 0 && len(a.Sources) == 0 {
			im.fail(ttl, "Unable to create Authorizer '%s': authorizerResultTtlInSeconds needs identitySource, by which answers are kept", a.Name)
		}
		a.TTL = v
	} else if len(a.Sources) > 0 {
		a.TTL = defaultTTL
	}
}

// sources splits an identitySource. Those of REST APIs are taken as what they are called in HTTP APIs.
func (im *importer) sources(n *node, where string) []string {
	var out []string
	list := []string{}
	if n != nil && n.kind == array {
		list = im.texts(n, where)
	} else if s := im.text(n, where); strings.TrimSpace(s) != "" {
		list = strings.Split(s, ",")
	}
	for _, s := range list {
		s = strings.TrimSpace(s)
		if rest, ok := strings.CutPrefix(s, "method.request."); ok {
			s = "$request." + rest
		} else if strings.HasPrefix(s, "context.") || strings.HasPrefix(s, "stageVariables.") {
			s = "$" + s
		}
		if !sourcePattern.MatchString(s) {
			im.fail(n, "%s %s must be expressions such as %s", where, quote(s), bearer)
		}
		out = append(out, s)
	}
	if len(out) > maxIdentity {
		im.fail(n, "%s has %d expressions; the limit is %d", where, len(out), maxIdentity)
	}
	return out
}

// authorize sets who may call a route. What cannot be checked is a fault, never an open route.
func (im *importer) authorize(r *api.Route, op *node, where string) {
	r.Authorization = authNone
	security := op.get("security")
	if security == nil {
		security = im.root.get("security")
	}
	optional, several := false, false
	for _, requirement := range im.list(security, where+".security") {
		fields := im.fields(requirement, where+".security")
		optional = optional || len(fields) == 0
		for _, f := range fields {
			s := im.schemes[f.name]
			switch {
			case s == nil && f.name == authNone: // as AWS SAM writes it
				optional = true
			case s == nil:
				im.fail(f.node, "%s.security names %s, which is not in components.securitySchemes", where, quote(f.name))
			case s.broken:
			case s.key:
				r.KeyRequired = true
			case s.authorization == "":
				im.fail(f.node, "Unsupported security definition type '%s' for '%s' of %s: HTTP APIs check %s, %s %s and the API key %s", s.kind, f.name, where, extAuthorizer, extAuthType, sigv4, apiKeyName)
			case r.Authorization != authNone:
				several = true
			default:
				r.Authorization, r.Authorizer = s.authorization, s.authorizer
				r.Scopes = im.texts(f.node, where+".security."+f.name)
				if len(r.Scopes) > 0 && s.authorization != authJWT {
					im.fail(f.node, "%s.security.%s has scopes; only JWT authorizers check them", where, f.name)
				}
			}
		}
	}
	if several || optional && (r.Authorization != authNone || r.KeyRequired) {
		im.fail(security, "%s has multiple security requirements: an operation has one of IAM authorization, a Lambda authorizer and a JWT authorizer, and it is not optional", where)
	}
	im.auth(r, im.object(op.get(extAuth), where+"."+extAuth), where)
}

// auth reads x-amazon-apigateway-auth, which stands above security.
func (im *importer) auth(r *api.Route, n *node, where string) {
	if n == nil {
		return
	}
	switch kind := im.text(n.get("type"), where+"."+extAuth+".type"); strings.ToUpper(kind) {
	case authNone:
		r.Authorization, r.Authorizer, r.Scopes = authNone, "", nil
	case authIAM:
		r.Authorization, r.Authorizer, r.Scopes = authIAM, "", nil
	default:
		im.fail(n, "%s.%s.type %s is not supported; it is NONE or AWS_IAM", where, extAuth, quote(kind))
	}
}
