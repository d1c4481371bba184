package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/site"
	"github.com/hansomcloud/hansom/internal/cli/stream"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
	"github.com/hansomcloud/hansom/internal/server"
)

func (c *program) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dev [DIR]", Short: "Run an app while you write it: serve, deploy, redeploy on save, show logs",
		Long: "Run a server on loopback with the app of a folder (default: this one), deploy again what changed whenever a file is\n" +
			"saved, and print the functions' logs, until Ctrl-C ends it. Data is kept in ./.hansom. AWS clients sign with access\n" +
			"key test, secret test.",
		Example: "  hansom dev examples/hello\n  hansom dev examples/hello --edge 127.0.0.1:0 --api 127.0.0.1:0\n  hansom dev examples/hello --https",
		Args:    command.AtMost(1),
	}
	config := configFlags(cmd, server.DevConfig())
	https := cmd.Flags().Bool("https", false, "serve HTTPS too, at 127.0.0.1:8443, with certificates of an authority that is made for it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		shown := cmp.Or(strings.Join(args, ""), ".")
		dir, err := filepath.Abs(shown)
		if err != nil {
			return err
		}
		var faults manifest.Errors
		if _, err := manifest.Load(shown); err != nil && !errors.As(err, &faults) {
			return manifestError(err)
		}
		cfg, err := config(c.Env, c.Environ, func(cfg *server.Config) { cfg.HTTPS = *https })
		if err != nil {
			return err
		}
		srv, err := c.newServer(cmd.Context(), cfg, c.logger(cfg))
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), srv, func(ctx context.Context) error {
			d := &development{program: c, dir: dir, shown: shown, watched: map[string]bool{}}
			err := d.run(ctx, srv)
			if ctx.Err() != nil {
				c.Note("\nstopping; what runs has %s to end, a second Ctrl-C ends it at once", cfg.Drain)
				return nil // Ctrl-C is how it ends
			}
			return err
		})
	}
	return cmd
}

// development is one run of dev.
type development struct {
	*program
	dir      string // absolute
	shown    string // the same, as messages name it
	client   *client.Client
	deployer *deployer
	watcher  *watcher
	watched  map[string]bool // what is watched of the sources
	routes   []string        // as last shown
	failed   bool            // the last attempt did not get through
	deployed bool            // one did
}

func (d *development) run(ctx context.Context, srv Server) (err error) {
	d.client = client.New("http://"+srv.APIAddr(), "", hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, "test/test")
	defer d.client.Close()
	if d.deployer, err = d.newDeployer(ctx, d.client, d.shown); err != nil {
		return err
	}
	defer d.deployer.Close()
	if d.watcher, err = newWatcher(); err != nil {
		return err
	}
	defer d.watcher.Close()
	if err := d.watcher.folder(d.dir); err != nil {
		return err
	}
	d.showAddresses(srv)
	ctx, cancel := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		d.follow(ctx)
	}()
	defer func() { cancel(); <-followed }()
	for {
		d.redeploy(ctx)
		for {
			paths, err := d.watcher.next(ctx)
			if err != nil {
				return err
			}
			if d.touched(paths) {
				break
			}
		}
	}
}

func (d *development) showAddresses(srv Server) {
	nats, edgeTLS, authority, made := srv.NATSAddr(), edgeTLSAddr(srv), "", false
	if s, ok := srv.(secure); ok {
		authority, made = s.Authority()
	}
	if d.JSON {
		out := map[string]string{"edge": srv.EdgeAddr(), "api": srv.APIAddr()}
		for name, value := range map[string]string{"nats": nats, "edgeTls": edgeTLS, "ca": authority} {
			if value != "" {
				out[name] = value
			}
		}
		d.line(out)
		return
	}
	d.Printf("api   http://%s  (access key test, secret test)\n", srv.APIAddr())
	if edgeTLS != "" {
		d.Printf("edge  https://%s and http://%s\n", edgeTLS, srv.EdgeAddr())
	} else {
		d.Printf("edge  http://%s\n", srv.EdgeAddr())
	}
	if nats != "" {
		d.Printf("nats  nats://%s\n", nats)
	}
	switch {
	case made:
		d.Printf("ca    %s  is new: trust it once with\n      %s\n      or for one program, such as curl --cacert %s\n", authority, trust(authority), authority)
	case authority != "":
		d.Printf("ca    %s  (to trust it: %s)\n", authority, trust(authority))
	}
}

