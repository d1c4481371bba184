package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// app is a deployed one.
type app struct {
	url     string
	browser *http.Client
}

// deploy takes the app of a folder to s with the program, which keeps what it builds apart. One with the runtime http needs a server
// that has it.
func deploy(t *testing.T, s *hansomtest.Server, dir string, env ...string) *app {
	t.Helper()
	m, err := manifest.Load(dir)
	if err != nil && strings.Contains(err.Error(), "runtime http is not supported yet") {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	env = slices.Concat(os.Environ(), []string{"HANSOM_API=" + s.API(), "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test",
		"XDG_CACHE_HOME=" + t.TempDir(), "GOCACHE=" + filepath.Join(caches, "go-build")}, env)
	if out, err := run(t, env, "", binary(t), "deploy", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, port, _ := strings.Cut(s.EdgeAddr(), ":")
	return &app{"http://" + m.Name + ".localhost:" + port, browser(t, s.EdgeAddr())}
}

// send makes a request and returns status, header and body.
func (a *app) send(t *testing.T, method, path string, body []byte) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

// TestTemplates deploys what `hansom init` makes and calls it.
func TestTemplates(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for template, language := range map[string]string{
		"nodejs": "Node.js v", "typescript": "Node.js v", "python": "Python 3.", "go": "Go 1.", "express": "Node.js v", "flask": "Python 3.", "nethttp": "Go 1.",
	} {
		t.Run(template, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "my-"+template)
			if out, err := run(t, os.Environ(), "", binary(t), "init", dir, "--template", template); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var env []string
			if template == "flask" {
				env = flaskWheels(t)
			}
			a := deploy(t, s, dir, env...)
			for path, name := range map[string]string{"/": "world", "/hello/Ada": "Ada"} {
				status, _, body := a.send(t, "GET", path, nil)
				var answer struct{ Message, Runtime string }
				err := json.Unmarshal(body, &answer)
				if err != nil || status != 200 || answer.Message != "Hello, "+name+"!" || !strings.HasPrefix(answer.Runtime, language) {
					t.Errorf("%s: %d %s", path, status, body)
				}
			}
		})
	}
}

// flaskWheels makes wheels of what the template asks for of Debian's packages, so that the test needs no PyPI.
func flaskWheels(t *testing.T) (env []string) {
	t.Helper()
	dir := t.TempDir()
	needs := []string{"werkzeug", "jinja2", "itsdangerous", "click", "markupsafe", "colorama"}
	for _, name := range append([]string{"flask", "waitress"}, needs...) {
		if out, err := run(t, os.Environ(), dir, "apt-get", "download", "python3-"+name); err != nil {
			t.Skipf("Debian's python3-%s cannot be had: %s", name, out)
		}
		deb, err := filepath.Glob(filepath.Join(dir, "python3-"+name+"_*.deb"))
		if err != nil || len(deb) != 1 {
			t.Fatal(deb, err)
		}
		if out, err := run(t, os.Environ(), dir, "dpkg-deb", "-x", deb[0], name); err != nil {
			t.Fatal(err, out)
		}
		var requires []string
		if name == "flask" {
			requires = needs
		}
		wheelOf(t, filepath.Join(dir, name, "usr/lib/python3/dist-packages"), dir, name, requires)
	}
	return []string{"PIP_NO_INDEX=1", "PIP_FIND_LINKS=" + dir}
}

