package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/sandbox/linux"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
	"github.com/hansomcloud/hansom/internal/server"
)

// The outside world of TestEgress is a network namespace behind the default route of another one, in which the server runs. It
// answers at all these addresses, so that whatever is not reached was refused on the way.
const (
	hostAddress  = "93.184.216.2"
	outerAddress = "93.184.216.1"
	public       = "8.8.8.8"
	neighbour    = "10.1.2.3"
	excepted     = "10.77.0.5"
)

var notPublic = []string{neighbour, "10.77.1.5", "100.64.3.3", "100.127.255.254", "169.254.169.254", "169.254.1.1", "172.16.0.9", "172.31.255.1",
	"192.0.0.9", "192.0.2.7", "192.168.7.7", "198.18.0.1", "198.19.9.9", "198.51.100.3", "203.0.113.10", "240.0.0.1", "255.255.255.254"}

// TestEgress runs itself in network namespaces: the machine's own network is not touched.
func TestEgress(t *testing.T) {
	const inside = "HANSOM_TEST_EGRESS"
	switch {
	case os.Geteuid() != 0 || os.Getenv("HANSOM_DRIVER") == "process":
		t.Skip("egress is limited by the linux driver, as root")
	case os.Getenv(inside) != "":
		testEgress(t)
		return
	}
	if err := network.Check(linux.DefaultConfig().Network); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestEgress$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestEgress ") {
		t.Errorf("%v\n%s", err, out)
	}
}

const pythonProbe = `
import errno, socket, subprocess, threading
server = socket.create_server(('0.0.0.0', 7000))
threading.Thread(target=lambda: [server.accept() for _ in iter(int, 1)], daemon=True).start()

def handler(event, context):
    try:
        if 'curl' in event:
            done = subprocess.run(['curl', '-sS', '--max-time', '10', event['curl']], capture_output=True, text=True)
            return done.stdout or done.stderr
        if 'udp' in event:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.connect((event['udp'], 53))
            if event.get('send'):
                s.settimeout(10)
                s.send(b'x')
                s.recv(10)
            return s.getsockname()[0]
        if 'name' in event:
            return sorted({a[4][0] for a in socket.getaddrinfo(event['name'], 80)})
        s = socket.create_connection((event['host'], event.get('port', 80)), timeout=10)
        s.sendall(b'GET / HTTP/1.0\r\n\r\n')
        return s.makefile().read().split('\n\n')[1]
    except socket.gaierror as e:
        return 'no name'
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
`

const nodeProbe = `
const net = require('net'), dns = require('dns').promises;
exports.handler = async (event) => {
  try {
    if (event.name) return (await dns.resolve4(event.name)).sort();
    return await (await fetch('http://' + event.host + ':' + (event.port || 80) + '/')).text();
  } catch (e) {
    const code = e.code || e.cause?.code;
    return code === 'ENOTFOUND' ? 'no name' : code || String(e);
  }
};
`

