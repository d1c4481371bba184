package integrate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/mapping"
	"github.com/hansomcloud/hansom/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call has the parameters of a path, name=value, as they stand in the request line.
func call(r *http.Request, params ...string) *Call {
	find := func(name string) (string, bool) {
		for _, p := range params {
			if n, v, _ := strings.Cut(p, "="); n == name {
				return v, true
			}
		}
		return "", false
	}
	return &Call{ID: "ID-1", Trace: "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0", TraceParent: "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00",
		In: &mapping.Input{Request: r, Param: find, Raw: find}}
}

func upstreams(t *testing.T) *Upstreams {
	u := NewUpstreams(context.Background(), upstream.New(upstream.DefaultConfig()), nil)
	t.Cleanup(u.Close)
	return u
}

// ask sends a request through a proxy, as the gateway does.
func ask(t *testing.T, u *Upstreams, uri, method, target string, body io.Reader, edit func(*http.Request)) (*httptest.ResponseRecorder, *Call, error) {
	t.Helper()
	i, err := New(&api.Integration{Type: api.HTTPProxy, URI: uri, Timeout: 5000}, hansom.DefaultProject, nil, Deps{Upstreams: u})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, target, body)
	if edit != nil {
		edit(r)
	}
	c := call(r)
	w := httptest.NewRecorder()
	err = i.Serve(w, r, c)
	return w, c, err
}

func TestTargets(t *testing.T) {
	data, err := os.ReadFile("testdata/targets.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " | ")
		if line[0] == '#' || len(f) != 5 {
			continue
		}
		n++
		uri, params, path, query, want := f[0], strings.Fields(f[1]), f[2], f[3], f[4]
		got := ""
		to, err := parseTarget(uri, map[string]string{"host": "stage.example:8080", "v": "v2"})
		if err == nil {
			c := call(nil, params...)
			c.Path = path
			u, failed := to.url(c, query)
			if err = failed; err == nil {
				got = u.String()
			}
		}
		if err != nil {
			got = "error: " + err.Error()
			if strings.HasPrefix(want, "error: ") && strings.Contains(got, strings.TrimPrefix(want, "error: ")) && hansom.KindOf(err) == hansom.Invalid {
				continue
			}
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
	if n < 20 {
		t.Errorf("%d targets", n)
	}
}

// What a client says of its connection and of others does not reach the server.
func TestHeaders(t *testing.T) {
	var got http.Header
	var host string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, host = r.Header.Clone(), r.Host
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-Amz-Request-Id", "theirs")
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header()["Content-Type"] = nil
		w.WriteHeader(203)
		fmt.Fprint(w, "<html>")
	}))
	defer server.Close()
	w, c, err := ask(t, upstreams(t), server.URL+"/x", "GET", "/", nil, func(r *http.Request) {
		r.Host, r.RemoteAddr = "api.example:8080", "[2001:db8::1]:4711"
		for name, value := range map[string]string{"Connection": "close, X-Private", "X-Private": "1", "Keep-Alive": "5", "Te": "gzip", "Proxy-Authorization": "x", "X-Forwarded-For": "1.2.3.4",
			"Forwarded": "for=1.2.3.4", "X-Forwarded-Host": "evil", "Via": "1.0 before", "Traceparent": "old", "X-Custom": "kept"} {
			r.Header.Set(name, value)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"X-Private": "", "Keep-Alive": "", "Proxy-Authorization": "", "X-Forwarded-For": "2001:db8::1", "X-Forwarded-Host": "api.example:8080", "X-Forwarded-Proto": "http",
		"X-Forwarded-Port": "8080", "Forwarded": `for="[2001:db8::1]";host="api.example:8080";proto=http`, "Via": "1.0 before,1.1 hansom", "Traceparent": c.TraceParent, "X-Amzn-Trace-Id": c.Trace,
		"X-Custom": "kept", "X-Request-Id": "ID-1", "User-Agent": "", "Accept-Encoding": ""} {
		if v := strings.Join(got[name], ","); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if host != strings.TrimPrefix(server.URL, "http://") {
		t.Errorf("Host %q", host)
	}
	if v, ok := w.Result().Header["Content-Type"]; ok && v != nil {
		t.Errorf("Content-Type was guessed: %q", v)
	}
	if w.Code != 203 || w.Header().Get("X-Hop") != "" || len(w.Header()["Set-Cookie"]) != 2 || c.Outcome != (Outcome{Status: 203, RequestID: "theirs"}) {
		t.Errorf("%d %v %+v", w.Code, w.Header(), c.Outcome)
	}
}

// flaky answers the first request of each connection and closes on the second without a word.
func flaky(t *testing.T) (addr string, requests chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = make(chan string, 16)
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			for n := range 2 {
				req, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				body, _ := io.ReadAll(req.Body)
				requests <- req.Method + " " + string(body)
				if n == 0 {
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}
			conn.Close()
		}
	}()
	return l.Addr().String(), requests
}

// A request on a kept connection that breaks before any answer is sent again when that does no harm.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		method, body string
		again        bool
	}{{"GET", "", true}, {"HEAD", "", true}, {"PUT", "x", true}, {"DELETE", "", true}, {"DELETE", "y", true}, {"POST", "z", false}, {"PATCH", "z", false}} {
		addr, requests := flaky(t)
		u := upstreams(t)
		if _, _, err := ask(t, u, "http://"+addr, "GET", "/", nil, nil); err != nil {
			t.Fatal(err)
		}
		<-requests
		var body io.Reader
		if c.body != "" {
			body = strings.NewReader(c.body)
		}
		w, call, err := ask(t, u, "http://"+addr, c.method, "/", body, nil)
		if c.again != (err == nil) || c.again && w.Code != 200 || !c.again && (hansom.KindOf(err) != hansom.Unavailable || call.Outcome.Error == "") {
			t.Errorf("%s: %d, %v, %+v", c.method, w.Code, err, call.Outcome)
		}
		if want := c.method + " " + c.body; <-requests != want {
			t.Errorf("%s: another request came first", c.method)
		}
		select {
		case r := <-requests:
			if !c.again || r != c.method+" "+c.body {
				t.Errorf("%s was sent again as %q", c.method, r)
			}
		default:
			if c.again {
				t.Errorf("%s was not sent again", c.method)
			}
		}
		u.Close()
	}
}

