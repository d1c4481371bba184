package pool

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
	"github.com/hansomcloud/hansom/internal/sandbox/fake"
)

func TestLogOfACall(t *testing.T) {
	r := newRecorder()
	p, d := newFake(t, r, func(sandbox.Spec) fake.Script {
		return fake.Script{
			Usage: sandbox.Usage{MemoryPeak: 40*mb - 1},
			Init:  func(context.Context, *sandbox.Init) error { return nil },
			Handler: func(_ context.Context, c *fake.Call) ([]byte, error) {
				c.Print("printed\nhalf a line")
				c.Log("logged\nin two lines\n")
				return c.Event, nil
			},
		}
	}, nil)
	v := version("f")
	v.Number = "7"
	inv := call(id(1), "12345")
	inv.LogTail = true
	res, err := p.Run(t.Context(), v, inv, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := r.lines(id(1))
	slices.Sort(lines[1:4]) // raw output and messages come over different channels
	wantLines(t, lines, "START RequestId: "+id(1)+" Version: 7", "half a line", "logged\nin two lines", "printed", "END RequestId: "+id(1), "REPORT *")
	report := regexp.MustCompile(`^REPORT RequestId: ` + id(1) + `\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: \d+\.\d\d ms\t$`)
	if !report.MatchString(lines[len(lines)-1]) {
		t.Errorf("%q", lines[len(lines)-1])
	}
	c := res.Completion
	if !c.Cold || c.Init <= 0 || c.Billed < c.Duration+c.Init || c.Billed-(c.Duration+c.Init) >= time.Millisecond || c.BytesIn != 5 || c.BytesOut != 5 ||
		c.MemoryUsed != 40*mb-1 || c.Source != "api" || c.Version != v || res.Version != "7" {
		t.Errorf("%+v", c)
	}
	if !bytes.HasPrefix(res.LogTail, []byte("START RequestId: ")) || !bytes.HasSuffix(res.LogTail, []byte("Init Duration: "+fmt.Sprintf("%.2f", float64(c.Init)/1e6)+" ms\t\n")) {
		t.Errorf("tail %q", res.LogTail)
	}
	for _, e := range r.events {
		if e.Project != v.Project || e.Function != "f" || e.Version != "7" || e.Instance != d.Living()[0].Spec.ID || e.Time.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	if res := mustRun(t, p, v, id(2), "1"); res.LogTail != nil || res.Completion.Cold || res.Completion.Init != 0 {
		t.Errorf("a warm call: %q %+v", res.LogTail, res.Completion)
	}
	if lines := r.lines(id(2)); strings.Contains(lines[len(lines)-1], "Init Duration") {
		t.Errorf("%q", lines)
	}
}

// What a call wrote is logged before its END, under its own id, whatever instance it ran on.
func TestAttribution(t *testing.T) {
	r := newRecorder()
	p, _ := newFake(t, r, handler(func(_ context.Context, c *fake.Call) ([]byte, error) {
		for i := range 20 {
			c.Print(fmt.Sprintf("%s raw %d\n", c.RequestID, i))
			c.Log(fmt.Sprintf("%s framed %d", c.RequestID, i))
		}
		return nil, nil
	}), nil)
	var calls sync.WaitGroup
	for worker := range 8 {
		calls.Go(func() {
			for i := range 20 {
				mustRun(t, p, version(fmt.Sprintf("f%d", worker%2)), id(100*worker+i), "1")
			}
		})
	}
	calls.Wait()
	for worker := range 8 {
		for i := range 20 {
			n := id(100*worker + i)
			lines := r.lines(n)
			if len(lines) != 43 || !strings.HasPrefix(lines[0], "START") || !strings.HasPrefix(lines[41], "END") || !strings.HasPrefix(lines[42], "REPORT") {
				t.Fatalf("%s: %d lines %q", n, len(lines), lines)
			}
			raw, framed := 0, 0
			for _, l := range lines[1:41] {
				switch l {
				case fmt.Sprintf("%s raw %d", n, raw):
					raw++
				case fmt.Sprintf("%s framed %d", n, framed):
					framed++
				default:
					t.Errorf("%s: unexpected %q", n, l)
				}
			}
		}
	}
	if lines := r.lines(""); len(lines) == 0 || slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "INIT_START") }) {
		t.Errorf("attributed to no call: %q", lines)
	}
}

// What an instance writes between calls belongs to none.
func TestOutputBetweenCalls(t *testing.T) {
	r := newRecorder()
	var printed atomic.Pointer[fake.Call]
	p, _ := newFake(t, r, handler(func(_ context.Context, c *fake.Call) ([]byte, error) {
		printed.Store(c)
		return nil, nil
	}), nil)
	mustRun(t, p, version("f"), id(1), "1")
	printed.Load().Print("in the background\n")
	eventually(t, "the line is logged", func() bool { return slices.Contains(r.lines(""), "in the background") })
	printed.Load().Print("without an end")
	mustRun(t, p, version("f"), id(2), "1")
	eventually(t, "the rest is logged", func() bool { return slices.Contains(r.lines("*"), "without an end") })
	wantLines(t, r.lines(id(1)), "START *", "END *", "REPORT *")
}

// counting counts and keeps nothing.
type counting struct {
	*recorder
	bytes, lines, longest atomic.Int64
}

func (c *counting) Append(e hansom.LogEvent) {
	c.bytes.Add(int64(len(e.Message)))
	c.lines.Add(1)
	if n := int64(len(e.Message)); n > c.longest.Load() {
		c.longest.Store(n)
	}
}

