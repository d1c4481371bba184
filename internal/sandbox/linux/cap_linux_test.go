package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

func TestCPUQuota(t *testing.T) {
	for megabytes, want := range map[int64][2]time.Duration{
		128:    {13820312 * time.Nanosecond, time.Millisecond},
		1769:   {10 * time.Millisecond, 10 * time.Millisecond},
		3538:   {10 * time.Millisecond, 20 * time.Millisecond},
		10_240: {10 * time.Millisecond, 57885811 * time.Nanosecond},
	} {
		if period, quota := cpuQuota(megabytes << 20); period != want[0] || quota != want[1] {
			t.Errorf("%d MB: %v in %v, want %v", megabytes, quota, period, want)
		}
	}
}

func TestCap(t *testing.T) {
	for _, quota := range []bool{false, true} {
		d := openDriver(t, t.TempDir())
		d.cfg.CPUQuota = quota
		if _, none := d.groups.(noCgroups); none {
			t.Skip("no cgroups")
		}
		sb := startReady(t, d, show(t, "capped", sandboxtest.Hold))
		limit := func() string {
			t.Helper()
			name := "cpu.max"
			switch d.groups.(type) {
			case *v1:
				name = "cpu.cfs_quota_us"
			}
			for _, dir := range d.groups.dirs() {
				if b, err := os.ReadFile(filepath.Join(dir, "capped", name)); err == nil {
					return strings.TrimPrefix(strings.Fields(string(b))[0], "-1")
				}
			}
			t.Fatal("there is no ", name)
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
