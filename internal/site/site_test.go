package site

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
)

// Several ranges come as parts, each with its place.
func TestSeveralRanges(t *testing.T) {
	f := newFixture(t)
	f.deploy(t, 1, map[string]string{"v.mp4": strings.Repeat("0123456789", 100)})
	w := f.get(t, "GET", "/v.mp4", "Range: bytes=0-3,500-509,-5")
	kind, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if w.Code != 206 || kind != "multipart/byteranges" || err != nil {
		t.Fatal(w.Code, kind, err)
	}
	r := multipart.NewReader(w.Body, params["boundary"])
	for _, want := range [][2]string{{"bytes 0-3/1000", "0123"}, {"bytes 500-509/1000", "0123456789"}, {"bytes 995-999/1000", "56789"}} {
		p, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(p)
		if err != nil || string(text) != want[1] || p.Header.Get("Content-Range") != want[0] || p.Header.Get("Content-Type") != "video/mp4" {
			t.Errorf("%q %v %v, want %v", text, p.Header, err, want)
		}
	}
	if _, err := r.NextPart(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// What is compressed is what was uploaded.
func TestPacked(t *testing.T) {
	f := newFixture(t)
	text := strings.Repeat("all work and no play makes a dull page\n", 1000)
	f.deploy(t, 1, map[string]string{"a.txt": text})
	w := f.get(t, "GET", "/a.txt", "Accept-Encoding: br")
	got, err := io.ReadAll(brotli.NewReader(w.Body))
	if err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if w.Header().Get("Content-Length") == "" || w.Body.Len() > len(text)/10 {
		t.Error(w.Header(), w.Body.Len())
	}
	// Noise gains nothing, and is not tried again.
	noise := make([]byte, 4<<10)
	rand.Read(noise)
	f.deploy(t, 2, map[string]string{"noise.txt": string(noise)})
	if w := f.get(t, "GET", "/noise.txt", "Accept-Encoding: br, gzip"); w.Header().Get("Content-Encoding") != "" || w.Header().Get("Vary") != "" {
		t.Error(w.Header())
	}
	if size, ok, err := f.store.FileSize(t.Context(), project, artifact.Digest(noise), ".br"); size != 0 || !ok || err != nil {
		t.Error(size, ok, err)
	}
}

// Large files are read from where they are kept, small ones once.
func TestLargeFile(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.CacheFile = 1000 })
	large, small := strings.Repeat("x", 5000), strings.Repeat("y", 900)
	f.deploy(t, 1, map[string]string{"large.bin": large, "small.bin": small})
	for range 2 {
		if w := f.get(t, "GET", "/large.bin"); w.Body.String() != large || w.Header().Get("Content-Length") != "5000" {
			t.Error(w.Body.Len())
		}
		if w := f.get(t, "GET", "/small.bin"); w.Body.String() != small {
			t.Error(w.Body.Len())
		}
		if w := f.get(t, "GET", "/large.bin", "Range: bytes=4990-"); w.Code != 206 || w.Body.Len() != 10 {
			t.Error(w.Code, w.Body.Len())
		}
	}
	if err := f.blobs.Delete(t.Context(), artifact.FileKey(project, artifact.Digest([]byte(small)))); err != nil {
		t.Fatal(err)
	}
	if w := f.get(t, "GET", "/small.bin"); w.Body.String() != small {
		t.Error("it is not in memory")
	}
	if err := f.blobs.Delete(t.Context(), artifact.FileKey(project, artifact.Digest([]byte(large)))); err != nil {
		t.Fatal(err)
	}
	if w := f.get(t, "GET", "/large.bin"); w.Code != 500 || w.Header().Get("Etag") != "" || w.Header().Get("Content-Length") == "5000" {
		t.Error(w.Code, w.Header())
	}
}

// The memory of files stays within its bound, whatever is asked for.
func TestCacheIsBounded(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Cache = 10_000 })
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("%d.bin", i)] = strings.Repeat(fmt.Sprintf("%03d", i), 333)
	}
	f.deploy(t, 1, files)
	for range 3 {
		for i := range 100 {
			name := fmt.Sprintf("%d.bin", i)
			if w := f.get(t, "GET", "/"+name); w.Body.String() != files[name] {
				t.Fatal(name)
			}
			f.get(t, "GET", "/0.bin") // what is asked for often stays
		}
	}
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	var held int64
	f.cache.bodies.Range(func(_, v any) bool { held += int64(len(v.(*body).data)); return true })
	if held != f.cache.size || held > 10_000 || held < 8_000 {
		t.Errorf("%d bytes in memory, counted %d", held, f.cache.size)
	}
	if _, ok := f.cache.get(blobKey{project, artifact.Digest([]byte(files["0.bin"])), ""}); !ok {
		t.Error("the file that was asked for most has gone")
	}
}

