// Command soak loads a server with starts, calls, crashes, updates and deletions in cycles, lets it come to rest after each,
// and fails when what it holds at rest grows: memory, goroutines, descriptors, processes, mounts, cgroups, files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

func main() {
	bin := flag.String("hansom", "bin/hansom", "the binary to load")
	duration := flag.Duration("duration", 10*time.Minute, "how long")
	cycle := flag.Duration("cycle", 15*time.Second, "length of the load between two rests")
	heap := flag.String("heap", "", "where to put heap profiles of the first and the last rest; nowhere by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *heap, *duration, *cycle); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, heap string, duration, cycle time.Duration) (err error) {
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hansom-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Idle instances and unreferenced code go soon, so that every cycle sees the whole of their life. As many blanks wait at every
	// rest: without a limit their number follows how much the machine had done before.
	s, err := rig.StartServer(bin, filepath.Join(dir, "data"), "--run-dir", filepath.Join(dir, "run"), "--idle", "2s", "--code-grace", "1s", "--log-size", "1", "--blanks", "20")
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			s.Stop()
		}
	}()
	w := newWatch(s, filepath.Join(dir, "run"))
	l, err := prepare(ctx, s, dir)
	if err != nil {
		return err
	}
	var samples []sample
	for began := time.Now(); time.Since(began) < duration || len(samples) < minSamples; {
		l.cycle(ctx, cycle)
		if err := w.rest(ctx); err != nil {
			return err
		}
		l.tidy(ctx)
		at := w.sample(ctx)
		samples = append(samples, at)
		fmt.Fprintf(os.Stderr, "soak: %4.0f s, %d operations, %d failed; at rest %s\n", time.Since(began).Seconds(), l.done.Load(), l.failures(), at)
		if heap != "" && len(samples) == 2 {
			err = w.heap(ctx, heap+".first")
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	if heap != "" {
		if err := w.heap(ctx, heap+".last"); err != nil {
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