// wheelOf packs a module as a wheel with metadata of its own: Debian's asks for other versions.
func wheelOf(t *testing.T, root, dir, name string, requires []string) {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(p, "-info/") || strings.HasSuffix(p, ".so") {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err == nil {
			var text []byte
			text, err = os.ReadFile(p)
			files[rel] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	info := name + "-9.0.dist-info/"
	files[info+"METADATA"] = "Metadata-Version: 2.1\nName: " + name + "\nVersion: 9.0\n"
	for _, r := range requires {
		files[info+"METADATA"] += "Requires-Dist: " + r + "\n"
	}
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	files[info+"RECORD"] = strings.Join(slices.Sorted(maps.Keys(files)), ",,\n") + ",,\n"
	if err := os.WriteFile(filepath.Join(dir, name+"-9.0-py3-none-any.whl"), pack(t, files), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestThumbnails deploys the example, streams its picture of 5 MB and has it made smaller.
func TestThumbnails(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	a := deploy(t, s, "../../examples/thumbnails")
	status, header, picture := a.send(t, "GET", "/sample", nil)
	if status != 200 || header.Get("Content-Type") != "image/png" || len(picture) < 5<<20 {
		t.Fatalf("the sample: %d, %v, %d bytes", status, header, len(picture))
	}
	sample, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, sample, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query  string
		body   []byte
		status int
		format string
		width  int
	}{
		{"", picture, 200, "png", 320},
		{"?w=100", photo.Bytes(), 200, "jpeg", 100},
		{"?w=4000", photo.Bytes(), 200, "jpeg", 1366},
		{"?w=0", photo.Bytes(), 400, "", 0},
		{"", []byte("no image"), 415, "", 0},
	} {
		status, header, body := a.send(t, "POST", "/"+c.query, c.body)
		if status != c.status {
			t.Errorf("%q: %d %.100s", c.query, status, body)
			continue
		}
		if c.status != 200 {
			continue
		}
		small, format, err := image.Decode(bytes.NewReader(body))
		if err != nil || format != c.format || small.Bounds().Dx() != c.width || header.Get("Content-Type") != "image/"+format {
			t.Errorf("%q: %v %s %v", c.query, err, format, header)
			continue
		}
		height := c.width * 1280 / 1366
		if got := small.Bounds().Dy(); got != height {
			t.Errorf("%q: %d high, want %d", c.query, got, height)
		}
		// The picture has no red and green at its top left and all of both at its bottom right.
		r, g, _, _ := small.At(2, 2).RGBA()
		r2, g2, _, _ := small.At(c.width-3, height-3).RGBA()
		if r > 0x2000 || g > 0x2000 || r2 < 0xd000 || g2 < 0xd000 {
			t.Errorf("%q: the colours are wrong: %x %x, %x %x", c.query, r, g, r2, g2)
		}
	}
	_, _, body := a.send(t, "POST", "/?w=80,160", photo.Bytes())
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil || len(z.File) != 2 || z.File[1].Name != "160.jpeg" {
		t.Errorf("a zip of two: %v, %+v", err, z)
	}
}

// TestTodos deploys the example in TypeScript and walks through the life of a todo.
func TestTodos(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("no npm: run scripts/setup.sh")
	}
	s := start(t, nil)
	a := deploy(t, s, "../../examples/todo-ts")
	expect := func(method, path, body string, status int, want string) []byte {
		t.Helper()
		got, _, text := a.send(t, method, path, []byte(body))
		if got != status || !strings.Contains(string(text), want) {
			t.Fatalf("%s %s %s: %d %s, want %d %q", method, path, body, got, text, status, want)
		}
		return text
	}
	var todo struct{ ID string }
	if err := json.Unmarshal(expect("POST", "/todos", `{"title":" buy oats "}`, 201, `"title":"buy oats","done":false`), &todo); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprint("/todos/", todo.ID)
	expect("PATCH", path, `{"done":true}`, 200, `"done":true`)
	expect("GET", path, "", 200, `"buy oats"`)
	expect("GET", "/todos", "", 200, `"buy oats"`)
	expect("POST", "/todos", `{"title":""}`, 400, "title")
	expect("POST", "/todos", `{`, 400, "not JSON")
	expect("DELETE", path, "", 204, "")
	expect("DELETE", path, "", 404, "no such todo")
	expect("GET", "/todos", "", 200, "[]")
}

// A function in TypeScript that throws shows the lines of its source: in the error and in the log.
func TestSourceMaps(t *testing.T) {
	s := start(t, nil)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hansom.yaml": "name: maps\nfunctions:\n  api: {runtime: nodejs22.x, code: ./api, handler: src/index.handler}\n",
		"api/src/index.ts": "import { charge } from './charge';\n\ninterface Event {\n  id: string;\n}\n\n" +
			"export const handler = async (event: Event) => {\n  console.error(new Error('noted'));\n  return charge(event.id);\n};\n",
		"api/src/charge.ts": "type ID = string;\n\nexport function charge(id: ID): never {\n  throw new Error(`no card for ${id}`);\n}\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	deploy(t, s, dir)
	a, err := invoke(t.Context(), client(t, s.API(), hansomtest.Credentials), "maps-api", `{"id":"7"}`)
	if err != nil || a.errorMessage != "no card for 7" {
		t.Fatal(err, a)
	}
	for where, text := range map[string]string{"payload": a.payload, "log": a.log} {
		for _, want := range []string{"src/charge.ts:4:9", "src/index.ts:9:10"} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s lacks %s: %s", where, want, text)
			}
		}
	}
	if !strings.Contains(a.log, "src/index.ts:8:17") {
		t.Errorf("console.error: %s", a.log)
	}
}