// Deployments have hosts of their own, also those that are not live.
func TestPreview(t *testing.T) {
	f := newFixture(t)
	f.deploy(t, 1, map[string]string{"index.html": "one"})
	f.deploy(t, 2, map[string]string{"index.html": "two"})
	live := f.past[2]
	other := hansom.Site{Project: "111111111111", App: "pages", Deployment: 2, Created: created, Upload: live.Upload}
	f.SetApps([]App{{Project: project, Name: "pages", Latest: 2, Site: &live}, {Project: project, Name: "a--1", Latest: 9}, {Project: "111111111111", Slug: "acme", Name: "pages", Latest: 2, Site: &other}})
	for label, want := range map[string]string{"pages--1": "one", "pages--2": "two", "pages--2.acme": "two"} {
		h := f.Preview(label)
		if h == nil {
			t.Errorf("%s: no site", label)
			continue
		}
		for range 2 {
			if w := serve(t, h, "GET", "/"); w.Body.String() != want || w.Header().Get("X-Robots-Tag") != "noindex" {
				t.Errorf("%s: %d %q %v", label, w.Code, w.Body, w.Header())
			}
		}
	}
	for _, label := range []string{"", "pages", "pages--", "pages--0", "pages--01", "pages--3", "pages--+1", "pages---1", "pages--x", "other--1", "pages--1.other", "--1", "pages--99999999999999999999"} {
		if h := f.Preview(label); h != nil {
			t.Errorf("%s has a site", label)
		}
	}
	if w := serve(t, f.Preview("a--1--7"), "GET", "/"); w.Code != 404 { // it had no site then
		t.Error(w.Code)
	}
	if w := f.get(t, "GET", "/"); w.Header().Get("X-Robots-Tag") != "" {
		t.Error("the live site is hidden from robots")
	}
	// A new app does not show what an old one of its name had.
	f.past[1] = hansom.Site{Project: project, App: "pages", Deployment: 1, Created: created, Upload: live.Upload}
	f.SetApps([]App{{Project: project, Name: "pages", Latest: 2, Site: &live}})
	if w := serve(t, f.Preview("pages--1"), "GET", "/"); w.Body.String() != "two" {
		t.Error(w.Body)
	}
}

