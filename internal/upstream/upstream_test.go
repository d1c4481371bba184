package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// get asks for a URL and returns the body, or why not.
func get(t *testing.T, d *Dialer, url string) (string, error) {
	t.Helper()
	transport := d.Transport()
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

func denied(t *testing.T, what string, err error, why string) {
	t.Helper()
	var e *hansom.Error
	if !errors.As(err, &e) || e.Kind != hansom.Denied || !strings.Contains(e.Message, why) {
		t.Errorf("%s: %v", what, err)
	}
}

// What was resolved counts, whatever it was called, and a redirect is a new question.
func TestDial(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "hello")
	}))
	defer server.Close()
	api := httptest.NewServer(http.NotFoundHandler())
	defer api.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	_, apiPort, _ := net.SplitHostPort(api.Listener.Addr().String())
	cfg := DefaultConfig()
	cfg.Own = netip.MustParseAddrPort(api.Listener.Addr().String())
	dialer := New(cfg)
	for _, url := range []string{server.URL, "http://localhost:" + port, "http://issuer.dev.localhost:" + port, server.URL + "?to=http://localhost:" + port} {
		if text, err := get(t, dialer, url); err != nil || text != "hello" {
			t.Errorf("%s: %q %v", url, text, err)
		}
	}
	for url, why := range map[string]string{
		api.URL:                                   "own api listener",
		"http://localhost:" + apiPort:             "own api listener",
		"http://a.localhost.:" + apiPort:          "own api listener",
		"http://[::ffff:127.0.0.1]:" + apiPort:    "own api listener",
		server.URL + "?to=" + api.URL:             "own api listener",
		"http://169.254.169.254/latest":           "metadata",
		server.URL + "?to=http://169.254.169.254": "metadata",
		"http://0.0.0.0:" + port:                  "link-local",
		"http://[fe80::1]/":                       "link-local",
	} {
		_, err := get(t, dialer, url)
		denied(t, url, err, why)
	}
	cfg.Public = true
	for _, url := range []string{server.URL, "http://localhost:" + port, "http://10.0.0.1/"} {
		_, err := get(t, New(cfg), url)
		denied(t, url, err, "upstreams public")
	}
}

func TestAddresses(t *testing.T) {
	own, elsewhere := netip.MustParseAddrPort("0.0.0.0:4566"), netip.MustParseAddrPort("192.0.2.7:4566")
	var local string // an address of this host besides loopback
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			local = p.Addr().String()
		}
	}
	for _, c := range []struct {
		address     string
		any, public bool
	}{
		{"8.8.8.8:443", true, true},
		{"[2606:4700::1111]:443", true, true},
		{"127.0.0.1:80", true, false},
		{"[::1]:80", true, false},
		{"10.1.2.3:80", true, false},
		{"[fd00::1]:80", true, false},
		{"[2002:7f00:1::]:80", true, false},
		{"[2001:db8::1]:80", true, false},
		{"100.64.0.1:80", true, false},
		{"127.0.0.1:4566", false, false},
		{"127.0.0.9:4566", false, false},
		{"[::1]:4566", false, false},
		{"8.8.8.8:4566", true, true},
		{"0.0.0.0:80", false, false},
		{"[::]:80", false, false},
		{"169.254.169.254:80", false, false},
		{"[::ffff:169.254.169.254]:80", false, false},
		{"[64:ff9b::a9fe:a9fe]:80", false, false},
		{"[64:ff9b::808:808]:80", true, true},
		{"[64:ff9b::7f00:1]:80", true, false},
		{"[fe80::1%eth0]:80", false, false},
		{"[fd00:ec2::254]:80", false, false},
		{"100.100.100.200:80", false, false},
		{"168.63.129.16:80", false, false},
		{"224.0.0.1:80", false, false},
		{"[ff02::1]:80", false, false},
		{"255.255.255.255:80", false, false},
		{"nonsense", false, false},
		{net.JoinHostPort(local, "4566"), false, false},
		{"192.0.2.7:4567", true, false},
	} {
		for _, public := range []bool{false, true} {
			want := c.any
			if public {
				want = c.public
			}
			if err := New(Config{Public: public, Own: own}).check(c.address); (err == nil) != want {
				t.Errorf("%s, public %v: %v", c.address, public, err)
			}
		}
	}
	if err := New(Config{Own: elsewhere}).check("192.0.2.7:4566"); err == nil {
		t.Error("the listener's own address is reached")
	}
	if err := New(Config{Own: elsewhere}).check("192.0.2.8:4566"); err != nil {
		t.Error(err)
	}
}
