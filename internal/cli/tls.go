package cli

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/hansomcloud/hansom/internal/server"
)

// secure is a Server whose edge may speak TLS.
type secure interface {
	// EdgeTLSAddr is the address of the edge listener with TLS; "" for none.
	EdgeTLSAddr() string
	// Authority is the file of the authority that clients have to trust, and whether it is a new one; "" for none.
	Authority() (file string, made bool)
	// Reload reads the certificates again.
	Reload()
}

var _ secure = (*server.Server)(nil)

// edgeTLSAddr is the address of srv's edge listener with TLS; "" for none.
func edgeTLSAddr(srv Server) string {
	if s, ok := srv.(secure); ok {
		return s.EdgeTLSAddr()
	}
	return ""
}

// reloadOnHangup has srv read its certificates again at each SIGHUP, until ctx ends. Without any, and without a service manager, which
// reloads a unit in this way, the signal keeps its effect.
func (c *program) reloadOnHangup(ctx context.Context, srv Server) {
	s, ok := srv.(secure)
	if !ok || s.EdgeTLSAddr() == "" && c.Env["NOTIFY_SOCKET"] == "" {
		return
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
				s.Reload()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// trust is the command that makes programs of this machine trust the authority in file.
func trust(file string) string {
	there := func(dir string) bool {
		info, err := os.Stat(dir)
		return err == nil && info.IsDir()
	}
	switch {
	case runtime.GOOS == "darwin":
		return "security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db " + file
	case there("/etc/pki/ca-trust/source/anchors"):
		return "sudo cp " + file + " /etc/pki/ca-trust/source/anchors/hansom-dev.pem && sudo update-ca-trust"
	}
	return "sudo cp " + file + " /usr/local/share/ca-certificates/hansom-dev.crt && sudo update-ca-certificates"
}
