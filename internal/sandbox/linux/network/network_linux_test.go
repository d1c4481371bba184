package network

import (
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests run in a network namespace of their own: they touch nothing of the machine's network.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv("NETWORK_TEST_INSIDE") == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), "NETWORK_TEST_INSIDE=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Run(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// namespace is a new network namespace.
func namespace(t testing.TB) *os.File {
	t.Helper()
	got := make(chan *os.File)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			got <- nil
			return
		}
		f, _ := os.Open("/proc/thread-self/ns/net")
		got <- f
	}()
	f := <-got
	if f == nil {
		t.Fatal("cannot make a network namespace")
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func testConfig() Config {
	return Config{Range: DefaultRange, Refuse: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
}

func TestProto(t *testing.T) {
	start := time.Now()
	if err := Check(testConfig()); err != nil {
		t.Fatal(err)
	}
	t.Log("check", time.Since(start))
	dir := t.TempDir()
	os.Mkdir(dir+"/sabcdefgh", 0o755)
	n := New(testConfig(), dir, "sabcdefgh", slog.Default())
	lo, _ := netlink.LinkByName("lo")
	netlink.LinkSetUp(lo)
	for range 10 {
		ns := namespace(t)
		start := time.Now()
		a, err := n.Attach(ns)
		t.Log(a, err, time.Since(start))
	}
	links, _ := netlink.LinkList()
	for _, l := range links {
		t.Log(l.Attrs().Name, l.Attrs().Index, l.Attrs().OperState, l.Attrs().Flags)
	}
	start = time.Now()
	n.Close()
	t.Log("close", time.Since(start))
}
