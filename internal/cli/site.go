package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/site"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// listSite lists the files of the site, and fills in what the manifest has to say of them.
func (d *deployer) listSite(ctx context.Context, m *manifest.Manifest) error {
	d.site = nil
	if m.Site == nil {
		return nil
	}
	found, err := d.Site(ctx, d.progress)
	if err == nil {
		d.site, err = site.New(found, filepath.Join(d.dir, m.Site.Dir))
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return manifestError(err)
	}
	if len(found.Skipped) > 0 {
		names := strings.Join(found.Skipped[:min(3, len(found.Skipped))], ", ")
		if len(found.Skipped) > 3 {
			names += ", ..."
		}
		d.note("warning: site: not published, since the name begins with a dot: %s", terminal.Printable(names))
	}
	d.site.Describe(m.Site)
	return nil
}

// offerSite gives the server the list of the site's files, so that it can tell how many of them change.
func (d *deployer) offerSite(ctx context.Context) error {
	if d.site == nil {
		return nil
	}
	_, err := d.site.Offer(ctx, d.client)
	return err
}

// uploadSite gives the server the files of the site that it lacks.
func (d *deployer) uploadSite(ctx context.Context) error {
	if d.site == nil || d.has[d.site.Digest] {
		return nil
	}
	err := d.site.Send(ctx, d.client, d.progress)
	d.has[d.site.Digest] = err == nil
	return err
}

// printAddresses shows where an app answers, and where its site as of this deployment will go on doing so.
func (c *program) printAddresses(p *client.Plan) {
	c.Printf("%s\n", p.URL)
	if p.Preview != "" {
		c.Printf("%s  (this deployment)\n", p.Preview)
	}
}

// printSites lists the sites of apps, if there are any.
func (c *program) printSites(apps []client.App) {
	var rows [][]string
	for _, a := range apps {
		if s := a.Site; s != nil {
			rows = append(rows, []string{a.Name, strconv.Itoa(s.Files), terminal.Bytes(s.Bytes), s.Preview})
		}
	}
	if len(rows) > 0 {
		c.Printf("\n")
		c.Out.Table([]string{"SITE", "FILES", "SIZE", "THIS DEPLOYMENT"}, rows)
	}
}

// printPreview prints the address of the site of a deployment.
func (c *program) printPreview(ctx context.Context, cl *client.Client, app string, number int64) error {
	list, err := cl.Deployments(ctx, app)
	if err != nil {
		return err
	}
	for _, d := range list {
		switch {
		case d.Number != number:
		case d.Preview == "":
			return fmt.Errorf("the deployment %d of %s has no site", number, app)
		default:
			return c.printURL(d.Preview)
		}
	}
	return fmt.Errorf("%s has no deployment %d; `hansom history %s` lists those that are kept", app, number, app)
}
