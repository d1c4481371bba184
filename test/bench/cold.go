package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/plot"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

const python = "/usr/bin/python3"

// language is one that cold starts are measured with.
type language struct {
	name, handler, file, text string
	runtime                   types.Runtime
	bare                      []string // the interpreter's own start
}

func (b *bench) languages() []language {
	return []language{
		{"Node.js", "app.handler", "app.js", rig.NodeHello, types.RuntimeNodejs22x, []string{b.node, "-e", "0"}},
		{"Python", "app.handler", "app.py", rig.PythonHello, types.RuntimePython311, []string{python, "-I", "-S", "-c", "import json, socket, os, sys, time"}},
	}
}

// function is one of many with the same behaviour whose code is its own, so that none finds another's code loaded.
func (l language) function(name string) rig.Function {
	mark := "// "
	if l.name == "Python" {
		mark = "# "
	}
	return rig.Function{Name: name, Runtime: l.runtime, Handler: l.handler, Code: rig.Zip(l.file, []byte(l.text+mark+name+"\n"))}
}

// boot starts the bare interpreter and waits for its end.
func (l language) boot(ctx context.Context) (wall, cpu time.Duration, err error) {
	cmd := exec.CommandContext(ctx, l.bare[0], l.bare[1:]...)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, err
	}
	return time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// first deploys n functions and calls each once, with a bare start of the interpreter after each; ready is waited for
// before every call.
func (b *bench) first(ctx context.Context, s *rig.Server, l language, n int, ready func() error) (cold, bare []time.Duration, err error) {
	requests := make([][]byte, n)
	for i := range n {
		name := fmt.Sprintf("cold-%s-%d", l.file[4:], i)
		if err := s.Create(ctx, l.function(name)); err != nil {
			return nil, nil, err
		}
		if requests[i], err = s.Invocation(ctx, name); err != nil {
			return nil, nil, err
		}
	}
	const warmUp = 3
	for i, request := range requests {
		if err := ready(); err != nil {
			return nil, nil, err
		}
		d, err := load.Once(s.API, request)
		if err != nil {
			return nil, nil, err
		}
		own, _, err := l.boot(ctx)
		if err != nil {
			return nil, nil, err
		}
		if i >= warmUp {
			cold, bare = append(cold, d), append(bare, own)
		}
	}
	slices.Sort(cold)
	slices.Sort(bare)
	return cold, bare, nil
}

func (b *bench) coldCount(n int) int {
	if b.quick {
		return 13
	}
	return n + 3
}

// coldTable writes what first measured, and draws it.
func (b *bench) coldTable(plotName, sub string, rows []coldRow) {
	b.report.printf("| | starts | p50 ms | p99 ms | to the bare interpreter's p50 |\n| --- | --- | --- | --- | --- |\n")
	var series []plot.Series
	for _, r := range rows {
		own := plot.Series{Name: "Hansom, " + r.language.name, Values: milliseconds(r.cold)}
		bare := plot.Series{Name: "bare interpreter, " + r.language.name, Values: milliseconds(r.bare)}
		series = append(series, own, bare)
		b.report.printf("| Hansom, %s, first byte to last | %d | %.1f | %.1f | %.2f |\n", r.language.name, len(r.cold), ms(load.Percentile(r.cold, 50)), ms(load.Percentile(r.cold, 99)), r.ratio())
		b.report.printf("| `%s` | %d | %.1f | %.1f | 1 |\n", bareName(r.language), len(r.bare), ms(load.Percentile(r.bare, 50)), ms(load.Percentile(r.bare, 99)))
	}
	b.report.plot(plotName, "Cold start times as a cumulative distribution", plot.CDF("Cold starts", sub, series))
}

type coldRow struct {
	language   language
	cold, bare []time.Duration // sorted
}

// ratio of the medians.
func (r coldRow) ratio() float64 {
	return float64(load.Percentile(r.cold, 50)) / float64(load.Percentile(r.bare, 50))
}

