package build

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// npmRegistry serves one package, left 1.0.0, as npm's registry does.
func npmRegistry(t *testing.T) (url, integrity string, stop func()) {
	t.Helper()
	var tgz bytes.Buffer
	zw := gzip.NewWriter(&tgz)
	tw := tar.NewWriter(zw)
	for name, text := range map[string]string{"package/package.json": `{"name":"left","version":"1.0.0"}`, "package/index.js": "module.exports = (n) => 2 * n;"} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(tgz.Bytes())
	integrity = "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/left":
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "left", "dist-tags": map[string]string{"latest": "1.0.0"}, "versions": map[string]any{
				"1.0.0": map[string]any{"name": "left", "version": "1.0.0", "dist": map[string]string{"tarball": srv.URL + "/left/-/left-1.0.0.tgz", "integrity": integrity}}}})
		case "/left/-/left-1.0.0.tgz":
			_, _ = w.Write(tgz.Bytes())
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, integrity, srv.Close
}

func TestNPM(t *testing.T) {
	t.Parallel()
	url, integrity, stop := npmRegistry(t)
	lock := fmt.Sprintf(`{"name":"api","lockfileVersion":3,"packages":{"":{"dependencies":{"left":"^1.0.0"}},"node_modules/left":{"version":"1.0.0","resolved":"%s/left/-/left-1.0.0.tgz","integrity":"%s"}}}`, url, integrity)
	api := map[string]string{"api/index.ts": `import left from "left"; export const handler = async () => left(4);`, "api/package.json": `{"dependencies":{"left":"^1.0.0"}}`}
	f := Function{Key: "api", Runtime: "nodejs20.x", Handler: "index.handler", Code: "api"}
	env := []string{"npm_config_registry=" + url, "npm_config_cache=" + t.TempDir(), "XDG_CACHE_HOME=" + t.TempDir(), "npm_config_fetch_retries=0"}
	digests := map[string]bool{}
	for _, lockFile := range []string{"", "package-lock.json"} {
		dir := t.TempDir()
		write(t, dir, api)
		if lockFile != "" {
			write(t, dir, map[string]string{"api/" + lockFile: lock})
		}
		a := newBuilder(t, dir, env...).must(t, f)
		digests[a.Digest] = true
		code, names := unpack(t, a)
		text, err := os.ReadFile(filepath.Join(code, "index.mjs"))
		if err != nil || !strings.Contains(string(text), "2 * n") || !strings.Contains(string(text), "// node_modules/left/index.js") {
			t.Errorf("%v: %v: %s", names, err, text)
		}
		if _, err := os.Stat(filepath.Join(dir, "api/node_modules")); err == nil {
			t.Error("npm wrote to the function's folder")
		}
	}
	stop() // from now on there is the cache
	dir := t.TempDir()
	write(t, dir, api)
	a := newBuilder(t, dir, env...).must(t, f)
	digests[a.Digest] = true
	if len(digests) != 1 {
		t.Errorf("the same code makes different packages: %v", digests)
	}
	for name, c := range map[string]struct {
		files map[string]string
		env   string
		want  string
	}{
		"registry gone":  {map[string]string{"api/package.json": `{"dependencies":{"right":"1"}}`}, "", "npm install in "},
		"lock is wrong":  {map[string]string{"api/package-lock.json": `{"lockfileVersion":3,"packages":{}}`}, "", "npm ci in "},
		"no npm":         {nil, "PATH=/nowhere", "npm is not on this machine: install Node.js, then run `npm install` in "},
		"pnpm":           {map[string]string{"api/pnpm-lock.yaml": ""}, "", "left is not installed: run `pnpm install` in "},
		"by path":        {map[string]string{"api/package.json": `{"dependencies":{"left":"file:../left"}}`}, "", "names packages by path: run `npm install` in "},
		"bad package":    {map[string]string{"api/package.json": `{`}, "", "package.json"},
		"half installed": {map[string]string{"api/node_modules/x": ""}, "", "left is in package.json but not in node_modules; run `npm install`"},
	} {
		dir := t.TempDir()
		write(t, dir, api)
		write(t, dir, c.files)
		b := newBuilder(t, dir, append(env, "XDG_CACHE_HOME="+t.TempDir(), "npm_config_cache="+t.TempDir(), c.env)...)
		if _, err := b.one(t, f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// wheel writes a wheel of one module.
func wheel(t *testing.T, dir, name, tag, text string) {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	info := name + "-1.0.dist-info/"
	for _, f := range [][2]string{
		{name + ".py", text}, {info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: " + tag + "\n"}, {info + "RECORD", name + ".py,,\n"},
	} {
		e, err := w.Create(f[0])
		if err == nil {
			_, err = io.WriteString(e, f[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{name + "-1.0-" + tag + ".whl": out.String()})
}

func TestPip(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimSpace(string(out))
	wheels := t.TempDir()
	wheel(t, wheels, "pure", "py3-none-any", "name = 'pure'\n")
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	wheel(t, wheels, "compiled", "cp399-cp399-manylinux2014_"+machine, "name = 'compiled'\n")
	env := []string{"PIP_NO_INDEX=1", "PIP_FIND_LINKS=" + wheels, "PIP_NO_CACHE_DIR=1", "XDG_CACHE_HOME=" + t.TempDir()}
	app := map[string]string{"app/app.py": "import pure\n", "app/requirements.txt": "# what we need\n-r more.txt\n", "app/more.txt": "pure==1.0\n", "app/pure.pyi": "mine"}
	f := Function{Key: "app", Runtime: "python" + host, Handler: "app.handler", Code: "app"}
	dir := t.TempDir()
	write(t, dir, app)
	b := newBuilder(t, dir, env...)
	first := b.must(t, f)
	code, names := unpack(t, first)
	cmd := exec.Command("python3", "-B", "-c", "import pure, sys; print(pure.name, pure.__cached__)")
	cmd.Dir = code
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "pure ") {
		t.Errorf("%v: %s%v", err, out, names)
	}
	if all := strings.Join(names, " "); !strings.Contains(all, "__pycache__/pure.cpython-") || strings.Contains(all, "__pycache__/app.") {
		t.Errorf("installed modules must be compiled, the function's own not: %s", all)
	}
	// From the cache, without pip's index; what is the folder's own stays.
	if err := os.Rename(filepath.Join(wheels, "pure-1.0-py3-none-any.whl"), filepath.Join(wheels, "away")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"app/app.py": "import pure # again\n", "app/pure.py": "name = 'mine'\n"})
	b.Changed(filepath.Join(dir, "app", "app.py"))
	again := contents(t, b.must(t, f))
	if again["-rw-r--r-- pure.py"] != "name = 'mine'\n" || again["-rw-r--r-- app.py"] != "import pure # again\n" {
		t.Errorf("%v", again)
	}
	for name, c := range map[string]struct {
		runtime string
		files   map[string]string
		env     string
		want    string // an error, or a file of the package
	}{
		"included file changed": {"python" + host, map[string]string{"app/more.txt": "pure==1.0\nother\n"}, "", "No matching distribution found"},
		"other Python":          {"python3.99", map[string]string{"app/more.txt": "compiled==1.0\n"}, "", "compiled.py"},
		"vendored":              {"python" + host, map[string]string{"app/pure-1.0.dist-info/METADATA": ""}, "", "requirements.txt"},
		"comments only":         {"python" + host, map[string]string{"app/more.txt": "# nothing\n"}, "", "requirements.txt"},
		"no pip":                {"python" + host, map[string]string{"app/more.txt": "unseen\n"}, "PATH=/nowhere", "pip is not on this machine"},
		"missing include":       {"python" + host, map[string]string{"app/requirements.txt": "-r gone.txt\n"}, "", "gone.txt"},
		"http":                  {"http", nil, "", "No matching distribution found"},
	} {
		dir := t.TempDir()
		write(t, dir, app)
		write(t, dir, c.files)
		f := f
		f.Runtime = c.runtime
		if c.runtime == "http" {
			f.Handler = "python3 -m app"
		}
		a, err := newBuilder(t, dir, append(env, c.env)...).one(t, f)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		if _, names := unpack(t, a); !strings.Contains(strings.Join(names, " "), c.want) {
			t.Errorf("%s: %v, want %q", name, names, c.want)
		}
	}
}

// A builder removes what dead ones and what nobody has used for long left, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	env := []string{"XDG_CACHE_HOME=" + base}
	alive, err := openCache(env)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.close()
	dead, err := openCache(env)
	if err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the end of its process does
	fill := func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) }
	var kept [2]string
	for i, digest := range []string{digestOf("old"), digestOf("new")} {
		if kept[i], err = alive.entry("npm", digest, fill); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-unused - time.Hour)
	if err := os.Chtimes(kept[0], long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := alive.entry("npm", digestOf("broken"), func(dir string) error { _ = fill(dir); return os.ErrInvalid }); err == nil {
		t.Error("an entry that could not be filled is there")
	}
	next, err := openCache(env)
	if err != nil {
		t.Fatal(err)
	}
	next.close()
	for path, want := range map[string]bool{alive.work: true, dead.work: false, kept[0]: false, kept[1]: true, next.work: false,
		filepath.Join(base, "hansom/npm", digestOf("broken")): false} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Without a home there are temporary files, of this user alone.
	t.Run("no home", func(t *testing.T) {
		c, err := openCache(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if !strings.HasPrefix(c.dir, os.TempDir()) {
			t.Error(c.dir)
		}
	})
}
