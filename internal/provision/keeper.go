package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
)

const (
	lookEvery   = 10 * time.Second       // for what nobody announces, such as instances to renew
	firstPause  = 250 * time.Millisecond // after a boot that failed; the next ones double
	longPause   = time.Minute
	window      = 10 * time.Second // in which a version gets a bounded number of boots, so that one that keeps exiting costs little
	minBoots    = 5
	memoryTries = 4 // boots without memory, which may be becoming free, before that is called a failure
)

type key struct{ project, function, revision string }

func keyOf(v *hansom.Version) key { return key{v.Project, v.Function, v.Revision} }

// kept is a version that has provisioned concurrency, or had and still boots.
type kept struct {
	version *hansom.Version
	asked   int    // concurrent executions
	want    int    // instances that take as many
	fits    int    // those that the memory suffices for
	short   string // the reason when that is fewer
	booting int

	reason   string    // why the last boot failed
	failures int       // in a row
	next     time.Time // no boot before
	since    time.Time // of the window
	boots    int       // in it
}

// wanted is what all configs together ask of a version.
type wanted struct {
	version *hansom.Version
	n       int // concurrent executions
}

// instances is how many of v take n calls at once.
func instances(v *hansom.Version, n int) int { return (n + v.Slots() - 1) / v.Slots() }

// Run has the pool hold what is asked for, until ctx ends; then it waits for the boots under way, which end with the pool at the
// latest.
func (s *Service) Run(ctx context.Context) error {
	var boots sync.WaitGroup
	defer boots.Wait()
	for {
		timer := time.NewTimer(s.reconcile(ctx, &boots))
		select {
		case <-s.wake:
		case <-s.pool.ProvisionedEnded():
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// reconcile starts and ends instances, and says how long nothing will be to do.
func (s *Service) reconcile(ctx context.Context, boots *sync.WaitGroup) time.Duration {
	order, err := s.wanted(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("what is to be provisioned could not be read; tried again", "error", err)
		}
		return lookEvery
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		k.want = 0
	}
	memory := int64(float64(s.pool.Memory()) * s.cfg.Memory)
	for _, w := range order {
		k := s.kept[keyOf(w.version)]
		if k == nil {
			k = &kept{version: w.version}
			s.kept[keyOf(w.version)] = k
		}
		bytes := int64(w.version.Memory) << 20
		k.asked, k.want, k.short = w.n, instances(w.version, w.n), ""
		if k.fits = int(min(int64(k.want), max(memory, 0)/bytes)); k.fits < k.want {
			k.short = fmt.Sprintf("INSUFFICIENT_MEMORY: %d of %d instances of %d MB fit: provisioned ones may use %.0f%% of the server's %d MB; provision less, give the function less memory or the server more (--memory)",
				k.fits, k.want, w.version.Memory, 100*s.cfg.Memory, s.pool.Memory()>>20)
		}
		memory -= int64(k.fits) * bytes
	}
	now, pause := s.now(), lookEvery
	for id, k := range s.kept {
		if k.want == 0 {
			k.fits = 0
		}
		s.pool.Provision(k.version, k.fits)
		if k.want == 0 {
			if k.booting == 0 {
				delete(s.kept, id)
			}
			continue
		}
		_, lasting, _ := s.pool.Provisioned(k.version)
		for missing := k.fits - lasting - k.booting; missing > 0 && ctx.Err() == nil && s.inFlight(k.version.Project) < s.cfg.Boots; missing-- {
			if wait := k.pause(now); wait > 0 {
				pause = min(pause, wait)
				break
			}
			k.booting++
			boots.Go(func() { s.boot(ctx, k) })
		}
	}
	return pause
}

// wanted is what is asked of each version, what was asked for first at the front.
func (s *Service) wanted(ctx context.Context) ([]*wanted, error) {
	list, err := s.configs(ctx, s.db.Read(), "")
	slices.SortStableFunc(list, func(a, b Concurrency) int { return a.Modified.Compare(b.Modified) })
	byKey, order := map[key]*wanted{}, []*wanted{}
	for i := range list {
		for _, sh := range s.shares(&list[i]) {
			if sh.n == 0 {
				continue
			}
			w := byKey[keyOf(sh.version)]
			if w == nil {
				w = &wanted{version: sh.version}
				byKey[keyOf(sh.version)] = w
				order = append(order, w)
			}
			w.n += sh.n
		}
	}
	return order, err
}

// inFlight counts the boots of a project. s.mu is held.
func (s *Service) inFlight(project string) int {
	n := 0
	for id, k := range s.kept {
		if id.project == project {
			n += k.booting
		}
	}
	return n
}

// pause counts one more boot, or says how long there may be none.
func (k *kept) pause(now time.Time) time.Duration {
	if wait := k.next.Sub(now); wait > 0 {
		return wait
	}
	if now.Sub(k.since) >= window {
		k.since, k.boots = now, 0
	}
	if k.boots >= max(minBoots, 2*k.want) {
		return window - now.Sub(k.since)
	}
	k.boots++
	return 0
}

// boot starts an instance and remembers what came of it.
func (s *Service) boot(ctx context.Context, k *kept) {
	err := s.pool.Boot(k.version)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.look()
	k.booting--
	if err == nil {
		k.failures, k.reason = 0, ""
		return
	}
	if ctx.Err() != nil {
		return // the server ends
	}
	k.failures++
	k.next = s.now().Add(min(firstPause<<min(k.failures-1, 10), longPause))
	var reason string
	switch e := (*hansom.Error)(nil); {
	case hansom.KindOf(err) == hansom.Throttled && k.failures < memoryTries:
		return
	case hansom.KindOf(err) == hansom.Throttled:
		reason = "INSUFFICIENT_MEMORY: other instances use all of the server's memory for instances; wait, provision less or give the server more (--memory)"
	case hansom.KindOf(err) == hansom.Unavailable:
		reason = "INSUFFICIENT_MEMORY: " + err.Error()
	case errors.As(err, &e) && e.Kind != hansom.Internal:
		reason = cmp.Or(e.Code, "INVALID_FUNCTION") + ": " + e.Message
	default:
		reason = "INTERNAL_ERROR: the instance did not start; the server's log says why"
	}
	if k.reason != reason {
		s.log.Warn("provisioned concurrency is not ready", "project", k.version.Project, "function", k.version.Function, "version", k.version.Number, "reason", reason, "error", err)
	}
	k.reason = reason
}

// forgive forgets the failures of a function that was asked to try anew.
func (s *Service) forgive(project, function string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, k := range s.kept {
		if id.project == project && id.function == function {
			k.failures, k.reason, k.short, k.next = 0, "", "", time.Time{}
		}
	}
	s.look()
}

// Usage of a version with provisioned concurrency, in concurrent executions.
type Usage struct {
	Project, Function, Version  string
	Requested, Available, InUse int
}

// Usage lists the versions with provisioned concurrency.
func (s *Service) Usage() []Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Usage
	for _, k := range s.kept {
		if k.want == 0 {
			continue
		}
		ready, _, calls := s.pool.Provisioned(k.version)
		out = append(out, Usage{k.version.Project, k.version.Function, k.version.Number, k.asked, min(ready*k.version.Slots(), k.asked), calls})
	}
	return out
}
