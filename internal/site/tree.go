package site

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
)

// tree is an upload as it is served. It does not change.
type tree struct {
	files     map[string]*file // by path
	clean     map[string]place // by path as asked for, with clean URLs
	exact     map[string]place // without
	redirects *redirects       // nil without
	headers   []*headerRule
	notFound  bool // there is a 404.html somewhere
}

// place is what is at a path: a file, or the canonical path of one.
type place struct {
	file *file
	to   string // decoded, without the first slash
	move bool
}

// file of a tree. What a header says of it is made once.
type file struct {
	path      string
	mime      []string
	immutable bool
	vary      bool // there is more than one form of it
	forms     [3]*form
}

// Forms of a file, the best first.
const (
	formBrotli = iota
	formGzip
	formPlain
)

var (
	suffixes  = [3]string{".br", ".gz", ""}
	encodings = [3][]string{{"br"}, {"gzip"}, nil}
)

// form is how a file is sent.
type form struct {
	key    any // blobKey, of the cache
	etag   []string
	length []string
	size   int64
}

// blobKey names the bytes of a form.
type blobKey struct{ project, digest, suffix string }

func newForm(key blobKey, size int64, tag string) *form {
	return &form{key: key, etag: []string{`"` + tag + `"`}, length: []string{strconv.FormatInt(size, 10)}, size: size}
}

// loadTree reads an upload.
func (s *Service) loadTree(ctx context.Context, project, digest string) (*tree, error) {
	u, err := s.files.ReadUpload(ctx, project, digest)
	if err != nil {
		return nil, err
	}
	t := &tree{files: make(map[string]*file, len(u.Files)), clean: make(map[string]place, 2*len(u.Files)), exact: make(map[string]place, len(u.Files))}
	given := map[string]*artifact.File{} // files that are forms of others
	for i := range u.Files {
		f := &u.Files[i]
		if strings.HasSuffix(f.Path, ".br") || strings.HasSuffix(f.Path, ".gz") {
			given[f.Path] = f
		}
	}
	types := map[string][]string{}
	for i := range u.Files {
		f := &u.Files[i]
		if HasRules(f.Path) {
			if err := s.readRules(ctx, project, f, t); err != nil {
				return nil, err
			}
			continue
		}
		mime := contentType(f.Path)
		if types[mime] == nil {
			types[mime] = []string{mime}
		}
		x := &file{path: f.Path, mime: types[mime], immutable: hashed(f.Path)}
		tag := f.SHA256[:32]
		x.forms[formPlain] = newForm(blobKey{project, f.SHA256, ""}, f.Size, tag)
		for form, suffix := range suffixes[:formPlain] {
			if own := given[f.Path+suffix]; own != nil && own.Size > 0 {
				x.forms[form] = newForm(blobKey{project, own.SHA256, ""}, own.Size, tag+"-"+own.SHA256[:8])
				continue
			}
			if !packed(f) {
				continue
			}
			size, ok, err := s.files.FileSize(ctx, project, f.SHA256, suffix)
			if err != nil {
				return nil, err
			}
			if ok && size > 0 {
				x.forms[form] = newForm(blobKey{project, f.SHA256, suffix}, size, tag+"-"+suffix[1:])
			}
		}
		x.vary = x.forms[formBrotli] != nil || x.forms[formGzip] != nil
		t.files[f.Path] = x
		t.notFound = t.notFound || f.Path == notFoundPage || strings.HasSuffix(f.Path, "/"+notFoundPage)
	}
	t.places()
	return t, nil
}

// readRules reads _redirects or _headers. Errors: Invalid, with a line for each fault.
func (s *Service) readRules(ctx context.Context, project string, f *artifact.File, t *tree) error {
	const op = "read rules of site"
	if f.Size > maxRules {
		return hansom.Errorf(hansom.Invalid, op, "%s has %d bytes; the limit is %d", f.Path, f.Size, maxRules)
	}
	r, _, err := s.files.OpenFile(ctx, project, f.SHA256, "")
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if f.Path == headersFile {
		t.headers, err = parseHeaders(string(text))
	} else {
		t.redirects, err = parseRedirects(string(text))
	}
	if err != nil {
		return hansom.Errorf(hansom.Invalid, op, "%w", err)
	}
	return nil
}

const (
	indexPage    = "index.html"
	notFoundPage = "404.html"
)

// places says what is at each path, in the order of what counts: files, folders, pages without .html, and what leads to these.
func (t *tree) places() {
	pages := []string{} // that have a path without .html
	for p, f := range t.files {
		t.exact[p] = place{file: f}
		if _, ok := strings.CutSuffix(p, ".html"); ok {
			pages = append(pages, p)
		} else {
			t.clean[p] = place{file: f}
		}
	}
	slices.Sort(pages)
	folder := func(p string) (string, bool) { // of an index page, with its slash
		if p == indexPage {
			return "", true
		}
		dir, ok := strings.CutSuffix(p, "/"+indexPage)
		return dir + "/", ok
	}
	for _, p := range pages {
		if dir, ok := folder(p); ok {
			t.exact[dir], t.clean[dir] = place{file: t.files[p]}, place{file: t.files[p]}
		}
	}
	for _, p := range pages {
		if _, ok := folder(p); ok {
			continue
		}
		stem := strings.TrimSuffix(p, ".html")
		if stem == "" || strings.HasSuffix(stem, "/") || t.files[stem] != nil {
			t.clean[p] = place{file: t.files[p]} // another file is at the shorter path
			continue
		}
		t.clean[stem] = place{file: t.files[p]}
		t.clean[p] = place{to: stem, move: true}
		lead(t.clean, stem+"/", stem)
	}
	for _, p := range pages {
		if dir, ok := folder(p); ok {
			t.clean[p] = place{to: dir, move: true}
			if dir != "" {
				lead(t.clean, strings.TrimSuffix(dir, "/"), dir)
				lead(t.exact, strings.TrimSuffix(dir, "/"), dir)
			}
		}
	}
}

// lead sends who asks for a path where nothing is to another.
func lead(places map[string]place, from, to string) {
	if _, taken := places[from]; !taken {
		places[from] = place{to: to, move: true}
	}
}

// at is what is at a path.
func (t *tree) at(path string, clean bool) (place, bool) {
	if clean {
		p, ok := t.clean[path]
		return p, ok
	}
	p, ok := t.exact[path]
	return p, ok
}

// show is the file that a rule names: by its own path or as a request would.
func (t *tree) show(path string, clean bool) *file {
	if f := t.files[path]; f != nil {
		return f
	}
	p, ok := t.at(path, clean)
	if ok && p.move {
		p, _ = t.at(p.to, clean)
	}
	return p.file
}

// missing is the page for a path where nothing is: the 404.html of the nearest folder; nil without one.
func (t *tree) missing(path string) *file {
	if !t.notFound {
		return nil
	}
	for {
		i := strings.LastIndexByte(path, '/')
		if f := t.files[path[:i+1]+notFoundPage]; f != nil || i < 0 {
			return f
		}
		path = path[:i]
	}
}

// escaped is a path of the site as a Location has it.
func escaped(path string) string {
	return "/" + strings.TrimPrefix((&url.URL{Path: "/" + path}).EscapedPath(), "/")
}
