package network

import (
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests run in a network namespace of their own: they touch nothing of the machine's network.
func TestMain(m *testing.M) {
	const inside = "HANSOM_TEST_NETWORK"
	if os.Geteuid() == 0 && os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if cmd.Run() != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// space is a network namespace with a thread in it.
type space struct {
	file  *os.File
	calls chan func()
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	s := &space{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.file, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		for f := range s.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(s.calls)
		s.file.Close()
	})
	return s
}

// do runs f on the thread in the namespace.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.calls <- func() { f(); close(done) }
	<-done
}

func (s *space) handle(t testing.TB) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(s.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func raise(t testing.TB, h *netlink.Handle, name string, addresses ...string) {
	t.Helper()
	link, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkSetUp(link)
	}
	for _, a := range addresses {
		address, _ := netlink.ParseAddr(a)
		err = errors.Join(err, h.AddrAdd(link, address))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld is a namespace that up0 of this one leads to, until the test ends: it has the address 8.8.8.8.
func newWorld(t testing.TB) *space {
	t.Helper()
	s := newSpace(t)
	if err := Check(Config{Range: DefaultRange}); err != nil {
		t.Skip(err)
	}
	here, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "up1", PeerNamespace: netlink.NsFd(s.file.Fd())}
	if err := here.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	raise(t, here, "lo")
	raise(t, here, "up0", "93.184.216.2/24")
	outside := s.handle(t)
	raise(t, outside, "lo", "8.8.8.8/32")
	raise(t, outside, "up1", "93.184.216.1/24")
	_, all, _ := net.ParseCIDR("0.0.0.0/0") // answers to whatever is spoofed too
	if err := errors.Join(here.RouteAdd(&netlink.Route{Gw: net.ParseIP("93.184.216.1")}),
		outside.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP("93.184.216.2")})); err != nil {
		t.Fatal(err)
	}
	return s
}

