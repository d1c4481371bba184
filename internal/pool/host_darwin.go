package pool

import "golang.org/x/sys/unix"

// hostMemory is the machine's memory in bytes.
func hostMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	return int64(n), err
}
