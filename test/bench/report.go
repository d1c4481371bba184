package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

type bound bool

const (
	atLeast bound = true
	atMost  bound = false
)

// report collects the lines of docs/benchmarks.md.
type report struct {
	versions, missing, targets []string
	sections                   strings.Builder
}

func rate(s sample) float64 { return s.rate }
func p50(s sample) float64  { return float64(s.p50) }

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func middle(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// ratio of medians.
func ratio(a, b *contender, of func(sample) float64) float64 {
	return median(a.samples, of) / median(b.samples, of)
}

func (r *report) target(id, what string, value, limit float64, b bound) {
	sign, met := "at most", value <= limit
	if b == atLeast {
		sign, met = "at least", value >= limit
	}
	verdict := "**not met**"
	if met {
		verdict = "met"
	}
	r.targets = append(r.targets, fmt.Sprintf("| %s | %s | %.2f | %s %g | %s |", id, what, value, sign, limit, verdict))
}

func (r *report) load(title string, sides []*contender) {
	fmt.Fprintf(&r.sections, "\n## %s\n\n| | requests/s | p50 ms | p99 ms | CPU us per request |\n| --- | --- | --- | --- | --- |\n", title)
	for _, s := range sides {
		fmt.Fprintf(&r.sections, "| %s | %.0f | %.3f | %.3f | %.1f |\n", s.name, median(s.samples, rate), median(s.samples, p50)/1e6,
			median(s.samples, func(s sample) float64 { return float64(s.p99) })/1e6,
			median(s.samples, func(s sample) float64 { return float64(s.cpu) })/1e3)
	}
}

func (r *report) durations(title string, sides map[string][]time.Duration) {
	fmt.Fprintf(&r.sections, "\n## %s\n\n| | p50 ms | p99 ms |\n| --- | --- | --- |\n", title)
	for _, name := range slices.Sorted(maps.Keys(sides)) {
		d := slices.Clone(sides[name])
		slices.Sort(d)
		fmt.Fprintf(&r.sections, "| %s | %.1f | %.1f |\n", name, float64(d[len(d)/2])/1e6, float64(d[len(d)*99/100])/1e6)
	}
}

func (r *report) write(path string) error {
	var out strings.Builder
	commit, _ := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	fmt.Fprintf(&out, "# Benchmarks\n\nWritten by `make bench` on %s at commit %s; don't edit.\n\n", time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)))
	fmt.Fprintf(&out, "Machine: %s, %d processors, %s/%s, load generator included. Medians of interleaved rounds after a warm-up; figures move with the machine, ratios less.\n\n", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(&out, "Versions: %s.\n\n", strings.Join(r.versions, "; "))
	out.WriteString("| target | what | measured | wanted | |\n| --- | --- | --- | --- | --- |\n")
	out.WriteString(strings.Join(r.targets, "\n") + "\n")
	if len(r.missing) > 0 {
		out.WriteString("\nNot started here:\n\n")
		for _, m := range r.missing {
			out.WriteString("- " + m + "\n")
		}
	}
	out.WriteString(r.sections.String())
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if rest, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), ":"))
		}
	}
	return "unknown processor"
}
