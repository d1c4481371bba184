package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/site"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
)

func (c *program) deployCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deploy [DIR]", Short: "Deploy the app of a folder; what is there already is left alone",
		Long: "Build the app of a folder (default: this one), upload the code and the files of its site that the server lacks, and make the server's app\n" +
			"what " + manifest.FileName + " says, all or nothing.",
		Example: "  hansom deploy examples/hello",
		Args:    command.AtMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := c.prepare(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer d.Close()
			result, err := d.deploy(cmd.Context())
			if err != nil {
				return err
			}
			functions, err := c.settle(cmd.Context(), d.client, result.App)
			if err != nil {
				return err
			}
			if c.JSON {
				return c.PrintJSON(result)
			}
			c.printChanges(result)
			c.printAddresses(result)
			return c.warn(functions)
		},
	}
}

// deployer takes an app's folder to a server.
type deployer struct {
	*build.Builder
	dir      string
	client   *client.Client
	progress func(format string, args ...any)
	note     func(format string, args ...any)
	has      map[string]bool // digests the server is known to have
	site     *site.Upload    // of the last resolve; nil without a site
}

// prepare checks the manifest of the folder in args before it connects.
func (c *program) prepare(ctx context.Context, args []string) (*deployer, error) {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	if _, err := manifest.Load(dir); err != nil {
		return nil, manifestError(err)
	}
	cl, err := c.Client(ctx)
	if err != nil {
		return nil, err
	}
	return c.newDeployer(ctx, cl, dir)
}

// manifestError gives errors of a manifest their exit code.
func manifestError(err error) error {
	var faults manifest.Errors
	if errors.As(err, &faults) {
		return err
	}
	return &command.ExitError{Code: command.ExitManifest, Message: err.Error()}
}

func (c *program) newDeployer(ctx context.Context, cl *client.Client, dir string) (*deployer, error) {
	var info struct {
		Arch string `json:"arch"`
	}
	if err := cl.Call(ctx, "GET", "/_hansom/v1/info", nil, &info); err != nil {
		return nil, err
	}
	b, err := build.New(dir, cmp.Or(info.Arch, runtime.GOARCH), c.Environ)
	if err != nil {
		return nil, err
	}
	return &deployer{Builder: b, dir: dir, client: cl, progress: c.Progress, note: c.Note, has: map[string]bool{}}, nil
}

// resolve builds the app.
func (d *deployer) resolve(ctx context.Context) (*manifest.Resolved, map[string]build.Artifact, error) {
	m, err := manifest.Load(d.dir)
	if err != nil {
		return nil, nil, manifestError(err)
	}
	d.Set(buildFunctions(m))
	d.SetSite(site.Folder(m))
	if err := d.listSite(ctx, m); err != nil {
		return nil, nil, err
	}
	artifacts, err := d.Build(ctx, d.progress)
	if err != nil {
		return nil, nil, err
	}
	digests := map[string]string{}
	for i, f := range m.Functions {
		digests[f.Key] = artifacts[f.Key].Digest
		m.Functions[i].Handler = cmp.Or(artifacts[f.Key].Handler, f.Handler)
	}
	r, err := m.Resolve(digests)
	return r, artifacts, err
}

func buildFunctions(m *manifest.Manifest) []build.Function {
	var out []build.Function
	for _, f := range m.Functions {
		out = append(out, build.Function{Key: f.Key, Runtime: f.Runtime, Code: f.Code, Handler: f.Handler, Layers: f.Layers})
	}
	return out
}

func (d *deployer) plan(ctx context.Context) (*client.Plan, error) {
	r, _, err := d.resolve(ctx)
	if err == nil {
		err = d.offerSite(ctx)
	}
	if err != nil {
		return nil, err
	}
	return d.client.Plan(ctx, r)
}

func (d *deployer) deploy(ctx context.Context) (*client.Plan, error) {
	r, artifacts, err := d.resolve(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range r.Keys() {
		if err := d.upload(ctx, key, artifacts[key]); err != nil {
			return nil, err
		}
	}
	if err := d.uploadSite(ctx); err != nil {
		return nil, err
	}
	d.progress("deploying %s", r.Name)
	defer d.progress("")
	return d.client.Deploy(ctx, r)
}

// upload gives the server an artifact that it lacks. Its digest is the hash that the request is signed with.
func (d *deployer) upload(ctx context.Context, key string, a build.Artifact) error {
	if d.has[a.Digest] {
		return nil
	}
	path := "/_hansom/v1/artifacts/" + a.Digest
	err := d.client.Call(ctx, "HEAD", path, nil, nil)
	if client.IsStatus(err, http.StatusNotFound) {
		err = d.put(ctx, key, path, a)
	}
	if err == nil {
		d.has[a.Digest] = true
	}
	return err
}

func (d *deployer) put(ctx context.Context, key, path string, a build.Artifact) error {
	f, err := os.Open(a.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	d.progress("uploading %s (%s)", key, terminal.Bytes(a.Size))
	defer d.progress("")
	resp, err := d.client.Send(ctx, "hansom", "PUT", path, http.Header{"Content-Type": {"application/zip"}}, f, a.Size, a.Digest)
	if err != nil {
		return fmt.Errorf("functions.%s: %w", key, err)
	}
	return resp.Body.Close()
}

// settle waits until no function of the app is being made, for at most 30 s, and returns them. One that failed is an error.
func (c *program) settle(ctx context.Context, cl *client.Client, app string) ([]client.Function, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		functions, err := cl.Functions(ctx, app)
		if err != nil {
			return nil, err
		}
		for _, f := range functions {
			if f.Failed() {
				return nil, fmt.Errorf("%s failed: %s", f.Name, cmp.Or(f.Reason, "no reason given"))
			}
		}
		if !slices.ContainsFunc(functions, func(f client.Function) bool { return f.Settling() }) {
			return functions, nil
		}
		select {
		case <-ctx.Done():
			return functions, fmt.Errorf("the functions of %s are deployed but not active yet; see `hansom ls`", app)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// warn shows what the server has to say about functions that work.
func (c *program) warn(functions []client.Function) error {
	for _, f := range functions {
		if f.Reason != "" {
			c.Note("warning: %s: %s", f.Name, terminal.Printable(f.Reason))
		}
	}
	return nil
}

// printChanges shows what changed; what did not is counted.
func (c *program) printChanges(d *client.Plan) {
	changes := client.Changed(d.Changes)
	if len(changes) == 0 {
		c.Printf("%s is up to date (%s)\n", d.App, terminal.Count(len(d.Changes), "resource"))
		return
	}
	var rows [][]string
	for _, ch := range changes {
		rows = append(rows, []string{ch.Action, ch.Kind, ch.Name, strings.Join(ch.Details, ", ")})
	}
	c.Out.Table([]string{"ACTION", "KIND", "NAME", "DETAILS"}, rows)
}