// 100 MB of output without an end of line, and 10 MB of short lines, are taken piece by piece; the call that comes after runs.
func TestFlood(t *testing.T) {
	const size = 100 * mb
	r := newRecorder()
	logs := &counting{recorder: r}
	p, _ := newFake(t, r, handler(func(_ context.Context, c *fake.Call) ([]byte, error) {
		switch string(c.Event) {
		case `"long"`:
			chunk := repeat('x', mb)
			for range size / mb {
				c.Print(chunk)
			}
		case `"short"`:
			chunk := strings.Repeat("0123456789abcde\n", mb/16)
			for range size / mb / 10 {
				c.Print(chunk)
			}
		}
		return nil, nil
	}), func(_ *Config, d *Deps) { d.Logs = logs })
	v := version("f")
	v.Timeout = time.Minute
	mustRun(t, p, v, id(0), "1")
	for _, event := range []string{`"long"`, `"short"`} {
		logs.bytes.Store(0)
		inv := call(id(1), event)
		inv.LogTail = true
		res, err := p.Run(t.Context(), v, inv, nil)
		if err != nil || res.FunctionError != "" {
			t.Fatal(err, string(res.Payload))
		}
		written := int64(size)
		if event == `"short"` {
			written = size / 10 / 16 * 15 // without the newlines
		}
		if got := logs.bytes.Load(); got < written || got > written+1000 {
			t.Errorf("%s: %d bytes logged of %d", event, got, written)
		}
		if len(res.LogTail) != tailSize || !bytes.Contains(res.LogTail, []byte("REPORT RequestId: ")) {
			t.Errorf("%s: tail of %d bytes", event, len(res.LogTail))
		}
	}
	if n := logs.longest.Load(); n != maxLine {
		t.Errorf("longest line %d", n)
	}
	mustRun(t, p, v, id(2), "1")
}

// A flood while a call ends does not keep it from ending.
func TestFloodInTheBackground(t *testing.T) {
	r := newRecorder()
	logs := &counting{recorder: r}
	p, d := newFake(t, r, handler(func(ctx context.Context, c *fake.Call) ([]byte, error) {
		if string(c.Event) == `"flood"` {
			go func() {
				for chunk := strings.Repeat("0123456789abcde\n", 4096); ctx.Err() == nil; {
					c.Print(chunk)
				}
			}()
		}
		return nil, nil
	}), func(_ *Config, d *Deps) { d.Logs = logs })
	mustRun(t, p, version("f"), id(0), `"flood"`)
	for i := range 20 {
		mustRun(t, p, version("f"), id(i), "1")
	}
	p.Retire(hansom.DefaultProject, "f", version("f").Revision)
	eventually(t, "the instance is gone", func() bool { return len(d.Living()) == 0 })
}

func TestLines(t *testing.T) {
	r := newRecorder()
	o, err := newOutput(r, version("f"), "i", nil)
	if err != nil {
		t.Fatal(err)
	}
	long := repeat('a', maxLine)
	for _, c := range []struct {
		name   string
		chunks []string
		want   []string
	}{
		{"one", []string{"one\n"}, []string{"one"}},
		{"in pieces", []string{"o", "n", "e\ntw", "o\n"}, []string{"one", "two"}},
		{"without end", []string{"one\ntwo"}, []string{"one", "two"}},
		{"empty ones", []string{"\n\none\n\n"}, []string{"", "", "one", ""}},
		{"exactly the limit", []string{long, "\n", "b\n"}, []string{long, "b"}},
		{"over the limit", []string{long + "bc\n"}, []string{long, "bc"}},
		{"over the limit in pieces", []string{"x", long, "y\n"}, []string{"x" + long[1:], "ay"}},
		{"no text", []string{"\xff\xfe\n"}, []string{"\uFFFD"}},
	} {
		r.events = nil
		o.mu.Lock()
		for _, chunk := range c.chunks {
			o.write([]byte(chunk))
		}
		o.flush()
		o.mu.Unlock()
		if got := r.lines("*"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d lines, want %d", c.name, len(got), len(c.want))
		}
	}
	r.events = nil
	o.message("id", []byte(repeat('m', maxLine+1)+"\n"))
	if got := r.lines("id"); len(got) != 2 || len(got[0]) != maxLine || len(got[1]) != 1 {
		t.Errorf("a long message became %d lines", len(got))
	}
	for _, e := range r.events {
		if !utf8.ValidString(e.Message) {
			t.Error("not UTF-8")
		}
	}
}

func TestReportLine(t *testing.T) {
	v := version("f")
	for _, c := range []struct {
		c    hansom.Completion
		f    *failure
		want string
	}{
		{hansom.Completion{Duration: 1234 * time.Microsecond, MemoryUsed: 40 * mb}, nil,
			"REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\t"},
		{hansom.Completion{Duration: 1234 * time.Microsecond, Init: 30 * time.Millisecond, MemoryUsed: 40*mb + 1}, nil,
			"REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 32 ms\tMemory Size: 128 MB\tMax Memory Used: 41 MB\tInit Duration: 30.00 ms\t"},
		{hansom.Completion{Duration: 3 * time.Second, Init: 30 * time.Millisecond}, timedOut(3 * time.Second),
			"REPORT RequestId: id\tDuration: 3000.00 ms\tBilled Duration: 3030 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tInit Duration: 30.00 ms\tStatus: timeout"},
		{hansom.Completion{}, exitFailure(sandbox.Exit{Code: 1}),
			"REPORT RequestId: id\tDuration: 0.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tStatus: error\tError Type: Runtime.ExitError"},
	} {
		c.c.ID, c.c.Version, c.c.Billed = "id", v, billed(c.c.Duration+c.c.Init)
		if got := reportLine(&c.c, c.f); got != c.want {
			t.Errorf("\n got %q\nwant %q", got, c.want)
		}
	}
}
