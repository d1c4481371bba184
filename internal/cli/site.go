package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/command"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// Files go to the server in archives of at most so much, several at once; larger ones go by themselves.
const (
	maxBatch      = 4 << 20 // bytes
	maxBatchFiles = 200
	maxInBatch    = 1 << 20 // bytes of a file
	uploadsAtOnce = 4
)

// siteUpload is the list of a site's files as the server takes it.
type siteUpload struct {
	text   []byte
	digest string
	files  map[string]build.SiteFile // by digest
}

// siteFolder is the folder of an app's site; "" for none.
func siteFolder(m *manifest.Manifest) string {
	if m.Site == nil {
		return ""
	}
	return m.Site.Dir
}

// listSite lists the files of the site and fills in what the manifest has to say of them.
func (d *deployer) listSite(ctx context.Context, m *manifest.Manifest) error {
	d.site = nil
	if m.Site == nil {
		return nil
	}
	found, err := d.Site(ctx, d.progress)
	if err != nil {
		return siteError(ctx, err)
	}
	if len(found.Skipped) > 0 {
		names := strings.Join(found.Skipped[:min(3, len(found.Skipped))], ", ")
		if len(found.Skipped) > 3 {
			names += ", ..."
		}
		d.note("warning: site: not published, since the name begins with a dot: %s", terminal.Printable(names))
	}
	u := &artifact.Upload{}
	s := &siteUpload{files: map[string]build.SiteFile{}}
	for _, f := range found.Files {
		u.Files = append(u.Files, artifact.File{Path: f.Path, SHA256: f.Digest, Size: f.Size})
		s.files[f.Digest] = f
	}
	if s.text, s.digest, err = u.Encode(); err != nil {
		return err
	}
	if _, err := artifact.ParseUpload(s.text); err != nil { // before it is sent
		return siteError(ctx, fmt.Errorf("site: %w", err))
	}
	m.Site.SHA256, m.Site.Files, m.Site.Bytes = s.digest, len(u.Files), u.Bytes()
	d.site = s
	return nil
}

// siteError gives what is wrong with a site's folder its exit code.
func siteError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &command.ExitError{Code: command.ExitManifest, Message: err.Error()}
}

func (s *siteUpload) path() string { return "/_hansom/v1/sites/" + s.digest }

// putList gives the server the list of the site's files and returns the digests of those that it lacks.
func (d *deployer) putList(ctx context.Context) (missing []string, err error) {
	if d.site == nil {
		return nil, nil
	}
	resp, err := d.client.Send(ctx, "hansom", "PUT", d.site.path(), http.Header{}, bytes.NewReader(d.site.text), int64(len(d.site.text)), d.site.digest)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	defer resp.Body.Close()
	var out struct{ Missing []string }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("the server's answer broke off: %w", err)
	}
	return out.Missing, nil
}

// uploadSite gives the server the files of the site that it lacks.
func (d *deployer) uploadSite(ctx context.Context) error {
	if d.site == nil || d.has[d.site.digest] {
		return nil
	}
	d.progress("comparing the site with the server's")
	defer d.progress("")
	missing, err := d.putList(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploadsAtOnce)
	done := d.counter(missing)
	var batch []build.SiteFile
	var size int64
	send := func() {
		if files := batch; len(files) > 0 {
			g.Go(func() error { return d.putBatch(ctx, files, done) })
		}
		batch, size = nil, 0
	}
	for _, digest := range missing {
		f, ok := d.site.files[digest]
		if !ok {
			return fmt.Errorf("the server asks for a file that the site does not have: %.80q", digest)
		}
		if f.Size > maxInBatch {
			g.Go(func() error { return d.putLarge(ctx, f, done) })
			continue
		}
		if size+f.Size > maxBatch || len(batch) == maxBatchFiles {
			send()
		}
		batch, size = append(batch, f), size+f.Size
	}
	send()
	if err := g.Wait(); err != nil {
		return err
	}
	d.has[d.site.digest] = true
	return nil
}

// counter returns what is to be told of files that were uploaded, and shows how far it is.
func (d *deployer) counter(missing []string) func(files ...build.SiteFile) {
	var total, sent int64
	for _, digest := range missing {
		total += d.site.files[digest].Size
	}
	n := 0
	var mu sync.Mutex
	return func(files ...build.SiteFile) {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range files {
			n, sent = n+1, sent+f.Size
		}
		d.progress("uploading the site: %d of %d files (%s of %s)", n, len(missing), terminal.Bytes(sent), terminal.Bytes(total))
	}
}

// putBatch uploads files in one archive, each under its digest.
func (d *deployer) putBatch(ctx context.Context, files []build.SiteFile, done func(...build.SiteFile)) error {
	var body bytes.Buffer
	w := tar.NewWriter(&body)
	for _, f := range files {
		data, err := os.ReadFile(f.File)
		if err != nil {
			return err
		}
		if client.Digest(data) != f.Digest {
			return fmt.Errorf("%s changed while the site was uploaded; deploy again", f.Path)
		}
		if err := w.WriteHeader(&tar.Header{Name: f.Digest, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	resp, err := d.client.Send(ctx, "hansom", "POST", d.site.path()+"/files", http.Header{"Content-Type": {"application/x-tar"}}, bytes.NewReader(body.Bytes()), int64(body.Len()), client.Digest(body.Bytes()))
	if err != nil {
		return fmt.Errorf("site: %w", err)
	}
	done(files...)
	return resp.Body.Close()
}

// putLarge uploads a file by itself. Its digest is the hash that the request is signed with.
func (d *deployer) putLarge(ctx context.Context, f build.SiteFile, done func(...build.SiteFile)) error {
	body, err := os.Open(f.File)
	if err != nil {
		return err
	}
	defer body.Close()
	resp, err := d.client.Send(ctx, "hansom", "PUT", d.site.path()+"/files/"+f.Digest, http.Header{"Content-Type": {"application/octet-stream"}}, body, f.Size, f.Digest)
	if err != nil {
		return fmt.Errorf("site: %s: %w", f.Path, err)
	}
	done(f)
	return resp.Body.Close()
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
