package build

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"
)

// native finds the packages that have machine code (.node): they cannot be bundled and go into node_modules of the package as
// they are, with what they depend on.
type native struct {
	root string // the folder of the code

	mu    sync.Mutex
	known map[string]bool   // by folder of a package
	found map[string]string // folder by name, of those that the last build met
}

// asked marks resolutions of our own.
type asked struct{}

func (n *native) plugin() api.Plugin {
	return api.Plugin{Name: "native", Setup: func(build api.PluginBuild) {
		build.OnResolve(api.OnResolveOptions{Filter: `^[^./]`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			if _, ours := a.PluginData.(asked); ours || a.Kind == api.ResolveEntryPoint || strings.HasPrefix(a.Path, "node:") {
				return api.OnResolveResult{}, nil
			}
			r := build.Resolve(a.Path, api.ResolveOptions{Importer: a.Importer, ResolveDir: a.ResolveDir, Kind: a.Kind, Namespace: a.Namespace, PluginData: asked{}, With: a.With})
			if len(r.Errors) > 0 || r.External || r.Namespace != "file" {
				return api.OnResolveResult{}, nil // which fails in esbuild's own words
			}
			name, dir := packageOf(r.Path)
			if name == "" || !n.is(dir) {
				return api.OnResolveResult{}, nil
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.found[name] = dir
			return api.OnResolveResult{Path: a.Path, External: true}, nil
		})
	}}
}

// packageOf returns name and folder of the package below node_modules that a file belongs to; "" for a file of the program's own.
func packageOf(file string) (name, dir string) {
	const modules = "/node_modules/"
	file = filepath.ToSlash(file)
	i := strings.LastIndex(file, modules)
	if i < 0 {
		return "", ""
	}
	parts := strings.SplitN(file[i+len(modules):], "/", 3)
	name = parts[0]
	if strings.HasPrefix(name, "@") && len(parts) > 1 {
		name += "/" + parts[1]
	}
	return name, file[:i+len(modules)] + name
}

// is tells whether a package or one of those that it takes where they fit the machine has machine code.
func (n *native) is(dir string) bool {
	n.mu.Lock()
	known, ok := n.known[dir]
	n.mu.Unlock()
	if ok {
		return known
	}
	found := hasMachineCode(dir)
	if p, err := readPackage(dir); err == nil && !found {
		for name := range p.OptionalDependencies {
			if d := resolvePackage(dir, name); d != "" && hasMachineCode(d) {
				found = true
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[dir] = found
	return found
}

func hasMachineCode(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // what cannot be read is not there for Node.js either
		case d.IsDir() && d.Name() == "node_modules":
			return filepath.SkipDir
		case d.Name() == "binding.gyp" || strings.HasSuffix(d.Name(), ".node") && !d.IsDir():
			found = true
			return filepath.SkipAll
		}
		return nil
	})
	return found
}

// resolvePackage finds a package as Node.js does, from dir up; "" when it is not installed.
func resolvePackage(dir, name string) string {
	for ; ; dir = filepath.Dir(dir) {
		at := filepath.Join(dir, "node_modules", filepath.FromSlash(name))
		if _, err := os.Stat(filepath.Join(at, "package.json")); err == nil {
			if real, err := filepath.EvalSymlinks(at); err == nil {
				return real
			}
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// entries are the files of the packages that the last build met and of those that they depend on.
func (n *native) entries() ([]entry, error) {
	var out []entry
	seen := map[string]bool{}
	var add func(name, dir string) error
	add = func(name, dir string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.Name() == ".bin" && d.IsDir():
				return filepath.SkipDir
			case d.IsDir():
				return nil
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			e, err := fileEntry(p, "node_modules/"+name+"/"+filepath.ToSlash(rel), false)
			out = append(out, e)
			return err
		})
		if err != nil {
			return err
		}
		p, err := readPackage(dir)
		if err != nil {
			return err
		}
		for _, names := range []map[string]string{p.Dependencies, p.OptionalDependencies} {
			for name := range names {
				d := resolvePackage(dir, name)
				if d == "" || strings.HasPrefix(d, dir+string(filepath.Separator)) {
					continue // not for this machine, or inside
				}
				if err := add(name, d); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for name, dir := range n.found {
		if err := add(name, dir); err != nil {
			return nil, err
		}
	}
	return out, nil
}
