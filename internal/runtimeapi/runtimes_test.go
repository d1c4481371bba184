package runtimeapi_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/hansomcloud/hansom/internal/runtimeapi"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
	"github.com/hansomcloud/hansom/internal/sandbox/process"
)

// handlerEnv makes this binary a Lambda function that is built with aws-lambda-go.
const handlerEnv = "_HANDLER"

func bootstrap() {
	switch os.Getenv(handlerEnv) {
	case "echo":
		lambda.Start(func(ctx context.Context, event map[string]string) (map[string]string, error) {
			lc, _ := lambdacontext.FromContext(ctx)
			deadline, _ := ctx.Deadline()
			switch event["do"] {
			case "fail":
				return nil, errors.New("as told")
			case "panic":
				panic("as told")
			case "exit":
				os.Exit(3)
			case "large":
				return map[string]string{"x": strings.Repeat("x", 7<<20)}, nil
			case "hang":
				time.Sleep(time.Hour)
			}
			return map[string]string{"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "client": lc.ClientContext.Custom["k"],
				"trace": os.Getenv("_X_AMZN_TRACE_ID"), "left": strconv.FormatBool(time.Until(deadline) > 0), "name": event["name"]}, nil
		})
	case "stream":
		lambda.Start(func(ctx context.Context, event map[string]string) (*events.LambdaFunctionURLStreamingResponse, error) {
			r, w := io.Pipe()
			go func() {
				for i := range 3 {
					io.WriteString(w, strconv.Itoa(i)+"\n")
				}
				if event["do"] == "fail" {
					w.CloseWithError(errors.New("as told"))
				}
				w.Close()
			}()
			return &events.LambdaFunctionURLStreamingResponse{StatusCode: 201, Headers: map[string]string{"X-A": "b"}, Body: r}, nil
		})
	}
}

// start runs command as a function's process.
func start(t testing.TB, command, env []string) (*runtimeapi.Link, sandbox.Sandbox) {
	t.Helper()
	d, err := process.New(process.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	box, err := d.Start(context.Background(), sandbox.Spec{ID: "a", Command: command, Env: append(env, "PATH="+os.Getenv("PATH")), Dir: "/",
		Listen: []sandbox.Listen{{Port: 9001, Env: []string{"AWS_LAMBDA_RUNTIME_API"}, Format: "%s"}}})
	if err != nil {
		t.Fatal(err)
	}
	l := runtimeapi.New(box.Listener(9001))
	var wg sync.WaitGroup
	wg.Go(func() {
		out, _ := io.ReadAll(box.Output())
		if t.Failed() {
			t.Logf("output of the function:\n%s", out)
		}
	})
	t.Cleanup(func() {
		l.Close()
		box.Kill()
		wg.Wait()
		box.Output().Close()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Init(ctx, &sandbox.Init{}); err != nil {
		t.Fatal(err)
	}
	return l, box
}

func startGo(t testing.TB, handler string) (*runtimeapi.Link, sandbox.Sandbox) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, []string{exe}, []string{handlerEnv + "=" + handler})
}

func TestGo(t *testing.T) {
	l, _ := startGo(t, "echo")
	req := request("8476a536-e9f4-11e8-9739-2dfe598c3fcd", `{"name":"hello"}`)
	req.Trace, req.ClientContext = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700", []byte("{\n\"custom\":{\"k\":\"v\"}}")
	resp, err := l.Invoke(req, nil)
	want := `{"arn":"arn:aws:lambda:us-east-1:000000000000:function:f","client":"v","id":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","left":"true","name":"hello","trace":"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"}`
	if err != nil || string(resp.Payload) != want {
		t.Errorf("%s, %v\nwant %s", resp.Payload, err, want)
	}
	if resp := invoke(t, l, "b", `{"do":"fail"}`, nil); !resp.Error || string(resp.Payload) != `{"errorMessage":"as told","errorType":"errorString"}` {
		t.Errorf("%s", resp.Payload)
	}
	for i := range 200 {
		if resp := invoke(t, l, strconv.Itoa(i), `{}`, nil); resp.Error {
			t.Fatalf("%s", resp.Payload)
		}
	}
}

// TestGoEnds: what ends a Go program fails its own invocation, and the next is not given to it.
func TestGoEnds(t *testing.T) {
	for do, want := range map[string]string{
		"panic": `"errorMessage":"as told"`,
		"large": "Function.ResponseSizeTooLarge",
		"exit":  "",
	} {
		t.Run(do, func(t *testing.T) {
			l, box := startGo(t, "echo")
			resp, err := l.Invoke(request("a", `{"do":"`+do+`"}`), nil)
			if want == "" && !errors.Is(err, sandbox.ErrClosed) || want != "" && (err != nil || !resp.Error || !strings.Contains(string(resp.Payload), want)) {
				t.Errorf("%s, %v", resp.Payload, err)
			}
			if _, err := l.Invoke(request("b", `{}`), nil); !errors.Is(err, sandbox.ErrUndelivered) {
				t.Errorf("the next: %v", err)
			}
			<-box.Done()
			if code := box.Exit().Code; do == "exit" && code != 3 || code == 0 {
				t.Errorf("exit %v", box.Exit())
			}
		})
	}
}

func TestGoHangs(t *testing.T) {
	l, _ := startGo(t, "echo")
	req := request("a", `{"do":"hang"}`)
	req.Deadline = time.Now().Add(50 * time.Millisecond).UnixMilli()
	if _, err := l.Invoke(req, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Invoke = %v", err)
	}
}

func TestGoStream(t *testing.T) {
	l, _ := startGo(t, "stream")
	const body = `{"statusCode":201,"headers":{"X-A":"b"}}` + "\x00\x00\x00\x00\x00\x00\x00\x00" + "0\n1\n2\n"
	for _, do := range []string{"", "fail"} {
		rec := &recorder{}
		resp := invoke(t, l, "a", `{"do":"`+do+`"}`, rec)
		if !resp.Streamed || rec.body.String() != body || rec.header.Get("Content-Type") != "application/vnd.awslambda.http-integration-response" {
			t.Errorf("%s: %+v %q", do, resp, rec.body.String())
		}
		if resp.Error != (do == "fail") || resp.Error && !strings.Contains(string(resp.Payload), `"errorMessage":"as told"`) {
			t.Errorf("%s: %s", do, resp.Payload)
		}
	}
	if resp := invoke(t, l, "b", `{}`, nil); resp.Streamed || string(resp.Payload) != body {
		t.Errorf("%+v %q", resp, resp.Payload)
	}
}

// TestShell runs the bootstrap of AWS's custom runtime tutorial.
func TestShell(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("install %s to run this test", tool)
		}
	}
	script, err := filepath.Abs("testdata/bootstrap.sh")
	if err != nil {
		t.Fatal(err)
	}
	l, box := start(t, []string{"/bin/bash", script}, nil)
	for i := range 3 {
		if resp := invoke(t, l, strconv.Itoa(i), `{"n":1}`, nil); string(resp.Payload) != `Echoing request: '{"n":1}'` {
			t.Errorf("%s", resp.Payload)
		}
	}
	large := strings.Repeat("x", 2<<20) // curl asks before it sends that much
	if resp := invoke(t, l, "large", large, nil); string(resp.Payload) != "Echoing request: '"+large+"'" {
		t.Errorf("%d bytes", len(resp.Payload))
	}
	if resp := invoke(t, l, "e", `error`, nil); !resp.Error || string(resp.Payload) != `{"errorMessage":"told to","errorType":"E"}` {
		t.Errorf("%s", resp.Payload)
	}
	if _, err := l.Invoke(request("x", `exit`), nil); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("Invoke = %v", err)
	}
	<-box.Done()
}

