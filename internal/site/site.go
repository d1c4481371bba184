// Package site serves the static files of apps. What is uploaded never changes: a list of files, and the files by digest (see package
// artifact). Which upload is live is said by the app's current deployment, so that files and routes change in one moment; earlier
// deployments have hosts of their own. See docs/reference/sites.md.
package site

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/db"
)

// Files are where uploads are kept; see artifact.Store for what it does.
type Files interface {
	Uploads
	OpenFile(ctx context.Context, project, digest, suffix string) (io.ReadSeekCloser, int64, error)
	FileSize(ctx context.Context, project, digest, suffix string) (size int64, ok bool, err error)
	PutFile(ctx context.Context, project string, f *artifact.File, r io.Reader) error
	PutVariant(ctx context.Context, project, digest, suffix string, data []byte) error
}

// Uploads are the lists of files.
type Uploads interface {
	PutUpload(ctx context.Context, project, digest string, text []byte) (u *artifact.Upload, missing []string, err error)
	ReadUpload(ctx context.Context, project, digest string) (*artifact.Upload, error)
	KeepUpload(project, digest string, u *artifact.Upload)
	Missing(ctx context.Context, project string, u *artifact.Upload) ([]string, error)
}

// Deployments are those of apps.
type Deployments interface {
	// Site is the site that an app had at a deployment that is kept. Errors: NotFound.
	Site(ctx context.Context, project, app string, number int64) (hansom.Site, error)
}

// Config of the service.
type Config struct {
	Cache     int64 // bytes of files in memory
	CacheFile int64 // larger files are read from where they are kept
	Trees     int   // uploads in memory beside those that are live
}

// DefaultConfig keeps 64 MB of files of up to 256 KB in memory.
func DefaultConfig() Config { return Config{Cache: 64 << 20, CacheFile: 256 << 10, Trees: 16} }

// App is one of a project, with or without a site.
type App struct {
	Slug    string // of the project; "" for the default one, which hosts do not name
	Project string
	Name    string
	Latest  int64        // number of its current deployment
	Site    *hansom.Site // nil without
}

// Service keeps and serves sites. Its methods may be called from several goroutines.
type Service struct {
	cfg         Config
	files       Files
	deployments Deployments
	logger      *slog.Logger
	cache       *cache
	trees       *trees
	packing     chan struct{} // bounds the processors that compress
	live        atomic.Pointer[picture]

	mu       sync.Mutex
	previews map[previewKey]*handler
}

// picture is what is live.
type picture struct {
	sites map[siteKey]*handler
	apps  map[string]App // by the label of their hosts
}

type siteKey struct{ project, app string }

type previewKey struct {
	siteKey
	number int64
}

// New returns a service that knows no app yet. deployments may be set later, before the first request.
func New(cfg Config, files Files, logger *slog.Logger) *Service {
	s := &Service{cfg: cfg, files: files, logger: logger.With("component", "site"), packing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), previews: map[previewKey]*handler{}}
	s.cache = &cache{limit: cfg.Cache, open: func(ctx context.Context, k blobKey) (io.ReadSeekCloser, int64, error) {
		return files.OpenFile(ctx, k.project, k.digest, k.suffix)
	}}
	s.trees = &trees{read: s.loadTree, keep: cfg.Trees, all: map[treeKey]*entry{}}
	s.live.Store(&picture{})
	return s
}

// SetDeployments says where earlier deployments are looked up. It is called once, before anything is served.
func (s *Service) SetDeployments(d Deployments) { s.deployments = d }

// SetApps says which apps there are and what is live of each. Requests under way see what was live when they began.
func (s *Service) SetApps(apps []App) {
	old := s.live.Load()
	next := &picture{sites: map[siteKey]*handler{}, apps: map[string]App{}}
	for _, a := range apps {
		label := a.Name
		if a.Slug != "" {
			label += "." + a.Slug
		}
		next.apps[label] = a
		if a.Site == nil {
			continue
		}
		key := siteKey{a.Project, a.Name}
		if h := old.sites[key]; h != nil && h.site == *a.Site {
			next.sites[key] = h
			continue
		}
		next.sites[key] = s.newHandler(*a.Site, false)
	}
	s.live.Store(next)
	s.mu.Lock()
	clear(s.previews) // a new app may have the name of one that is gone
	s.mu.Unlock()
	s.trees.prune(next.sites)
}

