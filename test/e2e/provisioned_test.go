package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// howItBegan answers with the kind of its init and an id of its instance, and exits when it is told to.
const howItBegan = `const id = Math.random()
exports.handler = async e => {
  if (e.exit) process.exit(1)
  return {kind: process.env.AWS_LAMBDA_INITIALIZATION_TYPE, id}
}`

type began struct {
	Kind string
	ID   float64
}

// waitProvisioned waits until the provisioned concurrency of a qualifier has a status.
func waitProvisioned(t *testing.T, c *lambda.Client, name, qualifier string, status types.ProvisionedConcurrencyStatusEnum) *lambda.GetProvisionedConcurrencyConfigOutput {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		out, err := c.GetProvisionedConcurrencyConfig(t.Context(), &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: &name, Qualifier: &qualifier})
		if err != nil {
			t.Fatal(err)
		}
		if out.Status == status {
			return out
		}
		if time.Now().After(end) {
			t.Fatalf("not %s within a minute: %s %s", status, out.Status, aws.ToString(out.StatusReason))
		}
	}
}

func putProvisioned(t *testing.T, c *lambda.Client, name, qualifier string, n int32) {
	t.Helper()
	out, err := c.PutProvisionedConcurrencyConfig(t.Context(), &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: &name, Qualifier: &qualifier, ProvisionedConcurrentExecutions: &n})
	if err != nil {
		t.Fatal(err)
	}
	if out.Status != types.ProvisionedConcurrencyStatusEnumInProgress || aws.ToInt32(out.RequestedProvisionedConcurrentExecutions) != n {
		t.Errorf("%+v", out)
	}
	if _, err := time.Parse("2006-01-02T15:04:05-0700", aws.ToString(out.LastModified)); err != nil {
		t.Error(err)
	}
}

// instancesOf is what the management API says of a function's instances.
func instancesOf(t *testing.T, s *hansomtest.Server, name string) (instances int, provisioned string) {
	t.Helper()
	status, body := manage(t, s.API(), hansomtest.Credentials, "GET", "functions/"+name, "")
	var f struct {
		Instances   int
		Provisioned []struct {
			Qualifier, Status    string
			Requested, Available int
		}
	}
	if err := json.Unmarshal([]byte(body), &f); err != nil || status != http.StatusOK {
		t.Fatal(status, body, err)
	}
	return f.Instances, fmt.Sprint(f.Provisioned)
}