func bareName(l language) string {
	if l.name == "Python" {
		return "python3 -I -S -c 'import json, socket, os, sys, time'"
	}
	return "node -e 0"
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func milliseconds(all []time.Duration) []float64 {
	values := make([]float64, len(all))
	for i, d := range all {
		values[i] = ms(d)
	}
	return values
}

func (b *bench) coldWithBlanks(ctx context.Context) error {
	if !rig.Knows(b.bin, "--blanks") {
		b.report.miss("P4, cold start from a blank: this version has no blanks")
		return nil
	}
	var rows []coldRow
	var blanks []string
	for _, l := range b.languages() {
		// A server of its own, so that its blanks are all of this language.
		s, err := b.server()
		if err != nil {
			return err
		}
		cold, bare, err := b.first(ctx, s, l, b.coldCount(100), func() error { return blankReady(ctx, s) })
		used, _ := s.Metric(ctx, "hansom_blank_starts_total", "used")
		missed, _ := s.Metric(ctx, "hansom_blank_starts_total", "missed")
		s.Stop()
		if err != nil {
			return err
		}
		r := coldRow{l, cold, bare}
		rows = append(rows, r)
		blanks = append(blanks, fmt.Sprintf("%.0f of %.0f starts of %s", used, used+missed, l.name))
		b.report.target("P4", "ms, p50 of cold starts while blanks last, "+l.name, ms(load.Percentile(cold, 50)), 5, atMost)
		b.report.target("P4", "ms, p99 of cold starts while blanks last, "+l.name, ms(load.Percentile(cold, 99)), 15, atMost)
		if l.name == "Node.js" {
			b.report.target("P4", "p50 of cold starts while blanks last, to `node -e 0`", r.ratio(), 0.2, atMost)
		}
	}
	b.report.section("Cold start while blanks last")
	b.report.printf("First calls of functions that were never called before, each with code of its own, isolated; signed Invoke, from the first byte of the request to the last of the answer. Between two calls there is time to make another blank. The server's metrics say that a blank was there for %s.\n\n", strings.Join(blanks, " and "))
	b.coldTable("cold-blank", "Share of starts that took at most so many ms, while blanks last", rows)
	return nil
}

// blankReady waits until the server has blanks and is done with making more. Its first ones come with the first starts.
func blankReady(ctx context.Context, s *rig.Server) error {
	last, steady := -1.0, 0
	for deadline := time.Now().Add(2 * time.Second); steady < 4 && time.Now().Before(deadline); {
		n, _ := s.Metric(ctx, "hansom_blanks")
		if steady++; n != last || n < 1 {
			steady = 0
		}
		last = n
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(15 * time.Millisecond):
		}
	}
	return nil
}

func (b *bench) coldWithoutBlanks(ctx context.Context) error {
	var flags []string
	if rig.Knows(b.bin, "--blanks") {
		flags = append(flags, "--blanks=0")
	}
	s, err := b.server(flags...)
	if err != nil {
		return err
	}
	defer s.Stop()
	var rows []coldRow
	for _, l := range b.languages() {
		cold, bare, err := b.first(ctx, s, l, b.coldCount(60), ctx.Err)
		if err != nil {
			return err
		}
		r := coldRow{l, cold, bare}
		rows = append(rows, r)
		b.report.target("P5", "cold start to the bare interpreter's start, "+l.name, r.ratio(), 1.15, atMost)
	}
	b.report.section("Cold start without a blank")
	b.report.printf("The same with no blanks at all. The bare interpreter starts in turn with the function, so that both find the same files in memory.\n\n")
	b.coldTable("cold-bare", "Share of starts that took at most so many ms, no blank left", rows)
	return nil
}

// burstSize is how many functions are called at once.
const burstSize = 200

