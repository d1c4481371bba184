package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

// notes says for each target why it is not met; see its head.
//
//go:embed notes.md
var notes string

type bound bool

const (
	atLeast bound = true
	atMost  bound = false
)

// report collects docs/benchmarks.md.
type report struct {
	versions, missing, skipped []string
	targets                    []string // rows
	below                      []string // ids of targets that are not met, once each
	body                       strings.Builder
	plots                      map[string]string // SVG by name
	quick                      bool
}

func (r *report) version(v string) {
	if !slices.Contains(r.versions, v) {
		r.versions = append(r.versions, v)
	}
}

func (r *report) miss(format string, args ...any) {
	if m := fmt.Sprintf(format, args...); !slices.Contains(r.missing, m) {
		r.missing = append(r.missing, m)
		progress("missing: %s", m)
	}
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(&r.body, format, args...) }

func (r *report) section(title string) { r.printf("\n## %s\n\n", title) }

// plot embeds a chart at this place.
func (r *report) plot(name, alt, svg string) {
	if r.plots == nil {
		r.plots = map[string]string{}
	}
	r.plots[name] = svg
	r.printf("\n![%s](PLOTS/%s.svg)\n", alt, name)
}

// target notes a measured value and what was wanted of it.
func (r *report) target(id, what string, value, limit float64, b bound) {
	sign, met := "at most", value <= limit
	if b == atLeast {
		sign, met = "at least", value >= limit
	}
	verdict := "met"
	if !met {
		verdict = "**not met**"
		if !slices.Contains(r.below, id) {
			r.below = append(r.below, id)
		}
	}
	row := fmt.Sprintf("| %s | %s | %s | %s %g | %s |", id, what, figure(value), sign, limit, verdict)
	r.targets = append(r.targets, row)
	progress("%s", row)
}

// figure writes a value with the digits that say something.
func figure(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *report) warmTable(kind string, sides []*side) {
	r.printf("| | requests/s | p50 ms | p99 ms | CPU us per request |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range sides {
		r.printf("| %s | %.0f | %.3f | %.3f | %.1f |\n", s.name, s.median(kind, rate), s.median(kind, percentile(50)), s.median(kind, percentile(99)), s.median(kind, cpu))
	}
}

// reason is the text of notes under the heading of a target.
func reason(notes, id string) (string, bool) {
	for section := range strings.SplitSeq(notes, "\n## ") {
		head, text, _ := strings.Cut(section, "\n")
		if strings.TrimSpace(head) == id {
			return strings.TrimSpace(text), true
		}
	}
	return "", false
}

const method = `Everything ran in one run on one machine, load generator included, interleaved (A B A B ...) after a warm-up round of each. Figures
are medians of the rounds; they move with the machine, ratios less. CPU is user and system time from /proc of the server, the sandboxes' inits and
the runtimes (of a peer: the proxy and what is behind it), never of the load generator. Connections are kept alive. Node.js is the same binary everywhere.
*Hansom* runs one call at a time in an instance, so that 8 connections use up to 8 processes; *concurrency: 16* is the manifest's setting of that name, one process.
`

func (r *report) markdown(plots string) string {
	var out strings.Builder
	commit, err := rig.Run("git", "rev-parse", "--short", "HEAD")
	if err != nil {
		commit = "unknown" // the program runs outside of a checkout too
	}
	fmt.Fprintf(&out, "# Benchmarks\n\nWritten by `make bench` on %s at commit %s; don't edit.\n\n", time.Now().UTC().Format(time.DateOnly), commit)
	if len(r.skipped) > 0 {
		fmt.Fprintf(&out, "**Not a whole run**: without %s.\n\n", strings.Join(r.skipped, ", "))
	}
	if r.quick {
		out.WriteString("**Quick rounds**: these figures mean nothing.\n\n")
	}
	fmt.Fprintf(&out, "Machine: %s, %d processors, %s/%s, Linux %s.\n\nVersions: %s.\n\n%s\n", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, kernel(), strings.Join(r.versions, "; "), method)
	out.WriteString("## Targets\n\n| target | what | measured | wanted | |\n| --- | --- | --- | --- | --- |\n" + strings.Join(r.targets, "\n") + "\n")
	if len(r.below) > 0 {
		out.WriteString("\n## Below target\n")
		for _, id := range r.below {
			text, ok := reason(notes, id)
			if !ok {
				text = "No reason is known yet."
			}
			fmt.Fprintf(&out, "\n**%s.** %s\n", id, text)
		}
	}
	if len(r.missing) > 0 {
		out.WriteString("\n## Not measured here\n\n")
		for _, m := range r.missing {
			out.WriteString("- " + m + "\n")
		}
	}
	out.WriteString(strings.ReplaceAll(r.body.String(), "(PLOTS/", "("+plots+"/"))
	return out.String()
}

// write puts the report at path and the plots into the folder of that name without its suffix.
func (r *report) write(path string) error {
	folder := strings.TrimSuffix(path, filepath.Ext(path))
	text := r.markdown(filepath.Base(folder))
	err := os.MkdirAll(folder, 0o755)
	for name, svg := range r.plots {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, name+".svg"), []byte(svg), 0o644))
	}
	return errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
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

func kernel() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(release))
}
