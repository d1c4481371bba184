package edge

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
)

// Each case of testdata/forwarded.json says who sends what, and who the client is then.
func TestForwarded(t *testing.T) {
	data, err := os.ReadFile("testdata/forwarded.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Peer string
		Trusted    []string
		TLS        bool
		Header     http.Header
		Want       struct{ Addr, Scheme, Host string }
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			proxies, err := ParseProxies(c.Trusted)
			if err != nil {
				t.Fatal(err)
			}
			for _, fiber := range []bool{false, true} {
				r := httptest.NewRequest("GET", "/", nil)
				r.Host, r.RemoteAddr = "h", c.Peer
				if c.TLS {
					r.TLS = &tls.ConnectionState{}
				}
				for name, values := range c.Header {
					r.Header[name] = values
				}
				if fiber {
					r = r.WithContext(hansom.WithFiber(r.Context(), noFiber{}))
				}
				var got struct{ Addr, Scheme, Host string }
				f := &Front{Proxies: proxies, Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					got.Addr, got.Scheme, got.Host = r.RemoteAddr, "http", r.Host
					if r.TLS != nil {
						got.Scheme = "https"
					}
					for name := range r.Header {
						if strings.Contains(name, "Forwarded") {
							t.Errorf("%s is there", name)
						}
					}
				})}
				f.ServeHTTP(httptest.NewRecorder(), r)
				if got != c.Want {
					t.Errorf("got %+v, want %+v", got, c.Want)
				}
			}
		})
	}
}

type noFiber struct{}

func (noFiber) Detach() {}

func TestParseProxies(t *testing.T) {
	for text, want := range map[string]string{"10.0.0.0/8": "10.0.0.0/8", "127.0.0.1": "127.0.0.1/32", "::1": "::1/128", "10.0.0.1/8": "", "x": "", "10.0.0.0/33": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": "", "": ""} {
		got, err := ParseProxies([]string{text})
		if (err != nil) != (want == "") || err == nil && got[0].String() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"for=192.0.2.1", `for="[2001:db8::1]:4711";proto=https;host="h"`, "for=_hidden, for=unknown", `for="a\"b"`, "for", ";;,,", `for="`, "For = x", "for=1;for=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hops := parseForwarded([]string{s})
		if len(hops) > strings.Count(s, ",")+1 {
			t.Errorf("%q: %d hops", s, len(hops))
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.RemoteAddr = "h", "127.0.0.1:1"
		r.Header["Forwarded"] = []string{s}
		proxies, _ := ParseProxies([]string{"127.0.0.1"})
		proxies.forward(r)
		if _, ok := parseNode(r.RemoteAddr); !ok || !validHost(r.Host) {
			t.Errorf("%q: address %q, host %q", s, r.RemoteAddr, r.Host)
		}
	})
}

// What Connection names does not pass, on the loop and on net/http.
func TestHopByHopHeaders(t *testing.T) {
	_, addr := start(t, (&Front{Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var names []string
		for _, name := range []string{"X-Hop", "X-Other", "X-Stay", "Authorization", "Te", "X-Forwarded-For"} {
			if r.Header[name] != nil {
				names = append(names, name)
			}
		}
		fmt.Fprint(w, strings.Join(names, " "))
	})}).ServeHTTP, nil)
	got := exchange(t, addr, "GET / HTTP/1.1\r\nHost: h\r\nConnection: x-hop , X-OTHER\r\nConnection: te, x-forwarded-for\r\nX-Hop: 1\r\nX-Other: 1\r\nX-Stay: 1\r\nAuthorization: a\r\nTE: trailers\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"+
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Stay: 1\r\n\r\n", 0)
	if !strings.Contains(got, "\r\n\r\nX-Stay Authorization TeHTTP/1.1 200") || !strings.HasSuffix(got, "\r\n\r\nX-Stay") {
		t.Errorf("got %q", got)
	}
}

func TestRedirectToHTTPS(t *testing.T) {
	proxies, err := ParseProxies([]string{"192.0.2.0/24"}) // where httptest's requests come from
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		target, host, proto string
		port                int
		want                string
	}{
		{"/a?b=c", "h", "", 443, "https://h/a?b=c"},
		{"/%2e//", "h:80", "", 0, "https://h/%2e//"},
		{"/", "h:8080", "", 8443, "https://h:8443/"},
		{"/", "[::1]:8080", "", 8443, "https://[::1]:8443/"},
		{"/", "h", "https", 443, ""},
		{"/", "h", "http", 443, "https://h/"},
	} {
		for _, fiber := range []bool{false, true} {
			f := &Front{Redirect: true, HTTPSPort: c.port, Proxies: proxies, Next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
			r := httptest.NewRequest("POST", c.target, nil)
			r.Host = c.host
			if c.proto != "" {
				r.Header.Set("X-Forwarded-Proto", c.proto)
			}
			if fiber {
				r = r.WithContext(hansom.WithFiber(context.Background(), noFiber{}))
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if want := 308; w.Header().Get("Location") != c.want || (w.Code == want) != (c.want != "") {
				t.Errorf("%+v: %d to %q", c, w.Code, w.Header().Get("Location"))
			}
		}
	}
}

func TestHSTS(t *testing.T) {
	own := ""
	f := &Front{HSTS: "max-age=1", Next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if own != "" {
			w.Header().Set("Strict-Transport-Security", own)
		}
		_, _ = w.Write([]byte("x"))
	})}
	secure := httptest.NewUnstartedServer(f)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(f)
	defer plain.Close()
	for _, c := range []struct {
		server    *httptest.Server
		own, want string
	}{{secure, "", "max-age=1"}, {secure, "max-age=2", "max-age=2"}, {plain, "", ""}} {
		own = c.own
		res, err := c.server.Client().Get(c.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := strings.Join(res.Header["Strict-Transport-Security"], "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.server.URL, got, c.want)
		}
	}
	secure.Client().CloseIdleConnections()
	plain.Client().CloseIdleConnections()
}
