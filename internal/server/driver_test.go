package server

import "testing"

func TestSplitFact(t *testing.T) {
	for fact, want := range map[string][2]string{
		"namespaces: mount, pid, net":                        {"namespaces", "mount, pid, net"},
		"capabilities: none; no new privileges":              {"capabilities", "none; no new privileges"},
		"a limit of processes (a kernel before 5.14)":        {"a limit of processes", "a kernel before 5.14"},
		"limits of memory (run as root: or (ask) for a one)": {"limits of memory", "run as root: or (ask) for a one"},
		"user ids: 1 to 2 (of 3)":                            {"user ids", "1 to 2 (of 3)"},
		"something else":                                     {"isolation", "something else"},
	} {
		if name, detail := splitFact(fact); name != want[0] || detail != want[1] {
			t.Errorf("%s: %q, %q", fact, name, detail)
		}
	}
}
