package linux

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
)

// Shares say who gets how much of a CPU, not when: to a group that has waited the kernel owes many milliseconds, and lets its
// processes have them before somebody who has just woken up; and who is in a system call, forking or dying, is not interrupted.
// So a function that takes more CPU than comes with its memory does that on some of the CPUs only while another function runs that
// takes much less, and the others keep to the rest, as long as they need no more. What comes with the memory of its instances a function may
// take anywhere. See adr/0007.
const (
	heldFor   = 5 * time.Second       // after it last took more
	calledFor = heldFor               // after it last ran a function still counts as one that runs
	atRest    = 50 * time.Microsecond // of CPU in a period, at most, is no call
	muchLess  = 2                     // times
	calm      = 0.5                   // of the CPUs that are spared those may take who keep to them
)

// place is where a sandbox may run.
type place int

const (
	anywhere place = iota
	apart          // takes more than is its own: on most CPUs
	spared         // on the others
	places
)

// surplus knows what functions use of the CPU. It may be used by several goroutines.
type surplus struct {
	cpus [places]unix.CPUSet

	mu     sync.Mutex
	owners map[string]*owner
}

// owner is a function that has sandboxes, or had some lately.
type owner struct {
	used, due  int64   // ns of CPU since judge last looked: taken, and come with the memory
	takes      float64 // CPUs, over some periods
	ran, above time.Time
	place      place
}

// meter is what surplus keeps of a sandbox.
type meter struct {
	owner  string
	memory int64 // that CPU comes with; 0 until the sandbox has initialised: boots are not counted
	used   int64 // ns of CPU counted so far
	place  place // of its threads
}

// newSurplus returns one that moves nobody where there is one CPU only.
func newSurplus() *surplus {
	s := &surplus{owners: map[string]*owner{}}
	all := &s.cpus[anywhere]
	if unix.SchedGetaffinity(0, all) != nil {
		return s
	}
	s.cpus[apart] = *all
	for cpu, left := 0, sparedOf(all.Count()); left > 0; cpu++ {
		if all.IsSet(cpu) {
			s.cpus[apart].Clear(cpu)
			s.cpus[spared].Set(cpu)
			left--
		}
	}
	return s
}

// sparedOf is how many of n CPUs are left to those who wait: a fourth, at least one, and none where there is only one.
func sparedOf(n int) int { return min(max(1, n/4), n-1) }

// begin makes what a sandbox uses from now on count.
func (s *surplus) begin(m *meter, memory, used int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.memory, m.used = memory, used
}

// count adds what a sandbox has used until now, when it ran for the given time since judge last looked.
func (s *surplus) count(m *meter, used int64, ran time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.memory == 0 || m.owner == "" {
		return
	}
	o := s.owners[m.owner]
	if o == nil {
		o = &owner{}
		s.owners[m.owner] = o
	}
	o.due += int64(ran) * m.memory / cgroup.CPUMemory
	if used > m.used { // it has not ended
		o.used += used - m.used
		m.used = used
	}
}

// judge decides who is held, a period after it last did.
func (s *surplus) judge(now time.Time, period time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := math.Inf(1)
	for name, o := range s.owners {
		if o.used > int64(atRest) {
			o.ran = now
		}
		if o.used > max(o.due, int64(period)/busyShare) {
			o.above = now
		}
		o.takes += (float64(o.used)/float64(period) - o.takes) / 4
		o.used, o.due = 0, 0
		switch idle := now.Sub(o.ran); {
		case idle > heldFor:
			delete(s.owners, name)
		case idle <= calledFor:
			least = min(least, o.takes)
		}
	}
	taken, rest := false, 0.0
	for _, o := range s.owners {
		o.place = anywhere
		if now.Sub(o.above) <= heldFor && o.takes >= muchLess*least {
			o.place, taken = apart, true
		} else {
			rest += o.takes
		}
	}
	if !taken || rest > calm*float64(s.cpus[spared].Count()) {
		return
	}
	for _, o := range s.owners {
		if o.place == anywhere {
			o.place = spared
		}
	}
}

// placeOf says where a sandbox is to run, and whether that is new.
func (s *surplus) placeOf(m *meter) (at place, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[m.owner]; o != nil {
		at = o.place
	}
	changed = at != m.place
	m.place = at
	return at, changed
}

// adopt says whose a sandbox is.
func (s *surplus) adopt(m *meter, owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.owner = owner
}

// apply lets threads run where they are to. They pass that on to what they start.
func (s *surplus) apply(at place, threads ...int) {
	if s.cpus[spared].Count() == 0 {
		return
	}
	for _, thread := range threads {
		_ = unix.SchedSetaffinity(thread, &s.cpus[at]) // it may have ended
	}
}
