package budget

import "golang.org/x/sys/unix"

// HostMemory is the machine's memory in bytes.
func HostMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	return int64(n), err
}
