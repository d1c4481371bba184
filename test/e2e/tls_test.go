package e2e

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/chromedp/chromedp"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

const tellRequest = `exports.handler = async (e) => ({statusCode: 200, headers: {'content-type': 'application/json'},
  body: JSON.stringify({headers: e.headers, http: e.requestContext.http, pad: 'x'.repeat(Number(e.rawPath.slice(1)) || 0)})});`

// toldOf is what tellRequest answers.
type toldOf struct {
	Headers map[string]string
	HTTP    struct{ SourceIP, Protocol string }
	Pad     string
}

// publicURL makes a function with a public URL, which is returned without the slash at its end.
func publicURL(t testing.TB, s *hansomtest.Server, name, code string, change ...func(*lambda.CreateFunctionInput)) string {
	t.Helper()
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, name, node22, source(t, node22, code), change...)
	out, err := c.CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: types.FunctionUrlAuthTypeNone, InvokeMode: types.InvokeModeResponseStream})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(aws.ToString(out.FunctionUrl), "/")
}

// secureBrowser is browser for the TLS listener, trusting what the PEM file has.
func secureBrowser(t testing.TB, addr, file string, http2 bool) *http.Client {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in " + file)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// An unmodified curl trusts the development authority and speaks HTTP/2 and 1.1 to a function's URL, whose address is https.
func TestHTTPSForDevelopment(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.HTTPS, c.EdgeTLS = true, "127.0.0.1:0" })
	url := publicURL(t, s, "tell", tellRequest)
	authority, made := s.Authority()
	if !strings.HasPrefix(url, "https://") || !made {
		t.Fatal(url, made)
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(url, "https://"))
	if err != nil || s.EdgeTLSAddr() != "127.0.0.1:"+port {
		t.Fatal(url, s.EdgeTLSAddr())
	}
	t.Run("curl", func(t *testing.T) {
		curl, err := exec.LookPath("curl")
		if err != nil {
			t.Skip("curl is not installed")
		}
		run := func(args ...string) (string, error) {
			out, err := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--max-time", "20", "--resolve", host + ":" + port + ":127.0.0.1"}, args...)...).Output()
			return string(out), err
		}
		for flag, version := range map[string]string{"--http2": "2", "--http1.1": "1.1"} {
			out, err := run(flag, "--cacert", authority, "-w", "\n%{http_version}", url+"/5000")
			body, got, _ := strings.Cut(out, "\n")
			var seen toldOf
			if json.Unmarshal([]byte(body), &seen) != nil || err != nil || got != version {
				t.Fatalf("%s: %s %v", flag, out, err)
			}
			if seen.Headers["x-forwarded-proto"] != "https" || seen.Headers["x-forwarded-port"] != port || seen.HTTP.SourceIP != "127.0.0.1" || !strings.HasPrefix(seen.HTTP.Protocol, "HTTP/"+version[:1]) {
				t.Errorf("%s: %+v", flag, seen)
			}
		}
		if out, err := run("--cacert", authority, "--compressed", "-D", "-", url+"/5000"); err != nil || !strings.Contains(strings.ToLower(out), "content-encoding: ") || !strings.Contains(out, strings.Repeat("x", 5000)) {
			t.Errorf("compressed: %.300s %v", out, err)
		}
		if out, err := run(url); err == nil {
			t.Errorf("it is trusted by all: %s", out)
		}
	})
	for _, http2 := range []bool{true, false} {
		c := secureBrowser(t, s.EdgeTLSAddr(), authority, http2)
		res, err := c.Get(url + "/5000")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || (res.ProtoMajor == 2) != http2 || !strings.Contains(string(body), `"x-forwarded-proto":"https"`) || res.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s %v %.200s %v", res.Proto, res.Header, body, err)
		}
	}
	t.Run("plain", func(t *testing.T) { // it stays there
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+host+"/5000", nil)
		r.Header.Set("Accept-Encoding", "gzip")
		res, err := browser(t, s.EdgeAddr()).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		z, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(res.Header, err)
		}
		var seen toldOf
		if err := json.NewDecoder(z).Decode(&seen); err != nil || len(seen.Pad) != 5000 || seen.Headers["x-forwarded-proto"] != "http" {
			t.Errorf("%+v %v", seen, err)
		}
	})
	s.Restart(t)
	if _, made := s.Authority(); made {
		t.Error("the authority was made again")
	}
}

