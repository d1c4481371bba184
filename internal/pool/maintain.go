package pool

import (
	"context"
	"slices"
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
	for g := range p.groups.All() {
		g.mu.Lock()
		for _, stack := range []*[]*instance{&g.idle, &g.ready} {
			*stack = slices.DeleteFunc(*stack, func(inst *instance) bool {
				quiet := now.Sub(inst.idleSince)
				if quiet >= p.cfg.Idle && !inst.provisioned || now.After(inst.retireAt) {
					inst.busy.Store(true)
					expired = append(expired, inst)
					return true
				}
				if p.cfg.Freeze > 0 && quiet >= p.cfg.Freeze && !inst.frozen.Load() {
					cold = append(cold, inst)
				}
				return false
			})
		}
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
	p.groups.Sweep(func(g *group) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.gone = g.unused(now)
		return g.gone
	})
}

// unused says that nothing would be lost with g: an idle function costs no memory. g is locked.
func (g *group) unused(now time.Time) bool {
	return len(g.instances)+g.booting+g.preparing+int(g.provisioned.Load())+g.busy+g.waiters.n == 0 && (g.retired.IsZero() || now.Sub(g.retired) >= tombstone)
}
