// Command soak loads a server with starts, calls, crashes, updates, deletions and messages in cycles, lets it come to rest after
// each, and fails when what it holds at rest grows: memory, goroutines, descriptors, processes, mounts, cgroups, interfaces, files.
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
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

// inside is the variable that tells the program that it runs in a network namespace of its own; it is its directory.
const inside = "HANSOM_SOAK_INSIDE"

// program is the name of the Go function's package in the directory.
const program = "go.zip"

func main() {
	var o options
	flag.StringVar(&o.bin, "hansom", "bin/hansom", "the binary to load")
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "how long")
	flag.DurationVar(&o.cycle, "cycle", 20*time.Second, "length of the load between two rests")
	flag.StringVar(&o.heap, "heap", "", "where to put heap profiles of the first and the last rest; nowhere by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.dir = os.Getenv(inside); o.dir != "" {
		if err = outside(); err == nil {
			err = run(ctx, o, true)
		}
	} else {
		err = begin(ctx, o)
	}
	if err != nil {
		var ended *exec.ExitError // it has said why
		if !errors.As(err, &ended) {
			fmt.Fprintln(os.Stderr, "soak:", err)
		}
		stop()
		os.Exit(1)
	}
}

type options struct {
	bin, heap, dir  string
	duration, cycle time.Duration
}

// begin makes what needs the machine's network, and goes on apart from it where functions can be let onto the internet.
func begin(ctx context.Context, o options) (err error) {
	if o.dir, err = os.MkdirTemp("", "hansom-soak-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	code, err := rig.GoHello(ctx, o.dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(o.dir, program), code, 0o644)
	}
	if err != nil {
		return err
	}
	if err := connected(); err != nil {
		fmt.Fprintln(os.Stderr, "soak: without functions on the internet:", err)
		return run(ctx, o, false)
	}
	return apart(ctx, inside+"="+o.dir)
}

func run(ctx context.Context, o options, egress bool) error {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	code, err := os.ReadFile(filepath.Join(o.dir, program))
	if err != nil {
		return err
	}
	w := &watch{run: filepath.Join(o.dir, "run"), start: time.Now()}
	if egress {
		w.before = w.links()
	}
	// Idle instances and unreferenced code go soon, so that every cycle sees the whole of their life. As many blanks wait at every
	// rest: without a limit their number follows how much the machine had done before. There are 254 addresses for functions on the
	// internet, so that each is used again and again.
	s, err := rig.StartServer(bin, filepath.Join(o.dir, "data"), "--run-dir", w.run, "--idle", "2s", "--code-grace", "1s", "--log-size", "1", "--blanks", "10", "--egress-range", "100.64.0.0/20")
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			s.Stop()
		}
	}()
	w.follow(s)
	l, err := prepare(ctx, s, o.dir, code, egress)
	if err != nil {
		return err
	}
	var samples []sample
	for began := time.Now(); time.Since(began) < o.duration || len(samples) < minSamples; {
		l.cycle(ctx, o.cycle)
		if err := w.rest(ctx); err != nil {
			return err
		}
		l.tidy(ctx)
		at := w.sample(ctx)
		samples = append(samples, at)
		fmt.Fprintf(os.Stderr, "soak: %4.0f s, %d operations, %d failed; at rest %s\n", time.Since(began).Seconds(), l.done.Load(), l.failures(), at)
		if o.heap != "" && len(samples) == 2 {
			err = w.heap(ctx, o.heap+".first")
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	if o.heap != "" {
		if err := w.heap(ctx, o.heap+".last"); err != nil {
			return err
		}
	}
	s.Stop()
	stopped = true
	table, grown := judge(samples)
	fmt.Print(l.summary() + "\n" + table)
	var problems []error
	if grown > 0 {
		problems = append(problems, fmt.Errorf("%d of the rows above grew", grown))
	}
	if left := w.left(); left != "" {
		problems = append(problems, fmt.Errorf("the server left behind: %s", left))
	}
	if n := l.failures(); n > 0 {
		problems = append(problems, fmt.Errorf("%d operations failed", n))
	}
	return errors.Join(problems...)
}
