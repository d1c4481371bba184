// Package e2e drives a whole server with clients that nobody here wrote.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// environment is what AWS tools need to reach s.
func environment(s *hansomtest.Server) []string {
	return append(os.Environ(),
		"AWS_ENDPOINT_URL="+s.API(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=",
		"HANSOM_EDGE="+s.EdgeAddr(), "HANSOM_ENDPOINT="+s.API())
}

func run(t *testing.T, env []string, dir string, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestBoto3 runs the script with every boto3 there is, the first time on PostgreSQL.
func TestBoto3(t *testing.T) {
	t.Parallel()
	for i, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			out, err := run(t, environment(s), "testdata", python.path, "boto3_lambda.py")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Log(out[strings.LastIndex(out, "\nRan"):])
		})
	}
}

type python struct{ path, version string }

// pythonsWithBoto3 finds the interpreters that have boto3: Debian's, and a newer one where there is one.
func pythonsWithBoto3(t *testing.T) []python {
	var found []python
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		out, err := run(t, os.Environ(), "", path, "-c", "import boto3; print('boto3-' + boto3.__version__)")
		if err == nil && (len(found) == 0 || found[0].version != strings.TrimSpace(out)) {
			found = append(found, python{path, strings.TrimSpace(out)})
		}
	}
	if len(found) == 0 {
		t.Fatal("no Python with boto3: run scripts/setup.sh")
	}
	return found
}

// TestSDKForJavaScript runs the script with the @aws-sdk/client-lambda that scripts/setup.sh has installed.
func TestSDKForJavaScript(t *testing.T) {
	const modules = "/opt/hansom/clients/node_modules"
	node := "/opt/hansom/node22/bin/node"
	if _, err := os.Stat(node); err != nil {
		node = "node"
	}
	if _, err := os.Stat(modules + "/@aws-sdk/client-lambda"); err != nil {
		t.Fatal("no @aws-sdk/client-lambda: run scripts/setup.sh")
	}
	s := hansomtest.Start(t, nil)
	code := filepath.Join(t.TempDir(), "code.zip")
	if err := os.WriteFile(code, source(t, node22, "exports.handler = async (event) => {\n"+
		"  if (!event.n) throw new RangeError('no n');\n  console.log({ n: event.n });\n  return event;\n};\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, append(environment(s), "AWS_REGION=us-east-1", "NODE_PATH="+modules), "testdata", node, "sdk.cjs", code); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestAWSCLI walks through a function's life with Debian's awscli.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	const aws = "/usr/bin/aws"
	if _, err := os.Stat(aws); err != nil {
		t.Fatal("no awscli: run scripts/setup.sh")
	}
	s := hansomtest.Start(t, nil)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte("def handler(event, context):\n    print('working')\n    return {'hello': event['name']}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := environment(s)
	if out, err := run(t, env, dir, "/usr/bin/python3", "-m", "zipfile", "-c", "code.zip", "app.py"); err != nil {
		t.Fatal(out, err)
	}
	do := func(want string, args ...string) {
		t.Helper()
		out, err := run(t, env, dir, append([]string{aws, "--endpoint-url", s.API(), "--output", "text"}, args...)...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("aws %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
	}
	do("Pending", "lambda", "create-function", "--function-name", "cli", "--runtime", "python3.11", "--handler", "app.handler",
		"--role", "arn:aws:iam::000000000000:role/r", "--zip-file", "fileb://code.zip", "--query", "State")
	do("", "lambda", "wait", "function-active-v2", "--function-name", "cli")
	do("200", "lambda", "invoke", "--function-name", "cli", "--payload", `{"name":"Ada"}`, "--cli-binary-format", "raw-in-base64-out", "--log-type", "Tail", "out.json")
	if out, err := os.ReadFile(filepath.Join(dir, "out.json")); err != nil || strings.ReplaceAll(string(out), " ", "") != `{"hello":"Ada"}` {
		t.Fatalf("%s, %v", out, err)
	}
	do("202", "lambda", "invoke", "--function-name", "cli", "--invocation-type", "Event", "--payload", `{"name":"Ada"}`, "--cli-binary-format", "raw-in-base64-out", "out.json")
	do("Active", "lambda", "update-function-configuration", "--function-name", "cli", "--tracing-config", "Mode=Active", "--query", "TracingConfig.Mode")
	do("", "lambda", "wait", "function-updated-v2", "--function-name", "cli")
	do("", "lambda", "get-function-code-signing-config", "--function-name", "cli")
	do("", "lambda", "list-code-signing-configs")
	do("1", "lambda", "publish-version", "--function-name", "cli", "--query", "Version")
	do("live", "lambda", "create-alias", "--function-name", "cli", "--name", "live", "--function-version", "1")
	do("cli:live", "lambda", "list-aliases", "--function-name", "cli")
	do("IN_PROGRESS", "lambda", "put-provisioned-concurrency-config", "--function-name", "cli", "--qualifier", "live", "--provisioned-concurrent-executions", "1")
	do("cli:live", "lambda", "list-provisioned-concurrency-configs", "--function-name", "cli")
	do("", "lambda", "delete-provisioned-concurrency-config", "--function-name", "cli", "--qualifier", "live")
	do("http://", "lambda", "create-function-url-config", "--function-name", "cli", "--auth-type", "NONE", "--query", "FunctionUrl")
	do("000000000000", "sts", "get-caller-identity")
	do("", "lambda", "delete-function", "--function-name", "cli")
	out, err := run(t, env, dir, aws, "--endpoint-url", s.API(), "lambda", "get-function", "--function-name", "cli")
	if err == nil || !strings.Contains(out, "ResourceNotFoundException") {
		t.Fatal(fmt.Sprint("a deleted function is still there: ", out))
	}
}
