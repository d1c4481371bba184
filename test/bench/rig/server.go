package rig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const (
	accessKey = "AKIABENCHBENCHBENCH0"
	secretKey = "bench-secret-bench-secret-bench-secret-0"
	region    = "us-east-1"
	role      = "arn:aws:iam::000000000000:role/bench"
)

var root = credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")

// Server is a running Hansom with a client of its Lambda API.
type Server struct {
	*Process
	Bin, Data string
	Edge, API string
	Client    *lambda.Client
	flags     []string
}

// StartServer starts the binary bin on a data directory with further flags, and returns when it listens. Its log is
// data + ".log".
func StartServer(bin, data string, flags ...string) (*Server, error) {
	s := &Server{Bin: bin, Data: data, flags: flags}
	return s, s.Start()
}

// Start starts the server again after Stop, on the same data directory.
func (s *Server) Start() error {
	addresses := filepath.Join(s.Data, "server.json")
	_ = os.Remove(addresses)
	argv := append([]string{s.Bin, "serve", "--data", s.Data, "--edge", "127.0.0.1:0", "--api", "127.0.0.1:0"}, s.flags...)
	p, err := launch("Hansom", s.Data+".log", []string{"HANSOM_ROOT_ACCESS_KEY_ID=" + accessKey, "HANSOM_ROOT_SECRET_ACCESS_KEY=" + secretKey}, argv...)
	if err != nil {
		return err
	}
	s.Process = p
	var listening struct{ Edge, API string }
	err = p.until("starting", func() bool {
		text, err := os.ReadFile(addresses)
		return err == nil && json.Unmarshal(text, &listening) == nil
	})
	if err != nil {
		p.Stop()
		return err
	}
	s.Edge, s.API, p.Addr = listening.Edge, listening.API, listening.Edge
	s.Client = lambda.New(lambda.Options{Region: region, BaseEndpoint: aws.String("http://" + s.API), RetryMaxAttempts: 1, Credentials: root})
	return nil
}

// Logs is a client of the CloudWatch Logs API.
func (s *Server) Logs() *cloudwatchlogs.Client {
	return cloudwatchlogs.New(cloudwatchlogs.Options{Region: region, BaseEndpoint: aws.String("http://" + s.API), RetryMaxAttempts: 1, Credentials: root})
}

// Function is what Create makes. Memory is in MB, 128 when it is 0.
type Function struct {
	Name, Handler string
	Runtime       types.Runtime
	Memory        int32
	Code          []byte // a zip
	Tags          map[string]string
}

// Create makes a function and waits until it is active.
func (s *Server) Create(ctx context.Context, f Function) error {
	if f.Memory == 0 {
		f.Memory = 128
	}
	_, err := s.Client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &f.Name, Runtime: f.Runtime, Handler: &f.Handler, Role: aws.String(role), Tags: f.Tags,
		MemorySize: &f.Memory, Timeout: aws.Int32(30), Code: &types.FunctionCode{ZipFile: f.Code},
	})
	if err != nil {
		return err
	}
	wait := lambda.NewFunctionActiveV2Waiter(s.Client, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	})
	return wait.Wait(ctx, &lambda.GetFunctionInput{FunctionName: &f.Name}, time.Minute)
}

// URL makes a public function URL and returns a request for it.
func (s *Server) URL(ctx context.Context, name string) ([]byte, error) {
	answer, err := s.Client.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone})
	if err != nil {
		return nil, err
	}
	_, host, _ := strings.Cut(*answer.FunctionUrl, "://")
	return Get(strings.TrimSuffix(host, "/"), "/hello"), nil
}

// Get is a GET request as bytes.
func Get(host, path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
}

// Payload is the event of Invocation and EventInvocation.
var Payload = []byte(`{"name":"bench"}`)

// Invocation is a signed Invoke call as bytes: it can be sent again and again, the signature is good for 15 minutes.
func (s *Server) Invocation(ctx context.Context, name string) ([]byte, error) {
	return s.invocation(ctx, name, http.Header{})
}

// EventInvocation is an Invoke call that does not wait for the function.
func (s *Server) EventInvocation(ctx context.Context, name string) ([]byte, error) {
	return s.invocation(ctx, name, http.Header{"X-Amz-Invocation-Type": {"Event"}})
}

func (s *Server) invocation(ctx context.Context, name string, header http.Header) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.API+"/2015-03-31/functions/"+name+"/invocations", bytes.NewReader(Payload))
	if err != nil {
		return nil, err
	}
	r.Header = header
	sum := sha256.Sum256(Payload)
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, r, hex.EncodeToString(sum[:]), "lambda", region, time.Now())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = r.Write(&out)
	return out.Bytes(), err
}

// Command runs the command line against the server, and returns what it prints. An error has what it said.
func (s *Server) Command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Bin, append(args, "--api", s.API, "--data", s.Data)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", errors.New(text)
	}
	return text, nil
}

// Deploy writes an app's files to dir and deploys them to a project ("" for the default one).
func (s *Server) Deploy(ctx context.Context, dir, project string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	args := []string{"deploy", dir}
	if project != "" {
		args = append(args, "--project", project)
	}
	_, err := s.Command(ctx, args...)
	return err
}

// AppHost is the host that an app of a project answers on.
func (s *Server) AppHost(app, project string) string {
	_, port, _ := strings.Cut(s.Edge, ":")
	if project != "" {
		app += "." + project
	}
	return app + ".localhost:" + port
}

// Knows says whether this version of the server has a flag, such as "--blanks".
func (s *Server) Knows(flag string) bool { return Knows(s.Bin, flag) }

// Knows says whether `serve` of a binary has a flag.
func Knows(bin, flag string) bool {
	help, _ := exec.Command(bin, "serve", "--help").CombinedOutput()
	return strings.Contains(string(help), flag+" ")
}

// Metric sums the values of a metric over the series whose labels contain every given text. ok is false when there is none.
func (s *Server) Metric(ctx context.Context, name string, labels ...string) (sum float64, ok bool) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.API+"/_hansom/metrics", nil)
	if err != nil {
		return 0, false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, false
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		return 0, false
	}
	return sumMetric(text.String(), name, labels...)
}

func sumMetric(text, name string, labels ...string) (sum float64, ok bool) {
lines:
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		base, set, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(set, l) {
				continue lines
			}
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err == nil {
			sum, ok = sum+v, true
		}
	}
	return sum, ok
}
