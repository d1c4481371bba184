package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const project = hansom.DefaultProject

// functions are f and g, with versions 1 and 2, the alias live of 1, split of both, and newest of $LATEST.
type functions struct {
	mu       sync.Mutex
	routes   map[string]route // "f:live"
	reserved map[string]int
}

type route struct {
	first, second *hansom.Version
	weight        float64
}

func version(function, number string) *hansom.Version {
	return &hansom.Version{Project: project, Function: function, Number: number, Revision: "r" + function + number, Memory: 128}
}

func newFunctions() *functions {
	f := &functions{routes: map[string]route{}, reserved: map[string]int{"f": -1, "g": -1}}
	for _, name := range []string{"f", "g"} {
		for qualifier, r := range map[string]route{
			"": {first: version(name, hansom.Latest)}, hansom.Latest: {first: version(name, hansom.Latest)}, "newest": {first: version(name, hansom.Latest)},
			"1": {first: version(name, "1")}, "2": {first: version(name, "2")}, "live": {first: version(name, "1")},
			"split": {version(name, "1"), version(name, "2"), 0.25},
		} {
			f.routes[name+":"+qualifier] = r
		}
	}
	return f
}

func (f *functions) Route(project, name, qualifier string) (first, second *hansom.Version, weight float64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.routes[name+":"+qualifier]
	if !ok {
		format := "Function not found: %s"
		if strings.Trim(qualifier, "0123456789") != "" {
			format = "Cannot find alias arn: %s"
		}
		return nil, nil, 0, hansom.Errorf(hansom.NotFound, "route", format, hansom.FunctionARN("us-east-1", project, name, qualifier))
	}
	return r.first, r.second, r.weight, nil
}

func (f *functions) Resolve(_ context.Context, project, name, qualifier string) (hansom.Target, error) {
	first, _, _, err := f.Route(project, name, qualifier)
	f.mu.Lock()
	defer f.mu.Unlock()
	return hansom.Target{Version: first, Reserved: f.reserved[name]}, err
}

func (f *functions) Reserved(string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.reserved["f"], 0) + max(f.reserved["g"], 0)
}

// point makes a qualifier of f stand for something else.
func (f *functions) point(qualifier string, r route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes["f:"+qualifier] = r
}

// fakePool is a pool that boots in no time.
type fakePool struct {
	mu     sync.Mutex
	ready  map[string]int // by function and version
	old    map[string]int // of those: to be renewed
	limit  map[string]int
	boots  int
	fail   error
	memory int64
	ended  chan struct{}
}

func newFakePool() *fakePool {
	return &fakePool{ready: map[string]int{}, old: map[string]int{}, limit: map[string]int{}, memory: 1 << 40, ended: make(chan struct{}, 1)}
}

func name(v *hansom.Version) string { return v.Function + ":" + v.Number }

func (p *fakePool) Provision(v *hansom.Version, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit[name(v)] = n
	p.ready[name(v)] = min(p.ready[name(v)], n)
	if p.ready[name(v)] == 0 {
		delete(p.ready, name(v))
	}
}

func (p *fakePool) Boot(v *hansom.Version) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.boots++
	if p.fail != nil {
		return p.fail
	}
	if p.ready[name(v)] < p.limit[name(v)] {
		p.ready[name(v)]++
	} else if p.old[name(v)] > 0 {
		p.old[name(v)]--
	}
	return nil
}

func (p *fakePool) Provisioned(v *hansom.Version) (ready, lasting, calls int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready[name(v)], p.ready[name(v)] - p.old[name(v)], 0
}

func (p *fakePool) ProvisionedEnded() <-chan struct{} { return p.ended }
func (p *fakePool) Memory() int64                     { return p.memory }

func (p *fakePool) set(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.ended <- struct{}{}:
	default:
	}
}

func (p *fakePool) held() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for k, n := range p.ready {
		out[k] = n
	}
	return out
}

