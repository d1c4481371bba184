package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hansomcloud/hansom"
)

type invokerFunc func(*hansom.Invocation) (hansom.Result, error)

func (f invokerFunc) Invoke(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	return f(inv)
}

// follow returns what a follower of a project is told; it returns once it is registered.
func follow(t *testing.T, q *Requests, project string) <-chan Request {
	t.Helper()
	before := q.followed.Load()
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan Request, 100), make(chan struct{})
	go func() {
		defer close(done)
		q.Follow(ctx, project, func(r Request) bool { told <- r; return true })
	}()
	t.Cleanup(func() { cancel(); <-done })
	for q.followed.Load() == before {
		time.Sleep(time.Millisecond)
	}
	return told
}

func nextRequest(t *testing.T, told <-chan Request) Request {
	t.Helper()
	select {
	case r := <-told:
		return r
	case <-time.After(time.Minute):
		t.Fatal("nothing was told")
		return Request{}
	}
}

func TestRequests(t *testing.T) {
	q := NewRequests()
	invoker := q.Invoker(invokerFunc(func(inv *hansom.Invocation) (hansom.Result, error) {
		if inv.Function == "gone" {
			return hansom.Result{}, errors.New("no such function")
		}
		inv.Version = "3"
		r := hansom.NewResult(nil, nil)
		r.Completion = hansom.Completion{Version: &hansom.Version{Memory: 128}, Billed: 7 * time.Millisecond, Init: 5 * time.Millisecond,
			MemoryUsed: 40<<20 - 1, Cold: true}
		return r, nil
	}))
	edge := q.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/nowhere" {
			http.NotFound(w, r)
			return
		}
		if _, err := invoker.Invoke(r.Context(), &hansom.Invocation{ID: "id", Project: "111111111111", Function: "f", Source: "http"}, nil); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}))
	get := func(path string) { edge.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)) }
	get("/early") // nobody follows
	mine, other := follow(t, q, "111111111111"), follow(t, q, hansom.DefaultProject)
	get("/a%20b?secret=1")
	get("/nowhere")
	if _, err := invoker.Invoke(t.Context(), &hansom.Invocation{Project: "111111111111", Function: "gone", Source: "api"}, nil); err == nil {
		t.Error("no error")
	}
	for _, want := range []Request{
		{ID: "id", Project: "111111111111", Function: "f", Version: "3", Source: "http", Method: "GET", Host: "example.com", Path: "/a%20b",
			Outcome: "ok", Billed: 7, Init: 5, Cold: true, Memory: 40, MemoryMax: 128},
		{Project: "111111111111", Function: "gone", Source: "api", Outcome: "refused", Reason: "no such function"},
	} {
		got := nextRequest(t, mine)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Request{}, "Time", "Duration", "Status")); diff != "" {
			t.Error(diff)
		}
	}
	want := Request{Source: "edge", Method: "GET", Host: "example.com", Path: "/nowhere", Status: 404, Outcome: "refused"}
	if diff := cmp.Diff(want, nextRequest(t, other), cmpopts.IgnoreFields(Request{}, "Time", "Duration")); diff != "" {
		t.Error(diff)
	}
	if len(mine)+len(other) > 0 {
		t.Error("told of more")
	}
}

// A handler that writes nothing answers with 200.
func TestRequestStatus(t *testing.T) {
	q := NewRequests()
	told := follow(t, q, hansom.DefaultProject)
	q.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if got := nextRequest(t, told).Status; got != http.StatusOK {
		t.Error(got)
	}
}

// A request that is handed over is told of when it comes again.
func TestRequestHandedOver(t *testing.T) {
	q := NewRequests()
	told := follow(t, q, hansom.DefaultProject)
	calls := 0
	invoker := q.Invoker(invokerFunc(func(*hansom.Invocation) (hansom.Result, error) {
		if calls++; calls == 1 {
			return hansom.Result{}, hansom.ErrHandOver
		}
		return hansom.Result{}, nil
	}))
	h := q.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := invoker.Invoke(r.Context(), &hansom.Invocation{Project: hansom.DefaultProject}, nil); err != nil {
			panic(err)
		}
	}))
	for range 2 {
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
	}
	if got := nextRequest(t, told); got.Outcome != "ok" || len(told) != 0 {
		t.Errorf("got %+v, and %d more", got, len(told))
	}
}

func TestRequestsClose(t *testing.T) {
	q := NewRequests()
	q.Close()
	q.Follow(t.Context(), hansom.DefaultProject, func(Request) bool { return true })
}