// A browser that has the development authority among its own shows an app over HTTP/2 without a warning, in a secure context, and its functions answer there; without it
// there is a warning.
func TestHTTPSChromium(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *server.Config) { c.HTTPS, c.EdgeTLS = true, "127.0.0.1:0" })
	authority, _ := s.Authority()
	home := t.TempDir()
	store := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "hansom", "-i", authority}} {
		if out, err := run(t, os.Environ(), "", append([]string{"certutil", "-d", "sql:" + store}, args...)...); err != nil {
			t.Fatalf("certutil %v: %v\n%s\n(scripts/setup.sh installs it)", args, err, out)
		}
	}
	dir := t.TempDir()
	siteFolder(t, dir, "name: secure\nsite: ./public\nfunctions:\n  tell:\n    runtime: nodejs22.x\n    code: ./tell\n    handler: index.handler\n    http: [GET /tell]\n", map[string]string{"index.html": `<!doctype html><title>secure</title><link rel="icon" href="data:,"><p id="state">asking</p>
<script type="module">
const answer = await (await fetch('/tell')).json();
const protocols = performance.getEntries().filter((e) => e.nextHopProtocol && e.name.startsWith('https')).map((e) => e.nextHopProtocol);
document.querySelector('#state').textContent = [isSecureContext, answer.proto, ...protocols].join(' ');
</script>`})
	if err := os.CopyFS(filepath.Join(dir, "tell"), fstest.MapFS{"index.mjs": {Data: []byte("export const handler = async (e) => ({proto: e.headers['x-forwarded-proto']});\n")}}); err != nil {
		t.Fatal(err)
	}
	deploy(t, s, dir)
	_, port, _ := strings.Cut(s.EdgeTLSAddr(), ":")
	url := "https://secure.localhost:" + port + "/"
	var console complaints
	tab := chromium(t, chromedp.Env("HOME="+home))
	console.watch(t, tab)
	do(t, tab, chromedp.Navigate(url), shows("#state", "true https h2 h2"))
	if list := console.all(); len(list) > 0 {
		t.Errorf("the console shows:\n%s", strings.Join(list, "\n"))
	}
	ctx, cancel := context.WithTimeout(chromium(t, chromedp.Env("HOME="+t.TempDir())), time.Minute)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url)); err == nil || !strings.Contains(err.Error(), "ERR_CERT_AUTHORITY_INVALID") {
		t.Errorf("a browser that does not know the authority: %v", err)
	}
}

