// Package build turns the code of an app's functions into packages, zips that the server takes, on the developer's machine.
package build

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Function is what is to be built.
type Function struct {
	Key     string   // in the manifest
	Runtime string   // as in the manifest: "go" too
	Code    string   // folder, file or zip, relative to the manifest, in slash form
	Handler string   // a command line for the runtime http
	Layers  []string // names or ARNs
}

func (f Function) equal(g Function) bool {
	return f.Key == g.Key && f.Runtime == g.Runtime && f.Code == g.Code && f.Handler == g.Handler && slices.Equal(f.Layers, g.Layers)
}

// Error says that the code of a function does not build, and why.
type Error struct {
	Function string // its key
	Err      error
}

func (e *Error) Error() string {
	text := " " + e.Err.Error()
	if strings.Contains(text, "\n") {
		text = "\n" + strings.TrimSpace(text)
	}
	return fmt.Sprintf("functions.%s does not build:%s", e.Function, text)
}

func (e *Error) Unwrap() error { return e.Err }

// Builder turns the code of an app into artifacts. It keeps what it built, so that only what is marked stale is built again.
type Builder struct {
	dir   string // of the manifest, absolute
	shown string // dir as messages show it
	arch  string // GOARCH of the server
	env   []string
	cache *cache
	pips  map[string]pip    // by Python version
	open  []io.Closer       // zips of the cache, during a build
	done  map[string]*built // by function key
	site  site
}

// built is a function as it was built last.
type built struct {
	function Function
	stale    bool
	packs    int // made so far
	pack     *pack
	artifact Artifact
	compiled bool     // with Go
	sources  []string // see Sources
	bundler  *bundler // of a function that is bundled
}

// New makes a builder for the app of the folder dir. arch is the GOARCH of the server, env the environment of the tools that build.
// Packages and what npm and pip install are in the user's cache directory; Close removes the packages.
func New(dir, arch string, env []string) (*Builder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c, err := openCache(env)
	if err != nil {
		return nil, err
	}
	return &Builder{dir: abs, shown: dir, arch: arch, env: env, cache: c, pips: map[string]pip{}, done: map[string]*built{}}, nil
}

// Close removes the artifacts.
func (b *Builder) Close() {
	for _, f := range b.done {
		f.bundler.close()
	}
	b.cache.close()
}

// Set says which functions there are. What was built of those that are as before stays.
func (b *Builder) Set(functions []Function) {
	done := map[string]*built{}
	for _, f := range functions {
		old := b.done[f.Key]
		if old == nil || !old.function.equal(f) {
			old = &built{function: f, stale: true, sources: []string{b.source(f)}}
		}
		done[f.Key] = old
	}
	for key, old := range b.done {
		if done[key] != old {
			old.bundler.close()
		}
	}
	b.done = done
}

