package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

const localProvider = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:local"

// beside lets instances take n calls at once.
func beside(n int32) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) {
		in.CapacityProviderConfig = &types.CapacityProviderConfig{LambdaManagedInstancesCapacityProviderConfig: &types.LambdaManagedInstancesCapacityProviderConfig{
			CapacityProviderArn: aws.String(localProvider), PerExecutionEnvironmentMaxConcurrency: aws.Int32(n)}}
	}
}

func handler(name string) func(*lambda.CreateFunctionInput) {
	return func(in *lambda.CreateFunctionInput) { in.Handler = &name }
}

// Ten calls that wait for each other are served by one instance, and the log of each is its own.
func TestBeside(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	code := pack(t, map[string]string{"app.js": testdata(t, "beside.js")})
	create(t, c, "many", node22, code, beside(10), memory(256))
	var mu sync.Mutex
	instances := map[string]int{}
	var calls sync.WaitGroup
	for n := range 10 {
		calls.Go(func() {
			a, err := invoke(t.Context(), c, "many", fmt.Sprintf(`{"do":"together","n":%d,"of":10}`, n))
			var got struct {
				Instance string
				N        int
				Trace    bool
			}
			if err != nil || json.Unmarshal([]byte(a.payload), &got) != nil || got.N != n || !got.Trace {
				t.Errorf("%d: %v %s", n, err, a.payload)
			}
			if !strings.Contains(a.log, fmt.Sprintf("begin %d\n", n)) || !strings.Contains(a.log, fmt.Sprintf("end %d\n", n)) || strings.Count(a.log, "begin") != 1 || strings.Count(a.log, "RequestId: ") != 3 {
				t.Errorf("the log of %d:\n%s", n, a.log)
			}
			mu.Lock()
			instances[got.Instance]++
			mu.Unlock()
		})
	}
	calls.Wait()
	if len(instances) != 1 {
		t.Errorf("10 calls in %d instances", len(instances))
	}

	f, err := c.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("many")})
	if err != nil {
		t.Fatal(err)
	}
	if p := f.CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig; aws.ToString(p.CapacityProviderArn) != localProvider || aws.ToInt32(p.PerExecutionEnvironmentMaxConcurrency) != 10 {
		t.Errorf("%+v", p)
	}
	update := &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("many"), Timeout: aws.Int32(61)}
	if f, err := c.UpdateFunctionConfiguration(t.Context(), update); err != nil || f.CapacityProviderConfig == nil {
		t.Errorf("an update of something else: %+v, %v", f, err)
	}
	waitUpdated(t, c, "many")
	one := request("many", node22, nil, beside(1))
	update.CapacityProviderConfig = one.CapacityProviderConfig
	if f, err := c.UpdateFunctionConfiguration(t.Context(), update); err != nil || aws.ToInt32(f.CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig.PerExecutionEnvironmentMaxConcurrency) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	got, err := c.GetCapacityProvider(t.Context(), &lambda.GetCapacityProviderInput{CapacityProviderName: aws.String("local")})
	if err != nil || aws.ToString(got.CapacityProvider.CapacityProviderArn) != localProvider || got.CapacityProvider.State != types.CapacityProviderStateActive {
		t.Errorf("%+v, %v", got, err)
	}
	if list, err := c.ListCapacityProviders(t.Context(), &lambda.ListCapacityProvidersInput{}); err != nil || len(list.CapacityProviders) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// The timeout of one call leaves the calls beside it alone; the end of the process ends them all; the next call has another instance.
func TestBesideFailures(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "f", node22, pack(t, map[string]string{"app.js": testdata(t, "beside.js")}), beside(10), memory(256), timeout(4))
	var calls sync.WaitGroup
	var before, after struct{ Instance string }
	mustInvoke(t, c, "f", `{}`, &before)
	calls.Go(func() {
		if a, err := invoke(t.Context(), c, "f", `{"do":"hang"}`); err != nil || a.errorType != "Sandbox.Timedout" {
			t.Errorf("%+v, %v", a, err)
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a, err := invoke(t.Context(), c, "f", `{"do":"left"}`)
		if left, _ := strconv.Atoi(a.payload); err == nil && left > 0 && left < 2500 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	mustInvoke(t, c, "f", `{"do":"outlive"}`, &after)
	if after != before {
		t.Error("it ran in another instance")
	}
	calls.Wait()
	if mustInvoke(t, c, "f", `{}`, &after); after == before {
		t.Error("the instance in which a call timed out took another one")
	}
	hung := make(chan answer, 1)
	go func() {
		a, _ := invoke(context.WithoutCancel(t.Context()), c, "f", `{"do":"hang"}`)
		hung <- a
	}()
	for {
		if a, err := invoke(t.Context(), c, "f", `{"do":"left"}`); err != nil || a.payload != "null" {
			break
		}
	}
	if a, err := invoke(t.Context(), c, "f", `{"do":"exit"}`); err != nil || a.errorType != "Runtime.ExitError" {
		t.Errorf("%+v, %v", a, err)
	}
	if a := <-hung; a.errorType != "Runtime.ExitError" {
		t.Errorf("%+v", a)
	}
	mustInvoke(t, c, "f", `{}`, &after)
}

// A client that does not read its stream holds up its own call only, and in the end gets all of it. The manifest says the same as
// the API.
func TestBesideStreams(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hansom.yaml": "name: shop\nfunctions:\n  api: {runtime: nodejs22.x, code: ., handler: beside.stream, memory: 256, timeout: 1m, concurrency: 5}\n",
		"beside.js":   testdata(t, "beside.js"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := cli(t, s, hansomtest.Credentials, nil, "deploy", dir); err != nil {
		t.Fatal(err)
	}
	f, err := c.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("shop-api")})
	if err != nil || f.CapacityProviderConfig == nil || aws.ToInt32(f.CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig.PerExecutionEnvironmentMaxConcurrency) != 5 {
		t.Fatalf("%+v, %v", f, err)
	}
	out, err := c.CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("shop-api"), AuthType: types.FunctionUrlAuthTypeNone, InvokeMode: types.InvokeModeResponseStream})
	if err != nil {
		t.Fatal(err)
	}
	b := browser(t, s.EdgeAddr())
	fetch := func(bytes int) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprint(aws.ToString(out.FunctionUrl), "?bytes=", bytes), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.Do(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		return resp
	}
	const large = 64 << 20 // more than all buffers on the way hold
	slow := fetch(large)
	defer slow.Body.Close()
	for range 10 {
		quick := fetch(1 << 20)
		n, err := io.Copy(io.Discard, quick.Body)
		quick.Body.Close()
		if err != nil || n != 1<<20+3 {
			t.Fatal(n, err)
		}
		if quick.Header.Get("Instance") != slow.Header.Get("Instance") {
			t.Error("it ran in another instance")
		}
	}
	rest := bufio.NewReader(slow.Body)
	if n, err := io.CopyN(io.Discard, rest, large); err != nil {
		t.Fatal(n, err)
	}
	if end, err := io.ReadAll(rest); err != nil || string(end) != "end" {
		t.Errorf("%q, %v", end, err)
	}
}
