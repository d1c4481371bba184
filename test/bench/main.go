// Command bench measures Hansom beside its peers, in one run and interleaved, and writes docs/benchmarks.md with its plots.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

// bench holds what all parts share.
type bench struct {
	bin    string // the binary to measure
	node   string // the Node.js that Hansom takes too
	dir    string // removed at the end
	cache  string // peers that were built or downloaded
	rounds int
	length time.Duration // of a round of load
	quick  bool
	report report
	serial int
}

// part is one of the things that -only names.
type part struct {
	name, title string
	do          func(*bench, context.Context) error
}

func parts() []part {
	return []part{
		{"p1", "P1, P2: warm HTTP, closed loop", (*bench).warmHTTP},
		{"gateway", "P1, P2: an HTTP API with a JWT authorizer and throttling", (*bench).guardedHTTP},
		{"rates", "latency at fixed rates", (*bench).fixedRates},
		{"p3", "P3: warm Invoke", (*bench).warmInvoke},
		{"p4", "P4: cold start from a blank", (*bench).coldWithBlanks},
		{"p5", "P5: cold start without a blank", (*bench).coldWithoutBlanks},
		{"p6", "P6: bursts of cold starts", (*bench).bursts},
		{"p7", "P7: memory", (*bench).memory},
		{"p8", "P8: accepting events", (*bench).acceptEvents},
		{"queues", "queues: send, receive, delete", (*bench).queues},
		{"patterns", "event patterns: rules found", (*bench).eventPatterns},
		{"p9", "P9: static files", (*bench).staticFiles},
		{"p10", "P10: start of the binary", (*bench).startUp},
		{"noisy", "noisy neighbour", (*bench).noisyNeighbour},
	}
}

func main() {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	b := &bench{}
	flag.StringVar(&b.bin, "hansom", "bin/hansom", "the binary to measure")
	out := flag.String("out", "docs/benchmarks.md", "where the report goes; plots go to the folder of the same name without .md")
	only := flag.String("only", strings.Join(names, ","), "parts to run")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each measurement, interleaved, after a warm-up")
	flag.DurationVar(&b.length, "length", 1500*time.Millisecond, "length of a round of load")
	flag.BoolVar(&b.quick, "quick", false, "few and short rounds, for work on the benchmark itself; figures mean nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, *out, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func (b *bench) run(ctx context.Context, out string, only []string) (err error) {
	all := parts()
	for _, name := range only {
		if !slices.ContainsFunc(all, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q; -h lists them", name)
		}
	}
	if b.quick {
		b.rounds, b.length = 2, 300*time.Millisecond
	}
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	b.cache = filepath.Join(cache, "hansom-bench")
	b.node = "/opt/hansom/node22/bin/node"
	if _, err := os.Stat(b.node); err != nil {
		if b.node, err = exec.LookPath("node"); err != nil {
			return err
		}
	}
	if b.dir, err = os.MkdirTemp("", "hansom-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	version, err := rig.Run(b.bin, "version")
	if err != nil {
		return err
	}
	b.report.version(version)
	for _, interpreter := range []struct{ name, path string }{{"Node.js", b.node}, {"Python", python}} {
		v, err := rig.Run(interpreter.path, "--version")
		if err != nil {
			return err
		}
		b.report.version(interpreter.name + " " + strings.TrimLeft(v, "Python v"))
	}
	for _, p := range all {
		if !slices.Contains(only, p.name) {
			b.report.skipped = append(b.report.skipped, p.name)
			continue
		}
		started := time.Now()
		progress("%s", p.title)
		if err := p.do(b, ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; everything was stopped, nothing written")
			}
			return fmt.Errorf("%s: %w", p.name, err)
		}
		progress("%s took %.0f s", p.name, time.Since(started).Seconds())
	}
	b.report.quick = b.quick
	return b.report.write(out)
}

// server starts a fresh Hansom. The caller stops it.
func (b *bench) server(flags ...string) (*rig.Server, error) {
	b.serial++
	return rig.StartServer(b.bin, filepath.Join(b.dir, fmt.Sprintf("data%d", b.serial)), flags...)
}
