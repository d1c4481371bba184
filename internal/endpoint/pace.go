package endpoint

import (
	"context"
	"sync"
	"time"
)

// pace spaces the requests to a destination: a token bucket that holds one token.
type pace struct {
	mu   sync.Mutex
	next time.Time // when the next request may begin
}

// wait waits for a turn among rate a second. An error means that ctx has ended; the turn is lost.
func (p *pace) wait(ctx context.Context, now time.Time, rate int) error {
	every := time.Second / time.Duration(rate)
	p.mu.Lock()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(every)
	p.mu.Unlock()
	if at.Equal(now) {
		return nil
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
