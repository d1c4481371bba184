// Package api keeps HTTP APIs as API Gateway v2 has them: APIs with their routes, integrations, authorizers, stages and
// deployments, custom domains, API keys and usage plans. It tells the gateway what answers where.
// https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/api-reference.html
package api

import (
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// DefaultStage is the stage that answers without a path of its own, and DefaultRoute the route that takes what no other does.
const (
	DefaultStage = "$default"
	DefaultRoute = "$default"
)

// API is an HTTP API with everything below it, as it is configured; Live is what of it is deployed.
type API struct {
	Project      string
	ID           string // ten lower-case letters and digits; of an app's own API the name of the app
	Name         string
	Description  string `json:",omitempty"`
	Version      string `json:",omitempty"`
	Created      time.Time
	CORS         *hansom.CORS      `json:",omitempty"`
	EndpointOff  bool              `json:",omitempty"` // DisableExecuteApiEndpoint
	KeySelection string            `json:",omitempty"` // ApiKeySelectionExpression; "" is $request.header.x-api-key
	Tags         map[string]string `json:",omitempty"`
	Imported     []string          `json:",omitempty"` // ImportInfo
	Warnings     []string          `json:",omitempty"`
	Managed      bool              `json:",omitempty"` // made by quick create
	Routes       []Route           // by ID
	Integrations []Integration     // by ID
	Authorizers  []Authorizer      // by ID
	Stages       []Stage           // by name
	Deployments  []Deployment      // oldest first; their snapshots are stored apart
}

// Route says which integration answers a method and a path.
type Route struct {
	ID            string
	Key           string   // "GET /pets/{id}", "ANY /{proxy+}" or "$default"
	Integration   string   // its ID; "" when the route has no target
	Authorization string   `json:",omitempty"` // "NONE" or "", "AWS_IAM", "JWT", "CUSTOM"
	Authorizer    string   `json:",omitempty"` // its ID, with JWT and CUSTOM
	Scopes        []string `json:",omitempty"`
	KeyRequired   bool     `json:",omitempty"` // an API key of a usage plan
	Operation     string   `json:",omitempty"`
	Managed       bool     `json:",omitempty"`
}

// Types of an Integration. What HTTP APIs on AWS do not have is a subtype of AWS_PROXY.
const (
	AWSProxy  = "AWS_PROXY"
	HTTPProxy = "HTTP_PROXY"

	SubtypeSQS      = "SQS-SendMessage"
	SubtypeEvents   = "EventBridge-PutEvents"
	SubtypeSite     = "Hansom-Site"     // Parameters: App, the app whose site answers
	SubtypeRedirect = "Hansom-Redirect" // Parameters: Location; StatusCode, 302 unless given
	SubtypeFixed    = "Hansom-Respond"  // Parameters: StatusCode, 200 unless given; Body, ContentType
)

// Integration is what answers.
type Integration struct {
	ID          string
	Type        string // AWSProxy or HTTPProxy
	Subtype     string `json:",omitempty"`
	URI         string `json:",omitempty"` // of a function its ARN or the lambda:path form; of HTTPProxy a URL, which may have {parameters} of the route's path
	Method      string `json:",omitempty"` // of HTTPProxy; "ANY" and "" pass on the request's. Of a function POST, which says nothing
	Payload     string `json:",omitempty"` // PayloadFormatVersion: "1.0" or "2.0"
	Timeout     int    // ms, 50 to 30000
	Description string `json:",omitempty"`
	Credentials string `json:",omitempty"`
	// Parameters are mappings of the request ("append:header.x" -> "$request.path.id") or the parameters of a subtype.
	Parameters map[string]string `json:",omitempty"`
	// Responses are mappings of answers by their status: "200" -> {"overwrite:header.x": "..."}.
	Responses  map[string]map[string]string `json:",omitempty"`
	ServerName string                       `json:",omitempty"` // TlsConfig.ServerNameToVerify
	Managed    bool                         `json:",omitempty"`
}

// Types of an Authorizer.
const (
	JWT     = "JWT"
	Request = "REQUEST"
)

// Authorizer says who may call.
type Authorizer struct {
	ID       string
	Name     string
	Type     string   // JWT or Request
	Sources  []string `json:",omitempty"` // IdentitySource: "$request.header.Authorization"
	Issuer   string   `json:",omitempty"` // of JWT: a URL below which /.well-known/openid-configuration is
	Audience []string `json:",omitempty"` // of JWT
	URI      string   `json:",omitempty"` // of Request: the function, as in Integration
	Payload  string   `json:",omitempty"` // of Request: "1.0" or "2.0"
	Simple   bool     `json:",omitempty"` // of Request: EnableSimpleResponses
	TTL      int      `json:",omitempty"` // of Request: s that its answer is used again, 0 to 3600
	// KeySet, in place of discovery, is where the keys of Issuer are; it is set by manifests only.
	KeySet      string `json:",omitempty"`
	Credentials string `json:",omitempty"`
}

// Stage is a deployment under a name, with settings.
type Stage struct {
	Name        string
	Description string            `json:",omitempty"`
	Deployment  string            `json:",omitempty"` // its ID; "" when nothing is deployed
	AutoDeploy  bool              `json:",omitempty"`
	Variables   map[string]string `json:",omitempty"`
	LogTarget   string            `json:",omitempty"` // ARN of a log group
	LogFormat   string            `json:",omitempty"`
	Default     Settings
	Settings    map[string]Settings `json:",omitempty"` // by route key
	Tags        map[string]string   `json:",omitempty"`
	Created     time.Time
	Updated     time.Time
	Message     string `json:",omitempty"` // LastDeploymentStatusMessage
	Managed     bool   `json:",omitempty"`
}

// Settings of a route in a stage. Nil is not set: the stage's own count then.
type Settings struct {
	Rate    *float64 `json:",omitempty"` // requests/s
	Burst   *int     `json:",omitempty"`
	Metrics *bool    `json:",omitempty"` // kept and returned; metrics are there in any case
}

// Deployment is one snapshot of an API.
type Deployment struct {
	ID          string
	Description string `json:",omitempty"`
	Auto        bool   `json:",omitempty"`
	Digest      string `json:",omitempty"` // of the snapshot
	Created     time.Time
}

// Snapshot is what a deployment keeps of an API. It is never changed.
type Snapshot struct {
	Routes       []Route
	Integrations []Integration
	Authorizers  []Authorizer
	CORS         *hansom.CORS `json:",omitempty"`
}

// Live is an API as it answers. It is never changed: a new one takes its place. What the Service keeps has no Routes, Integrations, Authorizers
// and Deployments of its own: those that count are in its Stages.
type Live struct {
	*API
	Stages map[string]*LiveStage // those with a deployment, by name
	Limits []Limit               // of an app's own API, which comes from its manifest
}

// LiveStage is a stage with what it deployed.
type LiveStage struct {
	Stage
	*Snapshot
}

// Limit is a throttle of a route for each of its clients; it is set by manifests only.
type Limit struct {
	Route string // its key; "" is each route
	Per   string // "client", by address
	Rate  float64
	Burst int
}

// Domain is a custom domain and what answers there.
type Domain struct {
	Project     string
	Name        string            // lower case; may begin with "*."
	Certificate string            `json:",omitempty"` // ARN, kept and returned
	Security    string            `json:",omitempty"` // "TLS_1_2"
	Tags        map[string]string `json:",omitempty"`
	Created     time.Time
	Mappings    []Mapping
}

// Mapping has a stage of an API, or the own API and the site of an app, answer below a path of a domain.
type Mapping struct {
	ID    string
	API   string // ID
	Stage string
	Key   string `json:",omitempty"` // path without slashes at its ends: "v1/orders"; "" is all
}

// Key is an API key.
type Key struct {
	Project     string
	ID          string
	Name        string
	Description string `json:",omitempty"`
	Value       string // at rest: a digest for look-up, and encrypted
	Enabled     bool
	Tags        map[string]string `json:",omitempty"`
	Created     time.Time
	Updated     time.Time
}

// Plan is a usage plan: what the keys that it names may do at the stages that it names.
type Plan struct {
	Project     string
	ID          string
	Name        string
	Description string            `json:",omitempty"`
	Stages      []PlanStage       `json:",omitempty"`
	Rate        *float64          `json:",omitempty"` // requests/s of each key
	Burst       *int              `json:",omitempty"`
	Quota       *Quota            `json:",omitempty"`
	Keys        []string          `json:",omitempty"` // IDs
	Tags        map[string]string `json:",omitempty"`
}

// PlanStage is a stage of a plan. Settings are by route key.
type PlanStage struct {
	API, Stage string
	Settings   map[string]Settings `json:",omitempty"`
}

// Quota is how many requests each key has in a period.
type Quota struct {
	Limit, Offset int
	Period        string // "DAY", "WEEK" or "MONTH", of UTC
}

// FunctionOf returns the project, the name and the qualifier of the function that a URI of an integration or an authorizer names: a
// function's ARN, or arn:aws:apigateway:<region>:lambda:path/2015-03-31/functions/<ARN>/invocations. ok is false for anything else.
func FunctionOf(uri string) (project, name, qualifier string, ok bool) {
	a, err := hansom.ParseARN(uri)
	if err != nil {
		return "", "", "", false
	}
	if a.Service == "apigateway" && a.Account == "lambda" {
		path, found := strings.CutPrefix(a.Resource, "path/2015-03-31/functions/")
		uri, ended := strings.CutSuffix(path, "/invocations")
		if a, err = hansom.ParseARN(uri); !found || !ended || err != nil {
			return "", "", "", false
		}
	}
	kind, rest, _ := strings.Cut(a.Resource, ":")
	name, qualifier, _ = strings.Cut(rest, ":")
	return a.Account, name, qualifier, a.Service == "lambda" && kind == "function" && name != ""
}
