package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Memory of sockets, which version 1 counts apart from the rest, and only where it is limited: without that any sandbox has room
// for gigabytes in the buffers of TCP and UDP sockets. It is a quarter of the memory on top of it.
const (
	socketShare = 4
	minSockets  = 16 << 20
)

func (g *v1Group) limitSockets(memory int64) error {
	f := g.file("memory", "memory.kmem.tcp.limit_in_bytes")
	if f == "" {
		return nil
	}
	err := writeFile(f, strconv.FormatInt(max(memory/socketShare, minSockets), 10))
	if errors.Is(err, unix.ENOENT) { // a kernel without it counts none
		return nil
	}
	return err
}

func (noGroup) Cap(int64) error { return nil }

func (g *v1Group) Cap(memory int64) error {
	if g.bases["cpu"] == "" {
		return nil
	}
	period, quota := cpuQuota(memory)
	for _, w := range []struct {
		name string
		time time.Duration
	}{{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", quota}, {"cpu.cfs_burst_us", quota}} {
		err := writeFile(g.file("cpu", w.name), strconv.FormatInt(w.time.Microseconds(), 10))
		if err != nil && !(w.name == "cpu.cfs_burst_us" && errors.Is(err, unix.ENOENT)) { // from Linux 5.14 on
			return err
		}
	}
	return nil
}

func (g *v2Group) Cap(memory int64) error {
	period, quota := cpuQuota(memory)
	if err := writeFile(filepath.Join(g.dir, "cpu.max"), fmt.Sprintf("%d %d", quota.Microseconds(), period.Microseconds())); err != nil {
		return err
	}
	err := writeFile(filepath.Join(g.dir, "cpu.max.burst"), strconv.FormatInt(quota.Microseconds(), 10))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// cpuQuota is the CPU time that comes with memory in a period of 10 ms, which is longer where the kernel's least quota, 1 ms, would
// be too much.
func cpuQuota(memory int64) (period, quota time.Duration) {
	period = max(10*time.Millisecond, time.Millisecond*CPUMemory/time.Duration(memory))
	return period, max(time.Millisecond, period*time.Duration(memory)/CPUMemory)
}
