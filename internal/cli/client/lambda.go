package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// FunctionPath is the path of a function in the Lambda API.
func FunctionPath(name string) string { return "/2015-03-31/functions/" + url.PathEscape(name) }

// Configuration is what the Lambda API says of a function or a version: the members that the command line shows.
type Configuration struct {
	FunctionName string
	FunctionArn  string
	Version      string
	Description  string
	CodeSha256   string // base64
	CodeSize     int64
	LastModified string
	RevisionId   string
	State        string
	Environment  struct{ Variables map[string]string }

	LastUpdateStatus string
}

// modifiedLayout is the Lambda API's way to write LastModified.
const modifiedLayout = "2006-01-02T15:04:05.000-0700"

// Modified is LastModified as a time, the zero one when it cannot be read.
func (c *Configuration) Modified() time.Time {
	t, _ := time.Parse(modifiedLayout, c.LastModified)
	return t
}

// Alias is what the Lambda API says of one.
type Alias struct {
	Name            string
	FunctionVersion string
	Description     string
	RevisionId      string
	RoutingConfig   struct{ AdditionalVersionWeights map[string]float64 }
}

// Configuration reads that of a function, "" for $LATEST.
func (cl *Client) Configuration(ctx context.Context, function, qualifier string) (Configuration, error) {
	path := FunctionPath(function) + "/configuration"
	if qualifier != "" {
		path += "?Qualifier=" + url.QueryEscape(qualifier)
	}
	var out Configuration
	return out, cl.Call(ctx, "GET", path, nil, &out)
}

// Versions of a function, $LATEST first.
func (cl *Client) Versions(ctx context.Context, function string) ([]Configuration, error) {
	return list[Configuration](ctx, cl, FunctionPath(function)+"/versions")
}

// Aliases of a function.
func (cl *Client) Aliases(ctx context.Context, function string) ([]Alias, error) {
	return list[Alias](ctx, cl, FunctionPath(function)+"/aliases")
}

// list reads all pages of a list of the Lambda API.
func list[T any](ctx context.Context, cl *Client, path string) ([]T, error) {
	var out []T
	for at := path; ; {
		var page struct {
			NextMarker        string
			Versions, Aliases []T // one of them is there
		}
		if err := cl.Call(ctx, "GET", at, nil, &page); err != nil {
			return nil, err
		}
		out = append(append(out, page.Versions...), page.Aliases...)
		if page.NextMarker == "" {
			return out, nil
		}
		at = path + "?Marker=" + url.QueryEscape(page.NextMarker)
	}
}

// Publish makes a version of $LATEST; when nothing changed since the last, it is that one.
func (cl *Client) Publish(ctx context.Context, function, description string) (Configuration, error) {
	in := map[string]string{}
	if description != "" {
		in["Description"] = description
	}
	var out Configuration
	return out, cl.Call(ctx, "POST", FunctionPath(function)+"/versions", in, &out)
}

// DeleteVersion removes a version.
func (cl *Client) DeleteVersion(ctx context.Context, function, version string) error {
	return cl.Call(ctx, "DELETE", FunctionPath(function)+"?Qualifier="+url.QueryEscape(version), nil, nil)
}

// SetAlias makes an alias or changes the one that is there: all of its traffic goes to version, but for the shares of weights.
func (cl *Client) SetAlias(ctx context.Context, function, name, version string, weights map[string]float64) (Alias, error) {
	if weights == nil {
		weights = map[string]float64{} // takes those away that are there
	}
	in := map[string]any{"Name": name, "FunctionVersion": version, "RoutingConfig": map[string]any{"AdditionalVersionWeights": weights}}
	var out Alias
	err := cl.Call(ctx, "POST", FunctionPath(function)+"/aliases", in, &out)
	if IsStatus(err, http.StatusConflict) {
		delete(in, "Name")
		err = cl.Call(ctx, "PUT", FunctionPath(function)+"/aliases/"+url.PathEscape(name), in, &out)
	}
	return out, err
}

// Provision asks for n concurrent executions of a version or an alias to be kept ready; 0 ends that.
func (cl *Client) Provision(ctx context.Context, function, qualifier string, n int) error {
	path := "/2019-09-30/functions/" + url.PathEscape(function) + "/provisioned-concurrency?Qualifier=" + url.QueryEscape(qualifier)
	if n == 0 {
		return cl.Call(ctx, "DELETE", path, nil, nil)
	}
	return cl.Call(ctx, "PUT", path, map[string]int{"ProvisionedConcurrentExecutions": n}, nil)
}

// DeleteAlias removes an alias. One that is not there is no error.
func (cl *Client) DeleteAlias(ctx context.Context, function, name string) error {
	return cl.Call(ctx, "DELETE", FunctionPath(function)+"/aliases/"+url.PathEscape(name), nil, nil)
}

// maxAttempts of EditEnvironment, when others write all the time.
const maxAttempts = 100

// EditEnvironment lets edit change the variables of $LATEST, which it is given as they are. It is called again when somebody
// else wrote meanwhile: no change gets lost. What it leaves as it was is not written.
func (cl *Client) EditEnvironment(ctx context.Context, function string, edit func(variables map[string]string) (changed bool, err error)) (Configuration, error) {
	for attempt := 1; ; attempt++ {
		c, err := cl.settled(ctx, function)
		if err != nil {
			return c, err
		}
		variables := c.Environment.Variables
		if variables == nil {
			variables = map[string]string{}
		}
		if changed, err := edit(variables); err != nil || !changed {
			return c, err
		}
		in := map[string]any{"RevisionId": c.RevisionId, "Environment": map[string]any{"Variables": variables}}
		err = cl.Call(ctx, "PUT", FunctionPath(function)+"/configuration", in, &c)
		raced := IsStatus(err, http.StatusPreconditionFailed) || IsStatus(err, http.StatusConflict)
		if !raced || attempt == maxAttempts {
			return c, err
		}
	}
}

// settled reads the configuration of $LATEST once no update of it is under way, for at most 30 s: the Lambda API refuses others
// until then.
func (cl *Client) settled(ctx context.Context, function string) (Configuration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := cl.Configuration(ctx, function, "")
		if err != nil || c.State != "Pending" && c.LastUpdateStatus != "InProgress" {
			return c, err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return c, fmt.Errorf("an update of %s has been under way for 30 s; see `hansom ls`", function)
			}
			return c, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