// redeploy builds and deploys what is stale. What goes wrong is shown; what runs goes on running.
func (d *development) redeploy(ctx context.Context) {
	m, err := manifest.Load(d.shown)
	if err == nil {
		d.deployer.Set(buildFunctions(m))
		d.deployer.SetSite(site.Folder(m))
		err = d.watch()
	}
	if err != nil {
		d.failed = true
		d.report(err)
		return
	}
	start := time.Now()
	result, err := d.deployer.deploy(ctx)
	if err == nil {
		var functions []client.Function
		if functions, err = d.settle(ctx, d.client, result.App); err == nil {
			err = d.warn(functions)
		}
	}
	err = errors.Join(err, d.watch()) // by now it is known what the functions are made of
	d.failed = err != nil
	if err != nil {
		if ctx.Err() == nil {
			d.report(err)
		}
		return
	}
	d.deployed = true
	d.show(result, time.Since(start))
}

// watch watches what the functions are made of.
func (d *development) watch() error {
	for _, source := range d.deployer.Sources() {
		if d.watched[source] {
			continue
		}
		info, err := os.Stat(source)
		switch {
		case err != nil:
			continue // the build says so
		case info.IsDir():
			err = d.watcher.tree(source)
		default:
			err = d.watcher.folder(filepath.Dir(source))
		}
		if err != nil {
			return err
		}
		d.watched[source] = true
	}
	return nil
}

// touched marks the functions that paths belong to and says whether there is anything to deploy.
func (d *development) touched(paths []string) bool {
	found := false
	for _, path := range paths {
		// After a failure anything may be the remedy, such as a folder that was missing.
		found = d.deployer.Changed(path) || found || d.failed || path == filepath.Join(d.dir, manifest.FileName)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			clear(d.watched) // one that is new is watched from now on
		}
	}
	return found
}

func (d *development) report(err error) {
	var faults manifest.Errors
	errors.As(err, &faults)
	switch {
	case d.JSON:
		failure := map[string]any{"message": err.Error()}
		if len(faults) > 0 {
			failure["faults"] = faults
		}
		d.line(map[string]any{"error": failure})
		return
	case len(faults) > 0:
		d.printFaults(faults)
	default:
		d.Note("%s %s", d.Errs.Paint("error:", terminal.Bold, terminal.Red), err)
	}
	if d.deployed {
		d.Note("what was deployed last goes on running; save a file to try again")
	} else {
		d.Note("save a file to try again")
	}
}

// show prints what a deployment changed, and all addresses when they are new.
func (d *development) show(result *client.Plan, took time.Duration) {
	if d.JSON {
		d.line(result)
		return
	}
	changes := map[string][]string{} // by action
	var routes []string
	for _, c := range result.Changes {
		if c.Kind == "route" {
			if c.Action != "delete" {
				routes = append(routes, c.Name)
			}
			continue
		}
		if c.Kind == "site" && c.Action != "delete" {
			routes = append(routes, "SITE /")
		}
		if c.Action != "unchanged" {
			changes[c.Action] = append(changes[c.Action], c.Name)
		}
	}
	var changed []string
	for _, action := range slices.Sorted(maps.Keys(changes)) {
		changed = append(changed, action+" "+strings.Join(changes[action], ", "))
	}
	if len(changed) == 0 {
		changed = []string{result.App + " is up to date"}
	}
	d.Printf("%s  %s  (%d ms)\n", time.Now().Format("15:04:05"), strings.Join(changed, "; "), took.Milliseconds())
	if slices.Equal(routes, d.routes) {
		return
	}
	d.routes = routes
	var text strings.Builder
	for _, r := range routes {
		method, path, _ := strings.Cut(r, " ")
		text.WriteString("  " + method + strings.Repeat(" ", max(0, 8-len(method))) + strings.TrimSuffix(result.URL, "/") + path + "\n")
	}
	d.Printf("%s", text.String())
}

// follow prints what functions log, and each request, until ctx ends.
func (d *development) follow(ctx context.Context) {
	shown := stream.New(d.Out)
	from := time.Now()
	var both sync.WaitGroup
	both.Go(func() {
		d.again(ctx, "log", func() error {
			q := url.Values{"follow": {"1"}, "since": {from.Format(time.RFC3339Nano)}}
			return d.client.Logs(ctx, q, func(e hansom.LogEvent) error {
				from = e.Time.Add(time.Microsecond)
				if d.JSON {
					return d.printLog(e)
				}
				shown.Log(e)
				return nil
			})
		})
	})
	both.Go(func() {
		d.again(ctx, "stream of requests", func() error {
			return d.client.Requests(ctx, func(r client.Request) error {
				if d.JSON {
					d.line(map[string]any{"request": r})
				} else {
					shown.Request(r)
				}
				return nil
			})
		})
	})
	both.Wait()
}

// again runs f until ctx ends, whatever becomes of it.
func (d *development) again(ctx context.Context, what string, f func() error) {
	for {
		err := f()
		if ctx.Err() != nil {
			return
		}
		d.Note("the %s broke off (%v); reading it again", what, err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// line prints one line of JSON: dev never ends, so its output is a stream.
func (d *development) line(v any) {
	if b, err := json.Marshal(v); err == nil {
		d.Printf("%s\n", b)
	}
}
