package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// cli runs the program's command line as who, and decodes what it prints into result, which may be nil.
func cli(t *testing.T, s *hansomtest.Server, who hansom.Credentials, result any, args ...string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), append(args, "--json")...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HANSOM_API="+s.API(), "HANSOM_ACCESS_KEY_ID="+who.AccessKeyID, "HANSOM_SECRET_ACCESS_KEY="+who.SecretAccessKey)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("hansom %s: %w: %s", strings.Join(args, " "), err, out)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(out, result)
}

// tenant is a project with a key, a function "shared" and an app "shop", which are named alike in all of them.
type tenant struct {
	slug, id   string
	key        hansom.Credentials
	c          *lambda.Client
	arn, url   string // of the function
	version    string
	codeDigest string // hexadecimal, of the app's function
}

// what the function of a tenant answers with; {"env":1} asks for its credentials.
const tenantHandler = `
import os

def handler(event, context):
    print('line of %[1]s')
    if 'env' in event:
        return [os.environ[name] for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN')]
    return '%[1]s'
`

func newTenant(t *testing.T, s *hansomtest.Server, slug string) *tenant {
	t.Helper()
	var project struct{ ID string }
	var key struct{ AccessKeyID, SecretAccessKey string }
	if err := cli(t, s, hansomtest.Credentials, &project, "projects", "create", slug); err != nil {
		t.Fatal(err)
	}
	if err := cli(t, s, hansomtest.Credentials, &key, "keys", "create", "test", "--project", slug); err != nil {
		t.Fatal(err)
	}
	n := &tenant{slug: slug, id: project.ID, key: hansom.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}}
	n.c = client(t, s.API(), n.key)
	n.arn = "arn:aws:lambda:us-east-1:" + n.id + ":function:shared"
	ctx := t.Context()
	create(t, n.c, "shared", python311, source(t, python311, fmt.Sprintf(tenantHandler, slug)))
	create(t, n.c, "only-"+slug, python311, source(t, python311, fmt.Sprintf(tenantHandler, slug)))
	version, err := n.c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: aws.String("shared")})
	if err != nil {
		t.Fatal(err)
	}
	n.version = *version.Version
	if _, err := n.c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: aws.String("shared"), Name: aws.String("live"), FunctionVersion: &n.version}); err != nil {
		t.Fatal(err)
	}
	address, err := n.c.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("shared"), AuthType: types.FunctionUrlAuthTypeAwsIam})
	if err != nil {
		t.Fatal(err)
	}
	n.url = *address.FunctionUrl
	if _, err := n.c.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: aws.String("shared"), StatementId: aws.String("s3"),
		Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com")}); err != nil {
		t.Fatal(err)
	}
	n.deploy(t, s, "shop")
	n.deploy(t, s, "app-of-"+slug)
	return n
}