// bursts calls many functions at once that were never called before, and boots as many bare interpreters at once.
func (b *bench) bursts(ctx context.Context) error {
	rounds := 3
	if b.quick {
		rounds = 1
	}
	b.report.section(fmt.Sprintf("A burst of %d cold starts at once", burstSize))
	b.report.printf("%d functions of 128 MB, each with code of its own and never called before, called in the same moment over as many connections. CPU is what the server and all sandboxes used until the last answer. Beside it, in turn, %d bare interpreters started at once. Medians of %d rounds.\n\n", burstSize, burstSize, rounds)
	b.report.printf("| | errors | wall s | starts/s | CPU s | slowest start ms | to bare: CPU | to bare: wall |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, l := range b.languages() {
		var errors int
		var why error
		var wall, cpu, slowest, bareWall, bareCPU []float64
		for range rounds {
			r, err := b.burst(ctx, l)
			if err != nil {
				return err
			}
			errors += r.errors
			if r.why != nil {
				why = r.why
			}
			wall, cpu, slowest = append(wall, r.wall.Seconds()), append(cpu, r.cpu.Seconds()), append(slowest, ms(r.slowest))
			w, c, err := bareBurst(ctx, l)
			if err != nil {
				return err
			}
			bareWall, bareCPU = append(bareWall, w.Seconds()), append(bareCPU, c.Seconds())
		}
		w, c, bw, bc := load.Median(wall), load.Median(cpu), load.Median(bareWall), load.Median(bareCPU)
		b.report.printf("| Hansom, %s | %d | %.2f | %.0f | %.2f | %.0f | %.2f | %.2f |\n", l.name, errors, w, burstSize/w, c, load.Median(slowest), c/bc, w/bw)
		b.report.printf("| `%s` | 0 | %.2f | %.0f | %.2f | | 1 | 1 |\n", bareName(l), bw, burstSize/bw, bc)
		if why != nil {
			progress("%s, one of the errors: %v", l.name, why)
		}
		b.report.target("P6", fmt.Sprintf("errors of %d cold starts at once, %s", rounds*burstSize, l.name), float64(errors), 0, atMost)
		b.report.target("P6", fmt.Sprintf("CPU of %d cold starts at once, to booting as many interpreters, %s", burstSize, l.name), c/bc, 1.3, atMost)
		if l.name == "Python" {
			b.report.target("P6", fmt.Sprintf("starts/s of %d cold starts at once, %s", burstSize, l.name), burstSize/w, 200, atLeast)
		}
	}
	return nil
}

type burstResult struct {
	wall, cpu, slowest time.Duration
	errors             int
	why                error
}

func (b *bench) burst(ctx context.Context, l language) (burstResult, error) {
	// Limits are reserved in full, and 200 of them are more than the memory of many machines; what is used is not.
	s, err := b.server("--memory", "131072")
	if err != nil {
		return burstResult{}, err
	}
	defer s.Stop()
	requests := make([][]byte, burstSize)
	for i := range requests {
		f := l.function(fmt.Sprintf("burst-%d", i))
		if err := s.Create(ctx, f); err != nil {
			return burstResult{}, err
		}
		if requests[i], err = s.Invocation(ctx, f.Name); err != nil {
			return burstResult{}, err
		}
	}
	// The runtime is in use before the burst, as it would be on a server that is one.
	warm := l.function("burst-warm")
	if err := s.Create(ctx, warm); err != nil {
		return burstResult{}, err
	}
	request, err := s.Invocation(ctx, warm.Name)
	if err != nil {
		return burstResult{}, err
	}
	if _, err := load.Once(s.API, request); err != nil {
		return burstResult{}, err
	}
	time.Sleep(500 * time.Millisecond)

	var r burstResult
	var mu sync.Mutex
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for _, request := range requests {
		wg.Go(func() {
			<-gate
			d, err := load.Once(s.API, request)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.errors++
				r.why = err
			}
			r.slowest = max(r.slowest, d)
		})
	}
	before, start := load.CPUTime(s.Pids()), time.Now()
	close(gate)
	wg.Wait()
	r.wall = time.Since(start)
	r.cpu = load.CPUTime(s.Pids()) - before
	return r, ctx.Err()
}

func bareBurst(ctx context.Context, l language) (wall, cpu time.Duration, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for range burstSize {
		wg.Go(func() {
			_, used, failed := l.boot(ctx)
			mu.Lock()
			defer mu.Unlock()
			cpu += used
			if failed != nil {
				err = failed
			}
		})
	}
	wg.Wait()
	return time.Since(start), cpu, err
}
