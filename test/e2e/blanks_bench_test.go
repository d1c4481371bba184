package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// BenchmarkBlanks is the first call of a function, from the request's first byte to the answer's last, on a connection that is
// open, while there are blanks; and beside it the start of the interpreter alone.
func BenchmarkBlanks(b *testing.B) {
	for _, r := range []struct {
		runtime types.Runtime
		code    string
		alone   []string
		where   []string
	}{
		{node22, "exports.handler = async (event) => ({ statusCode: 200, body: 'hello' })", []string{"node", "-e", "0"}, []string{"-p", "process.execPath"}},
		{python311, "def handler(event, context):\n    return {'statusCode': 200, 'body': 'hello'}", []string{"python3", "-I", "-S", "-c", "0"}, []string{"-c", "import os, sys; print(os.path.realpath(sys.executable))"}},
	} {
		b.Run(string(r.runtime), func(b *testing.B) {
			s := withBlanks(b, nil)
			path, err := exec.Command(r.alone[0], r.where...).Output() // not a shim's time
			if err != nil {
				b.Fatal(err)
			}
			r.alone[0] = strings.TrimSpace(string(path))
			c := client(b, s.API(), hansomtest.Credentials)
			web := browser(b, s.EdgeAddr())
			var first, alone []float64
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				name := fmt.Sprintf("f%d", i)
				create(b, c, name, r.runtime, source(b, r.runtime, fmt.Sprintf("%s\n\n\nv%d = %d", r.code, i, i)))
				url, err := c.CreateFunctionUrlConfig(b.Context(), &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.AddPermission(b.Context(), &lambda.AddPermissionInput{FunctionName: &name, StatementId: aws.String("all"), Action: aws.String("lambda:InvokeFunctionUrl"),
					Principal: aws.String("*"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone}); err != nil {
					b.Fatal(err)
				}
				awaitBlanks(b, s, 1)
				get(b, web, s.Edge()+"/") // a connection
				started := time.Now()
				if err := exec.Command(r.alone[0], r.alone[1:]...).Run(); err != nil {
					b.Fatal(err)
				}
				alone = append(alone, time.Since(started).Seconds()*1e3)
				before := metric(b, s, used)
				b.StartTimer()
				started = time.Now()
				status, body := get(b, web, aws.ToString(url.FunctionUrl))
				first = append(first, time.Since(started).Seconds()*1e3)
				b.StopTimer()
				if status != 200 || body != "hello" || metric(b, s, used) != before+1 {
					b.Fatal(status, body, metric(b, s, missed))
				}
				if _, err := c.DeleteFunction(b.Context(), &lambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			slices.Sort(first)
			slices.Sort(alone)
			b.ReportMetric(first[len(first)/2], "p50-ms")
			b.ReportMetric(first[len(first)*99/100], "p99-ms")
			b.ReportMetric(alone[len(alone)/2], "interpreter-p50-ms")
		})
	}
}
