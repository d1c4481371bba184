package openapi

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// importer fills an API from a document.
type importer struct {
	o            Options
	root         *node
	v31          bool
	api          *api.API
	schemes      map[string]*scheme
	integrations map[*node]string // IDs of those that were made
	faults       []*Fault
	warnings     []*Fault // without places: their words are API Gateway's
	base         string   // path before those of routes
}

func (im *importer) fail(n *node, format string, args ...any) {
	im.faults = append(im.faults, faultf(n, format, args...))
}

func (im *importer) warn(format string, args ...any) {
	im.warnings = append(im.warnings, faultf(nil, format, args...))
}

// unsupported refuses what API Gateway would warn of and leave out: with Strict, else it warns.
func (im *importer) unsupported(n *node, format string, args ...any) {
	if im.o.Strict {
		im.fail(n, format, args...)
	} else {
		im.warn(format+". Ignoring.", args...)
	}
}

// info tells of what is valid, but nothing that HTTP APIs have.
func (im *importer) info(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(im.api.Imported, s) {
		im.api.Imported = append(im.api.Imported, s)
	}
}

// Extensions.
const (
	extension       = "x-amazon-apigateway-"
	extAnyMethod    = extension + "any-method"
	extAuth         = extension + "auth"
	extAuthorizer   = extension + "authorizer"
	extAuthType     = extension + "authtype"
	extCORS         = extension + "cors"
	extEndpoint     = extension + "endpoint-configuration"
	extIntegration  = extension + "integration"
	extIntegrations = extension + "integrations"
	extTagValue     = extension + "tag-value"
	extVersion      = extension + "importexport-version"
)

func (im *importer) document() {
	root := im.root
	if root.kind != object {
		im.fail(root, "the document is %s; it must be an object with openapi, info and paths", root.kind)
		return
	}
	if !im.version() {
		return
	}
	im.about()
	im.cors(root.get(extCORS))
	im.servers(root.get("servers"))
	components := im.object(root.get("components"), "components")
	if n := components.get("schemas"); n != nil && len(n.fields) > 0 {
		im.info("Ignoring %d schemas of components: HTTP APIs do not validate requests.", len(n.fields))
	}
	im.securitySchemes(im.object(components.get("securitySchemes"), "components.securitySchemes"))
	for _, f := range im.fields(components.get(extIntegrations), "components."+extIntegrations) {
		im.integration(f.node, "components."+extIntegrations+"."+f.name)
	}
	for _, f := range root.fields {
		switch name, known := strings.CutPrefix(f.name, extension); {
		case !known, f.name == extCORS, f.name == extVersion, f.name == extEndpoint:
		default:
			im.unsupported(f.node, "%s%s is not supported for HTTP APIs", extension, name)
		}
	}
	if root.get("webhooks") != nil {
		im.info("Ignoring webhooks: an API answers requests, it makes none.")
	}
	paths := root.get("paths")
	if paths == nil {
		if !im.v31 || root.get("components") == nil && root.get("webhooks") == nil {
			im.warn("Parse issue: attribute paths is missing")
		}
		return
	}
	for _, f := range im.fields(paths, "paths") {
		if !strings.HasPrefix(f.name, "x-") {
			im.path(f.name, f.node)
		}
	}
	if len(im.api.Routes) > maxRoutes {
		im.fail(paths, "the document has %d routes; an API can have %d", len(im.api.Routes), maxRoutes)
	}
}

// maxRoutes of an API: API Gateway's quota.
const maxRoutes = 300

var versionPattern = regexp.MustCompile(`^3\.([01])(\.\d+)?([-+].*)?$`)

// version finds out whether this is a document that can be read.
func (im *importer) version() bool {
	if n := im.root.get("swagger"); n != nil {
		im.fail(n, "Swagger %s is not supported: HTTP APIs take OpenAPI 3.0 and 3.1; convert the document", n.text)
		return false
	}
	n := im.root.get("openapi")
	if n == nil {
		im.fail(im.root, "attribute openapi is missing: write the version, such as openapi: 3.0.1")
		return false
	}
	m := versionPattern.FindStringSubmatch(n.text)
	if n.kind < text || m == nil {
		im.fail(n, "OpenAPI %s is not supported: HTTP APIs take 3.0 and 3.1", n.text)
		return false
	}
	im.v31 = m[1] == "1"
	if v := im.root.get(extVersion); v != nil && v.text != "1.0" && v.text != "1" {
		im.fail(v, "%s %s is not supported; the only version is 1.0", extVersion, v.text)
	}
	return true
}

