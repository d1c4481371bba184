package artifact

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

func TestCheckPath(t *testing.T) {
	for path, want := range map[string]string{
		"a": "", "a/b.html": "", ".well-known/security.txt": "", "ü/日本.txt": "", "a b/c+d.txt": "", "..a": "begins with a dot", "a..b": "",
		"": "1 to 1024", "/a": "empty element", "a/": "empty element", "a//b": "empty element", ".": "begins with a dot", "a/../b": "begins with a dot",
		"a/./b": "begins with a dot", ".env": "begins with a dot", "a/.well-known/b": "begins with a dot", "a\\b": "control character", "a\x00b": "control character",
		"a\nb": "control character", "\xff": "not UTF-8", strings.Repeat("a", 256): "more than 255", strings.Repeat("a/", 600) + "b": "1 to 1024",
	} {
		err := CheckPath(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.40q: %v, want %q", path, err, want)
		}
	}
}

func TestParseUpload(t *testing.T) {
	digest := Digest(nil)
	file := func(path string, size int64) string {
		return fmt.Sprintf(`{"path":%q,"sha256":%q,"size":%d}`, path, digest, size)
	}
	list := func(files ...string) string { return `{"files":[` + strings.Join(files, ",") + `]}` }
	var many []string
	for i := range MaxFiles + 1 {
		many = append(many, file(fmt.Sprintf("%06d", i), 1))
	}
	for text, want := range map[string]string{
		list(file("a", 1), file("b", 2)):             "",
		list():                                       "at least one file",
		list(file("b", 1), file("a", 1)):             "sorted by path",
		list(file("a", 1), file("a", 1)):             "sorted by path",
		list(file("a", -1)):                          "bytes",
		list(file("a", MaxFile+1)):                   "at most 512 MB",
		list(file("a", 1)) + "x":                     "something after",
		`{"files":[{"path":"a","sha256":"x"}]}`:      "is not the SHA-256 of a",
		`{"files":[],"more":1}`:                      "more",
		`nonsense`:                                   "not what is taken",
		list(many...):                                "the limit is 20000",
		list(file("../a", 1)):                        "begins with a dot",
		strings.Repeat(" ", MaxList+1):               "more than 8 MB",
		list(file("a", MaxFile), file("b", MaxFile)): "",
	} {
		_, err := ParseUpload([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
		if kind := hansom.KindOf(err); err != nil && kind != hansom.Invalid && kind != hansom.TooLarge {
			t.Errorf("%.60s: kind %v", text, kind)
		}
	}
}

// What is accepted is safe to keep and is encoded as it was read.
func FuzzParseUpload(f *testing.F) {
	f.Add(`{"files":[{"path":"a","sha256":"` + Digest(nil) + `","size":0}]}`)
	f.Add(`{"files":[{"path":"../a","sha256":"","size":-1}]}`)
	f.Add(`{"files":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUpload([]byte(text))
		if err != nil {
			return
		}
		for _, file := range u.Files {
			if strings.Contains("/"+file.Path+"/", "/../") || strings.HasPrefix(file.Path, "/") || strings.Contains(file.Path, "\x00") {
				t.Errorf("%q was accepted", file.Path)
			}
		}
		out, _, err := u.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseUpload(out)
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := json.Marshal(again); string(a) != string(out) {
			t.Errorf("%s became %s", out, a)
		}
	})
}