// deploy deploys an app whose page tells the tenant, with the program.
func (n *tenant) deploy(t *testing.T, s *hansomtest.Server, app string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hansom.yaml": "name: " + app + "\nfunctions:\n  page: {runtime: python3.11, code: ., handler: app.handler, http: [\"GET /\"]}\n",
		"app.py":      fmt.Sprintf("def handler(event, context):\n    return '%s of %s'\n", app, n.slug),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli(t, s, n.key, nil, "deploy", dir); err != nil {
		t.Fatal(err)
	}
	status, body := manage(t, s.API(), n.key, "GET", "apps/"+app, "")
	var deployed struct {
		Manifest struct {
			Functions map[string]struct{ CodeSHA256 string }
		}
	}
	if err := json.Unmarshal([]byte(body), &deployed); err != nil || status != 200 {
		t.Fatal(status, body, err)
	}
	n.codeDigest = deployed.Manifest.Functions["page"].CodeSHA256
}

// operations are all of the Lambda API that name a function.
func operations(t *testing.T, c *lambda.Client, name *string) map[string]func(ctx context.Context) error {
	code := source(t, python311, "def handler(event, context): return 'stolen'")
	live, one, s3 := aws.String("live"), aws.String("1"), aws.String("s3")
	return map[string]func(ctx context.Context) error{
		"CreateFunction": func(ctx context.Context) error {
			_, err := c.CreateFunction(ctx, request(*name, python311, code))
			return err
		},
		"GetFunction": func(ctx context.Context) error {
			_, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: name})
			return err
		},
		"GetFunctionConfiguration": func(ctx context.Context) error {
			_, err := c.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name})
			return err
		},
		"UpdateFunctionCode": func(ctx context.Context) error {
			_, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: code})
			return err
		},
		"UpdateFunctionConfiguration": func(ctx context.Context) error {
			_, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, Description: aws.String("stolen")})
			return err
		},
		"DeleteFunction": func(ctx context.Context) error {
			_, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
			return err
		},
		"PublishVersion": func(ctx context.Context) error {
			_, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name})
			return err
		},
		"ListVersionsByFunction": func(ctx context.Context) error {
			_, err := c.ListVersionsByFunction(ctx, &lambda.ListVersionsByFunctionInput{FunctionName: name})
			return err
		},
		"CreateAlias": func(ctx context.Context) error {
			_, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: name, Name: aws.String("stolen"), FunctionVersion: one})
			return err
		},
		"GetAlias": func(ctx context.Context) error {
			_, err := c.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: name, Name: live})
			return err
		},
		"UpdateAlias": func(ctx context.Context) error {
			_, err := c.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: name, Name: live, Description: aws.String("stolen")})
			return err
		},
		"DeleteAlias": func(ctx context.Context) error {
			_, err := c.DeleteAlias(ctx, &lambda.DeleteAliasInput{FunctionName: name, Name: live})
			return err
		},
		"ListAliases": func(ctx context.Context) error {
			_, err := c.ListAliases(ctx, &lambda.ListAliasesInput{FunctionName: name})
			return err
		},
		"InvokeFunction": func(ctx context.Context) error {
			_, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name})
			return err
		},
		"InvokeFunction with a qualifier": func(ctx context.Context) error {
			_, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Qualifier: live})
			return err
		},
		"InvokeFunction without running it": func(ctx context.Context) error {
			_, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, InvocationType: types.InvocationTypeDryRun})
			return err
		},
		"InvokeFunction with a stream": func(ctx context.Context) error {
			out, err := c.InvokeWithResponseStream(ctx, &lambda.InvokeWithResponseStreamInput{FunctionName: name})
			if err == nil {
				err = errors.Join(errors.New("it streams"), out.GetStream().Close())
			}
			return err
		},
		"PutFunctionConcurrency": func(ctx context.Context) error {
			_, err := c.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: name, ReservedConcurrentExecutions: aws.Int32(0)})
			return err
		},
		"GetFunctionConcurrency": func(ctx context.Context) error {
			_, err := c.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: name})
			return err
		},
		"DeleteFunctionConcurrency": func(ctx context.Context) error {
			_, err := c.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: name})
			return err
		},
		"CreateFunctionUrlConfig": func(ctx context.Context) error {
			_, err := c.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: name, AuthType: types.FunctionUrlAuthTypeNone})
			return err
		},
		"GetFunctionUrlConfig": func(ctx context.Context) error {
			_, err := c.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: name})
			return err
		},
		"UpdateFunctionUrlConfig": func(ctx context.Context) error {
			_, err := c.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: name, AuthType: types.FunctionUrlAuthTypeNone})
			return err
		},
		"DeleteFunctionUrlConfig": func(ctx context.Context) error {
			_, err := c.DeleteFunctionUrlConfig(ctx, &lambda.DeleteFunctionUrlConfigInput{FunctionName: name})
			return err
		},
		"ListFunctionUrlConfigs": func(ctx context.Context) error {
			_, err := c.ListFunctionUrlConfigs(ctx, &lambda.ListFunctionUrlConfigsInput{FunctionName: name})
			return err
		},
		"AddPermission": func(ctx context.Context) error {
			_, err := c.AddPermission(ctx, &lambda.AddPermissionInput{FunctionName: name, StatementId: aws.String("stolen"), Action: aws.String("lambda:*"), Principal: aws.String("*")})
			return err
		},
		"RemovePermission": func(ctx context.Context) error {
			_, err := c.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: name, StatementId: s3})
			return err
		},
		"GetPolicy": func(ctx context.Context) error {
			_, err := c.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: name})
			return err
		},
	}
}

