package site

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
)

// Values of headers, shared by all answers.
var (
	noSniff    = []string{"nosniff"}
	byBytes    = []string{"bytes"}
	forever    = []string{"public, max-age=31536000, immutable"}
	revalidate = []string{"public, max-age=0, must-revalidate"}
	varyCoding = []string{"Accept-Encoding"}
	plainText  = []string{"text/plain; charset=utf-8"}
	noIndex    = []string{"noindex"}
	methods    = []string{"GET, HEAD, OPTIONS"}
)

// handler serves one site as one deployment has it. A request sees one tree, whatever is deployed meanwhile.
type handler struct {
	service  *Service
	site     hansom.Site
	preview  bool
	modified time.Time // Created in whole seconds, as HTTP has it
	since    []string  // the same as Last-Modified
	loaded   *entry
}

func (s *Service) newHandler(site hansom.Site, preview bool) *handler {
	at := site.Created.UTC().Truncate(time.Second)
	return &handler{service: s, site: site, preview: preview, modified: at, since: []string{at.Format(http.TimeFormat)},
		loaded: s.trees.entry(site.Project, site.Upload)}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["X-Content-Type-Options"] = noSniff
	if h.preview {
		header["X-Robots-Tag"] = noIndex
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		header["Allow"] = methods
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		header["Allow"] = methods
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	path, ok := requestPath(r)
	if !ok {
		refuse(w, http.StatusBadRequest)
		return
	}
	t := h.loaded.tree.Load()
	if t == nil {
		detach(r.Context())
		var err error
		if t, err = h.service.trees.load(r.Context(), h.loaded); err != nil {
			h.fail(w, err)
			return
		}
	}
	h.serve(w, r, t, path)
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, t *tree, path string) {
	var values url.Values
	query := func() url.Values {
		if values == nil {
			values = r.URL.Query()
		}
		return values
	}
	if t.redirects != nil && t.redirects.forced {
		if rule, taken := t.redirects.find("/"+path, query, true); rule != nil && h.follow(w, r, t, path, rule, taken) {
			return
		}
	}
	if !hidden(path) {
		switch at, ok := t.at(path, h.site.CleanURLs); {
		case ok && at.move:
			redirectTo(w, withQuery(escaped(at.to), r.URL.RawQuery), http.StatusPermanentRedirect)
			return
		case ok:
			h.send(w, r, t, path, at.file)
			return
		}
	}
	if t.redirects != nil {
		if rule, taken := t.redirects.find("/"+path, query, false); rule != nil && h.follow(w, r, t, path, rule, taken) {
			return
		}
	}
	if h.site.SPA && navigates(path) {
		if f := t.files[indexPage]; f != nil {
			h.send(w, r, t, path, f)
			return
		}
	}
	h.sendAs(w, r, t, path, t.missing(path), http.StatusNotFound)
}

// navigates tells whether a path without a file may be one that a page of the browser made up: it has no extension that files of the kinds
// that pages load have. A script that is not there must not become a page.
func navigates(path string) bool {
	if hidden(path) {
		return false
	}
	ext := extension(path)
	return ext == "" || ext == "html" || mimeTypes[ext] == ""
}

// follow does what a rule says. false when it leads where the request is already: such a rule does not count.
func (h *handler) follow(w http.ResponseWriter, r *http.Request, t *tree, path string, rule *redirect, values []string) bool {
	switch rule.status {
	case http.StatusOK, http.StatusNotFound, http.StatusGone:
		f := t.show(rule.path(values), h.site.CleanURLs)
		switch {
		case f == nil:
			h.sendAs(w, r, t, path, t.missing(path), http.StatusNotFound)
		case rule.status == http.StatusOK:
			h.send(w, r, t, path, f)
		default:
			h.sendAs(w, r, t, path, f, rule.status)
		}
		return true
	}
	to := rule.location(values, r.URL.RawQuery)
	if target, _, _ := strings.Cut(to, "?"); target == escaped(path) {
		return false
	}
	redirectTo(w, to, rule.status)
	return true
}

func redirectTo(w http.ResponseWriter, to string, status int) {
	h := w.Header()
	h["Location"] = []string{to}
	h["Cache-Control"] = revalidate
	h["Content-Length"] = []string{"0"}
	w.WriteHeader(status)
}

// refuse answers without a file.
func refuse(w http.ResponseWriter, status int) {
	w.Header()["Content-Type"] = plainText
	w.WriteHeader(status)
	_, _ = io.WriteString(w, http.StatusText(status)+"\n")
}

// fail answers when what is stored cannot be read.
func (h *handler) fail(w http.ResponseWriter, err error) {
	if hansom.KindOf(err) != hansom.Canceled {
		h.service.logger.Error("a file of a site cannot be read", "project", h.site.Project, "app", h.site.App, "deployment", h.site.Deployment, "error", err)
	}
	refuse(w, http.StatusInternalServerError)
}

func detach(ctx context.Context) {
	if f := hansom.FiberOf(ctx); f != nil {
		f.Detach()
	}
}

// describe sets the headers of a file in one form.
func (h *handler) describe(header http.Header, t *tree, path string, f *file, as int) {
	x := f.forms[as]
	header["Content-Type"] = f.mime
	header["Etag"] = x.etag
	header["Last-Modified"] = h.since
	header["Accept-Ranges"] = byBytes
	header["Cache-Control"] = revalidate
	if f.immutable {
		header["Cache-Control"] = forever
	}
	if f.vary {
		header["Vary"] = varyCoding
	}
	if e := encodings[as]; e != nil {
		header["Content-Encoding"] = e
	}
	if t.headers != nil {
		applyHeaders(t.headers, header, "/"+path)
	}
}

// send answers with a file that is at the path: conditions and ranges count.
func (h *handler) send(w http.ResponseWriter, r *http.Request, t *tree, path string, f *file) {
	as := choose(r.Header["Accept-Encoding"], f)
	x := f.forms[as]
	if r.Header["Range"] != nil || r.Header["If-Match"] != nil || r.Header["If-Unmodified-Since"] != nil {
		if h.sendPart(w, r, t, path, f, as) {
			return
		}
	} else if h.unchanged(r, x) {
		header := w.Header()
		h.describe(header, t, path, f, as)
		delete(header, "Content-Type")
		delete(header, "Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.write(w, r, t, path, f, as, http.StatusOK)
}

// sendAs answers with a page that stands for what is at the path, nil for none.
func (h *handler) sendAs(w http.ResponseWriter, r *http.Request, t *tree, path string, f *file, status int) {
	if f == nil {
		w.Header()["Cache-Control"] = revalidate
		if t.headers != nil {
			applyHeaders(t.headers, w.Header(), "/"+path)
		}
		refuse(w, status)
		return
	}
	h.write(w, r, t, path, f, choose(r.Header["Accept-Encoding"], f), status)
}

// unchanged says that the client has this form of the file already (RFC 9110 section 13.2.2).
func (h *handler) unchanged(r *http.Request, x *form) bool {
	if list := r.Header["If-None-Match"]; list != nil {
		for _, one := range list {
			if hasTag(one, x.etag[0]) {
				return true
			}
		}
		return false
	}
	if since := r.Header["If-Modified-Since"]; len(since) == 1 {
		at, err := http.ParseTime(since[0])
		return err == nil && !h.modified.After(at)
	}
	return false
}

// hasTag tells whether a list of entity tags has one, compared weakly.
func hasTag(list, tag string) bool {
	for list != "" {
		list = strings.TrimLeft(list, " \t,")
		if strings.HasPrefix(list, "*") {
			return true
		}
		list = strings.TrimPrefix(list, "W/")
		if !strings.HasPrefix(list, `"`) {
			return false
		}
		end := strings.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if list[:end+2] == tag {
			return true
		}
		list = list[end+2:]
	}
	return false
}

// write answers with all of a file.
func (h *handler) write(w http.ResponseWriter, r *http.Request, t *tree, path string, f *file, as, status int) {
	x := f.forms[as]
	var data []byte
	var large io.ReadCloser
	if r.Method != http.MethodHead {
		if x.size <= h.service.cfg.CacheFile {
			var ok bool
			if data, ok = h.service.cache.get(x.key); !ok {
				detach(r.Context())
				var err error
				if data, err = h.service.cache.load(r.Context(), x.key); err != nil {
					h.fail(w, err)
					return
				}
			}
		} else {
			detach(r.Context())
			var err error
			if large, err = h.service.open(r.Context(), x); err != nil {
				h.fail(w, err)
				return
			}
			defer large.Close()
		}
	}
	header := w.Header()
	h.describe(header, t, path, f, as)
	if status != http.StatusOK {
		delete(header, "Etag")
		delete(header, "Last-Modified")
		delete(header, "Accept-Ranges")
		if f.immutable {
			header["Cache-Control"] = revalidate
		}
	}
	header["Content-Length"] = x.length
	w.WriteHeader(status)
	switch {
	case large != nil:
		if n, err := io.CopyN(w, large, x.size); err != nil && n < x.size {
			panic(http.ErrAbortHandler) // the client has gone, or must see that it does not have all
		}
	case len(data) > 0:
		_, _ = w.Write(data) // an error means that the client has gone
	}
}

// maxRanges is how many ranges of a file one request may ask for; more are answered with all of it.
const maxRanges = 32

// sendPart lets net/http answer, which knows all conditions and ranges. false when the request is for all of the file after all.
func (h *handler) sendPart(w http.ResponseWriter, r *http.Request, t *tree, path string, f *file, as int) bool {
	ranges := r.Header["Range"]
	ignored := ranges != nil && (r.Method == http.MethodHead || len(ranges) > 1 || !strings.HasPrefix(ranges[0], "bytes=") || strings.Count(ranges[0], ",") >= maxRanges)
	if ignored {
		if r.Header["If-Match"] == nil && r.Header["If-Unmodified-Since"] == nil && r.Header["If-None-Match"] == nil && r.Header["If-Modified-Since"] == nil {
			return false
		}
		r = r.Clone(r.Context())
		delete(r.Header, "Range")
	}
	detach(r.Context()) // several ranges have a goroutine of their own
	x := f.forms[as]
	var content io.ReadSeeker
	if data, ok := h.service.cache.get(x.key); ok {
		content = bytes.NewReader(data)
	} else {
		file, err := h.service.open(r.Context(), x)
		if err != nil {
			h.fail(w, err)
			return true
		}
		defer file.Close()
		content = file
	}
	header := w.Header()
	h.describe(header, t, path, f, as)
	if encodings[as] != nil && r.Header["If-Match"] == nil && r.Header["If-Unmodified-Since"] == nil {
		header["Content-Length"] = x.length // which ServeContent leaves out for encoded content, and takes away where it is another
	}
	http.ServeContent(w, r, "", h.modified, content)
	return true
}

// choose is the form of a file that a client likes best (RFC 9110 section 12.5.3). One that accepts nothing that there is gets it plain.
func choose(accept []string, f *file) int {
	if !f.vary || len(accept) == 0 {
		return formPlain
	}
	const unset = -1
	quality := [3]int{unset, unset, unset}
	rest := unset // of "*"
	for _, line := range accept {
		for line != "" {
			var one string
			one, line, _ = strings.Cut(line, ",")
			name, q := weight(one)
			switch {
			case strings.EqualFold(name, "br"):
				quality[formBrotli] = q
			case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
				quality[formGzip] = q
			case strings.EqualFold(name, "identity"):
				quality[formPlain] = q
			case name == "*":
				rest = q
			}
		}
	}
	best, top := formPlain, 0
	for as := range quality {
		q := quality[as]
		if q == unset {
			q = max(rest, 0)
			if as == formPlain && rest == unset {
				q = 1 // acceptable, and less so than what is named
			}
		}
		if f.forms[as] != nil && q > top {
			best, top = as, q
		}
	}
	return best
}

// weight reads one element of Accept-Encoding; its quality is in thousandths.
func weight(s string) (name string, q int) {
	name, params, _ := strings.Cut(s, ";")
	name = strings.TrimSpace(name)
	q = 1000
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		p = strings.TrimSpace(p)
		if len(p) > 2 && (p[0] == 'q' || p[0] == 'Q') && p[1] == '=' {
			q = thousandths(p[2:])
		}
	}
	return name, q
}

// thousandths reads a quality: 0 to 1 with up to three digits; anything else is 0.
func thousandths(s string) int {
	whole, rest, _ := strings.Cut(s, ".")
	if len(rest) > 3 || whole != "0" && whole != "1" {
		return 0
	}
	n := int(whole[0]-'0') * 1000
	for i, unit := 0, 100; i < len(rest); i, unit = i+1, unit/10 {
		if rest[i] < '0' || rest[i] > '9' {
			return 0
		}
		n += int(rest[i]-'0') * unit
	}
	return min(n, 1000)
}
