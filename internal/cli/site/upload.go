// Package site gives a server the files of a site that it lacks.
package site

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/build"
	"github.com/hansomcloud/hansom/internal/cli/client"
	"github.com/hansomcloud/hansom/internal/cli/terminal"
	"github.com/hansomcloud/hansom/internal/manifest"
	static "github.com/hansomcloud/hansom/internal/site"
)

// Files go to the server in archives of at most so much, several at once; larger ones go by themselves.
const (
	maxBatch      = 4 << 20 // bytes
	maxBatchFiles = 200
	maxInBatch    = 1 << 20 // bytes of a file
	uploadsAtOnce = 4
)

// Upload is the list of a site's files as a server takes it.
type Upload struct {
	Digest string
	text   []byte
	list   *artifact.Upload
	files  map[string]build.SiteFile // by digest
}

// Folder is the folder of an app's site; "" for none.
func Folder(m *manifest.Manifest) string {
	if m.Site == nil {
		return ""
	}
	return m.Site.Dir
}

// New makes the list of files that were found in a folder. Its errors are what a server would refuse; those of rules are manifest.Errors.
func New(found *build.Site, folder string) (*Upload, error) {
	u := &Upload{list: &artifact.Upload{}, files: map[string]build.SiteFile{}}
	var wrong manifest.Errors
	for _, f := range found.Files {
		u.list.Files = append(u.list.Files, artifact.File{Path: f.Path, SHA256: f.Digest, Size: f.Size})
		u.files[f.Digest] = f
		faults, err := checkRules(f, folder)
		if err != nil {
			return nil, fmt.Errorf("site: %w", err)
		}
		wrong = append(wrong, faults...)
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	var err error
	if u.text, u.Digest, err = u.list.Encode(); err == nil {
		_, err = artifact.ParseUpload(u.text)
	}
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	return u, nil
}

// checkRules finds what is wrong with a file, if it has rules.
func checkRules(f build.SiteFile, folder string) (out manifest.Errors, err error) {
	if !static.HasRules(f.Path) {
		return nil, nil
	}
	text, err := os.ReadFile(f.File)
	if err != nil {
		return nil, err
	}
	var faults *static.Faults
	errors.As(static.CheckRules(f.Path, text), &faults)
	if faults == nil {
		return nil, nil
	}
	lines := strings.Split(string(text), "\n")
	for _, one := range faults.List {
		source := strings.TrimRight(lines[one.Line-1], "\r")
		out = append(out, &manifest.Error{File: filepath.Join(folder, f.Path), Line: one.Line, Column: 1 + len(source) - len(strings.TrimLeft(source, " \t")), Message: one.Message, Source: source})
	}
	return out, nil
}

// Describe fills in what a manifest has to say of the files.
func (u *Upload) Describe(s *manifest.Site) {
	s.SHA256, s.Files, s.Bytes = u.Digest, len(u.list.Files), u.list.Bytes()
}

func (u *Upload) path() string { return "/_hansom/v1/sites/" + u.Digest }

// Offer gives a server the list, and returns the digests of the files that it lacks.
func (u *Upload) Offer(ctx context.Context, cl *client.Client) (missing []string, err error) {
	resp, err := cl.Send(ctx, "hansom", "PUT", u.path(), http.Header{}, bytes.NewReader(u.text), int64(len(u.text)), u.Digest)
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

// Send is Offer, and gives the server the files that it lacks. progress is told how many are there.
func (u *Upload) Send(ctx context.Context, cl *client.Client, progress func(format string, args ...any)) error {
	progress("comparing the site with the server's")
	defer progress("")
	missing, err := u.Offer(ctx, cl)
	if err != nil {
		return err
	}
	s := &sending{Upload: u, client: cl, progress: progress, count: len(missing)}
	for _, digest := range missing {
		f, ok := u.files[digest]
		if !ok {
			return fmt.Errorf("the server asks for a file that the site does not have: %.80q", digest)
		}
		s.bytes += f.Size
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploadsAtOnce)
	var batch []build.SiteFile
	var size int64
	send := func() {
		if files := batch; len(files) > 0 {
			g.Go(func() error { return s.batch(ctx, files) })
		}
		batch, size = nil, 0
	}
	for _, digest := range missing {
		f := u.files[digest]
		if f.Size > maxInBatch {
			g.Go(func() error { return s.large(ctx, f) })
			continue
		}
		if size+f.Size > maxBatch || len(batch) == maxBatchFiles {
			send()
		}
		batch, size = append(batch, f), size+f.Size
	}
	send()
	return g.Wait()
}

// sending is one run of Send.
type sending struct {
	*Upload
	client   *client.Client
	progress func(format string, args ...any)
	count    int   // of all files
	bytes    int64 // of all files

	mu        sync.Mutex
	done      int
	doneBytes int64
}

// sent notes files that were uploaded, and shows how far it is.
func (s *sending) sent(files ...build.SiteFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		s.done, s.doneBytes = s.done+1, s.doneBytes+f.Size
	}
	s.progress("uploading the site: %d of %d files (%s of %s)", s.done, s.count, terminal.Bytes(s.doneBytes), terminal.Bytes(s.bytes))
}

// batch uploads files in one archive, each under its digest.
func (s *sending) batch(ctx context.Context, files []build.SiteFile) error {
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
	resp, err := s.client.Send(ctx, "hansom", "POST", s.path()+"/files", http.Header{"Content-Type": {"application/x-tar"}}, bytes.NewReader(body.Bytes()), int64(body.Len()), client.Digest(body.Bytes()))
	if err != nil {
		return fmt.Errorf("site: %w", err)
	}
	s.sent(files...)
	return resp.Body.Close()
}

// large uploads a file by itself. Its digest is the hash that the request is signed with.
func (s *sending) large(ctx context.Context, f build.SiteFile) error {
	body, err := os.Open(f.File)
	if err != nil {
		return err
	}
	defer body.Close()
	resp, err := s.client.Send(ctx, "hansom", "PUT", s.path()+"/files/"+f.Digest, http.Header{"Content-Type": {"application/octet-stream"}}, body, f.Size, f.Digest)
	if err != nil {
		return fmt.Errorf("site: %s: %w", f.Path, err)
	}
	s.sent(f)
	return resp.Body.Close()
}
