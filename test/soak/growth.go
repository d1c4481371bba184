package main

import (
	"fmt"
	"strings"

	"github.com/hansomcloud/hansom/test/bench/load"
)

// minSamples is the least number of rests that can be judged: half of them are the warm-up.
const minSamples = 6

// quantity is something that must not grow.
type quantity struct {
	name string
	// What it may grow over the second half of the run, as the trend through all its rests: an amount, or a part of its
	// median when that is more. The Go runtime keeps threads, and blanks follow demand.
	amount, part float64
}

var quantities = []quantity{
	{"resident MB", 4, 0.08}, // without what the Go runtime holds free
	{"heap MB", 1.5, 0.1},
	{"goroutines", 3, 0},
	{"descriptors", 3, 0},
	{"threads", 3, 0},
	{"processes", 2, 0},
	{"mounts", 2, 0},
	{"cgroups", 8, 0}, // one sandbox has up to seven with version 1
	{"interfaces", 2, 0},
	{"nft elements", 16, 0}, // one or two for each address whose connections are not forgotten yet
	{"run files", 4, 0},
	{"database MB", 1, 0.1},
	{"code and blobs", 20, 0.05},
}

// judge looks for growth over the second half of the samples, the first half being the warm-up. It returns a table and how
// many quantities grew more than they may.
func judge(samples []sample) (table string, grown int) {
	var out strings.Builder
	second := samples[len(samples)/2:]
	var at []float64
	for _, s := range second {
		at = append(at, s.at)
	}
	fmt.Fprintf(&out, "%-16s %10s %10s %10s %12s %10s\n", "at rest", "first", "halfway", "last", "trend, half", "tolerated")
	for _, q := range quantities {
		var values []float64
		for _, s := range second {
			values = append(values, s.values[q.name])
		}
		growth := load.Slope(at, values) * (at[len(at)-1] - at[0])
		tolerated := max(q.amount, q.part*load.Median(values))
		verdict := ""
		if growth > tolerated {
			verdict = "  GREW"
			grown++
		}
		fmt.Fprintf(&out, "%-16s %10.2f %10.2f %10.2f %+12.2f %10.2f%s\n", q.name, samples[0].values[q.name], values[0], values[len(values)-1], growth, tolerated, verdict)
	}
	return out.String(), grown
}
