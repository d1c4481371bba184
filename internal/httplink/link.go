// Package httplink is the sandbox.Link of functions that are HTTP servers: the runtime "http". The process in the sandbox listens
// on $PORT; web requests go to it as they are, events as CloudEvents in binary mode (CloudEvents 1.0, HTTP Protocol Binding
// section 3.1). It is the contract of Knative and Cloud Run.
//
// The link takes any number of invocations at once.
package httplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

const (
	// A connection is not used again after it was idle this long, so that servers, which close theirs after 2 s at the least,
	// never do so while a request is on its way. An instance that was frozen closes what is overdue first of all.
	idleTimeout = time.Second

	firstRetry = time.Millisecond // of a server that does not listen yet
	lastRetry  = 50 * time.Millisecond
	exitGrace  = time.Second // within which a process that broke off an answer is seen to have ended
	copySize   = 32 << 10
)

// Link is the sandbox.Link over HTTP/1.1.
type Link struct {
	sandbox   sandbox.Sandbox
	dialer    sandbox.Dialer
	transport *http.Transport
	proxy     *httputil.ReverseProxy
	ctx       context.Context // ends with Close
	tunnels   context.Context // of upgraded connections
	close     context.CancelFunc
}

var _ sandbox.Link = (*Link)(nil)

// New returns a link to the port of sb's Spec.Serve. Upgraded connections are closed when tunnels ends. The error is Unsupported when the driver cannot connect to what runs in its sandboxes.
func New(tunnels context.Context, sb sandbox.Sandbox) (*Link, error) {
	d, ok := sb.(sandbox.Dialer)
	if !ok {
		return nil, hansom.Errorf(hansom.Unsupported, "start instance", "this driver does not run functions that serve HTTP")
	}
	l := &Link{sandbox: sb, dialer: d, tunnels: tunnels}
	l.ctx, l.close = context.WithCancel(context.Background())
	l.transport = &http.Transport{
		DialContext: l.dial, MaxIdleConnsPerHost: hansom.MaxConcurrency, IdleConnTimeout: idleTimeout, ExpectContinueTimeout: time.Second,
		DisableCompression: true, MaxResponseHeaderBytes: 256 << 10,
	}
	l.proxy = &httputil.ReverseProxy{
		Transport: l.transport, Rewrite: rewrite, ModifyResponse: modify, ErrorHandler: noteError,
		FlushInterval: -1, BufferPool: buffers{}, ErrorLog: log.New(io.Discard, "", 0),
	}
	return l, nil
}

// dialError says that a request did not reach the process.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

func (l *Link) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := l.dialer.Dial(ctx, 0)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// Close implements sandbox.Link: what is under way breaks off.
func (l *Link) Close() error {
	l.close()
	l.transport.CloseIdleConnections()
	return nil
}

// Init implements sandbox.Link: the process is ready when it accepts connections, or when a GET of in.Ready is answered with a
// status below 400.
func (l *Link) Init(ctx context.Context, in *sandbox.Init) error {
	var last error // that says something
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := l.probe(ctx, in.Ready)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			continue
		case <-l.sandbox.Done():
			err = sandbox.ErrClosed
		case <-l.ctx.Done():
			err = sandbox.ErrClosed
		case <-ctx.Done():
			err = fmt.Errorf("it is not ready: %w (%w)", last, ctx.Err())
		}
		timer.Stop()
		return err
	}
}

func (l *Link) probe(ctx context.Context, path string) error {
	if path == "" {
		conn, err := l.dialer.Dial(ctx, 0)
		if err != nil {
			return fmt.Errorf("it does not listen on 127.0.0.1:$PORT: %w", err)
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+path, nil)
	if err != nil {
		return err
	}
	resp, err := l.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("GET %s on $PORT: %w", path, err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, copySize)
	resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("GET %s on $PORT is answered with %s", path, resp.Status)
	}
	return nil
}

// origin is where requests go; the transport dials the sandbox whatever the name is.
const origin = "http://function"

// Invoke implements sandbox.Link. It may be called by several goroutines.
func (l *Link) Invoke(req *sandbox.Request, sink hansom.Sink) (sandbox.Response, error) {
	parent := context.Background()
	if req.HTTP != nil {
		parent = req.HTTP.Request.Context()
	}
	ctx, cancel := context.WithDeadline(parent, time.UnixMilli(req.Deadline))
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	// The transport tries an idempotent request that it sent on a used connection again. What ended the process must not be
	// tried on another instance.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	if req.HTTP != nil {
		return l.forward(ctx, req, &sent)
	}
	return l.post(ctx, req, &sent, sink)
}

// failed says what an exchange that broke off comes to. sent says that the process may have seen the request.
func (l *Link) failed(ctx context.Context, err error, sent bool) (sandbox.Response, error) {
	var dial *dialError
	undelivered := errors.As(err, &dial) && !sent
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return sandbox.Response{}, os.ErrDeadlineExceeded
	case l.ctx.Err() != nil:
		return sandbox.Response{}, sandbox.ErrClosed
	case errors.Is(err, sandbox.ErrClosed), l.ended():
		if undelivered {
			return sandbox.Response{}, sandbox.ErrUndelivered
		}
		return sandbox.Response{}, sandbox.ErrClosed
	case dial != nil: // it lives and does not listen any more
		return sandbox.Response{Error: true, Fatal: true, Payload: failure("Runtime.NotListening", "the server does not listen on $PORT any more: "+err.Error())}, nil
	}
	return sandbox.Response{Error: true, Payload: failure("Runtime.InvalidResponse", "the server broke off or its answer is not HTTP: "+err.Error())}, nil
}

// ended waits a moment for the process to end.
func (l *Link) ended() bool {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-l.sandbox.Done():
		return true
	case <-timer.C:
		return false
	}
}

func failure(errorType, message string) []byte {
	b, _ := json.Marshal(struct { // two strings: it cannot fail
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}{errorType, message})
	return b
}

// buffers is the httputil.BufferPool of all links.
type buffers struct{}

var pooled = sync.Pool{New: func() any { return new([copySize]byte) }}

func (buffers) Get() []byte  { return pooled.Get().(*[copySize]byte)[:] }
func (buffers) Put(b []byte) { pooled.Put((*[copySize]byte)(b)) }
