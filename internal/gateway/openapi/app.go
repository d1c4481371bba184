package openapi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Apps makes the own APIs of apps.
type Apps struct {
	Region string
	Domain string                                         // base domain of the server's hosts
	Keys   func(project, app, path string) string         // URL at which the server reaches a path of an app
	Taken  func(domain string) bool                       // says that a custom domain was made through the API Gateway API
	Check  func(project string, i *api.Integration) error // refuses what the gateway could not carry out; nil refuses nothing
}

// Live is the own API of an app: what its manifest says, with the OpenAPI document that it names. Errors: Invalid, with file and line of the
// document.
func (a Apps) Live(project string, r *manifest.Resolved) (*api.Live, error) {
	r = a.withKeys(project, r)
	var doc *api.API
	if r.OpenAPI != nil {
		var err error
		if doc, err = a.document(project, r); err != nil {
			return nil, err
		}
	}
	return api.OfManifest(project, a.Region, r, doc)
}

// withKeys is r with the whole URLs of keys that the app serves itself.
func (a Apps) withKeys(project string, r *manifest.Resolved) *manifest.Resolved {
	own := func(x manifest.ResolvedAuthorizer) bool { return x.JWT != nil && strings.HasPrefix(x.JWT.Keys, "/") }
	if !slices.ContainsFunc(slices.Collect(maps.Values(r.Authorizers)), own) {
		return r
	}
	out := *r
	out.Authorizers = maps.Clone(r.Authorizers)
	for name, x := range out.Authorizers {
		if own(x) {
			jwt := *x.JWT
			jwt.Keys, x.JWT = a.Keys(project, r.Name, jwt.Keys), &jwt
			out.Authorizers[name] = x
		}
	}
	return &out
}

func (a Apps) document(project string, r *manifest.Resolved) (*api.API, error) {
	n := 0
	doc, _, err := Import([]byte(r.OpenAPI.Document), Options{
		ID:     func() string { n++; return fmt.Sprintf("doc:%04d", n) },
		Strict: true, Payload: "2.0",
		Authorizers: api.AuthorizersOf(project, a.Region, r),
		Variable:    a.variables(project, r),
	})
	var faults *Faults
	if err == nil {
		err = a.check(project, r.OpenAPI.File, doc)
	}
	if !errors.As(err, &faults) {
		return doc, err
	}
	lines := make([]string, len(faults.List))
	for i, f := range faults.List {
		place := r.OpenAPI.File
		if f.Line > 0 {
			place += ":" + strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column)
		}
		lines[i] = place + ": " + f.Message
	}
	return nil, hansom.Errorf(hansom.Invalid, "read OpenAPI document", "%s", strings.Join(lines, "\n"))
}

// check refuses integrations that cannot be carried out, by their routes.
func (a Apps) check(project, file string, doc *api.API) error {
	for i := range doc.Integrations {
		if a.Check == nil {
			break
		}
		if err := a.Check(project, &doc.Integrations[i]); err != nil {
			key := "components"
			for _, r := range doc.Routes {
				if r.Integration == doc.Integrations[i].ID {
					key = r.Key
				}
			}
			return hansom.Errorf(hansom.Invalid, "read OpenAPI document", "%s: the integration of %s: %w", file, key, err)
		}
	}
	return nil
}

// variables are AWS's, and the app's own: functions.KEY is the ARN of a function, queues.KEY the URL of a queue.
func (a Apps) variables(project string, r *manifest.Resolved) func(string) (string, bool) {
	aws := Variables(a.Region, project)
	return func(name string) (string, bool) {
		if key, ok := strings.CutPrefix(name, "functions."); ok {
			if _, ok = r.Functions[key]; ok {
				return hansom.FunctionARN(a.Region, project, manifest.FunctionName(r.Name, key), ""), true
			}
			return "", false
		}
		if key, ok := strings.CutPrefix(name, "queues."); ok {
			q, ok := r.Queues[key]
			return "https://sqs." + a.Region + ".amazonaws.com/" + project + "/" + manifest.QueueName(r.Name, key, q.FIFO), ok
		}
		return aws(name)
	}
}

// Variables are those that API Gateway fills in on import.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/import-api-aws-variables.html
func Variables(region, project string) func(name string) (string, bool) {
	values := map[string]string{"AWS::AccountId": project, "AWS::Partition": "aws", "AWS::Region": region, "AWS::URLSuffix": "amazonaws.com"}
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

// Routes of a manifest by their keys, as api.Live.Describe tells of them.
func (a Apps) Routes(project string, r *manifest.Resolved) (map[string][][2]string, error) {
	l, err := a.Live(project, r)
	if err != nil {
		return nil, err
	}
	stage := l.Stages[api.DefaultStage]
	out := map[string][][2]string{}
	for i := range stage.Routes {
		out[stage.Routes[i].Key] = l.Describe(stage, &stage.Routes[i])
	}
	return out, nil
}

// Owner says why an app cannot have a host; "" when it can. Hosts of other apps are none of its business.
func (a Apps) Owner(host string) string {
	name := strings.TrimPrefix(host, "*.")
	switch {
	case name == a.Domain || strings.HasSuffix(name, "."+a.Domain) || host != name && strings.HasSuffix(a.Domain, "."+name):
		return a.Domain + " and the hosts below it are the server's own"
	case a.Taken != nil && a.Taken(host):
		return "a domain name of the API Gateway API has it"
	}
	return ""
}
