package pool

import (
	"context"
	"testing"

	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

// A warm call allocates the text of its START and END lines, and that of its REPORT line.
func TestWarmCallAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRecorder()
	r.silent = true
	d := &stub{}
	p := newPool(t, d, r, nil)
	v, inv := version("f"), call(id(1), "1")
	ctx := context.Background()
	run := func() {
		res, err := p.Run(ctx, v, inv, nil)
		if err != nil || res.FunctionError != "" {
			t.Fatal(err)
		}
		res.Release()
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n > 2 {
		t.Errorf("%.1f allocations in a warm call, want 2", n)
	}
}

// BenchmarkWarm is a call over a real socket and a real pipe, with a runtime that answers at once.
func BenchmarkWarm(b *testing.B) {
	r := newRecorder()
	r.silent = true
	p, _ := newFake(b, r, handler(func(_ context.Context, c *fake.Call) ([]byte, error) { return c.Event, nil }), nil)
	v, inv := version("f"), call(id(1), `{"hello":"world"}`)
	b.ReportAllocs()
	for b.Loop() {
		res, err := p.Run(context.Background(), v, inv, nil)
		if err != nil {
			b.Fatal(err)
		}
		res.Release()
	}
}
