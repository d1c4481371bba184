package invoke

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
)

// slow is a Runner of functions that take a time.
type slow struct {
	world
	timeout time.Duration // of the function
	run     func(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error)
}

func (s *slow) Resolve(ctx context.Context, project, name, qualifier string) (hansom.Target, error) {
	t, err := s.world.Resolve(ctx, project, name, qualifier)
	t.Version.Timeout = s.timeout
	return t, err
}

func (s *slow) Run(ctx context.Context, _ *hansom.Version, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
	return s.run(ctx, inv, sink)
}

// stream is a Sink.
type stream struct{ started, text string }

func (s *stream) Start(int, http.Header)      { s.started = "started" }
func (s *stream) Write(p []byte) (int, error) { s.text += string(p); return len(p), nil }
func (s *stream) Flush()                      {}

// A caller waits no longer than its limit, and the function goes on.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, released := make(chan string, 2), make(chan bool, 1)
		w := &slow{timeout: time.Minute}
		payload := []byte("event")
		w.run = func(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
			time.Sleep(10 * time.Second)
			ended <- string(inv.Payload)
			return hansom.NewResult(nil, func() { released <- true }), nil
		}
		s, err := New(DefaultConfig(), w, w, w)
		if err != nil {
			t.Fatal(err)
		}
		i := inv("f")
		i.Payload, i.Limit = payload, 5*time.Second
		begin := time.Now()
		_, err = s.Invoke(t.Context(), i, nil)
		isKind(t, err, hansom.Timeout)
		if d := time.Since(begin); d != 5*time.Second || len(ended) > 0 {
			t.Errorf("the caller waited %v, and the function has ended %d times", d, len(ended))
		}
		copy(payload, "xxxxx") // it is the caller's again
		if got := <-ended; got != "event" {
			t.Errorf("the function ended with %q", got)
		}
		<-released
		synctest.Wait()
		if n := s.limits.project(hansom.DefaultProject).Load(); n != 0 {
			t.Errorf("%d still run", n)
		}
		i.Limit = 20 * time.Second
		if _, err := s.Invoke(t.Context(), i, nil); err != nil {
			t.Error(err)
		}
		// One that cannot take as long needs no goroutine.
		w.timeout, i.Limit = time.Second, time.Second
		w.run = func(_ context.Context, own *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
			if own != i {
				t.Error("it is another invocation")
			}
			return hansom.Result{}, nil
		}
		if _, err := s.Invoke(t.Context(), i, nil); err != nil {
			t.Error(err)
		}
	})
}

// A stream that has begun in time takes as long as it takes; one that has not says nothing any more.
func TestLimitOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slow{timeout: time.Minute}
		before := time.Second
		done := make(chan bool, 2)
		w.run = func(_ context.Context, _ *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
			time.Sleep(before)
			sink.Start(200, nil)
			time.Sleep(10 * time.Second)
			_, err := sink.Write([]byte("text"))
			sink.Flush()
			done <- true
			return hansom.Result{Streamed: true}, err
		}
		s, err := New(DefaultConfig(), w, w, w)
		if err != nil {
			t.Fatal(err)
		}
		i := inv("f")
		i.Limit = 5 * time.Second
		var to stream
		if r, err := s.Invoke(t.Context(), i, &to); err != nil || !r.Streamed || to.text != "text" {
			t.Errorf("%+v %v %q", r, err, to)
		}
		<-done
		before, to = 6*time.Second, stream{}
		_, err = s.Invoke(t.Context(), i, &to)
		isKind(t, err, hansom.Timeout)
		if <-done; to != (stream{}) {
			t.Errorf("%+v", to)
		}
	})
}

// A function that serves HTTP itself has its request end.
func TestLimitOfExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slow{timeout: time.Minute}
		w.world.runtime = hansom.RuntimeHTTP
		begins := true
		w.run = func(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
			if begins {
				inv.HTTP.Response.WriteHeader(201)
			}
			select {
			case <-inv.HTTP.Request.Context().Done():
			case <-time.After(10 * time.Second):
				inv.HTTP.BodyErr = io.ErrUnexpectedEOF
			}
			return hansom.Result{Streamed: begins}, nil
		}
		s, err := New(DefaultConfig(), w, w, w)
		if err != nil {
			t.Fatal(err)
		}
		ask := func() (time.Duration, error) {
			rec := httptest.NewRecorder()
			i := inv("f")
			i.Payload, i.Limit, i.HTTP = nil, 5*time.Second, &hansom.Exchange{Request: httptest.NewRequest("GET", "/", nil), Response: rec}
			begin := time.Now()
			_, err := s.Invoke(t.Context(), i, nil)
			if begins && i.HTTP.BodyErr != io.ErrUnexpectedEOF {
				t.Errorf("the body broke off with %v", i.HTTP.BodyErr)
			}
			return time.Since(begin), err
		}
		if d, err := ask(); err != nil || d != 10*time.Second {
			t.Errorf("an answer that has begun took %v, %v", d, err)
		}
		begins = false
		d, err := ask()
		if isKind(t, err, hansom.Timeout); d != 5*time.Second {
			t.Errorf("the caller waited %v", d)
		}
	})
}