func testEgress(t *testing.T) {
	w := newWorld(t)
	api := start(t, func(c *server.Config) {
		c.Driver, c.RunDir, c.Egress, c.EgressAllow = "linux", t.TempDir(), hansom.EgressPlatform, "10.77.0.0/24"
	})
	c := client(t, api.API(), hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "test"})
	egress := func(level string) func(*lambda.CreateFunctionInput) {
		return func(in *lambda.CreateFunctionInput) { in.Tags = map[string]string{"hansom:egress": level} }
	}
	create(t, c, "python", python311, source(t, python311, pythonProbe), egress("internet"))
	create(t, c, "other", python311, source(t, python311, pythonProbe), egress("internet"))
	create(t, c, "node", node22, source(t, node22, nodeProbe), egress("internet"))
	create(t, c, "default", python311, source(t, python311, pythonProbe))
	create(t, c, "none", python311, source(t, python311, pythonProbe), egress("none"))
	probe := func(t *testing.T, function, event, want string) {
		t.Helper()
		var got any
		mustInvoke(t, c, function, event, &got)
		text, ok := got.(string)
		if !ok {
			b, _ := json.Marshal(got)
			text = string(b)
		}
		if text != want {
			t.Errorf("%s %s: %q; want %q", function, event, text, want)
		}
	}

	t.Run("Public", func(t *testing.T) {
		want := "to " + public + " from " + hostAddress
		for _, f := range []string{"python", "node"} {
			probe(t, f, `{"host": "8.8.8.8"}`, want)
			probe(t, f, `{"host": "public.example"}`, want)
			probe(t, f, `{"host": "`+excepted+`"}`, "to "+excepted+" from "+hostAddress)
		}
		probe(t, "python", `{"curl": "http://public.example/"}`, want)
	})
	t.Run("NotPublic", func(t *testing.T) {
		for _, address := range notPublic {
			for _, f := range []string{"python", "node"} {
				probe(t, f, `{"host": "`+address+`"}`, "ECONNREFUSED")
			}
		}
		probe(t, "python", `{"udp": "`+neighbour+`", "send": true}`, "EHOSTUNREACH")
		probe(t, "python", `{"host": "2001:4860:4860::8888"}`, "ENETUNREACH")
		probe(t, "python", `{"host": "::ffff:10.1.2.3"}`, "ECONNREFUSED")
	})
	t.Run("Host", func(t *testing.T) {
		l, err := net.Listen("tcp", "0.0.0.0:9999")
		if err != nil {
			t.Fatal(err)
		}
		var accepted atomic.Int32
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				accepted.Add(1)
				conn.Close()
			}
		}()
		defer l.Close()
		for _, f := range []string{"python", "node"} {
			probe(t, f, `{"port": 9999, "host": "`+hostAddress+`"}`, "ECONNREFUSED")
		}
		if n := accepted.Load(); n > 0 {
			t.Errorf("%d connections of functions came to the host", n)
		}
	})
	t.Run("Neighbours", func(t *testing.T) {
		var address string
		mustInvoke(t, c, "other", `{"udp": "8.8.8.8"}`, &address)
		if !netip.MustParsePrefix("100.64.0.0/10").Contains(netip.MustParseAddr(address)) {
			t.Fatalf("the sandbox has the address %s", address)
		}
		for _, f := range []string{"python", "node"} {
			probe(t, f, `{"port": 7000, "host": "`+address+`"}`, "ECONNREFUSED")
		}
		if conn, err := net.Dial("tcp", address+":7000"); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				conn.Close()
			}
			t.Errorf("the host's users reach a sandbox: %v", err)
		}
		dialer := net.Dialer{Timeout: time.Second}
		w.do(func() {
			if conn, err := dialer.Dial("tcp", address+":7000"); err == nil {
				conn.Close()
				t.Error("the outside reaches a sandbox")
			}
		})
	})
	t.Run("Names", func(t *testing.T) {
		for _, f := range []string{"python", "node"} {
			probe(t, f, `{"name": "public.example"}`, `["8.8.8.8"]`)
			probe(t, f, `{"name": "PUBLIC.example"}`, `["8.8.8.8"]`)
			probe(t, f, `{"name": "mixed.example"}`, `["8.8.8.8"]`)
			probe(t, f, `{"name": "alias.example"}`, `["8.8.8.8"]`)
			probe(t, f, `{"name": "excepted.example"}`, `["`+excepted+`"]`)
			probe(t, f, `{"name": "metadata.example"}`, "no name")
			probe(t, f, `{"name": "private.example"}`, "no name")
			probe(t, f, `{"name": "nothing.example"}`, "no name")
			probe(t, f, `{"name": "abc.lambda-url.localhost"}`, `["127.0.0.1"]`)
		}
		// More than a packet holds comes over TCP.
		var many []string
		mustInvoke(t, c, "python", `{"name": "many.example"}`, &many)
		if len(many) != manyAddresses {
			t.Errorf("%d of %d addresses", len(many), manyAddresses)
		}
	})
	t.Run("Platform", func(t *testing.T) {
		create(t, c, "hello", python311, source(t, python311, "def handler(event, context):\n    return 'hello'\n"))
		made, err := c.CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{FunctionName: aws.String("hello"), AuthType: types.FunctionUrlAuthTypeNone})
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := strings.Cut(strings.TrimPrefix(*made.FunctionUrl, "http://"), ":")
		create(t, c, "inner", node22, source(t, node22, nodeProbe))
		probe(t, "inner", `{"host": "`+host+`"}`, "hello")
		probe(t, "node", `{"host": "`+host+`"}`, "hello")
		probe(t, "none", `{"host": "127.0.0.1"}`, "ECONNREFUSED")
	})
	t.Run("Levels", func(t *testing.T) {
		for _, f := range []string{"default", "none"} {
			probe(t, f, `{"host": "8.8.8.8"}`, "ENETUNREACH")
			probe(t, f, `{"name": "public.example"}`, "no name")
		}
		probe(t, "default", `{"name": "hello.localhost"}`, `["127.0.0.1"]`)
		probe(t, "default", `{"host": "127.0.0.1", "port": 4566}`, `{"message":"Missing Authentication Token"}`)
		probe(t, "none", `{"host": "127.0.0.1", "port": 4566}`, "ECONNREFUSED")
		probe(t, "none", `{"name": "hello.localhost"}`, "no name")
	})
	t.Run("Change", func(t *testing.T) {
		out, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("default")})
		if err != nil {
			t.Fatal(err)
		}
		arn := out.Configuration.FunctionArn
		_, err = c.TagResource(t.Context(), &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"hansom:egress": "everything"}})
		refused(t, "an unknown egress", err, 400, "InvalidParameterValueException", "none, platform or internet")
		if _, err := c.TagResource(t.Context(), &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"hansom:egress": "internet"}}); err != nil {
			t.Fatal(err)
		}
		waitUpdated(t, c, "default")
		probe(t, "default", `{"name": "public.example"}`, `["8.8.8.8"]`)
		if _, err := c.UntagResource(t.Context(), &lambda.UntagResourceInput{Resource: arn, TagKeys: []string{"hansom:egress"}}); err != nil {
			t.Fatal(err)
		}
		waitUpdated(t, c, "default")
		probe(t, "default", `{"name": "public.example"}`, "no name")
		_, err = c.CreateFunction(t.Context(), request("bad", types.RuntimePython311, source(t, python311, pythonProbe), egress("all")))
		refused(t, "an unknown egress", err, 400, "InvalidParameterValueException", "none, platform or internet")
	})
	t.Run("Projects", func(t *testing.T) { testProjectEgress(t, api) })
	t.Run("Leaves nothing", func(t *testing.T) {
		if !forwards(t, "up0") || forwards(t, "all") {
			t.Error("forwarding is not on for the uplink alone")
		}
		api.Stop(t)
		if forwards(t, "up0") {
			t.Error("the uplink still forwards")
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			links, err := netlink.LinkList()
			if err != nil {
				t.Fatal(err)
			}
			if len(links) == 2 { // lo and up0
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d interfaces are left", len(links)-2)
			}
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil || len(routes) != 2 { // the uplink's network, and the default
			t.Errorf("routes %v, %v", routes, err)
		}
	})
}

