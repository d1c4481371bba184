package cgroup

import (
	"testing"
	"time"
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