func (im *importer) about() {
	info := im.root.get("info")
	if info == nil {
		im.warn("Parse issue: attribute info is missing")
	}
	info = im.object(info, "info")
	im.api.Name = im.text(info.get("title"), "info.title")
	im.api.Version = im.text(info.get("version"), "info.version")
	im.api.Description = im.text(info.get("description"), "info.description")
	for _, name := range []string{"title", "version"} {
		if info != nil && info.get(name) == nil {
			im.warn("Parse issue: attribute info.%s is missing", name)
		}
	}
	if im.api.Name == "" {
		im.fail(im.root.get("info"), "info.title is missing: it is the name of the API")
	}
	for what, limit := range map[string]struct {
		value string
		most  int
	}{"title": {im.api.Name, 128}, "version": {im.api.Version, 64}, "description": {im.api.Description, 1024}} {
		if n := len([]rune(limit.value)); n > limit.most {
			im.fail(info.get(what), "info.%s has %d characters; the limit is %d", what, n, limit.most)
		}
	}
	for _, n := range im.list(im.root.get("tags"), "tags") {
		name := im.text(im.object(n, "an entry of tags").get("name"), "tags.name")
		if name == "" {
			im.fail(n, "an entry of tags has no name")
			continue
		}
		if im.api.Tags == nil {
			im.api.Tags = map[string]string{}
		}
		im.api.Tags[name] = im.text(n.get(extTagValue), "tags."+name+"."+extTagValue)
	}
}

// servers reads the base path, and whether the API answers at its own host.
func (im *importer) servers(n *node) {
	servers := im.list(n, "servers")
	im.endpoint(im.root.get(extEndpoint))
	if len(servers) == 0 {
		return
	}
	if len(servers) > 1 {
		im.warn("More than one server provided. Ignoring all but the first for defining endpoint configuration")
	}
	server := im.object(servers[0], "servers")
	im.endpoint(server.get(extEndpoint))
	if im.o.Basepath == "" || im.o.Basepath == "ignore" {
		return
	}
	raw := im.text(server.get("url"), "servers.url")
	for _, v := range im.fields(server.get("variables"), "servers.variables") {
		raw = strings.ReplaceAll(raw, "{"+v.name+"}", im.text(v.get("default"), "servers.variables."+v.name+".default"))
	}
	u, err := url.Parse(raw)
	if err != nil || strings.ContainsAny(raw, "{}") {
		im.fail(server.get("url"), "servers.url %s is no URL of which the path could be taken; give each variable a default", quote(raw))
		return
	}
	base := strings.Trim(regexp.MustCompile("/+").ReplaceAllString(u.Path, "/"), "/")
	if im.o.Basepath == "split" {
		_, base, _ = strings.Cut(base, "/")
	}
	if base != "" {
		im.base = "/" + base
	}
}

func (im *importer) endpoint(n *node) {
	for _, f := range im.fields(n, extEndpoint) {
		if f.name == "disableExecuteApiEndpoint" {
			im.api.EndpointOff = im.boolean(f.node, f.name)
		} else {
			im.unsupported(f.node, "%s.%s is not supported for HTTP APIs", extEndpoint, f.name)
		}
	}
}

// methods of a path item, and what their routes are called.
var methods = map[string]string{
	"get": "GET", "put": "PUT", "post": "POST", "delete": "DELETE", "options": "OPTIONS", "head": "HEAD", "patch": "PATCH", extAnyMethod: "ANY",
}

func (im *importer) path(name string, n *node) {
	path := name
	switch isDefault := name == api.DefaultRoute || name == "/"+api.DefaultRoute; {
	case name == api.DefaultRoute:
		im.warn("Parse issue: attribute paths. Resource %s should start with /", name)
		path = ""
	case isDefault:
		path = ""
	case !strings.HasPrefix(name, "/"):
		im.fail(n, "attribute paths. Resource %s should start with /", name)
		return
	case im.base != "":
		path = strings.TrimSuffix(im.base+name, "/")
	}
	if err := checkPath(path); err != nil {
		im.fail(n, "Unable to create routes at path '%s': %s", name, err)
		return
	}
	item := im.object(im.follow(n), "paths.'"+name+"'")
	for _, f := range item.each() {
		method := methods[f.name]
		switch {
		case method != "" && path == "" && method != "ANY":
			im.fail(f.node, "paths.'%s' has %s; the route %s takes %s alone", name, f.name, api.DefaultRoute, extAnyMethod)
		case method != "":
			im.operation(name, f, method+" "+path)
		case f.name == "trace", f.name == "query", f.name == "additionalOperations":
			im.unsupported(f.node, "paths.'%s'(%s) is not supported for HTTP APIs", name, f.name)
		case strings.HasPrefix(f.name, extension):
			im.unsupported(f.node, "%s of paths.'%s' is not supported for HTTP APIs", f.name, name)
		case strings.HasPrefix(f.name, "x-"):
		case !slices.Contains([]string{"$ref", "summary", "description", "servers", "parameters"}, f.name):
			im.warn("Parse issue: attribute paths.'%s'.%s is unexpected", name, f.name)
		}
	}
}

var (
	paramPattern   = regexp.MustCompile(`^\{[a-zA-Z0-9._:-]+\+?\}$`)
	segmentPattern = regexp.MustCompile(`^[^{}?#\s]*$`)
)

