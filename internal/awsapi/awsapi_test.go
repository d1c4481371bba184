package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

// signer says who sent a request from the header Test-Caller.
type signer struct{}

func (signer) Authenticate(r *http.Request) (hansom.Principal, error) {
	switch r.Header.Get("Test-Caller") {
	case "":
		return hansom.Principal{}, hansom.Errorf(hansom.Unauthenticated, "auth", "The security token included in the request is invalid.").WithCode("UnrecognizedClientException")
	case "function":
		return hansom.Principal{Kind: hansom.FunctionSession, Project: "000000000000", ARN: "arn:aws:sts::000000000000:assumed-role/r/f"}, nil
	}
	return hansom.Principal{Kind: hansom.Root, Project: "000000000000"}, nil
}

// TestDispatch sends the requests of testdata/dispatch.json and compares answers. "ID" stands for the request's id.
func TestDispatch(t *testing.T) {
	text, err := os.ReadFile("testdata/dispatch.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Request, Body string
		Header              map[string]string
		Status              int
		ErrorType, Answer   string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	q := NewQuery("sts", "https://ns/", slog.New(slog.DiscardHandler), map[string]Action{
		"Who": func(ctx context.Context, _ url.Values) (any, error) {
			return struct{ Project string }{PrincipalFrom(ctx).Project}, nil
		},
		"Nothing": func(context.Context, url.Values) (any, error) { return nil, nil },
		"Fail":    func(context.Context, url.Values) (any, error) { return nil, errors.New("secret <&>") },
		"Missing": func(_ context.Context, form url.Values) (any, error) {
			return nil, hansom.Errorf(hansom.NotFound, "x", "No <%s>.", form.Get("Name"))
		},
	}, "Who")
	h := New(signer{}, slog.New(slog.DiscardHandler), map[string]Service{"sts": q})
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			method, target, _ := strings.Cut(c.Request, " ")
			r := httptest.NewRequest(method, target, strings.NewReader(c.Body))
			for k, v := range c.Header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			id := w.Header().Get("x-amzn-RequestId")
			if len(id) != 36 || id != strings.ToLower(id) {
				t.Errorf("request id %q", id)
			}
			answer := strings.ReplaceAll(w.Body.String(), id, "ID")
			if w.Code != c.Status || answer != c.Answer || w.Header().Get("x-amzn-errortype") != c.ErrorType {
				t.Errorf("got  %d %q %s\nwant %d %q %s", w.Code, w.Header().Get("x-amzn-errortype"), answer, c.Status, c.ErrorType, c.Answer)
			}
		})
	}
}

func TestQueryBodies(t *testing.T) {
	q := NewQuery("sts", "https://ns/", slog.New(slog.DiscardHandler), nil)
	for _, c := range []struct {
		body   string
		status int
	}{{"Action=%zz", 400}, {"Action=A&x=" + strings.Repeat("a", maxQueryBody), 413}} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		q.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), "<ErrorResponse") {
			t.Errorf("%.20s: %d %s", c.body, w.Code, w.Body)
		}
	}
}