func open(t *testing.T, d *db.DB, f *functions, p *fakePool) *Service {
	t.Helper()
	s, err := New(t.Context(), DefaultConfig(), d, f, p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run has Run beside the test until stop is called, or the test ends.
func run(t *testing.T, s *Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func text(list ...Concurrency) string {
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprintf("%s: %d requested, %s", c.Qualifier, c.Requested, c.Status))
	}
	return strings.Join(out, "; ")
}

func describe(err error) string {
	var e *hansom.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	code := map[hansom.Kind]string{hansom.Invalid: "Invalid", hansom.NotFound: "NotFound", hansom.Conflict: "Conflict"}[e.Kind]
	if e.Code != "" {
		code = e.Code
	}
	return code + ": " + e.Message
}

// The answers are those of AWS, as far as they are known.
func TestRequests(t *testing.T) {
	data, err := os.ReadFile("testdata/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name  string
		Steps []struct {
			Do, Function, Qualifier, Want, Error string
			N                                    int
		}
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) {
				f := newFunctions()
				s := open(t, d, f, newFakePool())
				for _, name := range []string{"f", "g"} {
					if err := d.Write(t.Context(), func(tx *db.Tx) error { return s.Remove(t.Context(), tx, project, name, "") }); err != nil {
						t.Fatal(err)
					}
				}
				for i, step := range c.Steps {
					if step.Function == "" {
						step.Function = "f"
					}
					var list []Concurrency
					var one Concurrency
					var err error
					switch step.Do {
					case "put":
						one, err = s.Put(t.Context(), project, step.Function, step.Qualifier, step.N)
						list = append(list, one)
					case "get":
						one, err = s.Get(t.Context(), project, step.Function, step.Qualifier)
						list = append(list, one)
					case "list":
						list, _, err = s.List(t.Context(), project, step.Function, "", 0)
					case "delete":
						err = s.Delete(t.Context(), project, step.Function, step.Qualifier)
					case "keep":
						err = d.Write(t.Context(), func(tx *db.Tx) error { return s.Keep(t.Context(), tx, project, step.Function, step.N) })
					case "reserve":
						f.mu.Lock()
						f.reserved["f"] = step.N
						f.mu.Unlock()
					default:
						t.Fatalf("step %d: %q", i, step.Do)
					}
					got := text(list...)
					if err != nil {
						got = describe(err)
					}
					if got != step.Want+step.Error {
						t.Errorf("step %d:\n got %s\nwant %s", i+1, got, step.Want+step.Error)
					}
				}
			})
		}
	})
}

func TestPages(t *testing.T) {
	s := open(t, dbtest.Open(t, dbtest.SQLite(t)), newFunctions(), newFakePool())
	for _, q := range []string{"2", "live"} {
		if _, err := s.Put(t.Context(), project, "f", q, 1); err != nil {
			t.Fatal(err)
		}
	}
	first, next, err := s.List(t.Context(), project, "f", "", 1)
	if err != nil || next == "" || len(first) != 1 || first[0].ARN != "arn:aws:lambda:us-east-1:000000000000:function:f:2" {
		t.Fatalf("%+v, %q, %v", first, next, err)
	}
	second, next, err := s.List(t.Context(), project, "f", next, 1)
	if err != nil || next != "" || len(second) != 1 || second[0].Qualifier != "live" {
		t.Errorf("%+v, %q, %v", second, next, err)
	}
	if _, _, err := s.List(t.Context(), project, "f", "?", 1); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func wantHeld(t *testing.T, p *fakePool, want map[string]int) {
	t.Helper()
	eventually(t, fmt.Sprint(want), func() bool { return cmp.Equal(p.held(), want) })
}

func wantStatus(t *testing.T, s *Service, qualifier, status, reason string, available int) {
	t.Helper()
	eventually(t, fmt.Sprint(qualifier, status, reason, available), func() bool {
		c, err := s.Get(t.Context(), project, "f", qualifier)
		if err != nil {
			t.Fatal(err)
		}
		return c.Status == status && c.Available == available && strings.HasPrefix(c.Reason, reason)
	})
}

func put(t *testing.T, s *Service, qualifier string, n int) {
	t.Helper()
	if _, err := s.Put(t.Context(), project, "f", qualifier, n); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsAskedForIsHeld(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		f, p := newFunctions(), newFakePool()
		s := open(t, d, f, p)
		stop := run(t, s)
		put(t, s, "live", 3)
		wantHeld(t, p, map[string]int{"f:1": 3})
		wantStatus(t, s, "live", Ready, "", 3)

		p.set(func() { p.ready["f:1"] = 1 }) // two have died
		wantHeld(t, p, map[string]int{"f:1": 3})
		p.set(func() { p.old["f:1"] = 2 })
		eventually(t, "two are renewed", func() bool { _, lasting, _ := p.Provisioned(version("f", "1")); return lasting == 3 })

		f.point("live", route{first: version("f", "2")})
		s.look()
		wantHeld(t, p, map[string]int{"f:2": 3})
		f.point("live", route{version("f", "2"), version("f", "1"), 0.1})
		s.look()
		wantHeld(t, p, map[string]int{"f:2": 3, "f:1": 1})
		wantStatus(t, s, "live", Ready, "", 3)
		f.point("live", route{first: version("f", "1")})
		put(t, s, "live", 2)
		wantHeld(t, p, map[string]int{"f:1": 2})

		keep := func(n int) {
			t.Helper()
			if err := d.Write(t.Context(), func(tx *db.Tx) error { return s.Keep(t.Context(), tx, project, "g", n) }); err != nil {
				t.Fatal(err)
			}
		}
		keep(1)
		wantHeld(t, p, map[string]int{"f:1": 2, "g:$LATEST": 1})
		if u := s.Usage(); len(u) != 2 {
			t.Errorf("%+v", u)
		}

		// The server begins again.
		stop()
		p = newFakePool()
		s = open(t, d, f, p)
		run(t, s)
		wantHeld(t, p, map[string]int{"f:1": 2, "g:$LATEST": 1})
		keep(0)
		if err := s.Delete(t.Context(), project, "f", "live"); err != nil {
			t.Fatal(err)
		}
		wantHeld(t, p, map[string]int{})
	})
}

