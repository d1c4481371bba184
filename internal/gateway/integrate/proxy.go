package integrate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/mapping"
	"github.com/hansomcloud/hansom/internal/upstream"
)

const (
	opForward = "forward request"
	keptBody  = 64 << 10 // bytes of a request's body that are kept, so that it can be sent again
	copySize  = 32 << 10
)

// Upstreams holds the connections to the servers of HTTP integrations, which are kept and used again.
type Upstreams struct {
	ctx    context.Context
	dialer *upstream.Dialer
	roots  *tls.Config
	proxy  *httputil.ReverseProxy

	mu         sync.Mutex
	transports map[string]*http.Transport // by the name that a server's certificate is to have; "" is that of its URL
}

// NewUpstreams returns Upstreams over a dialer. What is passed on breaks off when ctx ends. Certificates are checked as config says; nil is the system's way.
func NewUpstreams(ctx context.Context, dialer *upstream.Dialer, config *tls.Config) *Upstreams {
	u := &Upstreams{ctx: ctx, dialer: dialer, roots: config, transports: map[string]*http.Transport{}}
	u.proxy = &httputil.ReverseProxy{
		Transport: roundTripper{}, Rewrite: rewrite, ModifyResponse: modify, ErrorHandler: noteError, BufferPool: &buffers{}, ErrorLog: log.New(io.Discard, "", 0),
	}
	return u
}

// Close closes the connections that are idle.
func (u *Upstreams) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range u.transports {
		t.CloseIdleConnections()
	}
}

func (u *Upstreams) transport(serverName string) *http.Transport {
	u.mu.Lock()
	defer u.mu.Unlock()
	t := u.transports[serverName]
	if t == nil {
		t = u.dialer.Transport()
		t.DisableCompression, t.MaxIdleConns, t.MaxIdleConnsPerHost = true, 1024, 256
		t.ExpectContinueTimeout = time.Second
		t.TLSClientConfig = u.roots.Clone()
		if serverName != "" {
			if t.TLSClientConfig == nil {
				t.TLSClientConfig = &tls.Config{}
			}
			t.TLSClientConfig.ServerName = serverName
		}
		u.transports[serverName] = t
	}
	return t
}

// proxy passes requests on to a server elsewhere.
type proxy struct {
	upstreams *Upstreams
	transport *http.Transport
	target    *target
	method    string // "" is the request's
	timeout   time.Duration
}

func newProxy(i *api.Integration, stage map[string]string, u *Upstreams) (Integration, error) {
	t, err := parseTarget(i.URI, stage)
	if err != nil {
		return nil, err
	}
	p := &proxy{upstreams: u, transport: u.transport(i.ServerName), target: t, method: i.Method, timeout: time.Duration(i.Timeout) * time.Millisecond}
	if p.method == "ANY" {
		p.method = ""
	}
	if p.timeout <= 0 || p.timeout > maxTimeout {
		p.timeout = maxTimeout
	}
	return p, nil
}

func (*proxy) Instant() bool { return false }

