package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// typeScript are the extensions of what Node.js cannot run as it is, scripts of all that is bundled, in the order in which a module's name is looked up.
var (
	typeScript = []string{".ts", ".mts", ".cts", ".tsx", ".jsx"}
	scripts    = append(slices.Clone(typeScript), ".js", ".mjs", ".cjs")
)

// node is a Node.js program that is to be bundled.
type node struct {
	root   string // the folder of the code
	file   string // its entry point, in slash form below root
	single bool   // the file is all of the code
	word   string // of a command line: what names the file
}

// module is the file without its extension.
func (n *node) module() string { return strings.TrimSuffix(n.file, path.Ext(n.file)) }

// nodeSource finds the file of a function's handler when it has to be bundled: it is TypeScript or JSX, or its folder has a package.json with
// dependencies. nil when there is nothing to bundle.
func nodeSource(f Function, src string, isDir bool) *node {
	var n *node
	switch {
	case strings.HasPrefix(f.Runtime, "nodejs"):
		base := path.Base(f.Handler)
		module, _, _ := strings.Cut(base, ".")
		n = &node{file: path.Join(strings.TrimSuffix(f.Handler, base), module)}
	case f.Runtime == "http" && isDir:
		for _, word := range strings.Fields(f.Handler) {
			if slices.Contains(scripts, path.Ext(word)) && !strings.HasPrefix(word, "-") {
				n = &node{file: path.Clean(strings.TrimSuffix(word, path.Ext(word))), word: word}
				break
			}
		}
	}
	if n == nil || !fs.ValidPath(n.file) {
		return nil
	}
	if !isDir {
		if slices.Contains(typeScript, filepath.Ext(src)) {
			return &node{root: filepath.Dir(src), file: filepath.Base(src), single: true}
		}
		return nil
	}
	n.root = src
	extensions := scripts
	if len(dependencies(src)) == 0 {
		extensions = typeScript
	}
	for _, ext := range extensions {
		if info, err := os.Stat(filepath.Join(src, filepath.FromSlash(n.file)+ext)); err == nil && info.Mode().IsRegular() {
			n.file += ext
			return n
		}
	}
	return nil
}

// packageJSON is what matters of one.
type packageJSON struct {
	Name, Type           string
	Dependencies         map[string]string
	OptionalDependencies map[string]string
	Workspaces           json.RawMessage
}

func readPackage(dir string) (*packageJSON, error) {
	data, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return nil, err
	}
	var p packageJSON
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "package.json"), err)
	}
	return &p, nil
}

// dependencies of the package.json of a folder; none without one. One that cannot be read is esbuild's to report.
func dependencies(dir string) map[string]string {
	p, err := readPackage(dir)
	if err != nil {
		return nil
	}
	return p.Dependencies
}

// bundler keeps what esbuild knows of a program between builds.
type bundler struct {
	node   node
	format api.Format
	paths  string // NODE_PATH of the build
	native *native
	ctx    api.BuildContext
}

func (u *bundler) close() {
	if u != nil {
		u.ctx.Dispose()
	}
}

