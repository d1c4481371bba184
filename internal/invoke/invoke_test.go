package invoke

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is Functions, Runner and Recorder.
type world struct {
	reserved map[string]int // function -> reserved; all that are not there share the project's
	run      func(v *hansom.Version, inv *hansom.Invocation) (hansom.Result, error)

	runtime string
	configs map[string]hansom.AsyncConfig // by "function:qualifier"
	dead    string                        // queue for dead letters
	loops   bool
	gone    map[string]bool // functions that were deleted

	mu        sync.Mutex
	arrived   []hansom.Delivery
	refuse    func(d hansom.Delivery) error
	throttles map[string]int // "project function reason"
}

func (w *world) Resolve(_ context.Context, project, name, qualifier string) (hansom.Target, error) {
	if name == "missing" || w.gone[name] || qualifier == "missing" {
		return hansom.Target{}, hansom.Errorf(hansom.NotFound, "resolve", "Function not found: %s", name)
	}
	n := -1
	if r, ok := w.reserved[name]; ok {
		n = r
	}
	v := &hansom.Version{Project: project, Region: hansom.DefaultRegion, Function: name, Number: hansom.Latest, Runtime: w.runtime, DeadLetter: w.dead}
	return hansom.Target{Version: v, ARN: hansom.FunctionARN(v.Region, project, name, qualifier), Reserved: n, Loops: w.loops}, nil
}

func (w *world) Async(_, name, qualifier string) hansom.AsyncConfig {
	if c, ok := w.configs[name+":"+qualifier]; ok {
		return c
	}
	return hansom.DefaultAsyncConfig()
}

func (w *world) Deliver(_ context.Context, d hansom.Delivery) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(d); err != nil {
			return err
		}
	}
	w.arrived = append(w.arrived, d)
	return nil
}

func (w *world) Reserved(project string) int {
	if project != hansom.DefaultProject {
		return 0
	}
	sum := 0
	for _, n := range w.reserved {
		sum += n
	}
	return sum
}

func (w *world) Run(_ context.Context, v *hansom.Version, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	if w.run == nil {
		return hansom.NewResult(inv.Payload, nil), nil
	}
	return w.run(v, inv)
}

func (w *world) Throttled(project, function, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.throttles == nil {
		w.throttles = map[string]int{}
	}
	w.throttles[project+" "+function+" "+reason]++
}

func newService(t testing.TB, w *world) *Service {
	t.Helper()
	s, err := New(DefaultConfig(), w, w, w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inv(function string) *hansom.Invocation {
	return &hansom.Invocation{Project: hansom.DefaultProject, Function: function, Payload: []byte("1")}
}

func isKind(t *testing.T, err error, kind hansom.Kind) *hansom.Error {
	t.Helper()
	var e *hansom.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error %v, want kind %d", err, kind)
	}
	return e
}

func TestInvoke(t *testing.T) {
	w := &world{}
	s := newService(t, w)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	trace := regexp.MustCompile(`^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0$`)
	seen := map[string]bool{}
	for range 100 {
		i := inv("f")
		i.Qualifier, i.Payload = "live", nil
		res, err := s.Invoke(t.Context(), i, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(res.Payload) != "{}" || i.ARN != "arn:aws:lambda:us-east-1:000000000000:function:f:live" || !uuid.MatchString(i.ID) || !trace.MatchString(i.Trace) {
			t.Fatalf("%+v", i)
		}
		seen[i.ID], seen[i.Trace], seen[hansom.NewID()] = true, true, true
	}
	if len(seen) != 300 {
		t.Errorf("%d different ids and traces of 300", len(seen))
	}
	kept := inv("f")
	kept.ID, kept.Trace = "id", "Root=1"
	if _, err := s.Invoke(t.Context(), kept, nil); err != nil || kept.ID != "id" || !strings.HasPrefix(kept.Trace, "Root=1;Lineage=") {
		t.Errorf("%+v %v", kept, err)
	}
	_, err := s.Invoke(t.Context(), inv("missing"), nil)
	isKind(t, err, hansom.NotFound)
}

// A web request becomes an event, but for a function that serves HTTP.
type fiber struct{}

func (fiber) Detach() {}

func TestExchange(t *testing.T) {
	var got *hansom.Invocation
	w := &world{run: func(_ *hansom.Version, inv *hansom.Invocation) (hansom.Result, error) {
		got = inv
		return hansom.Result{}, nil
	}}
	s := newService(t, w)
	broken := errors.New("broken")
	call := func(runtime string, event []byte, err error) error {
		w.runtime = runtime
		i := inv("f")
		i.Payload, i.HTTP = nil, &hansom.Exchange{Event: func() ([]byte, error) { return event, err }}
		_, err = s.Invoke(t.Context(), i, nil)
		return err
	}
	if err := call("nodejs22.x", []byte("event"), nil); err != nil || string(got.Payload) != "event" || got.HTTP != nil {
		t.Errorf("%+v %v", got, err)
	}
	if err := call(hansom.RuntimeHTTP, []byte("event"), broken); err != nil || got.Payload != nil || got.HTTP == nil {
		t.Errorf("%+v %v", got, err)
	}
	if err := call("nodejs22.x", nil, broken); err != broken {
		t.Error(err)
	}
	w.runtime = hansom.RuntimeHTTP
	onFiber := inv("f")
	onFiber.HTTP, onFiber.Fiber = &hansom.Exchange{}, fiber{}
	if _, err := s.Invoke(t.Context(), onFiber, nil); err != hansom.ErrHandOver {
		t.Error(err)
	}
	isKind(t, call("nodejs22.x", make([]byte, 6<<20+1), nil), hansom.TooLarge)
}

func TestPayloadLimit(t *testing.T) {
	s := newService(t, &world{})
	i := inv("f")
	i.Payload = make([]byte, 6<<20)
	if _, err := s.Invoke(t.Context(), i, nil); err != nil {
		t.Error(err)
	}
	i.Payload = make([]byte, 6<<20+1)
	_, err := s.Invoke(t.Context(), i, nil)
	if e := isKind(t, err, hansom.TooLarge); e.Message != "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)" {
		t.Error(e.Message)
	}
}

// 500 clients at once on reserved concurrency 5: five run, the others are refused at once.
func TestReservedConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{reserved: map[string]int{"f": 5, "off": 0}, run: func(*hansom.Version, *hansom.Invocation) (hansom.Result, error) {
			time.Sleep(time.Second)
			return hansom.Result{}, nil
		}}
		s := newService(t, w)
		for round := range 2 { // what was taken is given back
			var calls sync.WaitGroup
			var mu sync.Mutex
			ran := 0
			begin := time.Now()
			for range 500 {
				calls.Go(func() {
					_, err := s.Invoke(t.Context(), inv("f"), nil)
					if err == nil {
						mu.Lock()
						ran++
						mu.Unlock()
						return
					}
					if e := isKind(t, err, hansom.Throttled); e.Reason != ReasonReserved || e.Message != "Rate Exceeded." || time.Since(begin) != 0 {
						t.Errorf("%v, %s, after %s", e, e.Reason, time.Since(begin))
					}
				})
			}
			calls.Wait()
			if ran != 5 || w.throttles[hansom.DefaultProject+" f "+ReasonReserved] != 495*(round+1) {
				t.Errorf("round %d: %d ran, throttles %v", round, ran, w.throttles)
			}
		}
		_, err := s.Invoke(t.Context(), inv("off"), nil)
		if e := isKind(t, err, hansom.Throttled); e.Reason != ReasonReserved {
			t.Error(e.Reason)
		}
		for i := range s.limits.shards {
			if n := len(s.limits.shards[i].running); n != 0 {
				t.Errorf("%d functions are still counted", n)
			}
		}
	})
}

