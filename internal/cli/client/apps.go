package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/hansomcloud/hansom/internal/manifest"
)

// App is one entry of the apps list.
type App struct {
	Name       string    `json:"name"`
	Deployment int64     `json:"deployment"`
	Updated    time.Time `json:"updated"`
	URL        string    `json:"url"`
	Functions  int       `json:"functions"`
	Routes     int       `json:"routes"`
	Site       *Site     `json:"site,omitempty"`
}

// Site is the static files of an app.
type Site struct {
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	Preview string `json:"preview"` // address of the current deployment
}

// Plan is the answer of the deployment door.
type Plan struct {
	App        string   `json:"app"`
	Deployment int64    `json:"deployment"` // 0 in a plan alone
	Changes    []Change `json:"changes"`
	URL        string   `json:"url"`
	Preview    string   `json:"preview,omitempty"` // address of the site as this deployment has it
}

// Change of one resource.
type Change struct {
	Kind    string   `json:"kind"`   // "function" or "route"
	Name    string   `json:"name"`   // "hello-api", "GET /messages"
	Action  string   `json:"action"` // "create", "update", "delete" or "unchanged"
	Details []string `json:"details,omitempty"`
}

// Changed are the changes of what does not stay as it is.
func Changed(changes []Change) []Change {
	var out []Change
	for _, c := range changes {
		if c.Action != "unchanged" {
			out = append(out, c)
		}
	}
	return out
}

// Deployment is one applied state of an app.
type Deployment struct {
	Number   int64     `json:"number"`
	Actor    string    `json:"actor"` // ARN
	Created  time.Time `json:"created"`
	Restored int64     `json:"restored,omitempty"` // the deployment that a rollback went back to
	Changes  []Change  `json:"changes,omitempty"`  // against the deployment before
	Preview  string    `json:"preview,omitempty"`  // address of its site
}

// Function is one entry of the functions list.
type Function struct {
	Name             string   `json:"name"`
	App              string   `json:"app,omitempty"`
	Runtime          string   `json:"runtime"`
	Handler          string   `json:"handler"`
	Memory           int      `json:"memory"`  // MB
	Timeout          int      `json:"timeout"` // seconds
	CodeSize         int64    `json:"codeSize"`
	CodeSHA256       string   `json:"codeSha256"`
	State            string   `json:"state"`
	LastUpdateStatus string   `json:"lastUpdateStatus,omitempty"`
	Reason           string   `json:"reason,omitempty"` // why it failed, or a warning
	Modified         string   `json:"modified"`
	Instances        int      `json:"instances"`
	Busy             int      `json:"busy"`
	URLs             []string `json:"urls,omitempty"`

	Provisioned []Provisioned `json:"provisioned,omitempty"`
}

// Provisioned is the provisioned concurrency of a version or an alias, in concurrent executions.
type Provisioned struct {
	Qualifier string `json:"qualifier"` // "$LATEST" for what an app asks for
	Requested int    `json:"requested"`
	Allocated int    `json:"allocated"`
	Available int    `json:"available"`
	Status    string `json:"status"`
	Reason    string `json:"reason,omitempty"`
}

func (p *Provisioned) String() string {
	s := strconv.Itoa(p.Available) + " of " + strconv.Itoa(p.Requested) + " ready"
	if p.Reason != "" {
		s += ": " + p.Reason
	}
	return s
}

// Failed says whether it, or its last update, cannot run.
func (f *Function) Failed() bool { return f.State == "Failed" || f.LastUpdateStatus == "Failed" }

// Settling says whether it is still being made.
func (f *Function) Settling() bool { return f.State == "Pending" || f.LastUpdateStatus == "InProgress" }

// AppPath is the path of an app in the management API.
func AppPath(app string) string { return "/_hansom/v1/apps/" + url.PathEscape(app) }

// Apps lists the apps of the project.
func (cl *Client) Apps(ctx context.Context) ([]App, error) {
	var out struct{ Apps []App }
	err := cl.Call(ctx, "GET", "/_hansom/v1/apps", nil, &out)
	return out.Apps, err
}

// App reads one.
func (cl *Client) App(ctx context.Context, name string) (App, error) {
	var out App
	err := cl.Call(ctx, "GET", AppPath(name), nil, &out)
	return out, err
}

// Plan says what Deploy would change; the code need not be uploaded.
func (cl *Client) Plan(ctx context.Context, r *manifest.Resolved) (*Plan, error) {
	var out Plan
	return &out, cl.Call(ctx, "PUT", AppPath(r.Name)+"?plan=1", r, &out)
}

// Deploy makes an app what r says.
func (cl *Client) Deploy(ctx context.Context, r *manifest.Resolved) (*Plan, error) {
	var out Plan
	return &out, cl.Call(ctx, "PUT", AppPath(r.Name), r, &out)
}

// Deployments of an app, the latest first.
func (cl *Client) Deployments(ctx context.Context, app string) ([]Deployment, error) {
	var out struct{ Deployments []Deployment }
	err := cl.Call(ctx, "GET", AppPath(app), nil, &out)
	return out.Deployments, err
}

// Rollback makes an app what it was at deployment number, 0 for the one before the current; plan changes nothing.
func (cl *Client) Rollback(ctx context.Context, app string, number int64, plan bool) (*Plan, error) {
	path := AppPath(app) + "/rollback"
	if plan {
		path += "?plan=1"
	}
	var out Plan
	return &out, cl.Call(ctx, "POST", path, map[string]int64{"to": number}, &out)
}

// Functions of an app; of all when app is "".
func (cl *Client) Functions(ctx context.Context, app string) ([]Function, error) {
	var out struct{ Functions []Function }
	path := "/_hansom/v1/functions"
	if app != "" {
		path += "?app=" + url.QueryEscape(app)
	}
	err := cl.Call(ctx, "GET", path, nil, &out)
	return out.Functions, err
}

// Function reads one by name.
func (cl *Client) Function(ctx context.Context, name string) (Function, error) {
	var out Function
	err := cl.Call(ctx, "GET", "/_hansom/v1/functions/"+url.PathEscape(name), nil, &out)
	return out, err
}