func isStatus(err error, status int) bool { s, _ := refusal(err); return s == status }

// picture is all that can be seen of a tenant's function.
func (n *tenant) picture(t *testing.T) string {
	t.Helper()
	f, err := n.c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("shared")})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := n.c.GetPolicy(t.Context(), &lambda.GetPolicyInput{FunctionName: aws.String("shared")})
	if err != nil {
		t.Fatal(err)
	}
	aliases, err := n.c.ListAliases(t.Context(), &lambda.ListAliasesInput{FunctionName: aws.String("shared")})
	if err != nil {
		t.Fatal(err)
	}
	urls, err := n.c.ListFunctionUrlConfigs(t.Context(), &lambda.ListFunctionUrlConfigsInput{FunctionName: aws.String("shared")})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{f.Configuration, f.Concurrency, policy.Policy, aliases.Aliases, urls.FunctionUrlConfigs})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Two projects have functions, aliases, URLs and apps of the same names. Neither can reach what is the other's.
func TestTenancy(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	acme, globex := newTenant(t, s, "acme"), newTenant(t, s, "globex")
	before := acme.picture(t)

	t.Run("names", func(t *testing.T) {
		for _, n := range []*tenant{acme, globex} {
			for _, name := range []string{"shared", "shared:live", n.arn, n.arn + ":live", n.id + ":function:shared"} {
				var is string
				if mustInvoke(t, n.c, name, "{}", &is); is != n.slug {
					t.Errorf("%s of %s is that of %s", name, n.slug, is)
				}
			}
			list, err := n.c.ListFunctions(t.Context(), &lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Functions) != 5 { // shared and its version, one more, two apps
				t.Errorf("%s has %d functions", n.slug, len(list.Functions))
			}
			for _, f := range list.Functions {
				if !strings.Contains(*f.FunctionArn, ":"+n.id+":") {
					t.Errorf("%s sees %s", n.slug, *f.FunctionArn)
				}
			}
			settings, err := n.c.GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{})
			if err != nil || settings.AccountUsage.FunctionCount != 4 {
				t.Errorf("%s: %+v, %v", n.slug, settings, err)
			}
		}
	})

	t.Run("lambda", func(t *testing.T) {
		for who, key := range map[string]hansom.Credentials{"globex": globex.key, "root": hansomtest.Credentials} {
			for _, name := range []string{acme.arn, acme.id + ":function:shared", acme.arn + ":1"} {
				for op, f := range operations(t, client(t, s.API(), key), &name) {
					err := f(t.Context())
					action, _, _ := strings.Cut(op, " ")
					status, code := refusal(err)
					refusedHere := status == 403 && code == "AccessDeniedException" && strings.Contains(err.Error(), "is not authorized to perform: lambda:"+action+" on resource: "+acme.arn)
					if strings.HasSuffix(name, ":1") { // AWS refuses the form of some before it looks who asks
						refusedHere = refusedHere || status == 400
					}
					if !refusedHere {
						t.Errorf("%s: %s on %s: %v", who, op, name, err)
					}
				}
			}
		}
		only := "only-acme"
		for op, f := range operations(t, globex.c, &only) {
			if op == "CreateFunction" {
				continue
			}
			if err := f(t.Context()); !isStatus(err, 404) {
				t.Errorf("%s on a name that only the other project has: %v", op, err)
			}
		}
	})

	t.Run("session of a function", func(t *testing.T) {
		var env []string
		mustInvoke(t, globex.c, "shared", `{"env":1}`, &env)
		session := hansom.Credentials{AccessKeyID: env[0], SecretAccessKey: env[1], SessionToken: env[2]}
		c := client(t, s.API(), session)
		var is string
		if mustInvoke(t, c, globex.arn, "{}", &is); is != "globex" {
			t.Error("its own project's function answers", is)
		}
		_, err := invoke(t.Context(), c, acme.arn, "{}")
		refused(t, "invoke", err, 403, "AccessDeniedException", "lambda:InvokeFunction")
		_, err = c.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("shared"), Timeout: aws.Int32(900)})
		refused(t, "update of itself", err, 403, "AccessDeniedException", "lambda:UpdateFunctionConfiguration")
		if status, body := manage(t, s.API(), session, "GET", "functions", ""); status != 403 {
			t.Errorf("the management API answers a function: %d %s", status, body)
		}
		session.SecretAccessKey = acme.key.SecretAccessKey
		_, err = invoke(t.Context(), client(t, s.API(), session), globex.arn, "{}")
		refused(t, "a session with another secret", err, 403, "InvalidSignatureException", "")
	})

	t.Run("management", func(t *testing.T) {
		manifest := fmt.Sprintf(`{"name":"thief","functions":{"page":{"runtime":"python3.11","handler":"app.handler","codeSha256":"%s","memory":128,"timeout":3}}}`, acme.codeDigest)
		for _, c := range []struct {
			method, path, body string
			status             int
			not                string // what the answer may not tell
		}{
			{"GET", "functions", "", 200, "only-acme"},
			{"GET", "apps", "", 200, "app-of-acme"},
			{"GET", "apps/shop", "", 200, acme.codeDigest},
			{"GET", "apps/app-of-acme", "", 404, acme.codeDigest},
			{"DELETE", "apps/app-of-acme", "", 404, ""},
			{"PUT", "apps/thief", manifest, 404, ""},
			{"PUT", "apps/thief?plan=1", manifest, 200, "shop"}, // a plan needs no code yet
			{"HEAD", "artifacts/" + acme.codeDigest, "", 404, ""},
			{"GET", "logs?function=shared", "", 200, "line of acme"},
			{"GET", "logs?function=only-acme", "", 404, "line of acme"},
			{"GET", "logs", "", 200, "line of acme"},
			{"GET", "keys", "", 200, acme.key.AccessKeyID},
			{"DELETE", "keys/" + acme.key.AccessKeyID, "", 404, ""},
			{"GET", "projects", "", 403, acme.id},
			{"POST", "projects", `{"slug":"mine"}`, 403, ""},
			{"DELETE", "projects/acme", "", 403, ""},
			{"POST", "projects/acme/sessions", "", 403, "secretAccessKey"},
			{"POST", "projects/default/sessions", "", 403, "secretAccessKey"},
		} {
			status, body := manage(t, s.API(), globex.key, c.method, c.path, c.body)
			if status != c.status || c.not != "" && strings.Contains(body, c.not) {
				t.Errorf("%s %s: %d %s; want %d, without %q", c.method, c.path, status, body, c.status, c.not)
			}
		}
		if err := cli(t, s, globex.key, nil, "ls", "--project", "acme"); err == nil {
			t.Error("hansom ls --project acme works with a key of globex")
		}
		if status, body := manage(t, s.API(), acme.key, "GET", "logs?function=shared", ""); status != 200 || !strings.Contains(body, "line of acme") {
			t.Errorf("acme does not see its own log: %d %s", status, body)
		}
	})

	t.Run("code", func(t *testing.T) {
		location := func(n *tenant) *url.URL {
			f, err := n.c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("shared")})
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(*f.Code.Location)
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		of, mine := location(acme), location(globex)
		if status, _ := get(t, http.DefaultClient, mine.String()); status != 200 {
			t.Error("the location of the own code answers", status)
		}
		of.RawQuery = mine.RawQuery
		if status, body := get(t, http.DefaultClient, of.String()); status != 403 {
			t.Errorf("the other's code with the own signature: %d %.100s", status, body)
		}
	})

	t.Run("hosts", func(t *testing.T) {
		b := browser(t, s.EdgeAddr())
		for _, n := range []*tenant{acme, globex} {
			other := map[*tenant]*tenant{acme: globex, globex: acme}[n]
			if status, body := send(t, b, signed(t, n.key, "lambda", "GET", n.url, "")); status != 200 || body != n.slug {
				t.Errorf("the URL of %s with its own key: %d %s", n.slug, status, body)
			}
			for what, r := range map[string]*http.Request{
				"another project's key": signed(t, other.key, "lambda", "GET", n.url, ""),
				"the root's key":        signed(t, hansomtest.Credentials, "lambda", "GET", n.url, ""),
				"a key for an API":      signed(t, n.key, "execute-api", "GET", n.url, ""),
			} {
				if status, body := send(t, b, r); status != 403 || !strings.Contains(body, "Forbidden") {
					t.Errorf("the URL of %s with %s: %d %s", n.slug, what, status, body)
				}
			}
			for host, want := range map[string]struct {
				status int
				body   string
			}{
				"shop." + n.slug + ".localhost":                      {200, "shop of " + n.slug},
				"app-of-" + n.slug + "." + n.slug + ".localhost":     {200, "app-of-" + n.slug + " of " + n.slug},
				"app-of-" + n.slug + "." + other.slug + ".localhost": {404, "no app answers"},
				"shop.localhost":          {404, "no app answers"},
				n.slug + ".localhost":     {404, "no app answers"},
				"shop.default.localhost":  {404, "no app answers"},
				"shop.nothing.localhost":  {404, "no app answers"},
				"shop." + n.slug + ".com": {404, "no app answers"},
			} {
				if status, body := get(t, b, "http://"+host+"/"); status != want.status || !strings.Contains(body, want.body) {
					t.Errorf("%s: %d %s; want %d %s", host, status, body, want.status, want.body)
				}
			}
		}
	})

	if after := acme.picture(t); after != before {
		t.Errorf("something of acme has changed:\n%s\n%s", before, after)
	}
	var is string
	if mustInvoke(t, acme.c, "shared:live", "{}", &is); is != "acme" {
		t.Error("the function of acme answers", is)
	}
}

