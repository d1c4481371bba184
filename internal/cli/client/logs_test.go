package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

// A log that ends within a line was broken off, by the reader or by the server; it is not said to be malformed.
func TestLogsHalfALine(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"message":"whole"}`+"\n"+`{"message":"ha`)
		w.(http.Flusher).Flush()
		if r.URL.Query().Get("follow") == "" {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
	}))
	defer srv.Close()
	cl := New(srv.URL, "", hansom.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, "test")
	defer cl.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	collect := func(e hansom.LogEvent) error {
		if got = append(got, e.Message); len(got) == 2 {
			cancel() // as Ctrl-C does, with half of the next line read
		}
		return nil
	}
	if err := cl.Logs(t.Context(), url.Values{}, collect); err == nil || !strings.Contains(err.Error(), "the server broke off") {
		t.Errorf("a broken connection: %v", err)
	}
	if err := cl.Logs(ctx, url.Values{"follow": {"1"}}, collect); !errors.Is(err, context.Canceled) {
		t.Errorf("Ctrl-C: %v", err)
	}
	if len(got) != 2 || got[0] != "whole" {
		t.Errorf("%q", got)
	}
}
