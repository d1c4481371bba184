package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func TestInvoke(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	if _, err := c.PublishVersion(t.Context(), &sdk.PublishVersionInput{FunctionName: aws.String("f")}); err != nil {
		t.Fatal(err)
	}
	for _, form := range []struct{ name, qualifier, version string }{
		{"f", "", "$LATEST"}, {"f", "$LATEST", "$LATEST"}, {"f", "1", "1"}, {"f:1", "", "1"}, {"f:1", "1", "1"}, {"function:f", "", "$LATEST"},
		{"000000000000:f", "", "$LATEST"}, {"000000000000:function:f:1", "", "1"}, {"us-east-1:000000000000:function:f", "1", "1"},
		{"arn:aws:lambda:us-east-1:000000000000:function:f", "", "$LATEST"}, {"arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST", "", "$LATEST"},
		{"arn:aws:lambda:us-east-1:000000000000:function:f:1", "1", "1"},
	} {
		in := &sdk.InvokeInput{FunctionName: &form.name, Payload: []byte(`{"a":1}`)}
		if form.qualifier != "" {
			in.Qualifier = &form.qualifier
		}
		out, err := c.Invoke(t.Context(), in)
		if err != nil {
			t.Errorf("%+v: %v", form, err)
			continue
		}
		if string(out.Payload) != `{"a":1}` || *out.ExecutedVersion != form.version || out.StatusCode != 200 || out.FunctionError != nil || out.LogResult != nil {
			t.Errorf("%+v: %+v", form, out)
		}
	}
	out, err := c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), InvocationType: types.InvocationTypeDryRun})
	if err != nil || out.StatusCode != 204 {
		t.Errorf("dry run: %+v, %v", out, err)
	}
}

func invokeAsync(t *testing.T, c *sdk.Client, name, args string) (*sdk.InvokeAsyncOutput, error) {
	//lint:ignore SA1019 clients still use it
	return c.InvokeAsync(t.Context(), &sdk.InvokeAsyncInput{FunctionName: &name, InvokeArgs: strings.NewReader(args)})
}

// Nobody waits for an event: it is taken over, and answered without a body.
func TestInvokeEvent(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	out, err := c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f:$LATEST"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"a":1}`)})
	if err != nil || out.StatusCode != 202 || len(out.Payload) != 0 || out.ExecutedVersion != nil {
		t.Errorf("%+v, %v", out, err)
	}
	id, _ := awsMetadata(out.ResultMetadata)
	if inv, body := s.invoker.seen(); inv.ID != id || inv.Function != "f" || inv.Qualifier != "$LATEST" || body != `{"a":1}` {
		t.Errorf("%+v %s", inv, body)
	}
	old, err := invokeAsync(t, c, "f", `{"b":2}`)
	if err != nil || old.Status != 202 {
		t.Errorf("%+v, %v", old, err)
	}
	if inv, body := s.invoker.seen(); inv.Trace != "" || body != `{"b":2}` {
		t.Errorf("%+v %s", inv, body)
	}
	missing := func(_ any, err error) {
		t.Helper()
		var e *types.ResourceNotFoundException
		if !errors.As(err, &e) {
			t.Error(err)
		}
	}
	missing(c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("g"), InvocationType: types.InvocationTypeEvent}))
	missing(invokeAsync(t, c, "g", "1"))
	full := strings.Repeat("1", maxAsyncArgs)
	if _, err := invokeAsync(t, c, "f", full); err != nil {
		t.Error(err)
	}
	_, err = invokeAsync(t, c, "f", full+"1")
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != "RequestTooLargeException" || e.ErrorMessage() != "262145 byte payload is too large for the Event invocation type (limit 262144 bytes)" {
		t.Error(err)
	}
	_, err = invokeAsync(t, c, "f", "{")
	if !errors.As(err, &e) || e.ErrorCode() != "InvalidRequestContentException" {
		t.Error(err)
	}
	_, err = invokeAsync(t, c, "f!", "1")
	if !errors.As(err, &e) || e.ErrorCode() != "ValidationException" || !strings.HasPrefix(e.ErrorMessage(), "1 validation error detected: Value 'f!' at 'functionName'") {
		t.Error(err)
	}
}

