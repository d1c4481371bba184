package openapi

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

// restProperties of an integration are those of REST APIs. In a proxy integration they mean nothing.
var restProperties = []string{"passthroughBehavior", "contentHandling", "cacheNamespace", "cacheKeyParameters", "requestTemplates", "responses"}

var properties = []string{
	"type", "httpMethod", "uri", "payloadFormatVersion", "timeoutInMillis", "integrationSubtype", "requestParameters", "responseParameters",
	"credentials", "connectionType", "connectionId", "tlsConfig", "description",
}

var subtypes = []string{api.SubtypeSQS, api.SubtypeEvents, api.SubtypeSite, api.SubtypeRedirect, api.SubtypeFixed}

const (
	defaultTimeout = 30_000 // ms
	minTimeout     = 50
)

var (
	requestKey  = regexp.MustCompile(`^(append|overwrite|remove):(header|querystring)\.[^\s]+$|^overwrite:path$`)
	responseKey = regexp.MustCompile(`^(append|overwrite|remove):header\.[^\s]+$|^overwrite:statuscode$`)
	statusKey   = regexp.MustCompile(`^[2-5]\d\d$`)
	variables   = regexp.MustCompile(`\$\{[^{}]*\}`)
	braces      = regexp.MustCompile(`\{[^{}]*\}`)
)

// integration makes what an x-amazon-apigateway-integration says, once for each that is referred to, and returns its ID. It is "" after
// a fault, and when nothing answers because the type is not supported.
func (im *importer) integration(n *node, where string) string {
	n = im.object(im.follow(n), where)
	if n == nil {
		return ""
	}
	if id, done := im.integrations[n]; done {
		return id
	}
	im.integrations[n] = ""
	before := len(im.faults)
	x := api.Integration{
		Type:        strings.ToUpper(strings.ReplaceAll(im.text(n.get("type"), where+".type"), "-", "_")),
		Subtype:     im.text(n.get("integrationSubtype"), where+".integrationSubtype"),
		URI:         im.value(n.get("uri"), where+".uri", true),
		Method:      strings.ToUpper(im.text(n.get("httpMethod"), where+".httpMethod")),
		Payload:     im.payload(n.get("payloadFormatVersion"), where+".payloadFormatVersion"),
		Timeout:     defaultTimeout,
		Description: im.text(n.get("description"), where+".description"),
		Credentials: im.value(n.get("credentials"), where+".credentials", false),
		ServerName:  im.text(im.object(n.get("tlsConfig"), where+".tlsConfig").get("serverNameToVerify"), where+".tlsConfig.serverNameToVerify"),
	}
	if t := n.get("timeoutInMillis"); t != nil {
		v, err := strconv.Atoi(t.text)
		if err != nil || v < minTimeout || v > defaultTimeout {
			im.fail(t, "%s.timeoutInMillis %s is out of range: %d to %d", where, quote(t.text), minTimeout, defaultTimeout)
		}
		x.Timeout = v
	}
	im.properties(n, where)
	if !im.kind(n, &x, where) || len(im.faults) > before {
		return ""
	}
	im.parameters(n, &x, where)
	if len(im.faults) > before {
		return ""
	}
	x.ID = im.o.ID()
	im.integrations[n] = x.ID
	im.api.Integrations = append(im.api.Integrations, x)
	return x.ID
}

// properties tells of those that mean nothing.
func (im *importer) properties(n *node, where string) {
	for _, f := range n.fields {
		switch {
		case slices.Contains(restProperties, f.name):
			im.info("Ignoring %s of integrations: it is not supported for HTTP APIs.", f.name)
		case !slices.Contains(properties, f.name):
			im.unsupported(f.node, "%s.%s is not known", where, f.name)
		}
	}
	for _, f := range n.get("tlsConfig").each() {
		if f.name != "serverNameToVerify" {
			im.unsupported(f.node, "%s.tlsConfig.%s is not supported for HTTP APIs", where, f.name)
		}
	}
	if c := n.get("connectionType"); c != nil && !strings.EqualFold(c.text, "INTERNET") {
		im.fail(c, "%s.connectionType %s is not supported: there are no VPC links; use INTERNET", where, quote(c.text))
	} else if c := n.get("connectionId"); c != nil {
		im.fail(c, "%s.connectionId is not supported: there are no VPC links", where)
	}
}

// kind checks what an integration leads to. It is false when the type is not supported, which has been told.
func (im *importer) kind(n *node, x *api.Integration, where string) bool {
	at := n
	if u := n.get("uri"); u != nil {
		at = u
	}
	switch x.Type {
	case "":
		im.fail(n, "attribute %s.type is missing: it is aws_proxy or http_proxy", where)
	case "MOCK", "AWS", "HTTP":
		im.unsupported(n.get("type"), "%s: the integration type %s is not supported: HTTP APIs have aws_proxy and http_proxy", where, n.get("type").text)
		return false
	case api.HTTPProxy:
		switch u, err := url.Parse(braces.ReplaceAllString(variables.ReplaceAllString(x.URI, "x"), "x")); {
		case x.Subtype != "":
			im.fail(n.get("integrationSubtype"), "%s.integrationSubtype is for aws_proxy", where)
		case x.URI == "":
			im.fail(n, "attribute %s.uri is missing: write the URL that answers", where)
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
			im.fail(at, "Invalid HTTP endpoint specified for URI: %s.uri %s must be a URL with http or https", where, quote(x.URI))
		}
		x.Payload = "1.0" // the only one
	case api.AWSProxy:
		if x.Subtype != "" {
			im.subtype(n, x, where)
			return true
		}
		if _, _, _, ok := api.FunctionOf(x.URI); !ok {
			im.fail(at, "%s.uri %s must be the ARN of a function, or arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations", where, quote(x.URI))
		}
		if x.Method == "" {
			x.Method = "POST"
		}
		if x.Method != "POST" {
			im.fail(n.get("httpMethod"), "%s.httpMethod must be POST: functions are invoked with it", where)
		}
		if x.ServerName != "" {
			im.fail(n.get("tlsConfig"), "%s.tlsConfig is for http_proxy", where)
		}
	default:
		im.fail(n.get("type"), "%s.type %s is not known: HTTP APIs have aws_proxy and http_proxy", where, quote(n.get("type").text))
	}
	return true
}

