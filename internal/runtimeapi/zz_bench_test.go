package runtimeapi_test

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/process"
)

func BenchmarkNetHTTP(b *testing.B) {
	d, _ := process.New(process.Config{Dir: b.TempDir()}, slog.New(slog.DiscardHandler))
	exe, _ := os.Executable()
	box, err := d.Start(b.Context(), sandbox.Spec{ID: "a", Command: []string{exe}, Env: []string{handlerEnv + "=echo"}, Dir: "/",
		Listen: []sandbox.Listen{{Port: 9001, Env: []string{"AWS_LAMBDA_RUNTIME_API"}, Format: "%s"}}})
	if err != nil {
		b.Fatal(err)
	}
	events := make(chan []byte)
	answers := make(chan []byte)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/next") {
			e := <-events
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", "1999999999999")
			w.Write(e)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(202)
		io.WriteString(w, "{}")
		answers <- body
	})}
	go srv.Serve(box.Listener(9001))
	b.ReportAllocs()
	for b.Loop() {
		events <- []byte(`{"name":"hello"}`)
		<-answers
	}
	_ = time.Now
	box.Kill()
	srv.Close()
	box.Output().Close()
	d.Close()
}
