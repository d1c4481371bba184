package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// startSecure serves h as the TLS listener does.
func startSecure(t *testing.T, h http.Handler, p pace) (addr string, client *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(&Front{Next: h, pace: p})
	s.Listener = small{s.Listener}
	s.Config.ErrorLog = quiet()
	s.Config.MaxHeaderBytes = 64 << 10
	Secure(s.Config, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	s.Config.HTTP2.WriteByteTimeout = time.Second // in place of a minute
	s.EnableHTTP2 = true
	s.TLS = s.Config.TLSConfig
	s.StartTLS()
	t.Cleanup(s.Close)
	client = s.Client()
	t.Cleanup(client.CloseIdleConnections)
	return s.Listener.Addr().String(), client
}

// small has connections in which little is under way to a client that does not read.
type small struct{ net.Listener }

func (l small) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(4 << 10)
	}
	return c, err
}

// raw is a client of HTTP/2 that need not keep to it.
type raw struct {
	*tls.Conn
	*http2.Framer
	head bytes.Buffer
	enc  *hpack.Encoder
}

func dialRaw(t *testing.T, addr string) *raw {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if c.ConnectionState().NegotiatedProtocol != "h2" {
		t.Fatal("no HTTP/2")
	}
	r := &raw{Conn: c, Framer: http2.NewFramer(c, c)}
	r.enc = hpack.NewEncoder(&r.head)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return r
}

// request is the header block of GET path.
func (r *raw) request(path string) []byte {
	r.head.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "h"}, {":path", path}} {
		_ = r.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return r.head.Bytes()
}

// last reads until the connection ends, and returns the code of the GOAWAY before it.
func (r *raw) last(t *testing.T) (code http2.ErrCode, gone bool) {
	t.Helper()
	for {
		f, err := r.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection goes on")
		}
		if err != nil {
			return code, gone
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code, gone = g.ErrCode, true
		}
	}
}

// Clients that open streams and reset them at once get no more handlers to run than streams are allowed, and others are served meanwhile.
func TestRapidReset(t *testing.T) {
	const resets = 10000
	for _, c := range []struct {
		name string
		ends bool // the handler, when its client has gone
	}{{"handlers that end", true}, {"handlers that go on", false}} {
		t.Run(c.name, func(t *testing.T) {
			var running, most atomic.Int64
			release := make(chan struct{})
			addr, client := startSecure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/other" {
					fmt.Fprint(w, "served")
					return
				}
				n := running.Add(1)
				defer running.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if c.ends {
					<-r.Context().Done()
				} else {
					<-release
				}
			}), pace{})
			defer close(release)
			before := heap()
			r := dialRaw(t, addr)
			var sending sync.WaitGroup
			sending.Go(func() {
				for id := uint32(1); id < 2*resets; id += 2 {
					if r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.request("/held"), EndStream: true, EndHeaders: true}) != nil ||
						r.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
						return
					}
				}
				_ = r.WriteGoAway(0, http2.ErrCodeNo, nil)
			})
			for range 20 {
				res, err := client.Get("https://" + addr + "/other")
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if string(body) != "served" || res.ProtoMajor != 2 {
					t.Errorf("%s %q", res.Proto, body)
				}
			}
			if !c.ends {
				if code, gone := r.last(t); !gone || code != http2.ErrCodeEnhanceYourCalm {
					t.Errorf("the connection ended with %v, %v", code, gone)
				}
			}
			sending.Wait()
			if n := most.Load(); n > 128 {
				t.Errorf("%d handlers ran at a time", n)
			}
			if grown := heap() - before; grown > 32<<20 {
				t.Errorf("%d MB more are in use", grown>>20)
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Headers without end and pings whose answers are not read end the connection; no flood reaches a handler, fills memory or holds up others.
func TestHTTP2Floods(t *testing.T) {
	huge := bytes.Repeat([]byte{0x40, 1, 'a', 1, 'b'}, 3000) // literal fields
	for name, flood := range map[string]func(r *raw, i int) error{
		"continuation": func(r *raw, i int) error {
			if i == 0 {
				return r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.request("/"), EndStream: true})
			}
			return r.WriteContinuation(1, false, huge)
		},
		"empty continuation": func(r *raw, i int) error {
			if i == 0 {
				return r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.request("/"), EndStream: true})
			}
			return r.WriteContinuation(1, false, nil)
		},
		"settings": func(r *raw, i int) error {
			return r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
		},
		"pings": func(r *raw, i int) error { return r.WritePing(false, [8]byte{1}) },
	} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Int64
			addr, client := startSecure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/other" {
					served.Add(1)
				}
			}), pace{})
			before := heap()
			r := dialRaw(t, addr)
			_ = r.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
			most, sent := 2000000, 0
			endless := name == "empty continuation" || name == "settings" // cost the client as much as the server, which keeps nothing of them
			if endless {
				most = 20000
			}
			for ; sent < most; sent++ {
				if sent%1000 == 0 {
					_ = r.NetConn().SetDeadline(time.Now().Add(2 * time.Minute)) // a slow machine needs more for all of them, and the server ends a write after one
				}
				if err := flood(r, sent); err != nil {
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the server takes no more, and does not end it")
					}
					break
				}
				if sent == 1000 {
					if res, err := client.Get("https://" + addr + "/other"); err != nil {
						t.Fatal(err)
					} else {
						res.Body.Close()
					}
				}
			}
			if sent == most && !endless {
				t.Error("it goes on and on")
			}
			if served.Load() > 0 {
				t.Error("it was served")
			}
			if grown := heap() - before; grown > 32<<20 {
				t.Errorf("%d MB more are in use", grown>>20)
			}
			t.Logf("%d frames", sent)
		})
	}
}