// exchange is one request on its way through a proxy, and what came of it.
type exchange struct {
	proxy  *proxy
	call   *Call
	url    *url.URL
	header http.Header // of the answer to the client
	cancel context.CancelCauseFunc
	err    error // there is no answer
	body   *limited
	answer watched
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// ErrSlow says that the client sends the body of its request too slowly.
var ErrSlow = hansom.Errorf(hansom.Timeout, opForward, "the body of the request came too slowly")

var (
	errTimeout = hansom.Errorf(hansom.Timeout, opForward, "the server of the integration did not answer in time")
	errEnding  = hansom.Errorf(hansom.Unavailable, opForward, "this server ends")
)

// Serve implements Integration. Unauthenticated is an error of a body that was signed, and comes as it is. The timeout ends with the header of the answer, which then takes as long as it takes. An answer that breaks off ends the
// client's connection.
func (p *proxy) Serve(w http.ResponseWriter, r *http.Request, c *Call) error {
	to, err := p.target.url(c, r.URL.RawQuery)
	if err != nil {
		return err
	}
	if r.ContentLength > MaxBody {
		return tooLarge()
	}
	x := &exchange{proxy: p, call: c, url: to, header: w.Header()}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), exchangeKey{}, x))
	defer cancel(nil)
	defer context.AfterFunc(p.upstreams.ctx, func() { cancel(errEnding) })()
	x.cancel = cancel
	out := r.WithContext(ctx)
	if p.method != "" {
		out.Method = p.method
	}
	if r.Body != nil && r.Body != http.NoBody {
		if err := x.keep(out); err != nil {
			return err
		}
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex() // or the listener reads the body before it sends an answer; HTTP/2 does not need it
		defer x.end(control)
	}
	p.upstreams.proxy.ServeHTTP(w, out)
	switch {
	case x.answer.broken.Load():
		panic(http.ErrAbortHandler)
	case x.err == nil:
		return nil
	}
	x.last(r)
	err = x.failed(ctx, x.err)
	c.Outcome.Error = err.Error()
	return err
}

// past is a deadline that ends reads under way.
var past = time.Unix(1, 0)

// whole says that all of the body of the request was read.
func (x *exchange) whole() bool { return x.body == nil || x.body.whole.Load() }

// end has the listener not wait for the rest of the body: it forgets the deadline while a read is under way.
func (x *exchange) end(control *http.ResponseController) {
	if !x.whole() && control.SetReadDeadline(past) == nil {
		x.body.mu.Lock()
		x.body.ended = true
		x.body.mu.Unlock()
	}
}

// last ends the client's connection with the answer unless all of the body was read: what follows on it may be the rest.
func (x *exchange) last(r *http.Request) {
	if r.ProtoMajor == 1 && !x.whole() {
		x.header.Set("Connection", "close")
	}
}

// keep makes the body of a request one that the transport can read for as long as it likes, and again when it is small.
func (x *exchange) keep(r *http.Request) error {
	if r.ContentLength > 0 && r.ContentLength <= keptBody {
		b := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			switch hansom.KindOf(err) {
			case hansom.Unauthenticated:
				return err // it is not the body that was signed
			case hansom.Timeout:
				return ErrSlow
			}
			return hansom.Errorf(hansom.Invalid, opForward, "the body of the request broke off: %w", err)
		}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		r.Body, _ = r.GetBody()
		return nil
	}
	x.body = &limited{ReadCloser: r.Body, left: MaxBody, rest: r.ContentLength}
	r.Body = x.body
	return nil
}

func tooLarge() error {
	return hansom.Errorf(hansom.TooLarge, opForward, "the body is over the limit of %d bytes", MaxBody)
}

// failed says why there is no answer.
func (x *exchange) failed(ctx context.Context, err error) error {
	var e *hansom.Error
	switch {
	case x.body != nil && x.body.over.Load():
		return tooLarge()
	case x.body != nil && x.body.slow.Load():
		return ErrSlow
	case errors.As(context.Cause(ctx), &e): // errTimeout or errEnding
		return e
	case ctx.Err() != nil:
		return hansom.Errorf(hansom.Canceled, opForward, "the client went away before the server of the integration answered")
	case errors.As(err, &e) && e.Kind == hansom.Unauthenticated: // the body is not the one that was signed
		return err
	case errors.As(err, &e) && e.Kind == hansom.Denied:
		return hansom.Errorf(hansom.Unavailable, opForward, "%s", e.Message)
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // the URL may have secrets in it
	}
	return hansom.Errorf(hansom.Unavailable, opForward, "the server of the integration cannot be reached: %w", err)
}

// limited is a body of at most so many bytes.
type limited struct {
	io.ReadCloser
	left  int64
	rest  int64 // to come; below 0 when that is not known
	whole atomic.Bool
	over  atomic.Bool
	slow  atomic.Bool

	mu    sync.Mutex // held while a read is under way
	ended bool
}