// An instance that takes several calls stands for as many concurrent executions.
func TestSlots(t *testing.T) {
	f, p := newFunctions(), newFakePool()
	s := open(t, dbtest.Open(t, dbtest.SQLite(t)), f, p)
	run(t, s)
	v := version("f", "1")
	v.Concurrency = 10
	f.point("1", route{first: v})
	put(t, s, "1", 25)
	wantHeld(t, p, map[string]int{"f:1": 3})
	wantStatus(t, s, "1", Ready, "", 25)
	p.set(func() { p.fail = errors.New("broken host"); p.ready["f:1"] = 2 })
	wantStatus(t, s, "1", Failed, "INTERNAL_ERROR: ", 20)
}

// What fails says why, is tried again, and is well again when it works or something else is asked for.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason string
	}{
		{hansom.Errorf(hansom.Invalid, "boot", "Runtime.ImportModuleError").WithCode("FUNCTION_ERROR_INIT_FAILURE"), "FUNCTION_ERROR_INIT_FAILURE: Runtime.ImportModuleError"},
		{hansom.Errorf(hansom.Throttled, "boot", "full"), "INSUFFICIENT_MEMORY: other instances use all"},
		{hansom.Errorf(hansom.Unavailable, "boot", "the function needs 128 MB"), "INSUFFICIENT_MEMORY: the function needs 128 MB"},
		{hansom.Errorf(hansom.Internal, "boot", "/secret/path"), "INTERNAL_ERROR: the instance did not start; the server's log says why"},
	} {
		f, p := newFunctions(), newFakePool()
		p.fail = c.err
		s := open(t, dbtest.Open(t, dbtest.SQLite(t)), f, p)
		run(t, s)
		put(t, s, "1", 1)
		wantStatus(t, s, "1", Failed, c.reason, 0)
		p.set(func() { p.fail = nil })
		wantStatus(t, s, "1", Ready, "", 1)
	}
}

// A version that does not fit into the memory gets as many as fit; the one that was asked for first has the first choice.
func TestMemory(t *testing.T) {
	f, p := newFunctions(), newFakePool()
	p.memory = 4 * 128 << 20
	s := open(t, dbtest.Open(t, dbtest.SQLite(t)), f, p)
	run(t, s)
	put(t, s, "2", 2)
	put(t, s, "1", 2)
	wantHeld(t, p, map[string]int{"f:1": 1, "f:2": 2})
	wantStatus(t, s, "1", Failed, "INSUFFICIENT_MEMORY: 1 of 2 instances of 128 MB fit", 1)
	put(t, s, "1", 1)
	wantStatus(t, s, "1", Ready, "", 1)
}

// A version whose instances keep exiting gets a bounded number of boots.
func TestBootsAreBounded(t *testing.T) {
	k, start, boots := &kept{want: 1}, time.Now(), 0
	for now := start; now.Sub(start) < 100*time.Second; {
		wait := k.pause(now)
		if wait == 0 {
			boots++
			wait = time.Millisecond // it exits as soon as it has begun
		}
		now = now.Add(wait)
	}
	if boots < 10*minBoots-1 || boots > 10*minBoots+1 {
		t.Errorf("%d boots in 100 s, of %d in 10 s", boots, minBoots)
	}
}
