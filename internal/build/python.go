package build

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// requirements names what a Python function depends on, in the format of pip.
const requirements = "requirements.txt"

var pythonName = regexp.MustCompile(`^python(3(\.\d+)?)?$`)

// pythonVersion is the Python of a function, "3.11"; of a command line that names none "3"; "" when it has none.
func pythonVersion(f Function) string {
	if version, ok := strings.CutPrefix(f.Runtime, "python"); ok {
		return version
	}
	if f.Runtime != "http" {
		return ""
	}
	for _, word := range strings.Fields(f.Handler) {
		if pythonName.MatchString(word) {
			return "3" + strings.TrimPrefix(strings.TrimPrefix(word, "python"), "3")
		}
	}
	return ""
}

// pythonEntries are the files of a folder and, where it has a requirements.txt and nothing installed, what pip installs for it. The
// folder's own files come first.
func (b *Builder) pythonEntries(ctx context.Context, f Function, src string, progress func(format string, args ...any)) ([]entry, error) {
	entries, err := b.folderEntries(src, nil)
	if err != nil {
		return nil, err
	}
	vendored, err := filepath.Glob(filepath.Join(src, "*.dist-info"))
	if err != nil || len(vendored) > 0 {
		return entries, err
	}
	wanted, err := readRequirements(src, requirements, nil)
	if err != nil || wanted == "" {
		return entries, err
	}
	installed, err := b.pipEntries(ctx, f, src, wanted, progress)
	if err != nil {
		return nil, err
	}
	return append(installed, entries...), nil
}

// readRequirements is the text of a requirements file and of what it includes, "" when none of it has a requirement; what stands in a local folder
// counts with its files.
func readRequirements(dir, name string, above []string) (string, error) {
	file := filepath.Join(dir, filepath.FromSlash(name))
	for _, a := range above {
		if a == file {
			return "", nil
		}
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && len(above) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text.WriteString(line + "\n")
		option, value, _ := strings.Cut(strings.Replace(line, "=", " ", 1), " ")
		value = strings.TrimSpace(value)
		switch option {
		case "-r", "--requirement", "-c", "--constraint":
			more, err := readRequirements(filepath.Dir(file), value, append(above, file))
			if err != nil {
				return "", fmt.Errorf("%s: %w", line, err)
			}
			text.WriteString(more)
			continue
		case "-e", "--editable":
			line = value
		}
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "/") {
			digest, err := digestTree(filepath.Join(filepath.Dir(file), strings.Fields(line)[0]))
			if err != nil {
				return "", fmt.Errorf("%s: %w", line, err)
			}
			text.WriteString(digest + "\n")
		}
	}
	return text.String(), nil
}

// digestTree tells apart the content of files or folders.
func digestTree(root string) (string, error) {
	parts := []string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		parts = append(parts, strings.TrimPrefix(p, root), string(data))
		return err
	})
	return digestOf(parts...), err
}

// pipEntries installs requirements into the cache and returns them as entries.
func (b *Builder) pipEntries(ctx context.Context, f Function, src, wanted string, progress func(format string, args ...any)) ([]entry, error) {
	version := pythonVersion(f)
	tool, known := b.pips[version]
	if !known {
		tool = b.findPip(ctx, version)
	}
	if tool.python == "" {
		return nil, fmt.Errorf("%s has a %s and pip is not on this machine: install Python with pip, or vendor the packages with `pip install --target`", b.show(src), requirements)
	}
	b.pips[version] = tool
	mode := "native"
	argv := []string{tool.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-warn-conflicts", "--root-user-action=ignore", "--no-compile", "-r", requirements}
	if !tool.native {
		mode = "wheels"
		machine := "x86_64"
		if b.arch == "arm64" {
			machine = "aarch64"
		}
		argv = append(argv, "--only-binary=:all:", "--implementation=cp")
		if version != "3" {
			argv = append(argv, "--python-version="+version)
		}
		for _, platform := range []string{"manylinux2014_", "manylinux_2_17_", "manylinux_2_28_", "linux_"} {
			argv = append(argv, "--platform="+platform+machine)
		}
	}
	dir, err := b.cache.entry("pip", digestOf(wanted, version, b.arch, mode), func(dir string) error {
		progress("installing Python packages of %s", f.Key)
		target := filepath.Join(dir, "target")
		if err := os.Mkdir(target, 0o700); err != nil {
			return err
		}
		if err := b.run(ctx, src, nil, append(argv, "--target="+target)...); err != nil {
			return fmt.Errorf("pip: %w", err)
		}
		if tool.native { // a start is much faster with compiled files, and nothing can write them later
			_ = b.run(ctx, dir, nil, tool.python, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", "-s", target, "-p", "/var/task", target) // a file for another Python is no reason to stop
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		entries, err := (&Builder{dir: target}).folderEntries(target, nil)
		if err == nil {
			_, err = (*pack)(nil).write(filepath.Join(dir, "packages.zip"), entries)
		}
		return errors.Join(err, os.RemoveAll(target))
	})
	if err != nil {
		return nil, err
	}
	r, err := zip.OpenReader(filepath.Join(dir, "packages.zip"))
	if err != nil {
		return nil, err
	}
	b.open = append(b.open, r)
	var out []entry
	for _, z := range r.File {
		out = append(out, entry{name: z.Name, mode: z.Mode(), zip: z, size: int64(z.UncompressedSize64)})
	}
	return out, nil
}

// pip is a Python that has it.
type pip struct {
	python string // its file; "" when there is none
	native bool   // what it installs for itself is what the function needs
}

// findPip finds a Python with pip, if possible of the version that the function runs on.
func (b *Builder) findPip(ctx context.Context, version string) pip {
	for i, name := range []string{"python" + version, "python3", "python"} {
		python := b.lookPath(name)
		if python == "" {
			continue
		}
		cmd := exec.CommandContext(ctx, python, "-c", "import sys, pip; print('%d.%d' % sys.version_info[:2])")
		cmd.Env = b.env
		out, err := cmd.Output()
		if err != nil {
			continue
		}
		fits := strings.TrimSpace(string(out)) == version || i == 0 && version == "3"
		return pip{python, fits && runtime.GOOS == "linux" && runtime.GOARCH == b.arch}
	}
	return pip{}
}