func TestInvokeContextAndLogs(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	s.invoker.answer = func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		r := hansom.NewResult([]byte(`{"errorType":"Error"}`), nil)
		r.FunctionError, r.LogTail = "Unhandled", []byte("START\nEND\n")
		return r, nil
	}
	clientContext := `{"client":{"app_title":"test"}}`
	out, err := c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), LogType: types.LogTypeTail,
		ClientContext: aws.String(base64.StdEncoding.EncodeToString([]byte(clientContext)))})
	if err != nil {
		t.Fatal(err)
	}
	log, _ := base64.StdEncoding.DecodeString(*out.LogResult)
	if *out.FunctionError != "Unhandled" || string(log) != "START\nEND\n" || string(out.Payload) != `{"errorType":"Error"}` {
		t.Errorf("answer %+v", out)
	}
	inv, _ := s.invoker.seen()
	if string(inv.ClientContext) != clientContext || !inv.LogTail || inv.Source != "api" || inv.Project != hansom.DefaultProject {
		t.Errorf("invocation %+v", inv)
	}
	id, ok := awsMetadata(out.ResultMetadata)
	if !ok || id != inv.ID || len(id) != 36 {
		t.Errorf("request id %q, invocation %q", id, inv.ID)
	}
}

func TestInvokeRefusals(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	long := strings.Repeat("a", 3585)
	for _, test := range []struct {
		what    string
		in      sdk.InvokeInput
		code    string
		message string
	}{
		{"a payload of 6 MB and 1 byte", sdk.InvokeInput{Payload: bytes.Repeat([]byte("1"), 6<<20+1)}, "RequestTooLargeException",
			"6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"},
		{"no JSON", sdk.InvokeInput{Payload: []byte("nope")}, "InvalidRequestContentException", "Could not parse request body into json: Unexpected character ('o' (code 111))"},
		{"half JSON", sdk.InvokeInput{Payload: []byte(`{"a":`)}, "InvalidRequestContentException", "Could not parse request body into json: Unexpected end-of-input"},
		{"bad client context", sdk.InvokeInput{ClientContext: aws.String("%%%")}, "InvalidRequestContentException", "Client context must be"},
		{"large client context", sdk.InvokeInput{ClientContext: &long}, "InvalidRequestContentException", "The client context has 3585 bytes in base64; the limit is 3583."},
		{"a tenant", sdk.InvokeInput{TenantId: aws.String("t")}, "InvalidParameterValueException", "TenantId is not supported"},
		{"no such function", sdk.InvokeInput{FunctionName: aws.String("g")}, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:g"},
		{"no such alias", sdk.InvokeInput{Qualifier: aws.String("prod")}, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f:prod"},
	} {
		in := test.in
		if in.FunctionName == nil {
			in.FunctionName = aws.String("f")
		}
		_, err := c.Invoke(t.Context(), &in)
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != test.code || !strings.HasPrefix(api.ErrorMessage(), test.message) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	out, err := c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), Payload: []byte(`"` + strings.Repeat("x", 6<<20-2) + `"`)})
	if err != nil || len(out.Payload) != 6<<20 {
		t.Errorf("a payload of 6 MB: %v", err)
	}
}

func TestThrottled(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	s.invoker.answer = func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		e := hansom.Errorf(hansom.Throttled, "invoke", "Rate Exceeded.")
		e.Reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
		return hansom.Result{}, e
	}
	_, err := c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f")})
	var throttled *types.TooManyRequestsException
	if !errors.As(err, &throttled) || throttled.Reason != types.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded || *throttled.Message != "Rate Exceeded." || *throttled.Type != "User" {
		t.Errorf("throttled: %v", err)
	}
	s.invoker.answer = func(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
		return hansom.Result{}, errors.New("the disk /var/secret is on fire")
	}
	_, err = c.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f")})
	var service *types.ServiceException
	if !errors.As(err, &service) || *service.Type != "Service" || strings.Contains(*service.Message, "secret") {
		t.Errorf("internal error: %v", err)
	}
}

