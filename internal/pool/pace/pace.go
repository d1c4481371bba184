// Package pace bounds what the server spends on what a function prints.
package pace

import (
	"sync"
	"time"
)

// What all instances of a version may print at once, and from then on. Lines count as bytes do: each is an event to be made,
// indexed and written.
const (
	Burst    = 64 << 20         // bytes
	Rate     = 16 << 20         // bytes a second
	LineCost = 200              // bytes
	MaxPause = time.Second / 20 // at a time
)

// Budget of one version. Its zero value is full, and nil is one without an end. It may be used by several goroutines.
type Budget struct {
	mu   sync.Mutex
	paid time.Time // when all that has been printed will be paid for
}

// Spend counts what has been printed.
func (b *Budget) Spend(now time.Time, bytes, lines int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paid.Before(now) {
		b.paid = now
	}
	b.paid = b.paid.Add(time.Duration(bytes+lines*LineCost) * time.Second / Rate)
}

// Pause is how long to leave what else is printed in its pipe, where it holds up who prints it. It is 0 while the budget lasts.
func (b *Budget) Pause(now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paid.Before(now) {
		return 0
	}
	return max(0, min(MaxPause, b.paid.Sub(now)-Burst*time.Second/Rate))
}
