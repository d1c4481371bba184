package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const (
	accessKey = "AKIABENCHBENCHBENCH0"
	secretKey = "bench-secret-bench-secret-bench-secret-0"
	region    = "us-east-1"
	role      = "arn:aws:iam::000000000000:role/bench"

	nodeHandler   = "exports.handler = async (event) => ({ hello: 'world', path: event.rawPath })\n"
	pythonHandler = "def handler(event, context):\n    return {'hello': 'world'}\n"
	goHandler     = `package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(ctx context.Context, event map[string]any) (map[string]string, error) {
		return map[string]string{"hello": "world"}, nil
	})
}
`
)

// hansomServer is a running server and a client for it.
type hansomServer struct {
	*process
	data, edge, api string
	client          *lambda.Client
}

// startHansom starts the server on a data directory and returns when it is ready.
func startHansom(ctx context.Context, bin, data string) (*hansomServer, error) {
	cmd := exec.Command(bin, "serve", "--data", data, "--edge", "127.0.0.1:0", "--api", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HANSOM_ROOT_ACCESS_KEY_ID="+accessKey, "HANSOM_ROOT_SECRET_ACCESS_KEY="+secretKey)
	log, err := os.OpenFile(filepath.Join(filepath.Dir(data), "hansom.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	addresses := filepath.Join(data, "server.json")
	_ = os.Remove(addresses)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &hansomServer{process: &process{name: "Hansom", cmd: cmd}, data: data}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		var listening struct{ Edge, API string }
		text, err := os.ReadFile(addresses)
		if err == nil && json.Unmarshal(text, &listening) == nil {
			s.edge, s.api = listening.Edge, listening.API
			break
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("hansom did not start; see %s", log.Name())
		}
	}
	s.addr = s.edge
	s.version = output(bin, "version")
	s.client = lambda.New(lambda.Options{
		Region: region, BaseEndpoint: aws.String("http://" + s.api), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	return s, nil
}

func zipped(name string, text []byte) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, _ := z.CreateHeader(func() *zip.FileHeader {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		return h
	}())
	_, _ = w.Write(text)
	_ = z.Close()
	return out.Bytes()
}

// create makes a function and waits until it is active.
func (s *hansomServer) create(ctx context.Context, name string, runtime types.Runtime, handler string, code []byte) error {
	_, err := s.client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: runtime, Handler: &handler, Role: aws.String(role),
		MemorySize: aws.Int32(256), Timeout: aws.Int32(30), Code: &types.FunctionCode{ZipFile: code},
	})
	if err != nil {
		return err
	}
	wait := lambda.NewFunctionActiveV2Waiter(s.client, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 50*time.Millisecond
	})
	return wait.Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

// url makes a public function URL and returns a request for it.
func (s *hansomServer) url(ctx context.Context, name string) ([]byte, error) {
	answer, err := s.client.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone})
	if err != nil {
		return nil, err
	}
	host := strings.TrimSuffix(strings.SplitN(*answer.FunctionUrl, "://", 2)[1], "/")
	return get(host, "/hello"), nil
}

func get(host, path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
}

// invokeRequest is a signed Invoke call as bytes: the signature is good for 15 minutes.
func (s *hansomServer) invokeRequest(ctx context.Context, name string) ([]byte, error) {
	body := []byte(`{"name":"bench"}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.api+"/2015-03-31/functions/"+name+"/invocations", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, r, hex.EncodeToString(sum[:]), "lambda", region, time.Now())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = r.Write(&out)
	return out.Bytes(), err
}

// once sends a request and returns the time from its first byte to the answer's last.
func once(addr string, request []byte) (time.Duration, error) {
	latencies, err := closedLoop(addr, request, time.Now())
	if err != nil {
		return 0, err
	}
	return latencies[0], nil
}

// buildGo compiles the Go sample function into a zip with its bootstrap.
func buildGo(ctx context.Context, dir string) ([]byte, error) {
	src := filepath.Join(dir, "gofunction")
	if err := os.MkdirAll(src, 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"main.go": goHandler, "go.mod": "module bench\n\ngo 1.26\n\nrequire github.com/aws/aws-lambda-go v1.55.1\n"} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	for _, argv := range [][]string{{"go", "mod", "tidy"}, {"go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", "bootstrap", "."}} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = src
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", argv, err, out)
		}
	}
	f, err := os.Open(filepath.Join(src, "bootstrap"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	program, err := io.ReadAll(f)
	return zipped("bootstrap", program), err
}
