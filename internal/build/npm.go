package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// nodeModules returns the node_modules that a folder lacks; "" when it has its own. npm installs what the lock file says, else what
// package.json does, into the cache: the folder stays as it is.
func (b *Builder) nodeModules(ctx context.Context, key, root string, progress func(format string, args ...any)) (string, error) {
	missing := ""
	for name := range dependencies(root) {
		if resolvePackage(root, name) == "" && (missing == "" || name < missing) {
			missing = name
		}
	}
	if missing == "" {
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(root, "node_modules")); err == nil {
		return "", nil // if the program needs what is missing, esbuild says where
	}
	files := map[string]string{}
	for _, name := range []string{"package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		files[name] = string(data)
	}
	locked := files["package-lock.json"]+files["npm-shrinkwrap.json"] != ""
	if err := cannotInstall(root, files, locked); err != nil {
		return "", fmt.Errorf("%s is not installed: %w in %s", missing, err, b.show(root))
	}
	npm := b.lookPath("npm")
	if npm == "" {
		return "", fmt.Errorf("%s is not installed and npm is not on this machine: install Node.js, then run `npm install` in %s", missing, b.show(root))
	}
	argv := []string{npm, "install"}
	if locked {
		argv[1] = "ci"
	}
	argv = append(argv, "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline", "--loglevel=error")
	target := npmTarget(b.arch)
	argv = append(argv, target...)
	digest := digestOf(files["package.json"], files["package-lock.json"], files["npm-shrinkwrap.json"], strings.Join(target, " "))
	dir, err := b.cache.entry("npm", digest, func(dir string) error {
		progress("installing npm packages of %s", key)
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				return err
			}
		}
		err := b.run(ctx, dir, nil, argv...)
		return errors.Join(err, os.RemoveAll(filepath.Join(dir, ".npmrc"))) // which may have a password
	})
	if err != nil {
		return "", fmt.Errorf("npm %s in %s: %w", argv[1], b.show(root), err)
	}
	return filepath.Join(dir, "node_modules"), nil
}

// cannotInstall says why npm cannot install elsewhere than in the folder itself, and what to run there.
func cannotInstall(root string, files map[string]string, locked bool) error {
	if !locked {
		for _, other := range [][2]string{{"yarn.lock", "yarn install"}, {"pnpm-lock.yaml", "pnpm install"}, {"bun.lock", "bun install"}, {"bun.lockb", "bun install"}} {
			if _, err := os.Stat(filepath.Join(root, other[0])); err == nil {
				return fmt.Errorf("run `%s`", other[1])
			}
		}
	}
	p, err := readPackage(root)
	if err != nil {
		return err
	}
	local := len(p.Workspaces) > 0
	for _, version := range p.Dependencies {
		for _, scheme := range []string{"file:", "link:", "workspace:", "./", "../", "/"} {
			local = local || strings.HasPrefix(version, scheme)
		}
	}
	if local {
		return errors.New("package.json names packages by path: run `npm install`")
	}
	return nil
}

// npmTarget makes npm choose packages for the server's machine, where that is another than this.
func npmTarget(arch string) []string {
	if runtime.GOOS == "linux" && runtime.GOARCH == arch {
		return nil
	}
	cpu := arch
	if cpu == "amd64" {
		cpu = "x64"
	}
	return []string{"--os=linux", "--cpu=" + cpu, "--libc=glibc"}
}
