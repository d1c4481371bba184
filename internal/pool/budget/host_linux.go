package budget

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HostMemory is what this process may use at most, in bytes: the machine's memory, or less where a cgroup says so.
func HostMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	memory := int64(info.Totalram) * int64(info.Unit)
	own, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		if fields[0] != "0" {
			if fields[1] != "memory" {
				continue
			}
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := fields[2]; ; dir = filepath.Dir(dir) {
			if b, err := os.ReadFile(filepath.Join(root, dir, file)); err == nil {
				if limit, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64); err == nil {
					memory = min(memory, limit)
				}
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return memory, nil
}
