package hansom_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hansomcloud/hansom"

// layers lists every package below internal/ by its first path element; docs/architecture.md says what they are.
var layers = map[string]int{
	"db": 1, "blob": 1, "policy": 1, "runtimes": 1, "manifest": 1, "frame": 1, "artifact": 1, "sandbox": 1, "build": 1,
	"buildinfo": 1, "loop": 1, "bus": 1, "backlog": 1, "pattern": 1, "lanes": 1, "cron": 1, "tick": 1, "upstream": 1, "cloudevent": 1,
	"auth": 2, "function": 2, "layer": 2, "runtimeapi": 2, "httplink": 2, "pool": 2, "invoke": 2, "gateway": 2, "edge": 2,
	"telemetry": 2, "app": 2, "backup": 2, "blank": 2, "egress": 2, "provision": 2,
	"queue": 2, "event": 2, "eventbus": 2, "endpoint": 2, "schedule": 2, "site": 2,
	"awsapi": 3, "hansomapi": 3,
	"server": 4, "cli": 4, "hansomtest": 4,
}

// Limits of style.md and architecture.md, in lines; tests and generated files apart.
const (
	maxRootLines    = 800
	maxFileLines    = 600
	maxPackageLines = 3000
	maxMainLines    = 30
)

type goFile struct {
	pkg, path string // pkg is the slash path below the module root, "" for the root
	test      bool
	generated bool
	doc       bool
	lines     int
	imports   []string // below the module, "" for the root itself; external ones by full path
}

// goFiles parses every Go file of the module. It reads the files itself, so that the test cache sees their changes.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "examples") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, text, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		g := goFile{pkg: path.Dir(filepath.ToSlash(p)), path: p, test: strings.HasSuffix(p, "_test.go"), generated: ast.IsGenerated(f),
			doc: f.Doc != nil, lines: bytes.Count(text, []byte("\n"))}
		if g.pkg == "." {
			g.pkg = ""
		}
		for _, imp := range f.Imports {
			name, _ := strconv.Unquote(imp.Path.Value)
			if rest, ok := strings.CutPrefix(name, module); ok {
				name = "./" + strings.TrimPrefix(rest, "/")
			}
			g.imports = append(g.imports, name)
		}
		files = append(files, g)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// top is the first element below internal/, and "" for packages elsewhere.
func top(pkg string) string {
	rest, ok := strings.CutPrefix(pkg, "internal/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestImports(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || strings.HasPrefix(f.pkg, "test/") {
			continue
		}
		for _, imp := range f.imports {
			local, ok := strings.CutPrefix(imp, "./")
			if !ok {
				checkExternal(t, f, imp)
				continue
			}
			if reason := forbidden(f.pkg, local); reason != "" {
				t.Errorf("%s imports %s: %s", f.path, local, reason)
			}
		}
	}
}

// forbidden says why package from may not import package to; "" when it may.
func forbidden(from, to string) string {
	if to == "" {
		return ""
	}
	ft, tt := top(from), top(to)
	if from == "" {
		return "the root package imports the standard library only"
	}
	if tt == "" {
		return "only packages below internal/ are imported"
	}
	if tt == "server" && ft != "cli" && ft != "hansomtest" && from != "cmd/hansom" {
		return "only cmd/hansom, cli and hansomtest import server"
	}
	if ft == "" {
		return "" // cmd/hansom
	}
	fl, ok := layers[ft]
	if !ok {
		return "its package is in no layer: add it to arch_test.go and docs/architecture.md"
	}
	tl := layers[tt]
	isDriver := strings.HasPrefix(to, "internal/sandbox/") || strings.HasPrefix(to, "internal/blob/")
	switch {
	case ft == tt:
		// A driver imports its parent; a parent imports none of its drivers, and drivers not each other.
		if ft == "sandbox" && isDriver && !strings.HasPrefix(to, from+"/") && from != to && !strings.HasSuffix(from, "test") {
			return "drivers do not import each other"
		}
		if ft == "sandbox" && from == "internal/sandbox" {
			return "the contract does not import its drivers"
		}
		return ""
	case ft == "cli" && (tl == 2 || tl == 3) && tt != "auth" && to != "internal/site":
		return "cli talks to a server over its public APIs only (auth is there to sign requests, site to check _redirects and _headers)"
	case isDriver && ft != "server" && ft != "hansomtest":
		return "only server and hansomtest name drivers"
	case ft == "sandbox" && (tt == "frame" || tt == "loop"), ft == "artifact" && to == "internal/blob", ft == "backlog" && tt == "bus", ft == "lanes" && tt == "backlog",
		ft == "manifest" && (tt == "pattern" || tt == "cron"), ft == "tick" && tt == "db", fl == 4:
		return ""
	case tl >= fl:
		return "imports go downward only (layer " + strconv.Itoa(fl) + " to layer " + strconv.Itoa(tl) + ")"
	}
	return ""
}

func checkExternal(t *testing.T, f goFile, imp string) {
	std := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
	switch {
	case f.pkg == "" && !std:
		t.Errorf("%s imports %s: the root package imports the standard library only", f.path, imp)
	case strings.HasPrefix(imp, "github.com/nats-io/") && top(f.pkg) != "bus":
		t.Errorf("%s imports %s: only bus knows NATS", f.path, imp)
	case (strings.HasPrefix(imp, "modernc.org/sqlite") || strings.HasPrefix(imp, "github.com/jackc/pgx")) && top(f.pkg) != "db":
		t.Errorf("%s imports %s: only db knows SQL engines", f.path, imp)
	}
}

func TestSizes(t *testing.T) {
	packages := map[string]int{}
	for _, f := range goFiles(t) {
		if f.test || f.generated {
			continue
		}
		packages[f.pkg] += f.lines
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines; the limit is %d: split it by what it is about", f.path, f.lines, maxFileLines)
		}
		if f.path == filepath.Join("cmd", "hansom", "main.go") && f.lines > maxMainLines {
			t.Errorf("%s has %d lines; the limit is %d", f.path, f.lines, maxMainLines)
		}
	}
	for pkg, lines := range packages {
		limit := maxPackageLines
		if pkg == "" {
			limit = maxRootLines
		}
		if lines > limit {
			t.Errorf("package %q has %d lines; the limit is %d", pkg, lines, limit)
		}
	}
}

func TestPackageDocs(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range goFiles(t) {
		if !f.test {
			documented[f.pkg] = documented[f.pkg] || f.doc
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %q has no package comment", pkg)
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"internal/pool", "internal/sandbox", true},
		{"internal/sandbox", "internal/frame", true},
		{"internal/sandbox/linux", "internal/sandbox", true},
		{"internal/artifact", "internal/blob", true},
		{"internal/artifact", "internal/db", false},
		{"internal/server", "internal/sandbox/linux", true},
		{"internal/awsapi/lambda", "internal/function", true},
		{"internal/cli", "internal/server", true},
		{"internal/pool", "internal/function", false},
		{"internal/db", "internal/blob", false},
		{"internal/pool", "internal/sandbox/linux", false},
		{"internal/sandbox/linux", "internal/sandbox/process", false},
		{"internal/function", "internal/awsapi", false},
		{"internal/cli", "internal/function", false},
		{"internal/awsapi", "internal/server", false},
		{"internal/sandbox", "internal/sandbox/linux", false},
	} {
		if reason := forbidden(c.from, c.to); (reason == "") != c.ok {
			t.Errorf("%s -> %s: allowed %v, want %v (%s)", c.from, c.to, reason == "", c.ok, reason)
		}
	}
}
