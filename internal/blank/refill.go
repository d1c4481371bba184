package blank

import (
	"context"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

const (
	useHold  = 10 * time.Millisecond // after a start that took a blank: the call goes first
	missHold = 100 * time.Millisecond
	maxHold  = time.Second // even when starts go on
	decay    = time.Minute // in which a fifth of the demand is forgotten
	retry    = 10 * time.Second
	minLife  = 10 * time.Second // else the next one waits so long
)

// hold puts boots off. s is locked.
func (s *Stock) hold(d time.Duration) {
	now := s.now()
	if now.After(s.quiet) {
		s.since = now
	}
	if until := now.Add(min(d, maxHold)); until.After(s.quiet) {
		s.quiet = until
	}
	if latest := s.since.Add(maxHold); s.quiet.After(latest) {
		s.quiet = latest
	}
}

func (s *Stock) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run boots blanks until ctx ends: one at a time for each two CPUs.
func (s *Stock) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.ctx, stop)()
	turn := make(chan struct{})
	var workers sync.WaitGroup
	for range max(1, runtime.NumCPU()/2) {
		workers.Go(func() {
			for range turn {
				s.refill(ctx)
			}
		})
	}
	defer workers.Wait()
	defer close(turn)
	tick := time.NewTicker(decay)
	defer tick.Stop()
	for {
		var at <-chan time.Time
		var ready chan struct{}
		switch wait, wanted := s.due(); {
		case wanted && wait <= 0:
			ready = turn
		case wanted:
			at = time.After(wait)
		}
		select {
		case ready <- struct{}{}:
		case <-at:
		case <-s.wake:
		case <-tick.C:
			s.forget()
		case <-ctx.Done():
			return nil
		}
	}
}

// due says whether a blank is to be booted, and how long that has to wait.
func (s *Stock) due() (wait time.Duration, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting > 0 || s.neediest() == nil {
		return 0, false
	}
	return max(s.quiet.Sub(s.now()), s.later.Sub(s.now())), true
}

// neediest is the kind of which a blank is to be booted; nil when all is well. s is locked.
func (s *Stock) neediest() *kind {
	if s.broken != nil || s.closed {
		return nil
	}
	var best *kind
	for _, k := range s.kinds {
		if k.missing() <= 0 || !s.fits(k) {
			continue
		}
		if none, other := k.none(), best != nil && best.none(); best == nil || none && !other || none == other && k.last.After(best.last) {
			best = k
		}
	}
	return best
}

func (k *kind) missing() int { return int(math.Ceil(k.need)) - len(k.ready) - k.booting }
func (k *kind) none() bool   { return len(k.ready)+k.booting == 0 }

// fits says whether there is room for one more of a kind, when a blank that is missed less may be given up for the first.
// s is locked.
func (s *Stock) fits(k *kind) bool {
	count, bytes := s.stats.Ready+s.stats.Booting, s.stats.Memory
	for _, o := range s.kinds {
		bytes += int64(o.booting) * o.bytes
	}
	if bytes+k.bytes > s.free {
		return false
	}
	if (s.cfg.Most < 0 || count < s.cfg.Most) && (bytes+k.bytes <= s.share || count == 0) {
		return true
	}
	if !k.none() {
		return false
	}
	for _, o := range s.kinds {
		if len(o.ready) > 1 || len(o.ready) == 1 && o.last.Before(k.last) {
			return true
		}
	}
	return false
}

// refill boots one blank.
func (s *Stock) refill(ctx context.Context) {
	s.mu.Lock()
	k := s.neediest()
	if k == nil {
		s.mu.Unlock()
		return
	}
	k.booting++
	s.stats.Booting++
	spec := k.spec
	s.mu.Unlock()

	start := s.now()
	spec.ID = newID()
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	sb, err := s.Prepare(ctx, spec)
	if err == nil {
		if err = awaitBoot(ctx, sb.Conn()); err != nil {
			(&blank{Blank: sb}).drop()
		}
	}

	if hansom.KindOf(err) == hansom.Unsupported {
		s.stop(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k.booting--
	s.stats.Booting--
	s.notify()
	if err != nil {
		if ctx.Err() != context.Canceled && s.broken == nil {
			s.log.Warn("a blank did not boot; functions start without one meanwhile", "command", spec.Command[0], "error", err)
			s.later = s.now().Add(retry)
		}
		return
	}
	s.put(k, sb, s.now().Sub(start))
}

// put adds a blank that has booted to the stock. s is locked.
func (s *Stock) put(k *kind, sb sandbox.Blank, took time.Duration) {
	bytes := max(sb.Usage().MemoryPeak, 4<<20)
	s.stats.Memory += int64(len(k.ready)) * (bytes - k.bytes)
	k.bytes, k.boot = bytes, took
	b := &blank{Blank: sb, kind: k, taken: make(chan struct{})}
	k.ready = append(k.ready, b)
	s.stats.Booted++
	s.stats.Ready++
	s.stats.Memory += bytes
	if k.missing() <= 0 {
		k.out = 0
	}
	if s.closed || s.broken != nil {
		s.end(b)
		return
	}
	for s.stats.Memory > s.free || s.stats.Memory > s.share && s.stats.Ready > 1 || s.cfg.Most >= 0 && s.stats.Ready > s.cfg.Most {
		if !s.giveUp(k) {
			s.end(b)
			return
		}
	}
	born := s.now()
	s.work.Go(func() {
		select {
		case <-sb.Done():
			s.mu.Lock()
			died := s.remove(b) // else it was taken at the same time
			if died {
				s.later = s.now().Add(minLife - s.now().Sub(born))
			}
			s.notify()
			s.mu.Unlock()
			if died {
				s.log.Warn("a blank ended while it waited; it is replaced", "exit", sb.Exit())
				b.drop()
			}
		case <-b.taken:
		}
	})
}

// forget lets demand decay, and kinds that are not used any more.
func (s *Stock) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, k := range s.kinds {
		k.need = max(1, k.need*0.8)
		for len(k.ready) > 1 && k.missing() < 0 {
			s.end(k.ready[0])
		}
		if s.now().Sub(k.last) < s.cfg.Keep {
			continue
		}
		for len(k.ready) > 0 {
			s.end(k.ready[0])
		}
		if k.booting == 0 {
			delete(s.kinds, name)
		}
	}
}
