package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

// teamKey is the access key of the project team in testdata/upgrade/0.1.0.tar.gz.
var teamKey = hansom.Credentials{AccessKeyID: "AKIA3OUZ67MK5MG5HY4W", SecretAccessKey: "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"}

// A server takes over the data directory of each older version: all that was there works and can be changed.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/upgrade/*.tar.gz")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".tar.gz"), func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			untar(t, file, data)
			s := startOn(t, data)
			checkUpgraded(t, s)
			s.Restart(t)
			checkUpgraded(t, s)
			changeUpgraded(t, s)
		})
	}
}

// startOn runs a server on a data directory that is there. Logs are kept, however old the directory is.
func startOn(t *testing.T, data string) *hansomtest.Server {
	return start(t, func(c *server.Config) { c.Data, c.LogAge = data, 100*365*24*time.Hour })
}

func untar(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, content, h.FileInfo().Mode())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkUpgraded looks at all that testdata/upgrade/README.md lists.
func checkUpgraded(t *testing.T, s *hansomtest.Server) {
	t.Helper()
	c, name := client(t, s.API(), hansomtest.Credentials), aws.String("legacy")
	for _, f := range []string{"legacy", "shop-node", "shop-python"} {
		waitActive(t, c, f)
	}
	versions, err := c.ListVersionsByFunction(t.Context(), &lambda.ListVersionsByFunctionInput{FunctionName: name})
	if err != nil || len(versions.Versions) < 3 {
		t.Fatal(versions, err)
	}
	first := versions.Versions[1]
	if *first.Version != "1" || *first.Timeout != 5 || *first.EphemeralStorage.Size != 600 || first.Environment.Variables["LEVEL"] != "1" ||
		*first.Description != "made by 0.1" {
		t.Errorf("version 1: %+v", first)
	}
	for qualifier, want := range map[string]int{"1": 1, "2": 2, "stable": 1} {
		var got struct{ Version int }
		if mustInvoke(t, c, "legacy:"+qualifier, "{}", &got); got.Version != want {
			t.Errorf("legacy:%s runs the code of version %d", qualifier, got.Version)
		}
	}
	prod, err := c.GetAlias(t.Context(), &lambda.GetAliasInput{FunctionName: name, Name: aws.String("prod")})
	if err != nil || *prod.FunctionVersion != "1" || prod.RoutingConfig.AdditionalVersionWeights["2"] != 0.25 {
		t.Error(prod, err)
	}
	policy, err := c.GetPolicy(t.Context(), &lambda.GetPolicyInput{FunctionName: name})
	if err != nil || !strings.Contains(*policy.Policy, "arn:aws:s3:::uploads") {
		t.Error(policy, err)
	}
	reserved, err := c.GetFunctionConcurrency(t.Context(), &lambda.GetFunctionConcurrencyInput{FunctionName: name})
	if err != nil || aws.ToInt32(reserved.ReservedConcurrentExecutions) != 7 {
		t.Error(reserved, err)
	}
	urls, err := c.ListFunctionUrlConfigs(t.Context(), &lambda.ListFunctionUrlConfigsInput{FunctionName: name})
	if err != nil || len(urls.FunctionUrlConfigs) != 2 {
		t.Fatal(urls, err)
	}
	web := browser(t, s.EdgeAddr())
	for _, u := range urls.FunctionUrlConfigs {
		want := http.StatusOK
		if u.AuthType == types.FunctionUrlAuthTypeAwsIam {
			want = http.StatusForbidden
		}
		if status, body := get(t, web, *u.FunctionUrl); status != want {
			t.Errorf("%s %s: %d %s", u.AuthType, *u.FunctionUrl, status, body)
		}
	}
	for host, want := range map[string]string{"shop.localhost": "Welcome Ada", "shop.team.localhost": "Welcome Ada"} {
		if status, body := get(t, web, "http://"+host+"/node/Ada"); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	if _, body := manage(t, s.API(), hansomtest.Credentials, "GET", "logs?function=legacy", ""); strings.Count(body, "legacy 1") < 2 || strings.Count(body, "legacy 2") < 2 {
		t.Errorf("the logs of before are not there:\n%s", body)
	}
	if status, body := manage(t, s.API(), teamKey, "GET", "apps/shop", ""); status != http.StatusOK {
		t.Error("the key of project team:", status, body)
	}
}

// changeUpgraded writes to what an older version has written.
func changeUpgraded(t *testing.T, s *hansomtest.Server) {
	t.Helper()
	c, name := client(t, s.API(), hansomtest.Credentials), aws.String("legacy")
	code := source(t, python311, "def handler(event, context):\n    return {'version': 3}\n")
	if _, err := c.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: code}); err != nil {
		t.Fatal(err)
	}
	waitUpdated(t, c, "legacy")
	published, err := c.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: name})
	if err != nil || *published.Version != "3" {
		t.Fatal(published, err)
	}
	if _, err := c.UpdateAlias(t.Context(), &lambda.UpdateAliasInput{FunctionName: name, Name: aws.String("stable"), FunctionVersion: aws.String("3")}); err != nil {
		t.Fatal(err)
	}
	var got struct{ Version int }
	if mustInvoke(t, c, "legacy:stable", "{}", &got); got.Version != 3 {
		t.Errorf("the alias runs the code of version %d", got.Version)
	}
	if status, body := manage(t, s.API(), hansomtest.Credentials, "DELETE", "apps/shop", ""); status != http.StatusNoContent {
		t.Error(status, body)
	}
	if _, err := c.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: name}); err != nil {
		t.Error(err)
	}
}