// A key that was removed is refused at once, also after a restart; a project goes only when it is empty, and with it its keys.
func TestRemovedKeysAndProjects(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	n := newTenant(t, s, "acme")
	var second struct{ AccessKeyID, SecretAccessKey string }
	if err := cli(t, s, n.key, &second, "keys", "create", "second"); err != nil {
		t.Fatal(err)
	}
	if err := cli(t, s, n.key, nil, "keys", "rm", "--yes", second.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	removed := hansom.Credentials{AccessKeyID: second.AccessKeyID, SecretAccessKey: second.SecretAccessKey}
	for range 2 {
		_, err := invoke(t.Context(), client(t, s.API(), removed), "shared", "{}")
		refused(t, "a removed key", err, 403, "UnrecognizedClientException", "The security token included in the request is invalid.")
		var is string
		if mustInvoke(t, client(t, s.API(), n.key), "shared", "{}", &is); is != "acme" {
			t.Error(is)
		}
		s.Restart(t)
	}
	if status, body := manage(t, s.API(), hansomtest.Credentials, "DELETE", "projects/acme", ""); status != 409 {
		t.Errorf("a project with functions was removed: %d %s", status, body)
	}
	for _, app := range []string{"shop", "app-of-acme"} {
		if status, body := manage(t, s.API(), n.key, "DELETE", "apps/"+app, ""); status != 204 {
			t.Fatal(status, body)
		}
	}
	c := client(t, s.API(), n.key)
	for _, name := range []string{"shared", "only-acme"} {
		if _, err := c.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "projects", "rm", "--yes", "acme"); err != nil {
		t.Fatal(err)
	}
	_, err := c.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
	refused(t, "a key of a removed project", err, 403, "UnrecognizedClientException", "")
}
