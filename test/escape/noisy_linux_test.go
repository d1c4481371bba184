package escape

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestNoisy measures what a neighbour costs (HANSOM_NOISY=1): it is a script, not a test.
func TestNoisy(t *testing.T) {
	if os.Getenv("HANSOM_NOISY") == "" {
		t.Skip("set HANSOM_NOISY")
	}
	f := newFixture(t, nil)
	measure := func(d time.Duration) (p50, p99 time.Duration, n int) {
		var all []time.Duration
		e := f.event
		e.Attempt = "none"
		for end := time.Now().Add(d); time.Now().Before(end); {
			start := time.Now()
			if a := call(t.Context(), f.own, "hostile-node", e); a.Result != "none" {
				t.Fatal(a)
			}
			all = append(all, time.Since(start))
		}
		slices.Sort(all)
		return all[len(all)/2], all[len(all)*99/100], len(all)
	}
	measure(time.Second)
	for _, noise := range strings.Split(os.Getenv("HANSOM_NOISY"), ",") {
		a50, a99, an := measure(2 * time.Second)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				f.attempt(ctx, "hostile-go", noise)
			}
		})
		time.Sleep(300 * time.Millisecond)
		b50, b99, bn := measure(3 * time.Second)
		stop()
		wg.Wait()
		t.Logf("%-30s alone p50 %v p99 %v (%d); beside p50 %v p99 %v (%d); ratio %.2f", noise, a50, a99, an, b50, b99, bn, float64(b99)/float64(a99))
	}
}