func TestLimits(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	u := upstreams(t)
	if _, _, err := ask(t, u, server.URL, "POST", "/", io.LimitReader(zeros{}, MaxBody+1), func(r *http.Request) { r.ContentLength = -1 }); hansom.KindOf(err) != hansom.TooLarge {
		t.Errorf("a body of a byte too many: %v", err)
	}
	if _, _, err := ask(t, u, server.URL, "POST", "/", nil, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(zeros{}), MaxBody+1 }); hansom.KindOf(err) != hansom.TooLarge {
		t.Errorf("a body that says so: %v", err)
	}
	if _, _, err := ask(t, u, server.URL, "POST", "/", io.LimitReader(zeros{}, MaxBody), func(r *http.Request) { r.ContentLength = MaxBody }); err != nil {
		t.Errorf("a body of 10 MB: %v", err)
	}
	if _, _, err := ask(t, u, server.URL, "POST", "/", strings.NewReader("abc"), func(r *http.Request) { r.ContentLength = 4 }); hansom.KindOf(err) != hansom.Invalid {
		t.Errorf("a body that breaks off: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, c, err := ask(t, u, server.URL, "GET", "/", nil, func(r *http.Request) { *r = *r.WithContext(ctx) })
	if hansom.KindOf(err) != hansom.Canceled || c.Outcome.Error == "" {
		t.Errorf("a client that has gone: %v", err)
	}
}

type zeros struct{}

// What follows the body of a request comes with it.
func TestTrailer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		fmt.Fprint(w, " sum ", r.Trailer.Get("X-Sum"))
	}))
	defer server.Close()
	body := "4\r\nbody\r\n0\r\nX-Sum: 4\r\n\r\n"
	in, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + body)))
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := ask(t, upstreams(t), server.URL, "POST", "/", in.Body, func(r *http.Request) { r.Trailer = in.Trailer })
	if err != nil || w.Body.String() != "body sum 4" {
		t.Errorf("%s, %v", w.Body, err)
	}
}

