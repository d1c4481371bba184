package linux

import (
	"fmt"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
)

// Facts say what keeps a program in a sandbox of this driver, and what this host or user cannot have, for an administrator to read.
func (d *Driver) Facts() []sandbox.Fact {
	facts := []sandbox.Fact{
		{Name: "namespaces", Detail: "mount, pid, net, ipc, uts, cgroup"},
		{Name: "files", Detail: "a root of its own; of the host /usr and the interpreter, read-only"},
		{Name: "system calls", Detail: fmt.Sprintf("%d allowed, the others refused", len(SystemCalls()))},
		{Name: "rights", Detail: "no capabilities, no new privileges, no core dumps"},
	}
	if d.uids == nil {
		facts[0].Detail += ", user"
		facts = append(facts, sandbox.Fact{Name: "user ids", Detail: "all sandboxes have the server's (it is not root)", Missing: true})
	} else {
		facts = append(facts, sandbox.Fact{Name: "user ids", Detail: fmt.Sprintf("one for each, %d to %d", d.uids.base, d.uids.base+uidRange-1)})
	}
	facts = append(facts, d.groups.Facts()...)
	switch {
	case cgroup.LimitsProcesses(d.groups):
	case d.nproc:
		facts = append(facts, sandbox.Fact{Name: "processes", Detail: "limited (RLIMIT_NPROC)"})
	default:
		facts = append(facts, sandbox.Fact{Name: "processes", Detail: "not limited (no cgroup, and a kernel before 5.14)", Missing: true})
	}
	return append(facts, d.egressFacts()...)
}