// Sources are the files and folders that the functions and the site are made of.
func (b *Builder) Sources() []string {
	var out []string
	if b.site.dir != "" {
		out = append(out, b.site.dir)
	}
	for _, f := range b.done {
		out = append(out, f.sources...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Changed marks the functions to which a path that changed belongs and says whether there are any, or whether it is of the site.
func (b *Builder) Changed(path string) bool {
	found := b.siteChanged(path)
	for _, f := range b.done {
		if filepath.Base(path) == ignoreFile {
			f.stale, found = true, true
		}
		for _, source := range f.sources {
			if path == source || strings.HasPrefix(path, source+string(filepath.Separator)) && !f.leavesOut(b, source, path) {
				f.stale, found = true, true
			}
		}
	}
	return found
}

// leavesOut tells whether an ignore file keeps a path out of the package. Whatever is compiled or bundled counts.
func (f *built) leavesOut(b *Builder, source, path string) bool {
	if f.bundler != nil || f.compiled {
		return false
	}
	ig, err := b.ignorer(source)
	for at := source; err == nil && at != path; {
		if ig, err = ig.enter(at); err != nil {
			break
		}
		next, _, _ := strings.Cut(path[len(at)+1:], string(filepath.Separator))
		at = filepath.Join(at, next)
		if ig.ignores(at, at != path) {
			return true
		}
	}
	return false
}

// source is what a function is made of before more is known.
func (b *Builder) source(f Function) string {
	src := filepath.Join(b.dir, filepath.FromSlash(f.Code))
	if f.Runtime == "go" || f.Runtime == "http" && isGo(src) {
		return cmp.Or(moduleRoot(src), src)
	}
	return src
}

// Build makes the artifacts of the functions, by key, as far as they are stale. progress is told what is being done, and "" when it
// is. An error that is not ctx's is an *Error.
func (b *Builder) Build(ctx context.Context, progress func(format string, args ...any)) (map[string]Artifact, error) {
	defer progress("")
	out := map[string]Artifact{}
	for _, key := range slices.Sorted(maps.Keys(b.done)) {
		f := b.done[key]
		if f.stale {
			progress("building %s", key)
			if err := b.build(ctx, f, progress); err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				return nil, &Error{key, err}
			}
			f.stale = false
		}
		out[key] = f.artifact
	}
	return out, nil
}

func (b *Builder) build(ctx context.Context, done *built, progress func(format string, args ...any)) error {
	f := done.function
	src := filepath.Join(b.dir, filepath.FromSlash(f.Code))
	info, err := os.Stat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s; set code to the folder, file or zip", b.show(src))
	}
	if err != nil {
		return err
	}
	if ext := strings.ToLower(filepath.Ext(src)); !info.IsDir() && (ext == ".zip" || ext == ".jar") && f.Runtime != "go" {
		done.artifact, err = zipArtifact(src)
		return err
	}
	defer b.closeZips()
	var entries []entry
	var handler string
	switch n := nodeSource(f, src, info.IsDir()); {
	case f.Runtime == "go", f.Runtime == "http" && isGo(src):
		done.compiled = true
		entries, err = b.goEntries(ctx, f.Key, src, info.IsDir())
	case n != nil:
		entries, handler, err = b.bundle(ctx, done, n, progress)
	case info.IsDir() && pythonVersion(f) != "":
		entries, err = b.pythonEntries(ctx, f, src, progress)
	case info.IsDir():
		entries, err = b.folderEntries(src, nil)
	case strings.HasPrefix(f.Runtime, "provided."):
		entries, err = singleEntry(src, "bootstrap")
	default:
		entries, err = singleEntry(src, "")
	}
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("%s has no files", b.show(src))
	}
	if err != nil {
		return err
	}
	progress("packing %s", f.Key)
	done.packs++
	p, err := done.pack.write(filepath.Join(b.cache.work, fmt.Sprintf("%s-%d.zip", f.Key, done.packs)), entries)
	if err != nil {
		return err
	}
	if done.pack != nil && done.pack != p {
		os.Remove(done.pack.Path)
	}
	done.pack, done.artifact = p, p.Artifact
	done.artifact.Handler = handler
	return nil
}

func (b *Builder) closeZips() {
	for _, z := range b.open {
		z.Close()
	}
	b.open = nil
}

// show is a path below the manifest's folder as messages show it.
func (b *Builder) show(path string) string {
	rel, err := filepath.Rel(b.dir, path)
	if err != nil {
		return path
	}
	return filepath.Join(b.shown, rel)
}

// run runs a tool. What it prints is its error.
func (b *Builder) run(ctx context.Context, dir string, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(b.env, env)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if text := strings.TrimSpace(output.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// lookPath finds a tool in the PATH of the builder's environment; "" when there is none.
func (b *Builder) lookPath(names ...string) string {
	path := ""
	for _, e := range b.env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for _, name := range names {
		for _, dir := range filepath.SplitList(path) {
			if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(file) {
				return file
			}
		}
	}
	return ""
}
