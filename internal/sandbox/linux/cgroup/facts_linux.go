package cgroup

import "github.com/hansomcloud/hansom/internal/sandbox"

// What cgroups give, in either version.
const (
	factMemory    = "limited, without swap"
	factCPU       = "shared in proportion to memory"
	factProcesses = "limited"
	factFreezer   = "idle instances stand still"
)

const noGroupReason = "no cgroup may be made: run as root, or delegate one, as `systemd-run --user --scope -p Delegate=yes` does"

func (noCgroups) Facts() []sandbox.Fact {
	return []sandbox.Fact{
		{Name: "memory", Detail: "no limit of memory (" + noGroupReason + ")", Missing: true},
		{Name: "cpu", Detail: "not shared by memory (likewise)", Missing: true},
		{Name: "freezer", Detail: "idle instances are not stopped (likewise)", Missing: true},
	}
}

func (c *v1) Facts() (facts []sandbox.Fact) {
	for _, f := range []struct{ controller, name, detail, missing string }{
		{"memory", "memory", factMemory, "no limit of memory"},
		{"cpu", "cpu", factCPU, "not shared by memory"},
		{"pids", "processes", factProcesses, ""}, // there is a substitute
		{"freezer", "freezer", factFreezer, "idle instances are not stopped"},
	} {
		switch {
		case c.bases[f.controller] != "":
			facts = append(facts, sandbox.Fact{Name: f.name, Detail: f.detail + " (cgroup v1)"})
		case f.missing != "":
			facts = append(facts, sandbox.Fact{Name: f.name, Missing: true,
				Detail: f.missing + " (no hierarchy of " + f.controller + " in which this user may make groups)"})
		}
	}
	return facts
}

func (c *v2) Facts() []sandbox.Fact {
	return []sandbox.Fact{
		{Name: "memory", Detail: factMemory + " (cgroup v2)"},
		{Name: "cpu", Detail: factCPU + " (cgroup v2)"},
		{Name: "processes", Detail: factProcesses + " (cgroup v2)"},
		{Name: "freezer", Detail: factFreezer + " (cgroup v2)"},
	}
}
