package pool

import (
	"context"
	"time"

	"github.com/hansomcloud/hansom/internal/sandbox"
)

const (
	sweepEvery = 250 * time.Millisecond // how exactly idle instances are frozen and ended
	tombstone  = time.Minute            // a call that was resolved before a revision was retired comes within this time
)

// Maintain freezes and ends idle instances until ctx ends.
func (p *Pool) Maintain(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.sweep(now)
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Pool) sweep(now time.Time) {
	var expired, cold []*instance
	empty := false
	for g := range p.groups.all() {
		g.mu.Lock()
		kept := g.idle[:0]
		for _, inst := range g.idle {
			switch quiet := now.Sub(inst.idleSince); {
			case quiet >= p.cfg.Idle || now.After(inst.retireAt):
				inst.busy.Store(true)
				expired = append(expired, inst)
				continue
			case p.cfg.Freeze > 0 && quiet >= p.cfg.Freeze && !inst.frozen.Load():
				cold = append(cold, inst)
			}
			kept = append(kept, inst)
		}
		clear(g.idle[len(kept):])
		g.idle = kept
		empty = empty || g.unused(now)
		g.mu.Unlock()
	}
	for _, inst := range expired {
		p.endLater(inst, sandbox.Spindown)
	}
	for _, inst := range cold {
		inst.freeze(p.logger)
	}
	if !empty {
		return
	}
	p.groups.sweep(func(g *group) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.gone = g.unused(now)
		return g.gone
	})
}

// unused says that nothing would be lost with g: an idle function costs no memory. g is locked.
func (g *group) unused(now time.Time) bool {
	return len(g.instances)+g.booting+g.busy+g.waiters.n == 0 && (g.retired.IsZero() || now.Sub(g.retired) >= tombstone)
}
