package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// TestAPIGatewayBoto3 runs the script with every boto3 there is, the first time on PostgreSQL.
func TestAPIGatewayBoto3(t *testing.T) {
	t.Parallel()
	for i, python := range pythonsWithBoto3(t) {
		t.Run(python.version, func(t *testing.T) {
			s := hansomtest.Start(t, func(c *server.Config) {
				if i == 0 {
					c.DB = dbtest.Postgres(t)
				}
			})
			if out, err := run(t, environment(s), "testdata", python.path, "boto3_apigateway.py"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// TestAPIGatewayAWSCLI makes an API, and a key and a plan for it, with Debian's awscli.
func TestAPIGatewayAWSCLI(t *testing.T) {
	t.Parallel()
	const aws = "/usr/bin/aws"
	if _, err := os.Stat(aws); err != nil {
		t.Fatal("no awscli: run scripts/setup.sh")
	}
	s := hansomtest.Start(t, nil)
	env, dir := environment(s), t.TempDir()
	do := func(want string, args ...string) string {
		t.Helper()
		out, err := run(t, env, dir, append([]string{aws, "--endpoint-url", s.API(), "--output", "text"}, args...)...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("aws %s: %v\n%s\nwant %q", strings.Join(args, " "), err, out, want)
		}
		return strings.TrimSpace(out)
	}
	api := do("", "apigatewayv2", "create-api", "--name", "pets", "--protocol-type", "HTTP", "--target", "arn:aws:lambda:us-east-1:000000000000:function:f", "--query", "ApiId")
	do("http://"+api+".execute-api.localhost:", "apigatewayv2", "get-api", "--api-id", api, "--query", "ApiEndpoint")
	integration := do("", "apigatewayv2", "get-integrations", "--api-id", api, "--query", "Items[0].IntegrationId")
	do("GET /pets", "apigatewayv2", "create-route", "--api-id", api, "--route-key", "GET /pets", "--target", "integrations/"+integration)
	do("True", "apigatewayv2", "get-stages", "--api-id", api, "--query", "Items[?StageName=='$default'].AutoDeploy")
	do("blue", "apigatewayv2", "update-stage", "--api-id", api, "--stage-name", "$default", "--stage-variables", "colour=blue", "--query", "StageVariables.colour")
	do("", "apigatewayv2", "tag-resource", "--resource-arn", "arn:aws:apigateway:us-east-1::/apis/"+api, "--tags", "team=blue")
	do("blue", "apigatewayv2", "get-tags", "--resource-arn", "arn:aws:apigateway:us-east-1::/apis/"+api, "--query", "Tags.team")
	key := do("", "apigateway", "create-api-key", "--name", "one", "--enabled", "--query", "id")
	plan := do("", "apigateway", "create-usage-plan", "--name", "gold", "--api-stages", "apiId="+api+",stage=$default", "--quota", "limit=10,period=DAY", "--query", "id")
	do("API_KEY", "apigateway", "create-usage-plan-key", "--usage-plan-id", plan, "--key-id", key, "--key-type", "API_KEY", "--query", "type")
	do("", "apigatewayv2", "delete-api", "--api-id", api)
	if out, err := run(t, env, dir, aws, "--endpoint-url", s.API(), "apigatewayv2", "get-api", "--api-id", api); err == nil || !strings.Contains(out, "NotFoundException") {
		t.Fatal("a deleted API is still there: ", out)
	}
	if out, err := run(t, env, dir, aws, "--endpoint-url", s.API(), "apigateway", "get-rest-apis"); err == nil || !strings.Contains(out, "GetRestApis is not supported by this server") {
		t.Fatal("REST APIs: ", out)
	}
}