// writePair writes a self-signed certificate for a name.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "site.pem"), filepath.Join(dir, "site.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// With a certificate plain requests go to HTTPS, answers carry HSTS, a new certificate is taken while connections go on, and a trusted
// proxy tells of its clients.
func TestHTTPSWithCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "*.example.test")
	s := start(t, func(c *server.Config) {
		c.EdgeTLS, c.TLSCert, c.TLSKey, c.Domain = "127.0.0.1:0", []string{cert}, []string{key}, "example.test"
		c.HTTPSRedirect, c.HSTS, c.TrustedProxies = true, "max-age=77", []string{"127.0.0.2"}
	})
	url := publicURL(t, s, "tell", tellRequest)
	host := strings.TrimPrefix(url, "https://")
	name, _, _ := net.SplitHostPort(host)
	if !strings.HasSuffix(name, ".lambda-url.example.test") {
		t.Fatal(url)
	}
	cert, key = writePair(t, dir, name) // a wildcard is for one label
	s.Reload()
	c := secureBrowser(t, s.EdgeTLSAddr(), cert, true)
	res, err := c.Get(url + "/1")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Strict-Transport-Security") != "max-age=77" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	first := res.TLS.PeerCertificates[0]

	plain := browser(t, s.EdgeAddr())
	plain.CheckRedirect = c.CheckRedirect
	res, err = plain.Post("http://"+name+"/a%2Fb?c=d", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 308 || res.Header.Get("Location") != url+"/a%2Fb?c=d" {
		t.Errorf("%s to %q", res.Status, res.Header.Get("Location"))
	}

	from := func(proxy string) toldOf { // a proxy that ends TLS itself
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(proxy)}}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.EdgeAddr())
		if err != nil {
			t.Skip("this machine has no ", proxy, ": ", err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+name+"\r\nX-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var seen toldOf
		if res.StatusCode == 200 {
			if err := json.NewDecoder(res.Body).Decode(&seen); err != nil {
				t.Fatal(err)
			}
		}
		return seen
	}
	if seen := from("127.0.0.2"); seen.HTTP.SourceIP != "203.0.113.7" || seen.Headers["x-forwarded-for"] != "203.0.113.7" || seen.Headers["x-forwarded-proto"] != "https" {
		t.Errorf("%+v", seen)
	}
	if seen := from("127.0.0.3"); seen.HTTP.SourceIP != "" { // redirected
		t.Errorf("%+v", seen)
	}

	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reload()
	fresh := secureBrowser(t, s.EdgeTLSAddr(), cert, true)
	if res, err = fresh.Get(url + "/2"); err != nil {
		t.Fatalf("the old certificate is gone: %v", err)
	}
	res.Body.Close()
	writePair(t, dir, name)
	s.Reload()
	if res, err = c.Get(url + "/3"); err != nil || !res.TLS.PeerCertificates[0].Equal(first) {
		t.Errorf("the connection did not go on: %v", err)
	} else {
		res.Body.Close()
	}
	fresh = secureBrowser(t, s.EdgeTLSAddr(), cert, true)
	if res, err = fresh.Get(url + "/4"); err != nil || res.TLS.PeerCertificates[0].Equal(first) {
		t.Errorf("the new certificate is not shown: %v", err)
	} else {
		res.Body.Close()
	}
}

// Functions reach the hosts of the platform over TLS as well, and trust them.
func TestHTTPSFromInside(t *testing.T) {
	s := start(t, func(c *server.Config) { c.HTTPS, c.EdgeTLS = true, "127.0.0.1:0" })
	if isolated, _ := isolation(t, s); !isolated {
		t.Skip("functions have a network of their own with the linux driver alone")
	}
	url := publicURL(t, s, "tell", tellRequest)
	host, _, _ := net.SplitHostPort(strings.TrimPrefix(url, "https://"))
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "node", node22, source(t, node22, `exports.handler = async (e) => {
  const r = await fetch(e.url);
  return {status: r.status, body: await r.json()};
};`))
	create(t, c, "python", python311, source(t, python311, `import json, urllib.request
def handler(e, c):
    with urllib.request.urlopen(e["url"]) as r:
        return {"status": r.status, "body": json.load(r)}
`))
	for _, name := range []string{"node", "python"} {
		var got struct {
			Status int
			Body   toldOf
		}
		mustInvoke(t, c, name, `{"url":"https://`+host+`/"}`, &got)
		if got.Status != 200 || got.Body.Headers["x-forwarded-proto"] != "https" || got.Body.Headers["host"] != host {
			t.Errorf("%s: %+v", name, got)
		}
		mustInvoke(t, c, name, `{"url":"http://`+host+`/"}`, &got)
		if got.Status != 200 || got.Body.Headers["x-forwarded-proto"] != "http" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The program takes new certificates at SIGHUP and goes on; bad files are an error at its start, on one line.
func TestProgramReloadsCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "old.example.test")
	p := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "run"), "--edge-tls", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--domain", "example.test")
	shown := func() string {
		conn, err := tls.Dial("tcp", p.edgeTLS, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if name := shown(); name != "old.example.test" {
		t.Errorf("it shows %s", name)
	}
	writePair(t, dir, "new.example.test")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the new certificate is shown", func() bool { return shown() == "new.example.test" })
	select {
	case <-p.ended:
		t.Error("the program has ended")
	default:
	}
	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), "serve", "--data", filepath.Join(dir, "other"), "--edge", "127.0.0.1:0", "--api", "127.0.0.1:0", "--edge-tls", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	out, err := cmd.CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "site.key") {
		t.Errorf("%v: %s", err, out)
	}
}