// Site is what serves the live site of an app; nil when it has none.
func (s *Service) Site(project, app string) http.Handler {
	if h := s.live.Load().sites[siteKey{project, app}]; h != nil {
		return h
	}
	return nil
}

// PreviewLabel is the first part of the host that shows a deployment of an app.
func PreviewLabel(app string, number int64) string { return app + "--" + strconv.FormatInt(number, 10) }

// Preview serves the site of a deployment at its own host, whose part below the base domain is label: <app>--<number>, or
// <app>--<number>.<project>. nil when no app has had such a deployment.
func (s *Service) Preview(label string) http.Handler {
	name, slug, _ := strings.Cut(label, ".")
	i := strings.LastIndex(name, "--")
	if i < 0 || i+2 == len(name) || name[i+2] == '0' || name[i+2] == '+' {
		return nil
	}
	number, err := strconv.ParseInt(name[i+2:], 10, 64)
	if err != nil || number < 1 {
		return nil
	}
	host := name[:i]
	if slug != "" {
		host += "." + slug
	}
	a, ok := s.live.Load().apps[host]
	if !ok || number > a.Latest {
		return nil
	}
	return preview{s, a, number}
}

// preview serves a deployment, which is looked up at the first request.
type preview struct {
	service *Service
	app     App
	number  int64
}

func (p preview) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, err := p.service.preview(r.Context(), &p.app, p.number)
	switch {
	case hansom.KindOf(err) == hansom.NotFound:
		w.Header()["X-Robots-Tag"] = noIndex
		refuse(w, http.StatusNotFound)
	case err != nil:
		p.service.logger.Error("a deployment cannot be read", "project", p.app.Project, "app", p.app.Name, "deployment", p.number, "error", err)
		refuse(w, http.StatusInternalServerError)
	default:
		h.ServeHTTP(w, r)
	}
}

func (s *Service) preview(ctx context.Context, a *App, number int64) (*handler, error) {
	key := previewKey{siteKey{a.Project, a.Name}, number}
	s.mu.Lock()
	h := s.previews[key]
	s.mu.Unlock()
	if h != nil {
		return h, nil
	}
	detach(ctx)
	of := s.live.Load()
	site, err := s.deployments.Site(ctx, a.Project, a.Name, number)
	if err != nil {
		return nil, err
	}
	h = s.newHandler(site, true)
	s.mu.Lock()
	if s.live.Load() == of { // else it may be of an app that has gone
		if len(s.previews) >= s.cfg.Trees {
			clear(s.previews)
		}
		s.previews[key] = h
	}
	s.mu.Unlock()
	s.trees.prune(of.sites)
	return h, nil
}

// open opens a form of a file.
func (s *Service) open(ctx context.Context, x *form) (io.ReadSeekCloser, error) {
	k := x.key.(blobKey)
	r, _, err := s.files.OpenFile(ctx, k.project, k.digest, k.suffix)
	return r, err
}

// Upload is what is known of a list of files that was uploaded.
type Upload struct {
	SHA256  string   `json:"sha256"`
	Files   int      `json:"files"`
	Bytes   int64    `json:"bytes"`
	Missing []string `json:"missing"` // digests of files that are to be uploaded
}

// PutUpload stores a list of files and tells which of them are missing. Errors: Invalid, TooLarge.
func (s *Service) PutUpload(ctx context.Context, project, digest string, text []byte) (Upload, error) {
	u, missing, err := s.files.PutUpload(ctx, project, digest, text)
	if err != nil {
		return Upload{}, err
	}
	return Upload{digest, len(u.Files), u.Bytes(), missing}, nil
}

// PutFile stores a file of an upload whose list is there. Errors: NotFound when the list is not, Invalid when the file is none of it, or has another
// digest.
func (s *Service) PutFile(ctx context.Context, project, upload, digest string, r io.Reader) error {
	u, err := s.files.ReadUpload(ctx, project, upload)
	if err != nil {
		return err
	}
	return s.putFile(ctx, project, byDigest(u), digest, r)
}

// byDigest are the files of an upload. The same bytes may have names of several types: then one that is compressed stands for them.
func byDigest(u *artifact.Upload) map[string]*artifact.File {
	out := make(map[string]*artifact.File, len(u.Files))
	for i := range u.Files {
		if f := &u.Files[i]; out[f.SHA256] == nil || packed(f) {
			out[f.SHA256] = f
		}
	}
	return out
}

