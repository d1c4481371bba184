package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

var packageName = regexp.MustCompile(`^[0-9a-f]{64}(\.zip)?$`)

// packages counts what is below a folder of the data directory under the digest of a package.
func packages(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if packageName.MatchString(e.Name()) {
			n++
		}
	}
	return n
}

// Apps, functions and layers change beside a collector that has no patience: every change that is acknowledged runs, and in the
// end only what is needed is left, also after a restart.
func TestCollectBesideChanges(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.CodeGrace = 40 * time.Millisecond })
	c := client(t, s.API(), hansomtest.Credentials)
	until := time.Now().Add(4 * time.Second)
	lib := func(text string) string { return "def value(): return '" + text + "'\n" }
	code := func(text string) []byte {
		return source(t, python311, "import lib\ndef handler(event, context): return '"+text+" ' + lib.value()\n")
	}
	publish := func(name, text string) string {
		out, err := c.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: &name,
			Content: &types.LayerVersionContentInput{ZipFile: pack(t, map[string]string{"python/lib.py": lib(text)})}})
		if err != nil {
			t.Error(err)
			return ""
		}
		return *out.LayerVersionArn
	}
	says := func(name, want string) {
		t.Helper()
		if a, err := invoke(t.Context(), c, name, "{}"); err != nil || a.payload != `"`+want+`"` {
			t.Errorf("%s answers %s (%v), want %s", name, a.payload, err, want)
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	last := map[string]string{} // what each function said last
	for worker := range 2 {
		wg.Go(func() { // functions with a layer, whose version is deleted as soon as it is used
			name := fmt.Sprint("f", worker)
			text := fmt.Sprint(worker, "-0")
			create(t, c, name, python311, code(text), func(in *lambda.CreateFunctionInput) { in.Layers = []string{publish("l"+name, text)} })
			for i := 1; time.Now().Before(until); i++ {
				if a, err := invoke(t.Context(), c, name, "{}"); err != nil || !strings.Contains(a.payload, text) {
					t.Errorf("%s: %s, %v", name, a.payload, err)
				}
				text = fmt.Sprint(worker, "-", i)
				arn := publish("l"+name, text)
				if _, err := c.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, Layers: []string{arn}}); err != nil {
					t.Error(err)
					return
				}
				waitUpdated(t, c, name)
				if _, err := c.DeleteLayerVersion(t.Context(), &lambda.DeleteLayerVersionInput{LayerName: aws.String("l" + name), VersionNumber: aws.Int64(int64(i))}); err != nil {
					t.Error(err)
				}
				if _, err := c.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: code(text)}); err != nil {
					t.Error(err)
					return
				}
				waitUpdated(t, c, name)
				says(name, text+" "+text)
			}
			mu.Lock()
			defer mu.Unlock()
			last[name] = text + " " + text
		})
	}
	deployments := 0
	wg.Go(func() { // an app, whose old deployments keep their code
		for ; time.Now().Before(until); deployments++ {
			text := fmt.Sprint("app ", deployments)
			zip := source(t, python311, "def handler(event, context): return '"+text+"'\n")
			body := fmt.Sprintf(`{"name": "shop", "functions": {"api": {"runtime": "python3.11", "handler": "app.handler", "codeSha256": %q, "memory": 128, "timeout": 10}}}`, digest(zip))
			for attempt := 0; ; attempt++ {
				if status, answer := manage(t, s.API(), hansomtest.Credentials, "PUT", "artifacts/"+digest(zip), string(zip)); status != http.StatusOK {
					t.Error(status, answer)
					return
				}
				status, answer := manage(t, s.API(), hansomtest.Credentials, "PUT", "apps/shop", body)
				if status == http.StatusOK {
					break
				}
				// What was uploaded and not deployed within the grace may be gone, and is asked for again.
				if attempt == 20 || !strings.Contains(answer, "upload it first") {
					t.Error(status, answer)
					return
				}
			}
			says("shop-api", text)
			mu.Lock()
			last["shop-api"] = text
			mu.Unlock()
		}
	})
	wg.Wait()
	if t.Failed() {
		return
	}
	// Two functions with a layer each, those layers, and the code of every deployment that is kept.
	want := 4 + min(deployments, 100)
	check := func() {
		t.Helper()
		for _, dir := range []string{"blob/000000000000/code", "code"} {
			eventually(t, "only what is needed is in "+dir, func() bool { return packages(t, filepath.Join(s.Config.Data, dir)) == want })
		}
		for name, text := range last {
			says(name, text)
		}
	}
	check()
	metrics, err := http.NewRequestWithContext(t.Context(), "GET", s.API()+"/_hansom/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, text := send(t, http.DefaultClient, metrics)
	if count := regexp.MustCompile(`(?m)^hansom_packages_collected_total ([1-9]\d*)$`).FindString(text); count == "" {
		t.Error("no collected packages are counted")
	}
	s.Restart(t)
	c = client(t, s.API(), hansomtest.Credentials)
	check()

	// An app that is removed takes its history with it.
	if status, answer := manage(t, s.API(), hansomtest.Credentials, "DELETE", "apps/shop", ""); status != http.StatusNoContent {
		t.Fatal(status, answer)
	}
	delete(last, "shop-api")
	want = 4
	check()
}
