package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// TestBoto3Layers runs the script with the best driver on PostgreSQL, and without isolation, where nothing is mounted at /opt.
func TestBoto3Layers(t *testing.T) {
	t.Parallel()
	pythons := pythonsWithBoto3(t)
	for i, driver := range []string{"auto", "process"} {
		t.Run(driver, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				c.Driver = driver
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			var project struct{ ID string }
			var key struct{ AccessKeyID, SecretAccessKey string }
			if err := cli(t, s, hansomtest.Credentials, &project, "projects", "create", "other"); err != nil {
				t.Fatal(err)
			}
			if err := cli(t, s, hansomtest.Credentials, &key, "keys", "create", "test", "--project", "other"); err != nil {
				t.Fatal(err)
			}
			env := append(environment(s), "OTHER_PROJECT="+project.ID, "OTHER_ACCESS_KEY_ID="+key.AccessKeyID, "OTHER_SECRET_ACCESS_KEY="+key.SecretAccessKey)
			out, err := run(t, env, "testdata", pythons[i%len(pythons)].path, "boto3_layers.py")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Log(out[strings.LastIndex(out, "\nRan"):])
		})
	}
}

func TestAWSCLILayers(t *testing.T) {
	t.Parallel()
	const aws = "/usr/bin/aws"
	if _, err := os.Stat(aws); err != nil {
		t.Fatal("no awscli: run scripts/setup.sh")
	}
	s := start(t, nil)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "layer.zip"), pack(t, map[string]string{"python/lib.py": "VALUE = 1"}), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(want string, args ...string) {
		t.Helper()
		out, err := run(t, environment(s), dir, append([]string{aws, "--endpoint-url", s.API(), "--output", "text", "lambda"}, args...)...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("aws lambda %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
	}
	do("arn:aws:lambda:us-east-1:000000000000:layer:lib:1", "publish-layer-version", "--layer-name", "lib", "--zip-file", "fileb://layer.zip",
		"--compatible-runtimes", "python3.11", "python3.12", "--license-info", "MIT", "--query", "LayerVersionArn")
	do("MIT", "get-layer-version", "--layer-name", "lib", "--version-number", "1")
	do("lib", "list-layers", "--compatible-runtime", "python3.12")
	do("lambda:GetLayerVersion", "add-layer-version-permission", "--layer-name", "lib", "--version-number", "1", "--statement-id", "all",
		"--action", "lambda:GetLayerVersion", "--principal", "*")
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "f", python311, source(t, python311, "import lib\ndef handler(event, context): return lib.VALUE\n"))
	do("layer:lib:1", "update-function-configuration", "--function-name", "f", "--layers", "arn:aws:lambda:us-east-1:000000000000:layer:lib:1", "--query", "Layers[0].Arn")
	do("", "wait", "function-updated-v2", "--function-name", "f")
	if a, err := invoke(t.Context(), c, "f", "{}"); err != nil || a.payload != "1" {
		t.Errorf("%+v, %v", a, err)
	}
	do("", "tag-resource", "--resource", "arn:aws:lambda:us-east-1:000000000000:function:f", "--tags", "team=a")
	do("a", "list-tags", "--resource", "arn:aws:lambda:us-east-1:000000000000:function:f", "--query", "Tags.team")
	do("", "delete-layer-version", "--layer-name", "lib", "--version-number", "1")
}

// What was published and acknowledged is there after kill -9, runs, and no number is given twice.
func TestKilledWhilePublishing(t *testing.T) {
	data, runDir := filepath.Join(t.TempDir(), "data"), t.TempDir()
	acknowledged := map[int64]string{} // version -> content
	last := int64(0)
	for round := range 3 {
		p := serve(t, data, runDir)
		c := client(t, p.api, rootKey)
		verifyLayers(t, c, acknowledged)
		timer := time.AfterFunc(time.Duration(200+round*130)*time.Millisecond, p.kill)
		for i := 0; ; i++ {
			content := fmt.Sprintf("%d-%d", round, i)
			out, err := c.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: aws.String("l"),
				Content: &types.LayerVersionContentInput{ZipFile: pack(t, map[string]string{"python/lib.py": "VALUE = '" + content + "'" + strings.Repeat("\n", 200_000)})}})
			if err != nil {
				if status, code := refusal(err); status != 0 {
					t.Fatal(status, code, err)
				}
				break
			}
			if out.Version <= last {
				t.Errorf("version %d came after %d", out.Version, last)
			}
			last = out.Version
			acknowledged[out.Version] = content
		}
		timer.Stop()
		p.kill()
	}
	if len(acknowledged) < 3 {
		t.Fatalf("%d layers were acknowledged in all", len(acknowledged))
	}
	p := serve(t, data, runDir)
	c := client(t, p.api, rootKey)
	verifyLayers(t, c, acknowledged)
	arn := fmt.Sprint("arn:aws:lambda:us-east-1:000000000000:layer:l:", last)
	create(t, c, "f", python311, source(t, python311, "import lib\ndef handler(event, context): return lib.VALUE\n"), func(in *lambda.CreateFunctionInput) {
		in.Layers = []string{arn}
	})
	var got string
	a, err := invoke(t.Context(), c, "f", "{}")
	if err == nil {
		err = json.Unmarshal([]byte(a.payload), &got)
	}
	if err != nil || got != acknowledged[last] {
		t.Errorf("%q, want %q; %v", a.payload, acknowledged[last], err)
	}
}

func verifyLayers(t *testing.T, c *lambda.Client, acknowledged map[int64]string) {
	t.Helper()
	for number := range acknowledged {
		if _, err := c.GetLayerVersion(t.Context(), &lambda.GetLayerVersionInput{LayerName: aws.String("l"), VersionNumber: &number}); err != nil {
			t.Errorf("version %d was acknowledged: %v", number, err)
		}
	}
}