// What cannot be served is refused before it is live.
func TestPrepareRefuses(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	refused := func(what string, err error, kind hansom.Kind, text string) {
		t.Helper()
		if hansom.KindOf(err) != kind || err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	digest := f.put(t, map[string]string{"index.html": "x", "_redirects": "/a\n", "_headers": "/a\n X: y\n"})
	refused("a bad rule", f.Prepare(ctx, project, digest), hansom.Invalid, "_redirects:1: a rule needs")
	refused("an unknown list", f.Prepare(ctx, project, strings.Repeat("0", 64)), hansom.NotFound, "has not been uploaded")

	u := &artifact.Upload{Files: []artifact.File{{Path: "a.txt", SHA256: artifact.Digest([]byte("a")), Size: 1}}}
	text, digest, err := u.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.PutUpload(ctx, project, digest, text)
	if err != nil || len(out.Missing) != 1 || out.Files != 1 || out.Bytes != 1 {
		t.Fatal(out, err)
	}
	refused("a missing file", f.Prepare(ctx, project, digest), hansom.NotFound, "a.txt")
	refused("another project's", f.Prepare(ctx, "111111111111", digest), hansom.NotFound, "")
	refused("a file that is none of it", f.PutFile(ctx, project, digest, artifact.Digest([]byte("b")), strings.NewReader("b")), hansom.Invalid, "has none with the digest")
	refused("a file of another digest", f.PutFile(ctx, project, digest, artifact.Digest([]byte("a")), strings.NewReader("b")), hansom.Invalid, "SHA-256")
	refused("a file that is too long", f.PutFile(ctx, project, digest, artifact.Digest([]byte("a")), strings.NewReader("ab")), hansom.TooLarge, "more than 1 bytes")
	refused("no archive", func() error {
		_, err := f.PutFiles(ctx, project, digest, strings.NewReader("nonsense, and enough of it to be looked at"+strings.Repeat("x", 1000)))
		return err
	}(), hansom.Invalid, "tar")
	refused("a list of another digest", func() error { _, err := f.PutUpload(ctx, project, digest, []byte("{}")); return err }(), hansom.Invalid, "SHA-256")

	var body bytes.Buffer
	w := tar.NewWriter(&body)
	w.WriteHeader(&tar.Header{Name: artifact.Digest([]byte("a")), Size: 1})
	w.Write([]byte("a"))
	w.Close()
	if n, err := f.PutFiles(ctx, project, digest, &body); n != 1 || err != nil {
		t.Error(n, err)
	}
	if err := f.Prepare(ctx, project, digest); err != nil {
		t.Error(err)
	}
	if added, changed, removed, ok := f.Compare(ctx, project, digest, f.put(t, map[string]string{"b.txt": "a", "c.txt": "c"})); added != 2 || changed != 0 || removed != 1 || !ok {
		t.Error(added, changed, removed, ok)
	}
}

// Requests under way see the old site or the new one, and none fails.
func TestSwitchUnderLoad(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.CacheFile = 10_000 })
	version := func(n int64) map[string]string {
		page := fmt.Sprintf("%d ", n)
		return map[string]string{"index.html": strings.Repeat(page, 2000), "large.bin": strings.Repeat(page, 20_000), "only-" + fmt.Sprint(n) + ".txt": page}
	}
	f.deploy(t, 1, version(1))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.Service.Site(project, "pages").ServeHTTP(w, r) }))
	defer srv.Close()
	var stop atomic.Bool
	var wg sync.WaitGroup
	var answers atomic.Int64
	for i := range 4 {
		path := []string{"/", "/large.bin"}[i%2]
		wg.Go(func() {
			for !stop.Load() {
				resp, err := srv.Client().Get(srv.URL + path)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				word, _, _ := strings.Cut(string(text), " ")
				if err != nil || resp.StatusCode != 200 || strings.ReplaceAll(string(text), word+" ", "") != "" {
					t.Errorf("%s: %s, %v, %d bytes, begins with %q", path, resp.Status, err, len(text), word)
					return
				}
				answers.Add(1)
			}
		})
	}
	for n := int64(2); n <= 21; n++ {
		before := answers.Load()
		f.deploy(t, n, version(n))
		for answers.Load() < before+8 && !t.Failed() {
			runtime.Gosched()
		}
		if w := f.get(t, "GET", fmt.Sprintf("/only-%d.txt", n)); w.Code != 200 {
			t.Errorf("the deployment %d is not live: %d", n, w.Code)
		}
		if w := f.get(t, "GET", fmt.Sprintf("/only-%d.txt", n-1)); w.Code != 404 {
			t.Errorf("the deployment %d still answers: %d", n-1, w.Code)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// The memory of uploads stays within its bound.
func TestTreesAreForgotten(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Trees = 2 })
	for n := range int64(6) {
		f.deploy(t, n+1, map[string]string{"index.html": fmt.Sprint(n + 1)})
	}
	for n := range int64(6) {
		if w := serve(t, f.Preview(PreviewLabel("pages", n+1)), "GET", "/"); w.Body.String() != fmt.Sprint(n+1) {
			t.Error(n, w.Body)
		}
	}
	if n := len(f.trees.all); n > 3 {
		t.Errorf("%d uploads are in memory", n)
	}
	if n := len(f.previews); n > 2 {
		t.Errorf("%d previews are in memory", n)
	}
}

// The path of a plain request allocates next to nothing.
func TestAllocations(t *testing.T) {
	f := newFixture(t)
	f.deploy(t, 1, map[string]string{"index.html": "home", "app.js": strings.Repeat("console.log(1)\n", 100)})
	h := f.Service.Site(project, "pages")
	for _, target := range []string{"/", "/app.js"} {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Accept-Encoding", "gzip, deflate, br")
		w := &discard{header: http.Header{}}
		h.ServeHTTP(w, r)
		if n := testing.AllocsPerRun(100, func() { clear(w.header); h.ServeHTTP(w, r) }); n > 0 {
			t.Errorf("%s allocates %v times", target, n)
		}
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkServe(b *testing.B) {
	f := newFixture(b)
	f.deploy(b, 1, map[string]string{"small.txt": strings.Repeat("x", 1024)})
	h := f.Service.Site(project, "pages")
	r := httptest.NewRequest("GET", "/small.txt", nil)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}