func (im *importer) subtype(n *node, x *api.Integration, where string) {
	at := n.get("integrationSubtype")
	i := slices.IndexFunc(subtypes, func(s string) bool { return strings.EqualFold(s, x.Subtype) })
	if i < 0 {
		im.fail(at, "%s.integrationSubtype %s is not supported; there are %s", where, quote(x.Subtype), strings.Join(subtypes, ", "))
		return
	}
	x.Subtype, x.Payload, x.Method = subtypes[i], "1.0", ""
	if x.URI != "" {
		im.fail(n.get("uri"), "%s.uri does not go with integrationSubtype, which says what answers", where)
	}
}

// payload is a payloadFormatVersion. Documents have it as a number, too.
func (im *importer) payload(n *node, where string) string {
	switch s := im.text(n, where); s {
	case "":
		if im.o.Payload != "" {
			return im.o.Payload
		}
		return "1.0"
	case "1.0", "1":
		return "1.0"
	case "2.0", "2":
		return "2.0"
	default:
		im.fail(n, "%s %s must be 1.0 or 2.0", where, quote(s))
		return ""
	}
}

// value is a text with its ${variables} filled in. Those that are not known stay, for the gateway to fill in at each request, but in a
// URI only those of the stage.
func (im *importer) value(n *node, where string, uri bool) string {
	return variables.ReplaceAllStringFunc(im.text(n, where), func(s string) string {
		name := strings.TrimSpace(s[2 : len(s)-1])
		if im.o.Variable != nil {
			if v, ok := im.o.Variable(name); ok {
				return v
			}
		}
		if strings.Contains(name, "::") || uri && !strings.HasPrefix(name, "stageVariables.") {
			im.fail(n, "%s has the variable %s, which is not known", where, s)
		}
		return s
	})
}

// parameters reads the mappings of requests and responses, or the parameters of a subtype.
func (im *importer) parameters(n *node, x *api.Integration, where string) {
	for _, f := range im.fields(n.get("requestParameters"), where+".requestParameters") {
		if f.kind != text {
			im.warn("Invalid format for 'requestParameters'. Expected type string for property '%s' of %s but got '%s'", f.name, where, f.text)
			continue
		}
		if x.Subtype == "" && !requestKey.MatchString(f.name) {
			im.unsupported(f.node, "%s.requestParameters.%s is not supported: HTTP APIs map with append:, overwrite: and remove: of header.NAME, querystring.NAME and, to overwrite, path", where, f.name)
			continue
		}
		if x.Parameters == nil {
			x.Parameters = map[string]string{}
		}
		x.Parameters[f.name] = im.value(f.node, where+".requestParameters."+f.name, false)
	}
	for _, status := range im.fields(n.get("responseParameters"), where+".responseParameters") {
		if !statusKey.MatchString(status.name) {
			im.fail(status.node, "%s.responseParameters.%s must be a status from 200 to 599", where, status.name)
			continue
		}
		mapped := map[string]string{}
		for _, f := range im.fields(status.node, where+".responseParameters."+status.name) {
			at := where + ".responseParameters." + status.name + "." + f.name
			if !responseKey.MatchString(f.name) {
				im.fail(f.node, "%s is not supported: responses are mapped with append:, overwrite: and remove: of header.NAME and overwrite:statuscode", at)
				continue
			}
			mapped[f.name] = im.value(im.of(f.node, text, at), at, false)
		}
		if x.Responses == nil {
			x.Responses = map[string]map[string]string{}
		}
		x.Responses[status.name] = mapped
	}
	if x.Subtype == api.SubtypeFixed || x.Subtype == api.SubtypeRedirect {
		if s, ok := x.Parameters["StatusCode"]; ok && !variables.MatchString(s) {
			if v, err := strconv.Atoi(s); err != nil || v < 200 || v > 599 {
				im.fail(n.get("requestParameters").get("StatusCode"), "%s.requestParameters.StatusCode %s must be a status from 200 to 599", where, quote(s))
			}
		}
	}
}

// cors reads x-amazon-apigateway-cors.
func (im *importer) cors(n *node) {
	if n == nil || im.object(n, extCORS) == nil {
		return
	}
	c := &hansom.CORS{}
	for _, f := range n.fields {
		where := extCORS + "." + f.name
		switch f.name {
		case "allowOrigins":
			c.AllowOrigins = im.texts(f.node, where)
		case "allowMethods":
			c.AllowMethods = im.texts(f.node, where)
		case "allowHeaders":
			c.AllowHeaders = im.texts(f.node, where)
		case "exposeHeaders":
			c.ExposeHeaders = im.texts(f.node, where)
		case "allowCredentials":
			v := im.boolean(f.node, where)
			c.AllowCredentials = &v
		case "maxAge":
			v, err := strconv.Atoi(f.text)
			if err != nil || v < -1 || v > hansom.MaxCORSMaxAge {
				im.fail(f.node, "%s %s is out of range: -1 to %d seconds", where, quote(f.text), hansom.MaxCORSMaxAge)
			}
			c.MaxAge = &v
		default:
			im.unsupported(f.node, "%s is not known", where)
		}
	}
	im.api.CORS = c
}
