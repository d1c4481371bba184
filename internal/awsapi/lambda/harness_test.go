package lambda

import (
	"archive/zip"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go/middleware"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/auth"
	"github.com/hansomcloud/hansom/internal/awsapi"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
	"github.com/hansomcloud/hansom/internal/blob/disk"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/event"
	"github.com/hansomcloud/hansom/internal/function"
	"github.com/hansomcloud/hansom/internal/layer"
	"github.com/hansomcloud/hansom/internal/provision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testRole   = "arn:aws:iam::000000000000:role/test"
	testRegion = "us-east-1"
)

// runtimes accepts every runtime but one.
type runtimes struct{}

func (runtimes) CheckRuntime(identifier string) (string, error) {
	if identifier == "cobol" {
		return "", hansom.Errorf(hansom.Invalid, "check", "there is no cobol here")
	}
	return "", nil
}

func (runtimes) RuntimeARN(id string) string { return "arn:aws:lambda:us-east-1::runtime:" + id }

// invoker resolves as invoke does, and runs answer in place of a function.
type invoker struct {
	functions *function.Service
	answer    func(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error)

	mu   sync.Mutex
	last hansom.Invocation // without its payload, which is not the invoker's to keep
	body string
}

func (i *invoker) Invoke(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	target, err := i.functions.Resolve(ctx, inv.Project, inv.Function, inv.Qualifier)
	if err != nil {
		return hansom.Result{}, err
	}
	inv.ARN, inv.Version = target.ARN, target.Version.Number
	i.mu.Lock()
	i.last, i.body = *inv, string(inv.Payload)
	i.mu.Unlock()
	result, err := i.answer(ctx, inv, sink)
	result.Version = target.Version.Number
	return result, err
}

func (i *invoker) Accept(ctx context.Context, inv *hansom.Invocation) error {
	if _, err := i.functions.Resolve(ctx, inv.Project, inv.Function, inv.Qualifier); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last, i.body = *inv, string(inv.Payload)
	return nil
}

func (i *invoker) seen() (hansom.Invocation, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last, i.body
}

func echo(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	return hansom.NewResult(bytes.Clone(inv.Payload), nil), nil
}

// noPool holds no instances.
type noPool struct{}

func (noPool) Provision(*hansom.Version, int)              {}
func (noPool) Boot(*hansom.Version) error                  { return nil }
func (noPool) Provisioned(*hansom.Version) (int, int, int) { return 0, 0, 0 }
func (noPool) ProvisionedEnded() <-chan struct{}           { return nil }
func (noPool) Memory() int64                               { return 0 }

// queues are two that are there: jobs and jobs.fifo.
type queues struct{}

func (queues) Queue(arn string) (fifo bool, visibility time.Duration, err error) {
	_, name, _ := strings.Cut(arn, ":000000000000:")
	if name != "jobs" && name != "jobs.fifo" {
		return false, 0, hansom.Errorf(hansom.NotFound, "find queue", "The specified queue does not exist.")
	}
	return name == "jobs.fifo", 30 * time.Second, nil
}

func (queues) Send(context.Context, hansom.Delivery) error { return nil }

// server is the AWS side of a server with everything real but the runtimes and what runs the functions.
type server struct {
	*httptest.Server
	api       *Service
	functions *function.Service
	auth      *auth.Service
	invoker   *invoker
}

func newServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	logger := slog.New(slog.DiscardHandler)
	database := dbtest.Open(t, "sqlite:"+filepath.Join(dir, "hansom.db"))
	blobs, err := disk.New(filepath.Join(dir, "blob"))
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := artifact.New(artifact.DefaultConfig(dir), blobs, logger)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := layer.New(t.Context(), layer.DefaultConfig(), database, artifacts)
	if err != nil {
		t.Fatal(err)
	}
	functions, err := function.New(t.Context(), function.DefaultConfig(), database, artifacts, layers, runtimes{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- functions.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	authConfig := auth.DefaultConfig()
	authConfig.Dev = true
	authentication, err := auth.New(t.Context(), authConfig, database, bytes.Repeat([]byte{7}, 32), logger)
	if err != nil {
		t.Fatal(err)
	}
	provisioned, err := provision.New(t.Context(), provision.DefaultConfig(), database, functions, noPool{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	functions.SetProvisioned(provisioned)
	mappings, err := event.New(t.Context(), event.DefaultConfig(), database, event.Deps{Functions: functions, Queues: queues{}}, logger)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.DownloadKey = []byte("0123456789abcdef")
	cfg.FunctionURL = func(id string) string { return "http://" + id + ".lambda-url.localhost:8080/" }
	s := &server{functions: functions, auth: authentication, invoker: &invoker{functions: functions, answer: echo}}
	if s.api, err = New(cfg, functions, layers, provisioned, mappings, s.invoker, artifacts, logger); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", awsapi.New(authentication, logger, map[string]awsapi.Service{"lambda": s.api}))
	mux.Handle(DownloadPath, s.api.Downloads())
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// client is an unmodified client with the credentials of the default project.
func (s *server) client(t testing.TB) *sdk.Client {
	return s.clientFor(t, hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"})
}

func (s *server) clientFor(t testing.TB, c hansom.Credentials) *sdk.Client {
	t.Helper()
	return sdk.New(sdk.Options{
		Region: testRegion, BaseEndpoint: aws.String(s.URL), RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// pack makes a zip with one file.
func pack(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("index.js")
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// create makes a function and waits until it is active.
func create(t testing.TB, c *sdk.Client, name string) *sdk.CreateFunctionOutput {
	t.Helper()
	out, err := c.CreateFunction(t.Context(), &sdk.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(testRole), Handler: aws.String("index.handler"), Runtime: types.RuntimeNodejs22x,
		Code: &types.FunctionCode{ZipFile: pack(t, "exports.handler = async e => e")},
	})
	if err != nil {
		t.Fatal(err)
	}
	waitActive(t, c, name)
	return out
}

func waitActive(t testing.TB, c *sdk.Client, name string) {
	t.Helper()
	err := sdk.NewFunctionActiveV2Waiter(c, func(o *sdk.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	}).
		Wait(t.Context(), &sdk.GetFunctionInput{FunctionName: &name}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
}

func waitUpdated(t testing.TB, c *sdk.Client, name string) {
	t.Helper()
	err := sdk.NewFunctionUpdatedV2Waiter(c, func(o *sdk.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	}).
		Wait(t.Context(), &sdk.GetFunctionInput{FunctionName: &name}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
}

func awsMetadata(m middleware.Metadata) (string, bool) { return awsmiddleware.GetRequestIDMetadata(m) }
