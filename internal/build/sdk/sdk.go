// Package sdk lays out layers with the AWS SDKs of what this machine has: boto3 of a Python, @aws-sdk packages of npm.
package sdk

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Content says what was laid out.
type Content struct {
	Description string // packages and versions
	Family      string // "python" or "nodejs": what the layer goes with
	Note        string // what its user has to know; "" for nothing
}

//go:embed copy_boto3.py
var boto3Script string

// pythons are tried in this order.
var pythons = []string{"python3", "/usr/bin/python3"}

// Boto3 copies boto3 and all that it needs to dir/python. python names the interpreter to take it from; "" takes the first on
// this machine that has it. env is the environment of what runs.
func Boto3(ctx context.Context, dir, python string, env []string) (Content, error) {
	candidates := pythons
	if python != "" {
		candidates = []string{python}
	}
	var tried []string
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			tried = append(tried, name+" is not there")
			continue
		}
		target := filepath.Join(dir, "python")
		if err := os.MkdirAll(target, 0o755); err != nil {
			return Content{}, err
		}
		var found map[string]string // package -> version
		err = run(ctx, &found, env, path, "-B", "-c", boto3Script, target)
		if err == nil {
			return Content{describe(found), "python", endpointNote(found["botocore"])}, nil
		}
		if ctx.Err() != nil {
			return Content{}, ctx.Err()
		}
		tried = append(tried, path+": "+err.Error())
	}
	return Content{}, fmt.Errorf("no Python here can give boto3; `apt install python3-boto3` or `pip install boto3` does, --python names another (%s)", strings.Join(tried, "; "))
}

// endpointNote is for a botocore before 1.31, the first that knows AWS_ENDPOINT_URL.
func endpointNote(botocore string) string {
	var minor int
	if _, err := fmt.Sscanf(botocore, "1.%d.", &minor); err != nil || minor >= 31 {
		return ""
	}
	return "botocore " + botocore + " does not know AWS_ENDPOINT_URL and calls AWS: give its clients endpoint_url=os.environ['AWS_ENDPOINT_URL'], " +
		"or add a boto3 from 1.28 on (`pip install -U boto3`; --python names its Python)"
}

var packagePattern = regexp.MustCompile(`^(@aws-sdk/)?[a-z0-9][a-z0-9-]*(@[a-zA-Z0-9.^~-]+)?$`)

// JavaScript installs packages of the AWS SDK for JavaScript v3 with npm to dir/nodejs/node_modules. A package is one such as
// client-s3, with @aws-sdk/ before it or not, and may have a version behind it: client-s3@3.600.0. env is the environment of npm.
func JavaScript(ctx context.Context, dir string, packages, env []string) (Content, error) {
	if len(packages) == 0 {
		return Content{}, errors.New("name the packages, such as client-s3 and lib-storage")
	}
	args := []string{"install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--omit=dev", "--install-links", "--loglevel=error"}
	for _, name := range packages {
		if !packagePattern.MatchString(name) {
			return Content{}, fmt.Errorf("%q is no package of the AWS SDK; write one such as client-s3 or client-s3@3.600.0", name)
		}
		args = append(args, "@aws-sdk/"+strings.TrimPrefix(name, "@aws-sdk/"))
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return Content{}, errors.New("npm is not installed; it comes with Node.js (https://nodejs.org, or `apt install npm`)")
	}
	root := filepath.Join(dir, "nodejs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Content{}, err
	}
	manifest := filepath.Join(root, "package.json") // or npm takes a folder above
	if err := os.WriteFile(manifest, []byte("{}\n"), 0o644); err != nil {
		return Content{}, err
	}
	if err := run(ctx, nil, env, npm, append(args, "--prefix", root)...); err != nil {
		if ctx.Err() != nil {
			return Content{}, ctx.Err()
		}
		return Content{}, fmt.Errorf("npm could not install %s: %w", strings.Join(packages, ", "), err)
	}
	var wanted struct{ Dependencies map[string]string }
	text, err := os.ReadFile(manifest)
	if err == nil {
		err = json.Unmarshal(text, &wanted)
	}
	if err != nil {
		return Content{}, err
	}
	found := map[string]string{}
	for name := range wanted.Dependencies {
		var p struct{ Version string }
		text, err := os.ReadFile(filepath.Join(root, "node_modules", filepath.FromSlash(name), "package.json"))
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			return Content{}, err
		}
		found[name] = p.Version
	}
	if err := trim(root); err != nil {
		return Content{}, err
	}
	return Content{Description: describe(found), Family: "nodejs"}, nil
}

// trim takes away what only compilers and npm read, and what differs from one installation to the next.
func trim(root string) error {
	for _, name := range []string{"package.json", "node_modules/.package-lock.json"} {
		if err := os.Remove(filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "dist-types" {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
			return fs.SkipDir
		}
		return nil
	})
}

// maxDescription is Lambda's limit of a layer's description, in bytes.
const maxDescription = 256

// describe lists packages with their versions.
func describe(found map[string]string) string {
	var list []string
	for name, version := range found {
		list = append(list, name+" "+version)
	}
	slices.Sort(list)
	text := strings.Join(list, ", ")
	if len(text) > maxDescription {
		text = text[:maxDescription-3] + "..."
	}
	return text
}

// run runs a program and decodes the JSON that it prints into out. The error is the last line that it said.
func run(ctx context.Context, out any, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
			return errors.New(last)
		}
		return err
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(stdout.Bytes(), out)
}