// testProjectEgress: a project with internet as its default on a server whose own is platform, and changes of it.
func testProjectEgress(t *testing.T, s *hansomtest.Server) {
	root := hansomtest.Credentials
	manageProject(t, s, "POST", "projects", `{"slug":"open"}`)
	manageProject(t, s, "PATCH", "projects/open", `{"egress":"internet"}`)
	var session hansom.Credentials
	if status, body := manage(t, s.API(), root, "POST", "projects/open/sessions", ""); status != http.StatusOK || json.Unmarshal([]byte(body), &session) != nil {
		t.Fatal(status, body)
	}
	c := client(t, s.API(), session)
	create(t, c, "python", python311, source(t, python311, pythonProbe))
	create(t, c, "node", node22, source(t, node22, nodeProbe))
	create(t, c, "none", python311, source(t, python311, pythonProbe), func(in *lambda.CreateFunctionInput) {
		in.Tags = map[string]string{"hansom:egress": "none"}
	})
	own := client(t, s.API(), root)
	const platform, internet, name = `{"host": "127.0.0.1", "port": 4566}`, `{"host": "8.8.8.8"}`, `{"name": "public.example"}`
	answers := map[string]map[string]string{ // by egress, as JSON
		"none":     {platform: `"ECONNREFUSED"`, internet: `"ENETUNREACH"`},
		"platform": {platform: `"{\"message\":\"Missing Authentication Token\"}"`, internet: `"ENETUNREACH"`, name: `"no name"`},
		"internet": {platform: `"{\"message\":\"Missing Authentication Token\"}"`, internet: `"to ` + public + ` from ` + hostAddress + `"`, name: `["` + public + `"]`},
	}
	reaches := func(c *lambda.Client, function, egress string) {
		t.Helper()
		for event, want := range answers[egress] {
			var got any
			mustInvoke(t, c, function, event, &got)
			if text, _ := json.Marshal(got); string(text) != want {
				t.Errorf("%s with %s: %s: %s, want %s", function, egress, event, text, want)
			}
		}
	}
	// A change is for what starts after it: an update makes the next instance a new one.
	change := func(egress string) {
		t.Helper()
		manageProject(t, s, "PATCH", "projects/open", `{"egress":"`+egress+`"}`)
	}
	update := func() {
		t.Helper()
		for _, f := range []string{"python", "node"} {
			_, err := c.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &f, MemorySize: aws.Int32(192)})
			if err != nil {
				t.Fatal(err)
			}
			waitUpdated(t, c, f)
		}
	}
	both := func(egress string) {
		t.Helper()
		reaches(c, "python", egress)
		reaches(c, "node", egress)
	}
	both("internet")
	reaches(c, "none", "none")
	reaches(own, "default", "platform")
	change("none")
	both("internet")
	update()
	both("none")
	reaches(own, "default", "platform")
	change("") // the server's
	update()
	both("platform")
	change("internet")
	update()
	both("internet")
}

