package openapi

import (
	"maps"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// ExportOptions say how a document is written.
type ExportOptions struct {
	Specification string // "OAS30", or "OAS31", which API Gateway has not
	Output        string // "JSON" or "YAML"
	Version       string // of the algorithm: "1.0", which "" means too
	NoExtensions  bool   // leaves out what only API Gateway understands: integrations and authorizers
	Endpoint      string // URL of the API
	Stage         string // the exported one; "" is the API as it is configured
}

// Export writes an API as an OpenAPI document: what s has of it, which is what a stage deployed, or what is configured when s is
// nil. Import makes the same API of it. Errors: Invalid.
func Export(a *api.API, s *api.Snapshot, o ExportOptions) ([]byte, error) {
	const op = "export api"
	switch {
	case o.Specification != "OAS30" && o.Specification != "OAS31":
		return nil, hansom.Errorf(hansom.Invalid, op, "specification %q is not supported; there are OAS30 and OAS31", o.Specification)
	case o.Output != "JSON" && o.Output != "YAML":
		return nil, hansom.Errorf(hansom.Invalid, op, "outputType %q must be JSON or YAML", o.Output)
	case o.Version != "" && o.Version != "1.0":
		return nil, hansom.Errorf(hansom.Invalid, op, "exportVersion %q is not supported; the only version is 1.0", o.Version)
	}
	if s == nil {
		s = &api.Snapshot{Routes: a.Routes, Integrations: a.Integrations, Authorizers: a.Authorizers, CORS: a.CORS}
	}
	e := exporter{api: a, s: s, o: o, names: map[string]string{}, refs: map[string]string{}}
	doc := e.document()
	if o.Output == "YAML" {
		return appendYAML(nil, doc, ""), nil
	}
	return append(appendJSON(nil, doc, ""), '\n'), nil
}

// exporter writes one API.
type exporter struct {
	api   *api.API
	s     *api.Snapshot
	o     ExportOptions
	names map[string]string // of authorizers' schemes, by ID; authIAM and apiKeyName have some, too
	refs  map[string]string // of integrations among the components, by ID
}

func (e *exporter) document() members {
	info := members{{"title", e.api.Name}}
	info.add("description", e.api.Description)
	version := e.api.Version
	if version == "" { // the document must have one
		version = e.api.Created.UTC().Format("2006-01-02 15:04:05") + "UTC"
	}
	info = append(info, member{"version", version})
	doc := members{{"openapi", "3.0.1"}, {"info", info}}
	if e.o.Specification == "OAS31" {
		doc[0].value = "3.1.0"
	}
	doc.add("servers", e.servers())
	doc.add("tags", e.tags())
	schemes := e.securitySchemes()
	integrations := e.integrations()
	doc = append(doc, member{"paths", e.paths()})
	var components members
	components.add("securitySchemes", schemes)
	components.add(extIntegrations, integrations)
	doc.add("components", components)
	if !e.o.NoExtensions {
		doc.add(extCORS, corsMembers(e.s.CORS))
		doc = append(doc, member{extVersion, "1.0"})
	}
	return doc
}

func (e *exporter) servers() []any {
	var server members
	if e.o.Endpoint != "" {
		base := ""
		if e.o.Stage != api.DefaultStage {
			base = e.o.Stage
		}
		server = members{
			{"url", strings.TrimSuffix(e.o.Endpoint, "/") + "/{basePath}"},
			{"variables", members{{"basePath", members{{"default", base}}}}},
		}
	}
	if e.api.EndpointOff && !e.o.NoExtensions {
		if server == nil {
			server = members{{"url", "/"}}
		}
		server = append(server, member{extEndpoint, members{{"disableExecuteApiEndpoint", true}}})
	}
	if server == nil {
		return nil
	}
	return []any{server}
}

func (e *exporter) tags() []any {
	var out []any
	for _, name := range slices.Sorted(maps.Keys(e.api.Tags)) {
		tag := members{{"name", name}}
		if !e.o.NoExtensions {
			tag.add(extTagValue, e.api.Tags[name])
		}
		out = append(out, tag)
	}
	return out
}

// name finds a name for a security scheme that no other has.
func (e *exporter) name(id, wanted string) string {
	taken := slices.Collect(maps.Values(e.names))
	for slices.Contains(taken, wanted) {
		wanted += "_"
	}
	e.names[id] = wanted
	return wanted
}

func (e *exporter) securitySchemes() members {
	var out members
	if e.o.NoExtensions {
		return nil // what an authorizer checks has no words without them
	}
	for _, a := range e.s.Authorizers {
		out = append(out, member{e.name(a.ID, a.Name), scheme30(&a)})
	}
	needs := func(of func(r api.Route) bool) bool { return slices.ContainsFunc(e.s.Routes, of) }
	if needs(func(r api.Route) bool { return r.Authorization == authIAM }) {
		out = append(out, member{e.name(authIAM, "sigv4"), append(apiKeyScheme("Authorization"), member{extAuthType, sigv4})})
	}
	if needs(func(r api.Route) bool { return r.KeyRequired }) {
		out = append(out, member{e.name(apiKeyName, "api_key"), apiKeyScheme(apiKeyName)})
	}
	return out
}

func apiKeyScheme(header string) members {
	return members{{"type", "apiKey"}, {"name", header}, {"in", "header"}}
}

func scheme30(a *api.Authorizer) members {
	ext := members{{"type", strings.ToLower(a.Type)}}
	ext.add("identitySource", strings.Join(a.Sources, ", "))
	if a.Type == api.JWT {
		ext = append(ext, member{"jwtConfiguration", members{{"issuer", a.Issuer}, {"audience", list(a.Audience)}}})
		return members{{"type", "oauth2"}, {"flows", members{}}, {extAuthorizer, ext}}
	}
	ext = append(ext, member{"authorizerUri", a.URI})
	ext.add("authorizerCredentials", a.Credentials)
	ext.add("authorizerPayloadFormatVersion", a.Payload)
	ext = append(ext, member{"authorizerResultTtlInSeconds", a.TTL})
	if a.Payload != "1.0" {
		ext = append(ext, member{"enableSimpleResponses", a.Simple})
	}
	header := "Unused"
	if len(a.Sources) == 1 {
		if name, ok := strings.CutPrefix(a.Sources[0], "$request.header."); ok {
			header = name
		}
	}
	return append(apiKeyScheme(header), member{extAuthorizer, ext})
}

// integrations are those that stand among the components: those that not exactly one route has.
func (e *exporter) integrations() members {
	if e.o.NoExtensions {
		return nil
	}
	uses := map[string]int{}
	for _, r := range e.s.Routes {
		uses[r.Integration]++
	}
	var out members
	for _, x := range e.s.Integrations {
		if uses[x.ID] != 1 {
			e.refs[x.ID] = x.ID
			out = append(out, member{x.ID, integrationMembers(&x)})
		}
	}
	return out
}

func integrationMembers(x *api.Integration) members {
	var out members
	out.add("description", x.Description)
	out.add("integrationSubtype", x.Subtype)
	out.add("credentials", x.Credentials)
	out.add("payloadFormatVersion", x.Payload)
	out = append(out, member{"type", strings.ToLower(x.Type)})
	out.add("httpMethod", x.Method)
	out.add("uri", x.URI)
	out = append(out, member{"connectionType", "INTERNET"})
	if x.Timeout > 0 {
		out = append(out, member{"timeoutInMillis", x.Timeout})
	}
	out.add("requestParameters", sorted(x.Parameters))
	var responses members
	for _, status := range slices.Sorted(maps.Keys(x.Responses)) {
		responses = append(responses, member{status, sorted(x.Responses[status])})
	}
	out.add("responseParameters", responses)
	if x.ServerName != "" {
		out = append(out, member{"tlsConfig", members{{"serverNameToVerify", x.ServerName}}})
	}
	return out
}

func sorted(m map[string]string) members {
	var out members
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, member{k, m[k]})
	}
	return out
}

