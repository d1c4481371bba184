package lanes

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/backlog"
	"github.com/hansomcloud/hansom/internal/lanes/lanestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const prefix = "work/"

// A lane is there while its queue has messages; a queue has no more workers than it may, and one that is slow holds up no other.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, most := map[string]int{}, map[string]int{}
		var ended []string
		begin := time.Now()
		var mu sync.Mutex
		l := New(Config{Prefix: prefix, Workers: func(queue string) int { return len(queue) - len(prefix) },
			Work: func(_ context.Context, queue string, m *backlog.Message) (*Again, error) {
				mu.Lock()
				running[queue]++
				most[queue] = max(most[queue], running[queue])
				mu.Unlock()
				if queue == prefix+"slow" {
					time.Sleep(time.Minute)
				}
				mu.Lock()
				defer mu.Unlock()
				running[queue]--
				ended = append(ended, fmt.Sprintf("%s %s%.0f", m.ID, m.Note, time.Since(begin).Seconds()))
				switch {
				case m.ID == "again" && m.Note == "":
					return &Again{After: 5 * time.Second, Note: "noted "}, nil
				case m.ID == "broken" && m.Takes == 1:
					return nil, hansom.Errorf(hansom.Internal, "work", "no")
				}
				return nil, nil
			}}, lanestest.NewMemory(), slog.New(slog.DiscardHandler))
		put := func(queue, id string) {
			if err := l.Put(t.Context(), prefix+queue, backlog.Entry{ID: id}); err != nil {
				t.Error(err)
			}
		}
		put("f", "early")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for n := range 10 {
			put("slow", fmt.Sprint("slow-", n))
		}
		synctest.Wait()
		put("f", "late")
		put("f", "again")
		put("f", "broken")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		look := func() (order []string, lanes int) {
			mu.Lock()
			l.mu.Lock()
			defer mu.Unlock()
			defer l.mu.Unlock()
			return slices.Clone(ended), len(l.open)
		}
		order, open := look()
		if want := []string{"early 0", "late 0", "again 0", "broken 0", "again noted 5"}; !slices.Equal(order, want) {
			t.Errorf("%q", order)
		}
		mu.Lock()
		if most[prefix+"slow"] != 4 || most[prefix+"f"] != 1 || open != 2 {
			t.Errorf("%v, %d lanes", most, open)
		}
		mu.Unlock()
		counts := map[string][2]int{}
		l.Each(func(queue string, waiting, taken int) { counts[queue] = [2]int{waiting, taken} })
		if counts[prefix+"slow"] != [2]int{6, 4} || counts[prefix+"f"] != [2]int{0, 1} { // broken is hidden
			t.Error(counts)
		}
		if err := l.Drop(t.Context(), prefix+"f"); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if order, open = look(); open != 0 || len(order) != 15 {
			t.Errorf("%d lanes without messages, %q", open, order)
		}
		put("f", "again") // a lane begins anew
		synctest.Wait()
		if order, _ = look(); order[len(order)-1] != "again 330" {
			t.Errorf("%q", ended)
		}
		stop()
		if err := <-done; err != nil || len(l.open) != 0 {
			t.Error(err, len(l.open))
		}
	})
}

// A lane begins with few at a time and takes more as time goes on, and as work ends.
func TestGrowth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, finished int
		long := true
		var mu sync.Mutex
		l := New(Config{Prefix: prefix, Workers: func(string) int { return 10 }, Begin: 2, Growth: time.Second,
			Work: func(ctx context.Context, _ string, _ *backlog.Message) (*Again, error) {
				mu.Lock()
				running++
				wait := time.Hour
				if !long {
					wait = time.Millisecond
				}
				mu.Unlock()
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
				mu.Lock()
				running, finished = running-1, finished+1
				mu.Unlock()
				return nil, nil
			}}, lanestest.NewMemory(), slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		put := func(queue string, n int) {
			for i := range n {
				if err := l.Put(t.Context(), prefix+queue, backlog.Entry{ID: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		}
		expect := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if running != want {
				t.Errorf("%d at a time, want %d", running, want)
			}
		}
		put("slow", 20)
		expect(500*time.Millisecond, 2)
		expect(time.Second, 3)
		expect(3*time.Second, 6)
		expect(time.Minute, 10)
		mu.Lock()
		long = false
		mu.Unlock()
		put("quick", 100)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		mu.Lock()
		if finished != 100 {
			t.Errorf("%d quick ones have ended before the lane grew by itself", finished)
		}
		mu.Unlock()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
