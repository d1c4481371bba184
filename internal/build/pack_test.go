package build

import (
	"archive/zip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes files below dir; a path that ends with * is executable.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		mode := fs.FileMode(0o644)
		name, executable := strings.CutSuffix(name, "*")
		if executable {
			mode = 0o755
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
}

func packed(t *testing.T, src, single string) Artifact {
	t.Helper()
	a, err := tryPack(t, src, single)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tryPack builds src, a folder, file or program, as a function of an app in the folder above.
func tryPack(t *testing.T, src, single string) (Artifact, error) {
	t.Helper()
	f := Function{Key: "f", Runtime: "nodejs22.x", Code: filepath.Base(src), Handler: "index.handler"}
	if single == "bootstrap" {
		f.Runtime = "provided.al2023"
	}
	return newBuilder(t, filepath.Dir(src)).one(t, f)
}

// testBuilder is a builder with a cache of its own.
type testBuilder struct{ *Builder }

func newBuilder(t *testing.T, dir string, env ...string) testBuilder {
	t.Helper()
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	env = slices.Concat(os.Environ(), []string{"XDG_CACHE_HOME=" + t.TempDir(), "GOCACHE=" + filepath.Join(caches, "go-build")}, env)
	b, err := New(dir, runtime.GOARCH, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return testBuilder{b}
}

func silent(string, ...any) {}

// one builds an app of one function.
func (b testBuilder) one(t *testing.T, f Function) (Artifact, error) {
	t.Helper()
	b.Set([]Function{f})
	out, err := b.Build(t.Context(), silent)
	return out[f.Key], err
}

func (b testBuilder) must(t *testing.T, f Function) Artifact {
	t.Helper()
	a, err := b.one(t, f)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// contents of a zip: "mode name" to text.
func contents(t *testing.T, a Artifact) map[string]string {
	t.Helper()
	r, err := zip.OpenReader(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := map[string]string{}
	for _, f := range r.File {
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if !f.Modified.Equal(epoch) {
			t.Errorf("%s has the time %v", f.Name, f.Modified)
		}
		text, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[f.Mode().String()+" "+f.Name] = string(text)
	}
	return out
}

var tree = map[string]string{
	"index.mjs": "a", "node_modules/x/index.js": "b", "bin/run*": "c", ".env": "d", "hansom.yaml": "left out", "sub/hansom.yaml": "e",
	".git/HEAD": "left out", "sub/.git/HEAD": "left out", ".hansom/hansom.db": "left out",
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, tree)
	if err := os.Symlink("../index.mjs", filepath.Join(dir, "bin", "link")); err != nil {
		t.Fatal(err)
	}
	got := contents(t, packed(t, dir, ""))
	want := map[string]string{
		"-rw-r--r-- index.mjs": "a", "-rw-r--r-- node_modules/x/index.js": "b", "-rwxr-xr-x bin/run": "c", "-rw-r--r-- .env": "d",
		"-rw-r--r-- sub/hansom.yaml": "e", "Lrwxrwxrwx bin/link": "../index.mjs",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := contents(t, packed(t, filepath.Join(dir, "index.mjs"), "")); got["-rw-r--r-- index.mjs"] != "a" || len(got) != 1 {
		t.Errorf("a single file: %v", got)
	}
	if got := contents(t, packed(t, filepath.Join(dir, "index.mjs"), "bootstrap")); got["-rwxr-xr-x bootstrap"] != "a" || len(got) != 1 {
		t.Errorf("a single program: %v", got)
	}
}

// The same content gives the same digest wherever and whenever it is; other content another one.
func TestPackIsDeterministic(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	write(t, one, tree)
	write(t, two, tree)
	old := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(filepath.Join(two, "index.mjs"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(two, "index.mjs"), 0o600); err != nil { // another umask
		t.Fatal(err)
	}
	a, b := packed(t, one, ""), packed(t, two, "")
	if a.Digest != b.Digest || a.Size != b.Size {
		t.Errorf("%+v and %+v", a, b)
	}
	info, err := os.Stat(a.Path)
	if err != nil || info.Size() != a.Size {
		t.Errorf("size %d, %v, %v", a.Size, info, err)
	}
	if c, err := zipArtifact(a.Path); err != nil || c.Digest != a.Digest || c.Size != a.Size {
		t.Errorf("%+v, %v", c, err)
	}
	for name, change := range map[string]func() error{
		"mode":    func() error { return os.Chmod(filepath.Join(two, "index.mjs"), 0o755) },
		"content": func() error { return os.WriteFile(filepath.Join(two, "index.mjs"), []byte("A"), 0o644) },
		"name":    func() error { return os.Rename(filepath.Join(two, ".env"), filepath.Join(two, ".env2")) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		c := packed(t, two, "")
		if c.Digest == b.Digest {
			t.Errorf("a change of %s gives the same digest", name)
		}
		b = c
	}
}

func TestPackRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"empty":         {func(string) error { return nil }, "has no files"},
		"link out":      {func(dir string) error { return os.Symlink("../../etc/passwd", filepath.Join(dir, "a")) }, "outside of the code"},
		"absolute link": {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "a")) }, "outside of the code"},
		"pipe": {func(dir string) error {
			return exec.Command("mkfifo", filepath.Join(dir, "a")).Run()
		}, "neither a file nor a folder"},
		"too big": {func(dir string) error {
			f, err := os.Create(filepath.Join(dir, "a"))
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Truncate(251 << 20) // sparse
		}, "more than 250 MB"},
	} {
		dir := t.TempDir()
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := tryPack(t, dir, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A Go function builds to the same bytes wherever its folder is, and is built again only when it is stale.
func TestBuildGo(t *testing.T) {
	t.Parallel()
	var digests []string
	for range 2 {
		dir := t.TempDir()
		write(t, dir, map[string]string{"api/go.mod": "module api\n\ngo 1.24\n", "api/main.go": "package main\n\nfunc main() { println(42) }\n"})
		b := newBuilder(t, dir)
		f := Function{Key: "api", Runtime: "go", Code: "api", Handler: "bootstrap"}
		first := b.must(t, f)
		digests = append(digests, first.Digest)
		files := contents(t, first)
		if program := files["-rwxr-xr-x bootstrap"]; len(files) != 1 || !strings.HasPrefix(program, "\x7fELF") {
			t.Errorf("%d files, program begins with %.4q", len(files), program)
		}
		write(t, dir, map[string]string{"api/main.go": "package main\n\nfunc main() { println(43) }\n"})
		for _, stale := range []bool{false, true} {
			if stale && !b.Changed(filepath.Join(dir, "api", "main.go")) {
				t.Error("the change belongs to no function")
			}
			if changed := b.must(t, f).Digest != digests[0]; changed != stale {
				t.Errorf("stale %v: digest changed %v", stale, changed)
			}
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %v", digests)
	}
}