// A stream that is silent for longer than a write may take goes on, over HTTP/2 too.
func TestSilentStreams(t *testing.T) {
	received := make(chan struct{})
	addr, client := startSecure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "data: x\n\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-received
			<-time.After(3 * hasty.write) // longer than a write may take, which is the point
		}
	}), hasty)
	res, err := client.Get("https://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, len("data: x\n\n"))
	for i := range 3 {
		if _, err := io.ReadFull(res.Body, b); err != nil {
			t.Fatal(i, err)
		}
		received <- struct{}{}
	}
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 || res.ProtoMajor != 2 {
		t.Errorf("%q, %v, %s", rest, err, res.Proto)
	}
}

// Slow bodies and clients that do not read end their stream over HTTP/2 as well.
func TestSlowOverHTTP2(t *testing.T) {
	ended := make(chan error, 2)
	addr, client := startSecure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if r.URL.Path == "/body" {
			_, err = io.ReadAll(r.Body)
		}
		for part := make([]byte, 1<<20); err == nil; {
			_, err = w.Write(part)
		}
		ended <- err
	}), hasty)
	body, feed := io.Pipe()
	defer feed.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", "https://"+addr+"/body", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if res, err := client.Do(r); err == nil {
			res.Body.Close()
		}
	}()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "too slowly") {
		t.Errorf("the body ended with %v", err)
	}
	res, err := client.Get("https://" + addr + "/answer")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := <-ended; err == nil {
		t.Error("the answer was written")
	}
}

// A client that goes away ends its request, over TLS with either version.
func TestAClientThatGoesAwayOverTLS(t *testing.T) {
	began, over := make(chan struct{}), make(chan struct{})
	addr, client := startSecure(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		over <- struct{}{}
	}), pace{})
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	defer one.CloseIdleConnections()
	for _, c := range []*http.Client{client, one} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "https://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if res, err := c.Do(r); err == nil {
				res.Body.Close()
			}
		}()
		<-began
		cancel()
		<-over
		<-gone
	}
}