func TestInvokeWithResponseStream(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	big := strings.Repeat("0123456789", 20_000) // over maxChunk
	for _, test := range []struct {
		what   string
		answer func(ctx context.Context, inv *hansom.Invocation, sink hansom.Sink) (hansom.Result, error)
		body   string
		end    types.InvokeWithResponseStreamCompleteEvent
	}{
		{"streamed", func(_ context.Context, _ *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
			sink.Start(200, http.Header{})
			for _, part := range []string{"a", "b", big} {
				if _, err := sink.Write([]byte(part)); err != nil {
					t.Error(err)
				}
				sink.Flush()
			}
			return hansom.Result{Streamed: true, LogTail: []byte("log")}, nil
		}, "ab" + big, types.InvokeWithResponseStreamCompleteEvent{LogResult: aws.String("bG9n")}},
		{"buffered", echo, `{"a":1}`, types.InvokeWithResponseStreamCompleteEvent{}},
		{"broken off", func(_ context.Context, _ *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
			sink.Start(200, http.Header{})
			_, _ = sink.Write([]byte("a"))
			return hansom.Result{Streamed: true, FunctionError: "Unhandled", Payload: []byte(`{"errorType":"E"}`)}, nil
		}, "a", types.InvokeWithResponseStreamCompleteEvent{ErrorCode: aws.String("Unhandled"), ErrorDetails: aws.String(`{"errorType":"E"}`)}},
	} {
		s.invoker.answer = test.answer
		out, err := c.InvokeWithResponseStream(t.Context(), &sdk.InvokeWithResponseStreamInput{FunctionName: aws.String("f"), Payload: []byte(`{"a":1}`), LogType: types.LogTypeTail})
		if err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		var body strings.Builder
		var end *types.InvokeWithResponseStreamCompleteEvent
		for event := range out.GetStream().Events() {
			switch e := event.(type) {
			case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
				body.Write(e.Value.Payload)
			case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
				end = &e.Value
			}
		}
		if err := out.GetStream().Close(); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
		if *out.ExecutedVersion != "$LATEST" || body.String() != test.body || end == nil ||
			aws.ToString(end.ErrorCode) != aws.ToString(test.end.ErrorCode) || aws.ToString(end.ErrorDetails) != aws.ToString(test.end.ErrorDetails) ||
			test.end.LogResult != nil && aws.ToString(end.LogResult) != *test.end.LogResult {
			t.Errorf("%s: version %q, %d bytes, end %+v", test.what, *out.ExecutedVersion, body.Len(), end)
		}
	}
	s.invoker.answer = func(_ context.Context, _ *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
		sink.Start(200, http.Header{})
		return hansom.Result{}, hansom.Errorf(hansom.Unavailable, "run", "the server is stopping")
	}
	out, err := c.InvokeWithResponseStream(t.Context(), &sdk.InvokeWithResponseStreamInput{FunctionName: aws.String("f")})
	if err != nil {
		t.Fatal(err)
	}
	for range out.GetStream().Events() {
	}
	if err := out.GetStream().Err(); err == nil || !strings.Contains(err.Error(), "the server is stopping") {
		t.Errorf("an error after the start: %v", err)
	}
	_ = out.GetStream().Close()
}

// Each event is on the wire before the function writes the next one.
func TestStreamIsFlushed(t *testing.T) {
	s := newServer(t)
	c := s.client(t)
	create(t, c, "f")
	more := make(chan struct{})
	s.invoker.answer = func(_ context.Context, _ *hansom.Invocation, sink hansom.Sink) (hansom.Result, error) {
		sink.Start(200, http.Header{})
		_, _ = sink.Write([]byte("first"))
		<-more
		return hansom.Result{Streamed: true}, nil
	}
	out, err := c.InvokeWithResponseStream(t.Context(), &sdk.InvokeWithResponseStreamInput{FunctionName: aws.String("f")})
	if err != nil {
		t.Fatal(err)
	}
	event := <-out.GetStream().Events()
	if chunk, ok := event.(*types.InvokeWithResponseStreamResponseEventMemberPayloadChunk); !ok || string(chunk.Value.Payload) != "first" {
		t.Errorf("first event %+v", event)
	}
	close(more)
	for range out.GetStream().Events() {
	}
	_ = out.GetStream().Close()
}