func newNetwork(t testing.TB, runDir string) *Network {
	t.Helper()
	// Interfaces of other tests may be there still: the kernel takes its time.
	id := "s" + strings.ToLower(rand.Text()[:8])
	if err := os.MkdirAll(filepath.Join(runDir, id), 0o700); err != nil {
		t.Fatal(err)
	}
	n := New(Config{Range: DefaultRange, Refuse: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, runDir, id, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(n.Close)
	return n
}

func attach(t testing.TB, n *Network, s *space) *Attachment {
	t.Helper()
	a, err := n.Attach(s.file)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCheck(t *testing.T) {
	newSpace(t)
	if err := Check(Config{Range: DefaultRange}); err != nil {
		t.Skip(err) // it may be right
	}
	if all := left(t, "sprobe", netip.MustParsePrefix("100.64.0.0/18")); len(all) > 0 {
		t.Errorf("it leaves %v", all)
	}
}

// TestSpoofing: packets leave a sandbox with its own address only.
func TestSpoofing(t *testing.T) {
	w := newWorld(t)
	n := newNetwork(t, t.TempDir())
	s := newSpace(t)
	a := attach(t, n, s)
	var server net.PacketConn
	w.do(func() { server, _ = net.ListenPacket("udp4", "8.8.8.8:9") })
	defer server.Close()
	raise(t, s.handle(t), "eth0", "9.9.9.9/32", "93.184.216.2/32", plus(a.Addr, 1).String()+"/32")
	s.do(func() {
		for _, source := range []string{"9.9.9.9", "93.184.216.2", plus(a.Addr, 1).String(), a.Addr.String()} {
			conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source)}, &net.UDPAddr{IP: net.IPv4(8, 8, 8, 8), Port: 9})
			if err == nil {
				_, err = conn.Write([]byte(source))
				conn.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	buf := make([]byte, 100)
	server.SetReadDeadline(time.Now().Add(time.Minute))
	count, from, err := server.ReadFrom(buf) // the honest one was sent last
	if err != nil || string(buf[:count]) != a.Addr.String() || from.(*net.UDPAddr).IP.String() != "93.184.216.2" {
		t.Errorf("%q from %v, %v", buf[:count], from, err)
	}
}

// TestConnectionLimit: a sandbox has so many connections at most, and more when some have ended.
func TestConnectionLimit(t *testing.T) {
	w := newWorld(t)
	n := newNetwork(t, t.TempDir())
	s := newSpace(t)
	attach(t, n, s)
	var server net.Listener
	w.do(func() { server, _ = net.Listen("tcp4", "8.8.8.8:80") })
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}()
		}
	}()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	var refused error
	s.do(func() {
		for range MaxConnections + 10 {
			conn, err := net.Dial("tcp4", "8.8.8.8:80")
			if err != nil {
				refused = err
				break
			}
			open = append(open, conn)
		}
	})
	// The first limit to be met is the rate, unless this machine takes seconds.
	if len(open) < connectionTide || len(open) > MaxConnections || !errors.Is(refused, syscall.ECONNREFUSED) {
		t.Errorf("%d connections, then %v", len(open), refused)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	rates, err := c.GetSetElements(&nftables.Set{Table: n.rules.table, Name: "rate"})
	if err != nil || len(rates) != 1 || rates[0].Expires <= 0 || rates[0].Expires > rateLife {
		t.Errorf("rates of connections are kept: %+v, %v; want one that expires within %v", rates, err, rateLife)
	}
}

// TestForwarding: a host that does not forward does so for its sandboxes alone, until the last server has ended.
func TestForwarding(t *testing.T) {
	w := newWorld(t)
	runDir := t.TempDir()
	n := newNetwork(t, runDir)
	if forwards("up0") {
		t.Fatal("up0 forwards before anything needs it")
	}
	s := newSpace(t)
	attach(t, n, s)
	if !forwards("up0") || forwards("all") {
		t.Error("forwarding is not on for the uplink alone")
	}
	// Another network of the host.
	third := newSpace(t)
	here, _ := netlink.NewHandle()
	defer here.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	if err := here.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lan1", PeerNamespace: netlink.NsFd(third.file.Fd())}); err != nil {
		t.Fatal(err)
	}
	raise(t, here, "lan0", "10.5.0.1/24")
	raise(t, third.handle(t), "lan1", "10.5.0.2/24")
	var lan net.PacketConn
	third.do(func() { lan, _ = net.ListenPacket("udp4", "10.5.0.2:9") })
	defer lan.Close()
	send := func(text string, from *space) {
		f := func() {
			conn, err := net.Dial("udp4", "10.5.0.2:9")
			if err == nil {
				_, err = conn.Write([]byte(text))
				conn.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
		if from == nil {
			f()
		} else {
			from.do(f)
		}
	}
	send("the world", w)
	send("a sandbox", s)
	send("the host", nil)
	buf := make([]byte, 100)
	lan.SetReadDeadline(time.Now().Add(time.Minute))
	if count, _, err := lan.ReadFrom(buf); err != nil || string(buf[:count]) != "the host" {
		t.Errorf("%q %v", buf[:count], err)
	}
	if link, err := netlink.LinkByName("lan0"); err == nil {
		_ = netlink.LinkDel(link)
	}

	second := newNetwork(t, runDir)
	attach(t, second, newSpace(t))
	if n.addresses.block == second.addresses.block {
		t.Error("both servers have the same addresses")
	}
	n.Close()
	if !forwards("up0") {
		t.Error("forwarding is off though a server needs it")
	}
	second.Close()
	if forwards("up0") {
		t.Error("forwarding is on though no server needs it")
	}
}

// left is what there is on the host of a server.
func left(t *testing.T, id string, block netip.Prefix) []string {
	t.Helper()
	var all []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, prefix(id)) {
			all = append(all, l.Attrs().Name)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst != nil && block.Contains(netip.AddrFrom4([4]byte(r.Dst.IP.To4()))) {
			all = append(all, r.Dst.String())
		}
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table.Name == tableName(id) {
			all = append(all, table.Name)
		}
	}
	return all
}

// TestSweep: what a server leaves that was killed is removed with its id.
func TestSweep(t *testing.T) {
	newWorld(t)
	runDir := t.TempDir()
	n := newNetwork(t, runDir)
	spaces := []*space{newSpace(t), newSpace(t), newSpace(t)} // they live on, as those of a sandbox that hangs in the kernel
	for _, s := range spaces {
		attach(t, n, s)
	}
	if all := left(t, n.id, n.addresses.block); len(all) != 3+3+1+1 {
		t.Fatalf("three sandboxes have %v", all)
	}
	// The end of a process closes its files, and nothing else.
	for _, u := range n.uplinks {
		u.lock.Close()
	}
	if err := Sweep(runDir, n.id); err != nil {
		t.Fatal(err)
	}
	if all := left(t, n.id, n.addresses.block); len(all) > 0 || forwards("up0") {
		t.Errorf("left: %v; forwarding %t", all, forwards("up0"))
	}
	if err := Sweep(runDir, n.id); err != nil {
		t.Error("a second time:", err)
	}
}

// TestUplinkChanges: the host's way out may change while sandboxes live.
func TestUplinkChanges(t *testing.T) {
	newWorld(t)
	n := newNetwork(t, t.TempDir())
	attach(t, n, newSpace(t))
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "other0"
	other := &netlink.Veth{LinkAttrs: attrs, PeerName: "other1"}
	if err := netlink.LinkAdd(other); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(other)
	here, _ := netlink.NewHandle()
	defer here.Close()
	raise(t, here, "other0", "94.0.0.2/24")
	raise(t, here, "other1")
	if forwards("other0") {
		t.Fatal("an interface forwards that leads nowhere")
	}
	if err := here.RouteAdd(&netlink.Route{Gw: net.ParseIP("94.0.0.1"), Priority: 7}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !forwards("other0"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new uplink does not forward")
		}
	}
}

// TestMany: addresses differ, also when interfaces of ended sandboxes are still there, and come back after a rest.
func TestMany(t *testing.T) {
	newWorld(t)
	n := newNetwork(t, t.TempDir())
	const many = 30
	seen := map[netip.Addr]bool{}
	for i := range many {
		a := attach(t, n, newSpace(t))
		if seen[a.Addr] {
			t.Fatalf("%s is in use", a.Addr)
		}
		seen[a.Addr] = true
		if i%2 == 0 {
			n.Detach(a) // its interface lives on
		}
	}
	// As though all others had been had.
	n.addresses.next = n.addresses.size() - 1
	s := newSpace(t)
	if a, err := n.Attach(s.file); err == nil {
		t.Errorf("got %s, which rests", a.Addr)
	}
	n.addresses.renew(n.addresses.rested())
	if a, err := n.Attach(s.file); err == nil {
		t.Errorf("got %s, whose interface is still there", a.Addr)
	}
}

func TestAddresses(t *testing.T) {
	a := newAddresses(netip.MustParsePrefix("100.64.1.0/29"))
	var got []string
	for {
		offset, ok := a.get()
		if !ok {
			break
		}
		got = append(got, a.at(offset).String())
	}
	want := []string{"100.64.1.1", "100.64.1.2", "100.64.1.3", "100.64.1.4", "100.64.1.5", "100.64.1.6"}
	if !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	for _, offset := range []uint32{3, 1} {
		a.put(offset)
	}
	if _, ok := a.get(); ok {
		t.Error("an address is handed out that rests")
	}
	a.renew(a.rested())
	first, _ := a.get()
	second, _ := a.get()
	if _, more := a.get(); first != 3 || second != 1 || more {
		t.Errorf("%d, %d, %t; want the one that has rested longest first", first, second, more)
	}
}

// TestNoVersion6: neither end of a pair has an address of version 6, and the host hears nothing of that version from inside.
func TestNoVersion6(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("this kernel has no version 6")
	}
	newWorld(t)
	n := newNetwork(t, t.TempDir())
	s := newSpace(t)
	attach(t, n, s)
	here, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	inside := s.handle(t)
	outer, err := here.LinkByName(prefix(n.id) + "0001")
	if err != nil {
		t.Fatal(err)
	}
	inner, err := inside.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	for h, link := range map[*netlink.Handle]netlink.Link{here: outer, inside: inner} {
		if got, err := h.AddrList(link, netlink.FAMILY_V6); err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", link.Attrs().Name, got, err)
		}
	}
	// As though somebody had given it some.
	noDAD := func(text string) *netlink.Addr {
		a, _ := netlink.ParseAddr(text)
		a.Flags = unix.IFA_F_NODAD
		return a
	}
	if err := errors.Join(here.AddrAdd(outer, noDAD("fd00::1/64")), inside.AddrAdd(inner, noDAD("fd00::2/64"))); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp6", "[fd00::1]:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.do(func() {
		if conn, err := net.Dial("tcp6", "[fd00::1]:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				conn.Close()
			}
			t.Errorf("a sandbox that has an address of version 6: %v", err)
		}
	})
}

func TestBlockBits(t *testing.T) {
	for text, want := range map[string]int{"100.64.0.0/10": 18, "10.9.0.0/16": 20, "10.9.9.0/24": 28} {
		c := Config{Range: netip.MustParsePrefix(text)}
		if bits := c.blockBits(); bits != want {
			t.Errorf("%s: /%d, want /%d", text, bits, want)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	newWorld(b)
	n := newNetwork(b, b.TempDir())
	attach(b, n, newSpace(b))
	for b.Loop() {
		b.StopTimer()
		s := newSpace(b)
		b.StartTimer()
		a, err := n.Attach(s.file)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		n.Detach(a)
		b.StartTimer()
	}
}
