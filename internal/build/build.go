// Package build turns the code of an app's functions into packages, zips that the server takes, on the developer's machine.
package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Function is what is to be built.
type Function struct {
	Key     string // in the manifest
	Runtime string // as in the manifest: "go" too
	Code    string // folder, file or zip, relative to the manifest, in slash form
	Handler string
}

// Error says that the code of a function does not build, and why.
type Error struct {
	Function string // its key
	Err      error
}

func (e *Error) Error() string {
	return fmt.Sprintf("functions.%s does not build: %v", e.Function, e.Err)
}
func (e *Error) Unwrap() error { return e.Err }

// Builder turns the code of an app into artifacts. It keeps what it built, so that only what is marked stale is built again.
type Builder struct {
	dir  string // of the manifest
	work string // holds the zips
	arch string // GOARCH of the server
	env  []string
	done map[string]built // by function key
}

type built struct {
	function Function
	artifact Artifact
}

// New makes a builder for the app of the folder dir. arch is the GOARCH of the server, env the environment of the tools that build.
// Close removes what it built.
func New(dir, arch string, env []string) (*Builder, error) {
	work, err := os.MkdirTemp("", "hansom-build-")
	if err != nil {
		return nil, err
	}
	return &Builder{dir: dir, work: work, arch: arch, env: env, done: map[string]built{}}, nil
}

// Close removes the artifacts.
func (b *Builder) Close() { os.RemoveAll(b.work) }

// Stale marks a function whose code has changed.
func (b *Builder) Stale(key string) { delete(b.done, key) }

// Build makes the artifacts of functions by key. progress is told what is being done, and "" when it is. An error that is not
// ctx's is an *Error.
func (b *Builder) Build(ctx context.Context, functions []Function, progress func(format string, args ...any)) (map[string]Artifact, error) {
	out := map[string]Artifact{}
	for _, f := range functions {
		old, ok := b.done[f.Key]
		if !ok || old.function != f {
			progress("building %s", f.Key)
			a, err := b.function(ctx, f)
			progress("")
			if err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				return nil, &Error{f.Key, err}
			}
			old = built{f, a}
			b.done[f.Key] = old
		}
		out[f.Key] = old.artifact
	}
	return out, nil
}

func (b *Builder) function(ctx context.Context, f Function) (Artifact, error) {
	src := filepath.Join(b.dir, filepath.FromSlash(f.Code))
	info, err := os.Stat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return Artifact{}, fmt.Errorf("there is no %s; set code to the folder, file or zip", src)
	}
	if err != nil {
		return Artifact{}, err
	}
	dst := filepath.Join(b.work, f.Key+".zip")
	switch ext := strings.ToLower(filepath.Ext(src)); {
	case f.Runtime == "go":
		bin := filepath.Join(b.work, f.Key+".bootstrap")
		if err := b.compile(ctx, src, info.IsDir(), bin); err != nil {
			return Artifact{}, err
		}
		defer os.Remove(bin)
		return zipCode(dst, bin, "bootstrap")
	case info.IsDir():
		return zipCode(dst, src, "")
	case ext == ".zip":
		return copyZip(src)
	case ext == ".ts" || ext == ".mts" || ext == ".tsx":
		return Artifact{}, fmt.Errorf("%s: TypeScript is not supported yet; compile it to JavaScript first", src)
	case strings.HasPrefix(f.Runtime, "provided."):
		return zipCode(dst, src, "bootstrap")
	}
	return zipCode(dst, src, "")
}

// compile builds the Go program in dir, as AWS documents for provided.al2023, so that the same source gives the same bytes.
func (b *Builder) compile(ctx context.Context, dir string, isDir bool, bin string) error {
	switch {
	case !isDir:
		return fmt.Errorf("%s is not a folder; code of a go function is the folder of its main package", dir)
	case ModuleRoot(dir) == "":
		return fmt.Errorf("there is no go.mod in %s or above; run `go mod init` there", dir)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return errors.New("the Go toolchain is not installed; get it from https://go.dev/dl")
	}
	cmd := exec.CommandContext(ctx, goTool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", bin, ".")
	cmd.Dir = dir
	cmd.Env = append(append([]string{}, b.env...), "GOOS=linux", "GOARCH="+b.arch, "CGO_ENABLED=0")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(output.String())
		if text == "" {
			return err
		}
		return errors.New(text)
	}
	return nil
}

// ModuleRoot is the folder of the go.mod that dir belongs to, "" when there is none.
func ModuleRoot(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