func FuzzEventEncoding(f *testing.F) {
	f.Add([]byte("payload"), ":event-type", "PayloadChunk")
	f.Add([]byte{}, "n", "")
	f.Fuzz(func(t *testing.T, payload []byte, name, value string) {
		if len(name) == 0 || len(name) > 255 || len(value) > 65535 {
			return
		}
		prefix := []byte("before")
		encoded := appendEvent(bytes.Clone(prefix), payload, name, value)
		m, err := eventstream.NewDecoder().Decode(bytes.NewReader(encoded[len(prefix):]), nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := m.Headers.Get(name); !bytes.Equal(m.Payload, payload) || v == nil || v.String() != value {
			t.Errorf("decoded %q, %v", m.Payload, m.Headers)
		}
	})
}

// The buffers of payloads come from the pool and go back to it, whatever is announced.
func TestReadPayload(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 70_000, 1 << 20, 6 << 20} {
		want := bytes.Repeat([]byte("x"), size)
		for _, announced := range []int64{int64(size), -1} {
			var b buffers
			r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(iotest.DataErrReader(bytes.NewReader(want))))
			r.ContentLength = announced
			buf, err := b.read(r)
			if err != nil || !bytes.Equal(*buf, want) {
				t.Errorf("%d bytes, announced as %d: read %d, %v", size, announced, len(*buf), err)
			}
			b.put(buf)
			if len(*buf) != 0 {
				t.Errorf("a buffer of %d bytes is not emptied", cap(*buf))
			}
		}
	}
	var b buffers
	for _, announced := range []int64{6<<20 + 5, -1} {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, 6<<20+5)))
		r.ContentLength = announced
		if _, err := b.read(r); hansom.KindOf(err) != hansom.TooLarge || !strings.HasPrefix(err.Error(), "6291461 byte payload") {
			t.Errorf("announced as %d: %v", announced, err)
		}
	}
	refused := hansom.Errorf(hansom.Unauthenticated, "auth", "the body is not what was signed")
	r := httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(refused))
	if _, err := b.read(r); err != error(refused) {
		t.Errorf("a body with another hash: %v", err)
	}
}

// discard is an http.ResponseWriter whose header map is used again.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

type constant struct {
	Invoker
	result hansom.Result
}

func (c *constant) Invoke(context.Context, *hansom.Invocation, hansom.Sink) (hansom.Result, error) {
	return c.result, nil
}

// A warm call costs few allocations here: the invocation and the values of the headers.
func TestInvokeAllocations(t *testing.T) {
	s := newServer(t).api
	s.invoker = &constant{result: hansom.Result{Payload: []byte(`{"ok":true}`), Version: "$LATEST"}}
	payload := []byte(`{"key":"value"}`)
	b := &body{}
	r := httptest.NewRequest(http.MethodPost, "/2015-03-31/functions/hello/invocations", nil)
	r = r.WithContext(awsapi.WithCall(r.Context(), hansom.Principal{Project: hansom.DefaultProject}, "id"))
	r.Body, r.ContentLength = b, int64(len(payload))
	w := discard{http.Header{}}
	got := testing.AllocsPerRun(200, func() {
		b.Reset(payload)
		s.ServeHTTP(w, r)
	})
	if got > 8 {
		t.Errorf("%v allocations for an invocation, want at most 8", got)
	}
}

// closing is a body that tells whether it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// The buffer that a signature was checked in goes back with each invocation: it is larger than most events.
func TestBodiesAreClosed(t *testing.T) {
	s := newServer(t)
	create(t, s.client(t), "f")
	root := hansom.Principal{Kind: hansom.Root, Project: hansom.DefaultProject, ARN: "arn:aws:iam::000000000000:root"}
	for _, kind := range []string{"RequestResponse", "Event"} {
		body := &closing{Reader: strings.NewReader("{}")}
		r := httptest.NewRequest("POST", "/2015-03-31/functions/f/invocations", body)
		r.ContentLength = 2
		r.Header.Set("X-Amz-Invocation-Type", kind)
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, r.WithContext(awsapi.WithCall(r.Context(), root, "id")))
		if w.Code/100 != 2 || !body.closed {
			t.Errorf("%s: status %d, closed: %v", kind, w.Code, body.closed)
		}
	}
}