// Close does nothing: the listener closes the body, after the answer.
func (*limited) Close() error { return nil }

func (l *limited) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		l.over.Store(true)
		return 0, tooLarge()
	}
	l.rest -= int64(n)
	switch {
	case err == io.EOF || l.rest == 0:
		l.whole.Store(true)
	case hansom.KindOf(err) == hansom.Timeout: // edge.Front
		l.slow.Store(true)
	}
	return n, err
}

// watched is the body of an answer that notes when it breaks off.
type watched struct {
	io.ReadCloser
	broken atomic.Bool
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.broken.Store(true)
	}
	return n, err
}

// roundTripper sends a request over the transport of its integration, which sends one that is idempotent again when a connection that was kept
// had broken before any answer.
type roundTripper struct{}

func (roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	timer := time.AfterFunc(x.proxy.timeout, func() { x.cancel(errTimeout) })
	defer timer.Stop()
	res, err := x.proxy.transport.RoundTrip(r)
	if err == nil && !timer.Stop() { // it was just too late: the answer will break off
		_ = res.Body.Close()
		return nil, errTimeout
	}
	return res, err
}

// rewrite completes the request to the server. The proxy has removed what concerns the client's connection alone, and what the client says of others.
func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	p.Out.URL, p.Out.Host = x.url, mapping.Host(p.Out)
	client, _, err := net.SplitHostPort(p.In.RemoteAddr)
	if err != nil {
		client = p.In.RemoteAddr
	}
	proto, port := "http", "80"
	if p.In.TLS != nil {
		proto, port = "https", "443"
	}
	if _, n, err := net.SplitHostPort(p.In.Host); err == nil {
		port = n
	}
	h := p.Out.Header
	h["X-Forwarded-For"], h["X-Forwarded-Host"], h["X-Forwarded-Proto"], h["X-Forwarded-Port"] = []string{client}, []string{p.In.Host}, []string{proto}, []string{port}
	node := client
	if strings.Contains(client, ":") {
		node = `"[` + client + `]"`
	}
	h["Forwarded"] = []string{"for=" + node + `;host="` + p.In.Host + `";proto=` + proto} // RFC 7239
	h["Via"] = append(h["Via"], strings.TrimPrefix(p.In.Proto, "HTTP/")+" hansom")
	h["X-Amzn-Trace-Id"], h["Traceparent"] = []string{x.call.Trace}, []string{x.call.TraceParent}
	if h.Get("X-Request-Id") == "" {
		h["X-Request-Id"] = []string{x.call.ID}
	}
	if m := p.Out.Method; m == http.MethodPut || m == http.MethodDelete {
		h["X-Idempotency-Key"] = nil // they are idempotent, which the transport does not know; nothing of it is sent
	}
	p.Out.GetBody, p.Out.Trailer = p.In.GetBody, p.In.Trailer // the listener fills the trailer at the end of the body
}

// modify prepares an answer.
func modify(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	if res.StatusCode < 100 {
		return hansom.Errorf(hansom.Unavailable, opForward, "the server of the integration answered with status %d", res.StatusCode)
	}
	x.call.Outcome.Status = res.StatusCode
	x.call.Outcome.RequestID = cmp.Or(res.Header.Get("X-Amz-Request-Id"), res.Header.Get("X-Amzn-Requestid"))
	delete(res.Header, "Apigw-Requestid")
	if res.Header["Content-Type"] == nil {
		x.header["Content-Type"] = nil // it is not to be guessed
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		x.last(res.Request)
		x.answer.ReadCloser = res.Body
		res.Body = &x.answer
	}
	return nil
}

func noteError(_ http.ResponseWriter, r *http.Request, err error) { exchangeOf(r.Context()).err = err }

// buffers are those of answers on their way.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, copySize)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
