package main

import (
	"strings"
	"testing"
)

// run20 makes samples every 10 seconds from the values of one quantity; all others stay level.
func run20(name string, value func(i int) float64) []sample {
	var samples []sample
	for i := range 20 {
		s := sample{at: float64(10 * i), values: map[string]float64{}}
		for _, q := range quantities {
			s.values[q.name] = 40
		}
		s.values[name] = value(i)
		samples = append(samples, s)
	}
	return samples
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, quantity string
		value          func(i int) float64
		grows          bool
	}{
		{"level", "descriptors", func(int) float64 { return 20 }, false},
		{"a leak of one a rest", "descriptors", func(i int) float64 { return float64(20 + i) }, true},
		{"growth in the warm-up only", "resident MB", func(i int) float64 { return float64(30 + 10*min(i, 9)) }, false},
		{"one outlier at the end", "processes", func(i int) float64 { return float64(10 + 30*(i/19)) }, false},
		{"noise", "goroutines", func(i int) float64 { return float64(50 + i%3) }, false},
		{"a mount for every other rest", "mounts", func(i int) float64 { return float64(i / 2) }, true},
		{"memory, slowly within the tolerance", "resident MB", func(i int) float64 { return 100 + 0.1*float64(i) }, false},
		{"memory, beyond it", "resident MB", func(i int) float64 { return 100 + 2*float64(i) }, true},
		{"falling", "threads", func(i int) float64 { return float64(40 - i) }, false},
	} {
		table, grown := judge(run20(c.quantity, c.value))
		if (grown == 1) != c.grows || grown > 1 {
			t.Errorf("%s: %d quantities grew:\n%s", c.name, grown, table)
		}
		for line := range strings.Lines(table) {
			if strings.Contains(line, "GREW") && !strings.HasPrefix(line, c.quantity) {
				t.Errorf("%s: the wrong one grew: %s", c.name, line)
			}
		}
	}
}
