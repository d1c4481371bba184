// Command bench measures Hansom beside its peers, in one run and interleaved, and writes docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func main() {
	bin := flag.String("hansom", "bin/hansom", "the binary to measure")
	out := flag.String("out", "docs/benchmarks.md", "where the report goes")
	rounds := flag.Int("rounds", 7, "rounds of each measurement, interleaved")
	length := flag.Duration("length", 2*time.Second, "length of a round of load")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *bin, *out, *rounds, *length); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench holds what all measurements share.
type bench struct {
	dir    string
	node   string
	rounds int
	length time.Duration
	hansom *hansomServer
	report report
}

func run(ctx context.Context, bin, out string, rounds int, length time.Duration) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hansom-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, node: "/opt/hansom/node22/bin/node", rounds: rounds, length: length}
	if _, err := os.Stat(b.node); err != nil {
		if b.node, err = exec.LookPath("node"); err != nil {
			return err
		}
	}
	if b.hansom, err = startHansom(ctx, bin, filepath.Join(dir, "data")); err != nil {
		return err
	}
	defer func() { b.hansom.stop() }()
	b.report.versions = append(b.report.versions, b.hansom.version, "Node.js "+output(b.node, "--version"))

	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"P7 memory, idle", b.memoryIdle},
		{"P1, P2 warm HTTP", b.warmHTTP},
		{"P3 warm Invoke", b.warmInvoke},
		{"P5 cold start", b.coldStart},
		{"P7 memory, 1,000 functions", b.memoryFunctions},
		{"P10 start", func(ctx context.Context) error { return b.startUp(ctx, bin) }},
	} {
		fmt.Fprintf(os.Stderr, "bench: %s\n", step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return b.report.write(out)
}

// contender is one side of a comparison under load.
type contender struct {
	*process
	request []byte
	samples []sample
}

// interleave loads the contenders in turn, A B A B ..., after a warm-up round of each.
func (b *bench) interleave(conns int, contenders []*contender) error {
	for round := range b.rounds + 1 {
		for _, c := range contenders {
			s, err := load(c.addr, c.request, conns, b.length, c.pids)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				c.samples = append(c.samples, s)
			}
		}
	}
	return nil
}

func (b *bench) warmHTTP(ctx context.Context) error {
	if err := b.hansom.create(ctx, "hello-node", types.RuntimeNodejs22x, "app.handler", zipped("app.js", []byte(nodeHandler))); err != nil {
		return err
	}
	request, err := b.hansom.url(ctx, "hello-node")
	if err != nil {
		return err
	}
	sides := []*contender{{process: b.hansom.process, request: request}}
	peer := func(name string, start func() (*process, error)) {
		p, err := start()
		if err != nil {
			b.report.missing = append(b.report.missing, fmt.Sprintf("%s: %v", name, err))
			return
		}
		b.report.versions = append(b.report.versions, p.name+" "+p.version)
		sides = append(sides, &contender{process: p, request: get(p.addr, "/hello")})
	}
	peer("nginx", func() (*process, error) { return startNginx(b.dir, b.node) })
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	peer("workerd", func() (*process, error) { return startWorkerd(ctx, b.dir, filepath.Join(cache, "hansom-bench")) })
	peer("Node.js", func() (*process, error) { return startNode(b.dir, b.node) })
	defer func() {
		for _, s := range sides[1:] {
			s.stop()
		}
	}()
	for _, conns := range []int{8, 1} {
		for _, s := range sides {
			s.samples = nil
		}
		if err := b.interleave(conns, sides); err != nil {
			return err
		}
		b.report.load(fmt.Sprintf("Warm HTTP call to a Node.js handler, %d connections", conns), sides)
		for _, s := range sides[1:] {
			switch {
			case conns == 8 && s.name == "nginx + Node.js http":
				b.report.target("P1", "requests/s with 8 connections, to nginx in front of Node.js", ratio(sides[0], s, rate), 1.0, atLeast)
			case conns == 8 && s.name == "workerd":
				b.report.target("P1", "requests/s with 8 connections, to workerd", ratio(sides[0], s, rate), 1.5, atLeast)
			case conns == 1 && s.name == "nginx + Node.js http":
				b.report.target("P2", "p50 with 1 connection, to nginx in front of Node.js", ratio(sides[0], s, p50), 1.2, atMost)
			}
		}
	}
	return nil
}

