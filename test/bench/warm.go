package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/plot"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

// side is one contender of a comparison.
type side struct {
	*rig.Process
	name    string
	request []byte
	samples map[string][]load.Sample // by kind of measurement
}

func (s *side) median(kind string, of func(load.Sample) float64) float64 {
	var values []float64
	for _, sample := range s.samples[kind] {
		values = append(values, of(sample))
	}
	return load.Median(values)
}

func rate(s load.Sample) float64 { return s.Rate() }
func cpu(s load.Sample) float64  { return float64(s.CPUPerRequest()) / 1e3 }

// percentile reads one in milliseconds.
func percentile(p float64) func(load.Sample) float64 {
	return func(s load.Sample) float64 { return float64(load.Percentile(s.Latencies, p)) / 1e6 }
}

const (
	hansomName    = "Hansom"
	hansomStreams = "Hansom, concurrency: 16"
	nginxName     = "nginx + Node.js http"
	workerdName   = "workerd"
)

// httpSides starts Hansom and its peers with the same answer. stop ends them all.
func (b *bench) httpSides(ctx context.Context) (sides []*side, stop func(), err error) {
	var processes []interface{ Stop() }
	stop = func() {
		for _, p := range slices.Backward(processes) {
			p.Stop()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	add := func(p *rig.Process, name string, request []byte) {
		sides = append(sides, &side{Process: p, name: name, request: request, samples: map[string][]load.Sample{}})
	}
	hansom, err := b.server()
	if err != nil {
		return nil, stop, err
	}
	processes = append(processes, hansom)
	manifest := "name: warm\nfunctions:\n  hello:\n    runtime: nodejs22.x\n    code: .\n    handler: app.handler\n    memory: 256\n    http: [\"GET /hello\"]\n"
	if err := hansom.Deploy(ctx, filepath.Join(b.dir, "warm"), "", map[string]string{"app.js": rig.NodeHello, "hansom.yaml": manifest}); err != nil {
		return nil, stop, err
	}
	add(hansom.Process, hansomName, rig.Get(hansom.AppHost("warm", ""), "/hello"))

	// A server of its own, so that its processor time is told apart.
	streams, err := b.server()
	if err != nil {
		return nil, stop, err
	}
	processes = append(processes, streams)
	err = streams.Deploy(ctx, filepath.Join(b.dir, "streams"), "", map[string]string{"app.js": rig.NodeHello, "hansom.yaml": manifest + "    concurrency: 16\n"})
	if err == nil {
		add(streams.Process, hansomStreams, rig.Get(streams.AppHost("warm", ""), "/hello"))
	} else {
		b.report.miss("%s: this version refuses it: %.200s", hansomStreams, strings.Join(strings.Fields(err.Error()), " "))
	}
	for _, peer := range []struct {
		name  string
		start func(context.Context) (*rig.Process, error)
	}{
		{nginxName, b.startNginx},
		{"Caddy + Node.js http", b.startCaddy},
		{workerdName, b.startWorkerd},
		{"Node.js http", func(context.Context) (*rig.Process, error) { return b.startNode() }},
	} {
		p, err := peer.start(ctx)
		if err != nil {
			b.report.miss("%s: %v", peer.name, err)
			continue
		}
		processes = append(processes, p)
		if peer.name != "Node.js http" {
			name, _, _ := strings.Cut(peer.name, " ")
			b.report.version(name + " " + p.Version)
		}
		add(p, peer.name, rig.Get(p.Addr, "/hello"))
	}
	return sides, stop, nil
}

// interleave measures the sides in turn, A B A B ..., after a warm-up round of each.
func (b *bench) interleave(ctx context.Context, kind string, sides []*side, measure func(*side) (load.Sample, error)) error {
	for round := range b.rounds + 1 {
		for _, s := range sides {
			if err := ctx.Err(); err != nil {
				return err
			}
			sample, err := measure(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 {
				s.samples[kind] = append(s.samples[kind], sample)
			}
		}
	}
	return nil
}

func (b *bench) warmHTTP(ctx context.Context) error {
	sides, stop, err := b.httpSides(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for _, conns := range []int{8, 1} {
		kind := fmt.Sprint(conns)
		err := b.interleave(ctx, kind, sides, func(s *side) (load.Sample, error) {
			return load.Closed(s.Addr, s.request, conns, b.length, s.Pids)
		})
		if err != nil {
			return err
		}
		title := fmt.Sprintf("Warm HTTP call to a Node.js handler, %d connections", conns)
		if conns == 1 {
			title = "Warm HTTP call to a Node.js handler, 1 connection"
		}
		b.report.section(title)
		b.report.warmTable(kind, sides)
	}
	for _, s := range sides {
		for _, t := range sides {
			switch {
			case !strings.HasPrefix(s.name, hansomName) || strings.HasPrefix(t.name, hansomName):
			case t.name == nginxName:
				b.report.target("P1", s.name+": requests/s with 8 connections, to nginx in front of Node.js", s.median("8", rate)/t.median("8", rate), 1.0, atLeast)
				b.report.target("P2", s.name+": p50 with 1 connection, to nginx in front of Node.js", s.median("1", percentile(50))/t.median("1", percentile(50)), 1.2, atMost)
			case t.name == workerdName:
				b.report.target("P1", s.name+": requests/s with 8 connections, to workerd", s.median("8", rate)/t.median("8", rate), 1.5, atLeast)
			}
		}
	}
	groups, one, eight := []string{}, []float64{}, []float64{}
	for _, s := range sides {
		groups, one, eight = append(groups, s.name), append(one, s.median("1", rate)), append(eight, s.median("8", rate))
	}
	b.report.plot("throughput", "Requests per second, warm, as a bar chart", plot.Bars("Warm HTTP calls", "Requests per second, closed loop; more is better", groups,
		[]plot.Series{{Name: "8 connections", Values: eight}, {Name: "1 connection", Values: one}}))
	return nil
}

// fixedRates measures latency at fixed parts of what each side can do, and of what the slowest can do.
func (b *bench) fixedRates(ctx context.Context) error {
	sides, stop, err := b.httpSides(ctx)
	if err != nil {
		return err
	}
	defer stop()
	const conns = 16
	if err := b.interleave(ctx, "capacity", sides, func(s *side) (load.Sample, error) {
		return load.Closed(s.Addr, s.request, conns, b.length/2, s.Pids)
	}); err != nil {
		return err
	}
	lowest := slices.MinFunc(sides, func(x, y *side) int { return int(x.median("capacity", rate) - y.median("capacity", rate)) }).median("capacity", rate)
	b.report.section("Latency at fixed rates")
	b.report.printf("An open loop over %d connections: requests are sent when they are due whatever the answers do, and latency counts from then, so that a stall is charged to every request it kept waiting. Capacity is what a closed loop over as many connections reached.\n", conns)
	for _, part := range []float64{0.5, 0.8} {
		for _, common := range []bool{true, false} {
			kind := fmt.Sprint(part, common)
			at := func(s *side) float64 {
				if common {
					return part * lowest
				}
				return part * s.median("capacity", rate)
			}
			progress("%.0f%% of capacity, the lowest's: %v", part*100, common)
			if err := b.interleave(ctx, kind, sides, func(s *side) (load.Sample, error) {
				return load.Open(s.Addr, s.request, conns, at(s), b.length, s.Pids)
			}); err != nil {
				return err
			}
			title := fmt.Sprintf("%.0f%% of each one's own capacity", part*100)
			if common {
				title = fmt.Sprintf("%.0f%% of the lowest capacity: %.0f requests/s for all", part*100, part*lowest)
			}
			b.report.printf("\n### %s\n\n| | requests/s | p50 ms | p99 ms | p99.9 ms | CPU us per request | generator late by, p99 ms |\n| --- | --- | --- | --- | --- | --- | --- |\n", title)
			labels := []string{"p50", "p90", "p99", "p99.9"}
			var series []plot.Series
			for _, s := range sides {
				all := load.Merge(s.samples[kind])
				ms := func(p float64) float64 { return float64(load.Percentile(all, p)) / 1e6 }
				b.report.printf("| %s | %.0f | %.3f | %.3f | %.3f | %.1f | %.3f |\n", s.name, s.median(kind, rate), ms(50), ms(99), ms(99.9), s.median(kind, cpu), float64(load.Percentile(lags(s.samples[kind]), 99))/1e6)
				series = append(series, plot.Series{Name: s.name, Values: []float64{ms(50), ms(90), ms(99), ms(99.9)}})
			}
			name, sub := fmt.Sprintf("latency-own-%.0f", part*100), fmt.Sprintf("ms by percentile at %.0f%% of each one's own capacity; less is better", part*100)
			if common {
				name, sub = fmt.Sprintf("latency-common-%.0f", part*100), fmt.Sprintf("ms by percentile, %.0f requests/s for all (%.0f%% of the lowest capacity); less is better", part*lowest, part*100)
			}
			b.report.plot(name, "Latency by percentile as a line chart", plot.Lines("Latency at a fixed rate", sub, labels, series))
		}
	}
	return nil
}

// lags is how late the generator sent, in all samples together.
func lags(samples []load.Sample) []time.Duration {
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s.Lag...)
	}
	slices.Sort(all)
	return all
}

func (b *bench) warmInvoke(ctx context.Context) error {
	hansom, err := b.server()
	if err != nil {
		return err
	}
	defer func() { hansom.Stop() }()
	code, err := rig.GoHello(ctx, b.dir)
	if err != nil {
		return err
	}
	if err := hansom.Create(ctx, rig.Function{Name: "hello-go", Runtime: types.RuntimeProvidedal2023, Handler: "bootstrap", Memory: 256, Code: code}); err != nil {
		return err
	}
	request, err := hansom.Invocation(ctx, "hello-go")
	if err != nil {
		return err
	}
	s := &side{Process: hansom.Process, name: hansomName, request: request, samples: map[string][]load.Sample{}}
	for _, conns := range []int{1, 8} {
		if err := b.interleave(ctx, fmt.Sprint(conns), []*side{s}, func(s *side) (load.Sample, error) {
			return load.Closed(hansom.API, s.request, conns, b.length, s.Pids)
		}); err != nil {
			return err
		}
	}
	b.report.section("Warm Invoke of a Go function over the Runtime API")
	b.report.printf("The public Go client in the function; every request carries a SigV4 signature that the server verifies. The generator signs once and repeats the request (a signature is good for 15 minutes), so that its own signing is not in the figures.\n\n")
	b.report.printf("| connections | requests/s | p50 ms | p99 ms | CPU us per request |\n| --- | --- | --- | --- | --- |\n")
	for _, kind := range []string{"1", "8"} {
		b.report.printf("| %s | %.0f | %.3f | %.3f | %.1f |\n", kind, s.median(kind, rate), s.median(kind, percentile(50)), s.median(kind, percentile(99)), s.median(kind, cpu))
	}
	floor, used, err := b.clientFloor(filepath.Join(b.dir, "gofunction", "bootstrap"))
	if err != nil {
		return err
	}
	b.report.printf("\nThe same program outside a sandbox, before a server that answers each poll from memory, for nobody: %.0f calls/s, %.1f us of its own CPU for each. That is as much as this client does by itself.\n", load.Median(floor), load.Median(used))
	b.report.miss("AWS Lambda runtime interface emulator: the Go module proxy does not serve it. Measured earlier on another 2-core machine: 1,600 to 2,000 calls/s; P3 compares with 1,800")
	b.report.miss("OpenFaaS of-watchdog: the Go module proxy does not serve it. Measured earlier on another 2-core machine, without a gateway: 5,000/s with 1 connection, 12,000 to 13,000/s with 8")
	b.report.target("P3", "calls/s with 1 connection, to the runtime interface emulator (measured elsewhere)", s.median("1", rate)/1800, 3, atLeast)
	return nil
}
