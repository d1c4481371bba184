package main

import (
	"strings"
	"testing"
)

func TestReason(t *testing.T) {
	const text = "How to use this.\n\n## P1\n\nIt is slow.\nTried: much.\n\n## P10\n\nAnother.\n"
	for id, want := range map[string]string{"P1": "It is slow.\nTried: much.", "P10": "Another."} {
		if got, ok := reason(text, id); got != want || !ok {
			t.Errorf("%s: %q, %v", id, got, ok)
		}
	}
	if got, ok := reason(text, "P2"); ok {
		t.Errorf("P2: %q", got)
	}
}

// A figure below its target stands there as such, with its reason once; a plot is a link into the folder of plots.
func TestReport(t *testing.T) {
	var r report
	r.target("P3", "calls/s", 1.2, 3, atLeast)
	r.target("P3", "calls/s again", 1.3, 3, atLeast)
	r.target("P7", "MB", 30, 80, atMost)
	r.section("Starts")
	r.plot("cold", "Cold starts", "<svg/>")
	text := r.markdown("benchmarks")
	for _, want := range []string{
		"| P3 | calls/s | 1.20 | at least 3 | **not met** |", "| P7 | MB | 30.00 | at most 80 | met |",
		"\n## Starts\n", "![Cold starts](benchmarks/cold.svg)", "**P3.** ",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is there %d times in:\n%s", want, strings.Count(text, want), text)
		}
	}
	if strings.Contains(text, "**P7.**") {
		t.Error("a reason for a target that is met")
	}
}
