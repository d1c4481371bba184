package plot

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestCharts(t *testing.T) {
	for name, svg := range map[string]string{
		"bars": Bars("Throughput", "requests per second", []string{"Hansom", "nginx & Node.js", "<none>"},
			[]Series{{"8 connections", []float64{12845, 26236, 0}}, {"1 connection", []float64{4759, 8063, 3}}}),
		"lines": Lines("Latency", "ms by percentile", []string{"p50", "p99"}, []Series{{"Hansom", []float64{0.2, 2}}, {"nginx", []float64{0.1, 150}}}),
		"cdf":   CDF("Cold starts", "share of starts", []Series{{"Hansom", []float64{5, 3, 4}}, {"bare", []float64{22, 30}}, {"nothing", nil}}),
		"pairs": Pairs("Noisy neighbour", "p99 in ms", "calm", "noisy", []Pair{{"CPU", 1, 1.8}, {"memory", 0.9, 20}}),
	} {
		t.Run(name, func(t *testing.T) {
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("not XML: %v", err)
				}
			}
			golden := filepath.Join("testdata", name+".svg")
			if *update {
				if err := os.WriteFile(golden, []byte(svg), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != svg {
				t.Errorf("differs from %s; look at the new picture, then run the test with -update", golden)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	for _, top := range []float64{0, 0.003, 1, 7, 10, 11, 49, 26236, 99999} {
		s := steps(top)
		if s[0] != 0 || s[len(s)-1] < top || len(s) < 2 || len(s) > 7 {
			t.Errorf("steps to %g: %v", top, s)
		}
	}
}

func TestLogTicks(t *testing.T) {
	for _, values := range [][]float64{{3, 4}, {0.1, 20}, {1, 1e6}, {5}, {0}, nil} {
		s := newLogScale(values, 0, 100)
		ticks := s.ticks()
		if len(ticks) < 2 || len(ticks) > 10 {
			t.Errorf("ticks of %v: %v", values, ticks)
		}
		for _, tick := range ticks {
			if at := s.at(tick); at < 0 || at > 100 {
				t.Errorf("tick %g of %v is at %g", tick, values, at)
			}
		}
	}
}
