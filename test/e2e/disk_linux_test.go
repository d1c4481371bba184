package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// smallDisk is a folder on a file system of 96 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
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
	return disk
}

// On a disk that is nearly full nothing new is accepted, and the refusal says why; calls are answered. What was accepted runs, and
// the space that it leaves is used again, also after a restart.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
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
	if _, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("count"), ReservedConcurrentExecutions: aws.Int32(2)}); err == nil || !strings.Contains(err.Error(), "disk") {
		t.Errorf("settings are changed: %v", err)
	}
	if _, err := c.CreateFunction(t.Context(), request("more", python311, source(t, python311, "def handler(event, context): pass\n"))); err == nil || !strings.Contains(err.Error(), "disk") {
		t.Errorf("code is taken: %v", err)
	}
	release := func() {
		t.Helper()
		if _, err := c.DeleteFunctionConcurrency(t.Context(), &lambda.DeleteFunctionConcurrencyInput{FunctionName: aws.String("count")}); err != nil {
			t.Fatal(err)
		}
	}
	release()
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
	release()
	eventually(t, "what was accepted before the restart runs", func() bool { return runs() == first+second })
	s.Stop(t)
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Something else fills the disk, so that the message log meets its end. When there is room again the same process goes on with all
// messages that were accepted, those of before and those of after.
func TestDiskFilledByOthers(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t)
	s := start(t, func(c *server.Config) { c.Data, c.Spare = filepath.Join(disk, "data"), 0 })
	c := queueClient(t, s.API(), hansomtest.Credentials)
	made, err := c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("jobs")})
	if err != nil {
		t.Fatal(err)
	}
	accepted, last := map[string]bool{}, 0
	send := func() error {
		last++
		body := fmt.Sprint(last)
		_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: made.QueueUrl, MessageBody: aws.String(body + strings.Repeat(" ", 10_000))})
		if err == nil {
			accepted[body] = true
		}
		return err
	}
	drain := func() {
		t.Helper()
		eventually(t, "all messages are received", func() bool {
			got, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl, MaxNumberOfMessages: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range got.Messages {
				if body := strings.TrimSpace(*m.Body); !accepted[body] {
					t.Errorf("%s was not accepted, or has been received", body)
				} else {
					delete(accepted, body)
				}
				if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: made.QueueUrl, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Error(err)
				}
			}
			return len(accepted) == 0
		})
	}
	for range 100 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(filler, zeros{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	filler.Close()
	refused := error(nil)
	for n := 0; refused == nil && n < 1000; n++ {
		refused = send()
	}
	if status, _ := refusal(refused); status < 500 {
		t.Errorf("on a full disk: %v", refused)
	}
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "messages are accepted again", func() bool { return send() == nil })
	for range 20 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	drain()
	s.Stop(t)
}
