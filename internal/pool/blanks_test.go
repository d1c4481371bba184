package pool

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

// stockroom notes what the pool tells of blanks.
type stockroom struct {
	mu       sync.Mutex
	free     []int64
	expected []sandbox.Spec
}

func (s *stockroom) Fit(free, budget int64) {
	s.mu.Lock()
	s.free = append(s.free, free)
	s.mu.Unlock()
}

func (s *stockroom) Expect(spec sandbox.Spec) { s.expected = append(s.expected, spec) }

func (s *stockroom) least() (int64, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Min(s.free), s.free[len(s.free)-1]
}

// TestBlanksRoom: blanks have what instances leave, from the reservation on, and never more.
func TestBlanksRoom(t *testing.T) {
	var room stockroom
	r := newRecorder()
	p, _ := newFake(t, r, func(sandbox.Spec) fake.Script { return fake.Script{} }, func(c *Config, d *Deps) { c.Memory, d.Blanks = 300*mb, &room })
	if least, last := room.least(); least != 300*mb || last != 300*mb {
		t.Errorf("before any call %d MB are left", last/mb)
	}
	v := version("f")
	for range 2 {
		if _, err := p.Run(context.Background(), v, call("1", `{}`), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, last := room.least(); last != 172*mb {
		t.Errorf("with an instance of 128 MB, %d MB are left of 300", last/mb)
	}
	p.Retire(v.Project, v.Function, v.Revision)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if least, last := room.least(); least != 172*mb || last != 300*mb {
		t.Errorf("%d MB were left, and %d in the end", least/mb, last/mb)
	}
}

// TestBlanksSpec: what boots before its function is known is told nothing of it, and what is expected is of the kind that starts.
func TestBlanksSpec(t *testing.T) {
	var room stockroom
	r := newRecorder()
	var mu sync.Mutex
	var started []sandbox.Spec
	p, _ := newFake(t, r, func(s sandbox.Spec) fake.Script {
		mu.Lock()
		started = append(started, s)
		mu.Unlock()
		return fake.Script{}
	}, func(_ *Config, d *Deps) { d.Blanks = &room })
	v := version("f")
	v.Environment = map[string]string{"SECRET": "of the function", "TZ": "UTC"}
	p.Expect(v)
	if _, err := p.Run(context.Background(), v, call("1", `{}`), nil); err != nil {
		t.Fatal(err)
	}
	if len(room.expected) != 1 || room.expected[0].Boot == nil || started[0].Boot == nil {
		t.Fatalf("expected %+v, started %+v", room.expected, started)
	}
	boot, expected := started[0].Boot, room.expected[0]
	if !slices.Equal(boot.Env, expected.Boot.Env) || !slices.Equal(started[0].Command, expected.Command) {
		t.Errorf("expected %+v, but started %+v", expected, started[0])
	}
	for _, e := range boot.Env {
		if !slices.Contains([]string{"LANG=en_US.UTF-8", "TZ=:UTC", "PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin", runtimes.Blank}, e) {
			t.Errorf("it boots with %s", e)
		}
	}
	for _, b := range started[0].Binds {
		if boot.IsLate(b) != (b.Target == runtimes.TaskRoot) {
			t.Errorf("%s at %s: late is %t", b.Source, b.Target, boot.IsLate(b))
		}
	}
	v = version("g")
	v.Environment = map[string]string{"NODE_OPTIONS": "--expose-gc"}
	if _, err := p.Run(context.Background(), v, call("2", `{}`), nil); err != nil {
		t.Fatal(err)
	}
	if started[1].Boot != nil {
		t.Error("a function with NODE_OPTIONS may be bound to a blank")
	}
}
