package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

// memory measures the server when idle, and what 1,000 functions that are never called add to a freshly started one.
func (b *bench) memory(ctx context.Context) error {
	s, err := b.server()
	if err != nil {
		return err
	}
	defer func() { s.Stop() }()
	resident := func() (float64, error) { // KB
		var all []float64
		for range 5 {
			s.Stop()
			if err := s.Start(); err != nil {
				return 0, err
			}
			time.Sleep(time.Second)
			all = append(all, float64(load.Status(s.Pid(), "VmRSS")))
		}
		return load.Median(all), ctx.Err()
	}
	before, err := resident()
	if err != nil {
		return err
	}
	functions := 1000
	if b.quick {
		functions = 100
	}
	l := b.languages()[0]
	code := l.function("idle").Code
	for i := range functions {
		if err := s.Create(ctx, rig.Function{Name: fmt.Sprintf("idle-%d", i), Runtime: l.runtime, Handler: l.handler, Code: code}); err != nil {
			return err
		}
	}
	after, err := resident()
	if err != nil {
		return err
	}
	b.report.section("Memory")
	b.report.printf("Resident, the server alone, one second after its start; medians of 5 starts.\n\n| | MB |\n| --- | --- |\n| no function | %.1f |\n| %d deployed functions that nobody calls | %.1f |\n", before/1024, functions, after/1024)
	b.report.target("P7", "MB resident, server idle", before/1024, 80, atMost)
	b.report.target("P7", fmt.Sprintf("KB resident for each of %d deployed, idle functions", functions), (after-before)/float64(functions), 4, atMost)
	return nil
}

// startUp measures from exec of the binary to the first answered invocation, on a data directory with functions in it.
func (b *bench) startUp(ctx context.Context) error {
	s, err := b.server()
	if err != nil {
		return err
	}
	defer func() { s.Stop() }()
	l := b.languages()[0]
	if err := s.Create(ctx, l.function("hello")); err != nil {
		return err
	}
	var all, listening, first []float64
	for range 4*b.rounds + 1 {
		s.Stop()
		start := time.Now()
		if err := s.Start(); err != nil {
			return err
		}
		up := time.Now()
		request, err := s.Invocation(ctx, "hello")
		if err != nil {
			return err
		}
		if _, err := load.Once(s.API, request); err != nil {
			return err
		}
		all, listening, first = append(all, ms(time.Since(start))), append(listening, ms(up.Sub(start))), append(first, ms(time.Since(up)))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	b.report.section("Start of the binary")
	b.report.printf("Existing data directory, Node.js; medians of %d starts.\n\n| | ms |\n| --- | --- |\n| until it listens | %.1f |\n| the first call, with its cold start | %.1f |\n| to the first answered invocation | %.1f |\n", len(all), load.Median(listening), load.Median(first), load.Median(all))
	b.report.target("P10", "ms from start to the first answered invocation, its cold start taken off", load.Median(all)-load.Median(first), 150, atMost)
	return nil
}
