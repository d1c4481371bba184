package cli

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

	"github.com/hansomcloud/hansom/internal/manifest"
)

// builder turns the code of an app into artifacts. It keeps what it built, so that only what is marked stale is built again.
type builder struct {
	dir  string // of the manifest
	work string // holds the zips
	arch string // GOARCH of the server
	env  []string
	done map[string]built // by function key
}

type built struct {
	function manifest.Function
	artifact artifact
}

func newBuilder(dir, arch string, env []string) (*builder, error) {
	work, err := os.MkdirTemp("", "hansom-build-")
	if err != nil {
		return nil, err
	}
	return &builder{dir: dir, work: work, arch: arch, env: env, done: map[string]built{}}, nil
}

func (b *builder) close() { os.RemoveAll(b.work) }

// stale marks a function whose code has changed.
func (b *builder) stale(key string) { delete(b.done, key) }

// build makes the artifacts of m by function key. An error is an *exitError of ExitManifest that says which function failed.
func (b *builder) build(ctx context.Context, m *manifest.Manifest, progress func(format string, args ...any)) (map[string]artifact, error) {
	out := map[string]artifact{}
	for _, f := range m.Functions {
		old, ok := b.done[f.Key]
		if !ok || old.function.Runtime != f.Runtime || old.function.Code != f.Code {
			progress("building %s", f.Key)
			a, err := b.function(ctx, f)
			progress("")
			if err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				return nil, &exitError{ExitManifest, fmt.Sprintf("functions.%s does not build: %v", f.Key, err)}
			}
			old = built{f, a}
			b.done[f.Key] = old
		}
		out[f.Key] = old.artifact
	}
	return out, nil
}

func (b *builder) function(ctx context.Context, f manifest.Function) (artifact, error) {
	src := filepath.Join(b.dir, filepath.FromSlash(f.Code))
	info, err := os.Stat(src)
	if errors.Is(err, fs.ErrNotExist) {
		return artifact{}, fmt.Errorf("there is no %s; set code to the folder, file or zip", src)
	}
	if err != nil {
		return artifact{}, err
	}
	dst := filepath.Join(b.work, f.Key+".zip")
	switch ext := strings.ToLower(filepath.Ext(src)); {
	case f.Runtime == "go":
		bin := filepath.Join(b.work, f.Key+".bootstrap")
		if err := b.compile(ctx, src, info.IsDir(), bin); err != nil {
			return artifact{}, err
		}
		defer os.Remove(bin)
		return zipCode(dst, bin, "bootstrap")
	case info.IsDir():
		return zipCode(dst, src, "")
	case ext == ".zip":
		return copyArtifact(src)
	case ext == ".ts" || ext == ".mts" || ext == ".tsx":
		return artifact{}, fmt.Errorf("%s: TypeScript is not supported yet; compile it to JavaScript first", src)
	case strings.HasPrefix(f.Runtime, "provided."):
		return zipCode(dst, src, "bootstrap")
	}
	return zipCode(dst, src, "")
}

// compile builds the Go program in dir, as AWS documents for provided.al2023, so that the same source gives the same bytes.
func (b *builder) compile(ctx context.Context, dir string, isDir bool, bin string) error {
	switch {
	case !isDir:
		return fmt.Errorf("%s is not a folder; code of a go function is the folder of its main package", dir)
	case moduleRoot(dir) == "":
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

// moduleRoot is the folder of the go.mod that dir belongs to, "" when there is none.
func moduleRoot(dir string) string {
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