func manageProject(t *testing.T, s *hansomtest.Server, method, path, body string) {
	t.Helper()
	if status, answer := manage(t, s.API(), hansomtest.Credentials, method, path, body); status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
}

// TestProjectEgressBlanks: blanks are made for what a project's functions reach now, and used.
func TestProjectEgressBlanks(t *testing.T) {
	s := withBlanks(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "node", node22, source(t, node22, nodeProbe))
	awaitBlanks(t, s, 1)
	manageProject(t, s, "PATCH", "projects/default", `{"egress":"none"}`)
	awaitBlanks(t, s, 2)
	var got string
	if mustInvoke(t, c, "node", `{"host": "127.0.0.1", "port": 4566}`, &got); got != "ECONNREFUSED" {
		t.Errorf("a function without egress reaches the platform: %s", got)
	}
	if metric(t, s, used) != 1 || metric(t, s, missed) != 0 {
		t.Errorf("%v starts with a blank and %v without", metric(t, s, used), metric(t, s, missed))
	}
}

func forwards(t *testing.T, link string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/forwarding")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b)) == "1"
}

// world is the outside.
type world struct {
	calls chan func()
}

// do runs f on a thread that is outside.
func (w *world) do(f func()) {
	done := make(chan struct{})
	w.calls <- func() { f(); close(done) }
	<-done
}

