package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSite(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"hansom.yaml": "", ".hansomignore": "*.psd\n/public/drafts/\n", "public/index.html": "home", "public/img/a.svg": "<svg/>", "public/img/a.psd": "raw",
		"public/.env": "SECRET=1", "public/.git/config": "x", "public/.well-known/security.txt": "contact", "public/.well-known/.x": "y", "public/img/.DS_Store": "z",
		"public/drafts/a.html": "draft", "public/sub/.hansomignore": "b.txt\n", "public/sub/a.txt": "a", "public/sub/b.txt": "b", "outside.txt": "outside",
	})
	if err := os.Symlink("../index.html", filepath.Join(dir, "public/img/link.html")); err != nil {
		t.Fatal(err)
	}
	b := newBuilder(t, dir).Builder
	b.SetSite("public")
	list := func() (out []string, skipped []string) {
		t.Helper()
		s, err := b.Site(t.Context(), silent)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Files {
			out = append(out, f.Path+" "+f.Digest[:8])
		}
		return out, s.Skipped
	}
	files, skipped := list()
	want := []string{".well-known/security.txt 3d5b2d9b", "img/a.svg 5f5ddcdf", "img/link.html 4ea14058", "index.html 4ea14058", "sub/a.txt ca978112"}
	paths := func(list []string) (out []string) {
		for _, s := range list {
			p, _, _ := strings.Cut(s, " ")
			out = append(out, p)
		}
		return out
	}
	if diff := cmp.Diff(paths(want), paths(files)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{".env", ".well-known/.x", "img/.DS_Store"}, skipped); diff != "" {
		t.Error(diff)
	}
	if files[2][len("img/link.html "):] != files[3][len("index.html "):] {
		t.Error("a link is not the file that it leads to:", files)
	}

	// A change is seen, also one that leaves the size alone; a file that did not change is not read again.
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"public/index.html", "public/sub/a.txt"} {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := list()
	write(t, dir, map[string]string{"public/index.html": "HOME", "public/sub/a.txt": "A"})
	if err := os.Chtimes(filepath.Join(dir, "public/sub/a.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	after, _ := list()
	if before[3] == after[3] {
		t.Error("a change was not seen")
	}
	if before[4] != after[4] {
		t.Error("a file of the same size and time was read again")
	}

	for path, want := range map[string]bool{"public/index.html": true, "public/new/x": true, "outside.txt": false, ".hansomignore": true, "publicity": false} {
		if got := b.Changed(filepath.Join(dir, path)); got != want {
			t.Errorf("%s belongs to the site: %v", path, got)
		}
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "public")}, b.Sources()); diff != "" {
		t.Error(diff)
	}

	for name, target := range map[string]string{"out": "../../outside.txt", "folder": "../img", "gone": "nothing"} {
		link := filepath.Join(dir, "public/sub", name)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Site(t.Context(), silent); err == nil || !strings.Contains(err.Error(), "sub/"+name) {
			t.Errorf("%s: %v", name, err)
		}
		os.Remove(link)
	}
	b.SetSite("empty")
	write(t, dir, map[string]string{"empty/.x": ""})
	if _, err := b.Site(t.Context(), silent); err == nil || !strings.Contains(err.Error(), "has no files") {
		t.Error(err)
	}
}
