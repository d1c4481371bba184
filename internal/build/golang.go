package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// goEntries compiles the Go program of a folder.
func (b *Builder) goEntries(ctx context.Context, key, src string, isDir bool) ([]entry, error) {
	bin := filepath.Join(b.cache.work, key+".bootstrap")
	if err := b.compile(ctx, src, isDir, bin); err != nil {
		return nil, err
	}
	return singleEntry(bin, "bootstrap")
}

// compile builds the Go program in dir, as AWS documents for provided.al2023, so that the same source gives the same bytes.
func (b *Builder) compile(ctx context.Context, dir string, isDir bool, bin string) error {
	switch {
	case !isDir:
		return fmt.Errorf("%s is not a folder; code of a go function is the folder of its main package", dir)
	case moduleRoot(dir) == "":
		return fmt.Errorf("there is no go.mod in %s or above; run `go mod init` there", dir)
	}
	goTool := b.lookPath("go")
	if goTool == "" {
		return errors.New("the Go toolchain is not installed; get it from https://go.dev/dl")
	}
	return b.run(ctx, dir, []string{"GOOS=linux", "GOARCH=" + b.arch, "CGO_ENABLED=0"},
		goTool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", bin, ".")
}

// isGo tells whether a folder has a Go program.
func isGo(dir string) bool {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	return err == nil && len(files) > 0 && moduleRoot(dir) != ""
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
