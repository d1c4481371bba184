package site

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestFaults runs testdata/rules/*.txtar: a file of rules, named as the case begins, and what is wrong with it.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil || len(a.Files) != 2 {
				t.Fatal(a, err)
			}
			file := redirectsFile
			if strings.HasPrefix(filepath.Base(name), "headers") {
				file = headersFile
			}
			err = CheckRules(file, a.Files[0].Data)
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRuleLimits(t *testing.T) {
	if _, err := parseRedirects(strings.Repeat("/a/* /b\n", maxDynamic)); err != nil {
		t.Error(err)
	}
	if _, err := parseRedirects(strings.Repeat("/a/* /b\n", maxDynamic+1)); err == nil || !strings.Contains(err.Error(), "more than 100") {
		t.Error(err)
	}
	if _, err := parseRedirects("/" + strings.Repeat("a", maxLine) + " /b\n"); err == nil || !strings.Contains(err.Error(), "the limit is 2000") {
		t.Error(err)
	}
	if err := CheckRules(redirectsFile, make([]byte, maxRules+1)); err == nil || !strings.Contains(err.Error(), "the limit is 262144") {
		t.Error(err)
	}
	if _, err := parseHeaders(strings.Repeat("/a\n X: y\n", maxHeaderRules+1)); err == nil || !strings.Contains(err.Error(), "more than 100") {
		t.Error(err)
	}
}

// Whatever stands in a file of rules, parsing ends, and what is accepted sends nobody to another server by a path.
func FuzzRedirects(f *testing.F) {
	for _, name := range []string{"testdata/serve/redirects.txtar", "testdata/rules/redirects.txtar"} {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(string(file.Data), "/news/2026/x")
		}
	}
	f.Add("/evil/* /:splat\n", "/evil//example.com")
	f.Fuzz(func(t *testing.T, text, path string) {
		rs, err := parseRedirects(text)
		decoded, ok := decodePath(path)
		if err != nil || !ok {
			return
		}
		none := func() url.Values { return nil }
		r, values := rs.find("/"+decoded, none, false)
		if r == nil {
			return
		}
		to := r.location(values, "")
		u, err := url.Parse(to)
		if err != nil {
			return // placeholders within an address of another server
		}
		if r.local && (u.Host != "" || u.Scheme != "" || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\r\n\\")) {
			t.Errorf("%q sends %q to %q", text, path, to)
		}
		r.path(values)
	})
}

func FuzzHeaders(f *testing.F) {
	for _, name := range []string{"testdata/serve/headers.txtar", "testdata/rules/headers.txtar"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(text).Files {
			f.Add(string(file.Data), "/docs/a.txt")
		}
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		rules, err := parseHeaders(text)
		decoded, ok := decodePath(path)
		if err != nil || !ok {
			return
		}
		h := http.Header{}
		applyHeaders(rules, h, "/"+decoded)
		for name, values := range h {
			if ownHeaders[name] {
				t.Errorf("%s was set", name)
			}
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("%s is %q", name, v)
				}
			}
		}
	})
}

// What decodePath accepts names one file at most: it has no "..", and its elements are those that stand between the slashes of the request.
func FuzzDecodePath(f *testing.F) {
	for _, s := range []string{"/", "/a/b.txt", "/%2e%2e/x", "/a%2fb", "/%c3%bc", "/a\\b", "//x", "/.well-known/x", "/%", "/%00", "/a/./b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, ok := decodePath(raw)
		if !ok {
			return
		}
		if strings.Count(path, "/")+1 != strings.Count(raw, "/") {
			t.Errorf("%q became %q", raw, path)
		}
		for _, e := range strings.Split(path, "/") {
			if e == "." || e == ".." || strings.ContainsAny(e, "\x00\\\r\n") {
				t.Errorf("%q became %q", raw, path)
			}
		}
		if again, ok := decodePath(escaped(path)); !ok || again != path {
			t.Errorf("%q became %q and then %q", raw, path, again)
		}
	})
}
