package lambda

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/hansomcloud/hansom"
)

// The tests of this file use aws-sdk-go-v2 as its users do.

func TestFunctionLifecycle(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	code := pack(t, "exports.handler = async e => e")
	created, err := c.CreateFunction(t.Context(), &sdk.CreateFunctionInput{
		FunctionName: aws.String("hello"), Role: aws.String(testRole), Handler: aws.String("index.handler"), Runtime: types.RuntimeNodejs22x,
		Code: &types.FunctionCode{ZipFile: code}, Description: aws.String("says hello"), Timeout: aws.Int32(10), MemorySize: aws.Int32(256),
		Environment: &types.Environment{Variables: map[string]string{"GREETING": "hello"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if created.State != types.StatePending || *created.StateReason != "The function is being created." || created.StateReasonCode != types.StateReasonCodeCreating {
		t.Errorf("created in state %v, %q, %v", created.State, *created.StateReason, created.StateReasonCode)
	}
	waitActive(t, c, "hello")

	got, err := c.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("hello")})
	if err != nil {
		t.Fatal(err)
	}
	conf := got.Configuration
	if *conf.FunctionArn != "arn:aws:lambda:us-east-1:000000000000:function:hello" || *conf.Timeout != 10 || *conf.MemorySize != 256 ||
		conf.Environment.Variables["GREETING"] != "hello" || conf.LastUpdateStatus != types.LastUpdateStatusSuccessful ||
		*conf.LoggingConfig.LogGroup != "/aws/lambda/hello" || conf.PackageType != types.PackageTypeZip || *conf.EphemeralStorage.Size != 512 {
		t.Errorf("configuration %+v", conf)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000-0700", *conf.LastModified); err != nil {
		t.Errorf("LastModified: %v", err)
	}
	if got := fetch(t, *got.Code.Location); !bytes.Equal(got, code) {
		t.Errorf("Code.Location gives %d bytes, want the %d that were uploaded", len(got), len(code))
	}

	updated, err := c.UpdateFunctionConfiguration(t.Context(), &sdk.UpdateFunctionConfigurationInput{
		FunctionName: aws.String("hello"), Description: aws.String("says more"), RevisionId: conf.RevisionId, Environment: &types.Environment{}})
	if err != nil {
		t.Fatal(err)
	}
	if updated.LastUpdateStatus != types.LastUpdateStatusInProgress || *updated.Description != "says more" || *updated.Timeout != 10 {
		t.Errorf("updated to %v, %q, %d s", updated.LastUpdateStatus, *updated.Description, *updated.Timeout)
	}
	waitUpdated(t, c, "hello")
	_, err = c.UpdateFunctionCode(t.Context(), &sdk.UpdateFunctionCodeInput{FunctionName: aws.String("hello"), ZipFile: pack(t, "2"), RevisionId: conf.RevisionId})
	var precondition *types.PreconditionFailedException
	if !errors.As(err, &precondition) || *precondition.Type != "User" || !strings.Contains(*precondition.Message, "does not match the latest Revision Id") {
		t.Errorf("update with an old revision: %v", err)
	}
	if _, err = c.UpdateFunctionCode(t.Context(), &sdk.UpdateFunctionCodeInput{FunctionName: aws.String("hello"), ZipFile: pack(t, "2")}); err != nil {
		t.Fatal(err)
	}
	waitUpdated(t, c, "hello")

	v1, err := c.PublishVersion(t.Context(), &sdk.PublishVersionInput{FunctionName: aws.String("hello"), Description: aws.String("first")})
	if err != nil {
		t.Fatal(err)
	}
	if *v1.Version != "1" || *v1.FunctionArn != "arn:aws:lambda:us-east-1:000000000000:function:hello:1" || *v1.Description != "first" {
		t.Errorf("published %q %q %q", *v1.Version, *v1.FunctionArn, *v1.Description)
	}
	var numbers []string
	versions := sdk.NewListVersionsByFunctionPaginator(c, &sdk.ListVersionsByFunctionInput{FunctionName: aws.String("hello"), MaxItems: aws.Int32(1)})
	for versions.HasMorePages() {
		page, err := versions.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			numbers = append(numbers, *v.Version)
			if v.State != "" || v.LastUpdateStatus != "" {
				t.Errorf("a list shows state %q, %q", v.State, v.LastUpdateStatus)
			}
		}
	}
	if !slices.Equal(numbers, []string{"$LATEST", "1"}) {
		t.Errorf("versions %v", numbers)
	}

	if _, err := c.DeleteFunction(t.Context(), &sdk.DeleteFunctionInput{FunctionName: aws.String("hello")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("hello")})
	var notFound *types.ResourceNotFoundException
	if !errors.As(err, &notFound) || *notFound.Message != "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hello" || *notFound.Type != "User" {
		t.Errorf("after deletion: %v", err)
	}
}

// fetch gets an address as curl does.
func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v, %s", url, resp.Status, err, body)
	}
	return body
}

