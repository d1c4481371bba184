package openapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/manifest"
)

func TestApps(t *testing.T) {
	files, err := filepath.Glob("testdata/app/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir, want := t.TempDir(), map[string]string{}
			for i, f := range archive.Files {
				switch f.Name {
				case "api.yaml", "hansom.yaml":
					if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if want[f.Name] = string(f.Data); *update {
					archive.Files = archive.Files[:i]
					break
				}
			}
			got := outcomeOfApp(t, dir)
			if *update {
				for _, name := range []string{"live.json", "plan.txt", "error.txt"} {
					if text, ok := got[name]; ok {
						archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(text)})
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("differs (-want +got):\n%s", diff)
			}
		})
	}
}

// outcomeOfApp is the API of the app in a folder and what plans show of it, or what is wrong with it.
func outcomeOfApp(t *testing.T, dir string) map[string]string {
	m, err := manifest.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, f := range m.Functions {
		digests[f.Key] = strings.Repeat("a", 64)
	}
	r, err := m.Resolve(digests)
	if err != nil {
		t.Fatal(err)
	}
	keys := func(project, app, path string) string { return "http://" + app + "." + project + ".localhost" + path }
	apps := Apps{Region: "eu-west-1", Domain: "localhost", Keys: keys}
	l, err := apps.Live("000000000000", r)
	if err != nil {
		if hansom.KindOf(err) != hansom.Invalid {
			t.Errorf("kind %d", hansom.KindOf(err))
		}
		return map[string]string{"error.txt": err.Error() + "\n"}
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	routes, err := apps.Routes("000000000000", r)
	if err != nil || len(routes) != len(l.Routes) {
		t.Fatal(routes, err)
	}
	var plan strings.Builder
	for _, route := range l.Routes {
		plan.WriteString(route.Key)
		for _, s := range routes[route.Key] {
			if s[0] != "" {
				plan.WriteString(" | " + s[0] + " " + s[1])
			} else if !json.Valid([]byte(s[1])) {
				t.Errorf("%s has no fingerprint: %v", route.Key, s)
			}
		}
		plan.WriteString("\n")
	}
	return map[string]string{"live.json": string(text) + "\n", "plan.txt": plan.String()}
}

func TestOwner(t *testing.T) {
	apps := Apps{Domain: "hansom.example.com", Taken: func(domain string) bool { return domain == "taken.example.org" }}
	for host, want := range map[string]string{
		"hansom.example.com": "the server's own", "a.hansom.example.com": "the server's own", "*.hansom.example.com": "the server's own", "*.example.com": "the server's own",
		"taken.example.org": "API Gateway API", "example.org": "", "xhansom.example.com": "",
	} {
		if got := apps.Owner(host); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}
