package sdk

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The layer alone, without what the interpreter has installed, gives boto3; and it is the same each time.
func TestBoto3(t *testing.T) {
	found := 0
	for _, python := range pythons {
		path, err := exec.LookPath(python)
		if err != nil || exec.Command(path, "-c", "import boto3").Run() != nil {
			continue
		}
		found++
		t.Run(python, func(t *testing.T) {
			dir := t.TempDir()
			content, err := Boto3(context.Background(), dir, python, os.Environ())
			if err != nil {
				t.Fatal(err)
			}
			if content.Family != "python" || !strings.HasPrefix(content.Description, "boto3 1.") || !strings.Contains(content.Description, ", botocore 1.") {
				t.Errorf("%+v", content)
			}
			knows := exec.Command(path, "-c", "from botocore.configprovider import ConfiguredEndpointProvider").Run() == nil
			if knows != (content.Note == "") {
				t.Errorf("it takes its endpoint from the environment: %v, and the note is %q", knows, content.Note)
			}
			out, err := exec.Command(path, "-I", "-S", "-B", "-c", `
import sys; sys.path.insert(0, sys.argv[1])
import boto3
print(boto3.__file__, boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x").meta.service_model.service_name)`,
				filepath.Join(dir, "python")).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != filepath.Join(dir, "python", "boto3", "__init__.py")+" s3" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	if found == 0 {
		t.Fatal("no Python with boto3: run scripts/setup.sh")
	}
}

func TestBoto3Missing(t *testing.T) {
	empty := t.TempDir()
	bare := filepath.Join(empty, "bare-python")
	path, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		t.Fatal("no Python: run scripts/setup.sh")
	}
	if err := os.WriteFile(bare, []byte("#!/bin/sh\nexec "+path+" -I -S \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for python, want := range map[string]string{"no-such-python": "no-such-python is not there", bare: "No module named 'boto3'"} {
		_, err := Boto3(context.Background(), t.TempDir(), python, os.Environ())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "apt install python3-boto3") {
			t.Errorf("%s: %v", python, err)
		}
	}
}

func TestJavaScriptRefuses(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("no npm: run scripts/setup.sh")
	}
	for _, bad := range []string{"--global", "../client-s3", "client-s3;x", "Client", ""} {
		if _, err := JavaScript(context.Background(), t.TempDir(), []string{bad}, os.Environ()); err == nil || !strings.Contains(err.Error(), "is no package of the AWS SDK") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := JavaScript(context.Background(), t.TempDir(), nil, os.Environ()); err == nil || !strings.Contains(err.Error(), "name the packages") {
		t.Error(err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := JavaScript(context.Background(), t.TempDir(), []string{"client-s3"}, os.Environ()); err == nil || !strings.Contains(err.Error(), "npm is not installed") {
		t.Error(err)
	}
}
