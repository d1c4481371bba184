package linux

import "fmt"

// Facts say what keeps a program in a sandbox of this driver, and what this host or user cannot have, for an administrator to read.
func (d *Driver) Facts() []Fact {
	facts := []Fact{
		{Name: "namespaces", Detail: "mount, pid, net, ipc, uts, cgroup"},
		{Name: "files", Detail: "a root of its own; of the host /usr and the interpreter, read-only"},
		{Name: "system calls", Detail: fmt.Sprintf("%d allowed, the others refused", len(SystemCalls()))},
		{Name: "rights", Detail: "no capabilities, no new privileges, no core dumps"},
	}
	if d.uids == nil {
		facts[0].Detail += ", user"
		facts = append(facts, Fact{Name: "user ids", Detail: "all sandboxes have the server's (it is not root)", Missing: true})
	} else {
		facts = append(facts, Fact{Name: "user ids", Detail: fmt.Sprintf("one for each, %d to %d", d.uids.base, d.uids.base+uidRange-1)})
	}
	facts = append(facts, d.groups.facts()...)
	switch {
	case limitsProcesses(d.groups):
	case d.nproc:
		facts = append(facts, Fact{Name: "processes", Detail: "limited (RLIMIT_NPROC)"})
	default:
		facts = append(facts, Fact{Name: "processes", Detail: "not limited (no cgroup, and a kernel before 5.14)", Missing: true})
	}
	return append(facts, d.egressFacts()...)
}

// What cgroups give, in either version.
const (
	factMemory    = "limited, without swap"
	factCPU       = "shared in proportion to memory"
	factProcesses = "limited"
	factFreezer   = "idle instances stand still"
)

const noGroupReason = "no cgroup may be made: run as root, or delegate one, as `systemd-run --user --scope -p Delegate=yes` does"

func (noCgroups) facts() []Fact {
	return []Fact{
		{Name: "memory", Detail: "no limit of memory (" + noGroupReason + ")", Missing: true},
		{Name: "cpu", Detail: "not shared by memory (likewise)", Missing: true},
		{Name: "freezer", Detail: "idle instances are not stopped (likewise)", Missing: true},
	}
}

func (c *v1) facts() (facts []Fact) {
	for _, f := range []struct{ controller, name, detail, missing string }{
		{"memory", "memory", factMemory, "no limit of memory"},
		{"cpu", "cpu", factCPU, "not shared by memory"},
		{"pids", "processes", factProcesses, ""}, // there is a substitute
		{"freezer", "freezer", factFreezer, "idle instances are not stopped"},
	} {
		switch {
		case c.bases[f.controller] != "":
			facts = append(facts, Fact{Name: f.name, Detail: f.detail + " (cgroup v1)"})
		case f.missing != "":
			facts = append(facts, Fact{Name: f.name, Missing: true,
				Detail: f.missing + " (no hierarchy of " + f.controller + " in which this user may make groups)"})
		}
	}
	return facts
}

func (c *v2) facts() []Fact {
	return []Fact{
		{Name: "memory", Detail: factMemory + " (cgroup v2)"},
		{Name: "cpu", Detail: factCPU + " (cgroup v2)"},
		{Name: "processes", Detail: factProcesses + " (cgroup v2)"},
		{Name: "freezer", Detail: factFreezer + " (cgroup v2)"},
	}
}