func newWorld(t *testing.T) *world {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// The server asks the name servers of a resolv.conf of its own.
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	must(os.WriteFile(resolv, []byte("nameserver "+public+"\n"), 0o644))
	must(unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""))

	w := &world{calls: make(chan func())}
	ready := make(chan netns.NsHandle)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns, _ := netns.Get()
		if err != nil {
			ns = netns.None()
		}
		ready <- ns
		for f := range w.calls {
			f()
		}
	}()
	ns := <-ready
	if !ns.IsOpen() {
		t.Fatal("cannot make a network namespace")
	}
	t.Cleanup(func() { close(w.calls) })
	defer ns.Close()
	outside, err := netlink.NewHandleAt(ns)
	must(err)
	defer outside.Close()
	here, err := netlink.NewHandle()
	must(err)
	defer here.Close()

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	must(here.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up1", PeerNamespace: netlink.NsFd(ns)}))
	raise := func(h *netlink.Handle, name string, addresses ...string) {
		link, err := h.LinkByName(name)
		must(err)
		must(h.LinkSetUp(link))
		for _, a := range addresses {
			address, err := netlink.ParseAddr(a)
			must(err)
			must(h.AddrAdd(link, address))
		}
	}
	raise(here, "lo")
	raise(here, "up0", hostAddress+"/24")
	all := []string{public + "/32", excepted + "/32"}
	for _, a := range notPublic {
		all = append(all, a+"/32")
	}
	raise(outside, "lo", all...)
	raise(outside, "up1", outerAddress+"/24")
	must(here.RouteAdd(&netlink.Route{Gw: net.ParseIP(outerAddress)}))
	_, sandboxes, _ := net.ParseCIDR("100.64.0.0/10")
	must(outside.RouteAdd(&netlink.Route{Dst: sandboxes, Gw: net.ParseIP(hostAddress)}))

	var web, tcp net.Listener
	var udp net.PacketConn
	w.do(func() {
		web, err = net.Listen("tcp4", "0.0.0.0:80")
		must(err)
		tcp, err = net.Listen("tcp4", public+":53")
		must(err)
		udp, err = net.ListenPacket("udp4", public+":53")
		must(err)
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr).(*net.TCPAddr)
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(rw, "to %s from %s", local.IP, from)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(web) })
	serving.Go(func() { nameServer(udp, tcp) })
	t.Cleanup(func() {
		_ = srv.Shutdown(context.Background())
		udp.Close()
		tcp.Close()
		serving.Wait()
	})
	return w
}

const manyAddresses = 200

// nameServer is what the internet's name servers say.
func nameServer(udp net.PacketConn, tcp net.Listener) {
	names := map[string][]string{
		"public.example.": {public}, "mixed.example.": {neighbour, public}, "private.example.": {neighbour},
		"metadata.example.": {"169.254.169.254"}, "excepted.example.": {excepted}, "alias.example.": {public},
	}
	for i := range manyAddresses {
		names["many.example."] = append(names["many.example."], fmt.Sprintf("9.0.0.%d", i))
	}
	answer := func(query []byte, size int) []byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil || len(m.Questions) != 1 {
			return nil
		}
		q := m.Questions[0]
		name := strings.ToLower(q.Name.String())
		m.Response, m.Additionals = true, nil
		addresses, ok := names[name]
		if !ok {
			m.RCode = dnsmessage.RCodeNameError
		}
		if q.Type != dnsmessage.TypeA {
			addresses = nil
		}
		owner := q.Name
		if name == "alias.example." {
			owner = dnsmessage.MustNewName("public.example.")
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 300},
				Body: &dnsmessage.CNAMEResource{CNAME: owner}})
		}
		for _, a := range addresses {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: owner, Class: q.Class, TTL: 300},
				Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()}})
		}
		b, err := m.Pack()
		if err == nil && len(b) > size {
			m.Answers, m.Truncated = nil, true
			b, _ = m.Pack()
		}
		return b
	}
	var both sync.WaitGroup
	both.Go(func() {
		buf := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(answer(buf[:n], 512), from)
		}
	})
	both.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 514)
			if n, err := conn.Read(buf); err == nil && n > 2 {
				b := answer(buf[2:n], 1<<16)
				_, _ = conn.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
			}
			conn.Close()
		}
	})
	both.Wait()
}