// checkPath says what is wrong with the path of routes; "" is that of $default.
func checkPath(path string) error {
	seen := map[string]bool{}
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		name := strings.Trim(s, "{+}")
		switch {
		case segmentPattern.MatchString(s):
			continue
		case !paramPattern.MatchString(s):
			return fmt.Errorf("the segment %s is neither plain text nor one parameter, such as {id} or, at the end, {proxy+}", quote(s))
		case strings.HasSuffix(s, "+}") && i < len(segments)-1:
			return fmt.Errorf("%s takes all that remains and must come last", s)
		case seen[name]:
			return fmt.Errorf("the parameter %s is there twice", name)
		}
		seen[name] = true
	}
	return nil
}

func (im *importer) operation(path string, f field, key string) {
	if strings.HasSuffix(key, " ") {
		key = api.DefaultRoute
	}
	where := "paths.'" + path + "'(" + f.name + ")"
	op := im.object(f.node, where)
	if op == nil {
		return
	}
	if slices.ContainsFunc(im.api.Routes, func(r api.Route) bool { return r.Key == key }) {
		im.fail(op, "Route with key %s already exists for this API", key)
		return
	}
	r := api.Route{ID: im.o.ID(), Key: key, Operation: im.text(op.get("operationId"), where+".operationId")}
	if n := op.get(extIntegration); n != nil {
		r.Integration = im.integration(n, where+"."+extIntegration)
	}
	im.authorize(&r, op, where)
	for _, x := range op.fields {
		switch x.name {
		case extIntegration, extAuth:
		case "requestBody":
			im.info("Ignoring the bodies that operations describe: HTTP APIs do not validate requests.")
		default:
			if strings.HasPrefix(x.name, extension) {
				im.unsupported(x.node, "%s of %s is not supported for HTTP APIs", x.name, where)
			}
		}
	}
	im.models(op, where)
	im.api.Routes = append(im.api.Routes, r)
}

// models looks for schemas that an operation names and that are not there.
func (im *importer) models(op *node, where string) {
	missing := func(body *node, where string) {
		for _, media := range im.follow(body).get("content").each() {
			if ref := media.get("schema").get("$ref"); ref != nil && strings.HasPrefix(ref.text, "#/") && im.root.at(ref.text[2:]) == nil {
				im.warn("Parse issue: attribute %s.content.schema.%s is missing", where, ref.text)
			}
		}
	}
	missing(op.get("requestBody"), where+".requestBody")
	responses := op.get("responses")
	if responses == nil && !im.v31 {
		im.warn("Parse issue: attribute %s.responses is missing", where)
	}
	for _, f := range responses.each() {
		missing(f.node, where+".responses."+f.name)
	}
}

// each are the fields of an object, or none.
func (n *node) each() []field {
	if n == nil {
		return nil
	}
	return n.fields
}

// follow resolves a reference within the document; what is none stays. It returns nil after it told what is wrong.
func (im *importer) follow(n *node) *node {
	for range 16 {
		ref := n.get("$ref")
		if ref == nil {
			return n
		}
		pointer, ok := strings.CutPrefix(ref.text, "#/")
		if !ok {
			im.fail(ref, "$ref %s leaves the document; only references within it, such as #/components/..., are followed", quote(ref.text))
			return nil
		}
		target := im.root.at(pointer)
		if target == nil {
			im.fail(ref, "$ref %s names nothing in the document", quote(ref.text))
			return nil
		}
		n = target
	}
	im.fail(n, "$ref goes round in circles")
	return nil
}

// object returns n when it is an object; nil stays nil, and what is something else is a fault.
func (im *importer) object(n *node, what string) *node { return im.of(n, object, what) }

func (im *importer) of(n *node, k kind, what string) *node {
	if n == nil || n.kind == k {
		return n
	}
	im.fail(n, "attribute %s is not of type `%s`", what, [...]string{"null", "object", "array", "string", "number", "boolean"}[k])
	return nil
}

func (im *importer) fields(n *node, what string) []field { return im.object(n, what).each() }

func (im *importer) list(n *node, what string) []*node {
	if n = im.of(n, array, what); n == nil {
		return nil
	}
	return n.items
}

// text of a scalar, as it is written: 1.0 stays "1.0".
func (im *importer) text(n *node, what string) string {
	if n == nil || n.kind == null {
		return ""
	}
	if n.kind < text {
		im.of(n, text, what)
		return ""
	}
	return n.text
}

func (im *importer) texts(n *node, what string) []string {
	var out []string
	for _, item := range im.list(n, what) {
		if item = im.of(item, text, what); item != nil {
			out = append(out, item.text)
		}
	}
	return out
}

func (im *importer) boolean(n *node, what string) bool {
	if n != nil && n.kind == text && (n.text == "true" || n.text == "false") { // templates write them so
		return n.text == "true"
	}
	n = im.of(n, boolean, what)
	return n != nil && n.text == "true"
}
