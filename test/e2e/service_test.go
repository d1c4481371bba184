package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The server does what the unit that it prints promises to systemd.
func TestService(t *testing.T) {
	unit, err := exec.Command(binary(t), "systemd", "--edge", ":80", "--domain", "example.com").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hansom.service")
	if err := os.WriteFile(file, unit, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("systemd-analyze is not installed: the unit is not verified")
	} else if out, err := exec.Command("systemd-analyze", "verify", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}

	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	told := func(want string) {
		t.Helper()
		buf := make([]byte, 100)
		n, err := l.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("systemd was told %q (%v), want %q", buf[:n], err, want)
		}
	}
	cmd := exec.Command(binary(t), "serve", "--insecure-no-isolation", "--data", filepath.Join(t.TempDir(), "data"), "--edge", "127.0.0.1:0", "--api", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	told("READY=1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}