// bundle makes the entries of a Node.js program, and its handler when that has to change.
func (b *Builder) bundle(ctx context.Context, done *built, n *node, progress func(format string, args ...any)) (entries []entry, handler string, err error) {
	modules, err := b.nodeModules(ctx, done.function.Key, n.root, progress)
	if err != nil {
		return nil, "", err
	}
	progress("bundling %s", done.function.Key)
	format, sure, err := moduleFormat(n.root, n.file)
	if err != nil {
		return nil, "", err
	}
	if u := done.bundler; u != nil && (u.node != *n || u.paths != modules || sure && u.format != format) {
		u.close()
		done.bundler = nil
	}
	for {
		if done.bundler == nil {
			if done.bundler, err = newBundler(done.function, *n, format, modules); err != nil {
				return nil, "", err
			}
		}
		u := done.bundler
		out, inputs, err := b.rebuild(ctx, u)
		if err != nil && !sure && u.format == api.FormatCommonJS && ctx.Err() == nil {
			u.close()
			done.bundler, format = nil, api.FormatESModule // which it may have become
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if actual := api.FormatCommonJS; !sure {
			if inputs[n.file] == "esm" {
				actual = api.FormatESModule
			}
			if actual != u.format { // now it is known
				u.close()
				done.bundler, format = nil, actual
				continue
			}
		}
		done.sources = u.sources(b.source(done.function), inputs)
		entries, err = b.bundleEntries(u, out, inputs)
		if err == nil && n.word != "" {
			name := n.module() + extension(u.format)
			handler = strings.Replace(done.function.Handler, n.word, name, 1)
			handler = strings.Replace(handler, "node "+name, "node --enable-source-maps "+name, 1)
		}
		return entries, handler, err
	}
}

// moduleFormat says how Node.js loads a file: its extension or the nearest package.json decides, else (not sure) its syntax.
func moduleFormat(root, file string) (format api.Format, sure bool, err error) {
	switch path.Ext(file) {
	case ".mts", ".mjs":
		return api.FormatESModule, true, nil
	case ".cts", ".cjs":
		return api.FormatCommonJS, true, nil
	}
	for dir := filepath.Dir(filepath.Join(root, file)); ; dir = filepath.Dir(dir) {
		p, err := readPackage(dir)
		switch {
		case err == nil && p.Type == "module":
			return api.FormatESModule, true, nil
		case err == nil && p.Type == "commonjs":
			return api.FormatCommonJS, true, nil
		case err == nil || dir == filepath.Dir(dir):
			return api.FormatESModule, false, nil
		case !errors.Is(err, fs.ErrNotExist):
			return 0, false, err
		}
	}
}

func extension(f api.Format) string {
	if f == api.FormatESModule {
		return ".mjs"
	}
	return ".cjs"
}

// banner gives CommonJS packages inside an ES module what they expect. As globals, these do not collide with a program's own.
const banner = `import { createRequire as hansomRequire } from "node:module";
import { fileURLToPath as hansomPath } from "node:url";
globalThis.require = hansomRequire(import.meta.url);
globalThis.__filename = hansomPath(import.meta.url);
globalThis.__dirname = hansomPath(new URL(".", import.meta.url)).slice(0, -1);`

func newBundler(f Function, n node, format api.Format, modules string) (*bundler, error) {
	u := &bundler{node: n, format: format, paths: modules, native: &native{root: n.root, known: map[string]bool{}, found: map[string]string{}}}
	opts := api.BuildOptions{
		EntryPointsAdvanced: []api.EntryPoint{{InputPath: "./" + n.file, OutputPath: n.module()}},
		AbsWorkingDir:       n.root, Outdir: n.root, AllowOverwrite: true, // nothing is written
		Bundle: true, Platform: api.PlatformNode, Format: format, OutExtension: map[string]string{".js": extension(format)},
		Sourcemap: api.SourceMapLinked, SourcesContent: api.SourcesContentExclude,
		TreeShaking: api.TreeShakingTrue, Charset: api.CharsetUTF8, Metafile: true, LogLevel: api.LogLevelSilent,
		Loader:  map[string]api.Loader{".node": api.LoaderCopy},
		Plugins: []api.Plugin{u.native.plugin()},
	}
	if version, ok := strings.CutPrefix(f.Runtime, "nodejs"); ok {
		opts.Engines = []api.Engine{{Name: api.EngineNode, Version: strings.TrimSuffix(version, ".x")}}
	} else {
		opts.Target = api.ES2022
	}
	if format == api.FormatESModule {
		opts.Banner = map[string]string{"js": banner}
	}
	if modules != "" {
		opts.NodePaths = []string{modules}
	}
	if len(f.Layers) > 0 {
		opts.Plugins = append(opts.Plugins, layerPlugin(dependencies(n.root)))
	}
	var err *api.ContextError
	if u.ctx, err = api.Context(opts); err != nil {
		return nil, err
	}
	return u, nil
}

// layerPlugin leaves the AWS SDK, as far as the program does not depend on it itself, to a layer: it is required when the program runs,
// as import does not look in layers.
func layerPlugin(dependencies map[string]string) api.Plugin {
	const namespace = "layer"
	return api.Plugin{Name: namespace, Setup: func(build api.PluginBuild) {
		build.OnResolve(api.OnResolveOptions{Filter: `^@(aws-sdk|smithy)/`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			parts := strings.SplitN(a.Path, "/", 3)
			_, own := dependencies[parts[0]+"/"+parts[1]]
			switch {
			case a.Namespace == namespace:
				return api.OnResolveResult{Path: a.Path, External: true}, nil
			case own || isPackageFile(filepath.ToSlash(a.Importer)):
				return api.OnResolveResult{}, nil
			}
			return api.OnResolveResult{Path: a.Path, Namespace: namespace}, nil
		})
		build.OnLoad(api.OnLoadOptions{Filter: ".", Namespace: namespace}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			text := fmt.Sprintf("module.exports = require(%q)", a.Path)
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
	}}
}

// rebuild runs esbuild and returns what it made and, by path below the folder of the code, the module format of what it read.
func (b *Builder) rebuild(ctx context.Context, u *bundler) ([]api.OutputFile, map[string]string, error) {
	stop := context.AfterFunc(ctx, u.ctx.Cancel)
	defer stop()
	clear(u.native.found)
	result := u.ctx.Rebuild()
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if len(result.Errors) > 0 {
		return nil, nil, b.bundleError(u.node.root, result.Errors)
	}
	var meta struct {
		Inputs map[string]struct{ Format string }
	}
	if err := json.Unmarshal([]byte(result.Metafile), &meta); err != nil {
		return nil, nil, err
	}
	inputs := map[string]string{}
	for name, in := range meta.Inputs {
		inputs[name] = in.Format
	}
	return result.OutputFiles, inputs, nil
}

// bundleError shows each message as compilers do: file:line:column, then the line.
func (b *Builder) bundleError(root string, messages []api.Message) error {
	var text strings.Builder
	for _, m := range messages {
		advice := ""
		if l := m.Location; l != nil {
			fmt.Fprintf(&text, "%s:%d:%d: ", b.show(filepath.Join(root, filepath.FromSlash(l.File))), l.Line, l.Column+1)
			if name, ok := strings.CutPrefix(m.Text, "Could not resolve "); ok {
				advice = unresolved(root, strings.Trim(name, `"`))
			}
		}
		text.WriteString(m.Text)
		if l := m.Location; l != nil && l.LineText != "" {
			before := l.LineText[:min(l.Column, len(l.LineText))]
			blank := strings.Map(func(r rune) rune {
				if r == '\t' {
					return r
				}
				return ' '
			}, before)
			length := max(1, min(l.Length, len(l.LineText)-len(before)))
			fmt.Fprintf(&text, "\n    %s\n    %s^%s", l.LineText, blank, strings.Repeat("~", length-1))
		}
		if advice != "" {
			text.WriteString("\n  " + advice)
		}
		text.WriteString("\n")
	}
	return errors.New(text.String())
}

// unresolved says how to get a package that was not found.
func unresolved(root, name string) string {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "#") {
		return ""
	}
	parts := strings.SplitN(name, "/", 3)
	name = parts[0]
	if strings.HasPrefix(name, "@") && len(parts) > 1 {
		name += "/" + parts[1]
	}
	if _, ok := dependencies(root)[name]; ok {
		return fmt.Sprintf("%s is in package.json but not in node_modules; run `npm install`", name)
	}
	return fmt.Sprintf("%s is not installed; run `npm install %s`", name, name)
}

// sources are the folder of the code and the files elsewhere that went in, but for packages.
func (u *bundler) sources(code string, inputs map[string]string) []string {
	out := []string{code}
	for name := range inputs {
		file := filepath.Join(u.node.root, filepath.FromSlash(name))
		if isPackageFile(name) || strings.HasPrefix(file, code+string(filepath.Separator)) || file == code {
			continue
		}
		out = append(out, file)
	}
	slices.Sort(out)
	return out
}

func isPackageFile(name string) bool {
	return strings.HasPrefix(name, "node_modules/") || strings.Contains(name, "/node_modules/")
}

// leftOut are files that only serve to build.
var leftOut = map[string]bool{
	"package-lock.json": true, "npm-shrinkwrap.json": true, "yarn.lock": true, "pnpm-lock.yaml": true, "bun.lock": true, "bun.lockb": true,
}

// bundleEntries are the bundle, its map, the packages that stay outside of it, and the files of the folder that are no part of it.
func (b *Builder) bundleEntries(u *bundler, out []api.OutputFile, inputs map[string]string) ([]entry, error) {
	var entries []entry
	if !u.node.single {
		var err error
		entries, err = b.folderEntries(u.node.root, func(rel string, d fs.DirEntry) bool {
			_, bundled := inputs[rel]
			name := d.Name()
			return name == "node_modules" || bundled || leftOut[name] || slices.Contains(typeScript, path.Ext(name)) ||
				strings.HasPrefix(name, "tsconfig") && path.Ext(name) == ".json"
		})
		if err != nil {
			return nil, err
		}
	}
	for _, o := range out {
		rel, err := filepath.Rel(u.node.root, o.Path)
		if err != nil {
			return nil, err
		}
		rel = filepath.ToSlash(rel)
		entries = append(entries, dataEntry(rel, u.portable(rel, o.Contents)))
	}
	packages, err := u.native.entries()
	return append(entries, packages...), err
}

// portable takes the place of the user's cache out of a bundle or map, so that the same code gives the same bytes everywhere.
func (u *bundler) portable(name string, data []byte) []byte {
	if u.paths == "" {
		return data
	}
	from, to := u.node.root, "node_modules/"
	if strings.HasSuffix(name, ".map") { // whose paths begin where it is
		from = filepath.Join(from, filepath.FromSlash(path.Dir(name)))
		to = strings.Repeat("../", strings.Count(name, "/")) + to
	}
	rel, err := filepath.Rel(from, u.paths)
	if err != nil {
		return data
	}
	return bytes.ReplaceAll(data, []byte(filepath.ToSlash(rel)+"/"), []byte(to))
}
