package linux

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/network"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// ownNetwork runs the test in a process with a network namespace of its own, and says whether this is that process.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	const inside = "HANSOM_TEST_NETWORK"
	if os.Geteuid() != 0 {
		t.Skip("egress to the internet needs root")
	}
	if err := network.Check(DefaultConfig().Network); err != nil {
		t.Skip(err)
	}
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), testBinary(t), "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// interfaces of this network namespace but loopback.
func interfaces(t *testing.T) int {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, i := range all {
		if strings.HasPrefix(i.Name, "h") {
			n++
		}
	}
	return n
}

func TestManyConnected(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	d := openDriver(t, t.TempDir())
	const many = 200
	boxes := make([]sandbox.Sandbox, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			spec := sandbox.Spec{ID: fmt.Sprintf("n%d", i), Command: []string{"/bin/sleep", "600"}, Dir: "/", Memory: 64 << 20, Tmp: 1 << 20,
				Names: true, Internet: true, Frames: i%2 == 0}
			var err error
			if boxes[i], err = d.Start(t.Context(), spec); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	seen := map[netip.Addr]bool{}
	for _, sb := range boxes {
		b := sb.(interface{ attachedTo() netip.Addr })
		seen[b.attachedTo()] = true
		if packets, l := sb.(sandbox.Namer).Names(); packets == nil || l == nil {
			t.Error("a sandbox has nobody to ask for names")
		}
	}
	if len(seen) != many || interfaces(t) != many {
		t.Errorf("%d sandboxes have %d addresses and %d interfaces", many, len(seen), interfaces(t))
	}
	for _, sb := range boxes {
		sb.Kill()
		sb.Output().Close()
	}
	await(t, "no interface is left", func() bool { return interfaces(t) == 0 })
}

func (b *box) attachedTo() netip.Addr { return b.address.Addr }
func (b *box) wasForked() bool        { return b.forked }

// TestConnect: a sandbox that runs can be connected, once.
func TestConnect(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	d := openDriver(t, t.TempDir())
	sb := startReady(t, d, show(t, "late", sandboxtest.Hold))
	for range 2 {
		if err := sb.(sandbox.Connector).Connect(); err != nil {
			t.Fatal(err)
		}
	}
	if n := interfaces(t); n != 1 {
		t.Errorf("%d interfaces", n)
	}
	sb.Kill()
	if err := sb.(sandbox.Connector).Connect(); err == nil {
		t.Error("a sandbox is connected that has ended")
	}
	for i := range 20 { // a program that ends before it is connected has been started all the same
		sb, err := d.Start(t.Context(), sandbox.Spec{ID: fmt.Sprintf("brief%d", i), Command: []string{"/bin/true"}, Dir: "/", Memory: 64 << 20, Tmp: 1 << 20,
			Internet: true, Frames: true})
		if err != nil {
			t.Fatal(err)
		}
		<-sb.Done()
		sb.Kill()
		sb.Output().Close()
	}
}

// TestForkedConnected: what is forked is connected itself, and not the zygote, whose network it leaves.
func TestForkedConnected(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	d := openInspecting(t)
	const program = "import socket, time\nfor _ in range(1000):\n    if len(socket.if_nameindex()) > 1: break\n    time.sleep(0.01)\nprint(len(socket.if_nameindex()))"
	for i := range 20 {
		spec := sandbox.Spec{ID: fmt.Sprintf("c%d", i), Command: []string{"/inspect", program}, Dir: "/tmp", Memory: 128 << 20, Tmp: 16 << 20, Fork: d.fork,
			Internet: true, Frames: true}
		sb, err := d.Driver.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(sb.Output())
		if forked := sb.(interface{ wasForked() bool }).wasForked(); !forked || err != nil || string(out) != "2\n" {
			t.Errorf("start %d has %s interfaces; forked: %v, %v", i, out, forked, err)
		}
		sb.Kill()
		sb.Output().Close()
		if t.Failed() {
			return
		}
	}
}

// TestKilledServerNetwork: what a server that was killed had on the network goes at the next start, and what another has stays.
func TestKilledServerNetwork(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	t.Setenv(internetEnv, "1")
	runDir := t.TempDir()
	living := startServer(t, runDir)
	dead := startServer(t, runDir)
	if n := interfaces(t); n != 6 {
		t.Fatalf("%d interfaces of twice three sandboxes", n)
	}
	dead.kill()
	openDriver(t, runDir)
	await(t, "the dead server's interfaces are gone", func() bool { return interfaces(t) == 3 })
	if _, err := os.Stat(filepath.Join(runDir, dead.id)); !os.IsNotExist(err) {
		t.Error("the dead server's directory is left:", err)
	}
	if _, err := os.Stat(filepath.Join(runDir, living.id, "network")); err != nil {
		t.Error(err)
	}
	routes, err := os.ReadFile("/proc/net/route")
	if n := strings.Count(string(routes), "\n"); err != nil || n != 1+3+1 { // a head, the sandboxes', and their block's
		t.Errorf("%v\n%s", err, routes)
	}
}

// TestNoInternet: who may not have it is told so when it is asked for.
func TestNoInternet(t *testing.T) {
	d := openDriver(t, t.TempDir())
	if os.Geteuid() == 0 {
		d.net, d.offline = nil, fmt.Errorf("this kernel lacks it")
	}
	spec := show(t, "offline", sandboxtest.Hold)
	spec.Internet = true
	sb, err := d.Start(t.Context(), spec)
	if err == nil {
		sb.Kill()
		sb.Output().Close()
	}
	if hansom.KindOf(err) != hansom.Unavailable || !strings.Contains(err.Error(), d.offline.Error()) || !strings.Contains(err.Error(), "platform or none") {
		t.Error(err)
	}
	facts := d.Facts()
	if last := facts[len(facts)-1]; last.Name != "egress" || !last.Missing || !strings.Contains(last.Detail, d.offline.Error()) {
		t.Errorf("%+v", last)
	}
}
