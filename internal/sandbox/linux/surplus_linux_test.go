package linux

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/linux/cgroup"
	"github.com/hansomcloud/hansom/internal/sandbox/sandboxtest"
)

// stage is functions that take CPU in fake time.
type stage struct {
	*surplus
	now   time.Time
	boxes map[string]*meter
}

func newStage() *stage {
	return &stage{newSurplus(), time.Unix(0, 0), map[string]*meter{}}
}

// run lets functions take CPUs for some periods. Each has one sandbox with the memory of half a CPU.
func (s *stage) run(periods int, takes map[string]float64) {
	for range periods {
		for name, cpus := range takes {
			m := s.boxes[name]
			if m == nil {
				m = &meter{owner: name}
				s.begin(m, cgroup.CPUMemory/2, 0)
				s.boxes[name] = m
			}
			s.count(m, m.used+int64(cpus*float64(turnPeriod)), turnPeriod)
		}
		s.now = s.now.Add(turnPeriod)
		s.judge(s.now, turnPeriod)
	}
}

func (s *stage) place(name string) place {
	at, _ := s.placeOf(&meter{owner: name})
	return at
}

func (s *stage) held(name string) bool { return s.place(name) == apart }

func TestSurplusIsJudged(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes map[string]float64
		held  bool // the function "busy"
	}{
		{"more than is its own, beside one that is called", map[string]float64{"busy": 1.5, "called": 0.05}, true},
		{"alone", map[string]float64{"busy": 1.5}, false},
		{"what is its own", map[string]float64{"busy": 0.5, "called": 0.05}, false},
		{"beside one that takes as much", map[string]float64{"busy": 1, "called": 0.9}, false},
		{"beside one that takes more than its own too", map[string]float64{"busy": 1.9, "called": 0.6}, true},
	} {
		s := newStage()
		s.run(10, c.takes)
		if got := s.held("busy"); got != c.held {
			t.Errorf("%s: held %v", c.name, got)
		}
		if s.held("called") {
			t.Errorf("%s: the other one is held", c.name)
		}
	}
}

func TestSurplusLasts(t *testing.T) {
	s := newStage()
	both := map[string]float64{"busy": 2, "called": 0.05}
	s.run(5, both)
	if !s.held("busy") {
		t.Fatal("not held")
	}
	s.run(int(calledFor/turnPeriod)+1, map[string]float64{"busy": 2})
	if s.held("busy") {
		t.Error("held when nobody else has been called for a while")
	}
	s.run(1, both)
	if !s.held("busy") {
		t.Error("not held when the other one is called again")
	}
	s.run(10, map[string]float64{"called": 0.05})
	s.run(1, map[string]float64{"busy": 0.3, "called": 0.05})
	if !s.held("busy") {
		t.Error("its next sandbox is not held")
	}
	s.run(int(heldFor/turnPeriod)+1, map[string]float64{"busy": 0.3, "called": 0.05})
	if s.held("busy") {
		t.Error("held though it takes no more than is its own")
	}
	s.run(1, map[string]float64{"busy": 2})
	s.run(int(calledFor/turnPeriod), map[string]float64{"busy": 2, "called": 0.0001})
	s.run(1, map[string]float64{"busy": 2, "called": 0.0001})
	if s.held("busy") {
		t.Error("held though the other one is at rest")
	}
	s.run(int(heldFor/turnPeriod)+1, nil)
	if n := len(s.owners); n != 0 {
		t.Errorf("%d functions are remembered for good", n)
	}
}

// A sandbox counts from the end of its boot to its own end.
func TestSurplusCounts(t *testing.T) {
	s := newStage()
	for range 5 {
		boots, lived := &meter{owner: "boots"}, &meter{owner: "dies"}
		s.count(boots, int64(turnPeriod), turnPeriod)
		s.begin(lived, cgroup.CPUMemory/2, int64(turnPeriod))
		s.count(lived, int64(3*turnPeriod), turnPeriod)
		s.count(lived, 0, turnPeriod) // it has gone
		s.run(1, map[string]float64{"called": 0.05})
	}
	if s.held("boots") || !s.held("dies") {
		t.Errorf("held: one that boots %v, one whose sandboxes die %v", s.held("boots"), s.held("dies"))
	}
}

// Who takes little keeps to the CPUs that are spared, unless they are too few.
func TestSurplusSpares(t *testing.T) {
	s := newStage()
	few := float64(s.cpus[spared].Count())
	if few == 0 {
		t.Skip("one CPU only")
	}
	for _, c := range []struct {
		called float64
		want   place
	}{{0.1, spared}, {0.45 * few, spared}, {0.7 * few, anywhere}, {0.1, spared}} {
		s.run(20, map[string]float64{"busy": 4 * few, "called": c.called})
		if got := s.place("called"); got != c.want || !s.held("busy") {
			t.Errorf("one that takes %v CPUs: place %d, want %d; held %v", c.called, got, c.want, s.held("busy"))
		}
	}
	s.run(20, map[string]float64{"called": 0.1})
	s.run(int(heldFor/turnPeriod)+1, map[string]float64{"called": 0.1})
	if got := s.place("called"); got != anywhere {
		t.Errorf("when all are calm: place %d", got)
	}
}

func TestSparedOf(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 4: 1, 8: 2, 64: 16} {
		if got := sparedOf(n); got != want {
			t.Errorf("of %d CPUs %d are spared, want %d", n, got, want)
		}
	}
}

// Beside one that mostly waits, a sandbox that computes keeps off a CPU, and so does the next one of its function, from the start.
func TestSurplus(t *testing.T) {
	d := openDriver(t, t.TempDir())
	if d.surplus.cpus[spared].Count() == 0 {
		t.Skip("one CPU only")
	}
	if len(d.groups.Dirs()) == 0 {
		t.Skip("no cgroups")
	}
	start := func(id, owner string, spec sandbox.Spec) sandbox.Sandbox {
		t.Helper()
		spec.ID, spec.Owner = id, owner
		sb, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sb.Kill(); sb.Output().Close() })
		if err := sb.(sandbox.Capper).Cap(128 << 20); err != nil {
			t.Fatal(err)
		}
		return sb
	}
	cpus := func(id string) (sets map[unix.CPUSet]bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		sets = map[unix.CPUSet]bool{}
		for _, thread := range d.living[id].group.Threads() {
			var set unix.CPUSet
			if unix.SchedGetaffinity(thread, &set) == nil {
				sets[set] = true
			}
		}
		return sets
	}
	until := func(what, id string, want unix.CPUSet) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			sets := cpus(id)
			if len(sets) == 1 && sets[want] {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: it may run on %v", what, sets)
			}
		}
	}
	compute := show(t, "", sandboxtest.Hold)
	compute.Command = []string{"/bin/sh", "-c", "while :; do :; done & while :; do :; done"}
	calls := show(t, "", sandboxtest.Hold)
	calls.Command = []string{"/bin/sh", "-c", "while :; do sleep 0.02; done"}
	waiter := start("waiter", "waits", calls)
	start("busy", "computes", compute)
	until("one that computes", "busy", d.surplus.cpus[apart])
	until("one that mostly waits", "waiter", d.surplus.cpus[spared])
	start("next", "computes", show(t, "", sandboxtest.Hold))
	if sets := cpus("next"); len(sets) != 1 || !sets[d.surplus.cpus[apart]] {
		t.Errorf("the next one of the function may run on %v", sets)
	}
	waiter.Kill()
	until("when the other one has gone", "busy", d.surplus.cpus[anywhere])
}
