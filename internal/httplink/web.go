package httplink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// exchange is one web request on its way through the proxy, and what came of it.
type exchange struct {
	inv    *hansom.Invocation
	preset http.Header // of the answer, set before the process has answered
	err    error       // the process gave no answer
	body   body
	answer answer
	tunnel tunnel
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// past is a deadline that ends reads and writes under way.
var past = time.Unix(1, 0)

// forward passes a web request to the process and its answer to the client, both as they come. A client that goes away is
// nobody's failure; nor is the end of a tunnel at the deadline.
func (l *Link) forward(ctx context.Context, req *sandbox.Request, sent *atomic.Bool) (resp sandbox.Response, err error) {
	in, w := req.HTTP.Request, req.HTTP.Response
	control := http.NewResponseController(w)
	x := &exchange{inv: req.Invocation, preset: w.Header().Clone(), answer: answer{ResponseWriter: w, control: control, tunnels: l.tunnels}}
	out := in.WithContext(context.WithValue(ctx, exchangeKey{}, x))
	if in.Body != nil && in.Body != http.NoBody {
		_ = control.EnableFullDuplex() // or the listener reads the body before it sends an answer; HTTP/2 does not need it
		x.body.from, x.body.left = in.Body, in.ContentLength
		out.Body = &x.body
	}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		if x.answer.started.Load() { // a client that does not read must not hold the call
			_ = control.SetWriteDeadline(past)
		}
	})
	aborted := l.serve(&x.answer, out)
	if !stop() {
		<-cut // w is used no more when forward returns
	}
	if in.ProtoMajor == 1 && !x.body.whole() && !x.answer.started.Load() {
		w.Header().Set("Connection", "close") // what follows on the connection may be the rest of the body
	}
	x.body.end(control)
	if x.err == nil && aborted {
		x.err = errors.New("its answer broke off")
	}
	req.HTTP.BodyErr = x.body.err
	late := errors.Is(ctx.Err(), context.DeadlineExceeded)
	clientGone := in.Context().Err() != nil || x.answer.err != nil || x.body.err != nil
	if x.err != nil && (late || !clientGone) {
		resp, err = l.failed(ctx, x.err, sent.Load())
	}
	resp.Streamed = x.answer.started.Load()
	resp.In, resp.Out = x.body.n+x.tunnel.in.Load(), x.answer.n+x.tunnel.out.Load()
	return resp, err
}

// serve runs the proxy. aborted says that an answer broke off.
func (l *Link) serve(w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		if e := recover(); e != nil {
			if e != http.ErrAbortHandler {
				panic(e)
			}
			aborted = true
		}
	}()
	l.proxy.ServeHTTP(w, r)
	return false
}

// rewrite completes the request to the process. The proxy has removed what concerns the client's connection alone.
func rewrite(p *httputil.ProxyRequest) {
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.RawQuery = "http", strings.TrimPrefix(origin, "http://"), p.In.URL.RawQuery
	p.Out.Trailer = p.In.Trailer // which the listener fills at the end of the body
	p.SetXForwarded()
	port := "80"
	if p.In.TLS != nil {
		port = "443"
	}
	if _, n, err := net.SplitHostPort(p.In.Host); err == nil {
		port = n
	}
	p.Out.Header["X-Forwarded-Port"] = []string{port}
	inv := exchangeOf(p.In.Context()).inv
	identify(p.Out.Header, inv)
	delete(p.Out.Header, contextHeader) // only the gateway's is true
	if inv.HTTP.Context != nil {
		p.Out.Header[contextHeader] = []string{inv.HTTP.Context()}
	}
}

// contextHeader tells a function who calls it, under the name that the AWS Lambda Web Adapter has for it.
const contextHeader = "X-Amzn-Request-Context"

// modify prepares an answer. What the gateway has set itself stays: the request id and a function URL's CORS headers.
func modify(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	if res.StatusCode < 100 {
		return fmt.Errorf("it answered with status %d", res.StatusCode)
	}
	h := x.answer.Header()
	for name, values := range x.preset {
		h[name] = values // an informational answer has removed it
		if name != "Vary" {
			delete(res.Header, name)
		}
	}
	if res.Header["Content-Type"] == nil {
		h["Content-Type"] = nil // it is not to be guessed
	}
	if res.Request.ProtoMajor == 1 && !x.body.whole() && res.StatusCode != http.StatusSwitchingProtocols {
		h.Set("Connection", "close") // what follows on the connection may be the rest of the body
	}
	if both, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		x.tunnel.ReadWriteCloser = both
		res.Body = &x.tunnel
	}
	return nil
}

func noteError(_ http.ResponseWriter, r *http.Request, err error) { exchangeOf(r.Context()).err = err }

// body is that of a request. The transport may be in Read when the exchange is over.
type body struct {
	from io.ReadCloser // nil when there is none
	left int64         // bytes to come; below 0 when that is not known

	reads sync.Mutex // held while one is under way
	mu    sync.Mutex
	ended bool
	eof   bool
	n     int64
	err   error // the client broke off
}

// whole says that all of the body was read.
func (b *body) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.from == nil || b.eof || b.left == b.n
}

func (b *body) Read(p []byte) (n int, err error) {
	b.reads.Lock()
	defer b.reads.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.mu.Unlock()
		n, err = b.from.Read(p)
		b.mu.Lock()
	}
	if b.ended {
		return 0, http.ErrBodyReadAfterClose
	}
	b.n += int64(n)
	if err == io.EOF {
		b.eof = true
	} else if err != nil {
		b.err = err
	}
	return n, err
}

func (b *body) Close() error { return nil } // the listener does

// end fixes n and err, and has the listener not wait for the rest of the body: it forgets the deadline while a read is under way.
func (b *body) end(control *http.ResponseController) {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	if !b.whole() && control.SetReadDeadline(past) == nil {
		b.reads.Lock()
		defer b.reads.Unlock()
	}
}

// answer is the client's side of an exchange.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	tunnels context.Context
	started atomic.Bool
	n       int64
	err     error // the client has gone
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status >= 200 {
		a.started.Store(true)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.n += int64(n)
	if err != nil {
		a.err = err
	}
	return n, err
}

// Hijack gives the proxy the client's connection for a protocol of its own.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := a.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.started.Store(true)
	return &client{conn, rw.Reader, context.AfterFunc(a.tunnels, func() { _ = conn.Close() })}, rw, nil
}

// client is a hijacked connection: what it sent early comes first. It has no CloseWrite, so that a tunnel ends when either side closes.
type client struct {
	net.Conn
	r    *bufio.Reader
	stop func() bool
}

func (c *client) Close() error {
	c.stop()
	return c.Conn.Close()
}

func (c *client) Read(p []byte) (int, error) { return c.r.Read(p) }

// tunnel is the process's side of an upgraded connection.
type tunnel struct {
	io.ReadWriteCloser
	in, out atomic.Int64
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.out.Add(int64(n))
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Write(p)
	t.in.Add(int64(n))
	return n, err
}
