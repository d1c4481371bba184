package pool

import (
	"cmp"
	"slices"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Provisioned instances are made by Boot, not by calls. They neither expire nor make room for others, but end when Provision asks
// for fewer, when their credentials end, or when they fail. Calls get them before those made on demand.

const (
	renewEarly  = 5 * time.Minute   // before the end of its credentials that a provisioned instance is to be replaced
	minPrepare  = 130 * time.Second // Lambda's limit for the init of a provisioned instance, if the function's timeout is not longer
	codeInit    = "FUNCTION_ERROR_INIT_FAILURE"
	codeTimeout = "FUNCTION_ERROR_INIT_TIMEOUT"
)

// Provision says how many provisioned instances v may have. Those beyond end, the oldest first: idle ones at once, busy ones after
// their calls.
func (p *Pool) Provision(v *hansom.Version, n int) {
	if n == 0 && p.groups.Get(key{v.Project, v.Function, v.Revision}) == nil {
		return
	}
	g := p.group(key{v.Project, v.Function, v.Revision})
	g.provisioned.Store(int32(n))
	p.trim(g)
}

// Boot starts one more provisioned instance of v and waits until it is ready for calls. Its init has as long as v.Timeout, at least
// 130 s. Errors: Throttled when there is no memory now, Unavailable when the pool is draining or v can never fit; Invalid with
// Lambda's code of the status reason when the function fails; what Runtimes, Code and the driver answer.
func (p *Pool) Boot(v *hansom.Version) error {
	g := p.group(key{v.Project, v.Function, v.Revision})
	defer g.mu.Unlock()
	g.serve(v)
	switch {
	case p.draining.Load():
		return errDraining()
	case g.bytes > p.memory.Limit():
		return p.tooLarge(g)
	case !p.memory.Reserve(g.bytes):
		g.mu.Unlock()
		p.evict(g)
		g.mu.Lock()
		return p.throttled("all memory for instances is in use")
	}
	g.preparing++
	done := make(chan error, 1)
	if !p.start(func() { done <- p.prepare(g) }) {
		g.preparing--
		p.memory.Release(g.bytes)
		return errDraining()
	}
	g.mu.Unlock()
	defer g.mu.Lock()
	return <-done
}

// prepare is the work of Boot.
func (p *Pool) prepare(g *group) error {
	limit := max(g.version.Timeout, minPrepare)
	var inst *instance
	var f *failure
	rt, err := p.deps.Runtimes.Resolve(g.version.Runtime)
	if err == nil {
		inst, f, err = p.tryInit(g, rt, provisioned, limit)
	}
	g.mu.Lock()
	g.preparing--
	if inst == nil {
		g.mu.Unlock()
		p.memory.Release(g.bytes)
		p.reclaim()
		p.progress()
		if f == nil {
			return err
		}
		code := codeInit
		if f.status == hansom.StatusTimeout {
			code = codeTimeout
		}
		return hansom.Errorf(hansom.Invalid, "provision", "%s", cmp.Or(f.reason, f.errorType)).WithCode(code)
	}
	inst.used.Store(true) // no call pays for its start
	p.admit(inst)
	g.mu.Lock()
	p.trim(g)
	return nil
}

// Provisioned counts the provisioned instances of v that take calls, those of them that need no replacement soon, and the calls that
// run in them.
func (p *Pool) Provisioned(v *hansom.Version) (ready, lasting, calls int) {
	g := p.groups.Get(key{v.Project, v.Function, v.Revision})
	if g == nil {
		return 0, 0, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	soon := time.Now().Add(renewEarly)
	for _, inst := range g.prepared() {
		ready++
		calls += inst.calls
		if soon.Before(inst.retireAt) {
			lasting++
		}
	}
	return ready, lasting, calls
}

// ProvisionedEnded receives when provisioned instances have ended since it received last.
func (p *Pool) ProvisionedEnded() <-chan struct{} { return p.endedC }

// prepared are the provisioned instances that take calls, those that live longest first. g is locked.
func (g *group) prepared() []*instance {
	var list []*instance
	for inst := range g.instances {
		if inst.provisioned && !inst.draining && !inst.ended() {
			list = append(list, inst)
		}
	}
	slices.SortFunc(list, func(a, b *instance) int { return b.retireAt.Compare(a.retireAt) })
	return list
}

// trim ends the provisioned instances that are too many. g is locked; trim unlocks.
func (p *Pool) trim(g *group) {
	list := g.prepared()
	var surplus []*instance
	for _, inst := range list[min(int(g.provisioned.Load()), len(list)):] {
		inst.draining = true
		g.count(inst, 0)
		if i := slices.Index(g.ready, inst); i >= 0 {
			g.ready = slices.Delete(g.ready, i, i+1)
			inst.busy.Store(true)
			surplus = append(surplus, inst)
		}
	}
	g.mu.Unlock()
	for _, inst := range surplus {
		p.endLater(inst, sandbox.Spindown)
	}
}

// provisionedEnded has the instance replaced.
func (p *Pool) provisionedEnded(inst *instance) {
	inst.group.mu.Lock()
	inst.draining = true
	inst.group.mu.Unlock()
	select {
	case p.endedC <- struct{}{}:
	default:
	}
}