// Provisioned concurrency of an alias through its whole life: warm from the first call, replaced when dead, there again after a
// restart of the server, moved with the alias, gone in the end.
func TestProvisionedConcurrency(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "ready", node22, source(t, node22, howItBegan))
	publish := func() string {
		t.Helper()
		out, err := c.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("ready")})
		if err != nil {
			t.Fatal(err)
		}
		return *out.Version
	}
	first := publish()
	if _, err := c.CreateAlias(t.Context(), &lambda.CreateAliasInput{FunctionName: aws.String("ready"), Name: aws.String("live"), FunctionVersion: &first}); err != nil {
		t.Fatal(err)
	}
	putProvisioned(t, c, "ready", "live", 1)
	out := waitProvisioned(t, c, "ready", "live", types.ProvisionedConcurrencyStatusEnumReady)
	if aws.ToInt32(out.AllocatedProvisionedConcurrentExecutions) != 1 || aws.ToInt32(out.AvailableProvisionedConcurrentExecutions) != 1 {
		t.Errorf("%+v", out)
	}
	warm := func() began {
		t.Helper()
		a, err := invoke(t.Context(), c, "ready:live", "{}")
		if err != nil || strings.Contains(a.log, "Init Duration") || !strings.Contains(a.log, "REPORT") {
			t.Fatalf("%v: %s", err, a.log)
		}
		var b began
		if err := json.Unmarshal([]byte(a.payload), &b); err != nil || b.Kind != "provisioned-concurrency" {
			t.Fatalf("%s: %v", a.payload, err)
		}
		return b
	}
	before := warm()
	if again := warm(); again != before {
		t.Error("the second call ran in another instance")
	}
	var latest began
	if mustInvoke(t, c, "ready", "{}", &latest); latest.Kind != "on-demand" {
		t.Errorf("$LATEST: %+v", latest)
	}
	if n, provisioned := instancesOf(t, s, "ready"); n != 2 || provisioned != "[{live READY 1 1}]" {
		t.Errorf("%d instances, %s", n, provisioned)
	}

	// It dies, and another takes its place.
	if a, err := invoke(t.Context(), c, "ready:live", `{"exit": true}`); err != nil || a.errorType != "Runtime.ExitError" {
		t.Fatalf("%+v, %v", a, err)
	}
	waitProvisioned(t, c, "ready", "live", types.ProvisionedConcurrencyStatusEnumReady)
	if replaced := warm(); replaced == before {
		t.Error("a dead instance answers")
	}

	s.Restart(t)
	c = client(t, s.API(), hansomtest.Credentials)
	waitProvisioned(t, c, "ready", "live", types.ProvisionedConcurrencyStatusEnumReady)
	warm()
	_, metrics := get(t, http.DefaultClient, s.API()+"/_hansom/metrics")
	for _, want := range []string{
		`hansom_provisioned_concurrency{function="ready",project="000000000000",version="` + first + `"} 1`,
		`hansom_provisioned_concurrency_available{function="ready",project="000000000000",version="` + first + `"} 1`,
		`hansom_provisioned_invocations_total{function="ready",project="000000000000"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}

	// The alias moves, and the instances with it.
	if _, err := c.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("ready"), MemorySize: aws.Int32(192)}); err != nil {
		t.Fatal(err)
	}
	waitUpdated(t, c, "ready")
	second := publish()
	if _, err := c.UpdateAlias(t.Context(), &lambda.UpdateAliasInput{FunctionName: aws.String("ready"), Name: aws.String("live"), FunctionVersion: &second}); err != nil {
		t.Fatal(err)
	}
	waitProvisioned(t, c, "ready", "live", types.ProvisionedConcurrencyStatusEnumReady)
	warm()

	if _, err := c.DeleteProvisionedConcurrencyConfig(t.Context(), &lambda.DeleteProvisionedConcurrencyConfigInput{FunctionName: aws.String("ready"), Qualifier: aws.String("live")}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if n, provisioned := instancesOf(t, s, "ready"); n == 0 && provisioned == "[]" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d instances, %s after a minute", n, provisioned)
		}
	}
	_, err := c.GetProvisionedConcurrencyConfig(t.Context(), &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: aws.String("ready"), Qualifier: aws.String("live")})
	refused(t, "after the end", err, http.StatusNotFound, "ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found for this function")
}

// A function that cannot start says so, in the words that deploy tools wait for.
func TestProvisionedConcurrencyFails(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "broken", node22, source(t, node22, `throw new Error("no way")`))
	v, err := c.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("broken")})
	if err != nil {
		t.Fatal(err)
	}
	putProvisioned(t, c, "broken", *v.Version, 2)
	out := waitProvisioned(t, c, "broken", *v.Version, types.ProvisionedConcurrencyStatusEnumFailed)
	if reason := aws.ToString(out.StatusReason); !strings.HasPrefix(reason, "FUNCTION_ERROR_INIT_FAILURE") {
		t.Error(reason)
	}
	settings, err := c.GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{})
	if err != nil || aws.ToInt32(settings.AccountLimit.UnreservedConcurrentExecutions) != 998 {
		t.Errorf("%+v, %v", settings.AccountLimit, err)
	}
	_, err = c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("broken"), ReservedConcurrentExecutions: aws.Int32(1)})
	refused(t, "less than is provisioned", err, http.StatusBadRequest, "InvalidParameterValueException", "should not be lower than function's total provisioned concurrency [2]")
	if _, err := c.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("broken")}); err != nil {
		t.Fatal(err)
	}
	if settings, err = c.GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{}); err != nil || aws.ToInt32(settings.AccountLimit.UnreservedConcurrentExecutions) != 1000 {
		t.Errorf("%+v, %v", settings.AccountLimit, err)
	}
}

// What a manifest asks for is kept ready of what is live: after a deployment, of the new code.
func TestProvisionedApp(t *testing.T) {
	s := start(t, nil)
	deploy := func(text string, provisioned int) {
		t.Helper()
		code := string(pack(t, map[string]string{"app.js": text}))
		if status, body := manage(t, s.API(), hansomtest.Credentials, "PUT", "artifacts/"+digest([]byte(code)), code); status/100 != 2 {
			t.Fatal(status, body)
		}
		app := fmt.Sprintf(`{"name": "shop", "functions": {"api": {"runtime": "nodejs22.x", "handler": "app.handler", "codeSha256": %q,
			"memory": 128, "timeout": 3, "provisioned": %d, "http": ["GET /"]}}}`, digest([]byte(code)), provisioned)
		if status, body := manage(t, s.API(), hansomtest.Credentials, "PUT", "apps/shop", app); status != http.StatusOK {
			t.Fatal(status, body)
		}
	}
	wait := func(want string, instances int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			n, provisioned := instancesOf(t, s, "shop-api")
			if n == instances && provisioned == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d instances, %s after a minute", n, provisioned)
			}
		}
	}
	answers := func(want string) {
		t.Helper()
		b := browser(t, strings.TrimPrefix(s.Edge(), "http://"))
		if status, body := get(t, b, "http://shop.localhost/"); status != http.StatusOK || body != want {
			t.Fatalf("%d %s, want %s", status, body, want)
		}
	}
	kind := `exports.handler = async () => process.env.AWS_LAMBDA_INITIALIZATION_TYPE`
	deploy(kind, 2)
	wait("[{$LATEST READY 2 2}]", 2)
	answers("provisioned-concurrency")
	deploy(kind+` + ", new"`, 2)
	wait("[{$LATEST READY 2 2}]", 2)
	answers("provisioned-concurrency, new")
	deploy(kind+` + ", new"`, 1)
	wait("[{$LATEST READY 1 1}]", 1)
	answers("provisioned-concurrency, new")
	deploy(kind+` + ", new"`, 0)
	wait("[]", 0)
	answers("on-demand, new")
}
