package blank

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mb = 1 << 20

// driver is a fake whose blanks use 40 MB.
func driver(script fake.Script) *fake.Driver {
	script.Usage = sandbox.Usage{MemoryPeak: 40 * mb}
	return fake.New(func(sandbox.Spec) fake.Script { return script })
}

// stock runs a stock over d until the test ends, with room for anything.
func stock(t *testing.T, cfg Config, d Driver) *Stock {
	t.Helper()
	s := New(cfg, d, slog.New(slog.NewTextHandler(t.Output(), nil)))
	s.Fit(1<<40, 1<<40)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := s.Stats(); got.Ready != 0 || got.Memory != 0 || got.Booting != 0 {
			t.Errorf("after Close: %+v", got)
		}
	})
	return s
}

// spec is what a function of 128 MB starts with; flags tell kinds apart.
func spec(id string, flags ...string) sandbox.Spec {
	return sandbox.Spec{ID: id, Owner: id, Command: append([]string{"/bin/interpreter"}, flags...), Env: []string{"SECRET=" + id}, Frames: true, Memory: 128 * mb,
		Binds: []sandbox.Bind{{Source: "/runtime", Target: "/var/runtime"}, {Source: "/code/" + id, Target: "/var/task"}},
		Boot:  &sandbox.Boot{Env: []string{"LANG=C"}, Late: []string{"/var/task", "/opt"}}}
}

// await waits until a condition holds.
func await(t *testing.T, s *Stock, what string, ok func(Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(s.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v", what, s.Stats())
		}
	}
}

func ready(n int) func(Stats) bool {
	return func(st Stats) bool { return st.Ready == n && st.Booting == 0 }
}

// begin starts a sandbox that the test's end kills.
func begin(t *testing.T, s *Stock, spec sandbox.Spec) *fake.Sandbox {
	t.Helper()
	sb, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sb.Kill()
		sb.Output().Close()
	})
	return sb.(*fake.Sandbox)
}

func TestBind(t *testing.T) {
	s := stock(t, DefaultConfig(), driver(fake.Script{}))
	if sb := begin(t, s, spec("first")); sb.Bound() != nil {
		t.Error("the first start got a blank, but there was none")
	}
	await(t, s, "a blank after the first start", ready(1))
	sb := begin(t, s, spec("second"))
	if b := sb.Bound(); b == nil || b.ID != "second" || b.Env[0] != "SECRET=second" {
		t.Errorf("the second start was bound to %+v", b)
	}
	if got := sb.Spec; len(got.Env) != 1 || got.Env[0] != "LANG=C" || len(got.Binds) != 1 || got.Binds[0].Target != "/var/runtime" || got.Memory != limit {
		t.Errorf("the blank was prepared with %+v", got)
	}
	// Other flags, extensions, or what has to boot with its environment: not this blank.
	await(t, s, "another blank", ready(1))
	other := spec("third")
	other.Extend = []string{"/opt/extensions/a"}
	whole := spec("fourth")
	whole.Boot = nil
	for _, o := range []sandbox.Spec{spec("fifth", "--flag"), other, whole} {
		if sb := begin(t, s, o); sb.Bound() != nil {
			t.Errorf("%s was bound to a blank", o.ID)
		}
	}
	if got := s.Stats(); got.Used != 1 || got.Missed != 2 {
		t.Errorf("%+v, want 1 used and 2 missed", got)
	}
}

func TestExpect(t *testing.T) {
	d := driver(fake.Script{})
	s := stock(t, DefaultConfig(), d)
	s.Expect(spec("one"))
	s.Expect(spec("two", "--flag"))
	await(t, s, "a blank of each kind", ready(2))
	if sb := begin(t, s, spec("one", "--flag")); sb.Bound() == nil {
		t.Error("the start of what was expected got no blank")
	}
}

