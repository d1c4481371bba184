package e2e

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// On a disk that is nearly full nothing new is accepted, and the refusal says why; calls are answered. What was accepted runs, and
// the space that it leaves is used again, also after a restart.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s := start(t, func(c *server.Config) { c.Data, c.Spare = filepath.Join(disk, "data"), 32 })
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "count", python311, source(t, python311, "def handler(event, context):\n    print('got', event[:12])\n    return 'ok'\n"))
	reserve := func(n int32) {
		t.Helper()
		if _, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("count"), ReservedConcurrentExecutions: &n}); err != nil {
			t.Fatal(err)
		}
	}
	send := func() error {
		body := append(append([]byte{'"'}, bytes.Repeat([]byte("x"), 900<<10)...), '"')
		_, err := c.Invoke(context.Background(), &lambda.InvokeInput{FunctionName: aws.String("count"), InvocationType: types.InvocationTypeEvent, Payload: body})
		return err
	}
	fill := func() (accepted int) {
		t.Helper()
		for ; accepted < 200; accepted++ {
			if err := send(); err != nil {
				if status, _ := refusal(err); status < 500 || !strings.Contains(err.Error(), "disk") {
					t.Errorf("%d %v", status, err)
				}
				return accepted
			}
		}
		t.Error("the disk takes whatever comes")
		return accepted
	}
	reserve(0)
	first := fill()
	if first < 10 {
		t.Errorf("%d events were accepted", first)
	}
	if _, err := c.CreateFunction(t.Context(), request("more", python311, source(t, python311, "def handler(event, context): pass\n"))); err == nil || !strings.Contains(err.Error(), "disk") {
		t.Errorf("code is taken: %v", err)
	}
	reserve(2)
	runs := func() int {
		status, lines := manage(t, s.API(), hansomtest.Credentials, "GET", "logs?function=count&limit=10000", "")
		if status != http.StatusOK {
			t.Fatal(status, lines)
		}
		return strings.Count(lines, "got xxxxxxxxxxxx")
	}
	eventually(t, "what was accepted runs", func() bool { return runs() == first })
	if a, err := invoke(t.Context(), c, "count", `"called"`); err != nil || a.payload != `"ok"` {
		t.Error(a, err)
	}
	reserve(0)
	second := fill()
	if second < first/2 {
		t.Errorf("%d events were accepted when those %d had run: their space is not used again", second, first)
	}
	s.Stop(t)
	s = start(t, func(c *server.Config) { c.Data, c.Spare = filepath.Join(disk, "data"), 32 })
	c = client(t, s.API(), hansomtest.Credentials)
	reserve(2)
	eventually(t, "what was accepted before the restart runs", func() bool { return runs() == first+second })
	s.Stop(t)
}
