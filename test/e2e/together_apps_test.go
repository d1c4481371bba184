package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// An app whose functions have layers, serve HTTP and take several calls at once goes back to what it was, with a layer that was
// deleted in between, and is then what its folder of then says.
func TestRollbackWithLayers(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.CodeGrace = time.Second })
	c, ctx := client(t, s.API(), hansomtest.Credentials), t.Context()
	env := append(os.Environ(), "HANSOM_API="+s.API(), "HANSOM_ACCESS_KEY_ID=test", "HANSOM_SECRET_ACCESS_KEY=test")
	app := func(n int, more string) string {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"hansom.yaml": fmt.Sprintf(`name: shop
functions:
  web:
    runtime: http
    code: ./web
    handler: node server.js
    layers: ["lib:%d"]
    concurrency: %d
    ready: /healthz
    memory: 256
    environment: {NUMBER: "%[1]d"}
    http: ["GET /v%[1]d", "GET /calls"]
  api:
    runtime: python3.11
    code: ./api
    handler: app.handler
    layers: ["lib:%[1]d"]
%[3]s`, n, n*10, more),
			"web/server.js": "require('http').createServer((req, res) => res.end([require('lib').n, process.env.NUMBER, " + fmt.Sprint(n) + "].join(' '))).listen(process.env.PORT)",
			"api/app.py":    fmt.Sprintf("import lib\ndef handler(event, context): return [lib.n, %d]\n", n),
		} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	hansom := func(want string, args ...string) {
		t.Helper()
		out, err := run(t, env, "", append([]string{binary(t)}, args...)...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("hansom %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
	}
	_, port, _ := strings.Cut(s.EdgeAddr(), ":")
	web := browser(t, s.EdgeAddr())
	is := func(n int) {
		t.Helper()
		url := fmt.Sprintf("http://shop.localhost:%s/v%d", port, n)
		if status, body := get(t, web, url); status != http.StatusOK || body != fmt.Sprintf("%d %d %[1]d", n, n) {
			t.Errorf("%s: %d %s", url, status, body)
		}
		var got []int
		if mustInvoke(t, c, "shop-api", "{}", &got); len(got) != 2 || got[0] != n || got[1] != n {
			t.Errorf("api answers %v, not %d", got, n)
		}
	}
	for n := 1; n <= 2; n++ {
		publish(t, c, "lib", map[string]string{"python/lib.py": fmt.Sprintf("n = %d", n), "nodejs/node_modules/lib/index.js": fmt.Sprintf("exports.n = %d", n)})
	}
	first, second := app(1, ""), app(2, "  extra: {runtime: python3.11, code: ./api, handler: app.handler, layers: [\"lib:2\"]}\n")
	hansom("", "deploy", first)
	is(1)
	hansom("", "deploy", second)
	is(2)
	hansom("", "diff", second, "--exit-code")
	for n := range 2 {
		if _, err := c.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: aws.String("lib"), VersionNumber: aws.Int64(int64(n + 1))}); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, c, "unused", map[string]string{"python/unused.py": ""})
	if _, err := c.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: aws.String("unused"), VersionNumber: aws.Int64(1)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the collector runs", func() bool {
		_, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics")
		return collected.MatchString(text)
	})
	hansom("lib:1", "rollback", "shop", "--dry-run")
	hansom("", "rollback", "shop")
	is(1)
	hansom("", "diff", first, "--exit-code")
	if _, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("shop-extra")}); err == nil {
		t.Error("a function of the second deployment is there")
	}
	hansom("", "rollback", "shop", "--to", "2")
	is(2)
	hansom("", "diff", second, "--exit-code")
}
