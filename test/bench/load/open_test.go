package load

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeLanes answer request n after service(n), in fake time.
type fakeLanes struct {
	service func(n int) time.Duration
	sent    []time.Time
	busy    map[int]time.Time // lane to when its answer comes
}

func (f *fakeLanes) send(lane int) error {
	f.busy[lane] = time.Now().Add(f.service(len(f.sent)))
	f.sent = append(f.sent, time.Now())
	return nil
}

func (f *fakeLanes) wait(until time.Time) ([]int, error) {
	for _, at := range f.busy {
		if at.Before(until) {
			until = at
		}
	}
	time.Sleep(time.Until(until))
	var done []int
	for lane, at := range f.busy {
		if !time.Now().Before(at) {
			done = append(done, lane)
			delete(f.busy, lane)
		}
	}
	slices.Sort(done)
	return done, nil
}

func TestOpenLoopKeepsItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLanes{busy: map[int]time.Time{}, service: func(int) time.Duration { return 25 * time.Millisecond }}
		start := time.Now()
		s, err := open(f, 4, 100, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Latencies) != 100 || len(f.sent) != 100 {
			t.Fatalf("%d answers of %d requests, want 100", len(s.Latencies), len(f.sent))
		}
		for i, at := range f.sent {
			if want := time.Duration(i) * 10 * time.Millisecond; at.Sub(start) != want {
				t.Fatalf("request %d was sent at %v, want %v", i, at.Sub(start), want)
			}
		}
		if s.Latencies[0] != 25*time.Millisecond || s.Latencies[99] != 25*time.Millisecond {
			t.Errorf("latencies from %v to %v, want 25ms", s.Latencies[0], s.Latencies[99])
		}
		if s.Lag[len(s.Lag)-1] != 0 {
			t.Errorf("the generator says it was late by %v", s.Lag[len(s.Lag)-1])
		}
	})
}

// A stall of 500 ms on the only connection is charged to the 50 requests that were due meanwhile, not to one.
func TestOpenLoopChargesAStallToAllThatWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLanes{busy: map[int]time.Time{}, service: func(n int) time.Duration {
			if n == 10 {
				return 500 * time.Millisecond
			}
			return time.Millisecond
		}}
		s, err := open(f, 1, 100, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		slow := 0
		for _, d := range s.Latencies {
			if d > 10*time.Millisecond {
				slow++
			}
		}
		// 10 ms become due for each request and 1 ms serves one: of the backlog 9 ms are made good each time.
		if slow < 50 || slow > 60 {
			t.Errorf("%d slow requests, want those of the stall and of the backlog after it", slow)
		}
		if got := s.Latencies[len(s.Latencies)-1]; got != 500*time.Millisecond {
			t.Errorf("the slowest took %v", got)
		}
		if s.Lag[len(s.Lag)-1] != 0 {
			t.Errorf("the stall is taken for the generator's: %v", s.Lag[len(s.Lag)-1])
		}
	})
}

func TestOpenLoopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeLanes{busy: map[int]time.Time{}, service: func(int) time.Duration { return time.Hour }}
		if _, err := open(f, 2, 100, time.Second); err == nil || !strings.Contains(err.Error(), "no answer") {
			t.Errorf("a server that never answers: %v", err)
		}
	})
}

func self() []int { return []int{os.Getpid()} }

func TestLoadAgainstAServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hello" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(make([]byte, 40_000)) // more than the buffers of the generators, chunked
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	good, bad := []byte("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")

	closed, err := Closed(addr, good, 2, 50*time.Millisecond, self)
	if err != nil || len(closed.Latencies) < 2 || closed.Rate() <= 0 {
		t.Errorf("closed loop: %d answers, %v", len(closed.Latencies), err)
	}
	if d, err := Once(addr, good); err != nil || d <= 0 {
		t.Errorf("once: %v, %v", d, err)
	}
	opened, err := Open(addr, good, 3, 200, 100*time.Millisecond, self)
	if err != nil || len(opened.Latencies) != 20 {
		t.Errorf("open loop: %d answers, %v", len(opened.Latencies), err)
	}
	if _, err := Closed(addr, bad, 1, time.Millisecond, self); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("closed loop, status 404: %v", err)
	}
	if _, err := Open(addr, bad, 1, 100, 50*time.Millisecond, self); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("open loop, status 404: %v", err)
	}
}