func corsMembers(c *hansom.CORS) members {
	if c == nil {
		return nil
	}
	var out members
	out.add("allowOrigins", list(c.AllowOrigins))
	out.add("allowMethods", list(c.AllowMethods))
	out.add("allowHeaders", list(c.AllowHeaders))
	out.add("exposeHeaders", list(c.ExposeHeaders))
	if c.AllowCredentials != nil {
		out = append(out, member{"allowCredentials", *c.AllowCredentials})
	}
	if c.MaxAge != nil {
		out = append(out, member{"maxAge", *c.MaxAge})
	}
	return out
}

// paths are the routes by path, then in the order of methods' names.
func (e *exporter) paths() members {
	items := map[string]members{}
	for _, r := range slices.SortedFunc(slices.Values(e.s.Routes), func(x, y api.Route) int { return strings.Compare(x.Key, y.Key) }) {
		method, path, ok := strings.Cut(r.Key, " ")
		if !ok {
			method, path = "ANY", "/"+r.Key
		}
		name := strings.ToLower(method)
		if method == "ANY" {
			name = extAnyMethod
		}
		items[path] = append(items[path], member{name, e.operation(&r)})
	}
	out := members{}
	for _, path := range slices.Sorted(maps.Keys(items)) {
		item := items[path]
		var parameters []any
		for _, m := range braces.FindAllString(path, -1) {
			parameters = append(parameters, members{
				{"name", m[1 : len(m)-1]}, {"in", "path"}, {"description", "Generated path parameter for " + m[1:len(m)-1]}, {"required", true},
				{"schema", members{{"type", "string"}}},
			})
		}
		item.add("parameters", parameters)
		out = append(out, member{path, item})
	}
	return out
}

func (e *exporter) operation(r *api.Route) members {
	var out members
	out.add("operationId", r.Operation)
	out = append(out, member{"responses", members{{"default", members{{"description", "Default response for " + r.Key}}}}})
	if e.o.NoExtensions {
		return out
	}
	if r.Key == api.DefaultRoute {
		out = append(out, member{"isDefaultRoute", true})
	}
	var requirement members
	switch {
	case r.Authorization == authIAM:
		requirement = append(requirement, member{e.names[authIAM], []any{}})
	case r.Authorizer != "":
		scopes := list(r.Scopes)
		if scopes == nil {
			scopes = []any{}
		}
		requirement = append(requirement, member{e.names[r.Authorizer], scopes})
	}
	if r.KeyRequired {
		requirement = append(requirement, member{e.names[apiKeyName], []any{}})
	}
	if requirement != nil {
		out = append(out, member{"security", []any{requirement}})
	}
	for _, x := range e.s.Integrations {
		if x.ID != r.Integration {
			continue
		}
		if ref := e.refs[x.ID]; ref != "" {
			out = append(out, member{extIntegration, members{{"$ref", "#/components/" + extIntegrations + "/" + ref}}})
		} else {
			out = append(out, member{extIntegration, integrationMembers(&x)})
		}
	}
	return out
}