// The project's functions share what is not reserved; reserved ones and other projects do not feel it.
func TestProjectConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{reserved: map[string]int{"reserved": 100, "other": 300}, run: func(*hansom.Version, *hansom.Invocation) (hansom.Result, error) {
			time.Sleep(time.Second)
			return hansom.Result{}, nil
		}}
		s := newService(t, w)
		var calls sync.WaitGroup
		for i := range 600 {
			calls.Go(func() {
				if _, err := s.Invoke(t.Context(), inv(fmt.Sprint("f", i%7)), nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_, err := s.Invoke(t.Context(), inv("f0"), nil)
		if e := isKind(t, err, hansom.Throttled); e.Reason != ReasonProject || e.Message != "Rate Exceeded." {
			t.Errorf("%v %s", e, e.Reason)
		}
		if _, err := s.Invoke(t.Context(), inv("reserved"), nil); err != nil {
			t.Error(err)
		}
		calls.Wait()
		for i := range 600 {
			calls.Go(func() {
				if _, err := s.Invoke(t.Context(), inv(fmt.Sprint("f", i%7)), nil); err != nil {
					t.Error(err)
				}
			})
		}
		other := inv("f0")
		other.Project = "111111111111"
		if _, err := s.Invoke(t.Context(), other, nil); err != nil {
			t.Error(err)
		}
		calls.Wait()
	})
}

// A call that the pool throttles counts as throttled too, other errors do not; both free their place.
func TestErrorsOfTheRunner(t *testing.T) {
	var answer error
	w := &world{reserved: map[string]int{"f": 1}, run: func(*hansom.Version, *hansom.Invocation) (hansom.Result, error) { return hansom.Result{}, answer }}
	s := newService(t, w)
	throttled := hansom.Errorf(hansom.Throttled, "run", "no memory")
	throttled.Reason = ReasonProject
	for _, answer = range []error{throttled, hansom.Errorf(hansom.Unavailable, "run", "shutting down"), throttled} {
		if _, err := s.Invoke(t.Context(), inv("f"), nil); !errors.Is(err, answer) {
			t.Errorf("%v, want %v", err, answer)
		}
	}
	if len(w.throttles) != 1 || w.throttles[hansom.DefaultProject+" f "+ReasonProject] != 2 {
		t.Errorf("%v", w.throttles)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{}, {Concurrency: 1}, {MaxPayload: 1}} {
		_, err := New(cfg, nil, nil, nil)
		if e := isKind(t, err, hansom.Invalid); !strings.Contains(e.Message, "positive") {
			t.Error(e)
		}
	}
}

// still answers Resolve without work.
type still struct {
	*world
	target hansom.Target
}

func (s still) Resolve(context.Context, string, string, string) (hansom.Target, error) {
	return s.target, nil
}

// A call allocates its id and trace, both in one string; a web request, which has them, nothing.
func TestAllocations(t *testing.T) {
	for _, reserved := range []int{-1, 10} {
		w := &world{}
		f := still{w, hansom.Target{Version: &hansom.Version{Project: hansom.DefaultProject, Function: "f"}, ARN: "arn", Reserved: reserved}}
		s, err := New(DefaultConfig(), f, w, w)
		if err != nil {
			t.Fatal(err)
		}
		i := inv("f")
		for _, c := range []struct {
			id   string
			want float64
		}{{"", 1}, {"id", 0}} {
			if n := testing.AllocsPerRun(1000, func() {
				i.ID, i.Trace, i.Source = c.id, c.id, "http"
				if _, err := s.Invoke(context.Background(), i, nil); err != nil {
					t.Fatal(err)
				}
			}); n > c.want {
				t.Errorf("reserved %d, id %q: %.1f allocations, want %.0f", reserved, c.id, n, c.want)
			}
		}
	}
}