func (s *Service) putFile(ctx context.Context, project string, files map[string]*artifact.File, digest string, r io.Reader) error {
	f := files[digest]
	if f == nil {
		return hansom.Errorf(hansom.Invalid, "put file", "the list of files has none with the digest %.80s", digest)
	}
	if err := s.files.PutFile(ctx, project, f, r); err != nil || !packed(f) {
		return err
	}
	return s.pack(ctx, project, f)
}

// PutFiles stores files of an upload from a tar archive in which they are called by their digests, and says how many there were.
// Errors: as of PutFile.
func (s *Service) PutFiles(ctx context.Context, project, upload string, r io.Reader) (n int, err error) {
	const op = "put files"
	u, err := s.files.ReadUpload(ctx, project, upload)
	if err != nil {
		return 0, err
	}
	files := byDigest(u)
	g, ctx := errgroup.WithContext(ctx) // the disk takes many at once in the time of one
	g.SetLimit(storedAtOnce)
	defer func() {
		if failed := g.Wait(); failed != nil {
			err = failed
		}
	}()
	for tr := tar.NewReader(r); ctx.Err() == nil; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			if hansom.KindOf(err) != hansom.Internal {
				return n, err
			}
			return n, hansom.Errorf(hansom.Invalid, op, "the body is no tar archive: %w", err)
		}
		if h.Size > maxInArchive {
			return n, hansom.Errorf(hansom.TooLarge, op, "a file in an archive has at most %d MB; upload larger ones by themselves", maxInArchive>>20)
		}
		data := make([]byte, h.Size)
		if _, err := io.ReadFull(tr, data); err != nil {
			if hansom.KindOf(err) != hansom.Internal {
				return n, err
			}
			return n, hansom.Errorf(hansom.Canceled, op, "the body broke off: %w", err)
		}
		g.Go(func() error { return s.putFile(ctx, project, files, h.Name, bytes.NewReader(data)) })
	}
	return n, nil
}

// Files of an archive are stored so many at once, and are small.
const (
	storedAtOnce = 16
	maxInArchive = 4 << 20 // bytes
)

// Prepare sees to it that an upload can be served at once: all files are there, the rules in it are right, what gains by it is compressed,
// and it is in memory. Errors: Invalid, also when its list or a file of it is not there.
func (s *Service) Prepare(ctx context.Context, project, upload string) error {
	const op = "prepare site"
	u, err := s.files.ReadUpload(ctx, project, upload)
	if err != nil {
		return err
	}
	missing, err := s.files.Missing(ctx, project, u)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return hansom.Errorf(hansom.NotFound, op, "%s and %d other files of the site have not been uploaded; upload them first", u.Find(missing[0]).Path, len(missing)-1)
	}
	if err := s.packAll(ctx, project, u); err != nil {
		return err
	}
	_, err = s.trees.load(ctx, s.trees.entry(project, upload))
	return err
}

// Deploy is called after Prepare, in the transaction that refers to the upload: it stays from then on. Errors: NotFound when it is not there.
func (s *Service) Deploy(ctx context.Context, _ *db.Tx, project, upload string) error {
	u, err := s.files.ReadUpload(ctx, project, upload)
	if err != nil {
		return err
	}
	s.files.KeepUpload(project, upload, u)
	return nil
}

// Compare counts the files that an upload has more, others, and less than an earlier one. ok is false when a list is not there.
func (s *Service) Compare(ctx context.Context, project, old, next string) (added, changed, removed int, ok bool) {
	before, err := s.files.ReadUpload(ctx, project, old)
	if err != nil {
		return 0, 0, 0, false
	}
	after, err := s.files.ReadUpload(ctx, project, next)
	if err != nil {
		return 0, 0, 0, false
	}
	had := make(map[string]string, len(before.Files))
	for i := range before.Files {
		had[before.Files[i].Path] = before.Files[i].SHA256
	}
	for i := range after.Files {
		f := &after.Files[i]
		switch digest, there := had[f.Path]; {
		case !there:
			added++
		case digest != f.SHA256:
			changed++
		}
		delete(had, f.Path)
	}
	return added, changed, len(had), true
}
