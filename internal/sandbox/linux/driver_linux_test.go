package linux

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	sandboxtest.Main()
	goleak.VerifyTestMain(m)
}

func openDriver(t testing.TB, runDir string) *Driver {
	t.Helper()
	cfg := DefaultConfig()
	cfg.RunDir = runDir
	d, err := New(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestContract(t *testing.T) {
	d := openDriver(t, t.TempDir())
	_, none := d.groups.(noCgroups)
	enforced, missing := d.Facts()
	t.Logf("enforced: %q; missing: %q", enforced, missing)
	if os.Geteuid() == 0 && none {
		t.Error("no cgroups though this is root")
	}
	sandboxtest.Run(t, func(t testing.TB) sandbox.Driver { return openDriver(t, t.TempDir()) },
		sandboxtest.Options{Isolated: true, Limited: !none, Freezes: !none})
}