func (b *bench) warmInvoke(ctx context.Context) error {
	code, err := buildGo(ctx, b.dir)
	if err != nil {
		return err
	}
	if err := b.hansom.create(ctx, "hello-go", types.RuntimeProvidedal2023, "bootstrap", code); err != nil {
		return err
	}
	request, err := b.hansom.invokeRequest(ctx, "hello-go")
	if err != nil {
		return err
	}
	api := *b.hansom.process
	api.addr = b.hansom.api
	sides := []*contender{{process: &api, request: request}}
	if err := b.interleave(1, sides); err != nil {
		return err
	}
	b.report.load("Warm Invoke of a Go function, 1 connection, SigV4-signed", sides)
	b.report.missing = append(b.report.missing, "AWS Lambda runtime interface emulator: its module is not served by the Go module proxy. Measured earlier on another 2-core machine: 1,600 to 2,000 calls/s; P3 above compares with 1,800")
	b.report.target("P3", "calls/s with 1 connection, to the runtime interface emulator (measured elsewhere)", median(sides[0].samples, rate)/1800, 3, atLeast)
	return nil
}

// coldStart compares first calls of functions never called before with bare starts of the interpreter.
func (b *bench) coldStart(ctx context.Context) error {
	const n = 20
	for _, c := range []struct {
		name, handler, file, text string
		runtime                   types.Runtime
		bare                      []string
	}{
		{"node", "app.handler", "app.js", nodeHandler, types.RuntimeNodejs22x, []string{b.node, "-e", "0"}},
		{"python", "app.handler", "app.py", pythonHandler, types.RuntimePython311, []string{"/usr/bin/python3", "-I", "-S", "-c", "import json, socket, os, sys, time"}},
	} {
		var cold, bare []time.Duration
		for i := range n {
			name := fmt.Sprintf("cold-%s-%d", c.name, i)
			if err := b.hansom.create(ctx, name, c.runtime, c.handler, zipped(c.file, []byte(c.text))); err != nil {
				return err
			}
			request, err := b.hansom.invokeRequest(ctx, name)
			if err != nil {
				return err
			}
			d, err := once(b.hansom.api, request)
			if err != nil {
				return err
			}
			cold = append(cold, d)
			start := time.Now()
			if err := exec.CommandContext(ctx, c.bare[0], c.bare[1:]...).Run(); err != nil {
				return err
			}
			bare = append(bare, time.Since(start))
		}
		b.report.durations("Cold start without a blank, "+c.name, map[string][]time.Duration{"Hansom, first byte to last": cold, "bare interpreter": bare})
		b.report.target("P5", "cold start to the bare interpreter's start, "+c.name, float64(middle(cold))/float64(middle(bare)), 1.15, atMost)
	}
	return nil
}

func (b *bench) memoryIdle(context.Context) error {
	time.Sleep(time.Second)
	b.report.target("P7", "MB resident, server idle", float64(resident(b.hansom.cmd.Process.Pid))/(1<<20), 80, atMost)
	return nil
}

// memoryFunctions measures what 1,000 functions that are never called add to a freshly started server.
func (b *bench) memoryFunctions(ctx context.Context) error {
	measure := func() (float64, error) {
		var all []float64
		for range 3 {
			data := b.hansom.data
			b.hansom.stop()
			s, err := startHansom(ctx, b.hansom.cmd.Path, data)
			if err != nil {
				return 0, err
			}
			b.hansom = s
			time.Sleep(500 * time.Millisecond)
			all = append(all, float64(resident(s.cmd.Process.Pid)))
		}
		slices.Sort(all)
		return all[1], nil
	}
	before, err := measure()
	if err != nil {
		return err
	}
	code := zipped("app.js", []byte(nodeHandler))
	for i := range 1000 {
		if err := b.hansom.create(ctx, fmt.Sprintf("idle-%d", i), types.RuntimeNodejs22x, "app.handler", code); err != nil {
			return err
		}
	}
	after, err := measure()
	if err != nil {
		return err
	}
	b.report.target("P7", "KB resident for each of 1,000 deployed, idle functions", (after-before)/1000/1024, 4, atMost)
	return nil
}

// startUp measures from exec of the binary to the first answered invocation, on a data directory with functions in it.
func (b *bench) startUp(ctx context.Context, bin string) error {
	var all, first []time.Duration
	for range b.rounds {
		data := b.hansom.data
		b.hansom.stop()
		start := time.Now()
		s, err := startHansom(ctx, bin, data)
		if err != nil {
			return err
		}
		ready := time.Now()
		b.hansom = s
		request, err := s.invokeRequest(ctx, "hello-node")
		if err != nil {
			return err
		}
		if _, err := once(s.api, request); err != nil {
			return err
		}
		all, first = append(all, time.Since(start)), append(first, time.Since(ready))
	}
	b.report.durations("Start of the binary", map[string][]time.Duration{"to the first answered invocation": all, "of which the first invocation": first})
	b.report.target("P10", "ms from start to the first answered invocation, its cold start taken off", float64(middle(all)-middle(first))/1e6, 150, atMost)
	return nil
}
