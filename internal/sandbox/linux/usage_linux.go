package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

// treeUsage adds up what a process and those below it use, from proc(5): for sandboxes without a cgroup. Processes that have
// ended are not in it.
func treeUsage(pid int) sandbox.Usage {
	dir := "/proc/" + strconv.Itoa(pid)
	var u sandbox.Usage
	if b, err := os.ReadFile(dir + "/status"); err == nil {
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				var kb int64
				fmt.Sscan(v, &kb)
				u.MemoryPeak = kb << 10
			}
		}
	}
	tasks, _ := os.ReadDir(dir + "/task")
	for _, t := range tasks {
		if b, err := os.ReadFile(dir + "/task/" + t.Name() + "/schedstat"); err == nil {
			var ns int64
			fmt.Sscan(string(b), &ns)
			u.CPU += ns
		}
		b, _ := os.ReadFile(dir + "/task/" + t.Name() + "/children")
		for f := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				continue
			}
			below := treeUsage(child)
			u.CPU += below.CPU
			u.MemoryPeak += below.MemoryPeak
		}
	}
	return u
}
