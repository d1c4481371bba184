package pace_test

import (
	"testing"
	"time"

	"github.com/hansomcloud/hansom/internal/pool/pace"
)

// A flood gets through at the rate, a burst at once, and who has been silent has a whole burst again.
func TestBudget(t *testing.T) {
	var b pace.Budget
	start := time.Unix(1000, 0)
	now, printed := start, 0
	const chunk = 32 << 10
	for now.Sub(start) < 20*time.Second {
		if p := b.Pause(now); p > 0 {
			if p > pace.MaxPause {
				t.Fatalf("a pause of %v", p)
			}
			now = now.Add(p)
			continue
		}
		b.Spend(now, chunk, 0)
		printed += chunk
		now = now.Add(10 * time.Microsecond)
	}
	if want := pace.Burst + 20*pace.Rate; printed < want-want/20 || printed > want+want/20 {
		t.Errorf("%d MB in 20 s, want about %d", printed>>20, want>>20)
	}
	now = now.Add(time.Minute)
	for spent := 0; spent < pace.Burst; spent += chunk {
		if p := b.Pause(now); p != 0 {
			t.Fatalf("a pause of %v after %d MB of a burst", p, spent>>20)
		}
		b.Spend(now, chunk, 0)
	}
	var lines pace.Budget
	lines.Spend(now, 0, 2*pace.Burst/pace.LineCost)
	if lines.Pause(now) == 0 {
		t.Error("empty lines cost nothing")
	}
}
