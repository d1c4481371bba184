package invoke

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db/dbtest"
	"github.com/hansomcloud/hansom/internal/lanes"
	"github.com/hansomcloud/hansom/internal/lanes/lanestest"
)

// attempts is a hansom.Invoker that notes what is invoked and when.
type attempts struct {
	answer func(inv *hansom.Invocation) (hansom.Result, error)

	mu   sync.Mutex
	seen []string // "id payload seconds"
	from time.Time
	runs map[string]int // under way, by function
	most map[string]int
}

func newAttempts(answer func(inv *hansom.Invocation) (hansom.Result, error)) *attempts {
	return &attempts{answer: answer, from: time.Now(), runs: map[string]int{}, most: map[string]int{}}
}

func (a *attempts) Invoke(_ context.Context, inv *hansom.Invocation, _ hansom.Sink) (hansom.Result, error) {
	a.mu.Lock()
	a.seen = append(a.seen, fmt.Sprintf("%s %s %.0f", inv.ID, inv.Payload, time.Since(a.from).Seconds()))
	a.runs[inv.Function]++
	a.most[inv.Function] = max(a.most[inv.Function], a.runs[inv.Function])
	a.mu.Unlock()
	result, err := a.answer(inv)
	a.mu.Lock()
	a.runs[inv.Function]--
	a.mu.Unlock()
	if inv.Source != "async" || inv.Trace == "" || inv.Project != hansom.DefaultProject {
		return hansom.Result{}, hansom.Errorf(hansom.Invalid, "invoke", "%+v", inv)
	}
	return result, err
}

func (a *attempts) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func ok(*hansom.Invocation) (hansom.Result, error) { return hansom.Result{}, nil }

func newAsync(t *testing.T, b lanes.Backlog, w *world, i hansom.Invoker, log *bytes.Buffer) *Async {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	cfg := DefaultConfig()
	cfg.Workers = 3
	a, err := NewAsync(t.Context(), cfg, dbtest.Open(t, "sqlite:"+filepath.Join(t.TempDir(), "hansom.db")), b, w, i, logger)
	if err != nil {
		t.Fatal(err)
	}
	a.SetDeliverer(w)
	return a
}

// running is newAsync with its Run, which ends with the test or when stop is called.
func running(t *testing.T, b lanes.Backlog, w *world, i hansom.Invoker, log *bytes.Buffer) (a *Async, stop func()) {
	t.Helper()
	a = newAsync(t, b, w, i, log)
	return a, run(t, a)
}

func run(t *testing.T, a *Async) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func accept(t *testing.T, a *Async, function, id, payload string) {
	t.Helper()
	if err := a.Accept(t.Context(), &hansom.Invocation{ID: id, Project: hansom.DefaultProject, Function: function, Payload: []byte(payload)}); err != nil {
		t.Error(err)
	}
}

func left(t *testing.T, a *Async) (n int) {
	t.Helper()
	a.Each(func(_, _ string, waiting, taken int) { n += waiting + taken })
	return n
}

// inTime runs f with its own clock and a backlog.
func inTime(t *testing.T, f func(t *testing.T, m *lanestest.Memory)) {
	synctest.Test(t, func(t *testing.T) { f(t, lanestest.NewMemory()) })
}

func TestAccept(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		i := newAttempts(ok)
		a, stop := running(t, m, &world{}, i, nil)
		accept(t, a, "f", "id", "")
		synctest.Wait()
		if got := i.list(); !slices.Equal(got, []string{"id {} 0"}) || left(t, a) != 0 {
			t.Errorf("%q, %d left", got, left(t, a))
		}
		isKind(t, a.Accept(t.Context(), inv("missing")), hansom.NotFound)
		large := inv("f")
		large.Payload = bytes.Repeat([]byte("1"), 1<<20)
		if err := a.Accept(t.Context(), large); err != nil {
			t.Error(err)
		}
		large.ID, large.Payload = "", append(large.Payload, '1')
		if e := isKind(t, a.Accept(t.Context(), large), hansom.TooLarge); e.Message != "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)" {
			t.Error(e.Message)
		}
		synctest.Wait()
		stop()
		m.Full = hansom.Errorf(hansom.Unavailable, "look at the disk", "the disk is nearly full: free some space")
		if e := isKind(t, a.Accept(t.Context(), inv("f")), hansom.Unavailable); e.Code != "ServiceException" || e.Message != "the disk is nearly full: free some space" {
			t.Errorf("%+v", e)
		}
	})
	if _, err := NewAsync(t.Context(), Config{}, nil, nil, nil, nil, slog.Default()); hansom.KindOf(err) != hansom.Invalid {
		t.Error(err)
	}
}

// A function that fails has two more attempts, after one and after two minutes.
func TestFailuresAreRetried(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		i := newAttempts(func(inv *hansom.Invocation) (hansom.Result, error) {
			return hansom.Result{FunctionError: "Unhandled"}, nil
		})
		var log bytes.Buffer
		a, stop := running(t, m, &world{}, i, &log)
		accept(t, a, "f", "id", "1")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := i.list(); !slices.Equal(got, []string{"id 1 0", "id 1 60", "id 1 180"}) || left(t, a) != 0 {
			t.Errorf("%q, %d left", got, left(t, a))
		}
		stop()
		if !strings.Contains(log.String(), "given up") || !strings.Contains(log.String(), "request=id") {
			t.Error(log.String())
		}
	})
}

