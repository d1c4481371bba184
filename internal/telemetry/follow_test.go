package telemetry

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
)

// next takes the next line of a query with a deadline that only a defect reaches.
func next(t *testing.T, pull func() (hansom.LogEvent, error, bool)) hansom.LogEvent {
	t.Helper()
	type item struct {
		e   hansom.LogEvent
		err error
		ok  bool
	}
	ch := make(chan item, 1)
	go func() {
		e, err, ok := pull()
		ch <- item{e, err, ok}
	}()
	select {
	case i := <-ch:
		if i.err != nil || !i.ok {
			t.Fatalf("the query ended: %v", i.err)
		}
		return i.e
	case <-time.After(time.Minute):
		t.Fatal("no line came")
	}
	panic("unreachable")
}

func TestFollow(t *testing.T) {
	l := openLogs(t, t.TempDir(), func(c *LogsConfig) { c.Flush = time.Hour }) // what is followed has not been written
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.Append(line("hello", 0, "old 1"))
	l.Append(line("hello", 1, "old 2"))
	pull, stop := iter.Pull2(l.Query(ctx, LogQuery{Project: project, Function: "hello", Follow: true, Limit: 1, Grep: "old|new"}))
	defer stop()
	if e := next(t, pull); e.Message != "old 2" {
		t.Errorf("first line is %q", e.Message)
	}
	l.Append(line("hello", 2, "not this"))
	l.Append(line("other", 2, "new elsewhere"))
	l.Append(line("hello", 3, "new 1"))
	start := time.Now()
	if e := next(t, pull); e != line("hello", 3, "new 1") {
		t.Errorf("next line is %+v", e)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it came after %s", d)
	}
	cancel()
	if _, err, ok := pull(); ok {
		t.Errorf("after the end: %v", err)
	}
	stop()
	if s := l.group(groupID{project: project, function: "hello"}, false); len(s.followers) != 0 {
		t.Error("the follower is still registered")
	}
}

// A project's follower sees functions that log for the first time, and functions never heard of may be followed.
func TestFollowProject(t *testing.T) {
	l := openLogs(t, t.TempDir(), nil)
	l.Append(line("a", 0, "from a"))
	pull, stop := iter.Pull2(l.Query(t.Context(), LogQuery{Project: project, Follow: true}))
	defer stop()
	one, stopOne := iter.Pull2(l.Query(t.Context(), LogQuery{Project: project, Function: "b", Follow: true, Limit: 5}))
	defer stopOne()
	if e := next(t, pull); e.Message != "from a" {
		t.Errorf("first line is %q", e.Message)
	}
	l.Append(line("b", 1, "from b"))
	l.Append(hansom.LogEvent{Project: "111111111111", Function: "b", Message: "foreign"})
	if e := next(t, pull); e.Message != "from b" || e.Function != "b" {
		t.Errorf("next line is %+v", e)
	}
	if e := next(t, one); e.Message != "from b" {
		t.Errorf("first line of b is %+v", e)
	}
	l.Append(line("a", 2, "again a"))
	if e := next(t, pull); e.Message != "again a" {
		t.Errorf("next line is %+v", e)
	}
	l.Append(line("c", 3, "last"))
	l.Close()
	if e := next(t, pull); e.Message != "last" {
		t.Errorf("next line is %+v", e)
	}
	if _, err, ok := pull(); ok {
		t.Errorf("the query goes on after Close: %v", err)
	}
}

// However appends, flushes and the start of a follower interleave, each line comes exactly once and in order.
func TestFollowExactlyOnce(t *testing.T) {
	const lines = 3000
	for _, function := range []string{"hello", ""} {
		t.Run("function="+function, func(t *testing.T) {
			l := openLogs(t, t.TempDir(), nil)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range lines {
					l.Append(line("hello", i, fmt.Sprint(i)))
				}
			})
			for range 4 {
				wg.Go(func() {
					want := 0
					for e, err := range l.Query(t.Context(), LogQuery{Project: project, Function: function, Follow: true}) {
						if err != nil || e.Message != fmt.Sprint(want) {
							t.Errorf("line %d is %q, %v", want, e.Message, err)
							return
						}
						if want++; want == lines {
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestSlowFollower(t *testing.T) {
	l := openLogs(t, t.TempDir(), nil)
	l.Append(line("hello", 0, "first"))
	pull, stop := iter.Pull2(l.Query(t.Context(), LogQuery{Project: project, Function: "hello", Follow: true}))
	defer stop()
	next(t, pull)
	for i := range followQueue + 10 {
		l.Append(line("hello", i, "x"))
	}
	for range followQueue {
		next(t, pull)
	}
	if e := next(t, pull); !strings.HasPrefix(e.Message, "10 lines left out") {
		t.Errorf("the reader is told %q", e.Message)
	}
	if n := len(collect(t, l, LogQuery{Function: "hello"})); n != followQueue+11 {
		t.Errorf("the log has %d lines", n)
	}
}
