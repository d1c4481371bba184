package runtimes

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hansomcloud/hansom"
)

func TestServe(t *testing.T) {
	for _, c := range []struct {
		handler string
		files   map[string]os.FileMode
		want    []string // nil: refused
	}{
		{"bootstrap", map[string]os.FileMode{"bootstrap": 0o755, "run.sh": 0o755}, []string{"/var/task/bootstrap"}},
		{"bootstrap", map[string]os.FileMode{"run.sh": 0o755}, []string{"/var/task/run.sh"}},
		{"bootstrap", map[string]os.FileMode{"run.sh": 0o644}, nil},
		{"bootstrap", nil, nil},
		{"run.sh", map[string]os.FileMode{"run.sh": 0o755}, []string{"/var/task/run.sh"}},
		{"bin/server", map[string]os.FileMode{"bin/server": 0o755}, []string{"/var/task/bin/server"}},
		{"./server", map[string]os.FileMode{"server": 0o755}, []string{"/var/task/server"}},
		{"server.js", map[string]os.FileMode{"server.js": 0o644}, nil},
		{"../../bin/sh", nil, []string{"/bin/sh", "-c", "exec ../../bin/sh"}},
		{"node server.js", nil, []string{"/bin/sh", "-c", "exec node server.js"}},
		{"gunicorn -b :$PORT app:app", nil, []string{"/bin/sh", "-c", "exec gunicorn -b :$PORT app:app"}},
		{"cd web && exec node .", nil, []string{"/bin/sh", "-c", "cd web && exec node ."}},
		{"cd web", nil, []string{"/bin/sh", "-c", "cd web"}},
		{"MODE=fast node server.js", nil, []string{"/bin/sh", "-c", "MODE=fast node server.js"}},
		{"node server.js > /tmp/log", nil, []string{"/bin/sh", "-c", "node server.js > /tmp/log"}},
	} {
		dir := t.TempDir()
		for name, mode := range c.files {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, mode); err != nil {
				t.Fatal(err)
			}
		}
		r := &Runtime{Family: HTTP}
		got, err := r.Command(c.handler, 128, dir, "")
		if c.want == nil && hansom.KindOf(err) != hansom.Invalid || c.want != nil && err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s with %v: %q, %v; want %q", c.handler, c.files, got, err, c.want)
		}
	}
}

// The newest interpreter of each family is in PATH, wherever it is.
func TestLanguages(t *testing.T) {
	c := &Catalogue{interpreters: []Interpreter{
		{Family: Node, Version: "20.1.0", Path: "/usr/bin/node", inside: "/usr/bin/node"},
		{Family: Node, Version: "24.1.0", Path: "/opt/n24/bin/node", inside: "/var/lang/bin/node", prefix: "/opt/n24"},
		{Family: Python, Version: "3.11.2", Path: "/usr/bin/python3.11", inside: "/usr/bin/python3.11"},
		{Family: Python, Version: "3.9.2", Path: "/opt/py/bin/python3.9", inside: "/var/lang/bin/python3.9", prefix: "/opt/py"},
	}}
	r, err := c.Resolve("http")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Binds, []Bind{{"/opt/n24", "/var/lang/nodejs"}}) || !slices.Contains(r.Env, "PATH=/var/lang/nodejs/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin") || r.Frames {
		t.Errorf("%+v", r)
	}
	if err := Validate("http"); err != nil {
		t.Error(err)
	}
}