func TestCodeLocationExpires(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	got, err := c.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("f")})
	if err != nil {
		t.Fatal(err)
	}
	status := func(url string) int {
		w := newRecorder()
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.api.Downloads().ServeHTTP(w, r)
		return w.Code
	}
	if code := status(*got.Code.Location); code != http.StatusOK {
		t.Errorf("status %d", code)
	}
	if code := status(strings.Replace(*got.Code.Location, "/000000000000/", "/000000000001/", 1)); code != http.StatusForbidden {
		t.Errorf("another project's package: status %d", code)
	}
	if code := status(strings.Replace(*got.Code.Location, "expires=", "expires=9", 1)); code != http.StatusForbidden {
		t.Errorf("a longer life: status %d", code)
	}
	s.api.cfg.Now = func() time.Time { return time.Now().Add(11 * time.Minute) }
	if code := status(*got.Code.Location); code != http.StatusForbidden {
		t.Errorf("after 11 minutes: status %d", code)
	}
}

func TestListFunctionsPages(t *testing.T) {
	c := newServer(t).client(t)
	var want, got []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("f%d", i))
		create(t, c, want[i])
	}
	pages := sdk.NewListFunctionsPaginator(c, &sdk.ListFunctionsInput{MaxItems: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Functions) > 3 {
			t.Errorf("a page of %d", len(page.Functions))
		}
		for _, f := range page.Functions {
			got = append(got, *f.FunctionName)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestAliases(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	for range 2 {
		if _, err := c.PublishVersion(t.Context(), &sdk.PublishVersionInput{FunctionName: aws.String("f")}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.UpdateFunctionConfiguration(t.Context(), &sdk.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: aws.Int32(9)}); err != nil {
			t.Fatal(err)
		}
		waitUpdated(t, c, "f")
	}
	a, err := c.CreateAlias(t.Context(), &sdk.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("1"),
		RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.25}}})
	if err != nil {
		t.Fatal(err)
	}
	if *a.AliasArn != "arn:aws:lambda:us-east-1:000000000000:function:f:live" || a.RoutingConfig.AdditionalVersionWeights["2"] != 0.25 {
		t.Errorf("alias %q with %v", *a.AliasArn, a.RoutingConfig)
	}
	u, err := c.UpdateAlias(t.Context(), &sdk.UpdateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("2"),
		RoutingConfig: &types.AliasRoutingConfiguration{}, RevisionId: a.RevisionId})
	if err != nil {
		t.Fatal(err)
	}
	if u.RoutingConfig != nil || *u.FunctionVersion != "2" {
		t.Errorf("updated to %q with %v", *u.FunctionVersion, u.RoutingConfig)
	}
	list, err := c.ListAliases(t.Context(), &sdk.ListAliasesInput{FunctionName: aws.String("f"), FunctionVersion: aws.String("2")})
	if err != nil || len(list.Aliases) != 1 {
		t.Errorf("aliases of version 2: %v, %v", list, err)
	}
	got, err := c.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("f:live")})
	if err != nil || *got.Configuration.Version != "2" {
		t.Errorf("f:live is %+v, %v", got, err)
	}
	if _, err := c.DeleteAlias(t.Context(), &sdk.DeleteAliasInput{FunctionName: aws.String("f"), Name: aws.String("live")}); err != nil {
		t.Error(err)
	}
	_, err = c.GetAlias(t.Context(), &sdk.GetAliasInput{FunctionName: aws.String("f"), Name: aws.String("live")})
	var notFound *types.ResourceNotFoundException
	if !errors.As(err, &notFound) {
		t.Errorf("a deleted alias: %v", err)
	}
}