// What is passed on, a stream or another protocol, breaks off when the server ends.
func TestEnd(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
		_ = rw.Flush()
		_, _ = rw.ReadByte()
	}))
	defer server.Close()
	for header, status := range map[string]int{"": 200, "Connection: Upgrade\r\nUpgrade: chat\r\n": 101} {
		ctx, end := context.WithCancel(t.Context())
		u := NewUpstreams(ctx, upstream.New(upstream.DefaultConfig()), nil)
		i, err := New(&api.Integration{Type: api.HTTPProxy, URI: server.URL}, hansom.DefaultProject, nil, Deps{Upstreams: u})
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := i.Serve(w, r, call(r)); err != nil {
				t.Error(err)
			}
		}))
		conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n"+header+"\r\n")
		in := bufio.NewReader(conn)
		if answer, err := http.ReadResponse(in, nil); err != nil || answer.StatusCode != status {
			t.Fatal(answer, err)
		}
		end()
		if rest, err := io.ReadAll(in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d: %q, %v", status, rest, err)
		}
		conn.Close()
		front.Close()
		u.Close()
	}
}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRefusedIntegrations(t *testing.T) {
	deps := Deps{Region: "us-east-1", Queues: nothing{}, Buses: nothing{}, Upstreams: NewUpstreams(context.Background(), upstream.New(upstream.DefaultConfig()), nil)}
	for _, c := range []struct {
		i    api.Integration
		says string
	}{
		{api.Integration{Type: "MOCK"}, "type MOCK"},
		{api.Integration{Type: api.AWSProxy, Subtype: "Kinesis-PutRecord"}, "Kinesis-PutRecord"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeSite, Parameters: map[string]string{"App": "a"}}, "Hansom-Site"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeSQS, Parameters: map[string]string{"QueueUrl": "x"}}, "needs the parameter MessageBody"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeSQS, Parameters: map[string]string{"QueueUrl": "x", "MessageBody": "y", "Colour": "z"}}, "does not know the parameter Colour"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeSQS, Parameters: map[string]string{"QueueUrl": "x", "MessageBody": "y", "Region": "eu-west-1"}}, "region us-east-1 alone"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeEvents, Parameters: map[string]string{"Detail": "x", "Source": "y"}}, "needs the parameter DetailType"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeRedirect, Parameters: map[string]string{"Location": "/", "StatusCode": "200"}}, "no status of a redirect"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"StatusCode": "99"}}, "no status"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeFixed, Parameters: map[string]string{"Body": "${request.x}"}}, "not known"},
	} {
		if _, err := New(&c.i, hansom.DefaultProject, nil, deps); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.i, err, c.says)
		}
	}
}

func TestCheck(t *testing.T) {
	deps := Deps{Region: "us-east-1", Queues: nothing{}, Upstreams: NewUpstreams(context.Background(), upstream.New(upstream.DefaultConfig()), nil)}
	function := "arn:aws:lambda:us-east-1:000000000000:function:f"
	for _, c := range []struct {
		i    api.Integration
		says string // "" is fine
	}{
		{api.Integration{Type: api.AWSProxy, URI: function}, ""},
		{api.Integration{Type: api.AWSProxy, URI: function, Parameters: map[string]string{"overwrite:header.x": "y"}}, ""},
		{api.Integration{Type: api.AWSProxy, URI: function, Parameters: map[string]string{"overwrite:header.via": "y"}}, "reserved"},
		{api.Integration{Type: api.HTTPProxy, URI: "http://h/{p}", Responses: map[string]map[string]string{"200": {"overwrite:path": "y"}}}, "no parameter of a response"},
		{api.Integration{Type: api.HTTPProxy, URI: "${stageVariables.url}/x"}, ""},
		{api.Integration{Type: api.HTTPProxy, URI: "https://${stageVariables.host}/${stageVariables.v}/{p+}"}, ""},
		{api.Integration{Type: api.HTTPProxy, URI: "https://{p}/"}, "host"},
		{api.Integration{Type: api.HTTPProxy, URI: "https://h/${request.path.p}"}, "only one"},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeSQS, Parameters: map[string]string{"QueueUrl": "u", "MessageBody": "$request.body"}}, ""},
		{api.Integration{Type: api.AWSProxy, Subtype: api.SubtypeSQS, Parameters: map[string]string{"QueueUrl": "u", "MessageBody": "$response.body"}}, "not to be had"},
	} {
		if err := Check(&c.i, hansom.DefaultProject, deps); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.i, err, c.says)
		}
	}
}

type nothing struct{}

func (nothing) SendMessage(context.Context, string, string, Message) (Sent, error) {
	return Sent{}, nil
}
func (nothing) PutEvent(context.Context, string, Event) (string, error) { return "", nil }

// A URL leads to the host that its integration names, whatever is in the path, and never out of where it begins.
func FuzzTarget(f *testing.F) {
	f.Add("http://h/{p}", "../x", "")
	f.Add("https://h/a/{p+}?q={p}", "%2e%2e%2fx", "a=b")
	f.Add("http://h/${stageVariables.v}/{p}", "@evil/", "#")
	f.Add("http://h{p}", "x", "")
	f.Fuzz(func(t *testing.T, uri, value, query string) {
		to, err := parseTarget(uri, map[string]string{"v": "v2"})
		if err != nil {
			return
		}
		u, err := to.url(call(nil, "p="+value), query)
		if err != nil {
			return
		}
		if u.Host != to.host || u.Scheme != "http" && u.Scheme != "https" {
			t.Errorf("%s with %q leads to %s", uri, value, u)
		}
		if !strings.Contains(uri, "/..") && !strings.Contains(uri, "%") && !strings.Contains(uri, "\\") && strings.Contains(uri, "/{p}") && strings.Contains(u.Path, "/../") {
			t.Errorf("%s with %q climbs: %s", uri, value, u)
		}
	})
}
