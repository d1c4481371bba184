package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

var collected = regexp.MustCompile(`(?m)^hansom_packages_collected_total ([1-9]\d*)$`)

// A backup of a server that is in use has the events that wait, and layers that were deleted and are in use; the collector leaves
// them alone on either server.
func TestBackupInUse(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.CodeGrace = time.Second })
	c, ctx := client(t, s.API(), hansomtest.Credentials), t.Context()
	hasCollected := func(s *hansomtest.Server) func() bool {
		return func() bool {
			_, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics")
			return collected.MatchString(text)
		}
	}
	drop := func(name string) {
		t.Helper()
		if _, err := c.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: &name, VersionNumber: aws.Int64(1)}); err != nil {
			t.Fatal(err)
		}
	}
	lib := publish(t, c, "lib", map[string]string{"python/lib.py": "name = 'lib'"})
	node := publish(t, c, "node", map[string]string{"nodejs/node_modules/lib/index.js": "exports.name = 'lib'"})
	create(t, c, "events", python311, source(t, python311, "import lib\ndef handler(event, context): print('event', event, 'with', lib.name)\n"), layers(lib), func(in *lambda.CreateFunctionInput) {
		in.LoggingConfig = &types.LoggingConfig{LogGroup: aws.String("/events")}
	})
	create(t, c, "calls", python311, source(t, python311, "import lib\ndef handler(event, context): return lib.name\n"), layers(lib))
	create(t, c, "web", hansom.RuntimeHTTP, pack(t, map[string]string{"run.sh": "#!/bin/sh\nexec node -e \"require('http').createServer((req, res) => res.end(JSON.stringify(require('lib').name))).listen(process.env.PORT)\"\n"}),
		layers(node), func(in *lambda.CreateFunctionInput) { in.Handler, in.Publish = aws.String("run.sh"), true })
	if _, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: aws.String("web"), Name: aws.String("live"), FunctionVersion: aws.String("1")}); err != nil {
		t.Fatal(err)
	}
	// $LATEST has no layer any more; only the version that the alias names needs it.
	if _, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("web"), Layers: []string{}}); err != nil {
		t.Fatal(err)
	}
	waitUpdated(t, c, "web")
	if _, err := c.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("events"), ReservedConcurrentExecutions: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if _, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("events"), InvocationType: types.InvocationTypeEvent, Payload: fmt.Append(nil, n)}); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, c, "unused", map[string]string{"python/unused.py": ""})
	for _, name := range []string{"lib", "node", "unused"} {
		drop(name)
	}
	answers := func(c *lambda.Client) {
		t.Helper()
		for _, name := range []string{"calls", "web:live"} {
			var got string
			if mustInvoke(t, c, name, "{}", &got); got != "lib" {
				t.Errorf("%s answers %s", name, got)
			}
		}
	}
	eventually(t, "the collector runs", hasCollected(s))
	answers(c)
	file := filepath.Join(t.TempDir(), "backup.tar.gz")
	if err := cli(t, s, hansomtest.Credentials, nil, "backup", file); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "restored")
	if err := cli(t, s, hansomtest.Credentials, nil, "restore", file, "--data", data); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)

	s = start(t, func(c *server.Config) { c.Data, c.CodeGrace = data, time.Second })
	c = client(t, s.API(), hansomtest.Credentials)
	publish(t, c, "more", map[string]string{"python/more.py": ""})
	drop("more")
	eventually(t, "the collector runs", hasCollected(s))
	answers(c)
	logs := logsClient(t, s.API(), hansomtest.Credentials)
	if lines := logged(t, logs, "/events"); lines != "" {
		t.Errorf("an event ran while the function was not to run: %s", lines)
	}
	if _, err := c.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: aws.String("events")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all events have run", func() bool {
		lines := logged(t, logs, "/events")
		for n := range 5 {
			if !strings.Contains(lines, fmt.Sprintf("event %d with lib", n)) {
				return false
			}
		}
		return true
	})
}