// What the platform refuses is tried for six hours, at growing intervals; what can never be is given up at once.
func TestRefusalsAreRetried(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		kind := hansom.Throttled
		i := newAttempts(func(*hansom.Invocation) (hansom.Result, error) {
			return hansom.Result{}, hansom.Errorf(kind, "run", "no")
		})
		a, stop := running(t, m, &world{}, i, nil)
		accept(t, a, "f", "id", "1")
		time.Sleep(20 * time.Minute)
		if got := i.list(); !slices.Equal(got[:10], []string{"id 1 0", "id 1 1", "id 1 2", "id 1 4", "id 1 8", "id 1 16", "id 1 32", "id 1 64", "id 1 128", "id 1 256"}) || got[10] != "id 1 512" || got[11] != "id 1 812" {
			t.Errorf("%q", got)
		}
		time.Sleep(7 * time.Hour)
		got := i.list()
		var seconds int
		if _, err := fmt.Sscanf(got[len(got)-1], "id 1 %d", &seconds); err != nil || seconds > 6*3600 || seconds < 6*3600-301 || left(t, a) != 0 {
			t.Errorf("%v, last attempt %s, %d left", err, got[len(got)-1], left(t, a))
		}
		kind = hansom.NotFound
		accept(t, a, "f", "gone", "1")
		time.Sleep(time.Hour)
		if n := len(i.list()); n != len(got)+1 || left(t, a) != 0 {
			t.Errorf("%d attempts, %d left", n-len(got), left(t, a))
		}
		stop()
	})
}

// A slow function holds up nobody else, has no more workers than it may, and keeps the order of acceptance.
func TestLanes(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		i := newAttempts(func(inv *hansom.Invocation) (hansom.Result, error) {
			if inv.Function != "quick" {
				time.Sleep(100 * time.Second)
			}
			return hansom.Result{}, nil
		})
		a, stop := running(t, m, &world{reserved: map[string]int{"one": 1, "none": 0}}, i, nil)
		for n := range 10 {
			accept(t, a, "slow", fmt.Sprint("slow-", n), "1")
			accept(t, a, "one", fmt.Sprint("one-", n), "1")
			accept(t, a, "none", fmt.Sprint("none-", n), "1")
			time.Sleep(time.Millisecond)
		}
		for n := range 10 {
			accept(t, a, "quick", fmt.Sprint("quick-", n), "1")
		}
		time.Sleep(time.Second)
		count := func(prefix string) (list []string) {
			for _, s := range i.list() {
				if strings.HasPrefix(s, prefix) {
					list = append(list, s)
				}
			}
			return list
		}
		if n := len(count("quick")); n != 10 {
			t.Errorf("%d of the quick function's 10 events have run", n)
		}
		time.Sleep(2000 * time.Second)
		synctest.Wait()
		if i.most["slow"] != 3 || i.most["one"] != 1 || i.most["none"] != 1 || left(t, a) != 0 {
			t.Errorf("%v, %d left", i.most, left(t, a))
		}
		for n, s := range count("one") {
			if !strings.HasPrefix(s, fmt.Sprintf("one-%d ", n)) {
				t.Errorf("%d: %s", n, s)
			}
		}
		stop()
	})
}

// Whatever was accepted runs after a crash: what was running, what was waiting and what was to be tried again, each once.
func TestCrash(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		crashed := make(chan struct{})
		lost := newAttempts(func(inv *hansom.Invocation) (hansom.Result, error) {
			if inv.ID == "failed" {
				return hansom.Result{FunctionError: "Unhandled"}, nil
			}
			<-crashed
			return hansom.Result{}, hansom.Errorf(hansom.Unavailable, "run", "the server stops")
		})
		a, stop := running(t, m, &world{}, lost, nil)
		accept(t, a, "f", "failed", "1")
		synctest.Wait()
		for n := range 8 {
			accept(t, a, "f", fmt.Sprint("f-", n), "1")
		}
		synctest.Wait()
		if n := len(lost.list()); n != 4 {
			t.Fatalf("%d have begun", n)
		}
		i := newAttempts(ok)
		b, stopB := running(t, m.Crashed(), &world{}, i, nil)
		time.Sleep(2 * time.Minute)
		got := i.list()
		slices.Sort(got)
		if len(got) != 9 || got[0] != "f-0 1 0" || got[7] != "f-7 1 0" || got[8] != "failed 1 60" || left(t, b) != 0 {
			t.Errorf("%q, %d left", got, left(t, b))
		}
		stopB()
		go func() { time.Sleep(time.Second); close(crashed) }()
		stop()
	})
}

// Run ends when what runs has ended, and begins nothing more; that runs the next time.
func TestStop(t *testing.T) {
	inTime(t, func(t *testing.T, m *lanestest.Memory) {
		i := newAttempts(func(*hansom.Invocation) (hansom.Result, error) {
			time.Sleep(10 * time.Second)
			return hansom.Result{}, nil
		})
		a, stop := running(t, m, &world{}, i, nil)
		for n := range 5 {
			accept(t, a, "f", fmt.Sprint("f-", n), "1")
		}
		time.Sleep(time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 9*time.Second || left(t, a) != 2 {
			t.Errorf("%s, %d left", took, left(t, a))
		}
		accept(t, a, "f", "late", "1") // it is accepted all the same
		b, stop := running(t, m, &world{}, i, nil)
		time.Sleep(time.Minute)
		if n := len(i.list()); n != 6 || left(t, b) != 0 {
			t.Errorf("%d ran, %d left", n, left(t, b))
		}
		stop()
	})
}
