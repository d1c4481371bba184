package runtimes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

// The bootstraps: what an interpreter runs. Those of Node.js and Python speak the protocol of package frame on fd 3, the others
// poll the Runtime API. scripts/build-java.sh makes runtime.jar.
//
//go:embed node/bootstrap.js node/rehearsal.js python/bootstrap.py python/rehearsal.py python/zygote.py ruby/bootstrap.rb java/runtime.jar java/flags
var sources embed.FS

const (
	nodeBootstrap   = "node/bootstrap.js"
	pythonBootstrap = "python/bootstrap.py"
	pythonZygote    = "python/zygote.py"
	rubyBootstrap   = "ruby/bootstrap.rb"
	javaBootstrap   = "java/runtime.jar"
	javaFlags       = "java/flags"

	nodeRehearsal   = "node/rehearsal.js" // a handler that the bootstraps of blanks try themselves out with
	pythonRehearsal = "python/rehearsal.py"
)

// Install writes the bootstraps to dir, which sandboxes see at RuntimeRoot, and compiles the Python one for every Python found
// (once: what is there already is kept). Call it once, before Resolve.
func (c *Catalogue) Install(ctx context.Context, dir string) error {
	const op = "install runtimes"
	dir, err := filepath.Abs(dir)
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	for _, name := range []string{nodeBootstrap, pythonBootstrap, pythonZygote, rubyBootstrap, javaBootstrap, javaFlags, nodeRehearsal, pythonRehearsal} {
		src, err := sources.ReadFile(name)
		if err != nil {
			return hansom.Errorf(hansom.Internal, op, "%w", err)
		}
		if err := write(filepath.Join(dir, name), src); err != nil {
			return hansom.Errorf(hansom.Internal, op, "the bootstraps could not be written to %s: %w", dir, err)
		}
	}
	c.dir = dir
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, in := range c.interpreters {
		if in.Family != Python {
			continue
		}
		wg.Go(func() {
			name, err := compile(ctx, dir, in)
			if err != nil {
				return // the source does as well, a few milliseconds later
			}
			mu.Lock()
			defer mu.Unlock()
			c.compiled[in.Path] = name
		})
	}
	wg.Wait()
	return ctx.Err()
}

// bootstrap is the file that an interpreter runs, below RuntimeRoot.
func (c *Catalogue) bootstrap(in *Interpreter) string {
	switch in.Family {
	case Node:
		return nodeBootstrap
	case Java:
		return javaBootstrap
	case Ruby:
		return rubyBootstrap
	}
	if name := c.compiled[in.Path]; name != "" {
		return name
	}
	return pythonBootstrap
}

// compileScript writes the byte code of argv[1] to argv[2]. In stack traces it is bootstrap.py of RuntimeRoot.
const compileScript = `import py_compile, sys
py_compile.compile(sys.argv[1], sys.argv[2], sys.argv[3], doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)`

// compile makes the byte code of the Python bootstrap for one interpreter and returns its name below dir. A main program is
// compiled at every start otherwise, and byte code is of one version only: the name tells version and source.
func compile(ctx context.Context, dir string, in Interpreter) (string, error) {
	src, err := sources.ReadFile(pythonBootstrap)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(src)
	name := path.Join("python", "bootstrap-"+in.Version+"-"+hex.EncodeToString(sum[:6])+".pyc")
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return name, nil
	}
	tmp, err := os.CreateTemp(filepath.Join(dir, "python"), ".compile-*")
	if err != nil {
		return "", err
	}
	tmp.Close()
	defer os.Remove(tmp.Name())
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.Path, "-I", "-S", "-c", compileScript, filepath.Join(dir, pythonBootstrap), tmp.Name(), path.Join(RuntimeRoot, "bootstrap.py"))
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", err
	}
	code, err := os.ReadFile(tmp.Name()) // py_compile replaces the file
	if err != nil {
		return "", err
	}
	return name, write(filepath.Join(dir, name), code)
}

// write makes a file that everybody may read, at once and only if it is not there already.
func write(file string, content []byte) error {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".write-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if e := tmp.Chmod(0o644); err == nil {
		err = e
	}
	if e := tmp.Sync(); err == nil {
		err = e
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
