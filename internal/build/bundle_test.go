package build

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// unpack writes the files of a package to a folder.
func unpack(t *testing.T, a Artifact) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	r, err := zip.OpenReader(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, f := range r.File {
		names = append(names, f.Name)
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, map[string]string{f.Name: string(data)})
	}
	return dir, names
}

// call loads a handler as Lambda's runtime does, with source maps, and prints what it answers or throws.
const call = `
process.setSourceMapsEnabled(true);
const [file, name] = process.argv.slice(2);
const fs = require("fs");
const found = [".js", ".mjs", ".cjs"].map((e) => file + e).find((f) => fs.existsSync(f));
import(found).then(async (m) => console.log(JSON.stringify(await (m[name] ?? m.default[name])({})))).catch((err) => console.log(err.stack));
`

// TestBundle builds the apps in testdata/bundle and runs their handlers. The first line of a case is the runtime and the handler,
// or a folder and these; its files are the app's but for those below want: the names in the package, what the handler answers, the error. CODE
// stands for the folder that the package was unpacked to; an answer that ends with ... may go on.
func TestBundle(t *testing.T) {
	cases, err := filepath.Glob("testdata/bundle/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(archive.Comment), "\n")
			words := strings.Fields(first)
			f := Function{Key: "api", Runtime: words[0], Handler: words[1], Code: words[2], Layers: words[3:]}
			files, want := map[string]string{}, map[string]string{}
			for _, af := range archive.Files {
				if name, ok := strings.CutPrefix(af.Name, "want/"); ok {
					want[name] = string(af.Data)
				} else {
					files[af.Name] = string(af.Data)
				}
			}
			dir := t.TempDir()
			write(t, dir, files)
			b := newBuilder(t, dir)
			b.shown = "APP"
			a, err := b.one(t, f)
			got := map[string]string{}
			if err != nil {
				got["error"] = err.Error() + "\n"
			} else {
				code, names := unpack(t, a)
				got["files"] = strings.Join(names, "\n") + "\n"
				module, name, _ := strings.Cut(f.Handler, ".")
				script := filepath.Join(t.TempDir(), "call.cjs")
				write(t, filepath.Dir(script), map[string]string{"call.cjs": call})
				cmd := exec.Command("node", script, filepath.Join(code, module), name)
				cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "opt/nodejs/node_modules")) // as layers are
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				got["answer"] = strings.ReplaceAll(string(out), code, "CODE")
				again := newBuilder(t, dir).must(t, f)
				if again.Digest != a.Digest {
					t.Error("another builder makes another package")
				}
			}
			if _, asked := want["files"]; !asked {
				delete(got, "files")
			}
			if text, ok := want["answer"]; ok && strings.HasSuffix(text, "...\n") && strings.HasPrefix(got["answer"], strings.TrimSuffix(text, "...\n")) {
				got["answer"] = text
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What did not change is neither built nor packed again; what did is, also when it lies outside of the function's folder.
func TestRebuild(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"api/index.ts": `import { n } from "../lib/n"; export const handler = async () => n;`,
		"lib/n.ts":     "export const n: number = 1;", "lib/other.ts": "export const n = 3;", "api/page.html": "1", "api/skip/x": "", ".hansomignore": "skip\n",
	})
	b := newBuilder(t, dir)
	f := Function{Key: "api", Runtime: "nodejs20.x", Handler: "index.handler", Code: "api"}
	first := b.must(t, f)
	bundle := func(a Artifact) string {
		code, _ := unpack(t, a)
		text, err := os.ReadFile(filepath.Join(code, "index.mjs"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	kept := b.done["api"].bundler
	for _, c := range []struct {
		path, text string
		affects    bool
	}{{"lib/other.ts", "export const n = 4;", false}, {"lib/n.ts", "export const n: number = 2;", true}, {"api/page.html", "2", true}} {
		write(t, dir, map[string]string{c.path: c.text})
		if got := b.Changed(filepath.Join(dir, c.path)); got != c.affects {
			t.Errorf("%s: changed %v", c.path, got)
		}
		again := b.must(t, f)
		if (again.Digest != first.Digest) != c.affects {
			t.Errorf("%s: %s after %s", c.path, again.Digest, first.Digest)
		}
		if fresh := newBuilder(t, dir).must(t, f); fresh.Digest != again.Digest {
			t.Errorf("%s: a package of parts of the last one is not what a new one is", c.path)
		}
		first = again
	}
	if !strings.Contains(bundle(first), "n = 2") {
		t.Error(bundle(first))
	}
	if b.done["api"].bundler != kept {
		t.Error("esbuild began anew")
	}
	if want := []string{filepath.Join(dir, "api"), filepath.Join(dir, "lib/n.ts")}; !slices.Equal(b.Sources(), want) {
		t.Errorf("sources %v", b.Sources())
	}
}

// A file that did not change is taken over as it was compressed; ignored ones do not make a function stale.
func TestRepack(t *testing.T) {
	dir := t.TempDir()
	big := string(bytes.Repeat([]byte("x"), 1<<20))
	write(t, dir, map[string]string{"app/app.py": "1", "app/big": big, "app/.hansomignore": "*.log\n!keep.log\n", "app/sub/a.log": "", "app/keep.log": ""})
	b := newBuilder(t, dir)
	f := Function{Key: "app", Runtime: "python3.11", Handler: "app.handler", Code: "app"}
	b.must(t, f)
	for path, stale := range map[string]bool{"app/sub/a.log": false, "app/keep.log": true, "app/app.py": true, "app/.hansomignore": true, "other": false} {
		if got := b.Changed(filepath.Join(dir, path)); got != stale {
			t.Errorf("%s: stale %v", path, got)
		}
	}
	// A lie about the time: would the file be read again, its content would show.
	p := b.done["app"].pack
	e := p.entries["big"]
	write(t, dir, map[string]string{"app/big": strings.Replace(big, "x", "y", 1), "app/app.py": "2"})
	if err := os.Chtimes(filepath.Join(dir, "app/big"), e.changed, e.changed); err != nil {
		t.Fatal(err)
	}
	p.began = e.changed.Add(2e9)
	got := contents(t, b.must(t, f))
	if got["-rw-r--r-- big"] != big || got["-rw-r--r-- app.py"] != "2" {
		t.Errorf("big begins with %.3s, app.py is %s", got["-rw-r--r-- big"], got["-rw-r--r-- app.py"])
	}
	// One that changed while it was packed is read again.
	b.Changed(filepath.Join(dir, "app/app.py"))
	b.done["app"].pack.began = e.changed
	write(t, dir, map[string]string{"app/app.py": "3"})
	if got := contents(t, b.must(t, f)); !strings.HasPrefix(got["-rw-r--r-- big"], "y") {
		t.Error("a change in the same moment was not seen")
	}
}
