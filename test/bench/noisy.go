package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/plot"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

// nuisance is a function that does one of several bad things until a given moment.
const nuisance = `import os, signal, time

def handler(event, context):
    what = event["rawPath"].strip("/")
    until = time.time() + float(event["queryStringParameters"]["s"])
    globals()[what](until)
    return "done"

def cpu(until):
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            while time.time() < until:
                pass
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)

def memory(until):
    hold = []
    while time.time() < until:
        hold.append(b"x" * (4 << 20))

def forks(until):
    while time.time() < until:
        pids = []
        try:
            while time.time() < until:
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                    os._exit(0)
                pids.append(pid)
        except OSError:
            pass
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)

def disk(until):
    block = b"x" * (1 << 20)
    while time.time() < until:
        with open("/tmp/big", "wb") as f:
            try:
                for _ in range(1024):
                    f.write(block)
                    f.flush()
                    os.fsync(f.fileno())
            except OSError:
                pass

def log(until):
    line = "x" * 200
    while time.time() < until:
        for _ in range(1000):
            print(line)
`

// nuisances in the order of the report: the path that asks for it, and what it is called there.
var nuisances = []struct{ path, name string }{
	{"cpu", "CPU: 8 processes spin"},
	{"memory", "memory: allocates to its limit, dies, again"},
	{"forks", "forks until refused, kills them, again"},
	{"disk", "disk: writes and syncs /tmp until full, again"},
	{"log", "logs as fast as it can"},
}

const (
	victimRate    = 300 // requests/s
	nuisanceCalls = 2   // of the bad function at once
)

// noisyNeighbour compares the latency of one function while another one, of another project, misbehaves and while it does not.
func (b *bench) noisyNeighbour(ctx context.Context) error {
	s, err := b.server()
	if err != nil {
		return err
	}
	defer s.Stop()
	if _, err := s.Command(ctx, "projects", "create", "noisy"); err != nil {
		return err
	}
	manifest := "name: %s\nfunctions:\n  f:\n    runtime: %s\n    code: .\n    handler: app.handler\n    memory: 256\n    timeout: 30s\n    http: [\"GET /{what}\"]\n"
	if err := s.Deploy(ctx, filepath.Join(b.dir, "victim"), "", map[string]string{"app.js": rig.NodeHello, "hansom.yaml": fmt.Sprintf(manifest, "victim", "nodejs22.x")}); err != nil {
		return err
	}
	if err := s.Deploy(ctx, filepath.Join(b.dir, "nuisance"), "noisy", map[string]string{"app.py": nuisance, "hansom.yaml": fmt.Sprintf(manifest, "nuisance", "python3.11")}); err != nil {
		return err
	}
	request, host := rig.Get(s.AppHost("victim", ""), "/hello"), s.AppHost("nuisance", "noisy")
	calm, noisy := make([][]load.Sample, len(nuisances)), make([][]load.Sample, len(nuisances))
	measure := func() (load.Sample, error) {
		return load.Open(s.Edge, request, 8, victimRate, 2*b.length, s.Pids)
	}
	// As many instances as it can need: cold starts are measured elsewhere.
	if _, err := load.Closed(s.Edge, request, 8, b.length, s.Pids); err != nil {
		return err
	}
	answers := make([]map[string]int, len(nuisances))
	for range b.rounds {
		for i, n := range nuisances {
			before, err := measure()
			if err != nil {
				return err
			}
			stop := misbehave(ctx, s.Edge, host, n.path)
			time.Sleep(700 * time.Millisecond)
			during, err := measure()
			answers[i] = stop()
			time.Sleep(300 * time.Millisecond) // what it leaves to clean up is not the next one's
			if err != nil {
				return fmt.Errorf("%s: %w", n.name, err)
			}
			calm[i], noisy[i] = append(calm[i], before), append(noisy[i], during)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	b.report.section("A noisy neighbour")
	b.report.printf("A Node.js function gets %d requests/s over HTTP in an open loop; latency counts from when a request was due. A Python function of another project, with as much memory (256 MB), is called %d at a time without a pause and misbehaves. With and without in turn. The function has instances for all its connections beforehand, so that no start is in the figures.\n\n", victimRate, nuisanceCalls)
	b.report.printf("| the neighbour | p50 ms, calm | p50 ms, noisy | p99 ms, calm | p99 ms, noisy | p99, ratio | generator late by, p99 ms |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	var pairs []plot.Pair
	for i, n := range nuisances {
		s := &side{samples: map[string][]load.Sample{"calm": calm[i], "noisy": noisy[i]}}
		q, l := s.median("calm", percentile(99)), s.median("noisy", percentile(99))
		b.report.printf("| %s | %.3f | %.3f | %.3f | %.3f | %.2f | %.3f |\n", n.name, s.median("calm", percentile(50)), s.median("noisy", percentile(50)), q, l, l/q, ms(load.Percentile(lags(noisy[i]), 99)))
		b.report.target("noisy", "p99 beside a neighbour, to without: "+n.name, l/q, 2, atMost)
		progress("answers to %s: %v", n.path, answers[i])
		pairs = append(pairs, plot.Pair{Name: n.name, Before: q, After: l})
	}
	b.report.plot("noisy", "p99 with and without a noisy neighbour", plot.Pairs("A noisy neighbour", "p99 of another function in ms, and how many times as long it is; less is better", "calm", "noisy", pairs))
	return nil
}

// misbehave calls the nuisance again and again until stop, which waits for the calls to end and says how they were answered.
func misbehave(ctx context.Context, addr, host, what string) (stop func() map[string]int) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for range nuisanceCalls {
		wg.Go(func() {
			for ctx.Err() == nil {
				said := "no answer"
				// The calls end by themselves: a cancelled one would go on in the function.
				r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/"+what+"?s=1", nil)
				if err == nil {
					r.Host = host
					if answer, err := http.DefaultClient.Do(r); err == nil {
						body, _ := io.ReadAll(answer.Body)
						answer.Body.Close()
						said = fmt.Sprintf("%d %.60s", answer.StatusCode, bytes.TrimSpace(body))
					}
				}
				mu.Lock()
				answers[said]++
				mu.Unlock()
			}
		})
	}
	return func() map[string]int {
		cancel()
		wg.Wait()
		return answers
	}
}