// TestFake runs the link against the fake driver's runtime, which is what other packages test with.
func TestFake(t *testing.T) {
	d := fake.New(func(spec sandbox.Spec) fake.Script {
		return fake.Script{
			Init: func(context.Context, *sandbox.Init) error {
				if spec.ID == "fails" {
					return &fake.FunctionError{Type: "T", Message: "no"}
				}
				return nil
			},
			Handler: func(ctx context.Context, call *fake.Call) ([]byte, error) {
				switch string(call.Event) {
				case "stream":
					io.WriteString(call.Stream("text/plain"), "part")
					return nil, nil
				case "break":
					io.WriteString(call.Stream("text/plain"), "part")
					return nil, &fake.FunctionError{Type: "T", Message: "broke"}
				case "error":
					return nil, errors.New("no")
				case "crash":
					return nil, fake.Exit(4)
				}
				return call.Event, nil
			}}
	})
	defer d.Close()
	defer http.DefaultClient.CloseIdleConnections()
	listen := []sandbox.Listen{{Port: 9001, Env: []string{fake.APIEnv}, Format: "%s"}}
	box, err := d.Start(t.Context(), sandbox.Spec{ID: "a", Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Output().Close()
	l := runtimeapi.New(box.Listener(9001))
	defer l.Close()
	if err := l.Init(t.Context(), &sandbox.Init{}); err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	if resp := invoke(t, l, "a", "1", rec); string(resp.Payload) != "1" {
		t.Errorf("%s", resp.Payload)
	}
	if resp := invoke(t, l, "b", "stream", rec); !resp.Streamed || resp.Error || rec.body.String() != "part" {
		t.Errorf("%+v", resp)
	}
	if resp := invoke(t, l, "c", "break", rec); !resp.Streamed || !resp.Error || !strings.Contains(string(resp.Payload), "broke") {
		t.Errorf("%+v", resp)
	}
	if resp := invoke(t, l, "d", "error", rec); !resp.Error {
		t.Errorf("%+v", resp)
	}
	if _, err := l.Invoke(request("e", "crash"), nil); !errors.Is(err, sandbox.ErrClosed) || errors.Is(err, sandbox.ErrUndelivered) {
		t.Errorf("Invoke = %v", err)
	}
	<-box.Done()
	if box.Exit() != (sandbox.Exit{Code: 4}) {
		t.Errorf("exit %v", box.Exit())
	}
	bad, err := d.Start(t.Context(), sandbox.Spec{ID: "fails", Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Output().Close()
	l = runtimeapi.New(bad.Listener(9001))
	defer l.Close()
	if e, ok := errors.AsType[*sandbox.InitError](l.Init(t.Context(), &sandbox.Init{})); !ok || !strings.Contains(string(e.Payload), `"no"`) {
		t.Errorf("Init = %v", e)
	}
}

// BenchmarkGo is a warm invocation of a function built with aws-lambda-go, in a process of its own.
func BenchmarkGo(b *testing.B) {
	l, _ := startGo(b, "echo")
	req := request("8476a536-e9f4-11e8-9739-2dfe598c3fcd", `{"name":"hello"}`)
	req.Deadline = time.Now().Add(time.Hour).UnixMilli()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := l.Invoke(req, nil)
		if err != nil {
			b.Fatal(err)
		}
		resp.Release()
	}
}
