package rig

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Sources of functions that answer {"hello": "world"}.
const (
	NodeHello   = "exports.handler = async (event) => ({ hello: 'world', path: event.rawPath })\n"
	PythonHello = "def handler(event, context):\n    return {'hello': 'world'}\n"
	goHello     = `package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(ctx context.Context, event map[string]any) (map[string]string, error) {
		return map[string]string{"hello": "world"}, nil
	})
}
`
)

// Zip is a package with one file in it, executable.
func Zip(name string, text []byte) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(0o755)
	// A bytes.Buffer takes whatever is written.
	w, _ := z.CreateHeader(h)
	_, _ = w.Write(text)
	_ = z.Close()
	return out.Bytes()
}

// GoHello compiles the sample function in Go, with the public client of the Runtime API, into a package.
func GoHello(ctx context.Context, dir string) ([]byte, error) {
	src := filepath.Join(dir, "gofunction")
	if err := os.MkdirAll(src, 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"main.go": goHello, "go.mod": "module bench\n\ngo 1.26\n\nrequire github.com/aws/aws-lambda-go v1.55.1\n"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, argv := range [][]string{{"go", "mod", "tidy"}, {"go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", "bootstrap", "."}} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = src
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", argv, err, out)
		}
	}
	program, err := os.ReadFile(filepath.Join(src, "bootstrap"))
	return Zip("bootstrap", program), err
}
