package httplink

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/cloudevent"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// EventType is the CloudEvents type of an invocation whose payload is no event of a bus.
const EventType = "cloud.hansom.function.invoked"

// maxErrorBody is how much of an answer that is an error is told, in bytes.
const maxErrorBody = 64 << 10

// post gives the process an event: POST / as a CloudEvent in binary mode, one of a bus as what it is there. The body of an answer with
// a 2xx status is the result.
func (l *Link) post(ctx context.Context, req *sandbox.Request, sent *atomic.Bool, sink hansom.Sink) (sandbox.Response, error) {
	e, ok := cloudevent.FromBus(req.Payload)
	if !ok {
		e = cloudevent.Event{ID: req.ID, Source: req.ARN, Type: EventType, Time: time.Now().UTC().Format(time.RFC3339Nano), ContentType: "application/json", Data: req.Payload}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, origin+"/", bytes.NewReader(e.Data))
	if err != nil {
		return sandbox.Response{}, hansom.Errorf(hansom.Internal, "invoke", "%w", err)
	}
	r.Header = http.Header{"User-Agent": {"Hansom"}}
	e.Binary(r.Header)
	r.Host = "localhost"
	identify(r.Header, req.Invocation)
	if len(req.ClientContext) > 0 {
		r.Header.Set("X-Amz-Client-Context", base64.StdEncoding.EncodeToString(req.ClientContext))
	}
	resp, err := l.transport.RoundTrip(r)
	if err != nil {
		return l.failed(ctx, err, sent.Load())
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return l.refused(ctx, resp)
	}
	stream := sandbox.NewStream(sink, resp.Header.Get("Content-Type"))
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for !stream.Over() {
		n, err := resp.Body.Read(buf)
		stream.Write(buf[:n])
		stream.Flush()
		if err == io.EOF {
			break
		}
		if err != nil {
			stream.Discard()
			out, err := l.failed(ctx, err, true)
			out.Streamed = sink != nil
			return out, err
		}
	}
	return stream.End(), nil
}

// refused makes a function error of an answer with another status than 2xx.
func (l *Link) refused(ctx context.Context, resp *http.Response) (sandbox.Response, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return l.failed(ctx, err, true)
	}
	text, binary := string(body), !utf8.Valid(body)
	if binary {
		text = base64.StdEncoding.EncodeToString(body)
	}
	payload, err := json.Marshal(struct {
		ErrorType       string `json:"errorType"`
		ErrorMessage    string `json:"errorMessage"`
		StatusCode      int    `json:"statusCode"`
		ContentType     string `json:"contentType,omitempty"`
		Body            string `json:"body,omitempty"`
		IsBase64Encoded bool   `json:"isBase64Encoded,omitempty"`
	}{"Function.HTTPError", fmt.Sprintf("the function answered with status %d", resp.StatusCode), resp.StatusCode, resp.Header.Get("Content-Type"), text, binary})
	return sandbox.Response{Error: true, Payload: payload}, err
}

// identify adds what tells a call: the ids under which Lambda and others know it.
func identify(h http.Header, inv *hansom.Invocation) {
	h["X-Amzn-Requestid"] = []string{inv.ID}
	if h.Get("X-Request-Id") == "" {
		h["X-Request-Id"] = []string{inv.ID}
	}
	if inv.Trace != "" {
		h["X-Amzn-Trace-Id"] = []string{inv.Trace}
	}
}