func TestURLConfigs(t *testing.T) {
	c := newServer(t).client(t)
	create(t, c, "f")
	made, err := c.CreateFunctionUrlConfig(t.Context(), &sdk.CreateFunctionUrlConfigInput{FunctionName: aws.String("f"), AuthType: types.FunctionUrlAuthTypeNone,
		Cors: &types.Cors{AllowOrigins: []string{"*"}, MaxAge: aws.Int32(60)}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(*made.FunctionUrl, ".lambda-url.localhost:8080/") || *made.Cors.MaxAge != 60 {
		t.Errorf("made %+v", made)
	}
	_, err = c.CreateFunctionUrlConfig(t.Context(), &sdk.CreateFunctionUrlConfigInput{FunctionName: aws.String("f"), AuthType: types.FunctionUrlAuthTypeNone})
	var conflict *types.ResourceConflictException
	if !errors.As(err, &conflict) {
		t.Errorf("a second URL: %v", err)
	}
	up, err := c.UpdateFunctionUrlConfig(t.Context(), &sdk.UpdateFunctionUrlConfigInput{FunctionName: aws.String("f"), InvokeMode: types.InvokeModeResponseStream})
	if err != nil || up.InvokeMode != types.InvokeModeResponseStream || up.AuthType != types.FunctionUrlAuthTypeNone || up.Cors == nil {
		t.Errorf("updated to %+v, %v", up, err)
	}
	list, err := c.ListFunctionUrlConfigs(t.Context(), &sdk.ListFunctionUrlConfigsInput{FunctionName: aws.String("f")})
	if err != nil || len(list.FunctionUrlConfigs) != 1 || *list.FunctionUrlConfigs[0].FunctionUrl != *made.FunctionUrl {
		t.Errorf("listed %+v, %v", list, err)
	}
	if _, err := c.DeleteFunctionUrlConfig(t.Context(), &sdk.DeleteFunctionUrlConfigInput{FunctionName: aws.String("f")}); err != nil {
		t.Error(err)
	}
	_, err = c.GetFunctionUrlConfig(t.Context(), &sdk.GetFunctionUrlConfigInput{FunctionName: aws.String("f")})
	var notFound *types.ResourceNotFoundException
	if !errors.As(err, &notFound) || *notFound.Message != "The resource you requested does not exist." {
		t.Errorf("a deleted URL: %v", err)
	}
}

func TestPermissionsAndConcurrency(t *testing.T) {
	c := newServer(t).client(t)
	create(t, c, "f")
	added, err := c.AddPermission(t.Context(), &sdk.AddPermissionInput{FunctionName: aws.String("f"), StatementId: aws.String("s3"), Action: aws.String("lambda:InvokeFunction"),
		Principal: aws.String("s3.amazonaws.com"), SourceArn: aws.String("arn:aws:s3:::bucket")})
	if err != nil || !strings.Contains(*added.Statement, `"Service":"s3.amazonaws.com"`) {
		t.Errorf("added %+v, %v", added, err)
	}
	policy, err := c.GetPolicy(t.Context(), &sdk.GetPolicyInput{FunctionName: aws.String("f")})
	if err != nil || !strings.Contains(*policy.Policy, *added.Statement) {
		t.Errorf("policy %+v, %v", policy, err)
	}
	if _, err := c.RemovePermission(t.Context(), &sdk.RemovePermissionInput{FunctionName: aws.String("f"), StatementId: aws.String("s3"), RevisionId: policy.RevisionId}); err != nil {
		t.Error(err)
	}
	if got, err := c.GetFunctionConcurrency(t.Context(), &sdk.GetFunctionConcurrencyInput{FunctionName: aws.String("f")}); err != nil || got.ReservedConcurrentExecutions != nil {
		t.Errorf("concurrency %+v, %v", got, err)
	}
	if put, err := c.PutFunctionConcurrency(t.Context(), &sdk.PutFunctionConcurrencyInput{FunctionName: aws.String("f"), ReservedConcurrentExecutions: aws.Int32(0)}); err != nil || *put.ReservedConcurrentExecutions != 0 {
		t.Errorf("put %+v, %v", put, err)
	}
	if f, err := c.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("f")}); err != nil || *f.Concurrency.ReservedConcurrentExecutions != 0 {
		t.Errorf("function %+v, %v", f, err)
	}
	if _, err := c.DeleteFunctionConcurrency(t.Context(), &sdk.DeleteFunctionConcurrencyInput{FunctionName: aws.String("f")}); err != nil {
		t.Error(err)
	}
	settings, err := c.GetAccountSettings(t.Context(), &sdk.GetAccountSettingsInput{})
	if err != nil || settings.AccountLimit.ConcurrentExecutions != 1000 || settings.AccountUsage.FunctionCount != 1 {
		t.Errorf("settings %+v, %v", settings, err)
	}
}

// A function's own session may invoke functions of its project, and nothing else.
func TestFunctionSession(t *testing.T) {
	s := newServer(t)
	create(t, s.client(t), "f")
	target, err := s.functions.Resolve(t.Context(), hansom.DefaultProject, "f", "")
	if err != nil {
		t.Fatal(err)
	}
	c := s.clientFor(t, s.auth.IssueFunction(target.Version, time.Hour))
	if _, err := c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f")}); err != nil {
		t.Errorf("invoke: %v", err)
	}
	_, err = c.DeleteFunction(t.Context(), &sdk.DeleteFunctionInput{FunctionName: aws.String("f")})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" || !strings.Contains(api.ErrorMessage(), "lambda:DeleteFunction") {
		t.Errorf("delete: %v", err)
	}
	_, err = c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("111111111111:function:f")})
	if !errors.As(err, &api) || api.ErrorCode() != "AccessDeniedException" {
		t.Errorf("another project: %v", err)
	}
}

// Two projects have functions of the same name and do not meet.
func TestProjectsApart(t *testing.T) {
	s := newServer(t)
	project, err := s.auth.CreateProject(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	_, keys, err := s.auth.CreateKey(t.Context(), project.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := s.client(t), s.clientFor(t, keys)
	create(t, mine, "f")
	var api smithy.APIError
	for _, name := range []string{"f", "arn:aws:lambda:us-east-1:000000000000:function:f"} {
		if _, err := theirs.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: &name}); !errors.As(err, &api) {
			t.Errorf("%s is visible from another project: %v", name, err)
		}
	}
	create(t, theirs, "f")
	if _, err := theirs.DeleteFunction(t.Context(), &sdk.DeleteFunctionInput{FunctionName: aws.String("f")}); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("f")}); err != nil {
		t.Errorf("deleted from another project: %v", err)
	}
}