// TestDies: a blank that ends is replaced, after a while when it did not live long, and never handed out.
func TestDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultConfig(), driver(fake.Script{}), slog.New(slog.DiscardHandler))
		s.now = time.Now
		s.free, s.share = 1<<40, 1<<40
		k := s.kind(spec("one"))
		put := func() *fake.Sandbox {
			sb, err := s.Prepare(t.Context(), sandbox.Spec{ID: newID(), Boot: k.spec.Boot})
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			s.put(k, sb, time.Millisecond)
			s.mu.Unlock()
			return sb.(*fake.Sandbox)
		}
		put().Stop(sandbox.Exit{Code: 1})
		synctest.Wait()
		if st := s.Stats(); st.Ready != 0 || st.Memory != 0 {
			t.Errorf("a blank that has ended still counts: %+v", st)
		}
		if wait, wanted := s.due(); !wanted || wait < minLife/2 {
			t.Errorf("the next boot is due in %v, %t", wait, wanted)
		}
		time.Sleep(minLife)
		if wait, wanted := s.due(); !wanted || wait > 0 {
			t.Errorf("after a while it is due in %v, %t", wait, wanted)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRoom: blanks leave what instances need at once, and come back.
func TestRoom(t *testing.T) {
	s := stock(t, DefaultConfig(), driver(fake.Script{}))
	s.Expect(spec("one"))
	s.Expect(spec("two", "--flag"))
	await(t, s, "two blanks", ready(2))
	s.Fit(50*mb, 1<<40)
	if st := s.Stats(); st.Ready != 1 || st.Memory != 40*mb {
		t.Errorf("with room for one: %+v", st)
	}
	s.Fit(0, 1<<40)
	if st := s.Stats(); st.Ready != 0 || st.Memory != 0 {
		t.Errorf("without room: %+v", st)
	}
	s.Fit(1<<40, 1<<40)
	await(t, s, "two blanks again", ready(2))
}

func TestMost(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Most = 1
	s := stock(t, cfg, driver(fake.Script{}))
	s.Expect(spec("one"))
	await(t, s, "one blank", ready(1))
	// What is used later has the place.
	s.Expect(spec("two", "--flag"))
	await(t, s, "the other blank", func(st Stats) bool { return st.Booted == 2 && ready(1)(st) })
	if sb := begin(t, s, spec("two", "--flag")); sb.Bound() == nil {
		t.Error("the blank is not of the kind that was asked for last")
	}
}

// TestDemand: what was started at once can be started at once again.
func TestDemand(t *testing.T) {
	s := stock(t, DefaultConfig(), driver(fake.Script{}))
	for _, id := range []string{"a", "b", "c", "d"} {
		begin(t, s, spec(id))
	}
	await(t, s, "four blanks", ready(4))
	for _, id := range []string{"e", "f", "g", "h"} {
		if sb := begin(t, s, spec(id)); sb.Bound() == nil {
			t.Errorf("%s got no blank", id)
		}
	}
}

// TestBootFails: an interpreter that does not boot keeps nobody from starting.
func TestBootFails(t *testing.T) {
	boots := make(chan struct{}, 1)
	d := driver(fake.Script{Process: func(context.Context, *fake.Sandbox) error {
		select {
		case boots <- struct{}{}:
		default:
		}
		return fake.Exit(1)
	}})
	s := stock(t, DefaultConfig(), d)
	s.Expect(spec("one"))
	<-boots
	await(t, s, "no blank", func(st Stats) bool { return st.Booting == 0 })
	if sb := begin(t, s, spec("one")); sb.Bound() != nil {
		t.Error("what did not boot was handed out")
	}
}

// TestStartsGoFirst: no blank is booted while a start without one is under way.
func TestStartsGoFirst(t *testing.T) {
	var s *Stock
	during := true
	s = New(DefaultConfig(), driver(fake.Script{Start: func(context.Context) error {
		_, during = s.due()
		return nil
	}}), slog.New(slog.DiscardHandler))
	s.Fit(1<<40, 1<<40)
	begin(t, s, spec("one"))
	if during {
		t.Error("a blank is to be booted while the start is under way")
	}
	if _, wanted := s.due(); !wanted {
		t.Error("no blank is to be booted after it")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// refusing cannot bind.
type refusing struct{ *fake.Driver }

type unbound struct{ *fake.Sandbox }

var errBroken = errors.New("broken")

func (unbound) Bind(context.Context, sandbox.Spec) error { return errBroken }

func (r refusing) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Blank, error) {
	sb, err := r.Driver.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	return unbound{sb.(*fake.Sandbox)}, nil
}

// TestBroken: where binding does not work, starts go on without.
func TestBroken(t *testing.T) {
	s := stock(t, DefaultConfig(), refusing{driver(fake.Script{})})
	s.Expect(spec("one"))
	s.Expect(spec("two", "--flag"))
	await(t, s, "two blanks", ready(2))
	begin(t, s, spec("one"))
	await(t, s, "none, for good", ready(0))
	if _, wanted := s.due(); wanted {
		t.Error("another blank is wanted")
	}
}

// TestForget: kinds that nobody uses any more lose their blanks.
func TestForget(t *testing.T) {
	s := stock(t, DefaultConfig(), driver(fake.Script{}))
	s.Expect(spec("one"))
	await(t, s, "a blank", ready(1))
	s.mu.Lock()
	later := time.Now().Add(s.cfg.Keep)
	s.now = func() time.Time { return later }
	s.mu.Unlock()
	s.forget()
	await(t, s, "none", ready(0))
	if len(s.kinds) != 0 {
		t.Errorf("%d kinds are remembered", len(s.kinds))
	}
}

// A steady stream of starts that boots cannot keep up with is no burst: what is wanted does not grow as long as it lasts.
func TestSteadyDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultConfig(), driver(fake.Script{}), slog.New(slog.DiscardHandler))
		defer s.Close()
		s.Fit(1<<40, 1<<40)
		for range 1000 {
			s.take(spec("steady"))
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.kind(spec("steady")).missing(); n < 10 || n > 20 {
			t.Errorf("%d blanks are missing after 10 starts a second", n)
		}
	})
}
