package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

func TestCap(t *testing.T) {
	for _, quota := range []bool{false, true} {
		d := openDriver(t, t.TempDir())
		d.cfg.CPUQuota = quota
		if len(d.groups.Dirs()) == 0 {
			t.Skip("no cgroups")
		}
		sb := startReady(t, d, show(t, "capped", sandboxtest.Hold))
		limit := func() string {
			t.Helper()
			for _, dir := range d.groups.Dirs() {
				for _, name := range []string{"cpu.max", "cpu.cfs_quota_us"} {
					if b, err := os.ReadFile(filepath.Join(dir, "capped", name)); err == nil {
						return strings.TrimPrefix(strings.Fields(string(b))[0], "-1")
					}
				}
			}
			t.Fatal("no file of the group tells its quota")
			return ""
		}
		free := limit()
		if free != "" && free != "max" {
			t.Errorf("it is limited to %s before the end of its boot", free)
		}
		if err := sb.(sandbox.Capper).Cap(1769 << 20); err != nil {
			t.Fatal(err)
		}
		if got := limit(); quota && got != "10000" || !quota && got != free {
			t.Errorf("quota %v: the limit is %q of 10 ms", quota, got)
		}
	}
}
